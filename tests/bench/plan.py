"""What a run of ci/bench measures: a job is one measurement with all that it depends on, a plan is all of them, several
times over, each time in a new random order, in which those that are compared follow each other."""

import collections
import random
import typing

LIMIT, MACHINE = "limit", "machine"  # the tightest ring; stands for what needs no peer
LINE, SLEEPER = "two_lines", "futex"  # what a round trip is compared with: of those who look, of those who sleep
LOOKING = ("cache_line", LINE)
SLEEPING = (SLEEPER, "semaphore", "eventfd")
RAW = LOOKING + SLEEPING  # no queues: what the machine can do at best
BOUNDS = (LIMIT, MACHINE, *RAW)

FAMILY = "shmq/"
LOOKERS = ("ck_ring",)  # peers that never sleep
USUAL = 64  # bytes of a message, where nothing else is said
CHECKSUM, UNCHECKED = "checksum", "unchecked"  # variants of shmq: with SHMQ_CHECKSUM, and without any check

KIB, MIB = 1 << 10, 1 << 20
SMALL_RING, LARGE_RING, HUGE_RING = 64 * KIB, 256 * MIB, 4096 * MIB


class Job(typing.NamedTuple):
    """A measurement; what another run has under the same job can be compared."""

    measure: str  # of the C program
    peer: str
    bytes: int = USUAL
    wait: str = ""  # of a round trip: default, spinning, asleep
    capacity: int = 0  # bytes of the ring; 0: what users get
    messages: int = 0  # of a sample; 0: as many as seem good
    ends: int = 1  # of each side
    variant: str = ""


class Form(typing.NamedTuple):
    """How much of everything."""

    rounds: int  # of the run
    sizes: tuple  # bytes of a message
    trips: int  # samples of a round trip at full speed
    wakes: int  # of one to receivers that sleep
    idle_ms: int
    bursts: int  # samples of a stream
    largest_ring: int
    most_messages: int
    ends: tuple
    attaches: int


SIZES = (8, 64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, MIB)
FORMS = {
    "quick": Form(3, (8, 64, 4 * KIB, 64 * KIB, MIB), 2000, 50, 200, 30, 16 * MIB, 10**5, (1, 4), 10),
    "default": Form(5, SIZES, 2000, 1000, 2000, 100, LARGE_RING, 10**8, (1, 2, 4, 8), 50),
    "full": Form(5, SIZES, 2000, 1000, 2000, 100, HUGE_RING, 10**9, (1, 2, 4, 8, 16), 50),
}
# Measures that take long, or come out alike, and part in so many rounds.
SELDOM = {"idle": 3, "idle_timeout": 3, "instructions": 3}
BRIEF_MESSAGES = 10**6


def leader(peers):
    """The one of shmq's notifiers that stands for all where they do not differ, because nobody sleeps."""
    return next((peer for peer in peers if peer.startswith(FAMILY)), None)


def contestants(peers):
    """The leader and who is not of shmq."""
    return [peer for peer in peers if not peer.startswith(FAMILY) or peer == leader(peers)]


# ---- Sections: what is shown together ------------------------------------------------------------------------------


def one_way(form, peers):
    for size in form.sizes:
        yield from (Job("stream", peer, size) for peer in [*(peers if size == USUAL else contestants(peers)), LIMIT])
        yield Job("memcpy", MACHINE, size)


def round_trip(form, peers):
    for wait, raw in (("default", RAW), ("spinning", LOOKING), ("asleep", RAW)):
        yield from (Job("round_trip", peer, wait=wait) for peer in [*peers, *raw])
    for size in form.sizes:
        if size > KIB:
            yield from (Job("round_trip", peer, size, "default") for peer in contestants(peers))
    yield Job("system_call", MACHINE)


def idle(_form, peers):
    yield from (Job(measure, peer) for peer in peers for measure in ("idle", "idle_timeout"))


def rings(form, peers):
    capacity = SMALL_RING
    while leader(peers) and capacity <= form.largest_ring:
        yield from (Job("stream", peer, capacity=capacity) for peer in (leader(peers), LIMIT))
        yield Job("attach", leader(peers), capacity=capacity)
        capacity *= 4


def messages(form, peers):
    count = 1000
    while leader(peers) and count <= form.most_messages:
        yield from (Job("stream", peer, messages=count) for peer in (leader(peers), LIMIT))
        count *= 10


def many(form, peers):
    yield from (Job("many", peer, ends=ends) for peer in contestants(peers) for ends in form.ends)


def attach(_form, peers):
    yield from (Job("attach", peer) for peer in peers)


def checks(form, peers):
    if leader(peers):
        for size in form.sizes:
            yield from (Job("stream", leader(peers), size, variant=variant) for variant in ("", UNCHECKED, CHECKSUM))


def instructions(_form, peers):
    yield from (Job("instructions", peer) for peer in [*contestants(peers), LIMIT])
    if leader(peers):
        yield from (Job("instructions", leader(peers), variant=variant) for variant in (UNCHECKED, CHECKSUM))


SECTIONS = {section.__name__: section
            for section in (one_way, round_trip, idle, rings, messages, many, attach, checks, instructions)}


# ---- Plans ---------------------------------------------------------------------------------------------------------


def samples(form, job):
    """How many a measurement takes."""
    if job.measure == "round_trip":
        return form.wakes if job.wait == "asleep" else max(form.trips * 4 * KIB // max(job.bytes, 4 * KIB), 30)
    if job.messages:
        return min(max(10**6 // job.messages, 1), form.bursts)
    return {"idle": 1, "idle_timeout": 1, "attach": form.attaches, "many": 10,
            "instructions": 40}.get(job.measure, form.bursts)


def cost(form, job):
    """Seconds that a measurement should take, roughly."""
    each = {"idle": form.idle_ms / 1e3, "idle_timeout": form.idle_ms / 1e3, "attach": 5e-4, "many": 3e-2,
            "instructions": 8e-3}
    burst = job.messages or max(1, min(1000, MIB // job.bytes))
    message = 5e-8 if job.messages else 4e-7 + job.bytes * 3e-10  # long ones are for the fastest alone
    one = each.get(job.measure, burst * message)
    if job.measure == "round_trip":
        one = 1.2e-3 if job.wait == "asleep" else 4e-5 + job.bytes * 4e-10
    return 0.1 + samples(form, job) * one + job.capacity * 2e-9


def brief(job):
    """Does it take no longer than a host leaves its cores where they are, and depend on where that is?"""
    return job.measure in ("stream", "round_trip", "many", "memcpy") and job.wait != "asleep" and \
        job.messages <= BRIEF_MESSAGES


def arguments(form, job):
    """The C program's."""
    words = [job.measure, job.peer]
    if job.wait:
        words += ["--wait", job.wait]
    words += ["--wait-ms", form.idle_ms] if job.measure.startswith("idle") else ["--rounds", samples(form, job)]
    for option, value, usual in (("--bytes", job.bytes, USUAL), ("--capacity", job.capacity, 0),
                                 ("--messages", job.messages, 0), ("--ends", job.ends, 1)):
        if value != usual:
            words += [option, value]
    return words + (["--careful"] if job.variant == CHECKSUM else [])


def alike(job):
    """The same for those that are compared with each other: a machine is hardly the same a minute later."""
    return job._replace(measure="stream" if job.measure == "memcpy" else job.measure, peer="", variant="")


def plan(form, peers, sections, rounds, seed):
    """Lists of jobs, one a round."""
    order, groups = random.Random(seed), collections.defaultdict(dict)
    for section in sections:
        for job in SECTIONS[section](form, peers):
            groups[alike(job)][job] = None
    found = []
    for number in range(rounds):
        jobs = []
        for group in order.sample(list(groups.values()), len(groups)):
            there = [job for job in group if number < SELDOM.get(job.measure, rounds)]
            jobs += order.sample(there, len(there))
        found.append(jobs)
    return found
