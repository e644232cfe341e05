"""Pictures of a run, by gnuplot: SVG on a white card, so that they can be read on light pages and on dark ones; axes
are logarithmic, and each line carries its name at its right end."""

import math
import os
import shutil
import subprocess
import typing

import figures
import plan
import show
from plan import KIB, Job

SIZE = WIDTH, HEIGHT = 900, 520  # of a picture
LABEL = 17  # the height of a name
PLOT_HEIGHT = HEIGHT - 110  # less title, axis and its name
OWN, UNKNOWN = "#1257a8", "#5d6d7e"  # shmq; who has no colour of his own
COLOURS = {
    "limit": "#000000", "memcpy": "#8a8a8a", "pipe": "#1e8449", "unix": "#b9770e", "mq": "#7d3c98",
    "textbook": "#148f9f", "mutex": "#d2527f", "boost": "#6e7f1d", "zmq": "#a0522d", "nanomsg": "#4a6fa5",
    "qb_rb": "#e67e22", "ck_ring": "#c0392b",
}


class Line(typing.NamedTuple):
    label: str
    points: list  # (x, y, least, most)


class Picture(typing.NamedTuple):
    name: str
    title: str
    x: str
    y: str
    lines: list
    x_words: typing.Callable = show.bytes_in_words  # of a number on the x axis


# ---- What they show ------------------------------------------------------------------------------------------------


def line(result, label, jobs, rate=False):
    """One of {x: job}; a rate is messages a second."""
    points = []
    for x, job in jobs.items():
        y, least, most = (figures.ns_of(result.figures, job, key=key) for key in ("median", "least", "most"))
        if y and least:
            points.append((x, 1e9 / y, 1e9 / most, 1e9 / least) if rate else (x, y, least, most))
    return Line(label, points)


def pictures(result):
    """Those that have a line of at least two points."""
    peers, sizes = plan.contestants(result.peers), result.form.sizes
    own = plan.leader(peers)
    capacities = sorted({job.capacity for job in result.figures if job.capacity})
    one_way = [line(result, peer, {size: Job("stream", peer, size) for size in sizes}, True)
               for peer in [*peers, plan.LIMIT]]
    one_way.append(line(result, "memcpy", {size: Job("memcpy", plan.MACHINE, size) for size in sizes}, True))
    trips = [line(result, peer, {size: Job("round_trip", peer, size, "default") for size in sizes}) for peer in peers]
    rings = [line(result, peer, {size: Job("stream", peer, capacity=size) for size in capacities}, True)
             for peer in (own, plan.LIMIT)]
    many = [line(result, peer, {ends: Job("many", peer, ends=ends) for ends in result.form.ends}, True)
            for peer in peers]
    found = [
        Picture("speed-one-way", "One way: messages per second", "bytes of a message", "messages per second", one_way),
        Picture("speed-round-trip", "Round trip, as each waits by itself", "bytes of a message", "nanoseconds", trips),
        Picture("speed-rings", "One way through rings of all sizes, messages of 64 B", "bytes of the ring",
                "messages per second", rings),
        Picture("speed-many", "Many ends on two cores, messages of 64 B", "producers, and as many consumers",
                "messages per second", many, str),
    ]
    found = [picture._replace(lines=[there for there in picture.lines if len(there.points) > 1]) for picture in found]
    return [picture for picture in found if picture.lines]


# ---- How they are drawn --------------------------------------------------------------------------------------------


def colour(label):
    return OWN if label.startswith(plan.FAMILY) else COLOURS.get(label, UNKNOWN)


def style(label):
    if label.startswith(plan.FAMILY):
        look = "lw 4 pt 7 ps 0.8"
    elif label in (plan.LIMIT, "memcpy"):
        look = "lw 2 dt 2 pt 7 ps 0.4"
    else:
        look = "lw 1.6 pt 7 ps 0.6"
    return f"lc rgb '{colour(label)}' {look}"


def apart(wanted, gap):
    """The same places, in ascending order, but so far apart: where names crowd, their middle stays."""
    clusters = []  # middle, how many
    for place in wanted:
        clusters.append((place, 1))
        while len(clusters) > 1:
            (low, few), (high, more) = clusters[-2:]
            if high - low >= gap * (few + more) / 2:
                break
            clusters[-2:] = [((low * few + high * more) / (few + more), few + more)]
    return [middle + gap * (number - (count - 1) / 2) for middle, count in clusters for number in range(count)]


def borders(picture):
    values = [value for there in picture.lines for point in there.points for value in point[1:]]
    return min(values) * 0.7, max(values) * 1.4


def labels(picture):
    """gnuplot's commands for the names: beside the right border, with a thread to the line's end; or where a line ends
    before that."""
    low, high = borders(picture)
    gap = (math.log10(high) - math.log10(low)) * LABEL / PLOT_HEIGHT
    right = max(there.points[-1][0] for there in picture.lines)
    ends = sorted((math.log10(there.points[-1][1]), there) for there in picture.lines)
    commands, outside = [], [end for end in ends if end[1].points[-1][0] == right]
    for place, (end, there) in zip(apart([end[0] for end in outside], gap), outside):
        look = colour(there.label)
        big = " font ',15'" if there.label.startswith(plan.FAMILY) else ""
        y = f"{10**place:.9g}"
        commands += [f"set arrow from {right}, {10**end:.9g} to graph 1.04, first {y} nohead lc rgb '{look}' lw 0.7",
                     f"set label '{there.label}' at graph 1.05, first {y} left tc rgb '{look}'{big}"]
    for end, there in ends:
        if there.points[-1][0] != right:
            commands.append(f"set label '{there.label}' at {there.points[-1][0]}, {10**end:.9g} left offset 0.8,0 "
                            f"tc rgb '{colour(there.label)}'")
    return commands


def script(picture, path):
    low, high = borders(picture)
    xs = sorted({point[0] for there in picture.lines for point in there.points})
    ticks = ", ".join(f"'{picture.x_words(x)}' {x}" for x in xs)
    lines = [
        f"set terminal svg size {WIDTH},{HEIGHT} dynamic noenhanced font 'Helvetica,13' background rgb 'white'",
        f"set output '{path}'", f"set title '{picture.title}' font ',16'",
        f"set xlabel '{picture.x}'", f"set ylabel '{picture.y}'",
        "set logscale xy", f"set xrange [{xs[0] * 0.9}:{xs[-1] * 1.1}]", f"set yrange [{low}:{high}]",
        f"set xtics ({ticks}) nomirror", "set format y '%.0s%c'", "set ytics nomirror", "set border 3",
        "set grid ytics lc rgb '#dddddd' lw 1", "set rmargin 15", "unset key", "set errorbars 0.7", *labels(picture),
    ]
    for index, there in enumerate(picture.lines):
        rows = (" ".join(f"{number:.9g}" for number in point) for point in there.points)
        lines += [f"$line{index} << end", *rows, "end"]
    drawn = [f"$line{index} using 1:2:3:4 with yerrorlines {style(there.label)}"
             for index, there in enumerate(picture.lines)]
    return "\n".join(lines) + "\nplot " + ", \\\n  ".join(drawn) + "\n"


def draw(wanted, directory, by=script):
    """[(title, file)] of those that gnuplot has made, and what to tell of those that it has not."""
    if not shutil.which("gnuplot"):
        return [], "no pictures: there is no gnuplot (ci/setup installs it)"
    made = []
    for picture in wanted:
        name = picture.name + ".svg"
        done = subprocess.run(["gnuplot"], input=by(picture, os.path.join(directory, name)), capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            return made, f"no picture {name}: gnuplot: {done.stderr.strip()}"
        made.append((picture.title, name))
    return made, ""
