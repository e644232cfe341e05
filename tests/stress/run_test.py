"""Does ci/stress work? Short runs, Ctrl-C and what follows, failures and their evidence, the picture on a terminal.

    python3 tests/stress/run_test.py bazel-bin/tests/stress/stress [unittest's arguments]
"""

import fcntl
import json
import os
import pty
import re
import secrets
import signal
import struct
import sys
import termios
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
import case
import run
from case import INTERRUPTED, LIMIT_S, USAGE

STRESS = ""
SHM = "/dev/shm"

FAKE = """#!/bin/sh
echo seed 1
while [ "$1" != --first ]; do shift; done
if [ "$2" = 0 ]; then
    printf 'round 0: notifier=sem ms=1: messages=5 bytes=6 seconds=1 kills=2 '
    echo 'stops=3 signals=4 interrupted=0 again=0 lost=0 memory_kib=7'
    echo 'round 1: SKIP: there is none'
    printf 'round 1: notifier=sem ms=1: '
    echo 'ends.c:1: message 7 of 1 is lost' >&2
    echo 'messages=0 bytes=0 seconds=1 kills=0 stops=0 signals=0 interrupted=0 again=0 lost=0 memory_kib=7'
    echo 'FAILED round 1: process 1, end 2, failed'
    exit 1
fi
printf 'round 2: notifier=sem'
kill -9 $$
"""


class Case(case.Case):
    def setUp(self):
        super().setUp()
        self.results = self.directory + "/results"
        self.environment["TMPDIR"] = self.directory
        self.environment[run.STEM] = self.mark
        self.environment.pop("TEST_TMPDIR", None)

    def tearDown(self):
        self.until(lambda: not self.processes(), "no process is left")
        self.assertEqual(self.names(), [])

    def names(self):
        """What was left by those that were started here."""
        return [name for directory in (SHM, self.directory) for name in os.listdir(directory)
                if name.startswith((self.mark, "shmq-stress-run."))]

    def start_run(self, *arguments, stress=None, **more):
        return self.start(sys.executable, run.__file__, "--stress", stress or STRESS, "--results", self.results,
                          *arguments, **more)

    def run_py(self, *arguments, **more):
        return self.finish(self.start_run(*arguments, **more))

    def state(self):
        try:
            with open(self.results + "/state-none.json", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def children(self, process):
        with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="utf-8") as file:
            return list(map(int, file.read().split()))


class Program(Case):
    """The C program from outside."""

    def test_a_seed_gives_the_same_scenarios(self):
        tiny = ["--rounds", "3", "--scenario", "ms=20 kill=0 notifier=sem"]
        status, out, err = self.finish(self.start(STRESS, "--seed", "11", *tiny))
        self.assertEqual((status, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual((len(lines), lines[0]), (5, "seed 11"))
        self.assertRegex(lines[-1], r"^total: rounds=3 failed=0 messages=\d+ ")
        for line in lines[1:4]:
            self.assertRegex(line, run.ROUND)
        again = self.finish(self.start(STRESS, "--seed", "11", "--first", "2", "--rounds", "1", *tiny[2:]))[1]
        self.assertEqual(again.splitlines()[1].split(": ")[1], lines[3].split(": ")[1])

    def test_wrong_arguments(self):
        for arguments in (["--nothing"], ["--seed"], ["--seed", "-1"], ["--notifier", "smoke"], ["--seconds", "0"],
                          ["--scenario", "kill=5 notifier=cond"], ["--scenario", "max=5"], ["--scenario", "max"],
                          ["--threads", "--scenario", "kill=5"], ["rounds"]):
            status, out, err = self.finish(self.start(STRESS, *arguments))
            self.assertEqual((status, out), (USAGE, ""), arguments)
            self.assertIn("--help", err)
        status, out, _ = self.finish(self.start(STRESS, "--help"))
        self.assertEqual(status, 0)
        self.assertIn("--scenario", out)

    def test_ctrl_c(self):
        for everybody in (True, False):  # as a terminal does it, and as kill does
            process = self.start(STRESS, "--scenario", "ms=100000 kill=30 stop=20 signals=5 ephemeral=0 place=shm")
            self.until(lambda: len(self.processes()) >= 3, "it is at work")
            (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
            status, out, err = self.finish(process)
            self.assertEqual((status, err), (INTERRUPTED + signal.SIGINT, ""))
            self.assertNotIn("FAILED", out)

    def test_an_end_that_dies_is_a_failure_with_evidence(self):
        evidence = self.directory + "/evidence"
        process = self.start(STRESS, "--seed", "3", "--evidence", evidence, "--scenario",
                             "ms=100000 kill=0 stop=0 ephemeral=0 notifier=fifo place=shm producers=3 consumers=3")
        self.until(lambda: len(self.processes()) >= 3, "it is at work")
        self.until(self.names, "the queue is there")
        os.kill(self.children(process)[0], signal.SIGKILL)
        status, out, err = self.finish(process)
        self.assertEqual(status, 1, out + err)
        self.assertRegex(out, r"FAILED round 0: process \d+, end \d, died of signal 9\n")
        self.assertRegex(out.splitlines()[-1], r"^to reproduce: \S+ --seed 3 --first 0 --rounds 1 --scenario '")
        kept = os.listdir(evidence + "/3-0")
        self.assertLessEqual({"queue", "scenario", "command"}, set(kept))
        for what in ("status", "wchan", "syscall"):
            self.assertTrue(any(name.endswith("." + what) for name in kept), kept)


class Runner(Case):
    """run.py from outside."""

    def test_a_short_run(self):
        status, out, err = self.run_py("--minutes", "0.05", "--seed", "5", "--jobs", "2")
        self.assertEqual((status, err), (0, ""), out)
        self.assertRegex(out, r"\n\d+ rounds in 0:\d\d of 2 jobs, seed 5: 0 failures\n")
        self.assertLessEqual(max(len(line) for line in out.splitlines() if "/" not in line), 80)
        with open(self.results + "/totals-none.json", encoding="utf-8") as file:
            totals = json.load(file)
        self.assertEqual((totals["format"], totals["seed"], totals["jobs"], totals["finished"]), (1, 5, 2, True))
        self.assertEqual(totals["command"], "ci/stress --minutes 0.05 --seed 5 --jobs 2")
        self.assertTrue(totals["commit"] and totals["machine"]["processor"] and totals["failures"] == [])
        for name in ("rounds", *run.SUMS):
            self.assertEqual(totals[name], sum(figures[name] for figures in totals["notifiers"].values()), name)
        self.assertGreater(totals["messages"], 0)
        with open(self.results + "/samples-none.dat", encoding="utf-8") as file:
            self.assertRegex(file.read(), r"^#.*\n([\d.e+]+ [\d.e+]+ [\d.e+]+ \d+ 0\n)+$")
        self.assertIsNone(self.state())
        self.assertIn("picture", out)

    def test_interrupted_and_taken_up_again(self):
        for number, sends in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)):
            process = self.start_run("--minutes", "60", "--jobs", "2", *(["--seed", "9", "--fresh"]))
            self.until(lambda: (self.state() or {"totals": {"rounds": 0}})["totals"]["rounds"] >= 2, "rounds are done")
            sends(process.pid, number)
            status, out, err = self.finish(process)
            self.assertEqual((status, err), (INTERRUPTED + number, ""))
            self.assertIn("interrupted", out)
            if number == signal.SIGINT:
                os.unlink(self.results + "/state-none.json")
        rounds = self.state()["totals"]["rounds"]
        self.assertIn("--fresh", self.run_py("--seed", "8")[2])
        spent = self.state()["spent"]
        status, out, err = self.run_py("--minutes", f"{(spent + 2) / 60:.3f}")
        self.assertEqual((status, err), (0, ""))
        self.assertIn(f"goes on with the run of seed 9, {rounds} rounds", out)
        with open(self.results + "/totals-none.json", encoding="utf-8") as file:
            totals = json.load(file)
        self.assertEqual((totals["resumed"], totals["seed"]), (1, 9))
        self.assertGreater(totals["rounds"], rounds)

    def test_killed(self):
        process = self.start_run("--minutes", "60", "--jobs", "2", "--seed", "9")
        self.until(lambda: (self.state() or {"totals": {"rounds": 0}})["totals"]["rounds"] >= 1, "a round is done")
        process.kill()
        process.wait()
        self.until(lambda: not self.processes(), "its jobs are gone, too")
        for name in os.listdir(self.directory):  # nobody was there to remove it
            if name.startswith("shmq-stress-run."):
                self.assertEqual(os.listdir(os.path.join(self.directory, name)), [])
                os.rmdir(os.path.join(self.directory, name))
        status, out, _ = self.run_py("--minutes", f"{(self.state()['spent'] + 1) / 60:.3f}")
        self.assertEqual(status, 0)
        self.assertIn("goes on", out)

    def fake(self, text):
        path = f"{self.directory}/fake-{secrets.token_hex(4)}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o700)
        return path

    def test_failures_and_their_evidence(self):
        fake = self.fake(FAKE)
        status, out, err = self.run_py("--minutes", "0.02", "--jobs", "1", "--seed", "5", stress=fake)
        self.assertEqual((status, err), (1, ""))
        seed = run.seed_of(5, 0)
        evidence = f"{self.results}/failures/{seed}-1"
        self.assertIn(f"FAILED job 0 round 1: process 1, end 2, failed\n  to reproduce: {fake} --seed {seed} --first 1 "
                      f"--rounds 1\n  evidence: {evidence}\n", out)
        self.assertIn("FAILED job 0 round 2: the supervisor died of signal 9", out)
        with open(evidence + "/log", encoding="utf-8") as file:
            self.assertIn("message 7 of 1 is lost", file.read())
        self.assertTrue(os.path.exists(evidence + "/command"))
        with open(self.results + "/totals-none.json", encoding="utf-8") as file:
            totals = json.load(file)
        self.assertEqual((totals["messages"], totals["skipped"], totals["kills"]), (5, 1, 2))
        self.assertEqual(totals["failures"][0]["round"], 1)

    def test_nothing_that_runs(self):
        for stress, words in ((self.fake("#!/bin/sh\necho oh no >&2; exit 2\n"), "oh no"),
                              ("/nonexistent", "cannot run"),
                              (self.fake("#!/bin/sh\nsleep 0.1\n"), "no round ran")):
            status, out, err = self.run_py("--minutes", "0.005", "--jobs", "1", "--fresh", stress=stress)
            self.assertEqual(status, 1)
            self.assertIn(words, err)
            self.assertNotIn("Traceback", err)

    def test_refusals_and_help(self):
        for arguments in (["--minutes", "0"], ["--minutes", "x"], ["--jobs", "0"], ["--seed", "-3"], ["more"],
                          ["--sanitizer", "smoke"]):
            status, out, _ = self.run_py(*arguments)
            self.assertEqual((status, out), (USAGE, ""))
        status, out, _ = self.run_py("--help")
        self.assertEqual(status, 0)
        for word in ("--minutes", "--jobs", "--sanitizer", "--fresh", "--seed", "ci/stress"):
            self.assertIn(word, out)
        self.assertEqual(self.run_py("--target", "--sanitizer", "tsan")[1], "stress_threads_test_tsan\n")

    def test_a_terminal_of_80_columns(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.environment.pop("COLUMNS", None)
        process = self.start_run("--minutes", "0.05", "--jobs", "3", stdout=theirs, stderr=theirs)
        os.close(theirs)
        text = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the last who had it has closed it
                break
            text += data
        os.close(ours)
        self.assertEqual(process.wait(LIMIT_S), 0, text)
        shown = text.decode()
        self.assertIn("\x1b[6A\x1b[J", shown)  # the block: a head, titles, three jobs, all
        self.assertIn("left of", shown)
        lines = re.sub(r"\x1b\[\d*[A-Z]", "", shown).replace("\r", "").split("\n")
        self.assertLessEqual(max(len(line) for line in lines if "/" not in line), 80)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: run_test.py STRESS [TEST]...")
    STRESS = os.path.abspath(sys.argv.pop(1))
    unittest.main()
