#!/usr/bin/env python3
"""Measures all peers side by side and reports: what ci/bench runs once //tests/bench:bench is built.

    plan.py     what is measured: jobs, and their order
    placement.py  where the host has put the cores meanwhile
    run.py      runs them; the command
    figures.py  what they say: medians, ranges, ratios, rankings
    show.py     tables and sentences
    plots.py, cards.py  pictures

A run is several rounds. Each measures everything once, in a new random order. What is told of a figure is the median of
its rounds and how far they lie apart; ratios are taken within each round, because a machine is rarely the same for a
whole run. The C program probes the machine before and after each measurement, and what is brief is measured again
until the host has left its cores in one placement all the while.
"""

import argparse
import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import cards
import figures
import placement
import plan
import plots
import script
import show
from script import ROOT, Failure, origin

RESULTS = "bench-results"
PAGES = "docs/results"
NOTIFIERS, SPEED = f"{PAGES}/notifiers.md", f"{PAGES}/speed.md"
DEATH_TEST = "//tests/unit:death_test"  # prints the lines that --deaths reads
FORMAT = 3  # of the JSON


# ---- Measuring -----------------------------------------------------------------------------------------------------


class Bench:
    """Runs the C program, once a measurement. A signal ends it first and then us, so that nothing is left."""

    def __init__(self, path):
        self.path, self.child, self.signal = path, None, 0
        self.placement, self.patience_s = None, 0.0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)

    def interrupt(self, number, _frame):
        self.signal = number
        if self.child:
            self.child.terminate()

    def run(self, *arguments, path=None):
        try:
            self.child = subprocess.Popen([path or self.path, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            path = path or self.path
            raise Failure(f"cannot run {path}: {error.strerror}. Build it: "
                          f"bazel build //tests/bench:{os.path.basename(path)}") from error
        if self.signal:  # it came before there was a child to end
            self.child.terminate()
        out, err = self.child.communicate()
        status, self.child = self.child.returncode, None
        if self.signal:
            raise KeyboardInterrupt
        return status, out, err

    def peers(self):
        return self.run("--list")[1].split()

    def path_of(self, job):
        """A variant is another program, unless it is but an option."""
        return self.path if job.variant in ("", plan.CHECKSUM) else f"{self.path}_{job.variant}"

    def hold(self, planned_s, place=None):
        """Measures with the cores in this placement, or in the nearest that the host has for them."""
        self.patience_s = placement.PATIENCE * planned_s
        if place:
            self.placement = place
            return
        probes = []
        for _ in range(placement.LOOKS):
            try:
                probes += json.loads(self.run("system_call", plan.MACHINE, "--rounds", 1)[1])["probe_ns"]
            except (ValueError, KeyError):
                break
        self.placement = placement.nearest(probes)

    def measure_once(self, form, job):
        """What the C program prints of it, with the job."""
        words = plan.arguments(form, job)
        if self.placement and self.patience_s > 0 and plan.brief(job):
            words += ["--placement", "%d-%d" % tuple(self.placement)]
        status, out, err = self.run(*words, path=self.path_of(job))
        try:
            return json.loads(out) | {"job": job}
        except ValueError:
            return {"job": job, "outcome": "failed", "reason": err.strip() or f"exit status {status}"}

    def measure(self, form, job):
        """The same, again if the cores were elsewhere and that matters."""
        for _ in range(placement.TRIES):
            started = time.monotonic()
            found = self.measure_once(form, job)
            if self.patience_s <= 0 or not plan.brief(job) or not placement.elsewhere(found, self.placement):
                break
            self.patience_s -= time.monotonic() - started
        return found


class Progress:
    """One line that changes on a terminal, one line a round elsewhere. cost() is the seconds that a job should take;
    how long the first ones did corrects the estimate."""

    def __init__(self, jobs, rounds, cost):
        self.live, self.rounds, self.started = sys.stderr.isatty(), rounds, time.monotonic()
        self.cost, self.spent = cost, 0.0
        self.planned = sum(map(cost, jobs)) or 1.0

    def left(self):
        if not self.spent:
            return self.planned
        return (time.monotonic() - self.started) / self.spent * (self.planned - self.spent)

    def time_left(self):
        minutes, seconds = divmod(round(self.left()), 60)
        return f"{minutes}:{seconds:02} left"

    def round(self, number):
        if not self.live:
            print(f"round {number} of {self.rounds}, about {self.time_left()}", file=sys.stderr, flush=True)

    def begin(self, number, what):
        if self.live:
            line = f"round {number} of {self.rounds}, {self.time_left()}: {what}"
            print(f"\r\x1b[K{line[:79]}", end="", file=sys.stderr, flush=True)

    def end(self, job):
        self.spent += self.cost(job)

    def close(self):
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def measure_all(bench, form, rounds):
    """What the C program printed, with the number of the round. What a peer does not have it is asked only once."""
    progress = Progress([job for jobs in rounds for job in jobs], len(rounds), lambda job: plan.cost(form, job))
    runs, absent = [], set()
    try:
        for number, jobs in enumerate(rounds, 1):
            progress.round(number)
            for job in jobs:
                progress.begin(number, f"{job.peer}, {show.job_in_words(job)}")
                if job not in absent:
                    found = bench.measure(form, job)
                    runs.append({"round": number, **found})
                    if found["outcome"] == "not here":
                        absent.add(job)
                progress.end(job)
    finally:
        progress.close()
    return runs


# ---- The command ---------------------------------------------------------------------------------------------------

HELP = """\
Measures shmq with each notifier beside what else moves messages between two
processes on two cores: one way and there and back, messages and rings of all
sizes, many ends, what waiting and what checks cost; and what the machine can do
at best."""

EXAMPLES = """\
examples:
  ci/bench --quick                   a first impression, in a few minutes
  ci/bench                           all of it; up to 20 minutes
  ci/bench --full                    and rings up to 4 GiB, 10^9 messages
  ci/bench shmq/sem unix             these alone, and the bounds
  ci/bench --only one_way,attach     these sections
  ci/bench --compare bench-results/X.json
                                     what has become of an earlier run's figures
  ci/bench --write                   docs/results/: pages and pictures

All figures are kept in bench-results/, with pictures. A ring that would need
more than a quarter of the free memory is left out. Close what else runs: the
last line tells whether the machine was steady. Ctrl-C leaves nothing behind."""


def positive(text):
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)


def sections(text):
    words = text.split(",")
    if unknown := [word for word in words if word not in plan.SECTIONS]:
        raise argparse.ArgumentTypeError(f"no such section: {' '.join(unknown)}")
    return words


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/bench", description=HELP, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", metavar="PEER", nargs="*", help="only these; a family for all of it: shmq")
    parser.add_argument("--list", action="store_true", help="print what peers there are, and end")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--quick", dest="form", action="store_const", const="quick", help="less of everything")
    forms.add_argument("--full", dest="form", action="store_const", const="full", help="the largest and longest, too")
    parser.set_defaults(form="default")
    parser.add_argument("--only", metavar="SECTION,…", type=sections, default=list(plan.SECTIONS),
                        help=f"of {', '.join(plan.SECTIONS)}")
    parser.add_argument("--rounds", type=positive, metavar="N",
                        help=f"how often all is measured ({plan.FORMS['default'].rounds}; quick: "
                             f"{plan.FORMS['quick'].rounds}); below {figures.ENOUGH} no ranking is stated")
    parser.add_argument("--seed", type=int, help="of the order; printed, to have the same order again")
    parser.add_argument("--json", metavar="FILE",
                        help=f"write all figures to FILE, and no pictures ({RESULTS}/DATE.json)")
    parser.add_argument("--compare", metavar="OLD.json", help="say what is faster or slower than in that run")
    parser.add_argument("--write", action="store_true", help=f"write {NOTIFIERS}, {SPEED} and its pictures")
    parser.add_argument("--deaths", metavar="FILE", help=f"add to the report what {DEATH_TEST} printed into FILE")
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)  # nothing more: before anything is built
    parser.add_argument("--bench", metavar="PATH", default=os.path.join(ROOT, "bazel-bin/tests/bench/bench"),
                        help="the program that measures, and PATH_unchecked (ci/bench builds and names them)")
    return parser.parse_args(arguments)


def choose(wanted, there):
    """The peers to compare, in the table's order."""
    comparable = [peer for peer in there if peer not in plan.BOUNDS]
    unknown = [word for word in wanted if word not in comparable and
               not any(peer.startswith(word + "/") for peer in comparable)]
    if unknown:
        families = " ".join(dict.fromkeys(peer.split("/")[0] for peer in comparable if "/" in peer))
        raise Failure(f"no such peer: {' '.join(unknown)}\nThere are: {' '.join(comparable)}\n"
                      f"and as a family: {families}")
    return [peer for peer in comparable
            if not wanted or any(peer == word or peer.startswith(word + "/") for word in wanted)]


def command(arguments, seed):
    """What to type for the same again: without what ci/bench adds, with the seed."""
    words = list(arguments)
    for option in ("--bench", "--deaths"):
        if option in words:
            del words[words.index(option):words.index(option) + 2]
    if not any(word.startswith("--seed") for word in words):
        words[:0] = ["--seed", str(seed)]
    return shlex.join(["ci/bench", *words])


def read(path, what):
    try:
        with open(path, encoding="utf-8") as file:
            return what(file)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error


def read_deaths(path):
    deaths = read(path, figures.parse_deaths)
    if not deaths:
        raise Failure(f"no line in {path} starts with deaths:")
    return deaths


def read_old(path):
    """What --json once wrote."""
    try:
        old = read(path, json.load)
        if old["format"] == FORMAT:
            return old
    except (ValueError, TypeError, KeyError) as error:
        raise Failure(f"{path} is not what ci/bench --json writes") from error
    raise Failure(f"{path} is of another version of ci/bench: measure that commit again")


def write(path, text, writer="ci/bench"):
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
    print(f"{writer}: wrote {path}", file=sys.stderr)


def draw(result, directory):
    """The plots that were made; says why others were not. The main figures are also a picture, for the README."""
    made, trouble = plots.draw(plots.pictures(result), directory)
    trouble = trouble or plots.draw([cards.speed(result)], directory, cards.script)[1]
    if trouble:
        print(f"ci/bench: {trouble}", file=sys.stderr)
    return made


def keep(result, path):
    """All figures, there or in bench-results/; there with pictures."""
    text = json.dumps(result.kept | {"figures": figures.pack(result.figures)}, indent=1, ensure_ascii=False) + "\n"
    if path:
        return write(path, text)
    name = f"{result.kept['date'][:19].replace(':', '')}-{result.kept['seed']}"
    directory = os.path.join(ROOT, RESULTS, name)
    write(directory + ".json", text)
    os.makedirs(directory, exist_ok=True)
    return draw(result, directory)


def write_pages(result):
    made = draw(result, os.path.join(ROOT, PAGES))
    write(os.path.join(ROOT, NOTIFIERS), show.notifiers_page(result))
    write(os.path.join(ROOT, SPEED), show.speed_page(result, made))


def conclude(kept, form, peers, runs):
    """The Result of these runs."""
    probes = [probe for found in runs for probe in found.get("probe_ns", ())]
    kept |= {"cores": next((found["cores"] for found in runs if "cores" in found), []),
             "probes": [min(probes, default=0), max(probes, default=0)]}
    return show.Result(kept, form, peers, *figures.summarize(runs, kept["placement"]))


def run(arguments):
    options = parse(arguments)
    if options.parse:
        return
    bench = Bench(options.bench)
    there = bench.peers()
    if options.list:
        print("\n".join(peer for peer in there if peer not in plan.BOUNDS))
        return
    peers, form = choose(options.peers, there), plan.FORMS[options.form]
    rounds = options.rounds or form.rounds
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    old = read_old(options.compare) if options.compare else None
    kept = {
        "format": FORMAT, "command": command(arguments, seed), **origin(), "load": os.getloadavg()[0], "seed": seed,
        "rounds": rounds, "deaths": read_deaths(options.deaths) if options.deaths else [],
    }
    jobs = plan.plan(form, peers, options.only, rounds, seed)
    planned_s = sum(plan.cost(form, job) for round_jobs in jobs for job in round_jobs)
    bench.hold(planned_s, old["placement"] if old and old["machine"] == kept["machine"] else None)
    kept["placement"] = bench.placement
    result = conclude(kept, form, peers, measure_all(bench, form, jobs))
    print(show.text_report(result), flush=True)
    if old:
        before = figures.unpack(old["figures"])
        print("\n" + show.compare_report(figures.compare(before, result.figures),
                                         figures.contradictions(before, result.figures), old, kept))
    keep(result, options.json)
    if options.write:
        write_pages(result)
    if any(outcome != "not here" for outcome, _ in result.missing.values()):
        raise Failure("not everything could be measured, see above")


if __name__ == "__main__":
    script.run("ci/bench", run)
