"""How ci/fuzz tells what is going on: on a terminal a table that is drawn again and again, elsewhere plain lines.

What happens once (a command, a finding) is a line that stays, in both.
"""

import os
import sys
import time

PLAIN_COLUMNS = 200
PLAIN_S = 10  # between two plain lines of the same turn
ROOM = 4  # lines of a terminal that are not rows
ERASE_LINE, ERASE_BELOW, NARROW = "\033[K", "\033[J", 140
WORDS = {"libfuzzer": ("lib", "libFuzzer"), "afl": ("afl", "AFL++")}
LEGEND = "edges: covered; new: since the last new path; found: distinct +to be looked at"


def short(number):
    """At most five characters: 950, 12.3k, 4.0M."""
    for unit in ("", "k", "M", "G"):
        if number < 999.5 or unit == "G":
            return f"{number:.0f}{unit}" if not unit or number >= 99.95 else f"{number:.1f}{unit}"
        number /= 1000
    return ""


def count(number, what):
    return f"{number} {what}" + ("" if number == 1 else "es" if what.endswith("s") else "s")


def duration(seconds):
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}" if seconds >= 10 * size else f"{seconds / size:.1f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def hours(seconds):
    return f"{seconds / 3600:.{3 if seconds < 3600 else 1 if seconds < 360000 else 0}f}"


def clock(seconds):
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"


class Row:
    """What is known of a target and engine."""

    def __init__(self, leg, counts, found, is_running=False):
        self.leg, self.counts, self.found, self.is_running = leg, counts, found, is_running

    def cells(self):
        """{title: text}; the titles are in the order of the columns."""
        counts = self.counts
        return {
            "exec/s": short(counts["executions_per_s"]) if self.is_running else "",
            "ops/s": short(counts["operations_per_s"]) if self.is_running else "",
            "edges": str(counts["coverage"] or "-"),
            "corpus": str(counts["corpus"] or "-"),
            "new": duration(time.time() - counts["last_new"]) if counts["last_new"] else "-",
            "found": self.found,
            "cpu h": hours(counts["processor_s"]),
            "executions": short(counts["executions"]),
            "operations": short(counts["operations"]),
            "turns": str(counts["turns"]),
        }


SPEEDS = ("exec/s", "ops/s")
NARROW_COLUMNS = {"exec/s": 6, "ops/s": 5, "edges": 5, "corpus": 6, "new": 4, "found": 6, "cpu h": 6}  # width of each


def table(rows, columns):
    """Lines that fit."""
    is_narrow = columns < NARROW
    names = max([len(row.leg.target["name"]) for row in rows] + [6])
    titles = [title for title in rows[0].cells() if not is_narrow or title in NARROW_COLUMNS]
    titles = [title for title in titles if title not in SPEEDS or any(row.is_running for row in rows)]
    widths = [NARROW_COLUMNS[title] if is_narrow else len(title) + 5 for title in titles]
    engine_width = 3 if is_narrow else 9
    lines = [f" {'target':{names}} {'':{engine_width}}" + "".join(f" {t:>{w}}" for t, w in zip(titles, widths))]
    for row in rows:
        engine = WORDS[row.leg.engine][0 if is_narrow else 1]
        cells = row.cells()
        mark = ">" if row.is_running else " "
        lines.append(f"{mark}{row.leg.target['name']:{names}} {engine:{engine_width}}"
                     + "".join(f" {cells[t]:>{w}}" for t, w in zip(titles, widths)))
    return [line[:columns - 1].rstrip() for line in lines]


class Screen:
    """Where it is told."""

    def __init__(self, stream=sys.stdout):
        self.stream, self.drawn, self.last_plain = stream, 0, time.monotonic()
        self.is_terminal = stream.isatty()

    def columns(self):
        return os.get_terminal_size(self.stream.fileno()).columns or 80 if self.is_terminal else PLAIN_COLUMNS

    def say(self, text):
        """A line that stays."""
        self.wipe()
        print(text, file=self.stream, flush=True)

    def wipe(self):
        if self.drawn:
            print(f"\033[{self.drawn}F{ERASE_BELOW}", end="", file=self.stream, flush=True)
            self.drawn = 0

    def show(self, rows, status, at_once=False):
        """All rows, and one line on what is going on now."""
        if self.is_terminal:
            self.draw(self.fitting(rows), status)
        elif at_once or time.monotonic() - self.last_plain >= PLAIN_S:
            self.last_plain = time.monotonic()
            for row in (row for row in rows if row.is_running):
                cells = " ".join(f"{title.replace(' ', '_')}={text}" for title, text in row.cells().items())
                print(f"{row.leg.name}: {cells}; {status}", file=self.stream, flush=True)

    def fitting(self, rows):
        """Those that a low terminal has room for, the running one among them."""
        room = max((os.get_terminal_size(self.stream.fileno()).lines or 24) - ROOM, 1)
        at = next((number for number, row in enumerate(rows) if row.is_running), 0)
        first = min(max(at - room // 2, 0), max(len(rows) - room, 0))
        return rows[first:first + room]

    def draw(self, rows, status):
        columns = self.columns()
        lines = [*(table(rows, columns) if rows else []), status[:columns - 1], LEGEND[:columns - 1]]
        up = f"\033[{self.drawn}F" if self.drawn else ""
        text = up + "".join(f"{line}{ERASE_LINE}\n" for line in lines) + ERASE_BELOW
        print(text, end="", file=self.stream, flush=True)
        self.drawn = len(lines)

    def tell(self, text):
        """What goes on for a moment; only a terminal shows it."""
        if self.is_terminal:
            self.draw([], text)
