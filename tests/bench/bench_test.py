"""Does the benchmark work? Every peer and measure in its shortest form; plans, figures, reports and pictures of runs
that are known; refusals, and what is left behind. Nothing here judges how fast anything is.

    python3 tests/bench/bench_test.py bazel-bin/tests/bench/bench [unittest's arguments]
"""

import collections
import json
import os
import re
import shutil
import signal
import sys
import unittest
import unittest.mock
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import aims
import cards
import case
import figures
import placement
import plan
import plots
import run
import script
import show
from case import INTERRUPTED, LIMIT_S, USAGE
from plan import Job

BENCH = ""
SHM = "/dev/shm"

# Measures, and how they wait, with arguments that make them short, and the figures that they give.
SHORT = {
    ("round_trip", "default"): (["--rounds", "100"], ["round_trip"]),
    ("round_trip", "spinning"): (["--rounds", "20"], ["round_trip"]),
    ("round_trip", "asleep"): (["--rounds", "3"], ["round_trip", "one_way", "send"]),
    ("idle", ""): (["--wait-ms", "20"], ["idle"]),
    ("idle_timeout", ""): (["--wait-ms", "20"], ["idle_timeout"]),
    ("attach", ""): (["--rounds", "2"], ["attach"]),
    ("stream", ""): (["--rounds", "2"], ["stream"]),
    ("many", ""): (["--rounds", "2", "--messages", "300"], ["many"]),
    ("instructions", ""): (["--rounds", "9"], ["send", "receive"]),
}
ALONE = {  # the same of what needs no peer
    ("memcpy", ""): (["--rounds", "2"], ["memcpy", "memcpy_in", "memcpy_out"]),
    ("system_call", ""): (["--rounds", "2"], ["system_call"]),
}
SINGLE = set(plan.RAW)  # hold one message: no stream
NAMELESS = {"pipe", "unix", "qb_rb", "limit"}  # nobody comes later
COUNTED = {"shmq/sem", "shmq/spin", "textbook", "mutex", "boost", "qb_rb", "ck_ring", "limit"}  # memory that is shared
ALWAYS = {"shmq/sem", "shmq/spin", "pipe", "unix", "mq", "textbook", "mutex", "boost", "zmq", "nanomsg", "qb_rb", "ck_ring",
          "limit", *SINGLE}  # every build has these
MANY = ["shmq/sem", "shmq/fifo", "pipe", "unix", "mq", "mutex", "boost"]
BUSY = ["shmq/sem", "shmq/spin", "pipe"]  # to be interrupted
DEATHS = """\
seed 1
deaths: notifier=sem victim=producer trials=200 hung=0 worst_notice_ms=201
deaths: notifier=cond victim=consumer trials=200 hung=37 worst_notice_ms=204
deaths: none
passed
"""


class Case(case.Case):
    def setUp(self):
        super().setUp()
        self.environment["SHMQ_BENCH_STEM"] = self.mark

    def tearDown(self):
        running = self.processes()
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(running, [], "processes were left behind")
        left = self.objects()
        for name in left:
            os.unlink(os.path.join(SHM, name))
        self.assertEqual(left, [], "objects were left behind")

    def objects(self):
        return [name for name in os.listdir(SHM) if self.mark in name]

    def bench(self, *arguments):
        return self.finish(self.start(BENCH, *arguments))

    def run_py(self, *arguments):
        return self.finish(self.start(sys.executable, run.__file__, "--bench", BENCH, *arguments))


class Program(Case):
    """The C program."""

    def peers(self):
        return self.bench("--list")[1].split()

    def suits(self, peer, measure):
        if peer in SINGLE:
            return measure in ("round_trip", "idle", "idle_timeout")
        if measure == "instructions":
            return peer in COUNTED and os.uname().machine == "x86_64"
        return measure != "attach" or peer not in NAMELESS

    def test_every_peer_and_measure(self):
        self.assertLessEqual(ALWAYS, set(self.peers()))
        for peer in self.peers():
            for (measure, wait), (arguments, names) in (ALONE if peer == "machine" else SHORT).items():
                if peer == "machine" or self.suits(peer, measure):
                    with self.subTest(peer=peer, measure=measure, wait=wait):
                        words = [*arguments, *(["--wait", wait] if wait else [])]
                        self.check(peer, measure, names, *self.bench(measure, peer, *words))

    def test_large_messages(self):
        for peer in ("shmq/sem", "pipe", "textbook", "mutex", "boost", "zmq", "nanomsg", "qb_rb", "ck_ring", "limit"):
            for measure in ("stream", "round_trip"):
                with self.subTest(peer=peer, measure=measure):
                    found = self.bench(measure, peer, "--rounds", "2", "--bytes", "1000000")
                    self.check(peer, measure, [measure], *found)
                    self.assertEqual(json.loads(found[1])["bytes"], 1000000)

    def test_rings_of_other_sizes_and_as_many_messages_as_are_told(self):
        for words in (["--capacity", "4096"], ["--capacity", "4194304"], ["--messages", "5000"], ["--careful"],
                      ["--bytes", "8"]):
            for peer in ("shmq/sem", "limit"):
                self.check(peer, "stream", ["stream"], *self.bench("stream", peer, "--rounds", "1", *words))

    def test_a_ring_that_would_fill_the_memory_is_not_made(self):
        status, out, _ = self.bench("stream", "shmq/sem", "--capacity", "1e12")
        found = json.loads(out)
        self.assertEqual((status, found["outcome"]), (1, "not here"))
        self.assertIn("1048576 MiB is more than a quarter of the free memory", found["reason"])

    def test_it_begins_in_the_placement_that_is_wanted_but_does_not_wait_for_ever(self):
        for place in ("1-1e9", "1-1"):
            self.check("limit", "stream", ["stream"],
                       *self.bench("stream", "limit", "--rounds", "1", "--placement", place))

    def test_many_ends(self):
        for peer in MANY:
            with self.subTest(peer=peer):
                self.check(peer, "many", ["many"], *self.bench("many", peer, "--rounds", "2", "--messages", "1000",
                                                                "--ends", "3"))

    def test_without_checks_it_works_too(self):
        for measure in ("stream", "round_trip"):
            found = self.finish(self.start(BENCH + "_unchecked", measure, "shmq/sem", "--rounds", "2"))
            self.check("shmq/sem", measure, [measure], *found)

    def test_what_does_not_fit_is_not_here(self):
        for arguments, reason in ((["stream", "futex"], "not for this"),
                                  (["round_trip", "machine", "--wait", "asleep"], "not for this"),
                                  (["attach", "pipe"], "not for this"),
                                  (["instructions", "pipe"], "not for this"),
                                  (["many", "ck_ring", "--ends", "2"], "each of its sides has one end"),
                                  (["stream", "mq", "--bytes", "10000"], "no message of it has so many bytes")):
            status, out, _ = self.bench(*arguments)
            found = json.loads(out)
            self.assertEqual((status, found["outcome"]), (1, "not here"), out)
            self.assertIn(reason, found["reason"])

    def check(self, peer, measure, names, status, out, err):
        self.assertEqual((out.count("\n"), err), (1, ""))
        found = json.loads(out)
        self.assertEqual((found["peer"], found["measure"]), (peer, measure))
        if found["outcome"] != "measured" and peer not in ALWAYS:
            self.assertEqual((found["outcome"], status), ("not here", 1))
            self.assertTrue(found["reason"])
            return
        self.assertEqual((found["outcome"], status), ("measured", 0), out)
        self.assertEqual(list(found["figures"]), names)
        self.assertIn(len(found["cores"]), (1, 2))
        self.assertGreater(min(found["probe_ns"]), 0)
        for figure in found["figures"].values():
            self.assertGreater(figure["count"], 0)
            self.assertLessEqual(0, figure["min"])
            self.assertTrue(figure["min"] <= figure["p50"] <= figure["p99"] <= figure["p999"] <= figure["max"], figure)
            self.assertLess(figure["p50"], 10e9)

    def test_both_ways_are_the_sum_of_one_way_each(self):
        found = json.loads(self.bench("round_trip", "pipe", "--wait", "asleep", "--rounds", "1")[1])["figures"]
        self.assertEqual(found["one_way"]["min"] + found["one_way"]["max"], found["round_trip"]["p50"])

    def sleeps(self, peer, wait, rounds):
        return json.loads(self.bench("round_trip", peer, "--wait", wait, "--rounds", str(rounds))[1])["sleeps"]

    def test_who_is_to_sleep_sleeps_and_who_is_to_spin_spins(self):
        for peer, rounds in (("shmq/sem", 500), ("shmq/fifo", 500), ("pipe", 20), ("boost", 20), ("futex", 20)):
            with self.subTest(peer=peer):
                self.assertGreaterEqual(self.sleeps(peer, "asleep", rounds), 2 * rounds)
        for peer in ("shmq/sem", "shmq/spin", "pipe", "unix", "mq", "textbook", "boost", "ck_ring", "two_lines"):
            with self.subTest(peer=peer):  # who sleeps, sleeps twice a round; some wait for room or a lock now and then
                self.assertLess(self.sleeps(peer, "spinning", 10000), 10000)

    def test_a_hung_measure_is_killed_and_told(self):
        status, out, _ = self.bench("idle", "shmq/sem", "--wait-ms", "60000", "--limit", "0.3")
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(out)["outcome"], "hung")

    def test_wrong_usage(self):
        for arguments in ([], ["idle"], ["idle", "smoke"], ["smoke", "pipe"], ["idle", "pipe", "more"], ["--bogus"],
                          ["idle", "pipe", "--rounds", "0"], ["idle", "pipe", "--rounds", "x"],
                          ["idle", "pipe", "--wait-ms", "-1"], ["idle", "pipe", "--ends", "2"],
                          ["idle", "pipe", "--wait", "default"], ["round_trip", "pipe", "--wait", "smoke"],
                          ["many", "pipe", "--ends", "65"], ["stream", "pipe", "--bytes", "7"],
                          ["idle", "pipe", "--limit", "nan"], ["idle", "pipe", "--placement", "100"],
                          ["idle", "pipe", "--placement", "0-5"], ["idle", "pipe", "--placement", "200-100"]):
            status, out, err = self.bench(*arguments)
            self.assertEqual((status, out), (USAGE, ""), arguments)
            self.assertIn("Usage:", err)
        status, out, err = self.bench("--help")
        self.assertEqual((status, err), (0, ""))
        for word in [*(word for key in (*SHORT, *ALONE) for word in key), "--rounds", "--capacity", "--limit",
                     "--placement"]:
            self.assertIn(word, out)

    def interrupt(self, number, processes, *words):
        process = self.start(BENCH, *words)
        self.until(lambda: len(self.processes()) == processes, "they run")
        process.send_signal(number)
        status = self.finish(process)[0]
        self.until(lambda: not self.processes(), "those that the two have forked are gone, too")
        self.assertEqual((status, self.objects()), (INTERRUPTED + number, []))

    def test_signals_leave_nothing(self):
        for peer in BUSY:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self.interrupt(number, 3, "idle", peer, "--wait-ms", "60000")
        for peer in ("shmq/sem", "boost", "pipe"):
            self.interrupt(signal.SIGINT, 7, "many", peer, "--ends", "3", "--messages", "1e9")
        self.interrupt(signal.SIGTERM, 3, "attach", "shmq/sem", "--rounds", "10000000")

    def opened_by_both(self):
        """How many objects in /dev/shm two of our processes have mapped."""
        inodes = collections.Counter()
        for pid in self.processes():
            with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
                inodes.update(set(re.findall(rf" (\d+) +{SHM}/", file.read())))
        return sum(count == 2 for count in inodes.values())

    def test_killed_it_takes_its_processes_along(self):
        for peer in BUSY:
            process = self.start(BENCH, "idle", peer, "--wait-ms", "60000")
            self.until(lambda: len(self.processes()) == 3, "the two processes run")
            queues = 2 if peer.startswith("shmq/") else 0  # one a direction
            self.until(lambda: self.opened_by_both() == queues and not self.objects(), "no queue needs a name any more")
            process.kill()
            process.wait(LIMIT_S)
            self.until(lambda: not self.processes(), "the two are gone")
            self.assertEqual(self.objects(), [])


class Runner(Case):
    """run.py from outside."""

    def test_a_short_run(self):
        path = self.directory + "/all.json"
        words = ["--quick", "--rounds", "2", "--seed", "7", "--json", path]
        status, out, err = self.run_py(*words, "shmq/sem", "shmq/cond", "mutex")
        self.assertEqual(status, 0, err)
        lines = out.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual([line for line in lines if line != line.rstrip()], [])
        for title in ("One way, time", "One way with each notifier", "Round trip, always asleep", "A sleeper",
                      "Size of the ring", "Messages of a run", "Many ends", "Attaching", "What checks cost",
                      "Instructions of a call", "memcpy"):
            self.assertIn("\n" + title, out)
        self.assertNotIn("unix", out)
        self.assertIn("seed 7", out)
        self.assertIn("round 2 of 2", err)
        self.check_json(path, words)
        status, out, err = self.run_py(*words[:-2], "--json", path, "--only", "attach", "--compare", path, "shmq/sem")
        self.assertEqual(status, 0, err)
        self.assertIn("1 figures in common, 0 surely faster, 0 surely slower", " ".join(out.split()))

    def check_json(self, path, words):
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual((result["format"], result["seed"], result["rounds"]), (run.FORMAT, 7, 2))
        self.assertEqual(result["command"], f"ci/bench {' '.join(words)} shmq/sem shmq/cond mutex")
        self.assertTrue(result["commit"] and result["date"] and result["machine"]["processor"])
        found = figures.unpack(result["figures"])
        for names in found.values():
            for figure in names.values():
                self.assertTrue(figure["least"] <= figure["median"] <= figure["most"])
        wanted = set(plan.plan(plan.FORMS["quick"], ["shmq/sem", "shmq/cond", "mutex"], plan.SECTIONS, 1, 0)[0])
        self.assertEqual(set(found), wanted)  # all of these can be measured here
        for wait, raw in (("default", plan.LINE), ("asleep", plan.SLEEPER)):
            self.assertEqual(found[Job("round_trip", raw, wait=wait)]["round_trip"]["ratio"], 1)
        self.assertIsNotNone(figures.of_limit(found, plan.MIB))

    def test_refusals_and_help(self):
        for arguments, words in ((["smoke"], "no such peer: smoke\nThere are: shmq/sem"),
                                 (["cache_line"], "no such peer"),
                                 (["--rounds", "0"], "not a number of rounds"),
                                 (["--deaths", self.directory + "/none"], "cannot read"),
                                 (["--compare", self.directory + "/none"], "cannot read"),
                                 (["--compare", __file__], "is not what ci/bench --json writes"),
                                 (["--only", "smoke"], "no such section"),
                                 (["--quick", "--full"], "not allowed"),
                                 (["--bench", self.directory + "/none"], "bazel build")):
            status, out, err = self.run_py(*arguments)
            self.assertNotEqual(status, 0)
            self.assertIn(words, err)
            self.assertNotIn("Traceback", err)
            self.assertEqual(out, "")
        status, out, _ = self.run_py("--help")
        self.assertEqual((status, max(map(len, out.splitlines())) <= 80), (0, True), out)
        for word in ("--quick", "--full", "--json", "--compare", "--write", "--deaths", "--seed", "PEER", "ci/bench"):
            self.assertIn(word, out)
        self.assertIn("shmq/named", self.run_py("--list")[1].split())

    def test_interrupted_by_ctrl_c(self):
        for everybody in (True, False):  # as a terminal does it, and as kill does
            process = self.start(sys.executable, run.__file__, "--bench", BENCH, *BUSY)
            self.until(lambda: len(self.processes()) == 4, "it measures")
            (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
            status, out, err = self.finish(process)
            self.assertEqual((status, out), (INTERRUPTED + signal.SIGINT, ""))
            self.assertIn("interrupted", err)
            self.assertNotIn("Traceback", err)
            self.assertEqual((self.processes(), self.objects()), ([], []))


# ---- The scripts' functions, on what is known ------------------------------------------------------------------------

PEERS = ["shmq/sem", "shmq/fifo", "pipe", "mutex"]


class Plans(unittest.TestCase):
    def test_each_round_has_all_jobs_in_an_order_of_its_own(self):
        form = plan.FORMS["default"]
        rounds = plan.plan(form, PEERS, plan.SECTIONS, 5, 1)
        self.assertEqual(rounds, plan.plan(form, PEERS, plan.SECTIONS, 5, 1))
        self.assertNotEqual(rounds, plan.plan(form, PEERS, plan.SECTIONS, 5, 2))
        for jobs in rounds:
            self.assertEqual(len(set(jobs)), len(jobs))
        self.assertEqual(set(rounds[0]), set(rounds[1]))
        self.assertNotEqual(rounds[0], rounds[1])
        self.assertEqual({job.measure for job in set(rounds[0]) - set(rounds[4])}, set(plan.SELDOM))

    def test_those_that_are_compared_follow_each_other(self):
        jobs = plan.plan(plan.FORMS["default"], PEERS, plan.SECTIONS, 1, 1)[0]
        groups = [plan.alike(job) for job in jobs]
        borders = sum(before != after for before, after in zip(groups, groups[1:]))
        self.assertEqual(borders, len(set(groups)) - 1)
        here = [job for job in jobs if plan.alike(job) == plan.alike(Job("stream", "", 8))]
        self.assertEqual({(job.measure, job.peer, job.variant) for job in here},
                         {("memcpy", "machine", ""), ("stream", "shmq/sem", "unchecked"), ("stream", "shmq/sem", "checksum"),
                          *(("stream", peer, "") for peer in ("shmq/sem", "pipe", "mutex", "limit"))})

    def test_the_usual_form_takes_less_than_twenty_minutes(self):
        form, peers = plan.FORMS["default"], sorted(ALWAYS - set(plan.BOUNDS)) + [f"shmq/{name}" for name in "abcde"]
        rounds = plan.plan(form, peers, plan.SECTIONS, form.rounds, 1)
        self.assertLess(sum(plan.cost(form, job) for jobs in rounds for job in jobs), 20 * 60)

    def test_only_the_full_form_makes_huge_rings_and_the_longest_streams(self):
        for name, ring, count in (("quick", 16 * plan.MIB, 10**5), ("default", 256 * plan.MIB, 10**8),
                                  ("full", 4096 * plan.MIB, 10**9)):
            jobs = plan.plan(plan.FORMS[name], PEERS, plan.SECTIONS, 1, 1)[0]
            self.assertEqual(max(job.capacity for job in jobs), ring)
            self.assertEqual(max(job.messages for job in jobs), count)

    def test_one_of_shmqs_notifiers_stands_for_all_where_nobody_sleeps(self):
        jobs = plan.plan(plan.FORMS["default"], PEERS, plan.SECTIONS, 1, 1)[0]
        streams = [job.peer for job in jobs if job == Job("stream", job.peer, plan.MIB)]
        self.assertEqual(sorted(streams), ["limit", "mutex", "pipe", "shmq/sem"])

    def test_arguments(self):
        form = plan.FORMS["quick"]
        for job, words in ((Job("stream", "pipe", capacity=4096, variant=plan.CHECKSUM),
                            "stream pipe --rounds 30 --capacity 4096 --careful"),
                           (Job("round_trip", "pipe", 1 << 20, "default"),
                            "round_trip pipe --wait default --rounds 30 --bytes 1048576"),
                           (Job("stream", "pipe", messages=10**8), "stream pipe --rounds 1 --messages 100000000"),
                           (Job("many", "pipe", ends=4), "many pipe --rounds 10 --ends 4"),
                           (Job("idle", "pipe"), "idle pipe --wait-ms 200")):
            self.assertEqual(" ".join(map(str, plan.arguments(form, job))), words)


def measured(number, job, p50, unit="ns", name=None, probe=(100, 100), count=1, played_ms=1):
    figure = {"count": count} | dict.fromkeys(("min", "p50", "p99", "p999", "max"), p50)
    return {"round": number, "job": job, "outcome": "measured", "unit": unit, "cores": [0, 1], "played_ms": played_ms,
            "probe_ns": probe, "figures": {name or job.measure: figure}}


def figure_of(*p50):
    job = Job("attach", "x")
    return figures.summarize([measured(number, job, time) for number, time in enumerate(p50)])[0][job]["attach"]


class Figures(unittest.TestCase):
    def test_ratios_are_taken_within_rounds(self):
        own, raw = (Job("round_trip", peer, wait="default") for peer in ("shmq/sem", plan.LINE))
        runs = []
        for number, factor in ((1, 1), (2, 3), (3, 2)):  # a machine that is three times slower in one round
            runs += [measured(number, own, 150 * factor), measured(number, raw, 100 * factor)]
        figure = figures.summarize(runs)[0][own]["round_trip"]
        self.assertEqual((figure["median"], figure["least"], figure["most"], figure["ratio"], figure["rounds"]),
                         (300, 150, 450, 1.5, 3))

    def test_runs_in_which_the_cores_were_elsewhere_are_left_out(self):
        job, other, long = Job("stream", "a"), Job("stream", "b"), Job("stream", "a", messages=10**8)
        runs = [measured(1, job, 100), measured(2, job, 900, probe=(100, 500)), measured(3, job, 200, probe=(120, 100)),
                measured(4, job, 900, probe=(50, 50)), measured(1, other, 900, probe=(500, 500)),
                measured(1, long, 100), measured(2, long, 900, probe=(100, 500))]
        found, _, left_out, strays = figures.summarize(runs, (90, 135))
        self.assertEqual([found[there]["stream"]["most"] for there in (job, other, long)], [200, 900, 900])
        self.assertEqual((left_out, strays), (2, 1))
        self.assertEqual(figures.summarize(runs)[2:], (0, 0))  # of a machine that has no placement
        slow = [measured(number, job, 9, probe=(100, 500), played_ms=played_ms)
                for number, played_ms in enumerate((placement.LONG_MS, placement.LONG_MS + 1))]
        self.assertEqual(figures.summarize(slow, (90, 135))[2:], (1, 0))  # too long to be held to it

    def test_the_nearest_placement_is_found_where_the_host_has_several(self):
        for probes, place in (([100] * 9, (100, 150)),
                              ([30] * 8 + [70, 75, 80] * 12 + [400] * 56, (70, 105)),  # too seldom one core
                              ([30] * 30 + [75] * 70, (30, 45)),
                              ([58] + [70] * 5 + [80] * 20 + [95] * 20 + [300] * 54, (70, 105)),  # 58 is nobody's
                              (list(range(10, 1000, 60)), (490, 735)), ([], None),
                              ([2**number for number in range(10)], None)):
            self.assertEqual(placement.nearest(probes), place, probes)

    def test_what_was_measured_elsewhere_is_measured_again(self):
        where = iter([(100, 300), (300, 300), (100, 120), (100, 300)])

        def measure_once(_form, job):
            return measured(1, job, 1, probe=next(where))
        bench = run.Bench("/none")
        bench.hold(100, (90, 135))
        bench.measure_once = measure_once
        self.assertEqual(bench.measure(None, Job("stream", "a"))["probe_ns"], (100, 120))
        self.assertEqual(bench.measure(None, Job("idle", "a"))["probe_ns"], (100, 300))  # takes too long for it
        where = iter([(300, 300)] * 20)
        self.assertEqual(bench.measure(None, Job("stream", "a"))["probe_ns"], (300, 300))
        self.assertEqual(len(list(where)), 20 - placement.TRIES)
        where = iter([(300, 300)] * 2)
        bench.patience_s = 0
        bench.measure(None, Job("stream", "a"))
        self.assertEqual(len(list(where)), 1)

    def test_a_thousandth_needs_a_thousand_samples(self):
        job = Job("attach", "a")
        for count, p999 in ((999, None), (1000, 100)):
            found = figures.summarize([measured(1, job, 100, count=count)])[0]
            self.assertEqual(found[job]["attach"]["p999"], p999)

    def test_a_ranking_is_stated_where_the_ranges_do_not_overlap(self):
        named = {"slow": figure_of(30, 31, 32, 33, 34), "fast": figure_of(10, 11, 12, 13, 14),
                 "like": figure_of(13, 14, 15, 16, 17), "few": figure_of(50, 51)}
        self.assertEqual([figures.ahead(named["fast"], named[name]) for name in ("like", "slow", "few")],
                         [False, True, False])
        self.assertEqual(figures.ranking(named), [["fast", "like", "slow", "few"]])
        del named["few"]
        self.assertEqual(figures.ranking(named), [["fast", "like"], ["slow"]])
        named["wide"] = figure_of(12, 33, 33, 34, 90)  # slower than slow, it seems, but perhaps as fast as fast
        self.assertEqual(figures.ranking(named), [["fast", "like", "slow", "wide"]])

    def test_compared_with_an_earlier_run(self):
        jobs = [Job("attach", peer) for peer in ("a", "b", "c")]
        old = {jobs[0]: {"attach": figure_of(10, 11, 12, 13, 14)}, jobs[1]: {"attach": figure_of(10, 11, 12, 13, 14)},
               jobs[2]: {"attach": figure_of(10, 11, 12, 13, 14)}}
        new = {jobs[0]: {"attach": figure_of(5, 6, 7, 8, 9)}, jobs[1]: {"attach": figure_of(14, 15, 16, 17, 18)},
               jobs[2]: {"attach": figure_of(20, 21, 22, 23, 24)}, Job("attach", "new"): {"attach": figure_of(1, 2, 3)}}
        new = figures.unpack(json.loads(json.dumps(figures.pack(new))))
        found = figures.compare(old, new)
        self.assertEqual([(job.peer, verdict) for job, *_, verdict in found],
                         [("a", "faster"), ("b", "equal"), ("c", "slower")])
        kept = {"commit": "0123", "date": "then", "machine": 1, "placement": [90, 135]}
        turned = figures.contradictions(old, new)
        text = show.compare_report(found, turned, kept, kept)
        self.assertIn("3 figures in common, 1 surely faster, 1 surely slower.", text)
        self.assertIn("a: attach: 12.0 ns -> 7.00 ns, 1.71 × as fast", text)
        self.assertNotIn("b: attach", text)
        self.assertNotIn("DIFFER", text)
        self.assertNotIn("AS FAR APART", text)
        self.assertIn("THE MACHINES DIFFER", show.compare_report(found, turned, kept, kept | {"machine": 2}))
        self.assertIn("AS FAR APART", show.compare_report(found, turned, kept, kept | {"placement": [300, 450]}))

    def test_a_ranking_that_another_run_turns_round_is_told(self):
        times = {"a": (10, 11, 12, 13, 14), "b": (15, 16, 17, 18, 19), "c": (20, 21, 22, 23, 24)}
        old = {Job("attach", peer): {"attach": figure_of(*times[peer])} for peer in "abc"}
        new = {Job("attach", peer): {"attach": figure_of(*times[other])} for peer, other in zip("abc", "acb")}
        new |= {Job("stream", peer): {"stream": figure_of(1, 1, 1, 1, 1)} for peer in "abc"}
        turned = figures.contradictions(old, new)
        self.assertEqual(turned, (3, [((Job("attach", ""), "attach"), "b", "c")]))
        kept = {"commit": "0123", "date": "then", "machine": 1, "placement": None}
        text = show.compare_report([], turned, kept, kept)
        self.assertIn("Of 3 rankings of two peers that both state, 1 are turned round.", text)
        self.assertIn("attach: b was ahead of c", text)

    def limit(self, own, copied, peer, size=1 << 16):
        runs = [measured(1, Job("memcpy", plan.MACHINE, size), copied, "ps", "memcpy_in"),
                measured(1, Job("memcpy", plan.MACHINE, size), copied / 2, "ps", "memcpy_out"),
                measured(1, Job("stream", plan.LIMIT, size), own, "ps"),
                measured(1, Job("stream", "shmq/sem", size), own / 2, "ps"),  # is held against it, and no peer
                measured(1, Job("stream", "ck_ring", size), peer, "ps")]
        return figures.faults_of_limit(figures.summarize(runs)[0], [8, size])

    def test_a_limit_that_is_none_is_told(self):
        self.assertEqual(self.limit(2000000, 1900000, 2500000), [])
        self.assertEqual(self.limit(2000000, 1880000, 2500000), [(1 << 16, "0.940 × memcpy")])
        self.assertEqual(self.limit(2000000, 2000000, 1800000), [(1 << 16, "ck_ring is faster")])
        self.assertEqual(self.limit(2000, 500, 2100, 64), [])
        self.assertEqual(self.limit(2000, 2000, 1990, 64), [(64, "ck_ring is faster")])

    def test_deaths_are_parsed(self):
        self.assertEqual(figures.parse_deaths(DEATHS.splitlines())[1], {
            "notifier": "cond", "victim": "consumer", "trials": 200, "hung": 37, "worst_notice_ms": 204})
        self.assertEqual(len(figures.parse_deaths(DEATHS.splitlines())), 2)


class Reports(unittest.TestCase):
    """What is shown of a run in which everything takes 1 µs, and 10 ns more each round."""

    def result(self):
        form, runs = plan.FORMS["quick"], []
        for number, jobs in enumerate(plan.plan(form, PEERS, plan.SECTIONS, 5, 1)):
            for job in jobs:
                names = {"memcpy": ["memcpy", "memcpy_in", "memcpy_out"]}.get(job.measure, [job.measure])
                if job.wait == "asleep":
                    names = ["round_trip", "one_way", "send"]
                time = 1000 + 10 * number + (500 if job.peer == "pipe" else 0)
                runs += [measured(number, job, time, name=name) for name in names]
        gone, hung = Job("many", "mutex", ends=4), Job("attach", "shmq/sem")
        runs = [there for there in runs if there["job"] not in (gone, hung)]
        runs.append({"round": 1, "job": gone, "outcome": "not here", "reason": "no " * 99})
        runs.append({"round": 2, "job": hung, "outcome": "hung", "reason": "too long"})
        kept = {"rounds": 5, "seed": 1, "deaths": figures.parse_deaths(DEATHS.splitlines()), "command": "ci/bench",
                "commit": "0123-dirty", "date": "today", "machine": script.machine(), "load": 0.5,
                "placement": (90, 135)}
        runs[0]["probe_ns"] = (100, 149)
        return run.conclude(kept, form, PEERS, runs)

    def test_terminal(self):
        text = show.text_report(self.result())
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertIn("Medians of 5 rounds, seed 1;", text)
        self.assertRegex(text, r"\nshmq/sem +1\.02 µs +4% +1\.00 ")
        self.assertRegex(text, r"\npipe +1\.52 µs +3% +0\.67 ")
        self.assertRegex(text, r"\nOne way, 64 B: shmq/sem = mutex < pipe\n")
        self.assertIn("shmq/sem: attach: hung: too long", text)
        self.assertNotIn("no no", text)
        self.assertIn("100 to 149 ns; load before: 0.5", " ".join(text.split()))
        self.assertNotIn("NOT STEADY", text)
        self.assertRegex(text, r"Killed 200 times\n *notifier +victim +trials +hung +worst notice ms\nsem +producer")

    def test_a_machine_that_was_not_steady_is_told(self):
        result = self.result()
        self.assertIn("; what is brief was measured at 90 to 135 ns, and 1 runs were left out", show.steadiness(result))
        self.assertIn("NOT STEADY: 2 measurements", show.steadiness(result._replace(strays=2)))
        result.kept["placement"] = None
        self.assertIn("NOT STEADY", show.steadiness(result))

    def test_pages(self):
        result = self.result()
        speed, notifiers = show.speed_page(result, [("A picture", "x.svg")]), show.notifiers_page(result)
        for text in (speed, notifiers):
            self.assertIn("    ci/bench\n", text)
            self.assertIn("0123-dirty", text)
            self.assertLessEqual(max(len(line) for line in text.splitlines() if not line.startswith("|")), 120)
            for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
                self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)
        self.assertIn("![A picture](x.svg)", speed)
        self.assertIn("| 1.02 µs (1.00 µs to 1.04 µs) | 1.00 |", speed)
        self.assertIn("* One way, 64 B: shmq/sem = mutex < pipe\n", speed)
        self.assertIn("## Killed 200 times", notifiers)
        self.assertIn("| --- | --- | ---: | ---: | ---: |\n", notifiers)
        self.assertIn("| cond | consumer | 200 | 37 | 204 |", notifiers)

    def test_words(self):
        self.assertEqual([show.time_in_words(ns) for ns in (0.5, 9.994, 9.996, 99.96, 999.6, 1e9)],
                         ["0.50 ns", "9.99 ns", "10.0 ns", "100 ns", "1.00 µs", "1.00 s"])
        self.assertEqual([show.bytes_in_words(count) for count in (8, 1024, 65536, 1 << 20, 1 << 32)],
                         ["8 B", "1 KiB", "64 KiB", "1 MiB", "4 GiB"])

    def test_pictures(self):
        result = self.result()
        found = plots.pictures(result)
        self.assertEqual([picture.name for picture in found],
                         ["speed-one-way", "speed-round-trip", "speed-rings", "speed-many"])
        self.assertEqual([there.label for there in found[3].lines], ["shmq/sem", "pipe"])  # mutex has one point
        if not shutil.which("gnuplot"):
            self.skipTest("needs gnuplot")
        directory = self.enterContext(case.tempfile.TemporaryDirectory())
        made, trouble = plots.draw(found, directory)
        self.assertEqual((len(made), trouble), (4, ""))
        for picture, (_, name) in zip(found, made):
            tree = xml.etree.ElementTree.parse(os.path.join(directory, name))
            words = {word.strip() for word in tree.getroot().itertext()}
            self.assertLessEqual({there.label for there in picture.lines} | {picture.title}, words)

    def test_aims(self):
        found = {row[0]: row[1:] for row in aims.rows(self.result(), show.bytes_in_words)}
        for what, row in (("8 B one way, × limit", ["at least 1.00", "1.00", "reached"]),
                          ("8 B one way, × mutex, the best peer", ["at least 1.00", "1.00", "reached"]),
                          ("8 B one way, × mutex, the best that sleeps", ["at least 15.0", "1.0", "missed"]),
                          ("1 MiB one way, × limit", ["at least 0.95", "1.00", "reached"]),
                          ("round trip, asleep, × a bare futex", ["at most 1.05", "1.00", "reached"]),
                          ("waiting 0.2 s, µs of processor time", ["at most 200", "1", "reached"]),
                          ("attaching to rings of any size, µs", ["at most 100", "1", "reached"]),
                          ("runs of any length, dearest × cheapest", ["at most 1.25", "1.00", "reached"]),
                          ("64 B one way, × without checks", ["at most 1.05", "1.00", "reached"])):
            self.assertEqual(found.get(what), row, found)
        nobody = self.result()._replace(peers=["pipe"])
        self.assertEqual(aims.rows(nobody, show.bytes_in_words), [])

    def test_the_card_of_the_main_figures(self):
        card = cards.speed(self.result())
        rows = dict(card.rows)
        self.assertEqual(list(rows), ["shmq/sem", "pipe", "mutex", "limit"])
        self.assertEqual({len(cells) for cells in rows.values()}, {len(card.heads)})
        self.assertEqual((rows["shmq/sem"][0], rows["limit"][0]), (("980 k", 1), ("980 k", None)))
        self.assertEqual(rows["pipe"][0][0], "658 k")
        with unittest.mock.patch.object(plan, "LOOKERS", ("pipe",)):
            looks = dict(cards.speed(self.result()).rows)["pipe"]
            self.assertEqual((looks[:-1], looks[-1]), (rows["pipe"][:-1], (show.NONE, None)))
        self.assertTrue(0.9 < rows["pipe"][0][1] < 1)
        self.assertEqual([rows["shmq/sem"][-1], rows["limit"][-1]], [("1.02 µs", 1), ("1.02 µs", None)])
        self.assertEqual(cards.graded({"a": 1, "b": 1e4, "c": None}, show.digits),
                         {"a": ("1.00", 1), "b": ("10000", 0), "c": ("-", None)})
        self.assertEqual([cards.shade(good) for good in (None, 1, 0.5, 0)],
                         ["#ffffff", "#cdebd3", "#fdf0c4", "#f6c9c4"])
        self.assertEqual([cards.rate_in_words(ns) for ns in (10, 1000, 2e6)], ["100 M", "1.00 M", "500"])
        if shutil.which("gnuplot"):
            directory = self.enterContext(case.tempfile.TemporaryDirectory())
            self.assertEqual(plots.draw([card], directory, cards.script), ([("How fast", "speed-table.svg")], ""))
            tree = xml.etree.ElementTree.parse(os.path.join(directory, "speed-table.svg"))
            words = {word.strip() for word in tree.getroot().itertext()}
            self.assertLessEqual({*rows, "980 k", "round trip", "How fast"}, words)

    def test_names_in_pictures_do_not_cover_each_other(self):
        self.assertEqual(plots.apart([1, 5, 5, 5, 20], 2), [1, 3, 5, 7, 20])
        self.assertEqual(plots.apart([5], 2), [5])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: bench_test.py BENCH [TEST]...")
    BENCH = os.path.abspath(sys.argv.pop(1))
    unittest.main()
