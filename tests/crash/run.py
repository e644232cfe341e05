#!/usr/bin/env python3
"""The long forms of the programs in this folder: what ci/crash runs once they are built. ../support/legs.py runs them."""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import legs
from legs import Leg
from script import git, run

FOLDER = "tests/crash"
NOTIFIERS = ("sem", "fifo", "lock", "named", "cond", "signal", "spin")
TOTAL = re.compile(r"^total: (.*)$", re.MULTILINE)
CASE = re.compile(r"^ok\b", re.MULTILINE)
REMARK = re.compile(r"^(cond: .*)$", re.MULTILINE)


def all_legs():
    """In the order in which they are run: first what is most likely to find something."""
    kill, interleave = "kill/kill", "interleave/interleave"
    for notifier in NOTIFIERS:
        yield Leg(f"kill-{notifier}", kill, ("--notifier", notifier))
        yield Leg(f"interleave-{notifier}", interleave, ("--notifier", notifier, "--deaths", "0"))
        yield Leg(f"interleave-death-{notifier}", interleave,
                  ("--notifier", notifier, "--processes", "2", "--preemptions", "1"))
    yield Leg("hostile", "hostile/hostile", ())
    yield Leg("fail", "fail/fail_test", (), True)
    yield Leg("audit", "audit/double_fetch_test", (), True)
    for notifier in NOTIFIERS:
        yield Leg(f"kill-many-{notifier}", kill, ("--notifier", notifier, "--many"))
        yield Leg(f"kill-file-{notifier}", kill, ("--notifier", notifier, "--file"))
    yield Leg("kill-pairs", kill, ("--notifier", "sem", "--pairs", "1"))
    yield Leg("interleave-two", interleave, ("--notifier", "sem", "--processes", "2"))
    yield Leg("interleave-three", interleave, ("--notifier", "sem", "--processes", "3", "--preemptions", "1"))
    yield Leg("interleave-whole", interleave, ("--notifier", "sem"))


def parts(leg):
    """The folder of its program, and what all programs here share."""
    shared = git("ls-tree", "--name-only", "HEAD", FOLDER + "/").splitlines()
    own = os.path.join(FOLDER, os.path.dirname(leg.program))
    return ["src", "tests/support", own, *(path for path in shared if path.endswith((".c", ".h")))]


def read(leg, log):
    figures = dict(word.split("=", 1) for text in TOTAL.findall(log)[-1:] for word in text.split() if "=" in word)
    figures.pop("seconds", None)
    if leg.long:
        figures["cases"] = str(len(CASE.findall(log)))
    return figures, REMARK.findall(log)


FAMILY = legs.Family(
    command="ci/crash", legs=all_legs, results="crash-results", programs="bazel-bin/tests/crash", parts=parts, read=read,
    about="Runs the long forms of the programs in tests/crash, several at a time, and keeps what they count.",
    examples="these only, by name or the beginning of one: kill, kill-sem, interleave, hostile (default: all, which "
             "takes hours)")

if __name__ == "__main__":
    run(FAMILY.command, lambda arguments: legs.main(FAMILY, arguments))
