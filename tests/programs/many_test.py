"""--many: several producers and several consumers of one queue. harness.py says how to run this.
"""

import os
import signal
import struct

from harness import DONE, FAILURE, LACKING, SLOW_BUILD, Case, main, until

MESSAGES = 5000 if SLOW_BUILD else 30000  # of each producer
NOTIFIERS = tuple(kind for kind in ("sem", "named", "fifo", "lock", "signal", "spin") if kind not in LACKING)


class Many(Case):
    def input(self, who, messages=MESSAGES):
        path = os.path.join(self.directory.name, "%d.input" % who)
        with open(path, "wb") as file:
            file.write(b"".join(b"%d %d\n" % (who, i) for i in range(messages)))
        return path

    def start_consumers(self, number, *args):
        outs = []
        for who in range(number):
            path = os.path.join(self.directory.name, "out%d.input" % who)
            with open(path, "wb") as file:
                outs.append((self.start_consumer("--many", *args, stdout=file), path))
        # Who comes only after the producers have gone is told of no end: it waits for the next ones.
        until(lambda: self.consumers() == number, "all consumers opened the queue")
        return outs

    def consumers(self):
        """How many have it open: their lives in the object, of which an odd one is going on."""
        if not self.exists():
            return 0
        with open(self.object(), "rb") as file:
            file.seek(2 * os.sysconf("SC_PAGE_SIZE") + 0x280)
            return sum(life % 2 for life in struct.unpack("=64Q", file.read(64 * 8)))

    def received(self, outs, status=DONE):
        """The lines of each consumer."""
        lines = []
        for consumer, path in outs:
            self.assertEqual(self.finish(consumer, status)[1], b"")
            with open(path, "rb") as file:
                lines.append(file.read().splitlines())
        return lines

    def each_exactly_once_and_in_order(self, lines, producers, messages=MESSAGES):
        wanted = sorted(b"%d %d" % (who, i) for who in range(producers) for i in range(messages))
        self.assertEqual(sorted(line for part in lines for line in part), wanted)
        for part in lines:  # of one producer, one consumer gets what it gets in order
            for who in range(producers):
                own = [int(line.split()[1]) for line in part if line.split()[0] == b"%d" % who]
                self.assertEqual(own, sorted(own))

    def bytes_out(self, outs):
        return sum(os.path.getsize(path) for _, path in outs)

    def stream(self, producers, consumers, *args, messages=MESSAGES):
        """All producers are there before the first of them ends, or a consumer would take that for the end."""
        outs = self.start_consumers(consumers, *args)
        running = [self.start_producer("--many", *args) for _ in range(producers)]
        for who, producer in enumerate(running):
            producer.stdin.write(b"%d 0\n" % who)
            producer.stdin.flush()
        until(lambda: self.bytes_out(outs) == 4 * producers, "all producers are there")
        for who, producer in enumerate(running):
            with open(self.input(who, messages), "rb") as file:
                producer.stdin.write(file.read().partition(b"\n")[2])
                producer.stdin.flush()
        for producer in running:
            self.finish(producer, DONE)
        self.each_exactly_once_and_in_order(self.received(outs), producers, messages)
        self.assertFalse(self.exists())

    def test_each_message_once(self):
        self.stream(3, 3)

    def test_many_to_one_and_one_to_many(self):
        self.stream(4, 1)
        self.stream(1, 4)

    def test_with_each_notifier(self):
        for kind in NOTIFIERS:
            with self.subTest(notifier=kind):
                self.stream(2, 2, "-n", kind, messages=2000)

    def test_with_checksums_and_little_room(self):
        self.stream(2, 2, "--checksum", "-c", "4K", messages=2000)

    def test_one_that_is_killed_stops_nobody(self):
        outs = self.start_consumers(2, "--keep")
        idle, busy = self.start_producer("--many"), self.start_producer("--many")
        for producer in (idle, busy):
            producer.stdin.write(b"%d 0\n" % (producer is busy))
            producer.stdin.flush()
        until(lambda: self.bytes_out(outs) == 8, "both producers are there")
        idle.kill()
        self.finish(idle, -signal.SIGKILL)
        busy.stdin.write(b"".join(b"1 %d\n" % i for i in range(1, MESSAGES)))
        self.finish(busy, DONE)
        lines = []
        for consumer, path in outs:  # the last to leave closed: that is what they hear, or that one died
            consumer.wait(30)
            with open(path, "rb") as file:
                lines += file.read().splitlines()
        got = sorted(line for line in lines if line != b"0 0")
        self.assertEqual(got, sorted(b"1 %d" % i for i in range(MESSAGES)))
        self.stays()

    def test_one_that_waits_for_the_end_lets_others_send(self):
        outs = [self.start_producer("--many", "a")]
        until(lambda: self.exists(), "the first producer opened the queue")
        self.asleep(outs[0])
        for turn in range(3):
            self.assertEqual(self.produce("--no-wait", "-t", "5000", "b%d" % turn), (b"", b""))
        self.assertEqual(self.consume("--count", "4")[0], b"a\nb0\nb1\nb2\n")
        self.finish(outs[0], DONE)

    def test_all_places_are_taken(self):
        if SLOW_BUILD:
            self.skipTest("65 processes of a sanitizer")
        first = self.waiting_consumer("--many")
        others = [self.start_consumer("-v") for _ in range(63)]
        for consumer in others:
            self.assertEqual(consumer.stderr.readline(), b"Consumer: Opened the queue.\n")
        self.assertIn(b"all 64 places for consumers are taken", self.consume(status=FAILURE)[1])
        for consumer in [first] + others:
            consumer.send_signal(signal.SIGTERM)
        for consumer in [first] + others:
            self.finish(consumer, 128 + signal.SIGTERM)

    def test_a_queue_without_many_says_so(self):
        consumer = self.waiting_consumer()
        err = self.consume("--many", status=FAILURE)[1]
        self.assertIn(b"another consumer has it open", err)
        self.assertIn(b"was not created with --many", err)
        self.produce("a")
        self.finish(consumer, DONE)


if __name__ == "__main__":
    main()
