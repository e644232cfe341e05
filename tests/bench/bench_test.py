"""Does the benchmark work? Every peer and measure in its shortest form, the reports, refusals, and what is left behind.
Nothing here judges how fast anything is.

    python3 tests/bench/bench_test.py bazel-bin/tests/bench/bench [unittest's arguments]
"""

import collections
import json
import os
import re
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import case
import run
import script
from case import INTERRUPTED, LIMIT_S, USAGE

BENCH = ""
SHM = "/dev/shm"

# Measures with arguments that make them short, and the figures that they give.
SHORT = {
    "round_trip": (["--rounds", "100"], ["round_trip"]),
    "wake": (["--rounds", "3"], ["wake", "wake_send", "round_trip_asleep"]),
    "idle": (["--wait-ms", "20"], ["idle"]),
    "idle_timeout": (["--wait-ms", "20"], ["idle_timeout"]),
    "stream": (["--rounds", "2"], ["stream"]),
}
ALONE = {  # the same of what needs no peer
    "memcpy": (["--rounds", "2"], ["memcpy", "memcpy_in", "memcpy_out"]),
    "system_call": (["--rounds", "2"], ["system_call"]),
}
SINGLE = {"cache_line", "futex", "semaphore", "eventfd"}  # hold one message: no stream
ALWAYS = {"shmq/sem", "shmq/spin", "pipe", "unix", "mq", "textbook", "mutex", "boost", "zmq", "nanomsg", "qb_rb", "ck_ring",
          "limit", *SINGLE}  # every build has these
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

    def test_every_peer_and_measure(self):
        self.assertLessEqual(ALWAYS, set(self.peers()))
        for peer in self.peers():
            for measure, (arguments, figures) in (ALONE if peer == "machine" else SHORT).items():
                if (peer in SINGLE) <= (measure != "stream"):
                    with self.subTest(peer=peer, measure=measure):
                        self.check(peer, measure, figures, *self.bench(measure, peer, *arguments))

    def test_large_messages(self):
        for peer in ("shmq/sem", "pipe", "textbook", "mutex", "boost", "zmq", "nanomsg", "qb_rb", "ck_ring", "limit"):
            with self.subTest(peer=peer):
                found = self.bench("stream", peer, "--rounds", "2", "--bytes", "1000000")
                self.check(peer, "stream", ["stream"], *found)
                self.assertEqual(json.loads(found[1])["bytes"], 1000000)

    def test_what_does_not_fit_is_not_here(self):
        for arguments, reason in ((["stream", "futex"], "not for this"), (["wake", "machine"], "not for this"),
                                  (["stream", "mq", "--bytes", "10000"], "no message of it has so many bytes")):
            status, out, _ = self.bench(*arguments)
            found = json.loads(out)
            self.assertEqual((status, found["outcome"]), (1, "not here"), out)
            self.assertIn(reason, found["reason"])

    def check(self, peer, measure, figures, status, out, err):
        self.assertEqual((out.count("\n"), err), (1, ""))
        found = json.loads(out)
        self.assertEqual((found["peer"], found["measure"]), (peer, measure))
        if found["outcome"] != "measured" and peer not in ALWAYS:
            self.assertEqual((found["outcome"], status), ("not here", 1))
            self.assertTrue(found["reason"])
            return
        self.assertEqual((found["outcome"], status), ("measured", 0), out)
        self.assertEqual(list(found["figures"]), figures)
        self.assertIn(len(found["cores"]), (1, 2))
        for figure in found["figures"].values():
            self.assertGreater(figure["count"], 0)
            self.assertLessEqual(0, figure["min"])
            self.assertTrue(figure["min"] <= figure["p50"] <= figure["p99"] <= figure["max"], figure)
            self.assertLess(figure["p50"], 10e9)

    def test_both_ways_are_the_sum_of_one_way_each(self):
        figures = json.loads(self.bench("wake", "pipe", "--rounds", "1")[1])["figures"]
        self.assertEqual(figures["wake"]["min"] + figures["wake"]["max"], figures["round_trip_asleep"]["p50"])

    def test_a_hung_measure_is_killed_and_told(self):
        status, out, _ = self.bench("idle", "shmq/sem", "--wait-ms", "60000", "--limit", "0.3")
        self.assertEqual(status, 1)
        self.assertEqual(json.loads(out)["outcome"], "hung")

    def test_wrong_usage(self):
        for arguments in ([], ["idle"], ["idle", "smoke"], ["smoke", "pipe"], ["idle", "pipe", "more"], ["--bogus"],
                          ["idle", "pipe", "--rounds", "0"], ["idle", "pipe", "--rounds", "x"],
                          ["idle", "pipe", "--wait-ms", "-1"], ["idle", "pipe", "--bytes", "64"],
                          ["stream", "pipe", "--bytes", "7"], ["idle", "pipe", "--limit", "nan"]):
            status, out, err = self.bench(*arguments)
            self.assertEqual((status, out), (USAGE, ""), arguments)
            self.assertIn("Usage:", err)
        status, out, err = self.bench("--help")
        self.assertEqual((status, err), (0, ""))
        for word in [*SHORT, *ALONE, "--rounds", "--bytes", "--limit"]:
            self.assertIn(word, out)

    def interrupt(self, peer, number):
        process = self.start(BENCH, "idle", peer, "--wait-ms", "60000")
        self.until(lambda: len(self.processes()) == 3, "the two processes run")
        process.send_signal(number)
        return self.finish(process)[0]

    def test_signals_leave_nothing(self):
        for peer in BUSY:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self.assertEqual(self.interrupt(peer, number), INTERRUPTED + number)
                self.assertEqual((self.processes(), self.objects()), ([], []))

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
        status, out, err = self.run_py("--quick", "--rounds", "2", "--seed", "7", "--json", path, "shmq/sem", "shmq/cond")
        self.assertEqual(status, 0, err)
        lines = out.splitlines()
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual([line for line in lines if line != line.rstrip()], [])
        for peer in ("shmq/sem", "shmq/cond", "pipe", "cache_line", "futex"):
            self.assertEqual(sum(line.startswith(peer + " ") for line in lines), 2, out)
        self.assertNotIn("unix", out)
        self.assertIn("seed 7", out)
        self.assertIn("round 2 of 2", err)
        self.check_json(path)

    def check_json(self, path):
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual((result["format"], result["seed"], result["rounds"]), (1, 7, 2))
        self.assertEqual(result["command"], f"ci/bench --quick --rounds 2 --seed 7 --json {path} shmq/sem shmq/cond")
        self.assertTrue(result["commit"] and result["date"] and result["machine"]["processor"])
        for figures in result["figures"].values():
            for figure in figures.values():
                self.assertTrue(figure["least"] <= figure["median"] <= figure["most"])
        self.assertEqual(result["figures"]["pipe"]["wake"]["ratio"], 1)
        self.assertEqual(len(result["figures"]["cache_line"]["round_trip"]["rounds"]), 4)  # probes: twice a round
        for length in run.STREAMS:
            self.assertIsNotNone(run.of_limit(result, length))

    def test_refusals_and_help(self):
        for arguments, words in ((["smoke"], "no such peer: smoke\nThere are: shmq/sem"),
                                 (["cache_line"], "no such peer"),
                                 (["--rounds", "0"], "not a number of rounds"),
                                 (["--deaths", self.directory + "/none"], "cannot read"),
                                 (["--bench", self.directory + "/none"], "bazel build")):
            status, out, err = self.run_py(*arguments)
            self.assertNotEqual(status, 0)
            self.assertIn(words, err)
            self.assertNotIn("Traceback", err)
            self.assertEqual(out, "")
        status, out, _ = self.run_py("--help")
        self.assertEqual(status, 0)
        for word in ("--quick", "--json", "--write", "--deaths", "--seed", "PEER", "ci/bench"):
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


def measured(number, peer, figure, p50, unit="ns"):
    return {"round": number, "peer": peer, "measure": figure, "outcome": "measured", "unit": unit, "cores": [0, 1],
            "figures": {figure: {"count": 1, "min": p50, "p50": p50, "p99": p50, "max": p50}}}


class Reports(unittest.TestCase):
    """run.py's functions, on figures that are known."""

    def result(self):
        runs = []
        for number, factor in ((1, 1), (2, 3), (3, 2)):  # a machine that is three times slower in one round
            runs += [measured(number, "pipe", "wake", 1000 * factor), measured(number, "shmq/sem", "wake", 500 * factor),
                     measured(number, "shmq/sem", "idle", 12345678, "us"),
                     measured(number, "cache_line", "round_trip", 100 * factor)]
        runs.append({"round": 1, "peer": "shmq/fifo", "measure": "wake", "outcome": "not here", "reason": "no " * 99})
        runs.append({"round": 2, "peer": "shmq/sem", "measure": "idle", "outcome": "hung", "reason": "too long"})
        result = {"rounds": 3, "seed": 1, "sizes": {"idle": 2000}, "peers": ["shmq/sem", "shmq/fifo", "pipe", "cache_line"],
                  "runs": runs, "cores": [0, 1], "deaths": run.parse_deaths(DEATHS.splitlines()), "command": "ci/bench",
                  "commit": "0123-dirty", "date": "today", "machine": script.machine(), "load": 0.5}
        result["figures"], result["missing"] = run.summarize(runs)
        return result

    def test_ratios_are_taken_within_rounds(self):
        figure = self.result()["figures"]["shmq/sem"]["wake"]
        self.assertEqual((figure["median"], figure["least"], figure["most"], figure["ratio"]), (1000, 500, 1500, 0.5))

    def test_terminal(self):
        text = run.text_report(self.result())
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertIn("Medians of 3 rounds, seed 1;", text)
        self.assertRegex(text, r"shmq/sem +- +1\.00  100%   0\.50 +-\n")
        self.assertIn("shmq/sem: idle hung: too long", text)
        self.assertIn("NOT STEADY", text)
        self.assertRegex(text, r"Killed 200 times\n\nnotifier +victim +trials +hung +worst notice ms\nsem +producer")

    def test_markdown(self):
        text = run.markdown_report(self.result())
        self.assertIn("    ci/bench\n", text)
        self.assertIn("0123-dirty", text)
        self.assertIn("| shmq/sem |  |  | 1.00 (0.50 to 1.50) | 0.50 |", text)
        self.assertIn("## Killed 200 times", text)
        self.assertIn("| --- | --- | ---: | ---: | ---: |\n", text)
        self.assertIn("| cond | consumer | 200 | 37 | 204 |", text)
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            self.assertEqual(len({line.count("|") for line in block.splitlines()}), 1, block)

    def limit(self, own, copied, peer):
        result = self.result()
        runs = [measured(1, "machine", f"memcpy{way}@65536", copied, "ps") for way in ("", "_in", "_out")]
        runs += [measured(1, "limit", "stream@65536", own, "ps"), measured(1, "shmq/sem", "stream@65536", peer, "ps")]
        result["figures"], result["missing"] = run.summarize(runs)
        return "\n".join(run.limit_lines(result))

    def test_a_limit_that_is_none_is_told(self):
        self.assertEqual(self.limit(2000000, 1900000, 2500000),
                         "64 KiB: memcpy 1900 ns in one process; limit 2000 ns a message, 0.95 × memcpy from one core "
                         "to the other and 1.25 × the best peer, shmq/sem")
        self.assertIn("LIMIT IS NO LIMIT HERE: 64 KiB: 0.94 × memcpy", self.limit(2000000, 1880000, 2500000))
        self.assertIn("LIMIT IS NO LIMIT HERE: 64 KiB: shmq/sem is faster", self.limit(2000000, 2000000, 1800000))

    def test_deaths_are_parsed(self):
        self.assertEqual(run.parse_deaths(DEATHS.splitlines())[1], {
            "notifier": "cond", "victim": "consumer", "trials": 200, "hung": 37, "worst_notice_ms": 204})
        self.assertEqual(len(run.parse_deaths(DEATHS.splitlines())), 2)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: bench_test.py BENCH [TEST]...")
    BENCH = os.path.abspath(sys.argv.pop(1))
    unittest.main()
