#!/usr/bin/env python3
"""coverage.py fails when too little is reached, for a line that is excused without need, and for a wrong list."""

import contextlib
import io
import os
import sys
import tempfile
import unittest
from collections import defaultdict

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import coverage

SOURCE = "int f(void) {\nif (a) return 1;\nif (b)\nreturn 1;\nreturn 0;\n}\n"
NAME = "src/f.c"


def reached(missed_lines=(), missed_outcomes=()):
    """Of SOURCE: all, but these lines, and the other outcome on these."""
    result = coverage.Reached()
    for number in range(1, 7):
        result.lines[NAME][number] += number not in missed_lines
    for number in (2, 3):
        result.branches[NAME][number, (number,), True] += 1
        result.branches[NAME][number, (number,), False] += number not in missed_outcomes
    return result


class Judges(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder.name)
        os.mkdir("src")
        with open(NAME, "w", encoding="utf-8") as file:
            file.write(SOURCE)

    def judge(self, result, *excused_lines):
        excused = defaultdict(set, {NAME: set(excused_lines)})
        with contextlib.redirect_stdout(io.StringIO()) as self.told:
            return coverage.judge(result, excused, coverage.tell(result, excused))

    def read(self, text):
        with open("list", "w", encoding="utf-8") as file:
            file.write(text)
        return [coverage.find(entry) for entry in coverage.read_list("list")]

    def test_all_reached_is_well(self):
        self.assertEqual(self.judge(reached()), 0)

    def test_a_line_that_is_not_reached_is_too_little(self):
        self.assertEqual(self.judge(reached(missed_lines=[4])), 1)
        self.assertIn("FAILED: 83.3 % of 6 lines", self.told.getvalue())
        self.assertIn("src/f.c:4: return 1;", self.told.getvalue())

    def test_an_outcome_that_never_came_up_is_too_little(self):
        self.assertEqual(self.judge(reached(missed_outcomes=[2])), 1)
        self.assertIn("FAILED: 75.0 % of 4 branches", self.told.getvalue())

    def test_what_is_excused_does_not_count(self):
        self.assertEqual(self.judge(reached(missed_lines=[4], missed_outcomes=[2]), 2, 4), 0)

    def test_what_is_excused_and_reached_fails(self):
        self.assertEqual(self.judge(reached(), 4), 1)
        self.assertIn("it must go from fuzz/uncovered.txt: src/f.c:4: return 1;", self.told.getvalue())

    def test_a_line_is_found_by_its_text_and_those_before(self):
        self.assertEqual(self.read("f.c: return 0;\n    why\n"), [5])
        self.assertEqual(self.read("f.c: if (b) ¦ return 1;\nf.c: if (b)\n    why\n"), [4, 3])

    def test_a_line_without_reason_or_place_is_refused(self):
        for text in ("f.c: return 0;\n", "f.c: gone\n    why\n", "f.c return 0;\n    why\n"):
            with self.subTest(text=text), self.assertRaises(SystemExit):
                self.read(text)

    def test_a_text_that_stands_twice_is_refused(self):
        with open(NAME, "a", encoding="utf-8") as file:
            file.write("return 0;\n")
        with self.assertRaises(SystemExit):
            self.read("f.c: return 0;\n    why\n")


if __name__ == "__main__":
    unittest.main()
