#!/usr/bin/env python3
"""Every plot one step beyond the bound that bazel test has time for: what ci/sim --deeper runs once the simulator is built.
../support/legs.py runs them, and keeps what they count in sim-results/."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import legs
from legs import Leg
from script import ROOT, Failure, git, run

FOLDER = "tests/sim"
PLOTS = os.path.join(ROOT, FOLDER, "plots.c")
PLOT = re.compile(r'^    \{"(\w+)"', re.MULTILINE)
FOUND = re.compile(r"^\w+: (\d+) executions, (\d+) states, (\d+) ends, .*; all up to bound (\d+)", re.MULTILINE)


def all_legs():
    """The plots of plots.c, in its order."""
    try:
        with open(PLOTS, encoding="utf-8") as file:
            names = PLOT.findall(file.read())
    except OSError as error:
        raise Failure(f"cannot read {PLOTS}: {error.strerror}") from error
    for name in names:
        yield Leg(name, "sim", (name, "--bound", "+1"))


def parts(_leg):
    own = git("ls-tree", "--name-only", "HEAD", FOLDER + "/").splitlines()
    return ["src", "tests/support", *(path for path in own if path.endswith((".c", ".h")))]


def read(_leg, log):
    found = FOUND.search(log)
    return dict(zip(("executions", "states", "ends", "bound"), found.groups() if found else ())), []


FAMILY = legs.Family(
    command="ci/sim --deeper", legs=all_legs, results="sim-results", programs="bazel-bin/tests/sim", parts=parts, read=read,
    about="Runs every plot one step beyond the bound that bazel test has time for, several at a time, and keeps what "
          "they count. A run of sem takes gigabytes and the best part of an hour.",
    examples="these plots only (default: all; ci/sim --list tells of them)")

if __name__ == "__main__":
    run(FAMILY.command, lambda arguments: legs.main(FAMILY, arguments))
