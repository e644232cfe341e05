#!/usr/bin/env python3
"""Measures all peers side by side and reports: what ci/bench runs once //tests/bench:bench is built.

A run is several rounds. Each measures everything once, in a new random order, between two probes of the machine (a
cache line's round trip); what is told of a figure is the median of its rounds and how far they lie apart. A ratio to
the pipe is taken within each round, because a machine is rarely the same for a whole run.
"""

import argparse
import collections
import json
import os
import random
import re
import secrets
import shlex
import signal
import statistics
import subprocess
import sys
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import script
from script import ROOT, Failure, origin

REPORT = "docs/results/notifiers.md"
DEATH_TEST = "//tests/unit:death_test"  # prints the lines that --deaths reads

REFERENCE = "pipe"
PROBE = "cache_line"
MACHINE = (PROBE, "futex", "semaphore", "eventfd")  # not compared but shown below the others: what it can do at best
ALONE = "machine"  # stands for what needs no peer
LIMIT = "limit"  # the tightest ring: says how far the others are from what is possible
NO_LIMIT = 0.95  # of what copying alone needs, and of the best peer: below this it is no limit
STEADY = 1.5  # probes further apart than this say that something else was running

FORMS = {  # rounds of a run, and the arguments of each measure
    False: (5, {"round_trip": 20000, "wake": 200, "idle": 2000, "idle_timeout": 2000, "stream": 100}),
    True: (2, {"round_trip": 5000, "wake": 50, "idle": 250, "idle_timeout": 250, "stream": 30}),
}
STREAMS = {64: "64 B", 1 << 16: "64 KiB", 1 << 20: "1 MiB"}  # sizes; a measure of one is called "stream@64"
COPIES_FROM = 1 << 16  # from this size on a message's time is that of copying it
COST_S = {"round_trip": 3e-5, "wake": 2.2e-3, "idle": 1e-3, "idle_timeout": 1e-3, "stream": 2e-3, "memcpy": 2e-3,
          "system_call": 1e-4}  # of one, for the estimate
WAITS = ("idle", "idle_timeout")  # their argument is milliseconds; that of the others, --rounds


# --- measuring -------------------------------------------------------------------------------------------------------


class Bench:
    """Runs the C program, once a measurement. A signal ends it first and then us, so that nothing is left."""

    def __init__(self, path):
        self.path, self.child, self.signal = path, None, 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)

    def interrupt(self, number, _frame):
        self.signal = number
        if self.child:
            self.child.terminate()

    def run(self, *arguments):
        try:
            self.child = subprocess.Popen([self.path, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise Failure(f"cannot run {self.path}: {error.strerror}. Build it: "
                          f"bazel build //tests/bench:{os.path.basename(self.path)}")
        if self.signal:  # it came before there was a child to end
            self.child.terminate()
        out, err = self.child.communicate()
        status, self.child = self.child.returncode, None
        if self.signal:
            raise KeyboardInterrupt
        return status, out, err

    def peers(self):
        return self.run("--list")[1].split()

    def measure(self, measure, peer, size):
        kind, _, length = measure.partition("@")
        status, out, err = self.run(kind, peer, "--wait-ms" if kind in WAITS else "--rounds", size,
                                    *(["--bytes", length] if length else []))
        try:
            run = json.loads(out)
            if length and "figures" in run:
                run["figures"] = {f"{name}@{length}": figure for name, figure in run["figures"].items()}
            return run | {"measure": measure}
        except ValueError:
            return {"peer": peer, "measure": measure, "outcome": "failed",
                    "reason": err.strip() or f"exit status {status}"}


def kind_of(measure):
    return measure.partition("@")[0]


def size_of(measure, sizes):
    """Its argument: what goes with the streams has as many rounds as they."""
    return sizes.get(kind_of(measure), sizes["stream"])


class Progress:
    """One line that changes on a terminal, one line a round elsewhere."""

    def __init__(self, jobs, rounds, sizes):
        self.live, self.rounds, self.started = sys.stderr.isatty(), rounds, time.monotonic()
        self.sizes, self.spent = sizes, 0.0
        self.planned = sum(map(self.cost, jobs)) or 1.0

    def cost(self, job):
        """Seconds that a measurement should take; how long the first ones did corrects the estimate."""
        return 0.05 + COST_S[kind_of(job[0])] * size_of(job[0], self.sizes)

    def left(self):
        if not self.spent:
            return self.planned
        return (time.monotonic() - self.started) / self.spent * (self.planned - self.spent)

    def round(self, number):
        if not self.live:
            print(f"round {number} of {self.rounds}, about {self.left():.0f} s left", file=sys.stderr, flush=True)

    def begin(self, number, job):
        if self.live:
            minutes, seconds = divmod(round(self.left()), 60)
            what = f"round {number} of {self.rounds}, {minutes}:{seconds:02} left: {job[0]} {job[1]}"
            print(f"\r\x1b[K{what[:79]}", end="", file=sys.stderr, flush=True)

    def end(self, job):
        self.spent += self.cost(job)

    def close(self):
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def plan(peers, rounds, sizes, seed):
    """Lists of (measure, peer), one a round."""
    order = random.Random(seed)
    streams = [f"stream@{length}" for length in STREAMS]
    measures = [measure for measure in sizes if measure != "stream"] + streams
    jobs = [(measure, peer) for peer in peers for measure in measures]
    jobs += [("wake", peer) for peer in MACHINE] + [("round_trip", peer) for peer in MACHINE if peer != PROBE]
    jobs += [(measure, LIMIT) for measure in streams]
    jobs += [(f"memcpy@{length}", ALONE) for length in STREAMS] + [("system_call", ALONE)]
    probe = ("round_trip", PROBE)
    return [[probe, *order.sample(jobs, len(jobs)), probe] for _ in range(rounds)]


def measure_all(bench, rounds, sizes):
    """What the C program printed, with the number of the round. What a peer does not have it is asked only once."""
    progress = Progress([job for jobs in rounds for job in jobs], len(rounds), sizes)
    runs, absent = [], set()
    try:
        for number, jobs in enumerate(rounds, 1):
            progress.round(number)
            for job in jobs:
                progress.begin(number, job)
                if job not in absent:
                    run = bench.measure(*job, size_of(job[0], sizes))
                    runs.append({"round": number, **run})
                    if run["outcome"] == "not here":
                        absent.add(job)
                progress.end(job)
    finally:
        progress.close()
    return runs


# --- figures ---------------------------------------------------------------------------------------------------------


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def summarize(runs):
    """{peer: {figure: {unit, median, least, most, p99, ratio, rounds}}}, and {peer: [why not]}."""
    collected = collections.defaultdict(lambda: collections.defaultdict(list))
    missing = collections.defaultdict(list)
    for run in runs:
        for name, figure in run.get("figures", {}).items():
            collected[run["peer"]][name].append((run["round"], run["unit"], figure))
        if run["outcome"] != "measured":
            what = "not here" if run["outcome"] == "not here" else f"{run['measure']} {run['outcome']}"
            missing[run["peer"]].append(f"{what}: {run['reason']}")
    figures = {}
    for peer, names in collected.items():
        figures[peer] = {}
        for name, found in names.items():
            reference = {number: figure["p50"] for number, _, figure in collected.get(REFERENCE, {}).get(name, [])}
            ratios = [figure["p50"] / reference[number] for number, _, figure in found if reference.get(number)]
            figures[peer][name] = {
                "unit": found[0][1], **spread([figure["p50"] for _, _, figure in found]),
                "p99": statistics.median(figure["p99"] for _, _, figure in found),
                "ratio": statistics.median(ratios) if ratios else None,
                "rounds": [figure["p50"] for _, _, figure in found],
            }
    return figures, {peer: list(dict.fromkeys(reasons)) for peer, reasons in missing.items()}


def parse_deaths(lines):
    """The dictionaries of lines such as "deaths: notifier=cond victim=producer trials=200 hung=37 …"; others pass."""
    found = []
    for line in lines:
        match = re.fullmatch(r"deaths:((?:\s+\w+=\S+)+)\s*", line)
        if match:
            pairs = (word.split("=", 1) for word in match[1].split())
            found.append({key: int(value) if re.fullmatch(r"-?\d+", value) else value for key, value in pairs})
    return found


# --- showing ---------------------------------------------------------------------------------------------------------


def in_us(figure, key="median"):
    return f"{figure[key] / 1000:.2f}" if figure["unit"] == "ns" else f"{figure[key]:.0f}"


def times(figure):
    """The ratio to the pipe, if there is one."""
    return "" if figure["ratio"] is None else f"{figure['ratio']:.2f}"


def seconds(result):
    return f"{result['sizes']['idle'] / 1000:g} s"


def number_of_rounds(result):
    return "1 round" if result["rounds"] == 1 else f"{result['rounds']} rounds"


def columns(result):
    """(figure, what it is, compared with the pipe), in microseconds all of them."""
    return [
        ("round_trip", "round trip", True),
        ("wake", "wake-up", True),
        ("round_trip_asleep", "both asleep", True),
        ("wake_send", "send that wakes", True),
        ("idle", f"idle {seconds(result)}", False),
        ("idle_timeout", "with time-out", False),
    ]


def rows(result):
    """All peers in their order, those not measured included; the machine's own last."""
    known = [peer for peer in result["peers"] if (peer in result["figures"] or peer in result["missing"]) and
             peer not in (LIMIT, ALONE)]
    return [peer for peer in known if peer not in MACHINE] + [peer for peer in known if peer in MACHINE]


def cell(figure, compared):
    if figure is None:
        return "-".rjust(9) + " " * (13 if compared else 6)
    apart = 100 * (figure["most"] - figure["least"]) / figure["median"] if figure["median"] else 0
    text = f"{in_us(figure):>9}{f'{min(apart, 999):.0f}%':>6}"
    return f"{text}{times(figure):>7}" if compared else text


def table(result, chosen):
    """Lines of up to 80 columns for the columns chosen."""
    titles, heads = "", "µs".ljust(11)
    for _, title, compared in chosen:
        titles += title.rjust(22 if compared else 15)
        heads += "   median range" + (" × pipe" if compared else "")
    lines = [" " * 11 + titles, heads]
    for peer in rows(result):
        if peer == MACHINE[0]:
            lines.append("-" * len(heads))
        figures = result["figures"].get(peer)
        if figures is None:
            lines.append(f"{peer:12} {result['missing'][peer][0]}"[:80])
        else:
            cells = (cell(figures.get(name), compared) for name, _, compared in chosen)
            lines.append((peer.ljust(11) + "".join(cells)).rstrip())
    return lines


def steadiness(result):
    """What the probes say of the machine."""
    probe = result["figures"].get(PROBE, {}).get("round_trip")
    if not probe:
        return "The machine was not probed."
    text = f"Probes (a cache line, both ways): {probe['least']:.0f} to {probe['most']:.0f} ns"
    text += f"; load before: {result['load']:.1f}"
    return text if probe["most"] <= STEADY * probe["least"] else text + "; NOT STEADY"


def seen(result, peer, figure):
    """Its median, or None."""
    return result["figures"].get(peer, {}).get(figure, {}).get("median")


def of_limit(result, length):
    """What `limit` reaches of copying, how many times faster than the best peer it is, and who that is; or None."""
    own = seen(result, LIMIT, f"stream@{length}")
    copies = [seen(result, ALONE, f"memcpy_{way}@{length}") for way in ("in", "out")]
    peers = {peer: seen(result, peer, f"stream@{length}") for peer in rows(result)}
    peers = {peer: median for peer, median in peers.items() if median}
    if not own or not all(copies) or not peers:
        return None
    best = min(peers, key=peers.get)
    return max(copies) / own, peers[best] / own, best


def limit_lines(result):
    """What copying and a system call take, how near `limit` is to that, and whether it is one: sentences."""
    lines, wrong = [], []
    for length, title in STREAMS.items():
        if not (found := of_limit(result, length)):
            continue
        copied, faster, best = found
        lines.append(f"{title}: memcpy {seen(result, ALONE, f'memcpy@{length}') / 1000:.0f} ns in one process; limit "
                     f"{seen(result, LIMIT, f'stream@{length}') / 1000:.0f} ns a message, {copied:.2f} × memcpy from one "
                     f"core to the other and {faster:.2f} × the best peer, {best}")
        if length >= COPIES_FROM and copied < NO_LIMIT:
            wrong.append(f"{title}: {copied:.2f} × memcpy")
        if faster < (NO_LIMIT if length >= COPIES_FROM else 1):
            wrong.append(f"{title}: {best} is faster")
    if call := seen(result, ALONE, "system_call"):
        lines.append(f"A system call that does nothing: {call / 1000:.0f} ns")
    return lines + [f"LIMIT IS NO LIMIT HERE: {'; '.join(wrong)}"] if wrong else lines


def troubles(result):
    return [f"{peer}: {reason}" for peer in rows(result) for reason in result["missing"].get(peer, [])
            if peer in result["figures"]]


def death_rows(deaths):
    """A head and rows of text, of whatever the lines name."""
    keys = list(dict.fromkeys(key for death in deaths for key in death))
    return [[key.replace("_", " ") for key in keys]] + [[str(death.get(key, "")) for key in keys] for death in deaths]


def death_title(deaths):
    trials = sorted({death["trials"] for death in deaths if "trials" in death})
    return f"Killed {' or '.join(map(str, trials))} times" if trials else "Killed"


def text_report(result):
    every = columns(result)
    lines = [f"Medians of {number_of_rounds(result)}, seed {result['seed']}; range is (most - least) / median.",
             *two_cores(result), "",
             *table(result, every[:3]), "", *table(result, every[3:]), "", *troubles(result),
             *(line for text in limit_lines(result) for line in textwrap.wrap(text, 80, subsequent_indent="  ")),
             steadiness(result)]
    if result["deaths"]:
        lines += ["", death_title(result["deaths"]), ""]
        found = death_rows(result["deaths"])
        widths = [max(map(len, column)) for column in zip(*found)]
        lines += ["  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip() for row in found]
    return "\n".join(lines)


def two_cores(result):
    if len(result["cores"]) == 2:
        return ["The two processes are pinned to cores %d and %d." % tuple(result["cores"])]
    return ["There is only one core: the two processes share it, and most figures say little."]


def markdown_table(found):
    """Numbers are to the right."""
    head, *body = found
    marks = ["---:" if any(row[i][:1].isdigit() for row in body) else "---" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, marks, *body]]


def markdown_cell(figure, compared):
    if figure is None:
        return ["", ""] if compared else [""]
    text = f"{in_us(figure)} ({in_us(figure, 'least')} to {in_us(figure, 'most')})"
    return [text, times(figure)] if compared else [text]


def markdown_figures(result, chosen):
    head = ["µs"]
    for _, title, compared in chosen:
        head += [title, "× pipe"] if compared else [title]
    found = [head]
    for peer in rows(result):
        figures = result["figures"].get(peer)
        if figures is None:
            found.append([peer, result["missing"][peer][0]] + [""] * (len(head) - 2))
        else:
            found.append([peer] + [text for name, _, compared in chosen
                                   for text in markdown_cell(figures.get(name), compared)])
    return markdown_table(found)


EXPLANATION = """\
Two processes on two cores, messages of 64 bytes. Medians of {rounds}, and in brackets the least and the most of them;
× pipe is the median of the ratios within each round.

* round trip: there and back at full speed, so nobody needs to sleep who looks before.
* wake-up: one way to a receiver that sleeps, from just before `send` to just after `receive`.
* both asleep: there and back, each receiver asleep: the two wake-ups of one exchange.
* send that wakes: how much of a wake-up the sender itself spends.
* idle: processor time that a receiver uses while it waits for ever and a message comes after {seconds}; with time-out:
  the same with a time-out of {seconds} and no message.
* `cache_line`, `futex`, `semaphore` and `eventfd` are no queues but what this machine can do at best: a cache line that
  goes there and back, and three whose waiters sleep at once."""


def markdown_report(result):
    """docs/results/notifiers.md."""
    found, every = result["machine"], columns(result)
    lines = ["# Notifiers, measured", "",
             "Written by the command below. Figures of another machine differ; compare within one table.", "",
             f"    {result['command']}", "",
             f"* commit: {result['commit']}",
             f"* date: {result['date']}",
             f"* machine: {found['processor']}, {found['cores']} cores{', virtual' if found['virtual'] else ''}; "
             f"Linux {found['kernel']}; {found['libc']}",
             f"* {two_cores(result)[0]} {steadiness(result)}.", "",
             EXPLANATION.format(rounds=number_of_rounds(result), seconds=seconds(result)), "",
             "## Time", "", *markdown_figures(result, every[:3]), "",
             "## Cost", "", *markdown_figures(result, every[3:])]
    if limit_lines(result):
        lines += ["", "## What is possible here", "", *(f"* {line}" for line in limit_lines(result))]
    if troubles(result):
        lines += ["", "## Not measured", "", *(f"* {trouble}" for trouble in troubles(result))]
    if result["deaths"]:
        lines += ["", f"## {death_title(result['deaths'])}", "",
                  f"From `SHMQ_LONG=1 bazel run {DEATH_TEST}`.", "", *markdown_table(death_rows(result["deaths"]))]
    return "\n".join(lines) + "\n"


# --- the command -----------------------------------------------------------------------------------------------------

HELP = """\
Measures shmq with each notifier beside what else moves messages between two
processes on two cores: round trips, the wake-up of a sleeper, what waiting
costs, one way; and what the machine can do at best."""

EXAMPLES = """\
examples:
  ci/bench --quick                   a first impression
  ci/bench                           all of it; minutes
  ci/bench shmq/sem unix             these, and the pipe they are compared with
  ci/bench --json before.json        keep every figure
  ci/bench --write                   docs/results/notifiers.md

Close what else runs: the probes at the end of the output tell whether the
machine was steady. Ctrl-C leaves nothing behind."""


def positive(text):
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/bench", description=HELP, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", metavar="PEER", nargs="*", help="only these, and the pipe; a family for all of it: shmq")
    parser.add_argument("--list", action="store_true", help="print what peers there are, and end")
    parser.add_argument("--quick", action="store_true", help="less of everything, in about a minute")
    parser.add_argument("--rounds", type=positive, help="how often all is measured (5; quick: 2)")
    parser.add_argument("--seed", type=int, help="of the order; printed, to have the same order again")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT}")
    parser.add_argument("--deaths", metavar="FILE", help=f"add to the report what {DEATH_TEST} printed into FILE")
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)  # nothing more: before anything is built
    parser.add_argument("--bench", metavar="PATH", default=os.path.join(ROOT, "bazel-bin/tests/bench/bench"),
                        help="the program that measures (ci/bench builds and names it)")
    return parser.parse_args(arguments)


def is_bound(peer):
    return peer in (*MACHINE, LIMIT, ALONE)


def choose(wanted, there):
    """The peers to compare, in the table's order."""
    comparable = [peer for peer in there if not is_bound(peer)]
    if not wanted:
        return comparable
    unknown = [word for word in wanted if word not in comparable and
               not any(peer.startswith(word + "/") for peer in comparable)]
    if unknown:
        raise Failure(f"no such peer: {' '.join(unknown)}\nThere are: {' '.join(comparable)}\n"
                      "and as a family: " + " ".join(dict.fromkeys(peer.split("/")[0] for peer in comparable
                                                                   if "/" in peer)))
    return [peer for peer in comparable if peer == REFERENCE or
            any(peer == word or peer.startswith(word + "/") for word in wanted)]


def command(arguments, seed):
    """What to type for the same again: without what ci/bench adds, with the seed."""
    words = list(arguments)
    for option in ("--bench", "--deaths"):
        if option in words:
            del words[words.index(option):words.index(option) + 2]
    if not any(word.startswith("--seed") for word in words):
        words[:0] = ["--seed", str(seed)]
    return shlex.join(["ci/bench", *words])


def read_deaths(path):
    try:
        with open(path, encoding="utf-8") as file:
            deaths = parse_deaths(file)
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}")
    if not deaths:
        raise Failure(f"no line in {path} starts with deaths:")
    return deaths


def write(path, text, writer="ci/bench"):
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}")
    print(f"{writer}: wrote {path}", file=sys.stderr)


def run(arguments):
    options = parse(arguments)
    if options.parse:
        return
    bench = Bench(options.bench)
    there = bench.peers()
    if options.list:
        print("\n".join(peer for peer in there if not is_bound(peer)))
        return
    chosen = choose(options.peers, there)
    deaths = read_deaths(options.deaths) if options.deaths else []
    rounds, sizes = FORMS[options.quick]
    rounds = options.rounds or rounds
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    result = {
        "format": 1, "command": command(arguments, seed), **origin(),
        "load": os.getloadavg()[0], "seed": seed, "rounds": rounds, "sizes": sizes, "peers": there, "deaths": deaths,
    }
    result["runs"] = measure_all(bench, plan(chosen, rounds, sizes, seed), sizes)
    result["figures"], result["missing"] = summarize(result["runs"])
    result["cores"] = next((found["cores"] for found in result["runs"] if "cores" in found), [])
    print(text_report(result), flush=True)
    if options.json:
        write(options.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    if options.write:
        write(os.path.join(ROOT, REPORT), markdown_report(result))
    if any(found["outcome"] in ("failed", "hung") for found in result["runs"]):
        raise Failure("not everything could be measured, see above")


if __name__ == "__main__":
    script.run("ci/bench", run)
