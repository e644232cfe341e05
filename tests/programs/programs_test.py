"""The two programs from outside: what they print, take, answer and leave behind. harness.py says how to run this.
"""

import fcntl
import hashlib
import os
import pty
import random
import shutil
import signal
import subprocess
import tempfile
import time

from harness import (CONSUMER, DAMAGE, DONE, FAILURE, LIMIT_S, MAX_MESSAGE, NOTICE_S, PEER, PRODUCER, SEED, SLOW_BUILD,
                     TIMEOUT, USAGE, Case, main, until)


class Content(Case):
    """What goes in comes out."""

    def through(self, data, *args, queue=None):
        with tempfile.TemporaryFile() as out:  # a pipe would fill up while nobody reads it
            consumer = self.start_consumer(*args, queue=queue, stdout=out)
            self.assertEqual(self.produce(*args, input=data, queue=queue), (b"", b""))
            self.assertEqual(self.finish(consumer, DONE), (None, b""))
            out.seek(0)
            return out.read()

    def test_arguments_are_one_message_each(self):
        consumer = self.start_consumer()
        self.produce("hello, world", "", "two\nlines", "--", "-v")
        self.assertEqual(self.finish(consumer, DONE), (b"hello, world\n\ntwo\nlines\n-v\n", b""))

    def test_binary_bytes(self):
        data = random.Random(SEED).randbytes(300000) + b"\n"
        self.assertEqual(self.through(data), data)

    def test_all_bytes_in_one_line(self):
        data = bytes(b for b in range(256) if b != 10) + b"\n"
        self.assertEqual(self.through(data), data)

    def test_empty_lines(self):
        self.assertEqual(self.through(b"\n\n\na\n\n"), b"\n\n\na\n\n")

    def test_last_line_without_newline(self):
        self.assertEqual(self.through(b"a\nb"), b"a\nb\n")

    def test_null_mode(self):
        self.assertEqual(self.through(b"a\nb\0\0c\0d", "-0"), b"a\nb\0\0c\0d\0")
        self.assertEqual(self.through(b"a\nb\0", "--null"), b"a\nb\0")

    def test_null_bytes_in_lines(self):
        self.assertEqual(self.through(b"a\0b\n\0\n"), b"a\0b\n\0\n")

    def test_longest_line(self):
        data = b"x" * MAX_MESSAGE + b"\n"
        self.assertEqual(self.through(data + data + b"y\n" + data), data + data + b"y\n" + data)
        self.assertEqual(self.through(data[:-1]), data)

    def test_lines_of_every_length(self):
        data = b"".join(b"%c" % (65 + n % 26) * n + b"\n" for n in range(2000))
        self.assertEqual(self.through(data, "-c", "64K"), data)

    def test_no_input_is_the_end_of_a_pipe(self):
        consumer = self.waiting_consumer()
        self.produce()
        self.assertEqual(self.finish(consumer, DONE)[0], b"")
        self.produce()
        self.assertEqual(self.consume(), (b"", b""))

    def test_a_message_is_sent_when_its_line_is_complete(self):
        consumer, producer = self.start_consumer(), self.start_producer()
        for line in (b"first\n", b"second\n"):
            producer.stdin.write(line)
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), line)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)

    def digest(self, producer_first, queue):
        numbers = b"".join(b"%d\n" % i for i in range(1, 1000001))
        path = os.path.join(self.directory.name, "numbers.input")
        with open(path, "wb") as file:
            file.write(numbers)
        with open(path, "rb") as file:
            if producer_first:
                producer = self.start_producer(queue=queue, stdin=file)
                until(lambda: self.exists(queue), "the producer opened the queue")
                consumer = self.start_consumer(queue=queue)
            else:
                consumer = self.start_consumer(queue=queue)
                until(lambda: self.exists(queue), "the consumer opened the queue")
                producer = self.start_producer(queue=queue, stdin=file)
            out, err = self.finish(consumer, DONE)
        self.assertEqual(err, b"")
        self.assertEqual(hashlib.sha256(out).hexdigest(), hashlib.sha256(numbers).hexdigest())
        self.assertEqual(self.finish(producer, DONE), (b"", b""))
        self.assertFalse(self.exists(queue))

    def test_many_through_shared_memory_producer_first(self):
        self.digest(True, self.q)

    def test_many_through_shared_memory_consumer_first(self):
        self.digest(False, self.q)

    def test_many_through_a_regular_file_producer_first(self):
        self.digest(True, self.directory.name + "/queue")

    def test_many_through_a_regular_file_consumer_first(self):
        self.digest(False, self.directory.name + "/queue")

    def test_relative_path_is_a_regular_file(self):
        more = {"queue": "./queue", "cwd": self.directory.name}
        self.produce("--no-wait", "hello", **more)
        self.assertTrue(os.path.exists(self.directory.name + "/queue"))
        self.assertEqual(self.consume(**more), (b"hello\n", b""))

    def test_both_at_once(self):
        for turn in range(100):
            if turn % 2:
                producer, consumer = self.start_producer("x"), self.start_consumer()
            else:
                consumer, producer = self.start_consumer(), self.start_producer("x")
            self.assertEqual(self.finish(consumer, DONE), (b"x\n", b""))
            self.assertEqual(self.finish(producer, DONE), (b"", b""))

    def test_standard_output_that_does_not_block(self):
        lines = b"".join(b"%d" % i * 50 + b"\n" for i in range(20000))
        path = os.path.join(self.directory.name, "lines.input")
        with open(path, "wb") as file:
            file.write(lines)
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        with open(path, "rb") as file:
            producer = self.start_producer(stdin=file)
        consumer = self.start_consumer(stdout=write_end)
        os.close(write_end)
        with open(read_end, "rb") as out:
            self.assertEqual(hashlib.sha256(out.read()).digest(), hashlib.sha256(lines).digest())
        self.finish(consumer, DONE)
        self.finish(producer, DONE)

    def test_standard_input_that_does_not_block(self):
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        producer, consumer = self.start_producer(stdin=read_end), self.start_consumer()
        os.close(read_end)
        for line in (b"a\n", b"b\n"):
            os.write(write_end, line)
            self.assertEqual(consumer.stdout.readline(), line)
        os.close(write_end)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)


class TooLong(Case):
    def refused(self, data, number, length, before=b"", *args):
        out, err = self.produce(*args, input=data, status=FAILURE)
        self.assertEqual(out, b"")
        self.assertIn(b"line %d is %d bytes long" % (number, length), err)
        self.assertEqual(err.count(b"\n"), 1)
        self.assertEqual(self.consume(*args), (before, b""))

    def test_names_number_and_length(self):
        self.refused(b"a\n\n" + b"x" * (MAX_MESSAGE + 1) + b"\nb\n", 3, MAX_MESSAGE + 1, b"a\n\n")

    def test_counts_on_to_the_end_of_the_line(self):
        self.refused(b"a\n" + b"x" * 5000000 + b"\nb\n", 2, 5000000, b"a\n")

    def test_without_a_newline(self):
        self.refused(b"x" * 3000001, 1, 3000001)

    def test_in_null_mode(self):
        self.refused(b"a\nb\0" + b"\n" * 300000 + b"\0c", 2, 300000, b"a\nb\0", "-0")

    def test_by_the_queue_s_own_limit(self):
        self.refused(b"x" * 1024 + b"\n" + b"x" * 1025 + b"\n", 2, 1025, b"x" * 1024 + b"\n", "-c", "4K")

    def test_argument(self):
        out, err = self.produce("-c", "4K", "a", "x" * 1025, status=FAILURE)
        self.assertIn(b"message 2 is 1025 bytes long", err)
        self.assertEqual(self.consume(), (b"a\n", b""))


class Narration(Case):
    def test_producer(self):
        self.put(b"", "--keep")
        out, err = self.produce("-v", "--no-wait", "a", "b")
        self.assertEqual(out, b"")
        self.assertEqual(err.decode().splitlines(), ["Producer: Opened the queue."] +
                         ["Producer: Writing a message...", "Producer: Notifying consumer..."] * 2 +
                         ["Producer: Closed the queue."])
        self.stays()

    def test_consumer(self):
        self.put(b"hello\n\n")
        out, err = self.consume("--verbose", "--count", "2")
        self.assertEqual(out, b"hello\n\n")
        self.assertEqual(err.decode().splitlines(), [
            "Consumer: Opened the queue.",
            "Consumer: Waiting for notification...",
            'Consumer: Received notification! Message is: "hello"',
            "Consumer: Waiting for notification...",
            'Consumer: Received notification! Message is: ""',
            "Consumer: Closed the queue."])

    def test_unprintable_bytes(self):
        data = bytes(b for b in range(256) if b != 10)
        shown = "".join(chr(b) if 0x20 <= b <= 0x7e and b not in b'"\\' else "\\x%02x" % b for b in data)
        self.put(data)
        err = self.consume("-v")[1]
        self.assertIn(('Message is: "%s"\n' % shown).encode(), err)

    def test_long_message_is_one_line(self):
        self.put(b"\x01" * 100000)
        err = self.consume("-v")[1]
        self.assertIn(b'Message is: "' + b"\\x01" * 100000 + b'"\n', err)

    def test_silent_without_verbose(self):
        consumer = self.start_consumer()
        self.assertEqual(self.produce("x"), (b"", b""))
        self.assertEqual(self.finish(consumer, DONE), (b"x\n", b""))


class Signals(Case):
    """SIGINT and SIGTERM: 128 + N, and the queue is closed as the end of a pipe would close it."""

    BOTH = (signal.SIGINT, signal.SIGTERM)

    def test_consumer_waiting_alone(self):
        for number in self.BOTH:
            consumer = self.waiting_consumer()
            self.stop(consumer, number)
            self.assertEqual(consumer.stderr.read(), b"Consumer: Closed the queue.\n")
            self.assertFalse(self.exists())

    def test_consumer_waiting_for_its_producer(self):
        for number in self.BOTH:
            producer, consumer = self.start_producer(), self.start_consumer()
            producer.stdin.write(b"a\n")
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), b"a\n")
            self.stop(consumer, number)
            self.finish(producer, DONE)  # nothing is outstanding
            self.assertFalse(self.exists())

    def test_producer_reading(self):
        for number in self.BOTH:
            producer, consumer = self.start_producer(), self.start_consumer()
            producer.stdin.write(b"a\nb")
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), b"a\n")
            self.stop(producer, number)
            self.assertEqual(self.finish(consumer, DONE), (b"", b""))

    def test_producer_waiting_for_a_consumer(self):
        for number in self.BOTH:
            producer = self.start_producer("-v", "a")
            while producer.stderr.readline() != b"Producer: Notifying consumer...\n":
                pass
            self.stop(producer, number)
            self.assertEqual(self.consume(), (b"a\n", b""))

    def test_producer_waiting_for_space(self):
        for number in self.BOTH:
            with open("/dev/zero", "rb") as zeros:
                producer = self.start_producer("-0", "-c", "4K", "-v", stdin=zeros)
            written = 0
            while written < 512:  # 8 bytes a record: full, and it waits or soon will
                written += producer.stderr.readline() == b"Producer: Notifying consumer...\n"
            self.stop(producer, number)
            out = self.consume("-0")[0]
            self.assertEqual(out, b"\0" * len(out))

    def test_producer_streaming(self):
        with open("/dev/zero", "rb") as zeros:
            producer = self.start_producer("-0", stdin=zeros)
        consumer = self.start_consumer("-0", stdout=subprocess.DEVNULL)
        until(lambda: self.exists(), "the queue is there")
        self.stop(producer, signal.SIGINT)
        self.finish(consumer, DONE)

    def test_any_moment(self):
        """A signal that comes just before a wait must not be forgotten."""
        chance = random.Random(SEED)
        for turn in range(100):
            consumer = self.waiting_consumer("-n", ("sem", "spin")[turn % 2])
            if turn % 4 > 1:
                time.sleep(chance.random() / 1000)
            self.stop(consumer, signal.SIGTERM)
            producer = self.start_producer("-v")
            producer.stderr.readline()
            self.stop(producer, signal.SIGTERM)
            self.assertEqual(self.consume()[0], b"")

    def blocked_output(self, number):
        """A consumer ends while nobody reads its output: each message is either written or still there."""
        lines = [b"%d" % i * 200 for i in range(1000)]
        read_end, write_end = os.pipe()
        self.put(b"\n".join(lines))
        consumer = self.start_consumer(stdout=write_end)
        os.close(write_end)
        size = fcntl.fcntl(read_end, 1032)  # F_GETPIPE_SZ
        self.asleep(consumer)  # the pipe is full
        consumer.send_signal(number)
        consumer.wait(LIMIT_S)
        with open(read_end, "rb") as out:
            written = out.read().split(b"\n")
        self.assertLessEqual(sum(map(len, written)), size)
        rest = self.consume(status=DONE)[0].split(b"\n")
        whole = written[:-1] + rest[:-1]  # each ends in a line that is empty, or cut off and written again
        self.assertTrue(rest[0].startswith(written[-1]))
        return consumer.returncode, whole, lines

    def test_consumer_writing(self):
        status, whole, lines = self.blocked_output(signal.SIGTERM)
        self.assertEqual(status, 128 + signal.SIGTERM)
        self.assertEqual(whole, lines)

    def test_consumer_killed_while_writing(self):
        status, whole, lines = self.blocked_output(signal.SIGKILL)
        self.assertEqual(status, -signal.SIGKILL)
        self.assertEqual(list(dict.fromkeys(whole)), lines)
        self.assertLessEqual(len(whole), len(lines) + 1)

    def test_ignored_when_started(self):
        """A shell script's background jobs start with SIGINT ignored."""
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            consumer = self.waiting_consumer()
        finally:
            signal.signal(signal.SIGINT, old)
        self.stop(consumer, signal.SIGINT)


class Deaths(Case):
    def test_producer_killed(self):
        producer, consumer = self.start_producer(), self.start_consumer()
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        producer.kill()
        began = time.monotonic()
        self.assertIn(b"the producer died", self.finish(consumer, PEER)[1])
        self.assertLess(time.monotonic() - began, NOTICE_S)
        self.finish(producer, -signal.SIGKILL)

    def test_what_a_killed_producer_sent_is_delivered(self):
        producer = self.start_producer("-v", "a", "b")
        for _ in range(5):
            producer.stderr.readline()
        self.asleep(producer)
        producer.kill()
        self.finish(producer, -signal.SIGKILL)
        self.assertEqual(self.consume(status=PEER)[0], b"a\nb\n")

    def test_consumer_killed_while_the_producer_waits_for_it(self):
        consumer = self.waiting_consumer()
        consumer.send_signal(signal.SIGSTOP)
        producer = self.start_producer("-v", "a")
        for _ in range(3):
            producer.stderr.readline()
        consumer.kill()
        began = time.monotonic()
        self.assertIn(b"the consumer died", self.finish(producer, PEER)[1])
        self.assertLess(time.monotonic() - began, NOTICE_S)
        self.finish(consumer, -signal.SIGKILL)
        self.assertEqual(self.consume(), (b"a\n", b""))

    def test_consumer_killed_while_the_queue_is_full(self):
        consumer = self.waiting_consumer("-c", "4K")
        consumer.send_signal(signal.SIGSTOP)
        with open("/dev/zero", "rb") as zeros:
            producer = self.start_producer("-0", stdin=zeros)
        self.asleep(producer)
        consumer.kill()
        began = time.monotonic()
        self.finish(producer, PEER)
        self.assertLess(time.monotonic() - began, NOTICE_S)
        self.finish(consumer, -signal.SIGKILL)
        self.assertEqual(set(self.consume("-0")[0]), {0})

    def test_both_killed_and_the_next_pair_goes_on(self):
        consumer = self.waiting_consumer()
        consumer.send_signal(signal.SIGSTOP)
        producer = self.start_producer("-v", "a")
        for _ in range(3):
            producer.stderr.readline()
        self.asleep(producer)
        producer.kill()
        consumer.kill()
        self.finish(producer, -signal.SIGKILL)
        self.finish(consumer, -signal.SIGKILL)
        self.put(b"b\n")
        self.assertEqual(self.consume(), (b"a\nb\n", b""))

    def test_consumer_that_leaves_early(self):
        consumer = self.start_consumer("--count", "1", "-c", "4K")
        until(lambda: self.exists(), "the consumer opened the queue")
        err = self.produce(input=b"0123456\n" * 10000, status=PEER)[1]
        self.assertIn(b"the consumer has left", err)
        self.assertEqual(self.finish(consumer, DONE)[0], b"0123456\n")
        self.consume()


class Options(Case):
    def test_keep_serves_one_session_after_another(self):
        for queue in (self.q, self.directory.name + "/queue"):
            for session in range(3):
                consumer = self.start_consumer("--keep", queue=queue)
                self.produce("--keep", "session %d" % session, queue=queue)
                self.assertEqual(self.finish(consumer, DONE)[0], b"session %d\n" % session)
            self.stays(self.object(queue))

    def test_keep_waits_for_the_next_producer(self):
        """An end that one consumer has reported is not reported to the next."""
        self.put(b"a\n", "--keep")
        self.consume()
        consumer = self.waiting_consumer()
        self.produce("b")
        self.assertEqual(self.finish(consumer, DONE)[0], b"b\n")
        self.stays()

    def follow(self, *keep):
        consumer = self.start_consumer("--follow", "--count", "4", *keep)
        for name in (b"first", b"second", b"third", b"fourth"):
            self.assertEqual(self.produce(*keep, name, input=None), (b"", b""))
            self.assertEqual(consumer.stdout.readline(), name + b"\n")
        self.assertEqual(self.finish(consumer, DONE), (b"", b""))

    def test_follow(self):
        self.follow()

    def test_follow_in_a_kept_queue(self):
        self.follow("--keep")
        self.stays()

    def test_follow_ends_by_signal(self):
        consumer = self.start_consumer("--follow", "-v")
        for name in ("a", "b", "c"):
            self.produce(name)
            self.assertEqual(consumer.stdout.readline(), name.encode() + b"\n")
        consumer.send_signal(signal.SIGTERM)
        self.finish(consumer, 128 + signal.SIGTERM)

    def test_follow_survives_a_producer_s_death_and_says_so(self):
        consumer, producer = self.start_consumer("--follow"), self.start_producer()
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        producer.kill()
        self.assertIn(b"the producer died", consumer.stderr.readline())
        self.produce("b")
        self.assertEqual(consumer.stdout.readline(), b"b\n")
        consumer.send_signal(signal.SIGINT)
        self.finish(consumer, 128 + signal.SIGINT)
        self.finish(producer, -signal.SIGKILL)

    def test_follow_many_producers_in_close_succession(self):
        consumer = self.start_consumer("--follow")
        for turn in range(100):
            self.produce("%d" % turn)
        consumer.send_signal(signal.SIGTERM)
        out, err = self.finish(consumer, 128 + signal.SIGTERM)
        self.assertEqual(out, b"".join(b"%d\n" % turn for turn in range(100)))
        self.assertEqual(err, b"")

    def test_count_leaves_the_rest(self):
        self.put(b"a\nb\nc\n")
        self.assertEqual(self.consume("--count", "2"), (b"a\nb\n", b""))
        self.assertEqual(self.consume("--count=1"), (b"c\n", b""))

    def test_no_wait(self):
        self.assertEqual(self.produce("--no-wait", "a", "b"), (b"", b""))
        self.assertEqual(self.consume(), (b"a\nb\n", b""))

    def timed_out(self, process, status=TIMEOUT):
        began = time.monotonic()
        err = self.finish(process, status)[1]
        self.assertIn(b"time ran out", err)
        return time.monotonic() - began

    def test_timeout_of_the_consumer(self):
        waited = self.timed_out(self.start_consumer("-t", "300"))
        self.assertGreater(waited, 0.25)
        self.assertLess(waited, NOTICE_S)
        self.timed_out(self.start_consumer("--timeout=0"))

    def test_timeout_of_the_producer_without_a_consumer(self):
        waited = self.timed_out(self.start_producer("-t", "300", "a"))
        self.assertGreater(waited, 0.25)
        self.assertEqual(self.consume(), (b"a\n", b""))

    def test_timeout_of_the_producer_with_a_full_queue(self):
        with open("/dev/zero", "rb") as zeros:
            self.timed_out(self.start_producer("-t", "100", "-c", "4K", "-0", stdin=zeros))
        self.assertEqual(set(self.consume("-0")[0]), {0})

    def test_timeout_is_for_each_wait(self):
        producer, consumer = self.start_producer(), self.start_consumer("-t", "500")
        for _ in range(4):
            time.sleep(0.2)
            producer.stdin.write(b"a\n")
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), b"a\n")
        self.finish(producer, DONE)
        self.finish(consumer, DONE)

    def test_capacity(self):
        for text, size in (("4096", 4096), ("64K", 65536), ("1M", 2**20), ("5M", 2**23)):
            self.put(b"", "-c", text)
            self.assertEqual(os.stat(self.object()).st_size, 4 * os.sysconf("SC_PAGE_SIZE") + size)
            self.consume()

    def test_mode_is_exact(self):
        for args, mode in (((), 0o600), (("-m", "0600"), 0o600), (("-m", "660"), 0o660), (("--mode=0666",), 0o666)):
            for mask in (0, 0o077):
                old = os.umask(mask)
                try:
                    self.put(b"", *args)
                finally:
                    os.umask(old)
                self.assertEqual(os.stat(self.object()).st_mode & 0o7777, mode)
                self.consume()

    def test_progress_on_a_terminal(self):
        pair = []
        terminal, terminal_end = pty.openpty()
        pair.append(self.start_consumer(stdout=subprocess.DEVNULL, stderr=terminal_end))
        pair.append(self.start_producer())
        os.close(terminal_end)
        shown = self.feed_until_progress(pair[1], terminal)
        self.finish(pair[1], DONE)
        pair[0].wait(LIMIT_S)
        shown += self.drain_terminal(terminal)
        self.assertRegex(shown, rb"\r\d+ messages, [0-9.]+ \w+, \d+ messages/s, [0-9.]+ \w+/s, queue \d+% full")
        self.assertTrue(shown.endswith(b"\r\n"), shown)

    def feed_until_progress(self, producer, terminal):
        os.set_blocking(terminal, False)
        shown = b""
        deadline = time.monotonic() + LIMIT_S
        while b"full" not in shown and time.monotonic() < deadline:
            producer.stdin.write(b"x\n")
            producer.stdin.flush()
            time.sleep(0.01)
            shown += self.drain_terminal(terminal)
        return shown

    def drain_terminal(self, terminal):
        try:
            return os.read(terminal, 65536)
        except OSError:  # nothing there, or the program has closed it
            return b""

    def test_producer_s_progress_on_a_terminal(self):
        terminal, terminal_end = pty.openpty()
        producer = self.start_producer(stderr=terminal_end)
        consumer = self.start_consumer(stdout=subprocess.DEVNULL)
        os.close(terminal_end)
        shown = self.feed_until_progress(producer, terminal)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)
        self.assertTrue((shown + self.drain_terminal(terminal)).endswith(b"full\x1b[K\r\n"), shown)


class Usage(Case):
    def run_alone(self, program, *args):
        done = subprocess.run([program, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S)
        return done.returncode, done.stdout, done.stderr

    def test_help(self):
        for program, own in ((PRODUCER, ["--no-wait"]), (CONSUMER, ["--count", "--follow"])):
            for option in ("-h", "--help"):
                status, out, err = self.run_alone(program, option)
                self.assertEqual((status, err), (DONE, b""))
                for word in own + ["Usage:", "-q, --queue", "-n, --notify", "-c, --capacity", "-m, --mode",
                                   "-t, --timeout", "-0, --null", "--keep", "--many", "--checksum",
                                   "-v, --verbose", "-h, --help",
                                   "-V, --version", "Exit status", "128+N", "Examples"]:
                    self.assertIn(word.encode(), out)
                for kind in (b"sem", b"named", b"cond", b"fifo", b"signal", b"lock", b"spin"):
                    self.assertRegex(out, rb"\n  %s +\w" % kind)
                self.assertLess(max(map(len, out.split(b"\n"))), 80)

    def test_version(self):
        for program, name in ((PRODUCER, "producer"), (CONSUMER, "consumer")):
            for option in ("-V", "--version"):
                status, out, err = self.run_alone(program, option)
                self.assertEqual((status, err), (DONE, b""))
                self.assertRegex(out.decode(), r"\A%s \(shmq\) \d+\.\d+\.\d+\n\Z" % name)

    def test_wrong_usage(self):
        wrong = [["-x"], ["--bogus"], ["--keep=1"], ["-q"], ["--queue"], ["-q", "name"], ["-n", "smoke"], ["-c", "0"],
                 ["-c", ""], ["-c", "K"], ["-c", "1X"], ["-c", "1KB"], ["-c", "-1"], ["-c", " 1"], ["-c", "+1"],
                 ["-c", "17179869184G"], ["-c", "18446744073709551616"], ["-m", "0640"], ["-m", "0777"], ["-m", "0"],
                 ["-m", "8"], ["-m", "rw"], ["-t", "-1"], ["-t", "x"], ["-t", "2147483648"], ["-vx"], ["--no"]]
        for args in wrong:
            for program, other in ((PRODUCER, ["--follow"]), (CONSUMER, ["--no-wait"])):
                status, out, err = self.run_alone(program, "-q", self.q, *args)
                self.assertEqual((status, out), (USAGE, b""), args)
                self.assertRegex(err.decode(), r"\A(producer|consumer): .+\nUsage: .+\nTry '.+ --help'\.\n\Z")
        for args in ((PRODUCER, "--follow"), (PRODUCER, "--count", "1"), (CONSUMER, "--no-wait"),
                     (CONSUMER, "--count", "0"), (CONSUMER, "--count", "x"), (CONSUMER, "message")):
            self.assertEqual(self.run_alone(*args, "-q", self.q)[:2], (USAGE, b""), args)
        self.assertEqual(self.leftovers(), [])

    def test_impossible_capacity(self):
        for capacity in ("9223372036854775808", "4G" if os.sysconf("SC_PAGE_SIZE") == 0 else "16777215G"):
            status, out, err = self.run_alone(PRODUCER, "-q", self.q, "-c", capacity, "x")
            self.assertIn(status, (FAILURE, USAGE))  # no space, or no number that could be mapped
            self.assertIn(self.q.encode(), err)


class SlowCreation(Case):
    """strace holds a program between building its queue and naming it."""

    def test_both_create_and_the_slower_one_attaches(self):
        strace = shutil.which("strace")
        if not strace or SLOW_BUILD:  # the sanitizers' own tools do not work under ptrace
            self.skipTest("needs strace and a plain build")
        producer = subprocess.Popen(
            [strace, "-qq", "-o", "/dev/null", "-e", "inject=linkat:delay_enter=1200000", PRODUCER, "-q", self.q, "a"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(producer)
        time.sleep(0.2)  # a head start; whoever is first, both must succeed
        self.assertEqual(self.consume(), (b"a\n", b""))
        self.assertEqual(self.finish(producer, DONE), (b"", b""))


class Failures(Case):
    def refused(self, *words, queue=None, status=FAILURE):
        for program in (PRODUCER, CONSUMER):
            process = self.start(program, queue=queue, stdin=subprocess.DEVNULL)
            out, err = self.finish(process, status)
            self.assertEqual(out, b"")
            self.assertEqual(err.count(b"\n"), 1)
            for word in words + ((queue or self.q),):
                self.assertIn(word.encode(), err)

    def test_end_is_taken(self):
        consumer = self.waiting_consumer()
        err = self.consume(status=FAILURE)[1]
        self.assertIn(b"another consumer", err)
        producer = self.start_producer("-v")
        producer.stderr.readline()
        err = self.produce("x", status=FAILURE)[1]
        self.assertIn(b"another producer", err)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)

    def test_something_else_is_there(self):
        with open(self.object(), "wb") as file:
            file.write(b"not a queue" * 10000)
        self.refused("not a queue")
        with open(self.object(), "rb") as file:
            self.assertEqual(file.read(), b"not a queue" * 10000)
        self.stays()

    def test_symbolic_link(self):
        path = self.directory.name + "/link"
        os.symlink(self.directory.name + "/target", path)
        self.refused("symbolic link", queue=path)
        self.stays(path)

    def test_no_such_directory(self):
        self.refused("directory does not exist", queue=self.directory.name + "/none/queue")

    def test_name_too_long(self):
        self.refused("too long", queue=self.q + "x" * 300)

    def test_name_that_cannot_be(self):
        self.refused("", queue="/", status=USAGE)

    def test_standard_output_full(self):
        with open("/dev/full", "wb") as full:
            self.put(b"a\nb\n")
            err = self.consume(stdout=full, status=FAILURE)[1]
            self.assertIn(b"cannot write standard output: No space left on device", err)
            for program in (PRODUCER, CONSUMER):
                for option in ("--help", "--version"):
                    self.finish(self.start(program, option, stdout=full), FAILURE)
        self.assertEqual(self.consume(), (b"a\nb\n", b""))  # nothing was lost

    def test_reader_of_standard_output_has_gone(self):
        read_end, write_end = os.pipe()
        os.close(read_end)
        self.put(b"a\nb\n")
        consumer = self.start_consumer(stdout=write_end)
        os.close(write_end)
        self.assertEqual(self.finish(consumer, 128 + signal.SIGPIPE)[1], b"")
        self.assertEqual(self.consume(), (b"a\nb\n", b""))

    def test_closed_standard_streams(self):
        """The queue must not get the number of a standard stream, or messages would be written over it."""
        self.put(b"a\n")
        err = self.consume(status=FAILURE, stdout=None, preexec_fn=lambda: os.close(1))[1]
        self.assertIn(b"cannot write standard output", err)
        err = self.produce("--no-wait", input=None, status=FAILURE, preexec_fn=lambda: os.close(0))[1]
        self.assertIn(b"cannot read standard input", err)
        self.finish(self.start_consumer(stderr=None, preexec_fn=lambda: os.close(2)), DONE)

    def test_standard_input_is_a_directory(self):
        directory = os.open(self.directory.name, os.O_RDONLY)
        err = self.produce(stdin=directory, input=None, status=FAILURE)[1]
        os.close(directory)
        self.assertIn(b"cannot read standard input", err)
        self.consume()

    def test_damaged(self):
        consumer, producer = self.waiting_consumer(), self.start_producer()
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        page = os.sysconf("SC_PAGE_SIZE")
        with open(self.object(), "r+b", buffering=0) as file:
            file.seek(page)  # the producer's
            file.write(b"\xa5" * page)
        self.assertIn(b"damaged or gone", self.finish(consumer, DAMAGE)[1])
        producer.send_signal(signal.SIGTERM)
        producer.wait(LIMIT_S)
        self.assertIn(producer.returncode, (DAMAGE, 128 + signal.SIGTERM))
        self.stays()


if __name__ == "__main__":
    main()
