#!/usr/bin/env python3
"""Fuzzes with all that there is: every target with libFuzzer and AFL++ in turns, on all cores, until --minutes are
over or until Ctrl-C. What it learns and finds is kept in fuzz-results, where the next campaign goes on, whatever ended
this one.
"""

import argparse
import collections
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from script import ROOT, Failure, run

import findings
import merge
import run as launch
from engines import MOST_STARTS, WORDS, Turn
from ledger import Ledger
from table import Row, Screen, clock, count, hours, table

TURN_S = 60  # at most: so short that nothing waits long for its turn
SHORTEST_TURN_S = 3
LOOK_S, SAVE_S = 0.5, 3
TOLD = 3  # of what an engine finds in a turn, at once; all of it is looked at afterwards
NOTHING = "empty"  # a target without anything to find
SUFFIX = {"libfuzzer": "_run", "afl": "_afl"}
SANITIZERS = ("asan", "ubsan", "msan")
COMMANDS = """
what else it does (each has --help):
  ci/fuzz status                        processor hours so far of each target and engine, and what was found
  ci/fuzz report                        looks at what is new among the findings; coverage as HTML, and a plot
  ci/fuzz minimize [TARGET...]          merges what was learned into a minimal corpus
  ci/fuzz adopt FILE --reason TEXT      makes a finding a committed regression input
"""

Leg = collections.namedtuple("Leg", "name engine target")


# --- targets ---------------------------------------------------------------------------------------------------------


def known_targets(options):
    if options.programs:
        launchers = [name.rpartition("_") for name in os.listdir(options.programs)]
        return sorted({name for name, _, suffix in launchers if f"_{suffix}" in SUFFIX.values()})
    return sorted(name for name in os.listdir(os.path.join(ROOT, "fuzz/corpus")) if name != NOTHING)


def wanted_targets(options):
    every = known_targets(options)
    unknown = sorted(set(options.targets) - set(every))
    if unknown:
        raise Failure(f"there is no target {', '.join(unknown)}; there are {', '.join(every)}")
    return [name for name in every if not options.targets or name in options.targets]


def build(names, engines, options):
    """Lets Bazel build the launchers. Returns the legs."""
    launchers = [(name, engine) for engine in engines for name in names]
    if not options.programs:
        many = count(len(launchers), "target")
        print(f"building {many} with {options.sanitizer}: a few minutes the first time", flush=True)
        command = ["bazel", "build", "--ui_event_filters=-info", "--show_result=0"]
        command += [] if sys.stderr.isatty() else ["--noshow_progress"]
        command += [f"--//ci/bazel:fuzz_sanitizer={options.sanitizer}"]
        command += [f"//fuzz:{name}{SUFFIX[engine]}" for name, engine in launchers]
        if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise Failure("the targets do not build, see above")
    folder = options.programs or os.path.join(ROOT, "bazel-bin/fuzz")
    return [describe(os.path.join(folder, name + SUFFIX[engine]), name, engine) for name, engine in launchers]


def describe(launcher, name, engine):
    try:
        done = subprocess.run(
            [launcher, "--describe"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"{launcher}: {getattr(error, 'stderr', error)}") from error
    return Leg(f"{name}/{engine}", engine, json.loads(done.stdout))


def kept_by(leg, ledger):
    """How many distinct findings this engine was first to have."""
    kept = findings.all_kept(ledger.folder, leg.target["name"])
    return sum(about["engine"] == leg.engine for about in kept)


# --- the campaign ----------------------------------------------------------------------------------------------------


class Campaign:
    """Turns of all legs, and what is made of them."""

    def __init__(self, legs, options, ledger, screen):
        self.legs, self.options, self.ledger, self.screen = legs, options, ledger, screen
        self.begun = time.monotonic()
        self.ends = self.begun + options.minutes * 60 if getattr(options, "minutes", None) else None
        self.new, self.broken, self.shown, self.turns = [], [], set(), 0

    def results(self, leg):
        return os.path.join(self.ledger.folder, leg.target["name"])

    def findings(self, leg):
        return findings.Findings(self.results(leg), leg.target, self.options.sanitizer)

    def rows(self, running=None, counts=None, raw=0):
        rows = []
        for leg in self.legs:
            is_running = leg == running
            known = counts if is_running else self.ledger.of(leg)
            kept = kept_by(leg, self.ledger)
            rows.append(Row(leg, known, f"{kept}+{raw}" if is_running and raw else str(kept), is_running))
        return rows

    def run(self):
        self.look_at_findings()  # of a campaign that was killed
        first = True  # round, which reaches all, however short the time
        while self.legs and (first or self.left() >= SHORTEST_TURN_S):
            waiting = sorted(self.legs, key=lambda leg: self.ledger.of(leg)["processor_s"])
            while waiting and (first or self.left() >= SHORTEST_TURN_S):
                seconds = min(TURN_S, self.left() / len(waiting))
                leg = waiting.pop(0)
                self.turn(leg, max(seconds, SHORTEST_TURN_S))
                self.look_at_findings([leg])
            first = False

    def left(self):
        return self.ends - time.monotonic() if self.ends else float("inf")

    def turn(self, leg, seconds):
        os.makedirs(self.results(leg), exist_ok=True)
        raw_before = launch.findings(self.results(leg), leg.engine)
        turn = Turn(leg, self.results(leg), self.options.jobs, self.options.secondary)
        begun, saved, told = time.monotonic(), 0.0, set(raw_before)
        self.turns += 1
        try:
            self.introduce(leg, turn, seconds)
            while turn.look() and time.monotonic() - begun < seconds:
                if time.monotonic() - saved >= SAVE_S:
                    saved = time.monotonic()
                    self.ledger.sample(leg, self.ledger.save(leg, turn.counts()))
                raw = launch.findings(self.results(leg), leg.engine)
                if len(told) - len(raw_before) < TOLD:
                    for path in sorted(raw - told)[:TOLD]:
                        self.screen.say(f"FOUND by {WORDS[leg.engine]}: {findings.shown(path)}")
                told |= raw
                self.show(leg, turn, len(raw - raw_before), begun, seconds)
                time.sleep(LOOK_S)
        finally:
            turn.end()
            self.ledger.close(leg, turn.counts())
            self.ledger.sample(leg, self.ledger.of(leg))
        raw = launch.findings(self.results(leg), leg.engine)
        self.show(leg, turn, len(raw - raw_before), begun, seconds, at_once=True)
        self.judge(leg, turn)

    def show(self, leg, turn, raw, begun, seconds, at_once=False):
        counts = turn.counts()
        known = counts | (self.ledger.of(leg) if at_once else self.ledger.with_turn(leg, counts))
        self.screen.show(self.rows(leg, known, raw), self.status(leg, begun, seconds), at_once)

    def judge(self, leg, turn):
        """Who cannot begin, would not in his next turn."""
        trouble = turn.trouble()
        if trouble:
            self.screen.say(f"{leg.name} does not work, and is left out from here:\n{trouble}")
            self.broken.append(leg)
            self.legs = [other for other in self.legs if other != leg]
        elif turn.is_spent():
            self.screen.say(f"{leg.name} ended with a finding {MOST_STARTS} times: enough for this turn")

    def introduce(self, leg, turn, seconds):
        """The engine's own command, the first time."""
        if leg.name in self.shown:
            return
        self.shown.add(leg.name)
        more = f", and {self.options.jobs - 1} more like it" if self.options.jobs > 1 else ""
        self.screen.say(f"{leg.name}: {seconds:.0f} s of {WORDS[leg.engine]}{more}\n  {turn.command()}")

    def status(self, leg, begun, seconds):
        now = time.monotonic()
        whole = clock(now - self.begun) + (f" of {clock(self.ends - self.begun)}" if self.ends else "")
        return (f"turn {self.turns}: {now - begun:.0f} of {seconds:.0f} s {WORDS[leg.engine]} x {self.options.jobs}; "
                f"campaign {whole}; Ctrl-C ends it")

    def look_at_findings(self, legs=None):
        for leg in legs or self.legs:
            new = len(self.findings(leg).new())
            if new:
                kept = count(new, "kept input")
                self.screen.say(f"{leg.name}: running {kept} again, to tell them apart and to minimise them")
            for about, is_new in self.findings(leg).look(self.screen.tell):
                if is_new:
                    self.new.append(about)
                    self.screen.say(f"FINDING {about['what']}\n  {about['bytes_found']} bytes, minimised to "
                                    f"{about['bytes']}\n  to reproduce: {about['command']}")

    def summarise(self):
        self.screen.wipe()
        legs = self.legs + self.broken
        print("\n".join(["", *table(self.rows(), self.screen.columns())]) if self.legs else "")
        total = sum(self.ledger.of(leg)["processor_s"] for leg in legs)
        print(f"\n{hours(total)} processor hours of these so far, in {findings.shown(self.ledger.folder)}")
        kept = [about for name in sorted({leg.target["name"] for leg in legs})
                for about in findings.all_kept(self.ledger.folder, name)]
        for about in kept:
            print(f"found: {about['target']}: {about['what']} ({count(about['times'], 'time')})\n"
                  f"  to reproduce: {about['command']}\n"
                  f"  when it is mended: ci/fuzz adopt {findings.shown(about['input'])} --reason '...'")
        waiting = sum(len(self.findings(leg).new()) for leg in legs)
        if waiting:
            print(f"to be looked at by the next campaign or ci/fuzz report: {count(waiting, 'kept input')}")
        if not kept and not waiting:
            print("nothing was found")
        plot = self.ledger.plot()
        print(f"plot: {findings.shown(plot)}" if plot else "no plot: needs gnuplot, and a turn that ended", flush=True)


def write_coverage(folder):
    """HTML of what the corpora, committed and found, reach in the core."""
    output, log = os.path.join(folder, "coverage"), os.path.join(folder, "coverage.log")
    print("counting what all inputs reach, which takes a minute or two", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        subprocess.run([os.path.join(ROOT, "ci/coverage"), "--html", output, "--found", folder],
                       stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, check=False)
    with open(log, encoding="utf-8") as file:
        judged = [line.rstrip() for line in file if line.startswith(("ok ", "FAILED"))]
    if not judged:
        raise Failure(f"coverage was not counted: see {log}")
    print("\n".join(judged) + f"\ncoverage: {findings.shown(output)}/index.html", flush=True)


# --- commands --------------------------------------------------------------------------------------------------------


def parser_of(what, description, epilog=None):
    parser = argparse.ArgumentParser(prog=f"ci/fuzz{what}", description=description, epilog=epilog, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default="fuzz-results", metavar="DIR", help="what is kept (default: %(default)s)")
    parser.add_argument("--programs", metavar="DIR", help=argparse.SUPPRESS)  # launchers that are built already
    return parser


def add_run_options(parser):
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="these only (default: all)")
    parser.add_argument("--engine", choices=("libfuzzer", "afl", "both"), default="both", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
                        help="processes at a time (default: one a core)")
    parser.add_argument("--sanitizer", choices=SANITIZERS, default="asan",
                        help="default: %(default)s, which brings ubsan")


def prepare(parser, given):
    """(options, legs, the ledger, which is ours from now on)"""
    options = parser.parse_args(given)
    if options.jobs < 1:
        parser.error("--jobs: at least 1")
    if not re.fullmatch(r"[A-Za-z][\w-]*", getattr(options, "secondary", None) or "x"):
        parser.error("--secondary: a name of letters and digits that begins with a letter")
    if getattr(options, "minutes", None) is not None and options.minutes <= 0:
        parser.error("--minutes: more than 0")
    names = wanted_targets(options)
    engines = ["libfuzzer", "afl"] if options.engine == "both" else [options.engine]
    ledger = Ledger(os.path.join(ROOT, options.results))
    if getattr(options, "parse", False):
        sys.exit(0)
    if not ledger.take():
        raise Failure(f"a campaign is at work in {ledger.folder}: wait for its end, or give another --results")
    return options, build(names, engines, options), ledger


def fuzz(given):
    parser = parser_of("", __doc__, COMMANDS)
    add_run_options(parser)
    parser.add_argument("--minutes", type=float, metavar="N", help="how long, of all together (default: until Ctrl-C)")
    parser.add_argument("--secondary", metavar="NAME", help="this machine joins the campaign of another: its instances "
                        "of AFL++ are called NAME0, NAME1 ... (docs/fuzzing.md)")
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)  # for ci/fuzz: look at the arguments
    options, legs, ledger = prepare(parser, given)
    campaign = Campaign(legs, options, ledger, Screen())
    until = f"{options.minutes:g} minutes" if options.minutes else "until Ctrl-C"
    processes = count(options.jobs, "process")
    folder = findings.shown(ledger.folder)
    print(f"{len(legs)} targets and engines in turns of at most {TURN_S} s, {processes} at a time, {until}.\n"
          f"All is kept in {folder}; after an interruption the same command goes on.", flush=True)
    try:
        campaign.run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        campaign.summarise()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not options.programs:
        write_coverage(ledger.folder)
    sys.exit(1 if campaign.new or campaign.broken else 0)


def report(given):
    parser = parser_of(" report", "Looks at what is new among the findings, counts coverage, and plots.")
    add_run_options(parser)
    options, legs, ledger = prepare(parser, given)
    campaign = Campaign(legs, options, ledger, Screen())
    campaign.look_at_findings()
    campaign.summarise()
    if not options.programs:
        write_coverage(ledger.folder)


def status(given):
    parser = parser_of(" status", "Processor hours so far of each target and engine, and what was found.")
    options = parser.parse_args(given)
    ledger = Ledger(os.path.join(ROOT, options.results))
    if not ledger.legs:
        raise Failure(f"nothing yet in {ledger.folder}: ci/fuzz --minutes 5 begins")
    rows = []
    for name, counts in sorted(ledger.legs.items()):
        target, engine = name.split("/")
        leg = Leg(name, engine, {"name": target})
        rows.append(Row(leg, counts, str(kept_by(leg, ledger))))
    print("\n".join(table(rows, Screen().columns())))
    for engine in sorted({row.leg.engine for row in rows}):
        spent = sum(row.counts["processor_s"] for row in rows if row.leg.engine == engine)
        print(f"{WORDS[engine]}: {hours(spent)} processor hours")


def minimize(given):
    parser = parser_of(" minimize", "Merges what campaigns learned into a minimal corpus, fuzz-results/X/minimal.")
    add_run_options(parser)
    parser.add_argument("--into-corpus", action="store_true",
                        help="add to fuzz/corpus/X what reaches edges that it does not, as found_NN")
    options = parser.parse_args(given)
    options, legs, ledger = prepare(parser, [*given, "--engine", "libfuzzer"])
    for leg in legs:
        results = os.path.join(ledger.folder, leg.target["name"])
        launch.write_seeds(leg.target, results)
        if options.into_corpus:
            corpus = os.path.join(ROOT, "fuzz/corpus", leg.target["name"])
            said = f"{count(merge.add_to(corpus, leg.target, results), 'input')} added to {findings.shown(corpus)}"
        else:
            minimal = merge.replace_minimal(leg.target, results)
            said = f"{len(os.listdir(minimal))} inputs reach all, in {findings.shown(minimal)}"
        print(f"{leg.target['name']}: {said}", flush=True)


def adopt(given):
    parser = parser_of(" adopt", "Makes a file a regression input, which every test of its target replays from then.")
    parser.add_argument("file", metavar="FILE", help="fuzz-results/X/findings/SIGNATURE/input, or any with --target")
    parser.add_argument("--reason", help="what was wrong, in one line; default: asks")
    parser.add_argument("--target", help="default: as the path of a finding says")
    parser.add_argument("--name", help="of the new file; default: made from the reason")
    parser.add_argument("--tree", default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    path = os.path.abspath(options.file)
    if not os.path.isfile(path):
        raise Failure(f"{options.file} is no file")
    folder = os.path.dirname(path)
    is_finding = os.path.exists(os.path.join(folder, "about.json"))
    if options.target is None and is_finding:
        options.target = findings.read_about(folder)["target"]
    every = known_targets(options)
    if options.target not in every:
        raise Failure(f"of which target is it? Give --target: {', '.join(every)}")
    reason = options.reason if options.reason is not None else findings.ask_reason()
    try:
        written = findings.adopt(options.tree, path, options.target, reason, options.name)
    except ValueError as error:
        raise Failure(error) from error
    if is_finding:
        findings.set_aside(folder)
    print(f"wrote {' and '.join(written)}\nto see it pass: bazel test //fuzz:{options.target}_asan; "
          "commit both with what mends it")


def main(given):
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    commands = {"status": status, "report": report, "minimize": minimize, "adopt": adopt}
    if given and given[0] in commands:
        return commands[given[0]](given[1:])
    return fuzz(given)


if __name__ == "__main__":
    run("ci/fuzz", main)
