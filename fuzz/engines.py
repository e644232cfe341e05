"""What ci/fuzz runs: several processes of one engine on one target at a time, for a turn of a minute or so.

Each process is started here, one a core, and not by libFuzzer's -jobs or -fork: so one that ends with a finding is
started again, all tell what they do, and none outlives us (die_with_parent in run.py, orphan.c in the target), even if
we are killed. What an engine finds it writes itself, at once, to the folder of its target; nothing of that is kept
here.
"""

import os
import re
import shlex
import signal
import subprocess
import time

import run as launch

MOST_STARTS = 6  # of one process in a turn: if each ends with a finding, it finds nothing new
LOOKS = 8  # over which speed is measured
PATIENCE_S = 10  # to end when told to
TICKS = os.sysconf("SC_CLK_TCK")
LIBFUZZER_LINE = re.compile(r"^#\d+\s+([A-Za-z]+)\s+cov: (\d+).*? corp: (\d+)/", re.MULTILINE)
AFL_LINE = re.compile(r"Fuzzing test case #\d+ \((\d+) total")
END = {"libfuzzer": signal.SIGUSR1, "afl": signal.SIGINT}  # each ends an engine after what it is just writing
WORDS = {"libfuzzer": "libFuzzer", "afl": "AFL++"}


def read_counts(path):
    """What a target has counted so far in a file that FUZZ_COUNTS named (counts.c)."""
    try:
        with open(path, "rb") as file:
            words = file.read(16)
    except OSError:
        words = b""
    return {"executions": int.from_bytes(words[:8], "little"), "operations": int.from_bytes(words[8:], "little")}


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def processor_s(pid):
    """Of a process, of all that it has started, and of those of them that it has waited for."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    if not fields:
        return 0.0
    children = read(f"/proc/{pid}/task/{pid}/children").split()
    return sum(map(int, fields[11:15])) / TICKS + sum(map(processor_s, children))


class Process:
    """One process of an engine, started again when it ends with a finding."""

    def __init__(self, leg, results, number, secondary=None):
        self.leg, self.results, self.number, self.secondary = leg, results, number, secondary
        name = os.path.join(results, f"{leg.engine}.{number}")
        self.log, self.counts = name + ".log", name + ".counts"
        for path in (self.log, self.counts):
            if os.path.exists(path):
                os.unlink(path)
        self.starts, self.spent, self.at, self.part_line = 0, 0.0, 0, ""
        self.coverage = self.corpus = self.last_new = 0
        self.start()

    def part(self):
        """AFL++'s name of it, which tells it from those of other machines that share what they find."""
        return f"{self.secondary}{self.number}" if self.secondary else f"second{self.number}" if self.number else "main"

    def command(self):
        if self.leg.engine == "libfuzzer":
            command, operands = launch.libfuzzer(self.leg.target, self.results)
        else:
            how = "-M" if self.part() == "main" else "-S"
            command, operands = launch.afl(self.leg.target, self.results, part=(how, self.part()))
        return command + operands

    def start(self):
        self.starts += 1
        self.spent_before = self.spent
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=launch.environment(False) | {"FUZZ_COUNTS": self.counts}, cwd=self.results,
                preexec_fn=launch.die_with_parent)

    def poll(self):
        """None while it runs. What it has used comes from the system's own account as soon as it has ended."""
        if self.process.returncode is None:
            self.spent = max(self.spent, self.spent_before + processor_s(self.process.pid))
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.spent = max(self.spent, self.spent_before + usage.ru_utime + usage.ru_stime)
        return self.process.returncode

    def look(self):
        """Reads what it tells. False if it has ended for good."""
        ended = self.poll() is not None
        self.read_log()
        if ended and self.starts < MOST_STARTS and self.process.returncode not in launch.ENDED_WELL:
            self.start()
            return True
        return not ended

    def read_log(self):
        with open(self.log, "rb") as log:
            log.seek(self.at)
            told = self.part_line + log.read().decode(errors="replace")
            self.at = log.tell()
        whole, _, self.part_line = told.rpartition("\n")
        if self.leg.engine == "libfuzzer":
            for what, coverage, corpus in LIBFUZZER_LINE.findall(whole):
                self.note(int(coverage), int(corpus), what == "NEW")
            return
        for corpus in AFL_LINE.findall(whole):
            self.note(0, int(corpus), int(corpus) > self.corpus > 0)
        stats = read(os.path.join(self.results, "afl", self.part(), "fuzzer_stats"))  # written once a minute
        self.note(*(int((re.findall(rf"^{name}\s*: (\d+)", stats, re.MULTILINE) or [0])[0])
                    for name in ("edges_found", "corpus_count")), False)

    def note(self, coverage, corpus, is_new):
        self.coverage, self.corpus = max(self.coverage, coverage), max(self.corpus, corpus)
        if is_new:
            self.last_new = time.time()

    def tell_to_end(self):
        if self.poll() is None:
            os.kill(self.process.pid, END[self.leg.engine])

    def end(self, deadline):
        """Waits; whoever does not listen is killed, with all that it has started."""
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            while self.poll() is None:
                time.sleep(0.02)
        self.read_log()


class Turn:
    """Some processes on one target."""

    def __init__(self, leg, results, jobs, secondary=None):
        launch.write_seeds(leg.target, results)
        self.leg, self.results = leg, results
        self.processes = [Process(leg, results, number, secondary) for number in range(jobs)]
        self.looks = []  # (time, executions, operations): the last ones

    def command(self):
        return shlex.join(self.processes[0].process.args)

    def look(self):
        """False if no process is left."""
        alive = [process.look() for process in self.processes]  # each, so no short cut
        self.looks = (self.looks + [(time.monotonic(), *self.done())])[-LOOKS:]
        return any(alive)

    def done(self):
        """(executions, operations)"""
        counts = [read_counts(process.counts) for process in self.processes]
        return sum(one["executions"] for one in counts), sum(one["operations"] for one in counts)

    def counts(self):
        """What the whole turn did so far, and how fast it is now."""
        (begun, *first), (now, *last) = (self.looks[0], self.looks[-1]) if self.looks else ((0, 0, 0), (0, 0, 0))
        executions, operations = self.done()
        return {
            "processor_s": sum(process.spent for process in self.processes),
            "executions": executions,
            "operations": operations,
            "executions_per_s": (last[0] - first[0]) / max(now - begun, 0.1),
            "operations_per_s": (last[1] - first[1]) / max(now - begun, 0.1),
            "coverage": max(process.coverage for process in self.processes),
            "corpus": max(process.corpus for process in self.processes),
            "last_new": max(process.last_new for process in self.processes),
        }

    def trouble(self):
        """The end of the log, if an engine ended and did not even begin; else None."""
        for process in self.processes:
            if process.process.returncode not in (None, *launch.ENDED_WELL) and not self.done()[0]:
                return f"{process.log}:\n" + "\n".join(read(process.log).splitlines()[-8:])
        return None

    def is_spent(self):
        """Each process has ended with a finding again and again."""
        return all(one.starts == MOST_STARTS and one.process.returncode is not None for one in self.processes)

    def end(self):
        for process in self.processes:
            process.tell_to_end()
        deadline = time.monotonic() + PATIENCE_S
        for process in self.processes:
            process.end(deadline)
