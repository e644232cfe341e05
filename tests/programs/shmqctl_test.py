"""shmqctl: what it says of queues in every state, and that it disturbs none. harness.py says how to run this.
"""

import fcntl
import hashlib
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time

from harness import DONE, FAILURE, LIMIT_S, PRODUCER, SEED, SHMQCTL, SLOW_BUILD, USAGE, Case, main, until

PAGE = os.sysconf("SC_PAGE_SIZE")
HEADER, TAIL, HEAD, RING = 0, PAGE, 2 * PAGE, 4 * PAGE  # where they lie: src/layout.h
LOCK = 0x180
FLIP = object()
NOBODY = 65534
COLUMNS = 80


class Ctl(Case):
    def ctl(self, *args, status=DONE, **more):
        done = subprocess.run([SHMQCTL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=LIMIT_S, **more)
        self.assertEqual(done.returncode, status, (args, done.stdout, done.stderr))
        return done.stdout.decode("ascii"), done.stderr.decode("ascii")

    def json(self, *args, status=DONE, **more):
        out, err = self.ctl("--json", *args, status=status, **more)
        self.assertEqual(err, "")
        return json.loads(out)

    def codes(self, name=None):
        """What check finds; text and JSON agree. Problems, and notes."""
        name = name or self.q
        found = self.json("check", name, status=self.status_of("check", name))
        problems = {finding["code"] for finding in found["findings"] if finding["problem"]}
        notes = {finding["code"] for finding in found["findings"] if not finding["problem"]}
        self.assertEqual(found["ok"], not problems)
        out = self.ctl("check", name, status=FAILURE if problems else DONE)[0]
        self.assertEqual(out.count("problem: "), len(problems))
        self.assertLess(max(map(len, out.split("\n"))), COLUMNS)
        return problems, notes

    def status_of(self, *args):
        return subprocess.run([SHMQCTL, *args], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=LIMIT_S).returncode

    def poke(self, at, data, name=None):
        """Writes data there; FLIP: another byte than stands there, which may be anything."""
        with open(self.object(name), "r+b", buffering=0) as file:
            file.seek(at)
            if data is FLIP:
                data = bytes([file.read(1)[0] ^ 0xFF])
                file.seek(at)
            file.write(data)

    def word(self, at):
        with open(self.object(), "rb") as file:
            file.seek(at)
            return struct.unpack("=Q", file.read(8))[0]


class States(Ctl):
    def test_nothing_there(self):
        self.assertEqual(self.codes(), ({"not-found"}, set()))
        self.assertIn("no such queue", self.ctl("stat", self.q, status=FAILURE)[0])
        self.ctl("rm", self.q, status=FAILURE)

    def test_messages_left_by_one_that_closed(self):
        self.put(b"a\nb\nc\n")
        self.assertEqual(self.codes(), ({"messages-left"}, set()))
        self.assertIn("nobody is here, and 3 messages wait", self.ctl("check", self.q, status=FAILURE)[0])
        found = self.json("stat", self.q)
        self.assertEqual((found["sent"], found["received"], found["waiting"], found["state"]), (3, 0, 3, "left"))
        self.assertEqual(found["findings"][0]["remedy"], "consumer -q " + self.q)
        self.consume()

    def test_idle(self):
        self.put(b"a\n", "--keep", "-n", "lock", "-m", "0660", "-c", "64K")
        self.consume()
        self.assertEqual(self.codes(), (set(), {"nobody-here"}))
        found = self.json("stat", self.q)
        self.assertEqual((found["state"], found["notify"], found["mode"]), ("idle", "lock", "0660"))
        self.assertEqual((found["capacity"], found["used"], found["bytes"]), (65536, 0, RING + 65536))
        self.assertEqual(set(found["flags"].values()), {False})
        self.assertEqual(found["producers"]["slots"][0]["state"], "closed")
        self.stays()

    def test_in_use(self):
        consumer, producer = self.waiting_consumer(), self.start_producer("--many", "--checksum")
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        consumer.stdout.readline()
        found = self.json("stat", self.q)
        self.assertEqual((found["state"], found["producers"]["alive"], found["consumers"]["alive"]), ("in use", 1, 1))
        self.assertEqual(found["producers"]["slots"][0]["pid"], producer.pid)
        self.assertEqual(found["consumers"]["slots"][0]["pid"], consumer.pid)
        self.assertEqual(found["consumers"]["slots"][0]["command"], "consumer")
        self.assertEqual(self.codes(), (set(), set()))
        out, err = self.ctl("rm", self.q, status=FAILURE)
        self.assertEqual(out, "")
        self.assertIn("in use", err)
        self.assertIn("process %d, producer: a producer of it" % producer.pid, err)
        self.assertIn("process %d, consumer: a consumer of it" % consumer.pid, err)
        self.assertTrue(self.exists())
        self.ctl("rm", "--force", self.q)
        self.assertFalse(self.exists())
        producer.stdin.write(b"b\n")
        producer.stdin.flush()
        self.assertIn(b"Received", b"".join(consumer.stderr.readline() for _ in range(3)))
        self.assertEqual(consumer.stdout.readline(), b"b\n")
        self.finish(producer, DONE)
        self.finish(consumer, DONE)

    def test_one_side_alone(self):
        consumer = self.waiting_consumer()
        self.assertEqual(self.json("stat", self.q)["state"], "receiving")
        self.assertEqual(self.codes(), (set(), set()))
        self.stop(consumer, signal.SIGTERM)
        producer = self.start_producer("-v", "a")
        for _ in range(3):
            producer.stderr.readline()
        self.asleep(producer)
        self.assertEqual(self.json("stat", self.q)["state"], "sending")
        self.assertEqual(self.codes(), (set(), {"no-consumer"}))
        self.consume()
        self.finish(producer, DONE)

    def test_killed_ends(self):
        consumer = self.start_consumer("--keep")
        until(lambda: self.exists(), "the consumer made the queue")
        producer = self.start_producer()
        producer.stdin.write(b"a\n")
        producer.stdin.flush()
        consumer.stdout.readline()
        producer.kill()
        self.finish(producer, -signal.SIGKILL)
        self.finish(consumer, 4)
        self.assertEqual(self.codes(), (set(), {"nobody-here", "producer-died"}))  # who was told
        producer = self.start_producer("b")
        until(lambda: self.json("stat", self.q)["waiting"] == 1, "the message is sent")
        producer.kill()
        self.finish(producer, -signal.SIGKILL)
        self.assertEqual(self.codes(), ({"messages-left", "producer-died"}, set()))
        self.assertEqual(self.json("stat", self.q)["producers"]["slots"][0]["state"], "died")
        self.consume(status=4)
        consumer = self.waiting_consumer()
        consumer.kill()
        self.finish(consumer, -signal.SIGKILL)
        self.assertIn("consumer-died", self.codes()[0])
        self.stays()

    def test_many(self):
        producers = [self.start_producer("--many", "-v") for _ in range(3)]
        for producer in producers:
            producer.stderr.readline()
        found = self.json("stat", self.q)
        self.assertEqual({slot["pid"] for slot in found["producers"]["slots"]}, {p.pid for p in producers})
        producers[1].kill()
        self.finish(producers[1], -signal.SIGKILL)
        dead = next(slot["slot"] for slot in found["producers"]["slots"] if slot["pid"] == producers[1].pid)
        self.assertEqual(self.codes(), (set(), {"producer-died"}))  # others are there
        self.poke(TAIL + LOCK, struct.pack("=Q", dead + 1))
        self.assertEqual(self.codes(), (set(), {"producer-died", "lock-of-the-dead"}))
        producers[0].stdin.write(b"a\n")  # takes it over
        producers[0].stdin.flush()
        until(lambda: self.json("stat", self.q)["sent"] == 1, "a message was sent")
        self.assertEqual(self.codes(), (set(), {"producer-died", "no-consumer"}))
        consumer = self.start_consumer()
        for producer in (producers[0], producers[2]):
            self.finish(producer, DONE)
        consumer.wait(LIMIT_S)
        self.poke_lock_of_nobody()

    def poke_lock_of_nobody(self):
        self.put(b"a\n", "--many", queue=self.q + "-lock")
        self.poke(HEAD + LOCK, struct.pack("=Q", 200), self.q + "-lock")
        self.assertIn("damaged-lock", self.codes(self.q + "-lock")[0])
        self.ctl("rm", self.q + "-lock")

    def test_life_cycle_held(self):
        self.put(b"a\n")
        with open(self.object(), "r+b") as file:
            for kind in (fcntl.F_WRLCK, fcntl.F_RDLCK):
                fcntl.fcntl(file, 37, struct.pack("@hhqqi4x", kind, os.SEEK_SET, 0, 1, 0))  # F_OFD_SETLK
                self.assertEqual(self.codes()[0], {"messages-left", "life-cycle-held"})
            found = self.json("check", self.q, status=FAILURE)["findings"]
            self.assertIn("kill -CONT %d" % os.getpid(), [finding["remedy"] for finding in found])
            self.assertIn("over a second", self.ctl("rm", self.q, status=FAILURE)[1])
        self.ctl("rm", self.q)

    def test_locks_alone_do_not_count_as_ours(self):
        """Reading with shmqctl takes no lease: whoever opens meanwhile is not kept out."""
        self.put(b"a\n")
        with open(self.object(), "r+b") as file:
            for _ in range(20):
                self.codes()
                fcntl.fcntl(file, 37, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 256, 0))
                fcntl.fcntl(file, 37, struct.pack("@hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 256, 0))
        self.consume()


class Damage(Ctl):
    def damaged(self, code, *pokes, size=None, args=()):
        self.put(b"first\nsecond\nthird\n", *args)
        for at, data in pokes:
            self.poke(at, data)
        if size is not None:
            os.truncate(self.object(), size)
        problems = self.codes()[0]
        self.assertIn(code, problems)
        out = self.ctl("ls")[0]
        self.assertEqual(self.q in out.replace("\n", " "), code != "not-a-queue")
        for name in ("stat", "check"):
            self.json(name, self.q, status=self.status_of(name, self.q))
        if code == "not-a-queue":
            self.ctl("rm", self.q, status=FAILURE)
            os.unlink(self.object())
        else:
            self.ctl("rm", self.q)
        return problems

    def test_headers(self):
        self.damaged("not-a-queue", (0, b"x"))
        self.damaged("other-version", (8, struct.pack("=I", 99)))
        self.damaged("other-page-size", (0xc, struct.pack("=I", 65536)))
        self.damaged("damaged-header", (0x10, struct.pack("=Q", 5)))
        self.damaged("damaged-header", (0x18, struct.pack("=Q", 2**63)))
        self.damaged("damaged-header", (0x20, struct.pack("=Q", 0)))
        self.damaged("damaged-header", (0x30, struct.pack("=I", 77)))
        self.damaged("damaged-header", (0x34, struct.pack("=I", 64)))
        self.damaged("other-libc", (0x38, struct.pack("=Q", 1)), args=("-n", "named"))

    def test_sizes(self):
        self.damaged("not-a-queue", size=0)
        self.damaged("truncated", size=20)
        self.damaged("truncated", size=PAGE)
        self.damaged("truncated", size=RING + 100)
        self.damaged("wrong-size", size=2**21)

    def test_cursors(self):
        for tail, head in ((4, 0), (2**21, 0), (0, 8), (2**64 - 8, 0), (0, 2**63), (2**40, 2**41)):
            self.damaged("damaged-cursors", (TAIL, struct.pack("=Q", tail)), (HEAD, struct.pack("=Q", head)))

    def test_records(self):
        self.damaged("damaged-record", (RING, b"\0" * 8))
        self.damaged("damaged-record", (RING, struct.pack("=I", 2**32 - 1)))
        self.damaged("damaged-record", (RING + 20, FLIP))
        self.damaged("damaged-record", (TAIL, struct.pack("=Q", 2**20)))  # claims more than was written
        self.damaged("damaged-record", (RING, struct.pack("=I", 100)))    # reaches into the next, and beyond
        for at in (24 + 8, 24 + 16):
            self.damaged("wrong-checksum", (RING + at, FLIP), args=("--checksum",))

    def test_the_place_of_a_damage_is_told(self):
        self.put(b"first\nsecond\nthird\n")
        self.poke(RING + 20, FLIP)
        self.assertIn("message 2 of those that wait, at byte 16,", " ".join(
            self.ctl("check", self.q, status=FAILURE)[0].split()))
        self.assertEqual(self.json("check", self.q, status=FAILURE)["messages_checked"], 1)
        self.stays()

    def test_records_around_the_end_of_the_ring(self):
        for args in (("-c", "4K"), ("-c", "4K", "--checksum")):
            self.put(b"x" * 700 + b"\n", "--keep", *args)
            self.consume()
            for _ in range(8):
                self.put(b"".join(b"%c" % (65 + n) * 650 + b"\n" for n in range(5)))
                self.assertEqual(self.codes()[0], {"messages-left"})
                self.assertEqual(self.json("check", self.q, status=FAILURE)["messages_checked"], 5)
                self.consume()
            self.stays()

    def test_hostile_objects(self):
        """Random bytes in every place: an answer, and never a crash or a hang."""
        chance = random.Random(SEED)
        self.put(b"first\nsecond\nthird\n", "-c", "4K", "--checksum", "--many")
        with open(self.object(), "rb") as file:
            good = file.read()
        extremes = [b"\xff" * 8, b"\0" * 8, struct.pack("=Q", 2**63), struct.pack("=Q", 2**32 - 1)]
        for turn in range(60 if SLOW_BUILD else 300):
            data = bytearray(good)
            for _ in range(chance.randrange(1, 5)):
                place = chance.choice((range(8, 64), range(TAIL, TAIL + 0x680), range(HEAD, HEAD + 0x680),
                                       range(RING, len(data) - 8)))
                at = chance.choice(place) & ~7
                data[at:at + 8] = chance.choice(extremes + [chance.randbytes(8)])
            if turn % 10 == 0:
                data = bytearray(good[:8] + chance.randbytes(len(good) - 8))
            with open(self.object(), "r+b") as file:
                file.write(data[:len(good)])
            began = time.monotonic()
            for command in ("check", "stat"):
                self.assertIn(self.status_of(command, "--json", self.q), (DONE, FAILURE), data[:64].hex())
            self.assertLess(time.monotonic() - began, 12)
        self.stays()

    def test_a_huge_sparse_queue(self):
        """Everything fits together, and it has a TiB of zeros."""
        path = self.directory.name + "/huge"
        self.put(b"a\n", queue=path)
        capacity = 2**40
        self.poke(0x10, struct.pack("=QQ", RING + capacity, capacity), path)
        self.poke(TAIL, struct.pack("=Q", capacity), path)
        os.truncate(path, RING + capacity)
        self.assertIn("damaged-record", self.codes(path)[0])
        self.ctl("rm", path)


class Others(Ctl):
    def test_things_that_are_no_queues(self):
        path = self.directory.name + "/thing"
        for make in (os.mkdir, os.mkfifo, self.make_socket, lambda name: os.symlink("/etc/passwd", name)):
            make(path)
            for command in ("stat", "check", "rm"):
                self.ctl(command, path, status=FAILURE)
            self.assertTrue(os.path.lexists(path))
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)

    def make_socket(self, path):
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path)

    def test_names_of_others_are_printed_safely(self):
        name = "evil\x1b[31m\n\x07\\'\xe4 x"
        path = self.directory.name + "/" + name
        self.put(b"a\n", queue=path)
        out = self.ctl("ls", self.directory.name)[0]
        self.assertNotIn("\x1b", out)
        self.assertIn("evil\\x1b[31m\\x0a\\x07\\x5c'\\xc3\\xa4 x", out)
        remedy = next(f for f in self.json("ls", self.directory.name)["queues"][0]["findings"])["remedy"]
        bash = shutil.which("bash")
        words = subprocess.run([bash, "-c", "consumer() { printf '%s\\0' \"$@\"; }; " + remedy], stdout=subprocess.PIPE)
        self.assertEqual(words.stdout, b"-q\0" + os.fsencode(path) + b"\0")
        self.assertEqual(self.json("stat", path)["name"].encode("latin-1"), os.fsencode(path))
        self.ctl("rm", path)

    def test_ls(self):
        names = [self.directory.name + "/" + name for name in ("b", "a-queue-with-a-name-that-is-rather-long", "c")]
        for name in names:
            self.put(b"a\n", queue=name)
        with open(self.directory.name + "/not-a-queue.input", "wb") as file:
            file.write(b"x" * 10000)
        out = self.ctl("ls", self.directory.name)[0]
        rows = [line for line in out.splitlines() if re.search(r" 0600 ", line)]
        self.assertEqual(len(rows), 3)
        self.assertLess(max(map(len, rows)), COLUMNS)
        self.assertNotIn("not-a-queue", out)
        found = self.json("ls", self.directory.name)
        self.assertEqual([queue["name"] for queue in found["queues"]], sorted(names))
        self.ctl("rm", *names)
        self.assertIn("No queue in", self.ctl("ls", self.directory.name)[0])
        self.ctl("ls", self.directory.name + "/none", status=FAILURE)
        self.put(b"a\n")
        self.assertIn(self.q, [queue["name"] for queue in self.json("ls")["queues"]])
        self.consume()

    def test_doorbells_left_behind(self):
        path = self.directory.name + "/queue"
        consumer = self.waiting_consumer("-n", "fifo", queue=path)
        bells = [os.path.basename(name) for name in self.doorbells(path)]
        self.assertEqual(len(bells), 2)
        self.assertEqual(self.json("ls", self.directory.name)["orphans"], [])
        os.unlink(path)
        self.assertEqual(self.json("ls", self.directory.name)["orphans"], [])  # in use still
        self.assertEqual(self.ctl("rm", "--orphans", self.directory.name), ("", ""))
        consumer.kill()
        self.finish(consumer, -signal.SIGKILL)
        found = self.json("ls", self.directory.name)["orphans"]
        self.assertEqual(sorted(orphan["name"] for orphan in found), bells)
        out = self.ctl("ls", self.directory.name)[0]
        self.assertIn("shmqctl rm --orphans " + self.directory.name, out)
        self.assertEqual(self.ctl("rm", "--orphans", self.directory.name)[0].count("removed .shmq."), 2)
        self.assertEqual(self.leftovers(), [])

    def test_doorbells_of_semaphores(self):
        self.put(b"a\n", "-n", "named")
        bells = [os.path.basename(name) for name in self.doorbells()]
        self.assertFalse(set(bells) & {orphan["name"] for orphan in self.json("ls")["orphans"]})
        os.unlink(self.object())
        self.assertTrue(set(bells) <= {orphan["name"] for orphan in self.json("ls")["orphans"]})
        for name in bells:
            os.unlink("/dev/shm/" + name)

    def test_another_user_s_queue(self):
        directory = os.path.join(self.directory.name, "bin.input")
        os.mkdir(directory)
        os.chmod(self.directory.name, 0o755)
        programs = {}
        for program in (PRODUCER, SHMQCTL):
            programs[program] = shutil.copy(program, directory)
        try:
            subprocess.run([programs[SHMQCTL], "--version"], user=NOBODY, group=NOBODY, check=True,
                           stdout=subprocess.DEVNULL)
        except (PermissionError, OSError, subprocess.SubprocessError) as error:
            self.skipTest("needs root, and another user: %s" % error)
        finally:
            self.addCleanup(shutil.rmtree, directory)
        self.put(b"a\n")

        def as_nobody(*args):
            done = subprocess.run([programs[SHMQCTL], *args], user=NOBODY, group=NOBODY, extra_groups=[],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT_S)
            return done.returncode, done.stdout.decode(), done.stderr.decode()

        status, out, _ = as_nobody("check", "--json", self.q)
        self.assertEqual((status, json.loads(out)["findings"][0]["code"]), (FAILURE, "no-access"))
        self.assertIn("may not be read by you", as_nobody("ls")[1])
        self.assertIn("keeps you from", as_nobody("rm", self.q)[2])
        os.chmod(self.object(), 0o644)
        status, out, _ = as_nobody("check", "--json", self.q)
        self.assertEqual(status, FAILURE)
        self.assertIn("no-access", [finding["code"] for finding in json.loads(out)["findings"]])
        self.consume()
        other = subprocess.run([programs[PRODUCER], "-q", self.q, "--no-wait", "x"], user=NOBODY, group=NOBODY,
                               extra_groups=[], check=True)
        self.assertEqual(other.returncode, DONE)
        self.assertIn("other-owner", self.codes()[1])
        self.assertEqual(self.json("stat", self.q)["uid"], NOBODY)
        self.ctl("rm", self.q)


class Undisturbed(Ctl):
    def test_nothing_changes(self):
        self.put(b"a\nb\n", "-n", "named", "--checksum", queue=self.directory.name + "/queue")
        path = self.directory.name + "/queue"
        self.doorbells(path)
        os.utime(path, ns=(10**18, 2 * 10**18))
        with open(path, "rb") as file:
            before = hashlib.sha256(file.read()).digest()
        os.utime(path, ns=(10**18, 2 * 10**18))
        status = os.stat(path)
        for args in (("ls", self.directory.name), ("stat", path), ("check", path)):
            self.status_of(*args)
        after = os.stat(path)
        self.assertEqual((after.st_atime_ns, after.st_mtime_ns, after.st_ctime_ns),
                         (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns))
        with open(path, "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).digest(), before)
        self.ctl("rm", path)

    def under_load(self, *args):
        lines = b"".join(b"%d %s\n" % (i, b"x" * (i % 100)) for i in range(50000))
        path = self.directory.name + "/lines.input"
        with open(path, "wb") as file:
            file.write(lines)
        consumer = self.start_consumer(*args, stdout=subprocess.PIPE)
        until(lambda: self.exists(), "the consumer opened the queue")
        producer = self.start_producer(*args)
        watched = self.directory.name + "/watched.input"
        with open(watched, "wb") as file:
            watch = subprocess.Popen([SHMQCTL, "stat", "--watch=0.005", "--json", self.q], stdout=file)
        self.running.append(watch)
        digest, wanted, checks, received = hashlib.sha256(), hashlib.sha256(), 0, 0
        turns = 4 if SLOW_BUILD else 10
        for _ in range(turns):
            wanted.update(lines)
        feeder = subprocess.Popen(["/bin/sh", "-c", " ".join(["cat"] + [path] * turns)], stdout=producer.stdin)
        self.running.append(feeder)
        os.set_blocking(consumer.stdout.fileno(), False)
        while checks < 100 or received < turns * len(lines):
            if checks < 100:
                checks += 1
                found = self.json("check", self.q)
                self.assertEqual([f for f in found["findings"] if f["problem"]], [])
            ready = select.select([consumer.stdout], [], [], 0)[0]
            for _ in range(20 if ready else 0):
                data = consumer.stdout.read(65536)
                received += len(data or b"")
                digest.update(data or b"")
        watch.send_signal(signal.SIGINT)
        self.finish(watch, DONE)
        with open(watched, "rb") as file:
            seen = [json.loads(line) for line in file]
        self.assertGreater(len(seen), 20)
        for found in seen:
            self.assertTrue(found["ok"], found["findings"])
        feeder.wait(LIMIT_S)
        self.finish(producer, DONE)
        self.finish(consumer, DONE)
        self.assertEqual(digest.digest(), wanted.digest())

    def test_a_stream_while_it_is_looked_at(self):
        self.under_load("-c", "16K")

    def test_a_stream_of_many_with_checksums(self):
        self.under_load("--many", "--checksum")


class Watch(Ctl):
    def test_ends_also_when_nobody_reads(self):
        self.put(b"a\n")
        watch = subprocess.Popen([SHMQCTL, "stat", "--json", "--watch", "0.001", self.q], stdout=subprocess.PIPE)
        self.running.append(watch)
        before = -1
        while before in (-1, 0) or before != self.waits_in_pipe(watch):
            before = self.waits_in_pipe(watch)
            time.sleep(0.2)
        watch.send_signal(signal.SIGINT)
        watch.wait(LIMIT_S)
        self.assertEqual(watch.returncode, DONE)
        self.consume()

    def waits_in_pipe(self, process):
        waiting = bytearray(4)
        fcntl.ioctl(process.stdout, termios.FIONREAD, waiting)
        return struct.unpack("=i", waiting)[0]

    def test_lines(self):
        self.put(b"a\n")
        for args in (("--watch", "0.05"), ("--watch=0.05",), ("--watch", ".05")):
            watch = subprocess.Popen([SHMQCTL, "stat", *args, self.q], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.running.append(watch)
            line = (rb"\d\d:\d\d:\d\d sent 1 (\(0/s\) )?received 0 (\(0/s\) )?waiting 1 full 0% "
                    rb"producers 0 consumers 0\n")
            for _ in range(3):
                self.assertRegex(watch.stdout.readline(), line)
            watch.send_signal(signal.SIGINT)
            self.assertEqual(self.finish(watch, DONE)[1], b"")
        self.consume()

    def test_ends_with_its_queue(self):
        self.put(b"a\n")
        watch = subprocess.Popen([SHMQCTL, "stat", "--watch", "0.02", self.q], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.running.append(watch)
        watch.stdout.readline()
        self.consume()
        self.assertTrue(self.finish(watch, DONE)[0].endswith(b"The queue has been removed.\n"))
        self.ctl("stat", "--watch", self.q, status=FAILURE)

    def test_a_truncation_ends_it(self):
        self.put(b"a\n")
        watch = subprocess.Popen([SHMQCTL, "stat", "--watch", "0.02", self.q], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        self.running.append(watch)
        watch.stdout.readline()
        os.truncate(self.object(), PAGE)
        self.assertIn(b"truncated", self.finish(watch, FAILURE)[0])
        self.stays()

    def test_screen_on_a_terminal(self):
        self.put(b"a\n")
        for no_colour in (False, True):
            terminal, end = pty.openpty()
            environment = dict(os.environ, TERM="xterm")
            environment.pop("NO_COLOR", None)
            if no_colour:
                environment["NO_COLOR"] = "1"
            watch = subprocess.Popen([SHMQCTL, "stat", "--watch", "0.05", self.q], stdout=end, env=environment)
            self.running.append(watch)
            os.close(end)
            shown = b""
            while shown.count(b"\x1b[H\x1b[J") < 3:
                shown += os.read(terminal, 65536)
            self.assertEqual(b"\x1b[31m" in shown, not no_colour)
            self.assertIn(b"0/s sent", shown)
            watch.send_signal(signal.SIGINT)
            watch.wait(LIMIT_S)
            self.assertEqual(watch.returncode, DONE)
            os.close(terminal)
        self.consume()


class Usage(Ctl):
    def test_help(self):
        out = self.ctl("--help")[0]
        for word in ("ls", "stat", "check", "rm", "--json", "--watch", "--force", "--orphans", "Exit status"):
            self.assertIn(word, out)
        self.assertLess(max(map(len, out.split("\n"))), COLUMNS)
        self.assertRegex(self.ctl("-V")[0], r"\Ashmqctl \(shmq\) \d+\.\d+\.\d+\n\Z")

    def test_wrong_usage(self):
        for args in ((), ("bogus",), ("stat",), ("stat", "name"), ("stat", "/a", "/b"), ("check",), ("rm",), ("-x",),
                     ("ls", "/a", "/b"), ("ls", "--watch"), ("check", "--force", "/a"), ("rm", "--json", "/a"),
                     ("stat", "--watch=x", "/a"), ("stat", "--watch", "0", "/a"), ("stat", "--watch=-1", "/a"),
                     ("rm", "--orphans", "/a", "/b"), ("stat", "")):
            out, err = self.ctl(*args, status=USAGE)
            self.assertEqual(out, "", args)
            self.assertIn("Usage: ", err)

    def test_standard_output_full(self):
        self.put(b"a\n")
        with open("/dev/full", "wb") as full:
            for args in (("ls",), ("stat", self.q), ("check", self.q), ("--help",), ("stat", "--watch", self.q)):
                done = subprocess.run([SHMQCTL, *args], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT_S)
                self.assertEqual(done.returncode, FAILURE, args)
                self.assertIn(b"cannot write standard output", done.stderr)
        self.consume()


if __name__ == "__main__":
    main()
