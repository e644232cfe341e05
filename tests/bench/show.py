"""What a run says, in words and tables: for the terminal, and in Markdown for docs/results/.

A table is a title, a head and rows of strings; the builders below make them of the figures, for the terminal (narrow)
or for a page (wide). Where nothing was measured a cell is "-"."""

import textwrap
import typing

import aims
import figures
import plan
from plan import KIB, MIB, USUAL, Job

WIDTH = 80
NONE = "-"


class Table(typing.NamedTuple):
    title: str
    head: list
    rows: list


class Result(typing.NamedTuple):
    """A run: what is kept of it, and its figures."""

    kept: dict  # command, commit, machine …
    form: plan.Form
    peers: list  # that were compared
    figures: dict
    missing: dict
    left_out: int  # runs
    strays: int  # jobs
    wide: bool = False  # for a page

    def figure(self, job, name=None):
        return self.figures.get(job, {}).get(name or job.measure)


# ---- Words ---------------------------------------------------------------------------------------------------------


def bytes_in_words(count):
    for unit, name in ((1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count >= unit:
            return f"{count / unit:g} {name}"
    return f"{count} B"


def digits(value):
    """Three of them, or all before the point."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def time_in_words(ns):
    for unit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= 0.9995 * unit:
            return f"{digits(ns / unit)} {name}"
    return f"{digits(ns)} ns"


def moment(figure, key="median"):
    """One of its times, or counts."""
    if figure is None or figure[key] is None:
        return NONE
    if figure["unit"] not in figures.NS:
        return f"{figure[key]:.0f}"
    return time_in_words(figure[key] * figures.NS[figure["unit"]])


def cell(result, figure):
    """Median and range."""
    if figure is None:
        return NONE
    if result.wide:
        return f"{moment(figure)} ({moment(figure, 'least')} to {moment(figure, 'most')})"
    apart = 100 * (figure["most"] - figure["least"]) / figure["median"] if figure["median"] else 0
    return f"{moment(figure):>7}{f'{min(apart, 999):.0f}%':>5}"


def times(figure, inverse=False):
    if figure is None or not figure["ratio"]:
        return NONE
    return digits(1 / figure["ratio"] if inverse else figure["ratio"])


def chain(result, jobs, name=None):
    """Who is faster than whom: "a < b = c", the fastest first, of {label: job}."""
    there = {label: figure for label, job in jobs.items() if (figure := result.figure(job, name))}
    if any(figure["rounds"] < figures.ENOUGH for figure in there.values()):
        return ""
    return " < ".join(" = ".join(group) for group in figures.ranking(there)) if len(there) > 1 else ""


# ---- Tables --------------------------------------------------------------------------------------------------------


def build(title, head, rows):
    """None if nothing of it was measured."""
    there = [row for row in rows if any(word != NONE for word in row[1:])]
    return Table(title, head, there) if there else None


def one_way(result):
    head, rows = [""], [[peer] for peer in [*plan.contestants(result.peers), plan.LIMIT, "memcpy"]]
    for size in result.form.sizes:
        head += [bytes_in_words(size), "× limit"]
        for row in rows:
            job = Job("memcpy", plan.MACHINE, size) if row[0] == "memcpy" else Job("stream", row[0], size)
            figure = result.figure(job)
            row += [cell(result, figure), times(figure, inverse=True)]
    return build("One way, time of a message", head, rows)


TRIPS = {"default": "as each waits by itself", "spinning": "always spinning", "asleep": "always asleep"}


def round_trips(result, wait):
    raws = plan.LOOKING if wait == "spinning" else plan.RAW
    head = ["", "p50", f"× {plan.SLEEPER if wait == 'asleep' else plan.LINE}", "p99", "p99.9"]
    rows = []
    for peer in [*result.peers, *raws]:
        figure = result.figure(Job("round_trip", peer, wait=wait))
        rows.append([peer, cell(result, figure), times(figure), moment(figure, "p99"), moment(figure, "p999")])
    return build(f"Round trip, {TRIPS[wait]}", head, rows)


def round_trip_sizes(result):
    sizes = [size for size in result.form.sizes if size > KIB]
    rows = [[peer, *(cell(result, result.figure(Job("round_trip", peer, size, "default"))) for size in sizes)]
            for peer in plan.contestants(result.peers)]
    return build("Round trip of larger messages", ["", *map(bytes_in_words, sizes)], rows)


def waiting(result):
    seconds = f"{result.form.idle_ms / 1000:g} s"
    rows = []
    for peer in [*result.peers, *plan.RAW]:
        job = Job("round_trip", peer, wait="asleep")
        found = (result.figure(job, "one_way"), result.figure(job, "send"), result.figure(Job("idle", peer)),
                 result.figure(Job("idle_timeout", peer)))
        rows.append([peer, *(cell(result, figure) for figure in found)])
    return build("A sleeper", ["", "wake-up", "send that wakes", f"idle {seconds}", "with time-out"], rows)


def notifiers(result):
    peers = [peer for peer in result.peers if peer.startswith(plan.FAMILY)]
    rows = [[peer, cell(result, figure), times(figure, inverse=True)] for peer in peers
            if (figure := result.figure(Job("stream", peer)))]
    table = build(f"One way with each notifier, {USUAL} B", ["", "time of a message", "× limit"], rows)
    return table if peers[1:] else None


def rings(result):
    best = plan.leader(result.peers)
    capacities = sorted({job.capacity for job in [*result.figures, *result.missing] if job.capacity})
    rows = [[bytes_in_words(size), *(cell(result, result.figure(job._replace(capacity=size)))
                                     for job in (Job("stream", best), Job("stream", plan.LIMIT), Job("attach", best)))]
            for size in capacities]
    return build("Size of the ring", ["", str(best), plan.LIMIT, "attach"], rows)


def messages(result):
    best = plan.leader(result.peers)
    counts = sorted({job.messages for job in result.figures if job.messages})
    rows = [[f"{count:,}", *(cell(result, result.figure(Job("stream", peer, messages=count)))
                             for peer in (best, plan.LIMIT))] for count in counts]
    return build("Messages of a run", ["", str(best), plan.LIMIT], rows)


def many(result):
    head = ["", *(f"{ends} + {ends}" for ends in result.form.ends)]
    rows = [[peer, *(cell(result, result.figure(Job("many", peer, ends=ends))) for ends in result.form.ends)]
            for peer in plan.contestants(result.peers)]
    return build("Many ends, producers + consumers: time of a message", head, rows)


def attach(result):
    rows = [[peer, cell(result, result.figure(Job("attach", peer)))] for peer in result.peers]
    return build("Attaching", ["", "an end"], rows)


def checks(result):
    head = ["", "as it is", "unchecked", "× checked", "with checksums", "× without"]
    rows = []
    for size in result.form.sizes:
        plain, unchecked, checksum = (result.figure(Job("stream", plan.leader(result.peers), size, variant=variant))
                                      for variant in ("", plan.UNCHECKED, plan.CHECKSUM))
        if unchecked or checksum:
            rows.append([bytes_in_words(size), cell(result, plain), cell(result, unchecked), times(unchecked),
                         cell(result, checksum), times(checksum)])
    return build("What checks cost", head, rows)


def instructions(result):
    best = plan.leader(result.peers)
    jobs = {peer: Job("instructions", peer) for peer in [*plan.contestants(result.peers), plan.LIMIT]}
    jobs |= {f"{best}, {words}": Job("instructions", best, variant=variant)
             for words, variant in (("unchecked", plan.UNCHECKED), ("with checksums", plan.CHECKSUM)) if best}
    rows = [[label, *(moment(result.figure(job, name)) for name in ("send", "receive"))]
            for label, job in jobs.items() if job in result.figures]
    return build("Instructions of a call", ["", "send", "receive"], rows)


def machine(result):
    rows = []
    for size in result.form.sizes:
        job = Job("memcpy", plan.MACHINE, size)
        found = (result.figure(job, name) for name in ("memcpy", "memcpy_in", "memcpy_out"))
        rows.append([bytes_in_words(size), *(cell(result, figure) for figure in found)])
    return build("memcpy", ["", "alone", "into what was read", "out of what was written"], rows)


def aimed(result):
    return build("What is aimed at", ["", "aim", "here", ""], aims.rows(result, bytes_in_words))


def tables(result):
    """All of them that have anything to say."""
    found = [one_way(result), notifiers(result), *(round_trips(result, wait) for wait in TRIPS), round_trip_sizes(result),
             waiting(result), rings(result), messages(result), many(result), attach(result), checks(result),
             instructions(result), machine(result), aimed(result)]
    return [table for table in found if table]


# ---- Sentences -----------------------------------------------------------------------------------------------------


def rankings(result):
    """Sentences; of those who are not bounds."""
    titled = []
    for size in result.form.sizes:
        jobs = {peer: Job("stream", peer, size) for peer in plan.contestants(result.peers)}
        titled.append((f"One way, {bytes_in_words(size)}", jobs))
    for wait, title in TRIPS.items():
        titled.append((f"Round trip, {title}", {peer: Job("round_trip", peer, wait=wait) for peer in result.peers}))
    for size in result.form.sizes:
        jobs = {peer: Job("round_trip", peer, size, "default") for peer in plan.contestants(result.peers)}
        titled.append((f"Round trip, {bytes_in_words(size)}", jobs if size > KIB else {}))
    for ends in result.form.ends:
        titled.append((f"{ends} + {ends} ends", {peer: Job("many", peer, ends=ends) for peer in result.peers}))
    titled.append(("Attaching", {peer: Job("attach", peer) for peer in result.peers}))
    return [f"{title}: {order}" for title, jobs in titled if (order := chain(result, jobs))]


def limit_lines(result):
    """How near `limit` is to copying, and whether it is a limit: sentences."""
    found = []
    for size in result.form.sizes:
        if (near := figures.of_limit(result.figures, size)) and size >= figures.COPIES_FROM:
            found.append(f"{bytes_in_words(size)}: limit reaches {near[0]:.2f} × memcpy from one core to the other, and "
                         f"is {near[1]:.2f} × as fast as the best peer, {near[2]}")
    if call := result.figure(Job("system_call", plan.MACHINE)):
        found.append(f"A system call that does nothing: {moment(call)}")
    faults = figures.faults_of_limit(result.figures, result.form.sizes)
    if faults:
        words = "; ".join(f"{bytes_in_words(size)}: {fault}" for size, fault in faults)
        found.append(f"LIMIT IS NO LIMIT HERE: {words}")
    return found


def steadiness(result):
    """What the probes say of the machine."""
    least, most = result.kept["probes"]
    text = f"Probes before and after each run (a cache line, both ways): {least:.0f} to {most:.0f} ns; load before: " \
           f"{result.kept['load']:.1f}"
    if not result.kept["placement"]:
        return text + "; NOT STEADY"
    text += "; what is brief was measured at %.0f to %.0f ns" % tuple(result.kept["placement"])
    if result.left_out:
        text += f", and {result.left_out} runs were left out, which were elsewhere"
    return text if not result.strays else text + f"; NOT STEADY: {result.strays} measurements are from elsewhere"


def job_in_words(job):
    words = [job.measure.replace("_", " "), job.wait, bytes_in_words(job.bytes) if job.bytes != USUAL else "",
             job.variant, f"ring of {bytes_in_words(job.capacity)}" if job.capacity else "",
             f"{job.messages:,} messages" if job.messages else "", f"{job.ends} + {job.ends}" if job.ends > 1 else ""]
    return ", ".join(filter(None, words))


def troubles(result):
    """What could not be measured. That a peer does not do something at all is none."""
    by_reason = {}
    for job, (outcome, reason) in result.missing.items():
        if outcome != "not here" or (job.capacity and job.measure == "stream"):
            by_reason.setdefault((job.peer, outcome, reason), []).append(job_in_words(job))
    return [f"{peer}: {'; '.join(jobs)}: {outcome}: {reason}" for (peer, outcome, reason), jobs in by_reason.items()]


def cores(result):
    if len(result.kept["cores"]) == 2:
        return "The two processes are pinned to cores %d and %d." % tuple(result.kept["cores"])
    return "There is only one core: the two processes share it, and most figures say little."


def number_of_rounds(result):
    return "1 round" if result.kept["rounds"] == 1 else f"{result.kept['rounds']} rounds"


# ---- Terminal ------------------------------------------------------------------------------------------------------


def blocks(table):
    """Its columns, cut into pieces that fit; each starts with the first column."""
    widths = [max(map(len, column)) + 2 for column in zip(table.head, *table.rows)]
    pieces, room = [[]], WIDTH - widths[0]
    for index in range(1, len(widths)):
        together = widths[index] + (widths[index + 1] if table.head[index + 1:] and
                                    table.head[index + 1].startswith("×") else 0)
        if pieces[-1] and together > room and not table.head[index].startswith("×"):
            pieces.append([])
            room = WIDTH - widths[0]
        pieces[-1].append(index)
        room -= widths[index]
    return widths, pieces


def text_of(table):
    widths, pieces = blocks(table)
    lines = [table.title]
    for piece in pieces:
        for row in [table.head, *table.rows]:
            line = row[0].ljust(widths[0]) + "".join(row[index].rjust(widths[index]) for index in piece)
            lines.append(line.rstrip())
        lines.append("")
    return lines


def wrapped(sentences):
    return [line for text in sentences for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def text_report(result):
    ranks = "In rankings < is surely faster, = overlaps." if result.kept["rounds"] >= figures.ENOUGH else \
            f"Rankings need {figures.ENOUGH} rounds."
    lines = wrapped([f"Medians of {number_of_rounds(result)}, seed {result.kept['seed']}; % is the range, "
                     f"(most - least) / median. {ranks}"])
    lines += [cores(result), ""]
    for table in tables(result):
        lines += text_of(table)
    lines += wrapped([*rankings(result), *troubles(result), *limit_lines(result), steadiness(result)])
    if result.kept["deaths"]:
        lines += ["", *text_of(deaths(result))]
    return "\n".join(lines).rstrip()


def deaths(result):
    """Of whatever the lines name."""
    found = result.kept["deaths"]
    keys = list(dict.fromkeys(key for death in found for key in death))
    trials = sorted({death["trials"] for death in found if "trials" in death})
    title = f"Killed {' or '.join(map(str, trials))} times" if trials else "Killed"
    rows = [[str(death.get(key, "")) for key in keys] for death in found]
    return Table(title, [key.replace("_", " ") for key in keys], rows)


def compare_report(found, turned, old, new):
    """What has become of an earlier run's figures, and of its rankings: what compare and contradictions found."""
    verdicts = [verdict for *_, verdict in found]
    lines = [f"Against {old['commit']} of {old['date']}: {len(found)} figures in common, "
             f"{verdicts.count('faster')} surely faster, {verdicts.count('slower')} surely slower."]
    if old["machine"] != new["machine"]:
        lines.append("THE MACHINES DIFFER: what follows says nothing about the program.")
    elif old["placement"] != new["placement"]:
        lines.append("THE CORES WERE NOT AS FAR APART: what follows says nothing about the program.")
    for job, name, before, after, verdict in sorted(found, key=lambda entry: entry[4]):
        if verdict != "equal":
            what = job_in_words(job) if name == job.measure else f"{job_in_words(job)}, {name.replace('_', ' ')}"
            lines.append(f"{job.peer}: {what}: {moment(before)} -> {moment(after)}, "
                         f"{before['median'] / after['median']:.2f} × as fast")
    lines.append(f"Of {turned[0]} rankings of two peers that both state, {len(turned[1])} are turned round.")
    lines += [f"{job_in_words(what[0])}: {one} was ahead of {other}" for what, one, other in turned[1]]
    return "\n".join(wrapped(lines))


# ---- Markdown ------------------------------------------------------------------------------------------------------


def markdown_table(found):
    """Of a head and rows. Numbers are to the right."""
    head, *body = found
    marks = ["---:" if any(row[i][:1].isdigit() for row in body) else "---" for i in range(len(head))]
    return ["| " + " | ".join(row) + " |" for row in [head, marks, *body]]


def markdown_of(table, level="##"):
    return [f"{level} {table.title}", "", *markdown_table([table.head, *table.rows]), ""]


def page_head(result, title):
    kept, found = result.kept, result.kept["machine"]
    return [f"# {title}", "",
            "Written by the command below. Figures of another machine differ; compare within one table.", "",
            f"    {kept['command']}", "",
            f"* commit: {kept['commit']}", f"* date: {kept['date']}",
            f"* machine: {found['processor']}, {found['cores']} cores{', virtual' if found['virtual'] else ''}; "
            f"Linux {found['kernel']}; {found['libc']}",
            *textwrap.wrap(f"* {cores(result)} {steadiness(result)}.", 120, subsequent_indent="  "), ""]


HOW = """\
Two processes on two cores, messages of 64 bytes where nothing else is said. Medians of {rounds} in random order, and in
brackets the least and the most of them; a ratio is the median of the ratios within each round. In a ranking everyone
before a "<" is faster than everyone after it, because their ranges do not overlap; where they do there is a "=", and
another run may find another order. What takes no more than a tenth of a second is measured with the two cores as far
apart as said above, again and again until the host leaves them there; what takes longer, wherever they are."""

SPEED = """\
* One way: what a message costs when the sender never waits. × limit is the throughput compared with `limit`, the
  tightest ring that we can write: nobody sleeps, nothing is checked, nobody's death is noticed, and 16 KiB are
  published at a time. `memcpy` is a copy within one process.
* A ring's size is that of what `shmq_open` is asked for; attaching is `shmq_open` of what is there, and what the others
  have for it. Messages of a run: the same stream, as long as it says.
* Many ends: as many processes on each of the two cores, which share one queue.
* What checks cost: `unchecked` is a build that believes whatever stands in shared memory.
* Instructions of a call: of a send with room for its message, and of a receive of one that is there, where neither
  learns anything new of the other end; libc's are counted, the kernel's are not."""

WAITING = """\
* Round trip, as each waits by itself: there and back at full speed, so nobody needs to sleep who looks before. Always
  spinning: receivers never sleep; who has no such form is asked again and again without a time-out. Always asleep: each
  receiver sleeps before it is sent to, and the two wake-ups are added up.
* `cache_line`, `two_lines`, `futex`, `semaphore` and `eventfd` are no queues but what this machine can do at best: a
  message in the cache line that announces it, or in one beside it, and three whose waiters sleep at once.
* Wake-up: one way to a receiver that sleeps, from just before `send` to just after `receive`; and how much of it the
  sender itself spends.
* Idle: processor time that a receiver uses while it waits for ever and a message comes after {seconds}; with time-out:
  the same with a time-out of {seconds} and no message."""


def explain(result, text):
    return text.format(rounds=number_of_rounds(result), seconds=f"{result.form.idle_ms / 1000:g} s")


def bullets(title, sentences):
    lines = [line for text in sentences for line in textwrap.wrap(f"* {text}", 120, subsequent_indent="  ")]
    return [f"## {title}", "", *lines, ""] if lines else []


def speed_page(result, pictures):
    """docs/results/speed.md."""
    result = result._replace(wide=True)
    lines = [*page_head(result, "Speed, measured"), explain(result, HOW), "", explain(result, SPEED), ""]
    for title, picture in pictures:
        lines += [f"![{title}]({picture})", ""]
    for table in (aimed(result), one_way(result), round_trip_sizes(result), rings(result), messages(result),
                  many(result), attach(result), checks(result), instructions(result), machine(result)):
        lines += markdown_of(table) if table else []
    lines += bullets("Who is faster", rankings(result)) + bullets("What is possible here", limit_lines(result))
    lines += bullets("Not measured", troubles(result))
    return "\n".join(lines).rstrip() + "\n"


def notifiers_page(result):
    """docs/results/notifiers.md."""
    result = result._replace(wide=True)
    lines = [*page_head(result, "Notifiers, measured"), explain(result, HOW), "", explain(result, WAITING), ""]
    for table in (*(round_trips(result, wait) for wait in TRIPS), waiting(result), notifiers(result)):
        lines += markdown_of(table) if table else []
    if result.kept["deaths"]:
        table = deaths(result)
        lines += [f"## {table.title}", "", "From `SHMQ_LONG=1 bazel run //tests/unit:death_test`.", "",
                  *markdown_table([table.head, *table.rows]), ""]
    return "\n".join(lines).rstrip() + "\n"
