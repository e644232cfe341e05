"""What the runs of a plan say: medians, ranges and ratios; who is ahead of whom, and whether `limit` is a limit.

All figures are times: less is better. A figure is a dictionary:

    unit                 ns, ps or us
    median, least, most  of the medians of the rounds
    p99, p999            the medians of the rounds' own; p999 is None where a round has too few samples
    rounds, samples      how many; samples of a round
    each                 the medians of the rounds
    ratio                to what the figure is compared with, taken within each round; or None
"""

import collections
import re
import statistics

import placement
import plan
from plan import Job

ENOUGH = 5  # rounds, before a ranking is stated: five by chance on one side of five others is 1 in 126
SAMPLES_OF_P999 = 1000
NO_LIMIT = 0.95  # of what copying alone needs, and of the best peer: below this it is no limit
COPIES_FROM = 1 << 16  # from this size on a message's time is that of copying it
NS = {"ps": 1e-3, "ns": 1, "us": 1e3}


def reference(job, name):
    """The job and the figure that this one is compared with, or None."""
    if job.measure == "round_trip":
        raw = plan.SLEEPER if job.wait == "asleep" else plan.LINE
        return (job._replace(peer=raw), name) if job.bytes == plan.USUAL else None
    if job.variant:
        return job._replace(variant=""), name
    if job.measure == "stream":
        return job._replace(peer=plan.LIMIT), name
    return None


def summarize_one(found):
    """Of the (round, unit, figure) of one job's runs."""
    p50 = [figure["p50"] for _, _, figure in found]
    samples = min(figure["count"] for _, _, figure in found)
    return {
        "unit": found[0][1], "median": statistics.median(p50), "least": min(p50), "most": max(p50),
        "p99": statistics.median(figure["p99"] for _, _, figure in found),
        "p999": statistics.median(figure["p999"] for _, _, figure in found) if samples >= SAMPLES_OF_P999 else None,
        "rounds": len(found), "samples": samples, "ratio": None, "each": p50,
    }


def ratio(found, other):
    """The median of the ratios within the rounds that both have."""
    theirs = {number: figure["p50"] for number, _, figure in other}
    ratios = [figure["p50"] / theirs[number] for number, _, figure in found if theirs.get(number)]
    return statistics.median(ratios) if ratios else None


def summarize(runs, place=None):
    """{job: {name: figure}}, {job: why it is missing}, how many runs were left out because they were elsewhere, and of
    how many jobs all were: those stay."""
    measured, missing = collections.defaultdict(list), {}
    for run in runs:
        if run["outcome"] == "measured":
            measured[run["job"]].append(run)
        else:
            missing.setdefault(run["job"], (run["outcome"], run["reason"]))
    collected, left_out, strays = {}, 0, 0
    for job, there in measured.items():
        astray = [run for run in there if plan.brief(job) and placement.elsewhere(run, place)]
        if len(astray) == len(there):
            strays += 1
        else:
            left_out += len(astray)
            there = [run for run in there if run not in astray]
        for run in there:
            for name, figure in run["figures"].items():
                collected.setdefault((job, name), []).append((run["round"], run["unit"], figure))
    figures = collections.defaultdict(dict)
    for (job, name), found in collected.items():
        figures[job][name] = summarize_one(found)
        figures[job][name]["ratio"] = ratio(found, collected.get(reference(job, name), []))
    return dict(figures), missing, left_out, strays


def ahead(figure, other):
    """Is it surely the faster one? Two runs of one machine must agree in what is said of it."""
    return figure["most"] < other["least"] and min(figure["rounds"], other["rounds"]) >= ENOUGH


def ranking(named):
    """[[names], …] of {name: figure}, the fastest first: everyone of a group is surely ahead of everyone of the next."""
    order = sorted(named, key=lambda name: named[name]["median"])
    groups = [order[:1]]
    for index in range(1, len(order)):
        before, after = order[:index], order[index:]
        if all(ahead(named[name], named[other]) for name in before for other in after):
            groups.append([])
        groups[-1].append(order[index])
    return groups


def compare(old, new):
    """[(job, name, old figure, new figure, verdict)] of what both have."""
    found = []
    for job, names in new.items():
        for name, figure in names.items():
            before = old.get(job, {}).get(name)
            if before and before["median"] > 0:
                verdict = "faster" if ahead(figure, before) else "slower" if ahead(before, figure) else "equal"
                found.append((job, name, before, figure, verdict))
    return found


def stated(found):
    """{(what, who is ahead, of whom)} of all peers."""
    alike = collections.defaultdict(dict)
    for job, names in found.items():
        for name, figure in names.items():
            if job.peer not in plan.BOUNDS:
                alike[job._replace(peer=""), name][job.peer] = figure
    return {(what, one, other) for what, named in alike.items() for one in named for other in named
            if ahead(named[one], named[other])}


def contradictions(old, new):
    """How many rankings of two peers both runs state, and those that the second turns round."""
    before, now = stated(old), stated(new)
    turned = {(what, one, other) for what, one, other in before if (what, other, one) in now}
    return len(before & now) + len(turned), sorted(turned)


# ---- Limit ---------------------------------------------------------------------------------------------------------


def ns_of(figures, job, name=None, key="median"):
    """A figure in nanoseconds, or None."""
    figure = figures.get(job, {}).get(name or job.measure)
    return figure[key] * NS[figure["unit"]] if figure else None


def of_limit(figures, size):
    """What `limit` reaches of copying, how many times faster than the best peer it is, and who that is; or None. What
    is held against it is no peer."""
    own = ns_of(figures, Job("stream", plan.LIMIT, size))
    copies = [ns_of(figures, Job("memcpy", plan.MACHINE, size), f"memcpy_{way}") for way in ("in", "out")]
    ratios = {job.peer: names["stream"]["ratio"] for job, names in figures.items()
              if job == Job("stream", job.peer, size) and job.peer not in plan.BOUNDS and
              not job.peer.startswith(plan.FAMILY) and names["stream"]["ratio"]}
    if not own or not all(copies) or not ratios:
        return None
    best = min(ratios, key=ratios.get)
    return max(copies) / own, ratios[best], best


def faults_of_limit(figures, sizes):
    """Why it is no limit, where it is none."""
    found = []
    for size in sizes:
        copied, faster, best = of_limit(figures, size) or (1, 1, None)
        if size >= COPIES_FROM and copied < NO_LIMIT:
            found.append((size, f"{copied:.3f} × memcpy"))
        if faster < (NO_LIMIT if size >= COPIES_FROM else 1):
            found.append((size, f"{best} is faster"))
    return found


# ---- Files ---------------------------------------------------------------------------------------------------------


def pack(figures):
    """What JSON can hold of them."""
    return [{**job._asdict(), "figures": names} for job, names in figures.items()]


def unpack(packed):
    return {Job(**{field: entry[field] for field in Job._fields}): entry["figures"] for entry in packed}


# ---- Deaths -------------------------------------------------------------------------------------------------------


def parse_deaths(lines):
    """The dictionaries of lines such as "deaths: notifier=cond victim=producer trials=200 hung=37 …"; others pass."""
    found = []
    for line in lines:
        match = re.fullmatch(r"deaths:((?:\s+\w+=\S+)+)\s*", line)
        if match:
            pairs = (word.split("=", 1) for word in match[1].split())
            found.append({key: int(value) if re.fullmatch(r"-?\d+", value) else value for key, value in pairs})
    return found
