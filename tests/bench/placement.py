"""Where the host has put the two cores. Hosts of virtual machines move cores about, some many times a second, from two
threads of one core to two chips; what is measured at one distance says nothing of another. The C program tells the
distance of each run, as a cache line's round trip, and can wait for one.

A placement is the (least, most) ns of such a round trip, at most SPREAD times apart.
"""

SPREAD = 1.5
SHARE = 0.2  # of all probes: so many make it one
LOOKS = 50  # before a run, to find it
TRIES = 12  # of a run that was elsewhere before or after
PATIENCE = 0.25  # of the time that all should take: for runs that were elsewhere; then the host has other plans
LONG_MS = 100  # whatever takes longer is not held to a placement: its figures are of all of them


def nearest(probes):
    """The nearest placement that the host has the cores in for a good part of the time, or None."""
    def there(least):
        return sum(least <= probe <= SPREAD * least for probe in probes)

    first = next((probe for probe in sorted(probes) if there(probe) >= SHARE * len(probes)), None)
    if first is None:
        return None
    least = max((probe for probe in sorted(probes) if first <= probe <= SPREAD * first), key=there)
    return least, int(SPREAD * least)


def elsewhere(run, placement):
    """Was the machine another one than it should be, before or after it?"""
    probes = run.get("probe_ns", ())
    return bool(placement and probes) and run["played_ms"] <= LONG_MS and not placement[0] <= min(probes) <= max(probes) <= placement[1]
