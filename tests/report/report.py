#!/usr/bin/env python3
"""Writes "How it is tested": what is promised, which tests prove it, and what their last run counted.

ci/report runs this after `bazel test //...`. The promises are README.md's, the counts those of Bazel's logs (a result
that is still valid is not made again), and of what ci/stress, ci/crash and ci/sim --deeper left in
stress-results/, crash-results/ and sim-results/.
"""

import argparse
import collections
import glob
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from script import ROOT, Failure, origin_lines

PAGE = "docs/results/how-it-is-tested.md"
HEADING = "## What it promises"
BUDGET_MINUTES = 30
CORES = 2

VARIANTS = {
    "asan": "AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer",
    "tsan": "ThreadSanitizer",
    "msan": "MemorySanitizer",
    "valgrind": "valgrind's memcheck",
}

# What runs longer by command than in `bazel test`; the rows of the table of minutes.
LONG_FORMS = {
    "//tests/unit": "`SHMQ_LONG=1 bazel-bin/tests/unit/death_test`, `…/many_death_test`",
    "//tests/stress": "`ci/stress [--minutes N] [--sanitizer NAME]`",
    "//tests/canary": "`ci/planted`",
    "//tests/crash/fail": "`ci/crash fail`",
    "//tests/crash/hostile": "`ci/crash hostile`",
    "//tests/crash/interleave": "`ci/crash interleave`",
    "//tests/crash/kill": "`ci/crash kill`",
    "//tests/sim": "`ci/sim`, `ci/sim --deeper`, `ci/sim --weaken`",
    "//tests/bench": "`ci/bench`, `ci/scoreboard`, `ci/tried`",
    "//fuzz": "`ci/fuzz --minutes N`; `bazel test //fuzz:canaries`",
}


# --- what ran --------------------------------------------------------------------------------------------------------


def outputs(label, name):
    """The files that Bazel keeps of a test's last run: one, or one of each shard. Either may be left of earlier days."""
    folder = os.path.join(ROOT, "bazel-testlogs", label.removeprefix("//").replace(":", "/"))
    whole, shards = os.path.join(folder, name), sorted(glob.glob(os.path.join(folder, "shard_*", name)))
    found = [paths for paths in ([whole], shards) if paths and all(map(os.path.exists, paths))]
    if not found:
        raise Failure(f"{label} has not run: ci/report runs all")
    return max(found, key=lambda paths: os.path.getmtime(paths[0]))


def log_of(label):
    logs = []
    for path in outputs(label, "test.log"):
        with open(path, encoding="utf-8", errors="replace") as log:
            logs.append(log.read())
    return "\n".join(logs)


class Target:
    """One test target and its last run."""

    def __init__(self, label):
        self.label = label
        self.package, self.name = label.split(":")
        self.variant = next((key for key in VARIANTS if self.name.endswith("_" + key)), "")
        self.base = f"{self.package}:{self.name.removesuffix('_' + self.variant)}" if self.variant else label
        suites = [xml.etree.ElementTree.parse(path).getroot()[0] for path in outputs(label, "test.xml")]
        self.seconds = sum(float(case.get("time", 0)) for suite in suites for case in suite.iter("testcase"))
        self.failed = any(int(suite.get("failures", 0)) + int(suite.get("errors", 0)) > 0 for suite in suites)
        self.count(log_of(label))

    def count(self, log):
        """Cases: our C tests say a line each, Python's how many; what draws, how much it drew; what says nothing is one."""
        skipped = sum(int(count) for count in re.findall(r"^OK \(skipped=(\d+)\)", log, re.MULTILINE))
        cases = len(re.findall(r"^ok\b", log, re.MULTILINE))
        cases += sum(int(count) for count in re.findall(r"^Ran (\d+) tests?", log, re.MULTILINE)) - skipped
        skipped += len(re.findall(r"^skipped \S+ \(\d+ ms\)$", log, re.MULTILINE))
        self.skipped = skipped if skipped > 0 else len(re.findall(r"^SKIP: ", log, re.MULTILINE))
        for total in re.findall(r"^total: (.*)", log, re.MULTILINE):
            cases += sum(int(count) for count in re.findall(r"\b(?:rounds|trials|schedules|blows|storms)=(\d+)", total))
        self.cases = cases if cases > 0 or self.skipped > 0 else 1
        messages = re.findall(r"^total: .*\bmessages=(\d+)", log, re.MULTILINE)
        self.messages = sum(map(int, messages))


def all_targets():
    command = ("bazel", "query", "--noshow_progress", "tests(//...) except attr(tags, manual, tests(//...))")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise Failure(f"bazel query failed:\n{result.stderr}")
    return [Target(label) for label in sorted(result.stdout.split())]


# --- what is promised ------------------------------------------------------------------------------------------------


def promises():
    """(promise, labels) of each row of README.md's table."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as readme:
        section = readme.read().split(HEADING, 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.*) \| (.*) \|$", section, re.MULTILINE)[1:]
    found = []
    for promise, proof in rows:
        if set(promise) <= {"-"}:
            continue
        labels, package = [], ""
        for word in re.findall(r"`([^`]*:[^`]*)`", proof):
            package = word.split(":")[0] or package
            labels.append(f"{package}:{word.split(':')[1]}")
        if not labels:
            raise Failure(f"README.md: nobody checks the promise: {promise}")
        found.append((promise, labels))
    if not found:
        raise Failure(f"README.md has no table of promises under '{HEADING}'")
    return found


# --- the page --------------------------------------------------------------------------------------------------------


def plural(count, noun):
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def counts(targets):
    cases = sum(target.cases for target in targets)
    skipped = sum(target.skipped for target in targets)
    failed = sum(target.failed for target in targets)
    text = plural(cases, "case")
    text += f", {skipped:,} skipped" if skipped else ""
    return text + (f", **{plural(failed, 'target')} failed**" if failed else "")


def promise_table(targets):
    by_base = collections.defaultdict(list)
    for target in targets:
        by_base[target.base].append(target)
    yield "| Promise | Command | Last run |"
    yield "| --- | --- | --- |"
    for promise, labels in promises():
        for label in labels:
            if label not in by_base:
                raise Failure(f"README.md names {label}, which is no test")
            group = by_base[label]
            tools = ", ".join(target.variant for target in group if target.variant)
            under = f" (also under {tools})" if tools else ""
            yield f"| {promise} | `bazel test {label}`{under} | {counts(group)} |"
            promise = "″"


def tool_table(targets):
    yield "| Tool | Targets | Cases | Skipped | Messages of stress rounds |"
    yield "| --- | --- | --- | --- | --- |"
    for variant in ("", *VARIANTS):
        group = [target for target in targets if target.variant == variant]
        cases, skipped = sum(t.cases for t in group), sum(t.skipped for t in group)
        yield (
            f"| {VARIANTS.get(variant, 'none')} | {len(group)} | {cases:,} | {skipped:,} "
            f"| {sum(t.messages for t in group):,} |"
        )


def minute_table(targets):
    yield "| Folder | none | " + " | ".join(VARIANTS) + " | together | Long form |"
    yield "| --- |" + " ---: |" * (len(VARIANTS) + 2) + " --- |"
    sums = collections.Counter()
    for package in sorted({target.package for target in targets}):
        seconds = collections.Counter()
        for target in targets:
            if target.package == package:
                seconds[target.variant] += target.seconds
        sums.update(seconds)
        yield minute_row(f"`{package}`", seconds, LONG_FORMS.get(package, ""))
    yield minute_row("all", sums, "")
    total = sum(sums.values()) / 60
    yield ""
    yield (
        f"Minutes of one core: {total:.1f} together, so some {total / CORES:.0f} on {CORES} cores, beside what building"
        f" takes. `ci/test` has {BUDGET_MINUTES} minutes; what does not fit has a short form here and a long one by"
        " command."
    )


def minute_row(name, seconds, long_form):
    cells = " | ".join(f"{seconds[variant] / 60:.1f}" if seconds[variant] else "" for variant in ("", *VARIANTS))
    return f"| {name} | {cells} | {sum(seconds.values()) / 60:.1f} | {long_form} |"


def stress_table():
    names = ("rounds", "messages", "kills", "stops", "signals")
    paths = sorted(glob.glob(os.path.join(ROOT, "stress-results", "totals-*.json")))
    if not paths:
        yield "Nothing was left by `ci/stress` when this page was made."
        return
    yield "| Tool | Command | Commit | Minutes | " + " | ".join(name.capitalize() for name in names) + " | Failures |"
    yield "| --- | --- | --- |" + " ---: |" * (len(names) + 2)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            totals = json.load(file)
        figures = " | ".join(f"{totals[name]:,}" for name in names)
        yield (
            f"| {totals['sanitizer']} | `{totals['command']}` | {totals['commit']} | {totals['seconds'] / 60:.1f} "
            f"| {figures} | {len(totals['failures'])} |"
        )


def leg_table(command, folder):
    """What the legs of ci/crash, or of ci/sim --deeper, have left in their folder."""
    paths = sorted(glob.glob(os.path.join(ROOT, folder, "*.json")))
    if not paths:
        yield f"Nothing was left by `{command}` when this page was made."
        return
    yield "| Command | Commit | Minutes | Counts |"
    yield "| --- | --- | ---: | --- |"
    for path in paths:
        with open(path, encoding="utf-8") as file:
            leg = json.load(file)
        figures = [f"{name} {int(value):,}" for name, value in leg["figures"].items()] + leg["remarks"]
        failed = "" if leg["status"] == 0 else "; **failed**"
        yield f"| `{leg['command']}` | {leg['commit']} | {leg['seconds'] / 60:.1f} | {', '.join(figures)}{failed} |"


def sim_table():
    """The simulator's own words: how deep it went in each plot, and what else it did."""
    yield "| Plot | Executions | Bound | Executions a second, at random |"
    yield "| --- | ---: | ---: | ---: |"
    speeds = dict(re.findall(r"^(\w+): .* (\d+) executions a second", log_of("//tests/sim:random_test"), re.MULTILINE))
    found = re.findall(
        r"^(\w+): (\d+) executions, .*; all up to bound (\d+)(, and so all there are)?",
        log_of("//tests/sim:exhaustive_test"), re.MULTILINE)
    if not found:
        raise Failure("//tests/sim:exhaustive_test says nothing of executions")
    for plot, executions, bound, is_all in sorted(found):
        yield f"| `{plot}` | {int(executions):,} | {'none' if is_all else bound} | {int(speeds.get(plot, 0)):,} |"
    yield ""
    yield "The bound is of preemptions and old values read, together, in one run; `ci/sim --list` tells of the plots."
    yield ""
    yield "One step deeper, by command:"
    yield ""
    yield from leg_table("ci/sim --deeper", "sim-results")
    yield ""
    caught = re.findall(r"^(\d+ of \d+ caught), (\d+) need not be", log_of("//tests/sim:weaken_test"), re.MULTILINE)
    if caught:
        yield (
            f"Of the memory orders, barriers and steps of the core, taken away one by one, {caught[0][0]};"
            f" {caught[0][1]} have their reason in tests/sim/weaken.toml."
        )


def page(targets):
    yield "# How it is tested"
    yield ""
    yield "Generated by `ci/report --write`; do not edit. Each count is of the last run of its test, on this tree."
    yield ""
    yield from origin_lines()
    yield f"* All of it: {counts(targets)} in {len(targets)} targets, by one command: `bazel test //...`"
    for title, lines in (
        ("What is promised, and what proves it", promise_table(targets)),
        ("Under which tools", tool_table(targets)),
        ("The minutes", minute_table(targets)),
        ("Stress, by command", stress_table()),
        ("Simulated: every schedule, old value and death within a bound", sim_table()),
        ("Killed, interleaved, harmed and failed everywhere, by command", leg_table("ci/crash", "crash-results")),
    ):
        yield ""
        yield f"## {title}"
        yield ""
        yield from lines
    yield ""
    yield "## Would the tests notice?"
    yield ""
    yield "`//tests/canary:canary_test` plants a fault for each tool and sees that it is reported as what it is, and"
    yield "that nothing is reported without one. `ci/planted` plants faults in the core, one by one, and sees that the"
    yield "tests turn red: [the list](planted.md)."


def main():
    parser = argparse.ArgumentParser(prog="ci/report", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE} instead of showing it")
    arguments = parser.parse_args()
    try:
        targets = all_targets()
        text = "\n".join(page(targets)) + "\n"
    except Failure as failure:
        print(f"ci/report: {failure}", file=sys.stderr)
        return 1
    if arguments.write:
        with open(os.path.join(ROOT, PAGE), "w", encoding="utf-8") as file:
            file.write(text)
        print(f"wrote {PAGE}")
    else:
        print(text, end="")
    return 1 if any(target.failed for target in targets) else 0


if __name__ == "__main__":
    sys.exit(main())
