"""What the programs promise, with each notifier: streams, the end by Ctrl-C, idleness, what a death leaves, and the
words for a notifier that cannot work. harness.py says how to run this.
"""

import functools
import hashlib
import os
import shutil
import signal
import stat
import struct
import subprocess
import time

from harness import (CONSUMER, DONE, FAILURE, LACKING, LIMIT_S, NOTICE_S, PEER, PRODUCER, SHM, SLOW_BUILD, Case, main,
                     until)

NOTIFIERS = tuple(kind for kind in ("sem", "named", "cond", "fifo", "signal", "lock", "spin") if kind not in LACKING)
WITH_NAMES = ("named", "fifo")  # whose doorbells are objects beside the queue
# libc's condition variable does not survive a death: notify_cond.c
SURVIVORS = tuple(kind for kind in NOTIFIERS if kind != "cond")


def each(kinds=NOTIFIERS):
    """The test is done with each notifier, and each time nothing may be left."""
    def decorate(test):
        @functools.wraps(test)
        def repeated(self):
            for kind in kinds:
                with self.subTest(notifier=kind):
                    test(self, kind)
                    self.assertEqual(self.leftovers(), [])
        return repeated
    return decorate


class Notifiers(Case):
    def check_doorbells(self, kind, queue=None):
        """Those with names are there while the queue is, as private as it is."""
        names = self.doorbells(queue)
        self.assertEqual(len(names), 2 if kind in WITH_NAMES else 0, names)
        for name in names:
            found = os.lstat(name)
            self.assertEqual(found.st_mode & 0o7777, 0o600, name)
            self.assertEqual(stat.S_ISFIFO(found.st_mode), kind == "fifo", name)
            self.assertEqual(os.path.dirname(name) == SHM, kind == "named" or queue is None)

    def has_sent(self, producer, kind):
        """What it has announced is sent once it waits for the consumer to take it."""
        if kind == "spin":
            time.sleep(0.2)
        else:
            self.asleep(producer)

    def stream(self, kind, producer_first, queue):
        numbers = b"".join(b"%d\n" % i for i in range(200000))  # more than the queue holds: both ends wait
        path = os.path.join(self.directory.name, "numbers.input")
        with open(path, "wb") as file:
            file.write(numbers)
        with open(path, "rb") as file:
            if producer_first:
                producer = self.start_producer("-n", kind, queue=queue, stdin=file)
                until(lambda: self.exists(queue), "the producer opened the queue")
                consumer = self.start_consumer(queue=queue)
            else:
                consumer = self.start_consumer("-n", kind, queue=queue)
                until(lambda: self.exists(queue), "the consumer opened the queue")
                producer = self.start_producer(queue=queue, stdin=file)
            out, err = self.finish(consumer, DONE)
        self.assertEqual(err, b"")
        self.assertEqual(hashlib.sha256(out).digest(), hashlib.sha256(numbers).digest())
        self.assertEqual(self.finish(producer, DONE), (b"", b""))
        self.assertFalse(self.exists(queue))

    @each()
    def test_stream_producer_first(self, kind):
        self.stream(kind, True, self.q)

    @each()
    def test_stream_consumer_first(self, kind):
        self.stream(kind, False, self.q)

    @each()
    def test_stream_through_a_regular_file(self, kind):
        self.stream(kind, kind in ("sem", "fifo", "lock"), self.directory.name + "/queue")

    @each()
    def test_messages_that_come_now_and_then(self, kind):
        """Each one finds its consumer asleep."""
        consumer, producer = self.start_consumer("-n", kind), self.start_producer("-n", kind)
        for turn in range(5):
            time.sleep(0.02)
            producer.stdin.write(b"%d\n" % turn)
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), b"%d\n" % turn)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)

    @each()
    def test_doorbells_come_and_go_with_the_queue(self, kind):
        for queue in (None, self.directory.name + "/queue"):
            consumer = self.waiting_consumer("-n", kind, queue=queue)
            self.check_doorbells(kind, queue)
            self.produce("x", queue=queue)
            self.finish(consumer, DONE)
            self.assertEqual(self.leftovers(), [])

    @each()
    def test_doorbells_stay_with_a_queue_that_is_kept(self, kind):
        self.put(b"a\n", "-n", kind, "--keep")
        self.check_doorbells(kind)
        self.consume()
        self.check_doorbells(kind)
        for name in self.doorbells():
            os.unlink(name)
        self.put(b"b\n")  # they are made again
        self.check_doorbells(kind)
        self.consume()
        for name in self.doorbells():
            os.unlink(name)
        self.stays()

    @each()
    def test_signal_while_the_consumer_waits_alone(self, kind):
        for number in (signal.SIGINT, signal.SIGTERM):
            consumer = self.waiting_consumer("-n", kind)
            self.doorbells()
            time.sleep(0.1)
            self.stop(consumer, number, within=1)

    @each()
    def test_signal_while_the_consumer_waits_for_its_producer(self, kind):
        producer, consumer = self.start_producer("-n", kind), self.start_consumer("-n", kind)
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        self.doorbells()
        self.stop(consumer, signal.SIGINT, within=1)
        self.finish(producer, DONE)

    @each()
    def test_signal_while_the_producer_waits(self, kind):
        producer = self.start_producer("-n", kind, "-v", "a")
        for _ in range(3):
            producer.stderr.readline()
        self.has_sent(producer, kind)
        self.stop(producer, signal.SIGINT, within=1)
        self.check_doorbells(kind)  # the message waits for the next consumer, and so do they
        self.assertEqual(self.consume(), (b"a\n", b""))

    @each()
    def test_signal_while_the_producer_waits_for_space(self, kind):
        with open("/dev/zero", "rb") as zeros:
            producer = self.start_producer("-n", kind, "-0", "-c", "4K", "-v", stdin=zeros)
        written = 0
        while written < 512:  # 8 bytes a record: full, and it waits or soon will
            written += producer.stderr.readline() == b"Producer: Notifying consumer...\n"
        self.stop(producer, signal.SIGINT, within=1)
        self.doorbells()
        self.assertEqual(set(self.consume("-0")[0]), {0})

    @each(SURVIVORS)
    def test_a_death_is_reported(self, kind):
        producer, consumer = self.start_producer("-n", kind), self.start_consumer("-n", kind)
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        self.doorbells()
        producer.kill()
        began = time.monotonic()
        self.assertIn(b"the producer died", self.finish(consumer, PEER)[1])
        self.assertLess(time.monotonic() - began, NOTICE_S)
        self.finish(producer, -signal.SIGKILL)

    @each(SURVIVORS)
    def test_both_killed_and_the_next_pair_takes_over(self, kind):
        consumer = self.waiting_consumer("-n", kind)
        consumer.send_signal(signal.SIGSTOP)
        producer = self.start_producer("-v", "a")
        for _ in range(3):
            producer.stderr.readline()
        self.has_sent(producer, kind)
        producer.kill()
        consumer.kill()
        self.finish(producer, -signal.SIGKILL)
        self.finish(consumer, -signal.SIGKILL)
        self.check_doorbells(kind)
        self.put(b"b\n")
        self.check_doorbells(kind)
        self.assertEqual(self.consume(), (b"a\nb\n", b""))

    def test_idle_programs_use_no_processor(self):
        if SLOW_BUILD:
            self.skipTest("measures a plain build")
        idle = {}
        for kind in NOTIFIERS[:-1]:  # spin is the one that does
            queue = self.q + kind
            idle[kind, "alone"] = self.start_consumer("-n", kind, queue=queue + "1")
            idle[kind, "consumer"] = self.start_consumer("-n", kind, queue=queue + "2")
            idle[kind, "producer"] = self.start_producer("-n", kind, queue=queue + "2")
            idle[kind, "sender"] = self.start_producer("-n", kind, "a", queue=queue + "3")
        time.sleep(0.5)
        before = {key: self.processor_ms(process) for key, process in idle.items()}
        time.sleep(2)
        used_ms = {key: self.processor_ms(process) - before[key] for key, process in idle.items()}
        print("idle for 2 s: " + ", ".join("%s %s %.1f ms" % (*key, ms) for key, ms in used_ms.items()))
        for process in idle.values():
            process.send_signal(signal.SIGINT)
        for process in idle.values():
            process.communicate(timeout=LIMIT_S)
        for kind in NOTIFIERS[:-1]:
            self.consume(queue=self.q + kind + "3")
        for key, ms in used_ms.items():
            self.assertLess(ms, 60, key)


class Refusals(Case):
    """A notifier that cannot work is refused in one line that says why, and what to do instead."""

    def says(self, process, *words, status=FAILURE):
        out, err = self.finish(process, status)
        self.assertEqual(out, b"")
        self.assertEqual(err.count(b"\n"), 1, err)
        for word in words + (self.q, "-q"):
            self.assertIn(word.encode(), err)

    def other_end(self, kind):
        """One end here and one in another PID namespace."""
        probe = subprocess.run(["unshare", "-p", "-f", "--mount-proc", "true"], capture_output=True)
        if probe.returncode:
            self.skipTest("cannot make a PID namespace: %r" % probe.stderr)
        consumer = self.waiting_consumer("-n", kind)
        process = subprocess.Popen(
            ["unshare", "-p", "-f", "--mount-proc", PRODUCER, "-q", self.q, "x"], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(process)
        return consumer, process

    def test_ends_in_two_pid_namespaces(self):
        for kind in (kind for kind in ("cond", "signal") if kind in NOTIFIERS):
            with self.subTest(notifier=kind):
                consumer, producer = self.other_end(kind)
                self.says(producer, "created with -n " + kind, "another PID namespace", "-n sem")
                self.produce("here")
                self.assertEqual(self.finish(consumer, DONE)[0], b"here\n")

    def test_ends_in_two_pid_namespaces_where_that_works(self):
        for kind in ("sem", "named", "fifo", "lock", "spin"):
            with self.subTest(notifier=kind):
                consumer, producer = self.other_end(kind)
                self.assertEqual(self.finish(producer, DONE), (b"", b""))
                self.assertEqual(self.finish(consumer, DONE)[0], b"x\n")

    def injected(self, kind, *injection):
        """A program whose system calls fail as told."""
        strace = shutil.which("strace")
        if not strace or SLOW_BUILD:  # the sanitizers' own tools do not work under ptrace
            self.skipTest("needs strace and a plain build")
        options = [word for fault in injection for word in ("-e", "inject=" + fault)]
        process = subprocess.Popen(
            [strace, "-qq", "-o", "/dev/null", *options, PRODUCER, "-q", self.q, "-n", kind, "x"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(process)
        return process

    def test_signal_on_an_old_kernel(self):
        self.says(self.injected("signal", "pidfd_open:error=ENOSYS"), "pidfd_open", "Linux 5.3", "-n sem")

    def test_fifo_where_there_are_none(self):
        self.says(self.injected("fifo", "mknodat,mknod:error=EPERM"), "FIFOs", "-n sem")

    def test_a_file_system_that_cannot_hold_a_queue(self):
        self.q = "/proc/" + self.prefix
        self.says(self.start_producer("x", stdin=subprocess.DEVNULL), "O_TMPFILE", "/dev/shm")
        self.says(self.start_producer("-n", "named", "x", stdin=subprocess.DEVNULL), "O_TMPFILE", "/dev/shm", "-n sem")

    def patched(self, kind, offset, value):
        """A queue whose first page has another value there."""
        self.put(b"", "-n", kind, "--keep")
        self.doorbells()
        with open(self.object(), "r+b", buffering=0) as file:
            file.seek(offset)
            old = file.read(len(value))
            file.seek(offset)
            file.write(value)
        return old

    def test_another_c_library(self):
        for kind in ("named", "cond"):
            with self.subTest(notifier=kind):
                old = self.patched(kind, 0x38, struct.pack("=Q", 12345))
                self.says(self.start_consumer(), "-n " + kind, "another C library", "remove it", "-n sem")
                for name in self.doorbells():
                    os.unlink(name)
                os.unlink(self.object())
                self.assertNotEqual(struct.unpack("=Q", old), (12345,))

    def test_another_version(self):
        self.patched("sem", 0x08, struct.pack("=I", 999))
        self.says(self.start_consumer(), "another version", "remove it")
        self.stays()

    def test_features_of_another_version(self):
        self.patched("sem", 0x34, struct.pack("=I", 64))
        self.says(self.start_consumer(), "another version", "remove it")
        self.stays()


if __name__ == "__main__":
    main()
