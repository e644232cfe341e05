"""What ci/fuzz keeps of each target and engine: processor time, counts, and how the coverage grew with them.

All of it is in one folder, fuzz-results unless told otherwise. Files are replaced whole, so that whoever is killed
loses what was not yet written, a few seconds, and no more. One campaign at a time works there.
"""

import fcntl
import json
import os
import shutil
import subprocess

SUMS = ("processor_s", "executions", "operations")
LATEST = ("coverage", "corpus", "last_new")  # the highest that was seen
PLOT = """set terminal svg size 1200,800 background "white" noenhanced
set output "{output}"
set title "What the engines have covered"
set xlabel "processor hours"
set ylabel "edges, as each engine counts them"
set key outside right
set grid
set yrange [0:*]
plot {curves}
"""


def write_whole(path, text):
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".new", path)


class Ledger:
    """The sums of all turns so far."""

    def __init__(self, folder):
        self.folder, self.path = folder, os.path.join(folder, "ledger.json")
        self.legs, self.lock = {}, None
        self.read()

    def read(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                self.legs = json.load(file)
        except FileNotFoundError:
            pass

    def take(self):
        """False if another campaign is at work there."""
        os.makedirs(self.folder, exist_ok=True)
        self.lock = open(os.path.join(self.folder, "lock"), "a", encoding="utf-8")  # as long as we live
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.read()
        return True

    def of(self, leg):
        return self.legs.get(leg.name) or dict.fromkeys(SUMS + LATEST, 0) | {"turns": 0}

    def with_turn(self, leg, counts):
        """What is known of a leg, with a turn that may still go on."""
        known = self.of(leg)
        sums = {name: known[name] + counts[name] for name in SUMS}
        return sums | {name: max(known[name], counts[name]) for name in LATEST} | {"turns": known["turns"] + 1}

    def save(self, leg, counts):
        """Also while the turn goes on. Returns what stands there now; `close` makes it the ground of the next turn."""
        now = self.with_turn(leg, counts)
        write_whole(self.path, json.dumps(self.legs | {leg.name: now}, indent=1, sort_keys=True))
        return now

    def close(self, leg, counts):
        self.legs[leg.name] = self.save(leg, counts)

    def samples(self, leg):
        return os.path.join(self.folder, leg.target["name"], leg.engine + ".samples")

    def sample(self, leg, now):
        if now["coverage"]:
            with open(self.samples(leg), "a", encoding="ascii") as file:
                file.write(f"{now['processor_s'] / 3600:.6f} {now['coverage']} {now['corpus']}\n")

    def plot(self):
        """The path of the picture; None if there is nothing to draw, or nobody to draw it."""
        curves = []
        for name in sorted(self.legs):
            target, engine = name.split("/")
            samples = os.path.join(self.folder, target, engine + ".samples")
            if os.path.exists(samples):
                curves.append(f'"{samples}" using 1:2 with steps title "{target} {engine}"')
        if not curves or shutil.which("gnuplot") is None:
            return None
        output = os.path.join(self.folder, "coverage.svg")
        text = PLOT.format(output=output + ".new", curves=", \\\n    ".join(curves))
        done = subprocess.run(["gnuplot"], input=text, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            return None
        os.replace(output + ".new", output)
        return output
