"""What the tests of this folder share: programs in processes of their own, and an eye on what they leave behind.

    python3 tests/programs/X_test.py PRODUCER CONSUMER [PROGRAM]... [unittest's arguments, such as Ends.test_x]

or with the paths in the environment variables PRODUCER, CONSUMER, SHMQCTL and EVENT_LOOP. Needs nothing but Python's
standard library.
Every test takes queue names of its own and looks only for those afterwards, so that tests can run side by side.
"""

import os
import secrets
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

VARIABLES = ("PRODUCER", "CONSUMER", "SHMQCTL", "EVENT_LOOP")


WRAPPERS = tempfile.TemporaryDirectory(prefix="shmq-programs-")


def wrapped(path):
    """The program, or a script that becomes it under SHMQ_RUN_UNDER: valgrind, as ci/bazel/defs.bzl sets it."""
    path = os.path.abspath(path)
    command = os.environ.get("SHMQ_RUN_UNDER")
    if not command:
        return path
    os.chmod(WRAPPERS.name, 0o755)  # some tests become another user
    wrapper = os.path.join(WRAPPERS.name, os.path.basename(path))
    with open(wrapper, "w") as script:
        script.write('#!/bin/sh\nexec %s %s "$@"\n' % (command, shlex.quote(path)))
    os.chmod(wrapper, 0o755)
    return wrapper


def programs():
    """The programs' paths, from the environment or the command line, which then starts with them."""
    while len(sys.argv) > 1 and os.path.basename(sys.argv[1]).upper() in VARIABLES and os.path.isfile(sys.argv[1]):
        path = sys.argv.pop(1)
        os.environ[os.path.basename(path).upper()] = path
    return [wrapped(os.environ[variable]) if variable in os.environ else None for variable in VARIABLES]


PRODUCER, CONSUMER, SHMQCTL, EVENT_LOOP = programs()
SEED = int(os.environ.get("SEED", secrets.randbelow(2**32)))

SHM = "/dev/shm"
MAX_MESSAGE = 1024 * 1024 // 4  # of a queue of the default size

DONE, FAILURE, USAGE, TIMEOUT, PEER, DAMAGE = 0, 1, 2, 3, 4, 5
VARIANT = os.environ.get("SHMQ_TEST_VARIANT", "")  # as ci/bazel/defs.bzl names it
SLOW_BUILD = VARIANT != ""  # a sanitizer's or valgrind's processor time says nothing
LATER = {"valgrind": 10}.get(VARIANT, 1)  # to start a program under it takes a second
LIMIT_S = 30 * LATER  # nothing here takes longer unless it hangs
NOTICE_S = 2 * LATER  # a death must be noticed sooner
LACKING = ("signal",) if VARIANT == "valgrind" else ()  # notifiers: it knows no pidfds


def until(condition, what):
    """Waits until condition() is true; for what a process can only be observed to have done."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain until " + what)
        time.sleep(0.002)


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.prefix = "shmq-programs-" + secrets.token_hex(8)
        self.running = []
        self.q = "/" + self.prefix
        self.doorbells_seen = set()
        self.addCleanup(self.sweep)

    def tearDown(self):
        for process in self.running:
            self.assertIsNotNone(process.poll(), "a program still runs: %s" % process.args)
        self.assertEqual(self.leftovers(), [], "objects were left behind")

    def sweep(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
        for path in self.leftovers():
            os.unlink(path)

    def leftovers(self):
        names = [os.path.join(SHM, n) for n in os.listdir(SHM) if n.startswith(self.prefix)]
        names += [name for name in self.doorbells_seen if os.path.lexists(name)]
        return names + [os.path.join(self.directory.name, n) for n in os.listdir(self.directory.name)
                        if not n.endswith(".input")]

    def doorbells(self, queue=None):
        """The names of the queue's doorbells, which must be gone at the end of the test."""
        with open(self.object(queue), "rb") as file:
            instance = "%016x" % struct.unpack_from("=Q", file.read(0x30), 0x28)
        names = [os.path.join(directory, name)
                 for directory in {SHM, os.path.dirname(self.object(queue))} for name in os.listdir(directory)
                 if "shmq." + instance in name]
        self.doorbells_seen.update(names)
        return sorted(names)

    def object(self, queue=None):
        queue = queue or self.q
        return SHM + queue if queue.count("/") == 1 and queue[0] == "/" else queue

    def start(self, program, *args, queue=None, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
              stderr=subprocess.PIPE, **more):
        process = subprocess.Popen([program, "-q", queue or self.q, *args], stdin=stdin, stdout=stdout,
                                   stderr=stderr, **more)
        self.running.append(process)
        return process

    def start_producer(self, *args, **more):
        return self.start(PRODUCER, *args, **more)

    def start_consumer(self, *args, **more):
        return self.start(CONSUMER, *args, stdin=subprocess.DEVNULL, **more)

    def finish(self, process, status, input=None):
        """Waits for the process's end, checks its status and returns what it wrote to both streams."""
        out, err = process.communicate(input, timeout=LIMIT_S)
        self.assertEqual(process.returncode, status, "standard error: %r" % err)
        return out, err

    def produce(self, *args, input=b"", status=DONE, **more):
        return self.finish(self.start_producer(*args, **more), status, input)

    def consume(self, *args, status=DONE, **more):
        return self.finish(self.start_consumer(*args, **more), status)

    def put(self, data, *args, queue=None):
        """Sends the lines of data and does not wait for a consumer."""
        self.assertEqual(self.produce("--no-wait", *args, input=data, queue=queue), (b"", b""))

    def exists(self, queue=None):
        return os.path.exists(self.object(queue))

    def waiting_consumer(self, *args, **more):
        """A consumer that has said that it waits. It must be started without -v by nobody else."""
        consumer = self.start_consumer("-v", *args, **more)
        self.assertEqual(consumer.stderr.readline(), b"Consumer: Opened the queue.\n")
        self.assertEqual(consumer.stderr.readline(), b"Consumer: Waiting for notification...\n")
        return consumer

    def asleep(self, process):
        """Waits until the process sleeps: it has said what it does, and now there is nothing left but to wait."""
        def state():
            with open("/proc/%d/stat" % process.pid) as stat:
                return stat.read().rpartition(")")[2].split()[0]
        until(lambda: state() == "S", "the process sleeps")

    def minds(self, process, number):
        """Whether it is far enough after its start to catch the signal, or to have blocked it for a signalfd."""
        with open("/proc/%d/status" % process.pid) as status:
            masks = dict(line.split(":\t") for line in status if line.startswith(("SigCgt", "SigBlk")))
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())

    def stop(self, process, number, within=NOTICE_S):
        """Ends a program by a signal, in time and with the status for it."""
        until(lambda: self.minds(process, number), "the program expects the signal")
        process.send_signal(number)
        began = time.monotonic()
        process.wait(LIMIT_S)
        self.assertEqual(process.returncode, 128 + number)
        self.assertLess(time.monotonic() - began, within)

    def processor_ms(self, process):
        """What it has used so far."""
        with open("/proc/%d/schedstat" % process.pid) as times:
            return int(times.read().split()[0]) / 1e6

    def stays(self, path=None):
        """The queue is still there, as it should be, and is removed."""
        path = path or self.object()
        self.assertTrue(os.path.lexists(path))
        os.unlink(path)


def main():
    if not PRODUCER or not CONSUMER:
        sys.exit("Usage: %s PRODUCER CONSUMER [PROGRAM]... [TEST]..." % os.path.basename(sys.argv[0]))
    print("seed %d" % SEED, flush=True)
    result = unittest.main(exit=False).result
    if not result.wasSuccessful():
        broken = [case.id().replace("__main__.", "") for case, _ in result.failures + result.errors]
        paths = " ".join("%s=%s" % (name, os.environ[name]) for name in VARIABLES if name in os.environ)
        print("reproduce: SEED=%d %s python3 %s %s" % (SEED, paths, sys.argv[0], " ".join(broken)), flush=True)
        sys.exit(1)
