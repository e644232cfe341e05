"""Does a campaign with the true engines find a planted fault, keep it although everybody is killed, leave no process, make
it small, and name it? On the quick canary; what it found must be harmless without the fault.

    campaign_finds_test.py LAUNCHER_OF_LIBFUZZER LAUNCHER_OF_AFL REPLAY_WITHOUT_THE_FAULT
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
LAUNCHERS = dict(zip(("run", "afl"), map(os.path.abspath, sys.argv[1:3])))
SANE = os.path.abspath(sys.argv[3])
KEPT = {"libfuzzer": "crashes/crash-*", "afl": "afl/*/crashes*/id:*"}


class Finds(Case):
    def setUp(self):
        super().setUp()
        self.results = os.path.join(self.directory, "results")
        os.mkdir(f"{self.directory}/programs")
        for suffix, launcher in LAUNCHERS.items():
            path = f"{self.directory}/programs/{NAME}_{suffix}"
            runfiles = os.environ.get("RUNFILES_DIR", launcher + ".runfiles")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"#!/bin/sh\nRUNFILES_DIR={shlex.quote(runfiles)} exec {shlex.quote(launcher)} \"$@\"\n")
            os.chmod(path, 0o755)

    def fuzz(self, command, engine, *arguments):
        return self.start(sys.executable, f"{HERE}/campaign.py", *command, "--programs", f"{self.directory}/programs",
                          "--results", self.results, "--engine", engine, *arguments)

    def alive(self):
        """Of our processes, those that are not dead already and only wait for whoever takes note of it."""
        return [pid for pid in self.processes() if os.path.exists(f"/proc/{pid}/exe")]

    def find(self, engine):
        process = self.fuzz((), engine, "--jobs", "2")
        self.until(lambda: glob.glob(f"{self.results}/{NAME}/{KEPT[engine]}"), "something is found")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.until(lambda: not self.alive(), "no process is left")
        status, out, err = self.finish(self.fuzz(("report",), engine))
        self.assertEqual((status, err), (0, ""), out)
        (path,) = glob.glob(f"{self.results}/{NAME}/findings/*/about.json")  # of all that it kept, one
        with open(path, encoding="utf-8") as file:
            about = json.load(file)
        self.assertEqual(about["what"], "a message is never longer than max_message < read_one (record_is_in_bounds.c)")
        self.assertLess(about["bytes"], 24)
        self.assertIn(f"to reproduce: {about['command']}", out)
        self.assertNotEqual(self.status_of(*shlex.split(about["engine_command"])), 0)
        self.assertEqual(self.status_of(SANE, about["input"]), 0)

    def status_of(self, *command):
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    def test_libfuzzer(self):
        self.find("libfuzzer")

    def test_afl(self):
        self.find("afl")

    def test_minimize_keeps_what_is_needed(self):
        process = self.fuzz((), "libfuzzer", "--jobs", "1")
        self.until(lambda: len(glob.glob(f"{self.results}/{NAME}/corpus/*")) > 5, "something is learned")
        process.send_signal(signal.SIGINT)
        self.finish(process)
        status, out, err = self.finish(self.fuzz(("minimize",), "libfuzzer"))
        self.assertEqual((status, err), (0, ""), out)
        minimal = os.listdir(f"{self.results}/{NAME}/minimal")
        self.assertIn(f"{NAME}: {len(minimal)} inputs reach all", out)
        self.assertGreater(len(minimal), 5)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
