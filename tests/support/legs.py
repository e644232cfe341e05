"""Runs long forms of test programs, several at a time, and keeps what they count: what ci/crash and ci/sim --deeper have
in common.

A leg is one call of one program. What it prints goes to RESULTS/LEG.log, what it counted to RESULTS/LEG.json, from which
ci/report takes it. A leg that has been run with these very sources is not run again, so an interrupted run goes on where
it was.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from script import ROOT, Failure, git, origin

LOOK_S = 0.2
REPRODUCE = re.compile(r"^to (?:reproduce|see it again): (.*)$", re.MULTILINE)

Leg = collections.namedtuple("Leg", "name program arguments long", defaults=(False,))  # long: with SHMQ_LONG=1

# command: what runs them. about, examples: for its help. legs: all of them, in the order in which they are run. results,
# programs: folders. parts(leg): what of the tree its program is made of. read(log): (figures, remarks) of a leg's.
Family = collections.namedtuple("Family", "command about examples legs results programs parts read")


def wanted(legs, names):
    for name in names:
        if not any(leg.name == name or leg.name.startswith(name + "-") for leg in legs):
            raise Failure(f"there is no leg {name}: --list shows all")
    return [leg for leg in legs if not names or any(leg.name == n or leg.name.startswith(n + "-") for n in names)]


def command(leg, programs):
    return ("SHMQ_LONG=1 " if leg.long else "") + shlex.join([os.path.join(programs, leg.program), *leg.arguments])


# --- what is kept ----------------------------------------------------------------------------------------------------


def sources(family, leg):
    """The same for the same sources; None if they are not what is committed, or nothing is."""
    try:
        parts = family.parts(leg)
        if git("status", "--porcelain", "--", *parts):
            return None
        names = git("rev-parse", *(f"HEAD:{part}" for part in parts)).encode()
        return hashlib.sha256(names).hexdigest()[:12]
    except Failure:
        return None


class Results:
    """The files of all legs, in one directory."""

    def __init__(self, family, directory, programs):
        self.family, self.directory, self.programs = family, directory, programs
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise Failure(f"cannot write {directory}: {error.strerror}") from error

    def path(self, leg, ending):
        return os.path.join(self.directory, f"{leg.name}.{ending}")

    def has(self, leg):
        try:
            with open(self.path(leg, "json"), encoding="utf-8") as file:
                kept = json.load(file)
        except (OSError, ValueError):
            return False
        return kept["status"] == 0 and kept["sources"] is not None and kept["sources"] == sources(self.family, leg)

    def keep(self, leg, status, seconds):
        """Reads what it has printed. Returns the figures in a line, and the command that reproduces what was wrong."""
        with open(self.path(leg, "log"), encoding="utf-8", errors="replace") as file:
            log = file.read()
        figures, remarks = self.family.read(leg, log)
        found = {
            **origin(), "leg": leg.name, "command": command(leg, self.family.programs), "sources": sources(self.family, leg),
            "status": status, "seconds": round(seconds, 1), "figures": figures, "remarks": remarks,
        }
        with open(self.path(leg, "json") + ".new", "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
        os.replace(self.path(leg, "json") + ".new", self.path(leg, "json"))
        line = "; ".join([" ".join(f"{name}={value}" for name, value in figures.items()), *remarks])
        return line, (REPRODUCE.findall(log) or [command(leg, self.programs)])[-1]


# --- running ---------------------------------------------------------------------------------------------------------


class Running:
    """A leg at work."""

    def __init__(self, leg, results):
        self.leg, self.begun = leg, time.monotonic()
        program = os.path.join(ROOT, results.programs, leg.program)
        try:
            with open(results.path(leg, "log"), "w", encoding="utf-8") as log:
                self.process = subprocess.Popen(
                    [program, *leg.arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                    env={**os.environ, "SHMQ_LONG": "1"} if leg.long else None,
                    start_new_session=True)  # Ctrl-C is for us, who hand it on
        except OSError as error:
            raise Failure(f"{program}: {error.strerror}: {results.family.command} builds it") from error

    def seconds(self):
        return time.monotonic() - self.begun


def redraw(text):
    """The one line of a terminal."""
    if sys.stderr.isatty():
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
        print(f"\r\033[K{text[:columns - 1]}", end="", file=sys.stderr, flush=True)


def run_legs(legs, jobs, results):
    """Returns the commands that reproduce what went wrong."""
    waiting, running, failed = collections.deque(legs), [], []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Running(waiting.popleft(), results))
            time.sleep(LOOK_S)
            done = len(legs) - len(waiting) - len(running)
            redraw(f"{done} of {len(legs)} done; " + ", ".join(f"{one.leg.name} {one.seconds():.0f} s" for one in running))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                status = one.process.returncode
                line, reproduce = results.keep(one.leg, status, one.seconds())
                redraw("")
                print(f"{one.leg.name}: {'ok' if status == 0 else 'FAILED'} {one.seconds():.0f} s: {line}", flush=True)
                failed += [reproduce] if status != 0 else []
    finally:
        for one in running:
            one.process.send_signal(signal.SIGINT)
        for one in running:
            one.process.wait()
        redraw("")
    return failed


def main(family, arguments):
    parser = argparse.ArgumentParser(prog=family.command, description=family.about)
    parser.add_argument("legs", nargs="*", metavar="LEG", help=family.examples)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N",
                        help="so many at a time (default: one a core)")
    parser.add_argument("--fresh", action="store_true", help="run again what was run with these sources")
    parser.add_argument("--list", action="store_true", help="show the commands, and run nothing")
    parser.add_argument("--results", default=family.results, metavar="DIR",
                        help=f"what is kept (default: {family.results})")
    parser.add_argument("--programs", default=family.programs, metavar="DIR",
                        help=f"where they are built (default: {family.programs})")
    parser.add_argument("--parse", action="store_true", help=argparse.SUPPRESS)  # before anything is built: look at the arguments
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error("--jobs: at least 1")
    legs = wanted(list(family.legs()), options.legs)
    if options.list:
        for leg in legs:
            print(f"{leg.name:24} {command(leg, options.programs)}")
    if options.list or options.parse:
        return
    results = Results(family, os.path.join(ROOT, options.results), options.programs)
    todo = [leg for leg in legs if options.fresh or not results.has(leg)]
    print(f"{len(todo)} of {len(legs)} legs to run" + ("" if len(todo) == len(legs) else ": the others have been"), flush=True)
    failed = run_legs(todo, options.jobs, results)
    for reproduce in failed:
        print(f"to reproduce: {reproduce}")
    sys.exit(1 if failed else 0)
