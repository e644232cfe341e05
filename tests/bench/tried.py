#!/usr/bin/env python3
"""What makes the core fast, and what does not: builds it with each attempt of tried.toml alone, in a scratch copy of
the tree, and measures that beside the core as it is. All of them take some minutes.

An attempt is a change of the core as it is now. Either it takes away something that the core has ("kept"), or it adds
something that was tried and is not there ("rejected"). Some make the core slower or unsafe: they are only measured.
ci/tried runs this.
"""

import argparse
import collections
import contextlib
import os
import random
import secrets
import shlex
import shutil
import statistics
import sys
import textwrap

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import placement
import plan
import run
import scratch
import script
import show
from script import ROOT, Failure

ATTEMPTS = "tests/bench/tried.toml"
REPORT = "docs/results/tried.md"
KEYS = {"name", "kind", "what", "why", "jobs", "edits"}
KINDS = {"kept": "In the core: without it", "rejected": "Not in the core: with it"}
PROGRAM = "bench"  # with an attempt, bench_NAME
TARGET = f"//tests/bench:{PROGRAM}"
PEER = "shmq/sem"
FORM = plan.FORMS["default"]._replace(rounds=7, bursts=500, wakes=200)
CORES_RUNS = 3  # of the core itself, each time that it is compared with something


# ---- Attempts ------------------------------------------------------------------------------------------------------


def job_of(words):
    """What "stream 64", "round_trip 16384 default", "attach 268435456" or "stream 64 shmq/fifo" ask for."""
    measure, *rest = words.split()
    job = plan.Job(measure, PEER)
    for word in rest:
        if word.isdigit():
            field = "capacity" if measure == "attach" else "bytes"
            job = job._replace(**{field: int(word)})
        else:
            job = job._replace(**{"peer" if "/" in word else "wait": word})
    return job


def load(wanted):
    """The attempts that are wanted, each with its texts held against the tree and its jobs understood."""
    attempts = scratch.chosen(scratch.entries(ATTEMPTS, "attempt", KEYS), wanted)
    for attempt in attempts:
        if attempt["kind"] not in KINDS:
            raise Failure(f"{ATTEMPTS}: {attempt['name']}: no kind: {attempt['kind']}; there are: {', '.join(KINDS)}")
        scratch.edited(attempt["edits"], f"{ATTEMPTS}: {attempt['name']}")
        attempt["jobs"] = [job_of(words) for words in attempt["jobs"]]
    return attempts


def plan_rounds(attempts, rounds, seed):
    """Lists of jobs, one a round. Whatever is compared is measured next to each other: job by job the core, `limit` and
    each attempt; the jobs in a random order, and so what is measured of one."""
    order, variants = random.Random(seed), collections.defaultdict(list)
    for attempt in attempts:
        for job in attempt["jobs"]:
            variants[job].append(job._replace(variant=attempt["name"]))
    found = []
    for _ in range(rounds):
        jobs = []
        for job in order.sample(list(variants), len(variants)):
            bound = [job._replace(peer=plan.LIMIT)] if job.measure == "stream" else []
            group = [*CORES_RUNS * [job], *bound, *variants[job]]
            jobs += order.sample(group, len(group))
        found.append(jobs)
    return found


# ---- Building ------------------------------------------------------------------------------------------------------


def tell(what):
    """One line that changes on a terminal, a line each elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what[:79]}", end="", file=sys.stderr, flush=True)
    elif what:
        print(what, file=sys.stderr, flush=True)


def build(copy, edits, name, target):
    """The program with these edits, as `target`."""
    with copy.changed(edits, name):
        status, output = copy.bazel("build", "--ui_event_filters=-info", "--show_result=0", TARGET)
        if status != 0:
            sys.stderr.write(output[-4000:])
            raise Failure(f"{name} does not build: mend {ATTEMPTS}")
        shutil.copyfile(os.path.join(copy.place, "bazel-bin/tests/bench", PROGRAM), target)
        os.chmod(target, 0o755)


def build_all(folder, attempts):
    """The path of the core's program; those of the attempts stand beside it."""
    programs = os.path.join(folder, "programs")
    shutil.rmtree(programs, ignore_errors=True)
    os.makedirs(programs)
    path = os.path.join(programs, PROGRAM)
    copy = scratch.Copy(os.path.join(folder, "tree"))
    with contextlib.closing(copy):
        tell(f"building the core as it is, in {copy.place}")
        copy.refresh()
        build(copy, [], "the core as it is", path)
        for number, attempt in enumerate(attempts, 1):
            tell(f"building {number} of {len(attempts)}: {attempt['name']}")
            build(copy, attempt["edits"], attempt["name"], f"{path}_{attempt['name']}")
    tell("")
    return path


# ---- Figures -------------------------------------------------------------------------------------------------------


def ratios(runs, place=None):
    """{job: its times by that of the core in the same round, which is the median of the core's own}."""
    times = collections.defaultdict(lambda: collections.defaultdict(list))
    for found in runs:
        if found["outcome"] == "measured" and not (plan.brief(found["job"]) and placement.elsewhere(found, place)):
            times[found["job"]][found["round"]].append(found["figures"][found["job"].measure]["p50"])
    result = {}
    for job, rounds in times.items():
        core = times.get(job._replace(variant=""), {})
        there = [time / statistics.median(core[number])
                 for number, own in rounds.items() if number in core for time in own]
        if there:
            result[job] = there
    return result


def verdict(found):
    """Of ratios: all on one side of 1, to two digits, or no difference."""
    return "faster" if round(max(found), 2) < 1 else "slower" if round(min(found), 2) > 1 else "no difference"


# ---- Tables --------------------------------------------------------------------------------------------------------


def words_of(job):
    words = [show.job_in_words(job._replace(variant=""))]
    if job.measure == "stream" and job.bytes == plan.USUAL:
        words.append(show.bytes_in_words(job.bytes))
    return ", ".join(words if job.peer == PEER else [*words, job.peer])


def in_words(found):
    """(median, range, verdict) of ratios; nothing where nothing was measured."""
    if not found:
        return show.NONE, show.NONE, "not measured"
    least, median, most = map(show.digits, (min(found), statistics.median(found), max(found)))
    return median, f"{least} to {most}", verdict(found)


def base_jobs(attempts):
    jobs = {job for attempt in attempts for job in attempt["jobs"]}
    return sorted(jobs, key=lambda job: (job.measure != "stream", job))


def core_table(result, found, attempts):
    """The core beside limit, and beside itself: what the ranges below have to be compared with."""
    rows = [[words_of(job), show.cell(result, figure), show.times(figure, inverse=True), in_words(found.get(job))[1]]
            for job in base_jobs(attempts) if (figure := result.figure(job))]
    return show.Table("The core", ["", "time", "× limit", "× itself"], rows)


def rows_of(attempt, found):
    return [[words_of(job), *in_words(found.get(job._replace(variant=attempt["name"])))] for job in attempt["jobs"]]


def of_kind(attempts, kind):
    return [attempt for attempt in attempts if attempt["kind"] == kind]


def text_report(result, found, attempts):
    lines = show.wrapped([f"Medians of {show.number_of_rounds(result)}, seed {result.kept['seed']}: the time with an "
                          "attempt by that of the core, and its range; of the core itself, % is the range.",
                          show.cores(result)])
    lines += ["", *show.text_of(core_table(result, found, attempts))]
    for kind, title in KINDS.items():
        rows = []
        for attempt in of_kind(attempts, kind):
            rows += [[attempt["name"], "", "", ""]] + [["  " + row[0], *row[1:]] for row in rows_of(attempt, found)]
        lines += show.text_of(show.Table(title, ["", "× core", "range", ""], rows)) if rows else []
    return "\n".join(lines + show.wrapped([*show.troubles(result), show.steadiness(result)]))


PAGE = """\
What the core does to be fast, and what was tried and is not in it. Each attempt is a change of the core as it is now,
in `{attempts}`, which is built and measured beside it. A figure is the time with the attempt by that of the core without
it: above 1 the attempt is slower. It is the median of {rounds}, with their range; where that reaches over 1 it is no
difference. (By chance alone all rounds are on one side once in {chance}.)"""

CORE = """\
The core's own times; its throughput compared with `limit`, the tightest ring that we can write ([Speed](speed.md) says
how it is measured); and how its runs differ from each other within a round, in which it is measured {runs} times."""


def paragraph(text, **words):
    return textwrap.wrap(text.format(**words), 120) + [""]


def page_table(attempts, found):
    lines = ["| Attempt | What is different | Why | Time, × the core's |", "| --- | --- | --- | --- |"]
    for attempt in attempts:
        cells = [f"{words}: {median} ({between}){'' if told != 'no difference' else ', ' + told}"
                 for words, median, between, told in rows_of(attempt, found)]
        lines.append(f"| {attempt['name']} | {attempt['what']} | {attempt['why']} | {'<br>'.join(cells)} |")
    return lines + [""]


def page(result, found, attempts):
    """docs/results/tried.md."""
    result = result._replace(wide=True)
    rounds = result.kept["rounds"]
    lines = show.page_head(result, "Tried, to be fast")
    lines += paragraph(PAGE, attempts=ATTEMPTS, rounds=show.number_of_rounds(result), chance=2 ** (rounds - 1))
    lines += show.markdown_of(core_table(result, found, attempts))[:-1] + ["", *paragraph(CORE, runs=CORES_RUNS)]
    for kind, title in KINDS.items():
        lines += [f"## {title}", "", *page_table(of_kind(attempts, kind), found)]
    return "\n".join(lines + show.bullets("Not measured", show.troubles(result))).rstrip() + "\n"


# ---- The command ---------------------------------------------------------------------------------------------------


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/tried", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="ATTEMPT", help="only these; default: all")
    parser.add_argument("--list", action="store_true", help="show the attempts, see that they apply, and try none")
    parser.add_argument("--rounds", type=run.positive, default=FORM.rounds, metavar="N",
                        help="how often all is measured (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the order; printed, to have the same order again")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT}")
    parser.add_argument("--scratch", default=scratch.default_folder("shmq-tried"), metavar="FOLDER",
                        help="where the copy is kept, so that the next run builds less (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.write and options.names:
        parser.error("--write is for all of them")
    return options


def measure(path, attempts, options, words):
    """The Result of it, and the ratios."""
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    command = shlex.join(["ci/tried", *([] if options.seed is not None else ["--seed", str(seed)]), *words])
    kept = {"command": command, **script.origin(), "load": os.getloadavg()[0], "seed": seed, "rounds": options.rounds}
    bench, rounds = run.Bench(path), plan_rounds(attempts, options.rounds, seed)
    bench.hold(sum(plan.cost(FORM, job) for jobs in rounds for job in jobs))
    kept["placement"] = bench.placement
    runs = run.measure_all(bench, FORM, rounds)
    return run.conclude(kept, FORM, [PEER], runs), ratios(runs, bench.placement)


def body(words):
    options = parse(words)
    attempts = load(options.names)
    if options.list:
        print("\n".join(f"{attempt['name']:24} {attempt['kind']:9} {attempt['what']}" for attempt in attempts))
        return
    path = build_all(options.scratch, attempts)
    result, found = measure(path, attempts, options, words)
    print(text_report(result, found, attempts))
    if options.write:
        run.write(os.path.join(ROOT, REPORT), page(result, found, attempts), "ci/tried")


if __name__ == "__main__":
    script.run("ci/tried", body)
