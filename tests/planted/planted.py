#!/usr/bin/env python3
"""Plants faults in a copy of the tree, one at a time, and sees that the tests named for each turn red.

A test that cannot fail proves nothing. Each entry of faults.toml is a fault that somebody could make: a file, what
stands there, what is put in its place, and the tests that must notice. First all these tests run without any fault and
must pass; then one after another. A fault that no test notices, that no longer applies, or that does not compile is a
failure. ci/planted runs this.
"""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from script import ROOT, Failure, git, origin_lines

FAULTS = "tests/planted/faults.toml"
REPORT = "docs/results/planted.md"
TESTS_FAILED = 3  # bazel's exit status
# How a test says what it found: C tests, the programs of tests/crash, the sanitizers, valgrind.
SAYS = r"^(FAILED\b.*|(?:BAD|HUNG|no reason): .*|SUMMARY: .*|.*runtime error: .*|==\d+== [A-Z].*)$"
KEYS = {"name", "what", "file", "from", "to", "tests"}


# --- the copy --------------------------------------------------------------------------------------------------------


class Copy:
    """The tree as it is now, what is not committed included, with a Bazel server of its own."""

    def __init__(self, place):
        self.place = place
        self.child = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)

    def interrupt(self, number, _frame):
        if self.child:
            self.child.send_signal(signal.SIGINT)  # bazel ends its tests
            self.child.wait()
        self.close()
        sys.exit(128 + number)

    def refresh(self):
        """Writes only what differs, so that Bazel builds only that again."""
        names = set(git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")) - {""}
        names = {name for name in names if os.path.isfile(os.path.join(ROOT, name))}
        for folder, folders, files in os.walk(self.place):
            folders[:] = [name for name in folders if not name.startswith("bazel-")]
            for name in files:
                path = os.path.join(folder, name)
                if os.path.relpath(path, self.place) not in names:
                    os.unlink(path)
        for name in names:
            source, target = os.path.join(ROOT, name), os.path.join(self.place, name)
            if not os.path.exists(target) or read(source) != read(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(source, target)

    def test(self, tests):
        """Bazel's exit status and what it printed."""
        command = ["bazel", "test", "--keep_going", "--noshow_progress", "--color=no", "--cache_test_results=no", *tests]
        with subprocess.Popen(
            command,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as self.child:
            output = self.child.communicate()[0]
            status = self.child.returncode
        self.child = None
        return status, output

    def close(self):
        subprocess.run(("bazel", "shutdown"), cwd=self.place, check=False, capture_output=True)


def read(path):
    with open(path, "rb") as file:
        return file.read()


# --- faults ----------------------------------------------------------------------------------------------------------


def load(wanted):
    with open(os.path.join(ROOT, FAULTS), "rb") as file:
        faults = tomllib.load(file)["fault"]
    for fault in faults:
        if set(fault) != KEYS:
            raise Failure(f"{FAULTS}: {fault.get('name', fault)}: has {sorted(fault)}, must have {sorted(KEYS)}")
    names = [fault["name"] for fault in faults]
    if len(set(names)) < len(names):
        raise Failure(f"{FAULTS}: two faults of one name")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise Failure(f"no fault is called {', '.join(unknown)}; there are: {', '.join(names)}")
    return [fault for fault in faults if not wanted or fault["name"] in wanted]


def planted(fault):
    """The text of its file with the fault in it."""
    text = read(os.path.join(ROOT, fault["file"])).decode()
    if text.count(fault["from"]) != 1:
        count = text.count(fault["from"])
        raise Failure(f"{fault['name']}: its text stands {count} times in {fault['file']}: mend {FAULTS}")
    return text.replace(fault["from"], fault["to"])


def verdict(status, output):
    """Who noticed: (test, what it said) of each red test."""
    red = re.findall(r"^(//\S+)\s+(?:FAILED|TIMEOUT)", output, re.MULTILINE)
    if status != TESTS_FAILED or not red:
        return []
    said = {}
    for block in re.split(r"^=+ Test output for ", output, flags=re.MULTILINE)[1:]:
        label = block.split(":\n", 1)[0]
        found = re.search(SAYS, block, re.MULTILINE)
        if found:
            said[label] = found.group(1)
    return [(label, said.get(label, "")) for label in red]


def shorten(text):
    text = re.sub(r"\s+", " ", re.sub(r"/\S*/execroot/shmq/", "", text)).replace("|", "/")
    return text if len(text) <= 100 else text[:97] + "…"


def try_one(copy, fault):
    """(noticed by, seconds) of one fault."""
    target = os.path.join(copy.place, fault["file"])
    before = read(target)
    start = time.monotonic()
    with open(target, "w", encoding="utf-8") as file:
        file.write(planted(fault))
    try:
        status, output = copy.test(fault["tests"])
    finally:
        with open(target, "wb") as file:
            file.write(before)
    if status not in (0, TESTS_FAILED):
        sys.stderr.write(output[-4000:])
        raise Failure(f"{fault['name']}: bazel ended with {status}: does the fault still compile?")
    return verdict(status, output), time.monotonic() - start


# --- report ----------------------------------------------------------------------------------------------------------


def report(rows):
    lines = [
        "# Planted faults, and which test noticed each",
        "",
        "Generated by `ci/planted --write`; do not edit. Each fault is planted alone in a copy of the tree, and the",
        "tests named for it must turn red. Without any fault the same tests were green in the same run.",
        "",
        *origin_lines(),
        "",
        "| Fault | What it does | Where | Noticed by | What that said |",
        "| --- | --- | --- | --- | --- |",
    ]
    for fault, noticed in rows:
        by = "<br>".join(f"`{label}`" for label, _ in noticed) or "**nobody**"
        said = next((text for _, text in noticed if text), "")
        lines.append(f"| {fault['name']} | {fault['what']} | `{fault['file']}` | {by} | {shorten(said)} |")
    with open(os.path.join(ROOT, REPORT), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    print(f"wrote {REPORT}")


def run(arguments):
    faults = load(arguments.names)
    for fault in faults:
        planted(fault)  # does it apply? Say so before an hour has passed
    if arguments.list:
        for fault in faults:
            print(f"{fault['name']:28} {fault['what']}")
        return 0
    copy = Copy(os.path.join(arguments.scratch, "tree"))
    os.makedirs(copy.place, exist_ok=True)
    with contextlib.closing(copy):
        copy.refresh()
        tests = sorted({test for fault in faults for test in fault["tests"]})
        print(f"{len(faults)} faults, {len(tests)} tests; the copy is {copy.place}", flush=True)
        print("without a fault: ", end="", flush=True)
        status, output = copy.test(tests)
        if status != 0:
            sys.stdout.write(output[-4000:])
            raise Failure("the tests fail without any fault: mend that first")
        print("green", flush=True)
        rows = []
        for number, fault in enumerate(faults, 1):
            print(f"[{number}/{len(faults)}] {fault['name']}: ", end="", flush=True)
            noticed, seconds = try_one(copy, fault)
            rows.append((fault, noticed))
            print("red" if noticed else "SURVIVED", f"after {seconds:.0f} s", flush=True)
            for label, text in noticed:
                print(f"        {label}  {shorten(text)}", flush=True)
    survivors = [fault["name"] for fault, noticed in rows if not noticed]
    if arguments.write:
        report(rows)
    print(f"{len(rows) - len(survivors)} noticed, {len(survivors)} survived")
    if survivors:
        print("try again: ci/planted " + shlex.join(survivors))
    return 1 if survivors else 0


def main():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser = argparse.ArgumentParser(prog="ci/planted", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these; default: all")
    parser.add_argument("--list", action="store_true", help="show the faults, see that they apply, and plant none")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT}")
    parser.add_argument(
        "--scratch",
        default=os.path.join(cache, "shmq-planted"),
        metavar="FOLDER",
        help="where the copy is kept, so that the next run builds less (default: %(default)s)",
    )
    arguments = parser.parse_args()
    if arguments.write and arguments.names:
        parser.error("--write is for all of them")
    try:
        return run(arguments)
    except Failure as failure:
        print(f"ci/planted: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
