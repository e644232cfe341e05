"""Does the scoreboard tell good from bad? Few trials of every column for some peers that must do well, and for planted
ones that must not; the reports, refusals, and what is left behind.

    python3 tests/bench/scoreboard_test.py SURVIVAL SURVIVAL_PLANTED [unittest's arguments]
"""

import json
import os
import re
import shlex
import signal
import sys
import unittest

import bench_test
import scoreboard
from bench_test import INTERRUPTED, SHM, USAGE

SURVIVAL, PLANTED = "", ""

TRIALS = 16
GOOD = ["shmq/sem", "shmq/fifo", "shmq/lock"]
VERDICT = {"kill_producer": "well", "kill_consumer": "well", "start": "well", "truncate": "error", "full": "no_space",
           "step_producer": "well", "step_consumer": "well"}
FAULTS = {"loses": "silent", "repeats": "silent", "garbles": "silent", "litters": "litter"}


class Case(bench_test.Case):
    def survival(self, program, *arguments):
        status, out, err = self.finish(self.start(program, *arguments))
        if "no namespaces here" in out:
            self.skipTest("needs namespaces")
        return status, out, err

    def score(self, *arguments):
        """Exit status, output, and the JSON."""
        path = os.path.join(self.directory, "all.json")
        status, out, err = self.finish(self.start(sys.executable, scoreboard.__file__, "--survival", SURVIVAL, "--json", path,
                                                  *arguments))
        self.assertNotIn("Traceback", err)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if "no namespaces here" in text:
            self.skipTest("needs namespaces")
        return status, out, err, json.loads(text)

    def counts(self, program, column, peer, *arguments, trials=TRIALS):
        out = self.survival(program, column, peer, "--trials", str(trials), *arguments)[1]
        cell = scoreboard.parse_cell(out)
        self.assertEqual(sum(cell["counts"].values()), trials, out)
        return cell["counts"], out


class Verdicts(Case):
    def test_good_peers_survive(self):
        before = set(os.listdir(SHM))
        status, out, err, result = self.score("--trials", str(TRIALS), *GOOD)
        for peer in GOOD:
            row = result["cells"][peer]
            for column, verdict in VERDICT.items():
                self.assertEqual(row[column]["counts"][verdict], TRIALS, (peer, column, out))
            damaged = row["corrupt"]["counts"]
            self.assertEqual((damaged["crash"], damaged["hang"]), (0, 0), (row["corrupt"]["failures"], out))
            # A cursor that is damaged into the place of another message is no damage: once in some 60,000 trials.
            self.assertLessEqual(damaged["silent"], 1, (row["corrupt"]["failures"], out))
            self.assertGreater(row["corrupt"]["counts"]["error"], TRIALS // 2, out)
        self.assertEqual(status, 1 if scoreboard.missed(result["cells"]) else 0, err)
        self.assertEqual([name for name in set(os.listdir(SHM)) - before if "survival" in name], [])

    def test_a_pipe_has_no_one_in_the_place_of_the_dead(self):
        status, out, _, result = self.score("--trials", "4", "pipe")
        row = result["cells"]["pipe"]
        self.assertEqual(status, 0)  # it has promised nothing
        self.assertEqual(row["kill_producer"]["counts"]["error"], 4, out)
        for column in ("start", "truncate", "full", "corrupt", *scoreboard.STEPS):
            self.assertIn("absent", row[column])

    def test_other_peers_are_harmed_as_shmq_is(self):
        for peer in ("textbook", "mutex", "boost", "qb_rb", "ck_ring"):
            self.assertLess(self.counts(SURVIVAL, "corrupt", peer, "--limit", "2")[0]["well"], TRIALS // 2, peer)
            self.assertGreater(self.counts(SURVIVAL, "truncate", peer, "--limit", "2")[0]["crash"], 0, peer)
        for peer in ("mutex", "qb_rb", "ck_ring"):  # they allocate what they map
            self.assertEqual(self.counts(SURVIVAL, "full", peer)[0]["no_space"], TRIALS, peer)

    def test_other_peers_work_where_nothing_is_in_the_way(self):
        for peer in ("mq", "textbook", "mutex", "boost", "zmq", "ck_ring"):
            self.assertEqual(self.counts(SURVIVAL, "start", peer)[0]["well"], TRIALS, peer)
        # It drops what a slow consumer has not taken when the producer closes.
        self.assertGreater(self.counts(SURVIVAL, "start", "nanomsg")[0]["well"], TRIALS // 2)
        for column in ("kill_producer", "kill_consumer", *scoreboard.STEPS):  # the kernel does not die
            self.assertEqual(self.counts(SURVIVAL, column, "mq")[0]["well"], TRIALS, column)

    def test_a_naive_ring_looks_bad_in_every_column(self):
        for column in (*VERDICT, "corrupt"):
            trials = 4 * TRIALS if column == "corrupt" else TRIALS  # some one in five is silent
            counts, out = self.counts(PLANTED, column, "planted/naive", "--limit", "1", trials=trials)
            self.assertGreater(counts["hang"] + counts["crash"], 0, out)
            if column == "corrupt":
                self.assertGreater(counts["silent"], 0, out)
            if column in ("truncate", "full"):
                self.assertIn("SIGBUS", out)

    def test_each_planted_fault_is_noticed(self):
        for fault, verdict in FAULTS.items():
            for column in ("kill_producer", "kill_consumer"):
                counts, out = self.counts(PLANTED, column, f"planted/{fault}")
                self.assertGreater(counts[verdict], TRIALS // 2, out)

    def test_there_are_instructions_after_which_the_textbook_hangs(self):
        out = self.survival(SURVIVAL, "step_producer", "textbook", "--seed", "1")[1]
        found = scoreboard.parse_cell(out)
        self.assertEqual(found["trials"], found["steps"], out)  # all that there are
        self.assertGreater(found["counts"]["well"], found["steps"] // 2, out)
        self.assertGreater(found["counts"]["hang"], 5, out)
        # They lie between its counter and the wake-up, and the command finds the same again: in the middle of them, as
        # where addresses cannot be fixed a call may take two instructions more.
        places = sorted(int(re.match(r"instruction (\d+) of \d+, before ", what)[1]) for _, what, _ in found["failures"])
        self.assertEqual(places, list(range(places[0], places[-1] + 1)), out)
        middle = sorted(found["failures"], key=lambda failure: int(failure[1].split()[1]))[len(places) // 2]
        self.assertEqual(self.survival(*shlex.split(middle[2]))[0], 1)

    def test_instructions_are_spread_over_the_whole_call(self):
        found = scoreboard.parse_cell(self.survival(SURVIVAL, "step_producer", "boost", "--trials", "8", "--limit", "1")[1])
        places = sorted(int(re.search(r"\d+", what)[0]) for _, what, _ in found["failures"])
        self.assertEqual(found["trials"], 8)
        self.assertGreater(places[-1] - places[0], found["steps"] // 3, found)  # its mutex is held nearly all the time

    def test_shmq_survives_each_instruction(self):
        for column in scoreboard.STEPS:
            counts, out = self.counts(SURVIVAL, column, "shmq/sem", trials=96)
            self.assertEqual(counts["well"], 96, out)

    def test_a_call_that_never_returns_is_no_short_one(self):
        out = self.survival(PLANTED, "step_producer", "planted/freezes", "--limit", "0.5")[1]
        steps = scoreboard.parse_cell(out)["steps"]
        self.assertEqual(re.findall(r"instruction (\d+) of .*: the call stands still", out), [str(steps)], out)

    def test_where_ptrace_is_denied_nothing_fails(self):
        for column, end in scoreboard.STEPS.items():
            status, out, _ = self.survival(PLANTED, column, "planted/sealed")
            found = scoreboard.parse_cell(out)
            self.assertEqual((status, found["absent"]), (0, f"the {end}: ptrace is denied here: EPERM"), out)
            self.assertEqual(scoreboard.step_cells(found), ["-", "no ptrace here"])

    def test_a_failure_is_followed_by_the_command_that_repeats_it(self):
        status, out, _ = self.survival(PLANTED, "kill_producer", "planted/loses", "--trials", "3", "--seed", "7")
        commands = re.findall(r"^FAILED .*\n  to reproduce: (.*)$", out, re.MULTILINE)
        self.assertEqual((status, len(commands)), (1, 3), out)
        again = self.survival(*shlex.split(commands[-1]))
        self.assertEqual(again[0], 1)
        self.assertIn("to reproduce: " + commands[-1], again[1])


class Commands(Case):
    def test_wrong_usage(self):
        for arguments in ([], ["start"], ["start", "smoke"], ["smoke", "pipe"], ["start", "pipe", "more"], ["--bogus"],
                          ["start", "cache_line", "--trials", "0"], ["start", "pipe", "--seed", "x"],
                          ["start", "pipe", "--limit", "nan"], ["start", "pipe", "--first", "-1"]):
            status, out, err = self.survival(SURVIVAL, *arguments)
            self.assertEqual((status, out), (USAGE, ""), arguments)
            self.assertIn("Usage:", err)
        status, out, err = self.survival(SURVIVAL, "--help")
        self.assertEqual((status, err), (0, ""))
        for word in (*VERDICT, "corrupt", "--seed", "--first", "--trials", "--limit"):
            self.assertIn(word, out)

    def test_refusals_and_help(self):
        for arguments, words in ((["smoke"], "no such peer: smoke\nThere are: shmq/sem"),
                                 (["cache_line"], "no such peer"),
                                 (["--trials", "0"], "not a number of trials"),
                                 (["--survival", self.directory + "/none"], "bazel build")):
            status, out, err = self.finish(self.start(sys.executable, scoreboard.__file__, "--survival", SURVIVAL, *arguments))
            self.assertNotEqual(status, 0)
            self.assertIn(words, err)
            self.assertNotIn("Traceback", err)
            self.assertEqual(out, "")
        status, out, _ = self.finish(self.start(sys.executable, scoreboard.__file__, "--help"))
        self.assertEqual(status, 0)
        for word in ("--quick", "--write", "--json", "--trials", "--seed", "PEER", "ci/scoreboard"):
            self.assertIn(word, out)

    def interrupt(self, everybody):
        process = self.start(sys.executable, scoreboard.__file__, "--survival", PLANTED, "planted/naive")
        self.until(lambda: len(self.processes()) >= 5, "a trial runs")
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
        return self.finish(process)

    def test_interrupted_by_ctrl_c_it_leaves_nothing(self):
        self.survival(SURVIVAL, "start", "shmq/sem", "--trials", "1")  # or skips
        for everybody in (True, False):  # as a terminal does it, and as kill does
            status, out, err = self.interrupt(everybody)
            self.assertEqual((status, out), (INTERRUPTED + signal.SIGINT, ""))
            self.assertIn("interrupted", err)
            self.assertNotIn("Traceback", err)
            self.until(lambda: not self.processes(), "all are gone")

    def test_killed_it_takes_all_along(self):
        self.survival(SURVIVAL, "start", "shmq/sem", "--trials", "1")  # or skips
        process = self.start(PLANTED, "kill_producer", "planted/naive")
        self.until(lambda: len(self.processes()) >= 4, "a trial runs")
        process.kill()
        self.until(lambda: not self.processes(), "all are gone")


def cell(trials, failures=(), **counts):
    return {"trials": trials, "worst_ms": 1, "counts": dict.fromkeys(scoreboard.DAMAGE_HEADS, 0) | counts,
            "failures": [[verdict, f"trial {number}: {verdict}: so", f"survival --first {number}"]
                         for number, verdict in enumerate(failures)]}


class Reports(unittest.TestCase):
    """scoreboard.py's functions, on counts that are known."""

    def result(self):
        absent = {"absent": "its ends are inherited"}
        good = {column: cell(20) for column in VERDICT} | {"corrupt": cell(20, error=18, well=2)}
        good |= {column: cell(20) | {"steps": 345} for column in scoreboard.STEPS}
        cells = {"shmq/sem": good, "shmq/lock": good | {"start": cell(20, ["hang"] * 2 + ["crash"])},
                 "shmq/cond": good | {"kill_producer": cell(20, ["hang"] * 9),
                                      "step_consumer": cell(20, ["hang"] * 8 + ["silent"]) | {"steps": 1234}},
                 "pipe": dict.fromkeys((*VERDICT, "corrupt"), absent) | {"kill_producer": cell(20, ["error"] * 20)}}
        return {"seed": 1, "trials": dict.fromkeys((*VERDICT, "corrupt"), 20), "cells": cells, "command": "ci/scoreboard",
                "commit": "0123-dirty", "date": "today", "machine": scoreboard.origin()["machine"]}

    def test_only_what_was_promised_is_missed(self):
        self.assertEqual(scoreboard.missed(self.result()["cells"]), [("shmq/lock", "start")])
        self.assertEqual([found[:2] for found in scoreboard.excuses(self.result()["cells"])],
                         [("shmq/cond", "kill_producer"), ("shmq/cond", "step_consumer")])

    def test_terminal(self):
        text = scoreboard.text_report(self.result())
        lines = text.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual([line for line in lines if line != line.rstrip()], [])
        self.assertRegex(text, r"\nshmq/sem +20 +20 +20 +20 +20\n")
        self.assertRegex(text, r"\nshmq/lock +20 +20 +17, 2 hang\+ ")
        self.assertRegex(text, r"\nshmq/sem +0 +0 +0 +18 +2\n")
        self.assertRegex(text, r"\nshmq/cond +20 of 20 +11 of 20 \(8 hang, 1 silent\)\n")
        self.assertRegex(text, r"\npipe +- +-\n")
        self.assertRegex(text, r"\npipe +0, 20 error +- ")
        self.assertIn("pipe kill_producer: 17 more", text)
        self.assertEqual(lines[-2:], ["shmq/lock start trial 2: crash: so", "  to reproduce: survival --first 2"])

    def test_card(self):
        card = scoreboard.card(self.result())
        rows = dict(card.rows)
        self.assertEqual({len(cells) for cells in rows.values()}, {len(card.heads)})
        self.assertEqual(rows["shmq/sem"], [("20 of 20", 1)] * len(card.heads))
        self.assertEqual(rows["shmq/lock"][2], ("17 of 20", 0.85))
        self.assertEqual(rows["pipe"][:2], [("0 of 20", 0), ("-", None)])

    def test_markdown(self):
        text = scoreboard.markdown_report(self.result())
        self.assertIn("    ci/scoreboard\n", text)
        self.assertIn("0123-dirty", text)
        self.assertIn("| shmq/lock | 20 | 20 | 17 (2 hang, 1 crash) | 20 | 20 |", text)
        self.assertIn("| pipe | - | - | - | - | - |", text)
        self.assertIn("| shmq/cond | 345 | 20 of 20 | 1234 | 11 of 20 (8 hang, 1 silent) |", text)
        self.assertIn("| pipe | - | - | - | - |\n", text)
        self.assertIn("* `shmq/lock`, start, trial 0: hang: so: `survival --first 0`", text)
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("Usage: scoreboard_test.py SURVIVAL SURVIVAL_PLANTED [TEST]...")
    SURVIVAL, PLANTED = os.path.abspath(sys.argv.pop(1)), os.path.abspath(sys.argv.pop(1))
    unittest.main()
