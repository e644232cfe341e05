#!/usr/bin/env python3
"""Who survives what: what ci/scoreboard runs once //tests/bench:survival is built.

A row is a peer, a column something that happens to its two ends or their memory, a cell many trials of it. The C program
tries one cell; here they are put together, compared with what shmq promises, and reported. All peers get the same draws.
"""

import argparse
import collections
import json
import os
import re
import secrets
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import cards
import plots
import run as bench
import script
import show
from script import ROOT, Failure, origin

REPORT = "docs/results/scoreboard.md"
PICTURE = "survival-table"
FAMILY = "shmq/"  # these rows promise something
QUICK = 10  # so many times fewer trials
SHOWN = 3  # failures of a cell that may fail

COLUMNS = {  # name: the head of the table, in two lines
    "kill_producer": ("producer", "killed"),
    "kill_consumer": ("consumer", "killed"),
    "start": ("both start", "at once"),
    "truncate": ("object", "truncated"),
    "full": ("/dev/shm", "full"),
}
STEPS = {"step_producer": "producer", "step_consumer": "consumer"}  # name: who is killed after each instruction
DAMAGE = "corrupt"
DAMAGE_HEADS = {"crash": "crash", "hang": "hang", "silent": "silent", "error": "error", "well": "unharmed"}

# Where src/shmq.h promises nothing.
DEATHS = "the death of one end may hang the other"
TRUST = "for ends that trust each other: libc believes what stands in its objects"
EXCUSED = {
    ("shmq/cond", "kill_producer"): DEATHS,
    ("shmq/cond", "kill_consumer"): DEATHS,
    ("shmq/cond", "step_producer"): DEATHS,
    ("shmq/cond", "step_consumer"): DEATHS,
    ("shmq/cond", "truncate"): DEATHS,
    ("shmq/cond", DAMAGE): TRUST,
    ("shmq/named", DAMAGE): TRUST,
}

COST_S = {"kill_producer": 7e-3, "kill_consumer": 7e-3, "start": 1e-3, "truncate": 0.012, "full": 0.01, "corrupt": 5e-3,
          "step_producer": 6e-3, "step_consumer": 6e-3}
SLOW = {"shmq/spin": 7, "ck_ring": 10, "shmq/cond": 36, "mutex": 20, "boost": 20, "zmq": 8, "nanomsg": 8}  # burn; hang
SLOW_STEPS = {"shmq/spin": 5, "shmq/cond": 3, "mutex": 2, "boost": 5, "zmq": 8, "nanomsg": 8, "qb_rb": 2}


# --- trying ----------------------------------------------------------------------------------------------------------


def cost_s(column, peer, trials):
    return 0.05 + COST_S[column] * trials * (SLOW_STEPS if column in STEPS else SLOW).get(peer, 1)


class Progress(bench.Progress):
    """Where nobody looks, a line for each peer."""

    def __init__(self, jobs, trials):
        self.peers, self.told = list(dict.fromkeys(peer for _, peer in jobs)), None
        super().__init__(jobs, 1, lambda job: cost_s(*job, trials[job[0]]))

    def begin(self, _number, job):
        column, peer = job
        where = f"{peer} ({self.peers.index(peer) + 1} of {len(self.peers)})"
        if self.live:
            print(f"\r\x1b[K{self.time_left()}: {where}: {column}"[:79], end="", file=sys.stderr, flush=True)
        elif peer != self.told:
            print(f"{where}, about {self.time_left()}", file=sys.stderr, flush=True)
        self.told = peer


def parse_cell(out):
    """{trials, counts, worst_ms, failures: [(verdict, what, command)]}, and steps where instructions are counted; or
    {absent: reason}; None if it is neither."""
    failures = [(what.split(": ")[1], what, command) for what, command in
                re.findall(r"^FAILED \S+ \S+ (.*)\n  to reproduce: (.*)$", out, re.MULTILINE)]
    if match := re.search(r"^absent: column=\S+ peer=\S+: (.*)$", out, re.MULTILINE):
        return {"absent": match[1]}
    if not (match := re.search(r"^total: column=\S+ peer=\S+ (.*)$", out, re.MULTILINE)):
        return None
    counts = {key: int(value) for key, value in (word.split("=", 1) for word in match[1].split())}
    known = {key: counts.pop(key) for key in ("trials", "worst_ms", "steps") if key in counts}
    return known | {"counts": counts, "failures": failures}


def try_all(program, peers, trials, seed):
    """{peer: {column: cell}}"""
    jobs = [(column, peer) for peer in peers for column in trials]
    progress = Progress(jobs, trials)
    cells = {peer: {} for peer in peers}
    try:
        for column, peer in jobs:
            progress.begin(1, (column, peer))
            status, out, err = program.run(column, peer, "--seed", seed, "--trials", trials[column])
            cell = parse_cell(out)
            if cell is None:
                raise Failure(f"survival {column} {peer} ended with {status}: {err.strip() or out.strip()}")
            cells[peer][column] = cell
            progress.end((column, peer))
    finally:
        progress.close()
    return cells


# --- judging ---------------------------------------------------------------------------------------------------------


def bad(cell):
    """{verdict: how many} of what failed, the most first; what fails in a column is the C program's to say."""
    return dict(collections.Counter(failure[0] for failure in cell.get("failures", [])).most_common())


def missed(cells):
    """The (peer, column) in which shmq does not keep its word."""
    return [(peer, column) for peer, row in cells.items() for column, cell in row.items()
            if peer.startswith(FAMILY) and (peer, column) not in EXCUSED and bad(cell)]


def excuses(cells):
    """Of those that were needed: [(peer, column, why)]."""
    return [(peer, column, why) for (peer, column), why in EXCUSED.items()
            if bad(cells.get(peer, {}).get(column, {}))]


# --- showing ---------------------------------------------------------------------------------------------------------


def short_cell(cell):
    """At most 13 characters."""
    if "absent" in cell:
        return "-"
    failed = bad(cell)
    good = str(cell["trials"] - sum(failed.values()))
    if not failed:
        return good
    word, count = next(iter(failed.items()))
    return f"{good}, {count} {word}{'+' if len(failed) > 1 else ''}"


def long_cell(cell):
    if "absent" in cell:
        return "-"
    failed = bad(cell)
    good = str(cell["trials"] - sum(failed.values()))
    return f"{good} ({', '.join(f'{count} {word}' for word, count in failed.items())})" if failed else good


def step_cells(cell):
    """How many instructions the call has; at how many of how many of them all was well."""
    if "absent" in cell:
        return ["-", "no ptrace here" if "ptrace" in cell["absent"] else "-"]
    good, *failed = long_cell(cell).split(" ", 1)
    return [str(cell["steps"]), " ".join([good, "of", str(cell["trials"]), *failed])]


def damage_cells(cell):
    return [str(cell["counts"][word]) if "counts" in cell else "-" for word in DAMAGE_HEADS]


def text_table(result):
    heads = [*zip(*COLUMNS.values()), [f"× {result['trials'][column]}" for column in COLUMNS]]
    lines = [" " * 12 + "".join(f"{word:>13}" for word in line) for line in heads]
    for peer, row in result["cells"].items():
        lines.append(f"{peer:12}" + "".join(f"{short_cell(row[column]):>13}" for column in COLUMNS))
    lines += ["", f"Killed after every instruction of one call, or {result['trials']['step_producer']} of them",
              " " * 12 + "".join(f"{f'{end} killed':>34}" for end in STEPS.values())]
    for peer, row in result["cells"].items():
        words = (step_cells(row[column])[1] for column in STEPS)
        lines.append(f"{peer:12}" + "".join(f"{word:>34}" for word in words))
    lines += ["", f"16 bytes damaged, × {result['trials'][DAMAGE]}",
              " " * 12 + "".join(f"{head:>10}" for head in DAMAGE_HEADS.values())]
    for peer, row in result["cells"].items():
        lines.append(f"{peer:12}" + "".join(f"{word:>10}" for word in damage_cells(row[DAMAGE])))
    return lines


def failures_of(result):
    """Lines: where nothing was promised some, and then all of those that are a shame, with their commands."""
    shame, lines = missed(result["cells"]), []
    cells = [(peer, column) for peer, row in result["cells"].items() for column in row]
    for peer, column in [cell for cell in cells if cell not in shame] + shame:
        failures = result["cells"][peer][column].get("failures", [])
        shown = failures if (peer, column) in shame else failures[:SHOWN]
        for _, what, command in shown:
            lines += [f"{peer} {column} {what}", f"  to reproduce: {command}"]
        if len(shown) < len(failures):
            lines.append(f"{peer} {column}: {len(failures) - len(shown)} more")
    return lines


def text_report(result):
    lines = [f"How often of so many times all was well, seed {result['seed']}.", "", *text_table(result)]
    for peer, column, why in excuses(result["cells"]):
        lines.append(f"{peer} {column}: {why}")
    return "\n".join(lines + [""] + failures_of(result)).rstrip()


EXPLANATION = """\
Two processes, a producer and a consumer, joined by one peer; every message is told from every other and checked byte by
byte. Each trial has a /dev/shm of its own, and all peers get the same draws. The peers are used as somebody would who
expects the worst: `shmq` with `SHMQ_CHECKSUM` and `shmq_guard_sigbus`.

* producer killed, consumer killed: `SIGKILL` at random, while both stream or while they open; then another one comes.
  Well is: the survivor goes on, the newcomer attaches, every acknowledged message arrives exactly once, in order and with
  its bytes, nobody waits for 10 s in vain, and nothing is left in /dev/shm at the end.
* killed after every instruction: in the middle of one `send` that a sleeping consumer waits for, or one receive that a
  producer waits for without room, `SIGKILL` after its first instruction, after its second, and so on to its last, libc's
  included, a system call being one. What is to go well is the same, but nobody waits for 3 s in vain. Of a call that has
  more instructions than are tried they are evenly spread.
* both start at once: each of two processes creates or attaches at the same instant, and a message must cross.
* object truncated: to 0, while both run. Well is: each end is told by an error.
* /dev/shm full: it is to be created where there is no room. Well is: `ENOSPC` at once, and nothing is left.
* 16 bytes damaged: random bytes of all that is in use (header, cursors, the words beside them, unread messages) while
  messages are unread; then the ends that are there go on, or new ones attach. Unharmed is a wholly right stream; error,
  somebody was told; silent, a message was wrong, lost or repeated and nobody was told, or the stream ended before its
  time as if that were its end. A cursor that is damaged into the place of another message can do that to any ring: to
  shmq's once in some 60,000 trials (`ci/scoreboard --trials 10000 shmq`).
* `-`: it has nothing of the kind. A pipe and a pair of sockets are inherited, so nobody can come in the place of the
  dead; and what the kernel or a process keeps for itself nobody can damage. libqb's ring has to be made before its ends."""


def card(result):
    """How often all was well, as a picture; of damage, how often nobody crashed, hung or took a wrong message."""
    heads = {**COLUMNS, **{column: (f"{end}, at", "each instruction") for column, end in STEPS.items()},
             DAMAGE: ("16 bytes", "damaged")}
    rows = []
    for peer, row in result["cells"].items():
        cells = [row[column] for column in heads]
        rows.append((peer, [(show.NONE, None) if "absent" in cell else
                            (f"{cell['trials'] - len(cell['failures'])} of {cell['trials']}",
                             1 - len(cell["failures"]) / cell["trials"]) for cell in cells]))
    return cards.Card(PICTURE, "How often all was well", list(heads.values()), rows, [cards.source(result)])


def markdown_report(result):
    """docs/results/scoreboard.md."""
    found, cells, trials = result["machine"], result["cells"], result["trials"]
    lines = ["# Who survives what", "", "Written by the command below. What a kill strikes differs from run to run.", "",
             f"    {result['command']}", "",
             f"* commit: {result['commit']}",
             f"* date: {result['date']}",
             f"* machine: {found['processor']}, {found['cores']} cores{', virtual' if found['virtual'] else ''}; "
             f"Linux {found['kernel']}; {found['libc']}", "",
             EXPLANATION, "", "## How often all was well", "",
             *show.markdown_table([["", *(f"{' '.join(head)} × {trials[column]}" for column, head in COLUMNS.items())],
                                    *([peer, *(long_cell(row[column]) for column in COLUMNS)]
                                      for peer, row in cells.items())]), "",
             "## Killed after every instruction of one call", "",
             *show.markdown_table([["", *(head for end in STEPS.values() for head in ("instructions", f"{end} killed"))],
                                    *([peer, *(word for column in STEPS for word in step_cells(row[column]))]
                                      for peer, row in cells.items())]), "",
             f"## 16 bytes damaged, × {trials[DAMAGE]}", "",
             *show.markdown_table([["", *DAMAGE_HEADS.values()],
                                    *([peer, *damage_cells(row[DAMAGE])] for peer, row in cells.items())])]
    if excuses(cells):
        lines += ["", "## Where nothing is promised", "",
                  *(f"* `{peer}`, {column}: {why}" for peer, column, why in excuses(cells))]
    shame = missed(cells)
    if shame:
        lines += ["", "## Where shmq does not keep its word", ""]
        for peer, column in shame:
            lines += [f"* `{peer}`, {column}, {what}: `{command}`" for _, what, command in cells[peer][column]["failures"]]
    return "\n".join(lines) + "\n"


# --- the command -----------------------------------------------------------------------------------------------------

HELP = """\
Kills, damages, truncates and starts two processes that exchange messages, many
times, and counts who survives: shmq with each notifier, and what else moves
messages. It kills at random, and after every single instruction of a call.
Each trial has a /dev/shm of its own; the machine's is not touched."""

EXAMPLES = """\
examples:
  ci/scoreboard --quick              a first impression
  ci/scoreboard                      all of it; minutes, because some peers hang
  ci/scoreboard shmq/sem pipe        these rows
  ci/scoreboard --trials 1000 shmq   a family, for longer
  ci/scoreboard --write              docs/results/: the page, and a picture

Each failure is followed by the command that repeats it. Exit status: 0 shmq
keeps its word; 1 it does not, or something is missing. Ctrl-C leaves nothing."""


def positive(text):
    if not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of trials")
    return int(text)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/scoreboard", description=HELP, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", metavar="PEER", nargs="*", help="only these; a family for all of it: shmq")
    parser.add_argument("--list", action="store_true", help="print what peers there are, and end")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times fewer trials")
    parser.add_argument("--trials", type=positive, metavar="N", help="so many in each cell, if there are so many instructions")
    parser.add_argument("--seed", type=int, help="of what is drawn; printed, to have it again")
    parser.add_argument("--json", metavar="FILE", help="write all counts to FILE")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT} and its picture")
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)  # nothing more: before anything is built
    parser.add_argument("--survival", metavar="PATH", default=os.path.join(ROOT, "bazel-bin/tests/bench/survival"),
                        help="the program that tries (ci/scoreboard builds and names it)")
    return parser.parse_args(arguments)


def choose(wanted, there):
    """The rows, in the table's order."""
    unknown = [word for word in wanted if not any(peer == word or peer.startswith(word + "/") for peer in there)]
    if unknown:
        raise Failure(f"no such peer: {' '.join(unknown)}\nThere are: {' '.join(there)}")
    return [peer for peer in there
            if not wanted or any(peer == word or peer.startswith(word + "/") for word in wanted)]


def plan_trials(program, options):
    """{column: how often}"""
    defaults = dict(line.split() for line in program.run("--columns")[1].splitlines())
    return {column: options.trials or max(1, int(defaults[column]) // (QUICK if options.quick else 1))
            for column in (*COLUMNS, *STEPS, DAMAGE)}


def command(arguments, seed):
    """What to type for the same again: without what ci/scoreboard adds, with the seed."""
    words = list(arguments)
    if "--survival" in words:
        del words[words.index("--survival"):words.index("--survival") + 2]
    if not any(word.startswith("--seed") for word in words):
        words[:0] = ["--seed", str(seed)]
    return shlex.join(["ci/scoreboard", *words])


def score(arguments):
    options = parse(arguments)
    if options.parse:
        return
    program = bench.Bench(options.survival)
    there = program.run("--list")[1].split()
    if options.list:
        print("\n".join(there))
        return
    peers = choose(options.peers, there)
    trials = plan_trials(program, options)
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    result = {"format": 1, "command": command(arguments, seed), **origin(), "seed": seed, "trials": trials}
    result["cells"] = try_all(program, peers, trials, seed)
    print(text_report(result), flush=True)
    if options.json:
        bench.write(options.json, json.dumps(result, indent=1, ensure_ascii=False) + "\n", "ci/scoreboard")
    if options.write:
        bench.write(os.path.join(ROOT, REPORT), markdown_report(result), "ci/scoreboard")
        trouble = plots.draw([card(result)], os.path.join(ROOT, os.path.dirname(REPORT)), cards.script)[1]
        if trouble:
            raise Failure(trouble)
    shame = missed(result["cells"])
    if shame:
        raise Failure("not as promised, see above: " + ", ".join(" ".join(cell) for cell in shame))


if __name__ == "__main__":
    script.run("ci/scoreboard", score)
