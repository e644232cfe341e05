"""Does ci/fuzz tell, keep and resume as it says? With engines that only pretend: whoever is killed, and when, a finding
that an engine had written is there afterwards, minimised, told from the others, and named with a command.

    python3 fuzz/campaign_test.py [unittest's arguments]
"""

import fcntl
import glob
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
import time
import types
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/support"))
from case import INTERRUPTED, USAGE, Case

from findings import Outcome
from table import Row, short, table

CAMPAIGN = os.path.join(HERE, "campaign.py")
LAUNCHER = """#!/bin/sh
echo '{"name": "{name}", "engine": "{engine}", "binary": "{directory}/engine", "dictionary": null,
    "max_length": 64, "seeds": []}'
"""
# libFuzzer, and with the name afl-fuzz AFL++, as far as anybody outside can tell. What it is to find stands in files
# plan.libfuzzer and plan.afl. Of one file it says whether it has a BUG, and where: the byte behind it.
ENGINE = """#!/usr/bin/env python3
import glob, os, signal, sys, time
directory = "{directory}"
engine = "afl" if sys.argv[0].endswith("afl-fuzz") else "libfuzzer"
if engine == "libfuzzer" and os.path.isfile(sys.argv[-1]):
    content = open(sys.argv[-1], "rb").read()
    at = content.find(b"BUG")
    if at >= 0:
        time.sleep(float(os.environ.get("SLOW", 0)))
        print("==1==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x12345")
        print("    #0 0x1 in __asan_memcpy (/x/y+0x1)")
        where = (content + b"0000")[at + 3]
        print("    #1 0x2 in place_%d /proc/self/cwd/src/ring.c:%d:3" % (where, len(content)))
        print("    #2 0x3 in LLVMFuzzerTestOneInput /proc/self/cwd/fuzz/x.c:1:3")
        sys.exit(77)
    sys.exit(0)
if engine == "libfuzzer":
    folder = [a for a in sys.argv if a.startswith("-artifact_prefix=")][0].split("=", 1)[1]
    prefix, ending = os.path.join(folder, "crash-"), signal.SIGUSR1
else:
    output, part = sys.argv[sys.argv.index("-o") + 1], [a for a in sys.argv if a == "main" or a.startswith("second")][0]
    folder = os.path.join(output, part, "crashes")
    os.makedirs(folder, exist_ok=True)
    prefix, ending = os.path.join(folder, "id:0000"), signal.SIGINT
signal.signal(ending, lambda *_: sys.exit(0))
try:
    plan = open(directory + "/plan." + engine, "rb").read().split(b",")
except OSError:
    plan = []
if plan == [b"broken"]:
    sys.exit("it does not begin")
counts = os.open(os.environ["FUZZ_COUNTS"], os.O_WRONLY | os.O_CREAT, 0o600)  # never empty again, as a mapped file
for number in range(1, 100000):
    os.pwrite(counts, (1000 * number).to_bytes(8, "little") + (5000 * number).to_bytes(8, "little"), 0)
    if engine == "libfuzzer":
        print("#%d\\tNEW    cov: %d ft: 9 corp: %d/9b lim: 4 exec/s: 0" % (number, 10 + number, number), flush=True)
    else:
        print("Fuzzing test case #1 (%d total, 0 crashes saved)" % number, flush=True)
    for _ in range(20000):
        pass
    if number == 3:
        for name, content in enumerate(plan):
            with open(prefix + str(name), "wb") as file:
                file.write(content)
        if plan and engine == "libfuzzer":
            sys.exit(77)
    time.sleep(0.1)
"""


class Campaigns(Case):
    def setUp(self):
        super().setUp()
        self.results = os.path.join(self.directory, "results")
        self.environment["PATH"] = self.directory + ":" + self.environment["PATH"]
        for name in ("engine", "afl-fuzz"):
            self.script(name, ENGINE)

    def script(self, path, text):
        path = os.path.join(self.directory, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("{directory}", self.directory))
        os.chmod(path, 0o755)

    def target(self, name):
        for engine, suffix in (("libfuzzer", "run"), ("afl", "afl")):
            self.script(f"programs/{name}_{suffix}", LAUNCHER.replace("{name}", name).replace("{engine}", engine))

    def plan(self, engine, *inputs):
        with open(os.path.join(self.directory, "plan." + engine), "wb") as file:
            file.write(b",".join(inputs))

    def fuzz(self, *arguments):
        return self.start(sys.executable, CAMPAIGN, *self.given(*arguments))

    def given(self, *arguments):
        command = arguments[:1] if arguments[:1] and arguments[0] in ("status", "report", "adopt") else ()
        places = ("--programs", f"{self.directory}/programs", "--results", self.results)
        return *command, *places, *arguments[len(command):]

    def kept(self):
        """{what: about} of all findings."""
        found = {}
        for path in glob.glob(f"{self.results}/*/findings/*/about.json"):
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            found[about["what"]] = about
        return found

    def ledger(self):
        with open(f"{self.results}/ledger.json", encoding="utf-8") as file:
            return json.load(file)

    def half_files(self):
        return glob.glob(f"{self.results}/**/*.new", recursive=True)

    # --- what is found ---

    def test_a_finding_is_minimised_told_from_others_and_named_with_its_command(self):
        self.target("x")
        self.plan("libfuzzer", b"0123456789BUG1", b"abcBUG1defghi", b"BUG2")
        status, out, err = self.finish(self.fuzz("--minutes", "0.06", "--jobs", "1", "--engine", "libfuzzer"))
        self.assertEqual((status, err), (1, ""), out)
        kept = self.kept()
        self.assertEqual(sorted(kept), [f"heap-buffer-overflow < place_{ord(c)} (ring.c)" for c in "12"])
        about = kept[f"heap-buffer-overflow < place_{ord('1')} (ring.c)"]
        with open(about["input"], "rb") as file:
            self.assertEqual(file.read(), b"BUG1")
        self.assertEqual(len(os.listdir(os.path.join(os.path.dirname(about["input"]), "raw"))), 2)
        self.assertIn(f"to reproduce: bazel build //fuzz:x_asan && bazel-bin/fuzz/x_asan {about['input']}", out)
        self.assertEqual(self.half_files(), [])

    def test_what_does_nothing_when_it_is_run_again_is_kept_apart(self):
        self.target("x")
        self.plan("afl", b"harmless")
        status, out, _ = self.finish(self.fuzz("--minutes", "0.06", "--jobs", "2", "--engine", "afl"))
        self.assertEqual((status, self.kept()), (0, {}), out)
        self.assertEqual(len(os.listdir(f"{self.results}/x/findings/unstable/raw")), 1)

    def test_both_engines_give_one_finding_of_one_fault(self):
        self.target("x")
        self.plan("libfuzzer", b"..BUG7")
        self.plan("afl", b"....BUG7")
        status, out, _ = self.finish(self.fuzz("--minutes", "0.12", "--jobs", "1"))
        self.assertEqual((status, len(self.kept())), (1, 1), out)
        self.assertIn("(2 times)", out)

    def test_a_finding_that_was_adopted_is_found_no_more_until_it_comes_back(self):
        self.target("x")
        self.plan("libfuzzer", b"abcBUG1")
        run = ("--minutes", "0.05", "--jobs", "1", "--engine", "libfuzzer")
        self.finish(self.fuzz(*run))
        (about,) = self.kept().values()
        os.makedirs(f"{self.directory}/tree/fuzz/regressions")
        with open(f"{self.directory}/tree/fuzz/regressions/README.md", "w", encoding="ascii") as file:
            file.write("# Regressions\n")
        status, out, err = self.finish(self.start(
            sys.executable, CAMPAIGN, "adopt", about["input"], "--reason", "It", "--tree", f"{self.directory}/tree",
            "--programs", f"{self.directory}/programs"))
        self.assertEqual((status, err), (0, ""), out)
        self.plan("libfuzzer")
        status, out, _ = self.finish(self.fuzz(*run))
        self.assertEqual((status, self.kept()), (0, {}), out)
        self.plan("libfuzzer", b"defBUG1")
        status, out, _ = self.finish(self.fuzz(*run))
        self.assertEqual((status, len(self.kept())), (1, 1), out)

    # --- whoever is killed ---

    def kill_and_resume(self, moment, what, whole_group, engine="libfuzzer", **environment):
        """Whatever the engine had written when all were killed is a finding afterwards."""
        self.target("x")
        self.plan(engine, b"0123456789BUG1")
        self.environment |= environment
        process = self.fuzz("--minutes", "1", "--jobs", "2", "--engine", engine)
        self.until(moment, what)
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        self.until(lambda: not self.processes(), "no engine is left")
        found = glob.glob(f"{self.results}/x/crashes/*") + glob.glob(f"{self.results}/x/afl/*/crashes/*")
        self.environment.pop("SLOW", None)
        self.plan(engine)
        status, out, err = self.finish(self.fuzz("--minutes", "0.05", "--jobs", "1", "--engine", engine))
        self.assertEqual(err, "", out)
        self.assertEqual(len(self.kept()), min(len(found), 1), out)
        for about in self.kept().values():
            with open(about["input"], "rb") as file:
                self.assertEqual(file.read(), b"BUG1")
        self.assertEqual(glob.glob(f"{self.results}/x/findings/*/*.new"), [])
        self.assertIn(status, (0, 1))

    def test_a_finding_survives_a_kill_right_after_it(self):
        for whole_group in (False, True):
            with self.subTest(whole_group=whole_group):
                self.results = os.path.join(self.directory, f"results{whole_group}")
                self.kill_and_resume(lambda: glob.glob(f"{self.results}/x/crashes/*"), "it is found", whole_group)
                self.assertEqual(len(self.kept()), 1)

    def test_a_finding_survives_a_kill_while_it_is_minimised(self):
        for whole_group in (False, True):
            with self.subTest(whole_group=whole_group):
                self.results = os.path.join(self.directory, f"results{whole_group}")
                self.kill_and_resume(lambda: glob.glob(f"{self.results}/x/findings/*/input.new"), "it is minimised",
                                     whole_group, SLOW="0.3")
                self.assertEqual(len(self.kept()), 1)

    def test_a_kill_at_any_moment_loses_nothing(self):
        for number, delay in enumerate((0.2, 0.7, 1.5, 2.2)):
            with self.subTest(delay=delay):
                self.results = os.path.join(self.directory, f"results{number}")
                at = time.monotonic() + delay
                self.kill_and_resume(lambda at=at: time.monotonic() > at, "it is time", number % 2 == 0,
                                     "afl" if number < 2 else "libfuzzer")

    def test_processor_time_is_kept_although_all_are_killed(self):
        self.target("x")
        process = self.fuzz("--minutes", "1", "--jobs", "2", "--engine", "afl")
        path = f"{self.results}/ledger.json"
        self.until(lambda: os.path.exists(path) and self.ledger()["x/afl"]["executions"] > 0, "something is kept")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.until(lambda: not self.processes(), "no engine is left")
        before = self.ledger()["x/afl"]
        self.assertGreater(before["processor_s"], 0)
        self.finish(self.fuzz("--minutes", "0.06", "--jobs", "1", "--engine", "afl"))
        after = self.ledger()["x/afl"]
        for name in ("processor_s", "executions", "operations"):
            self.assertGreater(after[name], before[name])
        _, out, _ = self.finish(self.fuzz("status"))
        self.assertRegex(out, r"(?m)^ x +AFL\+\+ .* 2$")
        self.assertIn("AFL++: 0.00", out)

    def test_an_interrupt_leaves_nothing_and_tells_what_there_is(self):
        self.target("x")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.fuzz("--jobs", "2")
            self.until(lambda: glob.glob(f"{self.results}/x/*.counts"), "engines run")
            process.send_signal(number)
            status, out, err = self.finish(process)
            self.assertEqual((status, err), (INTERRUPTED + signal.SIGINT, "ci/fuzz: interrupted\n"), out)
            self.assertIn("nothing was found", out)
            self.assertEqual(self.processes(), [])
            self.assertEqual(self.half_files(), [])
            for path in glob.glob(f"{self.results}/x/*.counts"):
                os.unlink(path)

    # --- what is told ---

    def test_every_target_has_a_turn_and_the_log_says_whose_it_is(self):
        for name in ("x", "y"):
            self.target(name)
        status, out, err = self.finish(self.fuzz("--minutes", "0.2", "--jobs", "1"))
        self.assertEqual((status, err), (0, ""), out)
        self.assertEqual(sorted(self.ledger()), ["x/afl", "x/libfuzzer", "y/afl", "y/libfuzzer"])
        for name in self.ledger():
            self.assertRegex(out, rf"(?m)^{name}: 3 s of ")
            self.assertRegex(out, rf"(?m)^{name}: exec/s=\S+ ops/s=\S+ edges=\S+ corpus=\d+ new=\S+ found=0 ")
        self.assertIn(f"{self.directory}/engine -artifact_prefix=", out)
        self.assertIn("afl-fuzz -i ", out)
        self.assertNotIn("\033", out)

    def test_an_engine_that_does_not_begin_is_named_and_left_out(self):
        self.target("x")
        self.plan("libfuzzer", b"broken")
        status, out, _ = self.finish(self.fuzz("--minutes", "0.12", "--jobs", "1"))
        self.assertEqual(status, 1)
        self.assertIn("x/libfuzzer does not work, and is left out from here:", out)
        self.assertIn("it does not begin", out)
        self.assertGreater(self.ledger()["x/afl"]["executions"], 0)

    def test_a_second_campaign_is_refused(self):
        self.target("x")
        self.fuzz("--jobs", "1")
        self.until(lambda: glob.glob(f"{self.results}/x/*.counts"), "the first runs")
        status, _, err = self.finish(self.fuzz("--jobs", "1"))
        self.assertEqual(status, 1)
        self.assertIn("a campaign is at work in", err)

    def test_wrong_arguments_are_told(self):
        self.target("x")
        for arguments, text, expected in (
                (("--minutes", "0"), "more than 0", USAGE), (("--jobs", "0"), "at least 1", USAGE),
                (("--secondary", "../x"), "begins with a letter", USAGE),
                (("nothing",), "there is no target nothing; there are x", 1)):
            status, _, err = self.finish(self.fuzz(*arguments))
            self.assertEqual(status, expected)
            self.assertIn(text, err)

    def test_a_terminal_shows_a_table_that_fits(self):
        self.target("a_name_of_twenty_seven_chars")
        for columns in (80, 200):
            lines = self.on_terminal(columns, "--minutes", "0.06", "--jobs", "1", "--engine", "afl")
            rows = [line for line in lines if line.startswith(">a_name")]
            self.assertTrue(rows, lines)
            for line in rows + [line for line in lines if line.startswith((" target", "turn ", "edges"))]:
                self.assertLess(len(line), columns, line)
            self.assertRegex(rows[-1], r"\d")

    def on_terminal(self, columns, *arguments):
        """What it writes to a terminal, in lines, without what moves the cursor."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = self.start(sys.executable, CAMPAIGN, *self.given(*arguments), stdout=slave, stderr=slave)
        os.close(slave)
        written = b""
        while True:
            try:
                written += os.read(master, 4096)
            except OSError:
                break
        os.close(master)
        self.assertEqual(process.wait(), 0)
        return re.sub(r"\x1b\[\d*[A-Z]", "", written.decode()).replace("\r", "").split("\n")


class Signatures(unittest.TestCase):
    def test_it_says_what_and_where_and_nothing_that_changes(self):
        frames = ((0, "abort", "stdlib/abort.c"), (1, "fuzz_fail", "/proc/self/cwd/fuzz/support.c"),
                  (2, "ring_read", "/proc/self/cwd/src/ring.c"),
                  (3, "counted_LLVMFuzzerTestOneInput", "/proc/self/cwd/fuzz/x.c"),
                  (0, "freed_it", "/proc/self/cwd/src/a.c"))
        stack = "".join(f"    #{number} 0x5581 in {name} {place}:7:3 (BuildId: 1)\n" for number, name, place in frames)
        for report, told in (
                ("BROKEN: fuzz/x.c:37: it holds\nERROR: AddressSanitizer: ABRT on 0x12\n" + stack,
                 "it holds < ring_read (ring.c)"),
                ("==1==ERROR: LeakSanitizer: detected memory leaks\nSUMMARY: AddressSanitizer: 24 byte(s) leaked",
                 "detected memory leaks"),
                ("src/a.c:1:2: runtime error: load of address 0x7f01 is 12345 wrong", "load of address N is N wrong"),
                ("ERROR: libFuzzer: timeout after 10 seconds\n" + stack + "SUMMARY: libFuzzer: timeout\n", "timeout"),
                ("", "ended with 77")):
            self.assertEqual(Outcome(77, report).told(), told)


class Tables(unittest.TestCase):
    def test_numbers_are_short(self):
        given = (0, 999, 1000, 12345, 999499, 3.2e6, 45.6e9)
        self.assertEqual([short(number) for number in given], ["0", "999", "1.0k", "12.3k", "999k", "3.2M", "45.6G"])

    def test_the_largest_figures_fit_80_columns(self):
        leg = types.SimpleNamespace(target={"name": "programs_take_any_arguments"}, engine="libfuzzer")
        counts = {"executions_per_s": 123456, "operations_per_s": 12.3e6, "coverage": 12345, "corpus": 12345,
                  "last_new": time.time() - 99 * 86400, "processor_s": 3600 * 9999, "executions": 9.9e12,
                  "operations": 9.9e12, "turns": 9999}
        for columns in (80, 200):
            for line in table([Row(leg, counts, "99+999", True)], columns):
                self.assertLess(len(line), columns)
            self.assertIn("12345", line)
            self.assertTrue(columns == 200 or line.endswith("9999"), line)


class Adopted(Case):
    README = "# Regressions\n\nInputs.\n\nNone yet: nothing.\n"

    def setUp(self):
        super().setUp()
        os.makedirs(f"{self.directory}/tree/fuzz/regressions")
        os.makedirs(f"{self.directory}/programs")
        for name in ("x_run", "y_run"):
            with open(f"{self.directory}/programs/{name}", "w", encoding="ascii"):
                pass
        self.write("tree/fuzz/regressions/README.md", self.README)

    def write(self, path, text):
        with open(os.path.join(self.directory, path), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, path):
        with open(os.path.join(self.directory, path), encoding="utf-8") as file:
            return file.read()

    def adopt(self, path, *arguments):
        return self.finish(self.start(
            sys.executable, CAMPAIGN, "adopt", f"{self.directory}/{path}", "--tree", f"{self.directory}/tree",
            "--programs", f"{self.directory}/programs", *arguments))

    def test_a_file_becomes_a_regression_with_its_reason(self):
        self.write("one", "1")
        self.write("two", "2")
        status, out, err = self.adopt("one", "--target", "x", "--reason", "A length of 0 was believed")
        self.assertEqual((status, err), (0, ""), out)
        self.assertEqual(self.read("tree/fuzz/regressions/x/a_length_of_0_was_believed"), "1")
        self.assertEqual(self.adopt("two", "--target", "y", "--reason", "Another", "--name", "b")[0], 0)
        entries = "* `x/a_length_of_0_was_believed`: A length of 0 was believed\n* `y/b`: Another\n"
        self.assertEqual(self.read("tree/fuzz/regressions/README.md"), "# Regressions\n\nInputs.\n\n" + entries)

    def test_what_is_missing_or_there_already_is_told(self):
        self.write("one", "1")
        self.write("two", "2")
        self.assertEqual(self.adopt("one", "--target", "x", "--reason", "It")[0], 0)
        for path, arguments, text in (
                ("two", ("--target", "x"), "a regression needs a reason"),
                ("two", ("--reason", "It"), "Give --target: x, y"),
                ("two", ("--target", "x", "--reason", "It"), "exists: give another --name"),
                ("one", ("--target", "x", "--reason", "Other"), "is the same input"), ("none", (), "is no file")):
            status, _, err = self.adopt(path, *arguments)
            self.assertEqual(status, 1)
            self.assertIn(text, err)
        self.assertEqual(os.listdir(f"{self.directory}/tree/fuzz/regressions/x"), ["it"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
