"""What the scripts behind ci/ share: where the tree is, what its results come from, and how a failure is told.

Theirs is the folder beside this one, wherever they are called from:

    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
"""

import datetime
import os
import platform
import re
import shlex
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Failure(Exception):
    """Something to tell the user, without a traceback."""


def run(name, body):
    """Calls body with the command's arguments; says in a line what ended it early."""
    try:
        body(sys.argv[1:])
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Failure as failure:
        sys.exit(f"{name}: {failure}")


def git(*arguments):
    """What git prints about the tree, without the last line's end."""
    command = ["git", "-C", ROOT, *arguments]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"needs git and a clone: {shlex.join(command)}: {getattr(error, 'stderr', error)}") from error
    return done.stdout.removesuffix("\n")


def commit():
    """The commit, and whether a file that it has was changed, other than the pages of results, which several commands
    write; "unknown" where there is no git, or no repository."""
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/results")
        return git("describe", "--always", "--abbrev=12", "--exclude=*") + ("-dirty" if changed else "")
    except Failure:
        return "unknown"


def machine():
    """What figures depend on."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        lines = dict(re.split(r"\s*:\s*", line.strip(), maxsplit=1) for line in file if ":" in line)
    return {
        "processor": lines.get("model name", platform.machine()),
        "virtual": "hypervisor" in lines.get("flags", "").split(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "unknown",
    }


def origin():
    """What results that are kept come from."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"commit": commit(), "machine": machine(), "date": now.isoformat(timespec="seconds")}


def origin_lines():
    """The same for a page about the whole tree. That such a page was written before is no change."""
    changed = git("status", "--porcelain", "--", "src", "tests", "ci", "examples")
    found = machine()
    return [
        f"* Commit: {git('rev-parse', '--short', 'HEAD')}{' (with changes)' if changed else ''}",
        f"* Date: {datetime.date.today().isoformat()}",
        f"* Machine: {found['cores']} cores, {platform.machine()}, Linux {found['kernel']}",
    ]
