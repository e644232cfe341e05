"""Tables as pictures, for the README: the colour of a cell says at a glance what its words say exactly. Drawn by
gnuplot, on white as the plots are."""

import math
import typing

import figures
import plan
import plots
import show
from plan import Job

NAME, CELL, ROW, NOTE, EDGE = 112, 96, 26, 17, 12  # the width of the first column, of the others; heights; around it
GOOD, FAIR, BAD = (205, 235, 211), (253, 240, 196), (246, 201, 196)  # of cells of 1, 1/2 and 0
FAR = 1000  # so many times the best: 0


class Card(typing.NamedTuple):
    name: str
    title: str
    heads: list  # of the columns, two lines each
    rows: list  # (label, [(words, how good from 0 to 1, or None)])
    notes: list  # lines below


def source(kept):
    """Where the figures are from, as a note."""
    return f"{kept['command']}; commit {kept['commit']}; {kept['machine']['processor']}"


# ---- What they show ------------------------------------------------------------------------------------------------


def rate_in_words(ns):
    """Messages a second."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if 1e9 / ns >= 0.9995 * unit:
            return show.digits(1e9 / ns / unit) + name
    return show.digits(1e9 / ns)


def graded(times, in_words):
    """{label: cell} of {label: ns, or None}: the shortest is good, and each that is ten times longer a step worse."""
    best = min((ns for ns in times.values() if ns), default=None)
    return {label: (in_words(ns), 1 - min(math.log(ns / best, FAR), 1)) if ns else (show.NONE, None)
            for label, ns in times.items()}


def speed(result):
    """The main figures of ci/bench, and without a colour what bounds them."""
    jobs = [((show.bytes_in_words(size), "messages/s"), Job("stream", "", size), plan.LIMIT, rate_in_words)
            for size in result.form.sizes]
    jobs += [(("round trip", "64 B"), Job("round_trip", "", wait="default"), plan.LINE, show.time_in_words),
             (("round trip", "both asleep"), Job("round_trip", "", wait="asleep"), plan.SLEEPER, show.time_in_words)]
    rows = {peer: [] for peer in [*plan.contestants(result.peers), plan.LIMIT]}
    for _, job, bound, in_words in jobs:
        times = {peer: figures.ns_of(result.figures, job._replace(peer=peer)) for peer in rows if peer != plan.LIMIT}
        if job.wait == "asleep":
            times |= dict.fromkeys(set(plan.LOOKERS) & set(times))  # they never are
        for peer, cell in graded(times, in_words).items():
            rows[peer].append(cell)
        least = figures.ns_of(result.figures, job._replace(peer=bound))
        rows[plan.LIMIT].append((in_words(least) if least else show.NONE, None))
    notes = ["limit: a ring whose ends never sleep and check nothing; a bare cache line in turns; a bare futex.",
             source(result.kept)]
    return Card("speed-table", "How fast", [head for head, *_ in jobs], list(rows.items()), notes)


# ---- How they are drawn --------------------------------------------------------------------------------------------


def shade(good):
    """Of a cell, as gnuplot wants it."""
    if good is None:
        return "#ffffff"
    low, high, part = (BAD, FAIR, 2 * good) if good < 0.5 else (FAIR, GOOD, 2 * good - 1)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high))


def label(words, x, y, look=""):
    return f"set label '{words}' at {x:g},{y:g} {look} front"


def script(card, path):
    """In pixels: the plot is the whole picture."""
    width = 2 * EDGE + NAME + CELL * len(card.heads)
    below = 2 * EDGE + ROW * (len(card.rows) + 2.6)
    height = below + EDGE + NOTE * len(card.notes)
    lines = [
        f"set terminal svg size {width},{height:.0f} dynamic noenhanced font 'Helvetica,13' background rgb 'white'",
        f"set output '{path}'", "unset border", "unset tics", "unset key",
        *(f"set {side}margin 0" for side in "lrtb"),
        f"set xrange [0:{width}]", f"set yrange [{height:g}:0]",
        label(card.title, EDGE, EDGE + ROW / 2, "left font ',16'"),
    ]
    for column, head in enumerate(card.heads):
        for number, words in enumerate(head):
            x, y = EDGE + NAME + CELL * (column + 0.5), EDGE + ROW * 1.35 + 17 * number
            lines.append(label(words, x, y, "center tc rgb '#444444'" + (" font ',11'" if number else "")))
    for number, (name, cells) in enumerate(card.rows):
        top, own = EDGE + ROW * (number + 2.6), name.startswith(plan.FAMILY)
        lines.append(label(name, EDGE, top + ROW / 2, f"left tc rgb '{plots.OWN if own else '#000000'}'"))
        for column, (words, good) in enumerate(cells):
            left = EDGE + NAME + CELL * column
            lines.append(f"set object rectangle from {left + 1},{top + 1:g} to {left + CELL - 1},{top + ROW - 1:g} "
                         f"behind fc rgb '{shade(good)}' fs solid noborder")
            lines.append(label(words, left + CELL / 2, top + ROW / 2, "center"))
    lines += [label(words, EDGE, below + NOTE * number, "left font ',11' tc rgb '#666666'")
              for number, words in enumerate(card.notes)]
    return "\n".join(lines) + "\nplot NaN\n"
