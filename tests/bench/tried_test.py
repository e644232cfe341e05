"""Does ci/tried say what was measured? Its attempts, held against the tree; plans, figures and reports of runs that are
known. Nothing is built or measured.

    python3 tests/bench/tried_test.py [unittest's arguments]
"""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import plan
import run
import scratch
import script
import tried
from plan import Job

STREAM, TRIP = Job("stream", tried.PEER, 8), Job("round_trip", tried.PEER, wait="default")
ATTEMPTS = [
    {"name": "worse", "kind": "kept", "what": "less", "why": "It helps.", "jobs": [STREAM, TRIP], "edits": []},
    {"name": "idle", "kind": "rejected", "what": "more", "why": "It was hoped to.", "jobs": [STREAM], "edits": []},
]


def measured(number, job, time, moved=False):
    return {"round": number, "job": job, "outcome": "measured", "unit": "ns", "played_ms": 1, "cores": [0, 1],
            "probe_ns": [100, 200 if moved else 100],
            "figures": {job.measure: {"p50": time, "p99": time, "p999": time, "count": 10}}}


def runs(rounds=7):
    """In which each round is slower than the one before."""
    found = []
    for number in range(1, rounds + 1):
        for job in (STREAM, TRIP):
            found += [measured(number, job, number * time) for time in (90, 100, 120)]
            found.append(measured(number, job._replace(variant="worse"), number * (150 + number)))
        found.append(measured(number, STREAM._replace(variant="idle"), number * (97 + number)))
        found.append(measured(number, STREAM._replace(peer=plan.LIMIT), number * 50))
    return found


class Attempts(unittest.TestCase):
    def test_all_apply_to_the_tree(self):
        done = subprocess.run([sys.executable, tried.__file__, "--list"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        names = [line.split()[0] for line in done.stdout.splitlines()]
        self.assertEqual(names, [attempt["name"] for attempt in tried.load([])])
        self.assertEqual({attempt["kind"] for attempt in tried.load([])}, set(tried.KINDS))

    def test_one_that_does_not_apply_is_told(self):
        for text, times in (("no such text", 0), ("ring", "[0-9]+")):
            with self.assertRaisesRegex(script.Failure, f"^x: its text stands {times} times in src/ring.c, not once"):
                scratch.edited([{"file": "src/ring.c", "from": text, "to": ""}], "x")

    def test_edits_of_one_file_add_up(self):
        edits = [{"file": "src/ring.c", "from": "PACE_MAX = 63", "to": "PACE_MAX = 1"},
                 {"file": "src/ring.c", "from": "PACE_MAX = 1,", "to": "PACE_MAX = 2,"}]
        self.assertIn("PACE_MAX = 2,", scratch.edited(edits, "x")["src/ring.c"])

    def test_names_choose(self):
        self.assertEqual([attempt["name"] for attempt in tried.load(["no-pacing"])], ["no-pacing"])
        with self.assertRaisesRegex(script.Failure, "no such name: smoke; there are: own-barrier, "):
            tried.load(["smoke"])

    def test_jobs_are_read(self):
        for words, job in (("stream 8", STREAM), ("round_trip default", TRIP),
                           ("round_trip 16384 asleep", Job("round_trip", tried.PEER, 16384, "asleep")),
                           ("stream 64 shmq/fifo", Job("stream", "shmq/fifo")),
                           ("attach 4096", Job("attach", tried.PEER, capacity=4096))):
            self.assertEqual(tried.job_of(words), job)

    def test_each_has_a_program_of_its_own(self):
        bench = run.Bench("bench")
        self.assertEqual([bench.path_of(STREAM._replace(variant=name)) for name in ("", plan.CHECKSUM, "worse")],
                         ["bench", "bench", "bench_worse"])


class Plans(unittest.TestCase):
    def test_what_is_compared_is_measured_together_and_in_an_order_of_its_own(self):
        rounds = tried.plan_rounds(ATTEMPTS, 9, 1)
        self.assertEqual(rounds, tried.plan_rounds(ATTEMPTS, 9, 1))
        self.assertNotEqual(rounds, tried.plan_rounds(ATTEMPTS, 9, 2))
        self.assertEqual(len({tuple(jobs) for jobs in rounds}), 9)
        for jobs in rounds:
            self.assertEqual(sorted(jobs), sorted(rounds[0]))
            changes = sum(one.measure != other.measure for one, other in zip(jobs, jobs[1:]))
            self.assertEqual(changes, 1)
        self.assertEqual(rounds[0].count(STREAM), tried.CORES_RUNS)
        self.assertEqual([job.measure for job in rounds[0] if job.peer == plan.LIMIT], ["stream"])

    def test_all_of_it_takes_less_than_a_quarter_of_an_hour(self):
        rounds = tried.plan_rounds(tried.load([]), tried.FORM.rounds, 1)
        self.assertLess(sum(plan.cost(tried.FORM, job) for jobs in rounds for job in jobs), 15 * 60)


class Figures(unittest.TestCase):
    def test_ratios_are_taken_within_rounds_by_the_median_of_the_core(self):
        found = tried.ratios(runs())
        self.assertEqual(found[STREAM._replace(variant="worse")], [(150 + number) / 100 for number in range(1, 8)])
        self.assertEqual(sorted(set(found[STREAM])), [0.9, 1, 1.2])

    def test_runs_on_a_machine_that_moved_are_left_out(self):
        job = STREAM._replace(variant="worse")
        there = [*runs(2), measured(1, job, 9999, moved=True), measured(2, STREAM, 1, moved=True)]
        found = tried.ratios(there, (90, 135))
        self.assertEqual(found[job], [1.51, 1.52])

    def test_a_round_without_the_core_has_no_ratio(self):
        job = STREAM._replace(variant="worse")
        hung = {"round": 3, "job": job, "outcome": "hung", "reason": "too long"}
        self.assertNotIn(job, tried.ratios([measured(1, job, 5), measured(2, STREAM, 5), hung]))

    def test_verdicts(self):
        for ratios, verdict in (([1.01, 1.2], "slower"), ([0.8, 0.99], "faster"), ([0.99, 1.2], "no difference"),
                                ([1.001, 1.2], "no difference"), ([0.9, 0.999], "no difference")):
            self.assertEqual(tried.verdict(ratios), verdict)


class Reports(unittest.TestCase):
    def result(self):
        kept = {"command": "ci/tried", "commit": "0123", "date": "today", "machine": script.machine(), "load": 0.5,
                "seed": 1, "rounds": 7, "placement": (90, 135)}
        hung = {"round": 1, "job": TRIP._replace(variant="idle"), "outcome": "hung", "reason": "too long"}
        return run.conclude(kept, tried.FORM, [tried.PEER], [*runs(), hung]), tried.ratios(runs())

    def test_terminal(self):
        text = tried.text_report(*self.result(), ATTEMPTS)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertRegex(text, r"\nstream, 8 B +400 ns +\d+% +0\.50 +0\.90 to 1\.20\n")
        self.assertRegex(text, r"\nIn the core: without it\n.*\nworse\n  stream, 8 B +1\.54 +1\.51 to 1\.57 +slower\n")
        self.assertRegex(text, r"\nNot in the core: with it\n.*\nidle\n  stream, 8 B +1\.01 +0\.98 to 1\.04 +no diff")
        self.assertIn("round trip, default, idle: hung: too long", text)

    def test_page(self):
        text = tried.page(*self.result(), ATTEMPTS)
        self.assertLessEqual(max(len(line) for line in text.splitlines() if not line.startswith("|")), 120)
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)
        self.assertIn("    ci/tried\n", text)
        self.assertIn("| worse | less | It helps. | stream, 8 B: 1.54 (1.51 to 1.57)<br>round trip, default: 1.5", text)
        self.assertIn("| idle | more | It was hoped to. | stream, 8 B: 1.01 (0.98 to 1.04), no difference |", text)
        self.assertIn("once in 64", text)


if __name__ == "__main__":
    unittest.main()
