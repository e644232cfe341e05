"""What the tests of a program and of the script around it share: processes that are told from all others, so that none
is left and tests can run side by side."""

import os
import secrets
import signal
import subprocess
import tempfile
import time
import unittest

LIMIT_S = 120  # ten times what the longest thing takes: whatever takes longer hangs
INTERRUPTED, USAGE = 128, 2  # exit statuses; a signal's number is added to the first


class Case(unittest.TestCase):
    """A test with a directory of its own, and an environment with a mark that no other test has."""

    def setUp(self):
        self.mark = "shmq-test-" + secrets.token_hex(8)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.environment = {**os.environ, "SHMQ_TEST_MARK": self.mark}

    def processes(self):
        """Those that have our environment, that is, that were started here."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as file:
                    if self.mark.encode() in file.read():
                        found.append(int(pid))
            except OSError:  # another user's, or gone
                pass
        return found

    def until(self, condition, what):
        """Waits until condition() is true."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            self.assertLess(time.monotonic(), deadline, "waited in vain until " + what)
            time.sleep(0.005)

    def start(self, *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
        """The process, in a group of its own, which is killed with the test."""
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        """Kills it if it still runs."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()

    def finish(self, process):
        """Its exit status, and what it wrote to both streams."""
        out, err = process.communicate(timeout=LIMIT_S)
        return process.returncode, out, err
