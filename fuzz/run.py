#!/usr/bin/env python3
"""Starts an engine on a fuzz target: what `bazel run //fuzz:X_run` and `:X_afl` are, and how ci/fuzz starts many.

It goes on until it finds something, until --seconds are over, or until Ctrl-C; what it learned is kept in
fuzz-results/X, and the next run starts from there. Exit status 0: nothing was found; 1: something was, and the last
lines are the commands that look at it.
"""

import argparse
import ctypes
import glob
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

ENDED_WELL = (0, 72, 128 + signal.SIGINT, -signal.SIGINT)  # libFuzzer that is interrupted ends with 72
# AFL++ has crashes/ and hangs/, and renames them when it goes on.
CRASHES = {"libfuzzer": "crashes/[!s]*-*", "afl": "afl/*/[ch]*s*/id:*"}  # a slow-unit is no finding
PR_SET_PDEATHSIG = 1


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
    parser.add_argument("--describe", action="store_true", help=argparse.SUPPRESS)  # for ci/fuzz, which starts it
    # What the launcher fills in.
    for option in ("--runfiles", "--name", "--binary", "--dict"):
        parser.add_argument(option, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--max-length", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=sorted(CRASHES), required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed-file", action="append", default=[], help=argparse.SUPPRESS)
    return parser.parse_known_args()


# --- commands --------------------------------------------------------------------------------------------------------


def describe(arguments):
    """What the commands below are made from."""
    dictionary = os.path.abspath(os.path.join(arguments.runfiles, arguments.dict))
    return {
        "name": arguments.name,
        "engine": arguments.engine,
        "binary": os.path.abspath(os.path.join(arguments.runfiles, arguments.binary)),
        "dictionary": dictionary if os.path.getsize(dictionary) > 0 else None,
        "max_length": int(arguments.max_length),
        "seeds": [os.path.abspath(os.path.join(arguments.runfiles, path)) for path in arguments.seed_file],
    }


def libfuzzer(target, results, seconds=None, seed=None, runs=None):
    """The engine's command; it has a folder that it adds to, the seeds, and what AFL++ found."""
    found, seeds = (os.path.join(results, folder) for folder in ("corpus", "seeds"))
    for folder in (found, os.path.join(results, "crashes")):
        os.makedirs(folder, exist_ok=True)
    command = [target["binary"], f"-artifact_prefix={results}/crashes/", "-timeout=10", "-print_final_stats=1"]
    command += [f"-max_len={target['max_length']}"]
    command += [f"-dict={target['dictionary']}"] if target["dictionary"] else []
    command += [f"-max_total_time={seconds}"] if seconds else []
    command += [f"-runs={runs}"] if runs is not None else []
    command += [f"-seed={seed}"] if seed else []
    queues = sorted(glob.glob(os.path.join(glob.escape(results), "afl/*/queue")))
    return command, [found, seeds, *queues]


def afl(target, results, seconds=None, seed=None, part=()):
    """The engine's command; AFL_AUTORESUME makes it go on with what it has. `part`: -M or -S, and the name."""
    if shutil.which("afl-fuzz") is None:
        sys.exit("needs afl-fuzz: ci/setup installs it")
    command = ["afl-fuzz", "-i", os.path.join(results, "seeds"), "-o", os.path.join(results, "afl"), *part]
    command += ["-G", str(target["max_length"]), "-t", "1000+"]  # a busy machine is no hang
    found = os.path.join(results, "corpus")
    command += ["-F", found] if "-M" in part and os.path.isdir(found) else []  # of libFuzzer
    command += ["-x", target["dictionary"]] if target["dictionary"] else []
    command += ["-V", str(seconds)] if seconds else []
    command += ["-s", str(seed)] if seed else []
    return command, ["--", target["binary"]]


def write_seeds(target, results):
    """Copies, because AFL++ passes over symbolic links; each appears whole, and what is the same stays."""
    folder = os.path.join(results, "seeds")
    os.makedirs(folder, exist_ok=True)
    names = set()
    for path in target["seeds"]:
        with open(path, "rb") as file:
            content = file.read()
        name = f"{os.path.basename(path)}_{hashlib.sha1(content).hexdigest()[:8]}"
        names.add(name)
        if not os.path.exists(os.path.join(folder, name)):
            copy = os.path.join(results, f"seed.{os.getpid()}.new")
            with open(copy, "wb") as file:
                file.write(content)
            os.replace(copy, os.path.join(folder, name))
    for name in set(os.listdir(folder)) - names:
        os.unlink(os.path.join(folder, name))


def environment(has_terminal):
    """Without a terminal AFL++ writes lines; nothing of the machine's settings keeps it from starting."""
    settings = {
        "AFL_AUTORESUME": "1",
        "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",
        "AFL_IMPORT_FIRST": "1",  # what others found, and then every minute
        "AFL_NO_AFFINITY": "1",
        "AFL_SKIP_CPUFREQ": "1",
        "AFL_SYNC_TIME": "1",
    }
    if not has_terminal:
        settings["AFL_NO_UI"] = "1"
    symbolizer = shutil.which("llvm-symbolizer-19")
    if symbolizer:
        settings["LLVM_SYMBOLIZER_PATH"] = symbolizer
    return settings | {"FUZZ_DIES_WITH_PARENT": "1"} | os.environ


def die_with_parent():
    """For preexec_fn: whoever is started has no life of his own, even if we are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def findings(results, engine):
    return set(glob.glob(os.path.join(glob.escape(results), CRASHES[engine])))


# --- one run ---------------------------------------------------------------------------------------------------------


def run(command):
    """Its exit status. On Ctrl-C the terminal tells the engine too; otherwise this does, and both wait for it."""
    settings = environment(sys.stdout.isatty())
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=settings, preexec_fn=die_with_parent) as engine:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: engine.send_signal(signal.SIGINT))
        return engine.wait()


def main():
    arguments, more = parse()
    target = describe(arguments)
    if arguments.describe:
        print(json.dumps(target))
        return 0
    tree = os.environ.get("BUILD_WORKSPACE_DIRECTORY", os.getcwd())
    results = os.path.abspath(arguments.results or os.path.join(tree, "fuzz-results", arguments.name))
    os.makedirs(results, exist_ok=True)
    before = findings(results, arguments.engine)
    write_seeds(target, results)
    limits = {"seconds": arguments.seconds, "seed": arguments.random}
    if arguments.engine == "libfuzzer":
        command, operands = libfuzzer(target, results, runs=arguments.runs, **limits)
    else:
        command, operands = afl(target, results, **limits)
    command += more + operands
    print(shlex.join(command), flush=True)
    status = run(command)
    found = sorted(findings(results, arguments.engine) - before)
    for path in found:
        name = f"{arguments.name}_asan"
        print(f"found: bazel build //fuzz:{name} && bazel-bin/fuzz/{name} {shlex.quote(path)}")
    if not found and status not in ENDED_WELL:
        print(f"{command[0]} ended with status {status} and found nothing: see above")
    return 0 if not found and status in ENDED_WELL else 1


if __name__ == "__main__":
    sys.exit(main())
