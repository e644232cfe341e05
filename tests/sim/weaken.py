#!/usr/bin/env python3
"""Takes away, one by one, what holds the core together, and sees that the simulator notices.

Each step of weaken.toml is a memory order, a barrier or a step of a protocol: a file of src/, what stands there, what is
put in its place (or a macro of sim_shared.h), and the plots that must fail, tried in their order: at random from a fixed
seed, then exhaustively within the bounds of plots.c. Without any change all these plots must pass.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STEPS = "tests/sim/weaken.toml"
NOT_SIMULATED = {"region.c", "guard.c"}
SIMULATOR = ["engine.c", "memory.c", "os.c", "world.c", "actors.c", "oracle.c", "plots.c", "sim.c"]
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-w", "-DSTREAM_BYTES=16", '-DSHMQ_SHARED_H="sim_shared.h"', '-DSHMQ_OS_H="sim_os.h"']


class Failure(Exception):
    """Whoever started this must mend something."""


def compiler():
    for name in (os.environ.get("CC"), "clang-19", "cc"):
        if name and shutil.which(name):
            return name
    raise Failure("no C compiler: install clang-19, or set CC")


class Build:
    """Objects of the simulator with the core as it is, and with one step changed."""

    def __init__(self, place):
        self.place = place
        self.cc = compiler()
        self.core = sorted(set(os.path.basename(p) for p in glob.glob(f"{ROOT}/src/*.c")) - NOT_SIMULATED)
        self.objects = self.compile("base", f"{ROOT}/src", self.core + SIMULATOR, [])

    def compile(self, name, source, files, flags):
        folder = os.path.join(self.place, name)
        os.makedirs(folder, exist_ok=True)
        sim = f"{ROOT}/tests/sim"
        include = [f"-I{source}", f"-I{ROOT}/src", f"-I{sim}", f"-I{ROOT}/tests/support"]

        def one(file):
            path = f"{sim}/{file}" if file in SIMULATOR else f"{source}/{file}"
            target = os.path.join(folder, file + ".o")
            command = [self.cc, *FLAGS, *flags, *include, "-c", path, "-o", target]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise Failure(f"{name} does not compile:\n{result.stderr}")
            return file, target

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return dict(pool.map(one, files))

    def link(self, name, objects):
        program = os.path.join(self.place, name, "sim")
        subprocess.run([self.cc, "-o", program, *objects.values()], check=True)
        return program

    def weakened(self, step):
        """The simulator with this step changed."""
        source = os.path.join(self.place, step["name"], "src")
        if "define" in step:
            changed = self.compile(step["name"], f"{ROOT}/src", self.core, ["-D" + step["define"]])
        else:
            shutil.copytree(f"{ROOT}/src", source)
            path = os.path.join(source, step["file"])
            os.chmod(path, 0o644)
            with open(path, "w", encoding="utf-8") as file:
                file.write(replaced(step))
            only = [step["file"]] if step["file"].endswith(".c") else self.core
            changed = self.compile(step["name"], source, only, [])
        return self.link(step["name"], {**self.objects, **changed})


def replaced(step):
    with open(f"{ROOT}/src/{step['file']}", encoding="utf-8") as file:
        text = file.read()
    count = text.count(step["from"])
    if count != 1:
        raise Failure(f"{step['name']}: its text stands {count} times in src/{step['file']}: mend {STEPS}")
    return text.replace(step["from"], step["to"])


def play(program, plot, how, seconds):
    """What the simulator said when it failed, and after how many executions; or None."""
    command = [program, plot, how, f"--seconds={seconds}", "--seed=1"]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode == 0:
        return None
    said = re.search(r"^FAILED: (.*)$", result.stdout, re.MULTILINE)
    count = re.search(r"failed after (\d+) executions", result.stdout)
    if not said or not count:
        raise Failure(f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout[-2000:]}{result.stderr}")
    return said.group(1), int(count.group(1))


def noticed(program, step, seconds):
    for how in ("--random", "--exhaustive"):
        for plot in step["plots"]:
            found = play(program, plot, how, seconds)
            if found:
                return f"{plot} {how[2:]}, {found[1]} executions: {found[0]}"
    return None


def load(wanted):
    with open(f"{ROOT}/{STEPS}", "rb") as file:
        steps = tomllib.load(file)["step"]
    unknown = set(wanted) - {step["name"] for step in steps}
    if unknown:
        raise Failure(f"no step is called {', '.join(sorted(unknown))}; see --list")
    for step in steps:
        if "file" in step:
            replaced(step)  # does it apply? Say so before minutes have passed
    return [step for step in steps if not wanted or step["name"] in wanted]


def run(arguments):
    steps = load(arguments.names)
    if arguments.list:
        for step in steps:
            print(f"{step['name']:24} {step['what']}")
        return 0
    with tempfile.TemporaryDirectory(prefix="weaken-") as place:
        build = Build(place)
        right = build.link("base", build.objects)
        for plot in sorted({plot for step in steps for plot in step.get("plots", [])}):
            if play(right, plot, "--random", 1):
                raise Failure(f"{plot} fails without any change: sim {plot} --random")
        survivors = []
        for step in steps:
            if "proof" in step:
                print(f"{step['name']:24} not caught, and need not be: {step['proof']}")
                continue
            found = noticed(build.weakened(step), step, arguments.seconds)
            shutil.rmtree(os.path.join(place, step["name"]))
            print(f"{step['name']:24} {found or 'SURVIVED'}", flush=True)
            survivors += [] if found else [step["name"]]
    proven = sum("proof" in step for step in steps)
    print(f"{len(steps) - proven - len(survivors)} of {len(steps)} caught, {proven} need not be")
    return 1 if survivors else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="STEP", help="only these; default: all")
    parser.add_argument("--list", action="store_true", help="show the steps, see that they apply, and run nothing")
    parser.add_argument("--seconds", type=int, default=3, help="of each plot, of each kind (default: %(default)s)")
    try:
        return run(parser.parse_args())
    except Failure as failure:
        print(f"weaken: {failure}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
