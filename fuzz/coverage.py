#!/usr/bin/env python3
"""How much of the core do the corpora of all fuzz targets reach? Replays them, counts lines and branches of src/*.c.

Lines that no input can reach stand in fuzz/uncovered.txt, with the reason, and do not count; one that is reached now
must go from there. Fails below the limits, or for such a line.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict

LIMITS = {"lines": 95, "branches": 90}  # percent
LIST = "fuzz/uncovered.txt"
NEXT_LINE = " ¦ "
SHOWN = 60
AT_ONCE = 2000  # files that fit in a command


def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{done.stdout[-4000:]}{done.stderr[-4000:]}{os.path.basename(command[0])}: status {done.returncode}")
    return done.stdout


# --- what is reached -------------------------------------------------------------------------------------------------


def replay(binary, scratch, found):
    """The profile of one target's corpus and regressions, and of what was found, if there is a folder of that."""
    name = os.path.basename(binary).removesuffix("_coverage")
    folders = [f"fuzz/corpus/{name}", f"fuzz/regressions/{name}"]
    folders += [os.path.join(glob.escape(found), name, part) for part in ("corpus", "afl/*/queue")] if found else []
    files = sorted(file for folder in folders for file in glob.glob(folder + "/*") if os.path.isfile(file))
    pattern = os.path.join(scratch, name)
    for at in range(0, len(files), AT_ONCE):
        part = files[at : at + AT_ONCE]
        run(os.path.abspath(binary), *part, env=os.environ | {"LLVM_PROFILE_FILE": pattern + ".%p.profraw"})
    run("llvm-profdata-19", "merge", "-o", pattern + ".profdata", *glob.glob(glob.escape(pattern) + ".*.profraw"))
    return pattern + ".profdata"


class Reached:
    """Of all targets together: how often each line ran, and each outcome of each condition came up."""

    def __init__(self):
        self.lines = defaultdict(Counter)  # by file, by line number
        self.branches = defaultdict(Counter)  # by file, by (line number, where the condition stands, outcome)

    def add(self, binary, profile):
        export = ("llvm-cov-19", "export", f"-instr-profile={profile}", binary)
        for line in run(*export, "--format=lcov").splitlines():
            kind, _, rest = line.partition(":")
            if kind == "SF":
                name = rest
            elif kind == "DA":
                number, count = rest.split(",")[:2]
                self.lines[name][int(number)] += int(count)
        for file in json.loads(run(*export))["data"][0]["files"]:
            for *place, yes, no, _file, _expanded, _kind in file["branches"]:
                branches = self.branches[file["filename"]]
                branches[place[0], tuple(place), True] += yes
                branches[place[0], tuple(place), False] += no

    def missed(self, name):
        """The lines of a file that never ran, or ran with one outcome only."""
        never = {number for number, count in self.lines[name].items() if count == 0}
        return never | {key[0] for key, count in self.branches[name].items() if count == 0}

    def count(self, name, excused):
        """{"lines": (reached, all), "branches": …} of a file, without the lines that are excused."""
        lines = [count > 0 for number, count in self.lines[name].items() if number not in excused]
        branches = [count > 0 for key, count in self.branches[name].items() if key[0] not in excused]
        return {"lines": (sum(lines), len(lines)), "branches": (sum(branches), len(branches))}


# --- what is excused -------------------------------------------------------------------------------------------------


def read_list(path):
    """[(file, texts of consecutive lines)]: the last of these is excused; each has a reason below it."""
    entries, without_reason = [], []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith(" "):
                without_reason = []
                continue
            name, colon, text = line.strip().partition(": ")
            if not colon:
                sys.exit(f"{path}:{number}: write FILE: TEXT OF THE LINE, and below it, indented, the reason")
            without_reason.append(line.strip())
            entries.append((f"src/{name}", [part.strip() for part in text.split(NEXT_LINE)]))
    if without_reason:
        sys.exit(f"{path}: no reason is given for {without_reason[0]}")
    return entries


def find(entry):
    """The number of the line that an entry means."""
    name, texts = entry
    lines = sources(name)
    places = [at for at in range(len(lines)) if lines[at : at + len(texts)] == texts]
    if len(places) != 1:
        told = f"{name.removeprefix('src/')}: {NEXT_LINE.join(texts)}"
        hint = f"write the lines before it too, with{NEXT_LINE}between" if places else "was it changed?"
        sys.exit(f"{LIST}: this stands {len(places)} times in {name}: {told}\n{hint}")
    return places[0] + len(texts)


def sources(name):
    try:
        with open(name, encoding="utf-8") as file:
            return [line.strip() for line in file]
    except OSError as error:
        sys.exit(f"{name}: {error.strerror}")


# --- report ----------------------------------------------------------------------------------------------------------


def percent(reached, every):
    return 100 * reached / every if every else 100.0


def tell(reached, excused):
    """Prints the table; the totals."""
    totals = {part: (0, 0) for part in LIMITS}
    print(f"{'':24}{'lines':>16}{'branches':>20}{'excused':>9}")
    names = sorted(name for name in reached.lines if re.fullmatch(r"src/[^/]+\.c", name))
    for name in names:
        counts = reached.count(name, excused[name])
        row = "".join(f"{percent(*counts[part]):10.1f} % of {counts[part][1]:4}" for part in LIMITS)
        print(f"{name:20}{row}{len(excused[name]):9}")
        for part, (some, every) in counts.items():
            totals[part] = (totals[part][0] + some, totals[part][1] + every)
    missed = [(name, number) for name in names for number in sorted(reached.missed(name) - excused[name])]
    print(f"\nnot reached, or with one outcome only: {len(missed)} lines")
    for name, number in missed[:SHOWN]:
        print(f"  {name}:{number}: {sources(name)[number - 1]}")
    if len(missed) > SHOWN:
        print("  … ci/coverage --html FOLDER shows all")
    print()
    return totals


def judge(reached, excused, totals):
    """Exit status."""
    stale = [(name, number) for name in excused for number in excused[name] if number not in reached.missed(name)]
    for name, number in stale:
        print(f"FAILED: reached by now, so it must go from {LIST}: {name}:{number}: {sources(name)[number - 1]}")
    failed = bool(stale)
    for part, limit in LIMITS.items():
        share = percent(*totals[part])
        failed = failed or share < limit
        word = "FAILED:" if share < limit else "ok    "
        print(f"{word} {share:.1f} % of {totals[part][1]} {part}, at least {limit} % wanted")
    return 1 if failed else 0


def write_html(folder, binaries, profiles, scratch):
    merged = os.path.join(scratch, "all.profdata")
    run("llvm-profdata-19", "merge", "-o", merged, *profiles)
    objects = [f"-object={binary}" for binary in binaries[1:]]
    options = [f"-instr-profile={merged}", "-format=html", f"-output-dir={folder}", "-show-branches=count"]
    run("llvm-cov-19", "show", *options, binaries[0], *objects, *sorted(glob.glob("src/*.c")))
    print(f"wrote {folder}/index.html\n")


def main():
    parser = argparse.ArgumentParser(prog="ci/coverage", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--html", metavar="FOLDER", help="write each source there, with what each line counted")
    parser.add_argument("--found", metavar="FOLDER", help="count what ci/fuzz found too: fuzz-results")
    parser.add_argument("binaries", nargs="*", metavar="X_coverage", help="the targets; ci/coverage fills that in")
    arguments = parser.parse_args()
    if shutil.which("llvm-cov-19") is None:
        sys.exit("needs llvm-cov-19: ci/setup installs it")
    if not arguments.binaries:
        parser.error("no targets: ci/coverage builds and names them")
    reached, excused = Reached(), defaultdict(set)
    for entry in read_list(LIST):
        excused[entry[0]].add(find(entry))
    begun_in = os.environ.get("COVERAGE_FROM", os.getcwd())
    found = os.path.join(begun_in, arguments.found) if arguments.found else None
    with tempfile.TemporaryDirectory() as scratch:
        profiles = [replay(binary, scratch, found) for binary in arguments.binaries]
        for binary, profile in zip(arguments.binaries, profiles):
            reached.add(binary, profile)
        if arguments.html:
            write_html(os.path.join(begun_in, arguments.html), arguments.binaries, profiles, scratch)
    return judge(reached, excused, tell(reached, excused))


if __name__ == "__main__":
    sys.exit(main())
