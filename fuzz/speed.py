#!/usr/bin/env python3
"""How fast are the fuzz targets? Runs each for a while, under one engine and one sanitizer, and compares it with the
target `empty`, which does nothing: at least a tenth of its executions per second is the aim.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from script import ROOT, Failure, commit, machine, run
from engines import read_counts

NOTHING = "empty"
AIM = 0.1
CONFIGS = ("asan-libfuzzer", "ubsan-libfuzzer", "msan-libfuzzer", "asan-afl")


def build(config, targets):
    quiet = ("--ui_event_filters=-info", "--show_result=0", "--noshow_progress")
    command = ["bazel", "build", *quiet, f"--config={config}", *[f"//fuzz:{name}_run" for name in targets]]
    if subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise Failure("the targets do not build, see above")


def measure(name, seconds):
    """(executions per second, operations per second; 0 if the target counts none)"""
    with tempfile.TemporaryDirectory() as results:
        counts = os.path.join(results, "counts")
        command = [f"bazel-bin/fuzz/{name}_run", f"--seconds={seconds}", "--random=1", f"--results={results}"]
        start = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"FUZZ_COUNTS": counts},
            check=False,
        )
        elapsed = time.monotonic() - start
        counted = read_counts(counts)
        if done.returncode != 0 or not counted["executions"]:
            raise Failure(f"{name} was not measured:\n{done.stdout[-2000:]}")
    return counted["executions"] / elapsed, counted["operations"] / elapsed


def body(given):
    every = sorted(os.listdir(os.path.join(ROOT, "fuzz/corpus")))
    parser = argparse.ArgumentParser(prog="ci/fuzz-speed", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all; there are {', '.join(every)}")
    parser.add_argument("--config", choices=CONFIGS, default=CONFIGS[0], help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=10, help="of each (default: %(default)s)")
    arguments = parser.parse_args(given)
    unknown = set(arguments.targets) - set(every)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    targets = [NOTHING] + [name for name in arguments.targets or every if name != NOTHING]
    build(arguments.config, targets)
    print(f"{arguments.config}, commit {commit()}, {machine()['cores']} cores, {arguments.seconds} s each\n")
    print(f"{'':32}{'executions/s':>14}{'x ' + NOTHING:>10}{'operations/s':>14}")
    nothing = None
    for name in targets:
        executions, operations = measure(name, arguments.seconds)
        nothing = nothing or executions
        share = executions / nothing
        told = f"{operations:,.0f}" if operations else "-"
        slow = f"  below {AIM}" if share < AIM else ""
        print(f"{name:32}{executions:14,.0f}{share:10.2f}{told:>14}{slow}", flush=True)


run("ci/fuzz-speed", body)
