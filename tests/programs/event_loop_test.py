"""examples/event_loop.c: two queues and a timer in one loop. harness.py says how to run this.
"""

import os
import signal
import subprocess
import time

from harness import DONE, EVENT_LOOP, FAILURE, LIMIT_S, NOTICE_S, SLOW_BUILD, Case, main, until

IDLE_MS = 20  # of processor time in two seconds; a loop that spins uses 2000


class EventLoop(Case):
    def setUp(self):
        super().setUp()
        self.queues = [self.q + "-left", self.q + "-right"]

    def start_loop(self, stdout=subprocess.PIPE, waits=True):
        loop = subprocess.Popen([EVENT_LOOP, *self.queues], stdin=subprocess.DEVNULL, stdout=stdout,
                                stderr=subprocess.PIPE)
        self.running.append(loop)
        for queue in self.queues if waits else ():
            # A queue has its name before its doorbells have theirs.
            until(lambda: self.exists(queue) and len(self.doorbells(queue)) == 2, "the loop opened its queues")
        return loop

    def start_producers(self):
        return [self.start_producer("-n", "fifo", queue=queue) for queue in self.queues]

    def send(self, loop, producer, queue, line=b"x"):
        """One message, and it comes out."""
        producer.stdin.write(line + b"\n")
        producer.stdin.flush()
        self.assertEqual(loop.stdout.readline(), queue.encode() + b": " + line + b"\n")

    def say(self, loop, *parts):
        """Reads what the loop says until a line has all these parts; its ticks go by."""
        while True:
            line = loop.stderr.readline()
            self.assertTrue(line, "the loop ended before it said %r" % (parts,))
            if all(part.encode() in line for part in parts):
                return line

    def is_idle(self, loop, what):
        """For two seconds it ticks, and does nothing else."""
        before, began = self.processor_ms(loop), time.monotonic()
        while time.monotonic() < began + 2:
            self.assertIn(b": tick: ", loop.stderr.readline())
        used_ms = self.processor_ms(loop) - before
        print("%s, idle: %.1f ms of processor time" % (what, used_ms))
        if not SLOW_BUILD:
            self.assertLess(used_ms, IDLE_MS)

    def test_everything_of_both_arrives_in_order(self):
        path = os.path.join(self.directory.name, "out.input")
        with open(path, "wb") as file:
            loop = self.start_loop(stdout=file)
        numbers = [b"%d" % i for i in range(100000)]
        producers = self.start_producers()
        for producer in producers:
            producer.stdin.write(b"\n".join(numbers) + b"\n")
            producer.stdin.flush()
        for producer in producers:
            self.finish(producer, DONE)
        err = self.finish(loop, DONE)[1]
        for queue in self.queues:
            self.assertIn(queue.encode() + b": the producer is done\n", err)
        with open(path, "rb") as file:
            lines = [line.split(b": ") for line in file.read().splitlines()]
        for queue in self.queues:
            self.assertEqual([line for name, line in lines if name == queue.encode()], numbers)

    def test_producers_that_come_first(self):
        producers = [self.start_producer("-n", "fifo", "a", queue=queue) for queue in self.queues]
        for queue in self.queues:
            until(lambda: self.exists(queue), "the producers opened their queues")
        # With both there it may be done, and its queues gone, before anybody could look.
        out = self.finish(self.start_loop(waits=False), DONE)[0]
        self.assertEqual(sorted(out.decode().splitlines()), [queue + ": a" for queue in self.queues])
        for producer in producers:
            self.finish(producer, DONE)

    def test_the_timer_ticks_and_nothing_spins(self):
        loop = self.start_loop()
        self.is_idle(loop, "before anybody came")
        producers = self.start_producers()
        for _ in range(2):
            for producer, queue in zip(producers, self.queues):
                self.send(loop, producer, queue)
        self.say(loop, "tick", self.queues[0] + " 2", self.queues[1] + " 2")
        self.is_idle(loop, "with both producers")
        self.finish(producers[0], DONE)
        self.say(loop, self.queues[0], "the producer is done")
        self.is_idle(loop, "with one that is done")
        self.send(loop, producers[1], self.queues[1])
        self.finish(producers[1], DONE)
        self.finish(loop, DONE)

    def test_a_killed_producer_is_reported_and_the_other_goes_on(self):
        loop, producers = self.start_loop(), self.start_producers()
        for producer, queue in zip(producers, self.queues):
            self.send(loop, producer, queue)
        producers[0].kill()
        began = time.monotonic()
        self.say(loop, self.queues[0], "the producer died")
        self.assertLess(time.monotonic() - began, NOTICE_S)
        self.is_idle(loop, "with one that died")
        self.send(loop, producers[1], self.queues[1])
        self.finish(producers[1], DONE)
        self.finish(loop, DONE)
        self.finish(producers[0], -signal.SIGKILL)

    def test_a_stream_does_not_starve_the_others(self):
        loop = self.start_loop(stdout=subprocess.DEVNULL)
        with open("/dev/zero", "rb") as zeros:
            streaming = self.start_producer("-0", queue=self.queues[0], stdin=zeros)
        self.produce("x", queue=self.queues[1])
        self.say(loop, self.queues[1], "the producer is done")
        for _ in range(2):
            self.say(loop, "tick")
        streaming.send_signal(signal.SIGTERM)
        self.finish(streaming, 128 + signal.SIGTERM)
        self.finish(loop, DONE)

    def test_ends_by_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop, producers = self.start_loop(), self.start_producers()
            for producer, queue in zip(producers, self.queues):
                self.send(loop, producer, queue)
            loop.send_signal(number)
            began = time.monotonic()
            loop.wait(LIMIT_S)
            self.assertLess(time.monotonic() - began, 1)
            self.assertEqual(loop.returncode, 0)
            for producer in producers:
                self.finish(producer, DONE)

    def test_a_queue_with_another_notifier_is_refused(self):
        self.put(b"a\n", queue=self.queues[1])
        loop = subprocess.Popen([EVENT_LOOP, *self.queues], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.running.append(loop)
        err = self.finish(loop, FAILURE)[1]
        self.assertIn(self.queues[1].encode(), err)
        self.assertIn(b"not supported", err)
        self.assertFalse(self.exists(self.queues[0]))
        self.assertEqual(self.consume(queue=self.queues[1]), (b"a\n", b""))


if __name__ == "__main__":
    main()
