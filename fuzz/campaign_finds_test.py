"""Does a campaign with a true engine find a planted fault, keep it although everybody is killed, leave no process, make
it small, and name it? On the quick canary; what it found must be harmless without the fault.

    campaign_finds_test.py ENGINE LAUNCHER REPLAY_WITHOUT_THE_FAULT
"""

import glob
import json
import os
import shlex
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../tests/support"))
from case import Case

NAME = "record_is_in_bounds"
ENGINE, LAUNCHER, SANE = sys.argv[1], *map(os.path.abspath, sys.argv[2:4])
SUFFIX = {"libfuzzer": "run", "afl": "afl"}
WHAT = "a message is never longer than max_message < read_one (record_is_in_bounds.c)"
KEPT = {"libfuzzer": "crashes/crash-*", "afl": "afl/*/crashes*/id:*"}


class Finds(Case):
    def setUp(self):
        super().setUp()
        self.results = os.path.join(self.directory, "results")
        os.mkdir(f"{self.directory}/programs")
        path = f"{self.directory}/programs/{NAME}_{SUFFIX[ENGINE]}"
        runfiles = os.environ.get("RUNFILES_DIR", LAUNCHER + ".runfiles")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nRUNFILES_DIR={shlex.quote(runfiles)} exec {shlex.quote(LAUNCHER)} \"$@\"\n")
        os.chmod(path, 0o755)

    def fuzz(self, command, *arguments):
        return self.start(sys.executable, f"{HERE}/campaign.py", *command, "--programs", f"{self.directory}/programs",
                          "--results", self.results, "--engine", ENGINE, NAME, *arguments)

    def alive(self):
        """Of our processes, those that are not dead already and only wait for whoever takes note of it."""
        return [pid for pid in self.processes() if os.path.exists(f"/proc/{pid}/exe")]

    def test_a_fault_is_found_kept_and_named(self):
        process = self.fuzz((), "--jobs", "2")
        kept = f"{self.results}/{NAME}/{KEPT[ENGINE]}"
        self.until(lambda: glob.glob(kept) or process.poll() is not None, "something is found")
        self.assertIsNone(process.poll(), "it has ended by itself")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.until(lambda: not self.alive(), "no process is left")
        status, out, err = self.finish(self.fuzz(("report",)))
        self.assertEqual((status, err), (0, ""), out)
        kept = {}
        for path in glob.glob(f"{self.results}/{NAME}/findings/*/about.json"):
            with open(path, encoding="utf-8") as file:
                about = json.load(file)
            kept[about["what"]] = about
        self.assertIn(WHAT, kept)
        about = kept[WHAT]
        self.assertLess(about["bytes"], 64)  # of 256 that an engine may try
        self.assertIn(f"to reproduce: {about['command']}", out)
        self.assertNotEqual(self.status_of(*shlex.split(about["engine_command"])), 0)
        self.assertEqual(self.status_of(SANE, about["input"]), 0)

    def status_of(self, *command):
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    @unittest.skipUnless(ENGINE == "libfuzzer", "libFuzzer does it")
    def test_minimize_keeps_what_is_needed(self):
        process = self.fuzz((), "--jobs", "1")
        self.until(lambda: len(glob.glob(f"{self.results}/{NAME}/corpus/*")) > 5, "something is learned")
        process.send_signal(signal.SIGINT)
        self.finish(process)
        status, out, err = self.finish(self.fuzz(("minimize",)))
        self.assertEqual((status, err), (0, ""), out)
        minimal = os.listdir(f"{self.results}/{NAME}/minimal")
        self.assertIn(f"{NAME}: {len(minimal)} inputs reach all", out)
        self.assertGreater(len(minimal), 5)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
