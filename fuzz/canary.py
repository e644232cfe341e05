#!/usr/bin/env python3
"""Would the fuzzers notice? Runs an engine, with a fixed seed, on a target that has a fault planted in the core.

The committed corpus alone must not find it; the engine must; and what it found must be harmless without the fault.
"""

import argparse
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# What tells how many executions it took: libFuzzer's output, a file of AFL++'s.
EXECUTIONS = re.compile(r"^(?:stat::number_of_executed_units|execs_done)\s*:\s*(\d+)", re.MULTILINE)
CRASH = re.compile(r"^#(\d+)\s+[A-Z]", re.MULTILINE)
KEPT_LINES = 40


def fuzz(arguments, results, *options):
    """(what it found, what it printed) of one run of the engine."""
    done = subprocess.run(
        [os.path.abspath(arguments.run), "--random=1", f"--results={results}", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"AFL_BENCH_UNTIL_CRASH": "1"},
        check=False,
    )
    found = re.findall(r"^found: .* '?(/[^'\n]+)", done.stdout, re.MULTILINE)
    if done.returncode != (1 if found else 0):
        fail(f"the engine ended with status {done.returncode}", done.stdout)
    return found, done.stdout


def fail(reason, output):
    print("\n".join(output.splitlines()[-KEPT_LINES:]))
    sys.exit(f"FAILED: {reason}")


def executions(results, output):
    for path in glob.glob(os.path.join(results, "afl/default/fuzzer_stats")):
        with open(path, encoding="utf-8") as file:
            output += file.read()
    counts = [int(count) for count in EXECUTIONS.findall(output) or CRASH.findall(output)]
    return counts[-1] if counts else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("run", help="the launcher of the target with the fault")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--sane", required=True, help="the replay of the target without it")
    parser.add_argument("--runs", required=True, help="how many executions libFuzzer may need")
    parser.add_argument("--seconds", required=True, help="how long AFL++ may need, which cannot count them")
    arguments = parser.parse_args()
    limit = f"--runs={arguments.runs}" if arguments.engine == "libfuzzer" else f"--seconds={arguments.seconds}"
    with tempfile.TemporaryDirectory() as results:
        if arguments.engine == "libfuzzer":
            found, output = fuzz(arguments, results, "--runs=0")
            if found:
                fail("the committed corpus finds the fault: choose another one", output)
            print("ok     the corpus does not find the fault")
        start = time.monotonic()
        found, output = fuzz(arguments, results, limit)
        if not found:
            fail(f"the fault was not found with {limit}", output)
        seconds = time.monotonic() - start
        print(f"ok     {arguments.engine} finds it, after {executions(results, output)} executions and {seconds:.1f} s")
        done = subprocess.run([arguments.sane, *found], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            for path in found:
                shutil.copy(path, os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", "."))
            reason = "what it found fails without the fault too, so the tree has one of its own; it is in test.outputs"
            fail(reason, done.stdout + done.stderr)
        print("ok     what it found is harmless without the fault")


main()
