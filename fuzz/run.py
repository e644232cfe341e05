#!/usr/bin/env python3
"""Starts an engine on a fuzz target: what `bazel run //fuzz:X_run` and `:X_afl` are.

It goes on until it finds something, until --seconds are over, or until Ctrl-C; what it learned is kept in
fuzz-results/X, and the next run starts from there. Exit status 0: nothing was found; 1: something was, and the last
lines are the commands that look at it.
"""

import argparse
import glob
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

ENDED_WELL = (0, 72, 128 + signal.SIGINT, -signal.SIGINT)  # libFuzzer that is interrupted ends with 72
CRASHES = {"libfuzzer": "crashes/*", "afl": "afl/default/[ch]*s/id:*"}  # AFL++ has crashes/ and hangs/


def parse():
    parser = argparse.ArgumentParser(
        prog="bazel run //fuzz:X_run --",
        description=__doc__.split("\n\n", maxsplit=1)[0],
        epilog="What else is given goes to the engine: -help=1 (libFuzzer) and -h (AFL++) list that.",
        allow_abbrev=False,
    )
    parser.add_argument("--seconds", type=int, help="how long; default: until it is interrupted")
    parser.add_argument("--runs", type=int, help="how often, of libFuzzer; default: no limit")
    parser.add_argument("--random", type=int, metavar="SEED", help="the seed of its random numbers")
    parser.add_argument("--results", help="where it keeps what it learns (default: fuzz-results/X of the tree)")
    # What the launcher fills in.
    for option in ("--runfiles", "--name", "--binary", "--dict"):
        parser.add_argument(option, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--max-length", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=sorted(CRASHES), required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed-file", action="append", default=[], help=argparse.SUPPRESS)
    return parser.parse_known_args()


def libfuzzer(arguments, binary, dictionary, seeds, more):
    """The engine's command; it has a folder that it adds to, and the seeds."""
    found = os.path.join(arguments.results, "corpus")
    for folder in (found, os.path.join(arguments.results, "crashes")):
        os.makedirs(folder, exist_ok=True)
    command = [binary, f"-artifact_prefix={arguments.results}/crashes/", "-timeout=10", "-print_final_stats=1"]
    command += [f"-max_len={arguments.max_length}"]
    command += [f"-dict={dictionary}"] if dictionary else []
    command += [f"-max_total_time={arguments.seconds}"] if arguments.seconds else []
    command += [f"-runs={arguments.runs}"] if arguments.runs is not None else []
    command += [f"-seed={arguments.random}"] if arguments.random else []
    return command + more + [found, seeds]


def afl(arguments, binary, dictionary, seeds, more):
    """The engine's command; AFL_AUTORESUME makes it go on with what it has."""
    if shutil.which("afl-fuzz") is None:
        sys.exit("needs afl-fuzz: ci/setup installs it")
    command = ["afl-fuzz", "-i", seeds, "-o", os.path.join(arguments.results, "afl"), "-G", arguments.max_length]
    command += ["-x", dictionary] if dictionary else []
    command += ["-V", str(arguments.seconds)] if arguments.seconds else []
    command += ["-s", str(arguments.random)] if arguments.random else []
    return command + more + ["--", binary]


def environment():
    """Without a terminal AFL++ writes lines; nothing of the machine's settings keeps it from starting."""
    settings = {
        "AFL_AUTORESUME": "1",
        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
        "AFL_NO_AFFINITY": "1",
        "AFL_SKIP_CPUFREQ": "1",
    }
    if not sys.stdout.isatty():
        settings["AFL_NO_UI"] = "1"
    symbolizer = shutil.which("llvm-symbolizer-19")
    if symbolizer:
        settings["LLVM_SYMBOLIZER_PATH"] = symbolizer
    return settings | os.environ


def findings(arguments):
    return set(glob.glob(os.path.join(glob.escape(arguments.results), CRASHES[arguments.engine])))


def run(command):
    """Its exit status. On Ctrl-C the terminal tells the engine too; otherwise this does, and both wait for it."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment()) as engine:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: engine.send_signal(signal.SIGINT))
        return engine.wait()


def main():
    arguments, more = parse()
    tree = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
    arguments.results = os.path.abspath(arguments.results or os.path.join(tree, "fuzz-results", arguments.name))
    binary, dictionary = (os.path.join(arguments.runfiles, path) for path in (arguments.binary, arguments.dict))
    dictionary = dictionary if os.path.getsize(dictionary) > 0 else None
    os.makedirs(arguments.results, exist_ok=True)
    before = findings(arguments)
    with tempfile.TemporaryDirectory() as seeds:  # copies: AFL++ passes over symbolic links
        for path in arguments.seed_file:
            shutil.copy(os.path.join(arguments.runfiles, path), os.path.join(seeds, path.replace("/", "_")))
        command = globals()[arguments.engine](arguments, os.path.abspath(binary), dictionary, seeds, more)
        print(shlex.join(command), flush=True)
        status = run(command)
    found = sorted(findings(arguments) - before)
    for path in found:
        name = f"{arguments.name}_asan"
        print(f"found: bazel build //fuzz:{name} && bazel-bin/fuzz/{name} {shlex.quote(path)}")
    if not found and status not in ENDED_WELL:
        print(f"{command[0]} ended with status {status} and found nothing: see above")
    return 0 if not found and status in ENDED_WELL else 1


if __name__ == "__main__":
    sys.exit(main())
