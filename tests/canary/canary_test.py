#!/usr/bin/env python3
"""Would the tools notice? Runs the canary (plant.h) under the tool of this variant: with each fault that the tool is
for, it must report exactly that; without any, nothing.

usage: canary_test.py CANARY        the tool is told by SHMQ_TEST_VARIANT and SHMQ_RUN_UNDER
"""

import os
import re
import subprocess
import sys
import unittest

CANARY = ""
VARIANT = os.environ.get("SHMQ_TEST_VARIANT", "")
RUN_UNDER = os.environ.get("SHMQ_RUN_UNDER", "").split()
REPORTED = "failed with exit status 99"  # that of every tool that has something to say, as the stress program tells it
DEADLINE_S = 240

# What each tool calls each fault.
REPORTS = {
    "": {},
    "asan": {
        "overflow": r"AddressSanitizer: heap-buffer-overflow",
        "shift": r"shift exponent \d+ is too large for 32-bit type 'int'",
        "leak": r"LeakSanitizer: detected memory leaks",
    },
    "tsan": {"release": r"ThreadSanitizer: data race"},
    "msan": {"uninitialised": r"MemorySanitizer: use-of-uninitialized-value"},
    "valgrind": {
        # It goes on after a report: what was written beyond the end is nothing that can be read and compared.
        "overflow": r"Invalid write of size \d+|Invalid read of size \d+|Conditional jump or move depends on uninit",
        "uninitialised": r"Conditional jump or move depends on uninitialised value",
        "leak": r"\d+ bytes in \d+ blocks are definitely lost",
    },
}

# Whatever any of them ever says begins a line like one of these.
ANY_REPORT = re.compile(
    r"(?:ERROR|WARNING): (\w+Sanitizer: [\w -]+)"
    r"|runtime error: (.*)"
    r"|^==\d+== ((?:Invalid|Conditional|Use of|Syscall|Source|Argument|Mismatched|Process).*"
    r"|.*(?:definitely|indirectly|possibly) lost.*)",
    re.MULTILINE,
)


def sing(fault):
    """Runs the canary with a fault, or with None."""
    environment = dict(os.environ, SHMQ_PLANT=fault or "none")
    # Messages as long as the buffers; and no notifier whose system calls would put the threads in order.
    scenario = "notifier=spin sizes=largest send=send take=recv max=200 ms=100 place=memory"
    return subprocess.run(
        [*RUN_UNDER, CANARY, "--threads", "--rounds=1", "--seed=1", "--scenario", scenario],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DEADLINE_S,
        check=False,
    )


class Canary(unittest.TestCase):
    def test_nothing_is_reported_without_a_fault(self):
        result = sing(None)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertNotRegex(result.stderr, ANY_REPORT)
        self.assertRegex(result.stdout, r"total: rounds=1 failed=0 messages=[1-9]")

    def test_each_fault_is_reported_as_what_it_is(self):
        for fault, report in REPORTS[VARIANT].items():
            with self.subTest(fault=fault):
                result = sing(fault)
                output = result.stdout + result.stderr
                self.assertEqual(result.returncode, 1, output)
                self.assertIn(REPORTED, output)
                reports = ["".join(found) for found in ANY_REPORT.findall(output)]
                self.assertTrue(reports, output)
                self.assertRegex(reports[0], report.split("|", maxsplit=1)[0], output)
                for one in reports:
                    self.assertRegex(one, report, output)


if __name__ == "__main__":
    CANARY = os.path.abspath(sys.argv.pop(1))
    unittest.main()
