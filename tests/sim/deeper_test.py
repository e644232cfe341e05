"""Does ci/sim --deeper know all plots, and keep what a run of one counts? With a simulator that only pretends; and the real
one says what it is read by.

    python3 tests/sim/deeper_test.py bazel-bin/tests/sim/sim [unittest's arguments]
"""

import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../support"))
sys.path.insert(0, HERE)
from case import Case

import deeper

SIM = os.path.abspath(sys.argv.pop(1))
PRETENDED = """#!/bin/sh
[ "$*" = "sem --bound +1" ] || exit 2
echo 'sem: 7 executions, 5 states, 3 ends, 9 steps each; {} up to bound 4; 1.0 s of processor'
"""


class Deeper(Case):
    def deepen(self, words):
        path = os.path.join(self.directory, "sim")
        with open(path, "w", encoding="utf-8") as file:
            file.write(PRETENDED.format(words))
        os.chmod(path, 0o755)
        status, out, err = self.finish(self.start(
            sys.executable, os.path.join(HERE, "deeper.py"), "sem", "--programs", self.directory,
            "--results", f"{self.directory}/results"))
        self.assertEqual((status, err), (0, ""), out)
        with open(f"{self.directory}/results/sem.json", encoding="utf-8") as file:
            return json.load(file)

    def test_what_is_counted_is_kept(self):
        kept = self.deepen("all")
        self.assertEqual(kept["figures"], {"executions": "7", "states": "5", "ends": "3", "bound": "4"})
        self.assertEqual(kept["command"], "bazel-bin/tests/sim/sim sem --bound +1")

    def test_what_was_cut_short_counts_for_nothing(self):
        self.assertEqual(self.deepen("NOT ALL")["figures"], {})

    def test_every_plot_has_a_leg_and_its_own_line_is_read(self):
        listed = subprocess.run([SIM, "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual([line.split()[0] for line in listed.splitlines()], [leg.name for leg in deeper.all_legs()])
        at_once = subprocess.run([SIM, "strangers", "--bound", "0"], stdout=subprocess.PIPE, text=True, check=True).stdout
        beyond = subprocess.run([SIM, "turns", "--bound", "+0"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.assertEqual(deeper.read(None, at_once)[0]["bound"], "0")
        self.assertEqual(deeper.read(None, beyond)[0]["bound"], "1")


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
