"""What shmq is to reach, beside the bounds and the peers of the same run, and what it has reached: rows of a table."""

import figures
import plan
from plan import KIB, MIB, Job

OF_LIMIT = {8: 1, 64: 1, 256: 1, KIB: 1, 4 * KIB: 1, 64 * KIB: 0.95, MIB: 0.95}  # throughput
SLEEPERS_SIZES, OF_SLEEPERS = (8, 64, 256), 15  # times the throughput of the best peer that can sleep
OF_LINE, OF_FUTEX = 1.5, 1.05  # times of a round trip
IDLE_US, ATTACH_US = 2000, 100
CHECKS = 1.05  # times of a build without them
FLAT = 1.25  # between the cheapest and the dearest; among rings, those that the two do not go through in lock-step
LEAST_RING = MIB


def row(what, value, bound, aim, words, reached):
    return [what, f"{bound} {words.format(aim)}", words.format(value), "reached" if reached else "missed"]


def at_least(what, value, aim, words="{:.2f}"):
    return row(what, value, "at least", aim, words, round(value, 2) >= aim)


def at_most(what, value, aim, words="{:.2f}"):
    return row(what, value, "at most", aim, words, round(value, 2) <= aim)


class Measured:
    """What a run says of shmq's first notifier. in_words is for bytes."""

    def __init__(self, result, in_words):
        self.result, self.own, self.in_words = result, plan.leader(result.peers), in_words

    def ratio(self, job):
        """To its bound, or None."""
        figure = self.result.figure(job)
        return figure["ratio"] if figure else None

    def microseconds(self, jobs):
        """The longest, or None."""
        times = [figures.ns_of(self.result.figures, job) for job in jobs]
        return max(times) / 1000 if times and all(times) else None

    def times_the_best(self, size, peers):
        """How many times the throughput of the best of them, and who that is; or None."""
        own, ratios = self.ratio(Job("stream", self.own, size)), {}
        for peer in peers:
            if ratio := self.ratio(Job("stream", peer, size)):
                ratios[peer] = ratio
        if not own or not ratios:
            return None
        best = min(ratios, key=ratios.get)
        return ratios[best] / own, best

    def spread(self, jobs):
        """How many times the least the most of them is, or None."""
        times = [time for job in jobs if (time := figures.ns_of(self.result.figures, job))]
        return max(times) / min(times) if len(times) > 1 else None


def of_streams(measured):
    peers = [peer for peer in plan.contestants(measured.result.peers) if peer != measured.own]
    for size in measured.result.form.sizes:
        words = measured.in_words(size)
        if (ratio := measured.ratio(Job("stream", measured.own, size))) and size in OF_LIMIT:
            yield at_least(f"{words} one way, × limit", 1 / ratio, OF_LIMIT[size])
        if found := measured.times_the_best(size, peers):
            yield at_least(f"{words} one way, × {found[1]}, the best peer", found[0], 1)
        sleepers = [peer for peer in peers if peer not in plan.LOOKERS]
        if size in SLEEPERS_SIZES and (found := measured.times_the_best(size, sleepers)):
            yield at_least(f"{words} one way, × {found[1]}, the best that sleeps", found[0], OF_SLEEPERS, "{:.1f}")


def of_waits(measured):
    for wait, aim, bound in (("default", OF_LINE, "two cache lines"), ("asleep", OF_FUTEX, "a bare futex")):
        if ratio := measured.ratio(Job("round_trip", measured.own, wait=wait)):
            yield at_most(f"round trip, {wait}, × {bound}", ratio, aim)
    if idle := measured.microseconds([Job("idle", measured.own)]):
        seconds = measured.result.form.idle_ms / 1000
        yield at_most(f"waiting {seconds:g} s, µs of processor time", idle, IDLE_US * seconds / 2, "{:.0f}")


def of_sizes(measured):
    own, jobs = measured.own, measured.result.figures
    rings = [job for job in jobs if job.peer == own and job.measure == "stream" and job.capacity >= LEAST_RING]
    for what, alike in (("rings from 1 MiB on", rings),
                        ("runs of any length", [job for job in jobs if job.peer == own and job.messages])):
        if spread := measured.spread(alike):
            yield at_most(f"{what}, dearest × cheapest", spread, FLAT)
    if attach := measured.microseconds([job for job in jobs if job.peer == own and job.measure == "attach"]):
        yield at_most("attaching to rings of any size, µs", attach, ATTACH_US, "{:.0f}")
    for size in measured.result.form.sizes:
        if ratio := measured.ratio(Job("stream", own, size, variant=plan.UNCHECKED)):
            yield at_most(f"{measured.in_words(size)} one way, × without checks", 1 / ratio, CHECKS)


def rows(result, in_words):
    """Of what was measured: what, the aim, what there is, reached or missed."""
    measured = Measured(result, in_words)
    return [there for part in (of_streams, of_waits, of_sizes) for there in part(measured)] if measured.own else []
