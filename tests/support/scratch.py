"""A scratch copy of the tree: for commands that change sources, and build or test what comes of it.

An edit is a mapping with the path of a `file`, the text `from` that stands there exactly once, and `to`, what is put in
its place.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tomllib

from script import ROOT, Failure, git


def read(path):
    with open(path, "rb") as file:
        return file.read()


def entries(path, table, keys):
    """The tables of one kind in a file of the tree, each with just these keys and a name of its own."""
    found = tomllib.loads(read(os.path.join(ROOT, path)).decode())[table]
    for entry in found:
        if set(entry) != keys:
            raise Failure(f"{path}: {entry.get('name', entry)}: has {sorted(entry)}, must have {sorted(keys)}")
    names = [entry["name"] for entry in found]
    if len(set(names)) < len(names):
        raise Failure(f"{path}: two of one name")
    return found


def chosen(found, wanted):
    """Those of the names that are wanted; all if none is."""
    names = [entry["name"] for entry in found]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise Failure(f"no such name: {', '.join(unknown)}; there are: {', '.join(names)}")
    return [entry for entry in found if not wanted or entry["name"] in wanted]


def edited(edits, whose):
    """{file: its text with the edits in it}."""
    texts = {}
    for edit in edits:
        file = edit["file"]
        text = texts.get(file) or read(os.path.join(ROOT, file)).decode()
        count = text.count(edit["from"])
        if count != 1:
            raise Failure(f"{whose}: its text stands {count} times in {file}, not once: {edit['from']}")
        texts[file] = text.replace(edit["from"], edit["to"])
    return texts


def default_folder(name):
    """Where a command keeps its copy, so that the next run builds less."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, name)


class Copy:
    """The tree as it is now, what is not committed included, with a Bazel server of its own."""

    def __init__(self, place):
        self.place = place
        self.child = None
        os.makedirs(place, exist_ok=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)

    def interrupt(self, number, _frame):
        if self.child:
            self.child.send_signal(signal.SIGINT)  # bazel ends its tests
            self.child.wait()
        self.close()
        sys.exit(128 + number)

    def refresh(self):
        """Writes only what differs, so that Bazel builds only that again."""
        names = set(git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")) - {""}
        names = {name for name in names if os.path.isfile(os.path.join(ROOT, name))}
        for folder, folders, files in os.walk(self.place):
            folders[:] = [name for name in folders if not name.startswith("bazel-")]
            for name in files:
                path = os.path.join(folder, name)
                if os.path.relpath(path, self.place) not in names:
                    os.unlink(path)
        for name in names:
            source, target = os.path.join(ROOT, name), os.path.join(self.place, name)
            if not os.path.exists(target) or read(source) != read(target):
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(source, target)

    @contextlib.contextmanager
    def changed(self, edits, whose):
        """Has the edits in it meanwhile."""
        texts = edited(edits, whose)
        before = {file: read(os.path.join(self.place, file)) for file in texts}
        try:
            for file, text in texts.items():
                self.write(file, text.encode())
            yield
        finally:
            for file, text in before.items():
                self.write(file, text)

    def write(self, file, text):
        with open(os.path.join(self.place, file), "wb") as target:
            target.write(text)

    def bazel(self, verb, *words):
        """Bazel's exit status and what it printed."""
        with subprocess.Popen(
            ("bazel", verb, "--noshow_progress", "--color=no", *words),
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as self.child:
            output = self.child.communicate()[0]
            status = self.child.returncode
        self.child = None
        return status, output

    def close(self):
        subprocess.run(("bazel", "shutdown"), cwd=self.place, check=False, capture_output=True)
