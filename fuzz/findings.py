"""What the engines found, made fit to look at: each is run again, told from the others by its stack, minimised, and
given the command that reproduces it; and what makes one a committed regression.

    fuzz-results/X/findings/SIGNATURE/input         the smallest input that does the same
                                      report.txt    what the sanitizer says of it
                                      about.json    engine, sanitizer, signature, and when it was found
                                      raw/SHA1      each input that an engine kept and that does the same
    fuzz-results/X/findings/unstable/raw/SHA1       those that do nothing when they are run again

The engines' own files are the truth: whatever of them has no copy in a raw/ yet is looked at by the next look. A copy
there is the last step, so that one who is killed before it does it again.
"""

import datetime
import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import run as launch
from ledger import write_whole

RUN_S = 20  # of one input
RUNS, MINIMISE_S = 2000, 60  # that minimising one may take
# A failed promise ends with abort(), and a stack is wanted of that too.
SANITIZERS = dict.fromkeys(("ASAN_OPTIONS", "UBSAN_OPTIONS", "MSAN_OPTIONS"), "handle_abort=1:print_stacktrace=1")
DEPTH = 4  # frames that tell one from another
UNSTABLE = "unstable"
FRAME = re.compile(r"^\s+#(\d+) 0x[0-9a-f]+ in (\S+) (\S*)", re.MULTILINE)
OURS = re.compile(r"(?:^|/proc/self/cwd/)(?:bazel-out/|src/|fuzz/|tests/)")
NOT_TOLD = {"LLVMFuzzerTestOneInput", "counted_LLVMFuzzerTestOneInput", "fuzz_fail"}
SUMMARY = (  # what is said of the kind, best first
    re.compile(r"^BROKEN: (?:\S+:\d+: )?(.*)$", re.MULTILINE),
    re.compile(r"runtime error: (.*)$", re.MULTILINE),
    re.compile(r"ERROR: LeakSanitizer: (.*)$", re.MULTILINE),
    re.compile(r"^SUMMARY: \w+: ([\w-]+)", re.MULTILINE),
    re.compile(r"ERROR: \w+: ([\w-]+)", re.MULTILINE),
)
NONE_YET = "None yet"


class Outcome:
    """What became of one run of one input."""

    def __init__(self, status, report):
        self.status, self.report = status, report
        frames = []
        for number, function, place in FRAME.findall(report):
            if number == "0" and frames:
                break  # who allocated, or freed, it
            if OURS.search(place) and function not in NOT_TOLD:
                frames.append(f"{function} ({os.path.basename(place).partition(':')[0]})")
        kinds = [found.group(1).strip() for found in (pattern.search(report) for pattern in SUMMARY) if found]
        self.kind = kinds[0] if kinds else f"ended with {status}"
        self.stack = frames[:DEPTH]

    def bad(self):
        return self.status != 0

    def told(self):
        """In one line, without what differs from run to run."""
        kind = re.sub(r"0x[0-9a-f]+|\b\d{3,}\b", "N", self.kind)
        if kind == "timeout":
            return kind  # wherever it just was
        return " < ".join([kind, *self.stack]) if self.stack else kind

    def signature(self):
        return hashlib.sha1(self.told().encode()).hexdigest()[:10]


def try_input(target, path):
    """Runs the engine's own program on one file."""
    limit = [f"-timeout={RUN_S // 2}"] if target["engine"] == "libfuzzer" else []
    command, settings = [target["binary"], *limit, path], SANITIZERS | launch.environment(False)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=RUN_S, check=False, env=settings, preexec_fn=launch.die_with_parent)
    except subprocess.TimeoutExpired:
        return Outcome(-1, f"ERROR: runner: timeout: not done after {RUN_S} s\n")
    return Outcome(done.returncode, done.stdout.decode(errors="replace"))


def shown(path):
    """As one types it where he is."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + "/") else path


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def minimise(target, content, wanted, scratch, tell):
    """The shortest input with this signature that taking away parts, from large ones to single bytes, leads to."""
    runs, deadline = 0, time.monotonic() + MINIMISE_S
    size = max(len(content) // 2, 1)
    while runs < RUNS and time.monotonic() < deadline:
        at, before = 0, content
        while at < len(content) and runs < RUNS and time.monotonic() < deadline:
            shorter = content[:at] + content[at + size:]
            with open(scratch, "wb") as file:
                file.write(shorter)
            runs += 1
            tell(f"minimising: {len(content)} bytes, try {runs} of at most {RUNS}")
            outcome = try_input(target, scratch)
            if outcome.bad() and outcome.signature() == wanted:
                content = shorter
            else:
                at += size
        if size == 1 and content == before:
            break
        size = max(size // 2, 1)
    return content


class Findings:
    """Those of one target."""

    def __init__(self, results, target, sanitizer):
        self.results, self.target, self.sanitizer = results, target, sanitizer
        self.folder = os.path.join(results, "findings")

    def new(self):
        """The engines' files that were not looked at: {SHA1: path}."""
        seen = {os.path.basename(path) for path in glob.glob(os.path.join(glob.escape(self.folder), "*/raw/*"))}
        found = {}
        for path in sorted(launch.findings(self.results, self.target["engine"])):
            try:
                name = hashlib.sha1(read_bytes(path)).hexdigest()
            except OSError:  # AFL++ is just renaming its folder: the next look finds it
                continue
            if name not in seen:
                found.setdefault(name, path)
        return found

    def look(self, tell):
        """Looks at what is new. Yields (about, is_new) of each; about None: unstable."""
        for name, path in self.new().items():
            content = read_bytes(path)
            tell(f"running {os.path.basename(path)} again")
            outcome = try_input(self.target, path)
            signature = outcome.signature() if outcome.bad() else UNSTABLE
            folder = os.path.join(self.folder, signature)
            is_new = outcome.bad() and not os.path.exists(os.path.join(folder, "about.json"))
            os.makedirs(os.path.join(folder, "raw"), exist_ok=True)
            if is_new:
                self.keep(folder, content, outcome, tell)
            with open(os.path.join(folder, name + ".new"), "wb") as file:
                file.write(content)
            os.replace(os.path.join(folder, name + ".new"), os.path.join(folder, "raw", name))
            yield (read_about(folder) if outcome.bad() else None), is_new

    def keep(self, folder, content, outcome, tell):
        scratch, path = os.path.join(folder, "input.new"), os.path.join(folder, "input")
        smallest = minimise(self.target, content, outcome.signature(), scratch, tell)
        with open(scratch, "wb") as file:
            file.write(smallest)
        os.replace(scratch, path)
        outcome = try_input(self.target, path)
        write_whole(os.path.join(folder, "report.txt"), outcome.report)
        about = {
            "target": self.target["name"], "engine": self.target["engine"], "sanitizer": self.sanitizer,
            "what": outcome.told(), "bytes": len(smallest), "bytes_found": len(content), "input": path,
            "engine_command": shlex.join([self.target["binary"], path]),
            "command": reproduce(self.target["name"], self.sanitizer, path),
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        }
        write_whole(os.path.join(folder, "about.json"), json.dumps(about, indent=1))


def reproduce(name, sanitizer, path):
    variant = f"{name}_{'msan' if sanitizer == 'msan' else 'asan'}"
    return f"bazel build //fuzz:{variant} && bazel-bin/fuzz/{variant} {shlex.quote(shown(path))}"


def read_about(folder):
    with open(os.path.join(folder, "about.json"), encoding="utf-8") as file:
        about = json.load(file)
    return about | {"times": len(os.listdir(os.path.join(folder, "raw")))}


def all_kept(results, target):
    """What stands there of a target, by any engine."""
    paths = glob.glob(os.path.join(glob.escape(results), target, "findings/*/about.json"))
    return [read_about(os.path.dirname(path)) for path in sorted(paths)]


# --- adopt -----------------------------------------------------------------------------------------------------------


def adopt(tree, path, target, reason, name):
    """Makes a file a regression input of a target. Returns what it has written. ValueError: what is wrong."""
    reason = " ".join(reason.split())
    if not reason:
        raise ValueError("a regression needs a reason: what was wrong, in one line (--reason)")
    name = name or re.sub(r"[^a-z0-9]+", "_", reason.lower()).strip("_")[:40].rstrip("_")
    regressions = os.path.join(tree, "fuzz/regressions")
    folder, listed = os.path.join(regressions, target), os.path.join(regressions, "README.md")
    os.makedirs(folder, exist_ok=True)
    copy = os.path.join(folder, name)
    content = read_bytes(path)
    for other in os.listdir(folder):
        if read_bytes(os.path.join(folder, other)) == content and other != name:
            raise ValueError(f"{os.path.join(folder, other)} is the same input")
    if os.path.exists(copy) and read_bytes(copy) != content:
        raise ValueError(f"{copy} exists: give another --name")
    with open(listed, encoding="utf-8") as file:
        text = file.read()
    entry = f"* `{target}/{name}`: {reason}\n"
    if entry not in text:
        paragraphs = [part for part in text.rstrip("\n").split("\n\n") if not part.startswith(NONE_YET)]
        joint = "\n" if paragraphs[-1].startswith("* ") else "\n\n"
        write_whole(listed, "\n\n".join(paragraphs) + joint + entry)
    with open(copy + ".new", "wb") as file:
        file.write(content)
    os.replace(copy + ".new", copy)
    return copy, listed


def set_aside(folder):
    """A finding that is a regression by now is found no more; but its inputs need not be looked at again."""
    raw, adopted = os.path.join(folder, "raw"), os.path.join(os.path.dirname(folder), "adopted/raw")
    os.makedirs(adopted, exist_ok=True)
    for name in os.listdir(raw):
        os.replace(os.path.join(raw, name), os.path.join(adopted, name))
    shutil.rmtree(folder)


def ask_reason():
    if not sys.stdin.isatty():
        return ""
    return input("In one line, what was wrong? ")
