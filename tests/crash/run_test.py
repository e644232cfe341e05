"""Does ci/crash keep what the programs count, go on where it was, and name what failed? With programs that only pretend.

    python3 tests/crash/run_test.py [unittest's arguments]
"""

import json
import os
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from case import INTERRUPTED, Case

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")
KILL = """#!/bin/sh
echo "$0 $*" >>{directory}/called
echo 'cond: 3 hung of 9, 0 went wrong in another way'
echo 'total: scenes=2 trials=9 bad=0 seconds=1.0'
"""
BAD = """#!/bin/sh
echo 'total: trials=7 bad=1'
echo 'to reproduce: this --seed 5'
exit 1
"""
ENDLESS = """#!/bin/bash
trap 'touch {directory}/cleaned; exit 130' INT
touch {directory}/started
while :; do sleep 0.1; done
"""


class Legs(Case):
    def program(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.format(directory=self.directory))
        os.chmod(path, 0o755)

    def crash(self, *arguments):
        return self.start(sys.executable, RUN, "--programs", self.directory, "--results", f"{self.directory}/results",
                          *arguments)

    def kept(self, leg):
        with open(f"{self.directory}/results/{leg}.json", encoding="utf-8") as file:
            return json.load(file)

    def test_what_is_counted_is_kept(self):
        self.program("kill/kill", KILL)
        status, out, err = self.finish(self.crash("kill-cond", "--jobs", "2"))
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("scenes=2 trials=9 bad=0; cond: 3 hung of 9", out)
        kept = self.kept("kill-cond")
        self.assertEqual(kept["figures"], {"scenes": "2", "trials": "9", "bad": "0"})
        self.assertEqual(kept["command"], "bazel-bin/tests/crash/kill/kill --notifier cond")
        self.assertEqual(kept["status"], 0)

    def test_what_failed_is_named_last(self):
        self.program("hostile/hostile", BAD)
        status, out, _ = self.finish(self.crash("hostile"))
        self.assertEqual(status, 1)
        self.assertEqual(out.splitlines()[-1], "to reproduce: this --seed 5")
        self.assertEqual(self.kept("hostile")["status"], 1)

    def test_what_dies_without_a_word_is_named_too(self):
        self.program("hostile/hostile", "#!/bin/sh\nkill -9 $$\n")
        status, out, _ = self.finish(self.crash("hostile"))
        self.assertEqual(status, 1)
        self.assertEqual(out.splitlines()[-1], f"to reproduce: {self.directory}/hostile/hostile")

    def test_an_interrupt_reaches_the_programs(self):
        self.program("hostile/hostile", ENDLESS)
        process = self.crash("hostile")
        self.until(lambda: os.path.exists(f"{self.directory}/started"), "it has started")
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(process)[0], INTERRUPTED + signal.SIGINT)
        self.assertTrue(os.path.exists(f"{self.directory}/cleaned"))
        self.until(lambda: not self.processes(), "all have ended")

    def test_a_wrong_leg_and_a_program_that_is_not_built_are_told(self):
        for arguments, text in ((("nothing",), "there is no leg nothing"), (("audit",), "ci/crash builds it")):
            status, _, err = self.finish(self.crash(*arguments))
            self.assertNotEqual(status, 0)
            self.assertIn(text, err)
            self.assertNotIn("Traceback", err)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
