#!/usr/bin/env python3
"""Runs rounds of stress side by side for some minutes, shows how they go, and keeps what they found: what ci/stress
runs once the program is built.

Every job is a process of tests/stress/stress with a seed of its own, which follows from ours. What it prints, a line a
round, is all that is known of it. An interrupted run leaves a state file, and the next call goes on from there.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import secrets
import selectors
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from script import ROOT, Failure, origin

TARGETS = {  # of tests/stress/BUILD
    "none": "stress",
    "asan": "stress_test_asan",
    "tsan": "stress_threads_test_tsan",
    "msan": "stress_threads_test_msan",
    "valgrind": "stress_test_valgrind",
}
THREADS = ("tsan", "msan")  # they see into one process only
SUMS = ("messages", "bytes", "kills", "stops", "signals", "interrupted", "again", "lost")
ROUND = re.compile(r"round (\d+): (.*): (messages=\S+(?: \w+=\S+)*)")
BEGUN = re.compile(r"round (\d+): ")
FAILED = re.compile(r"FAILED round (\d+): (.*)")
PLAIN_S, LIVE_S, SAVE_S = 30, 0.5, 2  # between lines, redrawings and savings
SILENT_S = 300  # the program itself gives up sooner
MOST_FAILURES = 10  # of a job, which then stops
LOG_LINES = 2000
SHM = "/dev/shm"
STEM = "SHMQ_STRESS_STEM"  # in the environment of the program: what its names start with


# --- figures ---------------------------------------------------------------------------------------------------------


def pairs(text):
    return dict(word.split("=", 1) for word in text.split())


def count_of(number):
    """At most six characters."""
    for unit in ("", " k", " M", " G"):
        if number < 1000:
            return f"{number:.0f}{unit}" if number >= 100 or not unit else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.0f} T"


def clock(seconds):
    minutes, seconds = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{seconds:02}"


def empty_totals():
    return {"rounds": 0, "skipped": 0, **dict.fromkeys(SUMS, 0), "memory_kib": 0}


def add_round(totals, figures):
    totals["rounds"] += 1
    for name in SUMS:
        totals[name] += int(figures[name])
    totals["memory_kib"] = max(totals["memory_kib"], int(figures["memory_kib"]))


# --- what is kept ----------------------------------------------------------------------------------------------------


def write(path, text):
    """All or nothing, also if we are killed meanwhile."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


class Results:
    """The files of a run, in one directory; another sanitizer's are others."""

    def __init__(self, directory, sanitizer):
        self.directory = directory
        self.failures = os.path.join(directory, "failures")
        self.state, self.totals, self.samples, self.plot, self.picture = (
            os.path.join(directory, f"{kind}-{sanitizer}.{ending}") for kind, ending in
            (("state", "json"), ("totals", "json"), ("samples", "dat"), ("plot", "gp"), ("plot", "svg")))
        try:
            os.makedirs(self.failures, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot write {directory}: {error.strerror}")

    def load(self):
        """The state of an interrupted run, or None."""
        try:
            with open(self.state, encoding="utf-8") as file:
                state = json.load(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read {self.state}: {error}\n--fresh starts anew")
        if not isinstance(state, dict) or state.get("format") != 1:
            raise Failure(f"{self.state} is of another version; --fresh starts anew")
        return state

    def forget(self):
        for path in (self.state, self.samples):
            if os.path.exists(path):
                os.unlink(path)

    def sample(self, *columns):
        new = not os.path.exists(self.samples)
        with open(self.samples, "a", encoding="utf-8") as file:
            if new:
                file.write("# seconds messages/s memory_MiB rounds failures\n")
            file.write(" ".join(f"{column:.10g}" for column in columns) + "\n")

    def draw(self, title):
        """What to tell about the picture."""
        write(self.plot, PLOT.format(title=title, samples=os.path.basename(self.samples),
                                     picture=os.path.basename(self.picture)))
        if not shutil.which("gnuplot"):
            return f"no picture: there is no gnuplot (apt-get install gnuplot-nox; cd {self.directory}; " \
                   f"gnuplot {os.path.basename(self.plot)})"
        done = subprocess.run(["gnuplot", os.path.basename(self.plot)], cwd=self.directory, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        return f"picture: {self.picture}" if done.returncode == 0 else f"no picture: gnuplot: {done.stderr.strip()}"


PLOT = """\
set terminal svg size 900,400 dynamic background rgb 'white'
set output '{picture}'
set title '{title}' noenhanced
set xlabel 'seconds'
set ylabel 'messages per second'
set y2label 'largest process, MiB'
set ytics nomirror
set y2tics
set format y '%.1s%c'
set yrange [0:*]
set y2range [0:*]
set key below
set grid
plot '{samples}' using 1:2 with lines title 'messages per second', \\
     '' using 1:3 axes x1y2 with lines title 'memory'
"""


# --- jobs ------------------------------------------------------------------------------------------------------------


def seed_of(seed, job):
    return int.from_bytes(hashlib.sha256(f"{seed}/{job}".encode()).digest()[:8], "little")


def sweep(stem):
    """Removes what a supervisor that was itself killed could not."""
    for name in os.listdir(SHM):
        if name.startswith(stem + "."):
            path = os.path.join(SHM, name)
            with open(path, "rb") as file:
                header = file.read(0x30)
            instance = "%016x" % struct.unpack_from("=Q", header, 0x28) if len(header) == 0x30 else "-"
            for bell in os.listdir(SHM):
                if bell.startswith((f".shmq.{instance}", f"sem.shmq.{instance}")):
                    os.unlink(os.path.join(SHM, bell))
            os.unlink(path)


class Job:
    """One process after the other, each with the rounds from `next` on."""

    def __init__(self, run, number, first):
        self.run, self.number, self.next = run, number, first
        self.seed = seed_of(run.state["seed"], number)
        self.totals, self.failures = empty_totals(), 0
        self.process, self.stem, self.log = None, None, collections.deque(maxlen=LOG_LINES)
        self.partial, self.heard, self.told, self.over = "", 0.0, None, False

    def start(self, seconds):
        options = self.run.options
        command = [options.stress, "--seed", self.seed, "--first", self.next, "--seconds", f"{seconds:.3f}",
                   "--evidence", self.run.results.failures, "--tied"]
        command += ["--threads"] if options.sanitizer in THREADS else []
        self.stem = f"{self.run.environment.get(STEM, 'shmq-stress')}.{secrets.token_hex(4)}"
        environment = {**self.run.environment, STEM: self.stem}
        try:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, env=environment, start_new_session=True)
        except OSError as error:
            raise Failure(f"cannot run {options.stress}: {error.strerror}. ci/stress builds it")
        self.partial, self.told, self.begun = "", None, None
        self.log.clear()
        self.heard = time.monotonic()
        for stream in (self.process.stdout, self.process.stderr):
            os.set_blocking(stream.fileno(), False)
            self.run.selector.register(stream, selectors.EVENT_READ, self)

    def read(self, stream):
        data = stream.read(1 << 16)
        if data is None:
            return
        self.heard = time.monotonic()
        if not data:
            self.run.selector.unregister(stream)
            stream.close()
            if self.process.stdout.closed and self.process.stderr.closed:
                self.end()
            return
        text = data.decode(errors="replace")
        if stream is self.process.stderr:
            self.log.append(text)
            return
        *lines, self.partial = (self.partial + text).split("\n")
        for line in lines + ([self.partial] if self.partial else []):
            if match := BEGUN.match(line):
                self.begun = int(match[1])
        for line in lines:
            self.line(line)

    def line(self, line):
        self.log.append(line + "\n")
        if match := ROUND.fullmatch(line):
            scenario, figures = pairs(match[2]), pairs(match[3])
            self.next = int(match[1]) + 1
            self.run.round(self, scenario, figures)
        elif ": SKIP: " in line:
            self.totals["skipped"] += 1
            self.run.totals["skipped"] += 1
        elif match := FAILED.fullmatch(line):
            self.told = match[2]

    def end(self):
        status, process = self.process.wait(), self.process
        self.process = None
        if self.partial:
            self.log.append(self.partial + "\n")
        if status != 0:
            sweep(self.stem)
        if status == 0 or self.run.interrupted:
            return
        if self.begun is None:
            raise Failure(f"{self.run.options.stress} ended with exit status {status}:\n{''.join(self.log).strip()}")
        died = f"the supervisor died of signal {-status}" if status < 0 else f"exit status {status}"
        self.fail(self.begun, self.told or died)

    def fail(self, number, reason):
        self.failures += 1
        self.next = number + 1
        self.over = self.failures >= MOST_FAILURES
        evidence = os.path.join(self.run.results.failures, f"{self.seed}-{number}")
        os.makedirs(evidence, exist_ok=True)
        command = self.reproduce(number)
        write(os.path.join(evidence, "log"), "".join(self.log))
        write(os.path.join(evidence, "command"), command + "\n")
        self.run.fail({"job": self.number, "seed": self.seed, "round": number, "reason": reason, "evidence": evidence,
                       "command": command})

    def reproduce(self, number):
        threads = ["--threads"] if self.run.options.sanitizer in THREADS else []
        return shlex.join([os.path.relpath(self.run.options.stress, ROOT) if
                           os.path.abspath(self.run.options.stress).startswith(ROOT) else self.run.options.stress,
                           "--seed", str(self.seed), "--first", str(number), "--rounds", "1", *threads])

    def signal(self, number):
        if self.process:
            self.process.send_signal(number)


class Run:
    """All jobs, until time is up."""

    def __init__(self, options, results, state, directory):
        self.options, self.results, self.state = options, results, state
        self.environment = {**os.environ, "TMPDIR": directory}
        self.environment.pop("TEST_TMPDIR", None)
        self.selector, self.interrupted = selectors.DefaultSelector(), 0
        self.totals, self.notifiers, self.failures = state["totals"], state["notifiers"], state["failures"]
        self.before, self.started = state["spent"], time.monotonic()
        self.jobs = [Job(self, number, first) for number, first in enumerate(state["next"])]
        self.interval = max(1.0, options.minutes * 60 / 300)
        self.sampled, self.fresh = self.before, [0, 0]  # messages and most memory since then
        self.show = Show(self)
        self.saved = 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)

    def interrupt(self, number, _frame):
        self.interrupted = number

    def spent(self):
        return self.before + time.monotonic() - self.started

    def left(self):
        return self.options.minutes * 60 - self.spent()

    # What jobs tell.

    def round(self, job, scenario, figures):
        notifier = self.notifiers.setdefault(scenario.get("notifier", "?"), empty_totals())
        for totals in (job.totals, self.totals, notifier):
            add_round(totals, figures)
        self.fresh = [self.fresh[0] + int(figures["messages"]), max(self.fresh[1], int(figures["memory_kib"]))]

    def fail(self, failure):
        self.failures.append(failure)
        self.show.say(f"FAILED job {failure['job']} round {failure['round']}: {failure['reason']}",
                      f"  to reproduce: {failure['command']}", f"  evidence: {failure['evidence']}")
        self.save()

    # The course of it.

    def save(self):
        self.saved = time.monotonic()
        self.state.update(spent=self.spent(), next=[job.next for job in self.jobs])
        write(self.results.state, json.dumps(self.state) + "\n")

    def sample(self):
        spent = self.spent()
        if spent - self.sampled < self.interval:
            return
        self.results.sample(round(spent, 1), self.fresh[0] / (spent - self.sampled), self.fresh[1] / 1024,
                            self.totals["rounds"], len(self.failures))
        self.sampled, self.fresh = spent, [0, 0]

    def start_those_who_ended(self):
        for job in self.jobs:
            if job.process is None and not job.over and self.left() > 0:
                job.start(self.left())
            elif job.process and time.monotonic() - job.heard > SILENT_S:
                job.told = f"the program said nothing for {SILENT_S} s"
                job.signal(signal.SIGKILL)

    def wait(self, seconds):
        for key, _ in self.selector.select(seconds):
            key.data.read(key.fileobj)

    def loop(self):
        try:
            while not self.interrupted:
                self.start_those_who_ended()
                if not any(job.process for job in self.jobs):
                    break
                self.wait(LIVE_S / 2)
                self.sample()
                self.show.update()
                if time.monotonic() - self.saved > SAVE_S:
                    self.save()
        finally:
            self.end_all()
            self.show.close()
        self.save()

    def end_all(self):
        """Nothing if all have ended by themselves."""
        self.interrupted = self.interrupted or (signal.SIGTERM if any(job.process for job in self.jobs) else 0)
        for number, seconds in ((signal.SIGINT, 5), (signal.SIGKILL, 5)):
            for job in self.jobs:
                job.signal(number)
            until = time.monotonic() + seconds
            while any(job.process for job in self.jobs) and time.monotonic() < until:
                self.wait(0.05)


# --- showing ---------------------------------------------------------------------------------------------------------


class Show:
    """On a terminal a block that is redrawn, elsewhere a line now and then."""

    def __init__(self, run):
        self.run, self.live = run, sys.stdout.isatty()
        self.lines, self.shown = 0, time.monotonic()

    def head(self):
        run = self.run
        what = "" if run.options.sanitizer == "none" else f", {run.options.sanitizer}"
        return f"stress{what}, seed {run.state['seed']}: {clock(run.left())} left of {clock(run.options.minutes * 60)}"

    def row(self, name, totals, failures):
        rate = totals["messages"] / max(0.1, time.monotonic() - self.run.started)
        if totals is self.run.totals:
            rate = totals["messages"] / max(0.1, self.run.spent())
        return (f"{name:>5}{totals['rounds']:>9}{count_of(totals['messages']):>11}{count_of(rate):>11}"
                f"{totals['memory_kib'] / 1024:>11.1f}{totals['kills']:>9}{failures:>10}")

    def block(self, width, height):
        jobs = self.run.jobs[:max(1, height - 5)]
        lines = [self.head(), "  job   rounds   messages  per second  most MiB    kills  failures"]
        lines += [self.row(job.number, job.totals, job.failures) for job in jobs]
        lines += [self.row("all", self.run.totals, len(self.run.failures))]
        return [line[:width - 1] for line in lines]

    def update(self):
        now = time.monotonic()
        if now - self.shown < (LIVE_S if self.live else PLAIN_S):
            return
        self.shown = now
        if self.live:
            self.draw()
            return
        totals = self.run.totals
        print(f"{clock(self.run.left())} left: {totals['rounds']} rounds, {count_of(totals['messages'])} messages, "
              f"{count_of(totals['messages'] / self.run.spent())}/s, {totals['memory_kib'] / 1024:.1f} MiB, "
              f"{totals['kills']} kills, {len(self.run.failures)} failures", flush=True)

    def erase(self):
        if self.lines:
            print(f"\r\x1b[{self.lines}A\x1b[J", end="")
        self.lines = 0

    def draw(self):
        size = shutil.get_terminal_size((80, 24))
        lines = self.block(min(size.columns, 80), size.lines)
        self.erase()
        print("\n".join(lines), flush=True)
        self.lines = len(lines)

    def say(self, *lines):
        self.erase()
        print("\n".join(lines), flush=True)

    def close(self):
        self.erase()
        sys.stdout.flush()


def summary(run, told):
    totals = run.totals
    lines = [f"{totals['rounds']} rounds in {clock(run.spent())} of {len(run.jobs)} jobs, seed {run.state['seed']}: "
             f"{len(run.failures)} failures",
             f"{count_of(totals['messages'])} messages, {count_of(totals['bytes'])}bytes; {totals['kills']} kills, "
             f"{totals['stops']} stops, {totals['signals']} signals",
             f"largest process {totals['memory_kib'] / 1024:.1f} MiB; {totals['lost']} lost and {totals['again']} "
             f"again by kills; {totals['skipped']} skipped",
             "", "notifier    rounds   messages    kills    stops  signals"]
    for name, figures in sorted(run.notifiers.items()):
        lines.append(f"{name:9}{figures['rounds']:>9}{count_of(figures['messages']):>11}{figures['kills']:>9}"
                     f"{figures['stops']:>9}{figures['signals']:>9}")
    lines += [""] + [f"totals: {run.results.totals}", told]
    for failure in run.failures:
        lines += [f"FAILED round {failure['round']}: {failure['reason']}", f"  evidence: {failure['evidence']}",
                  f"  to reproduce: {failure['command']}"]
    return "\n".join(lines)


def totals_of(run, command, finished):
    return {
        "format": 1, "command": command, **origin(),
        "sanitizer": run.options.sanitizer, "seed": run.state["seed"], "jobs": len(run.jobs),
        "minutes": run.options.minutes, "seconds": round(run.spent(), 1), "finished": finished,
        "resumed": run.state["resumed"], **run.totals, "notifiers": run.notifiers, "failures": run.failures,
    }


# --- the command -----------------------------------------------------------------------------------------------------

HELP = """\
Stresses queues: rounds of many ends, each round after a scenario of its own,
under kill -9, stops, signals and pauses; every message must arrive exactly
once, and nothing may be left behind. Jobs run side by side."""

EXAMPLES = """\
examples:
  ci/stress                          ten minutes on all cores
  ci/stress --minutes 480            a night
  ci/stress --sanitizer tsan         threads on one mapping, under ThreadSanitizer

After Ctrl-C or a crash the same call goes on where it stopped. Results are in
stress-results/: totals and samples, a picture if there is gnuplot, and the
evidence of failures. Exit status: 0 at least one round ran and none failed;
1 a failure; 2 wrong arguments; 130 interrupted."""


def minutes(text):
    if not re.fullmatch(r"\d{1,6}(\.\d+)?|\.\d+", text) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time")
    return float(text)


def positive(text):
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of jobs")
    return int(text)


def number(text):
    if not re.fullmatch(r"\d{1,20}", text) or int(text) >= 2**64:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/stress", description=HELP, epilog=EXAMPLES, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=minutes, help="how long (10, or what the interrupted run had)")
    parser.add_argument("--seed", type=number, help="all rounds follow from it (random)")
    parser.add_argument("--jobs", type=positive, help="how many side by side (the number of cores)")
    parser.add_argument("--sanitizer", choices=TARGETS, default="none", help="what it is built with, or runs under")
    parser.add_argument("--fresh", action="store_true", help="forget an interrupted run")
    parser.add_argument("--stress", metavar="PATH", help="the program (ci/stress builds and names it)")
    parser.add_argument("--results", metavar="DIRECTORY", default=os.path.join(ROOT, "stress-results"),
                        help="where results go (stress-results)")
    parser.add_argument("--target", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.stress = options.stress or os.path.join(ROOT, "bazel-bin/tests/stress", TARGETS[options.sanitizer])
    return options


def fresh_state(options):
    jobs = options.jobs or len(os.sched_getaffinity(0))
    return {"format": 1, "seed": secrets.randbelow(2**32) if options.seed is None else options.seed,
            "minutes": options.minutes or 10.0, "next": [0] * jobs, "spent": 0.0, "resumed": 0,
            "totals": empty_totals(), "notifiers": {}, "failures": []}


def take_up(options, results):
    """The state to go on from, that of an interrupted run if there is one."""
    if options.fresh:
        results.forget()
    state = results.load()
    if state is None:
        results.forget()
        state = fresh_state(options)
        options.minutes = state["minutes"]
        print(f"stress: seed {state['seed']}, {len(state['next'])} jobs, {clock(options.minutes * 60)} minutes",
              flush=True)
        return state
    if options.seed not in (None, state["seed"]) or options.jobs not in (None, len(state["next"])):
        raise Failure(f"a run with --seed {state['seed']} --jobs {len(state['next'])} was interrupted: without "
                      "--seed and --jobs it goes on, --fresh starts anew")
    options.minutes = state["minutes"] = options.minutes or state["minutes"]
    state["resumed"] += 1
    print(f"stress: goes on with the run of seed {state['seed']}, {state['totals']['rounds']} rounds and "
          f"{clock(state['spent'])} of {clock(options.minutes * 60)} minutes done (--fresh starts anew)", flush=True)
    return state


def command_of(options, state):
    words = ["ci/stress", "--minutes", f"{options.minutes:g}", "--seed", str(state["seed"]),
             "--jobs", str(len(state["next"]))]
    return shlex.join(words + (["--sanitizer", options.sanitizer] if options.sanitizer != "none" else []))


def run(options):
    """The exit status."""
    results = Results(options.results, options.sanitizer)
    state = take_up(options, results)
    with tempfile.TemporaryDirectory(prefix="shmq-stress-run.") as directory:
        running = Run(options, results, state, directory)
        running.loop()
    finished = not running.interrupted
    write(results.totals, json.dumps(totals_of(running, command_of(options, state), finished), indent=1) + "\n")
    if not finished:
        print(f"stress: interrupted after {running.totals['rounds']} rounds; the same command goes on", flush=True)
        return 128 + running.interrupted
    if not os.path.exists(results.samples):
        results.sample(round(running.spent(), 1), running.fresh[0] / running.spent(), running.fresh[1] / 1024,
                       running.totals["rounds"], len(running.failures))
    os.unlink(results.state)
    what = "" if options.sanitizer == "none" else f", {options.sanitizer}"
    print(summary(running, results.draw(f"ci/stress{what}, seed {state['seed']}")), flush=True)
    if running.totals["rounds"] == 0:
        print("stress: no round ran", file=sys.stderr)
    return 0 if running.totals["rounds"] > 0 and not running.failures else 1


def main():
    options = parse(sys.argv[1:])
    if options.target:
        print(TARGETS[options.sanitizer])
        return
    try:
        sys.exit(run(options))
    except KeyboardInterrupt:  # before there was anything to interrupt
        sys.exit(128 + signal.SIGINT)
    except Failure as failure:
        sys.exit(f"ci/stress: {failure}")


if __name__ == "__main__":
    main()
