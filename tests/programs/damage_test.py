"""What others do to the object under the programs: truncation, and bytes that they change. harness.py says how to run
this.
"""

import os
import random
import struct

from harness import DAMAGE, DONE, LIMIT_S, PEER, SEED, Case, main

PAGE = os.sysconf("SC_PAGE_SIZE")
RING = 4 * PAGE


class Truncation(Case):
    def truncate(self, size, *args):
        """Under both programs, one after the other."""
        consumer, producer = self.start_consumer(*args), self.start_producer(*args)
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        self.assertEqual(consumer.stdout.readline(), b"a\n")
        self.doorbells()
        os.truncate(self.object(), size)
        try:
            producer.stdin.write(b"b\n" * 100000)  # runs through all of the ring
        except BrokenPipeError:
            pass
        for process in (producer, consumer):
            err = process.communicate(timeout=LIMIT_S)[1]
            self.assertIn(process.returncode, (DAMAGE, PEER), err)
            self.assertEqual(err.count(b"\n"), 1, err)
            self.assertIn(b"queue " + self.q.encode(), err)
        self.assertIn(DAMAGE, (producer.returncode, consumer.returncode))
        for path in self.leftovers():
            os.unlink(path)

    def test_truncated_to_every_part(self):
        for size in (0, 20, PAGE, 2 * PAGE, 3 * PAGE, RING, RING + PAGE, RING + 8 * PAGE):
            with self.subTest(size=size):
                self.truncate(size)

    def test_truncated_with_other_flags_and_notifiers(self):
        for args in (("--many",), ("--checksum",), ("-n", "fifo"), ("-n", "lock"), ("-n", "spin"), ("-n", "named")):
            for size in (0, RING):
                with self.subTest(args=args, size=size):
                    self.truncate(size, *args)

    def test_truncated_while_both_sleep(self):
        for size in (0, PAGE):
            consumer, producer = self.start_consumer(), self.start_producer()
            producer.stdin.write(b"a\n")
            producer.stdin.flush()
            self.assertEqual(consumer.stdout.readline(), b"a\n")
            self.asleep(consumer)
            os.truncate(self.object(), size)
            err = self.finish(consumer, DAMAGE)[1]
            self.assertIn(b"somebody has truncated it", err)
            producer.communicate(b"", timeout=LIMIT_S)
            self.assertIn(producer.returncode, (DAMAGE, PEER))
            for path in self.leftovers():
                os.unlink(path)

    def test_opening_what_was_truncated(self):
        for size in (20, PAGE, RING + PAGE):
            self.put(b"a\n")
            os.truncate(self.object(), size)
            self.assertEqual(self.consume(status=1)[1].count(b"\n"), 1)
            self.stays()


class Checksum(Case):
    def flip(self, at):
        with open(self.object(), "r+b", buffering=0) as file:
            file.seek(RING + at)
            byte = file.read(1)[0]
            file.seek(RING + at)
            file.write(bytes([byte ^ 1 << random.Random(SEED).randrange(8)]))

    def test_a_stream_with_checksums(self):
        lines = b"".join(b"%d\n" % i for i in range(50000))
        with open(self.directory.name + "/out.input", "wb") as file:
            consumer = self.start_consumer("--checksum", stdout=file)
        self.produce("--checksum", input=lines)
        self.finish(consumer, DONE)
        with open(self.directory.name + "/out.input", "rb") as file:
            self.assertEqual(file.read(), lines)

    def test_a_flipped_bit_is_reported_and_not_delivered(self):
        first = 16 + 8  # the record of "first": two words, and five bytes padded to eight
        for at in (first, first + 4, first + 8, first + 15, first + 16, first + 16 + 5):  # length, tag, checksum, bytes
            with self.subTest(at=at):
                self.put(b"first\nsecond\nthird\n", "--checksum")
                self.flip(at)
                out, err = self.consume(status=DAMAGE)
                self.assertEqual(out, b"first\n")
                self.assertIn(b"damaged", err)
                self.assertIn(b"shmqctl check", err)
                self.stays()

    def test_without_checksums_the_payload_is_believed(self):
        self.put(b"first\nsecond\n")
        self.flip(16 + 8)
        self.assertEqual(self.consume()[0].count(b"\n"), 2)

    def test_attaching_needs_no_flag(self):
        self.put(b"a\n", "--checksum")
        with open(self.object(), "rb") as file:
            self.assertEqual(struct.unpack_from("=I", file.read(0x38), 0x34)[0] & 8, 8)
        self.assertEqual(self.consume(), (b"a\n", b""))


if __name__ == "__main__":
    main()
