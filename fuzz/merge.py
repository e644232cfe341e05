"""Merges what engines learned of a target into a minimal corpus, by libFuzzer: the one of all, or what a committed one
lacks.
"""

import glob
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/support"))
from script import Failure

import run as launch


def merge(target, results, to, *options):
    """Adds to a folder what reaches more than it does: other edges, or the same more often."""
    sources = [os.path.join(results, "seeds"), os.path.join(results, "corpus")]
    sources += sorted(glob.glob(os.path.join(glob.escape(results), "afl/*/queue")))
    os.makedirs(os.path.join(results, "crashes"), exist_ok=True)
    control = os.path.join(results, "merge")
    command = [target["binary"], "-merge=1", "-timeout=10", f"-max_len={target['max_length']}",
               f"-artifact_prefix={results}/crashes/", f"-merge_control_file={control}", *options, to]
    if os.path.exists(control):
        os.unlink(control)  # of one that was killed
    done = subprocess.run([*command, *filter(os.path.isdir, sources)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=launch.environment(False),
                          cwd=results, check=False, preexec_fn=launch.die_with_parent)
    if os.path.exists(control):
        os.unlink(control)
    if done.returncode != 0:
        raise Failure(f"{target['name']} cannot be merged:\n{done.stdout.decode(errors='replace')[-2000:]}")


def replace_minimal(target, results):
    """The folder, once it has the smallest set that reaches all."""
    new, minimal = os.path.join(results, "minimal.new"), os.path.join(results, "minimal")
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    merge(target, results, new)
    shutil.rmtree(minimal, ignore_errors=True)
    os.rename(new, minimal)
    return minimal


def add_to(corpus, target, results):
    """Adds to a committed corpus, under its names, what reaches other edges. Returns how many inputs that are."""
    new = os.path.join(results, "corpus.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(corpus, new)
    merge(target, results, new, "-use_counters=0")
    added = sorted(set(os.listdir(new)) - set(os.listdir(corpus)))
    numbers = [name.removeprefix("found_") for name in os.listdir(corpus)]
    first = max([int(number) for number in numbers if number.isdigit()], default=0) + 1
    for number, name in enumerate(added, first):
        shutil.copyfile(os.path.join(new, name), os.path.join(corpus, f"found_{number:02}"))
    shutil.rmtree(new)
    return len(added)
