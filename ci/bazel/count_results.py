"""Counts the targets of one `bazel test` from its events (--build_event_json_file), for ci/test.

usage: count_results.py EVENTS BAZEL_STATUS [OPTION_GIVEN_TO_BAZEL…]

Prints every skipped target with its reason and every failed one with its log and the command that runs it again; the
last line is `N passed, N failed, N skipped`. Exit status 0 if all that ran passed and something ran, else 1.
Bazel itself cannot do this: it knows no "skipped", and its summary leaves out what did not build.
"""

import json
import os
import shlex
import sys
from urllib.parse import unquote, urlparse

SKIP = "SKIP: "
PASSED = "PASSED"
TESTS_FAILED = 3  # Bazel's exit statuses
NO_TESTS_FOUND = 4


class Target:
    """What the events tell about one label."""

    def __init__(self):
        self.is_test = False
        self.built = True
        self.status = None  # of the test: PASSED, FAILED, TIMEOUT, FLAKY …
        self.problem = ""  # why it could not even be analyzed
        self.logs = []

    def failed(self):
        if self.problem or not self.built:
            return True
        # A flaky test failed once; a test without a status was never run.
        return self.is_test and self.status != PASSED

    def skip_reason(self):
        for log in self.logs:
            try:
                with open(log, errors="replace") as lines:
                    for line in lines:
                        if line.startswith(SKIP):
                            return line[len(SKIP) :].strip()
            except OSError as error:
                print(f"ci/test: cannot read {log}: {error.strerror}", file=sys.stderr)
        return None


def path_of(uri):
    path = unquote(urlparse(uri).path)
    marker = "/testlogs/"
    near = "bazel-testlogs/" + path.rpartition(marker)[2]
    return near if marker in path and os.path.exists(near) else path


def label_of(event_id):
    """The target that an event is about, or the pattern that could not be loaded. Else None: among the rest are the
    labels of causes, which are not always targets."""
    for kind in ("targetConfigured", "targetCompleted", "testResult", "testSummary"):
        if kind in event_id:
            return event_id[kind]["label"]
    if "pattern" in event_id:
        return " ".join(event_id["pattern"].get("pattern", []))
    return None


def note(targets, event):
    label = label_of(event["id"])
    if label is None:
        return
    target = targets.setdefault(label, Target())
    if "aborted" in event:
        target.problem = event["aborted"].get("description", "") or event["aborted"].get("reason", "aborted")
    elif "configured" in event:
        target.is_test = event["configured"].get("targetKind", "").split(" ")[0].endswith("_test")
    elif "completed" in event:
        target.built = event["completed"].get("success", False)
    elif "testResult" in event:
        target.is_test = True
        target.logs += [path_of(f["uri"]) for f in event["testResult"].get("testActionOutput", []) if f.get("name") == "test.log"]
    elif "testSummary" in event:
        target.is_test = True
        target.status = event["testSummary"].get("overallStatus")


def read_events(path):
    targets = {}
    with open(path) as lines:
        for line in lines:
            try:
                note(targets, json.loads(line))
            except ValueError:
                pass  # the last line of a Bazel that was killed
    return targets


def tell_failure(label, target, given):
    verb = "test" if target.is_test and target.built and not target.problem else "build"
    what = "did not build" if verb == "build" else (target.status or "was not run")
    print(f"FAILED: {label} ({what})")
    if target.problem:
        print(f"  {target.problem.splitlines()[0]}")
    for log in target.logs:
        print(f"  log: {log}")
    print(f"  reproduce: {shlex.join(['bazel', verb, *given, label])}")


def explained(bazel_status, failed):
    """Whether Bazel's exit status says no more than the failures found: a package that does not parse has no targets
    and so no events."""
    if bazel_status == TESTS_FAILED:
        return any(target.is_test for target in failed)
    return bazel_status in (0, NO_TESTS_FOUND) or any(target.problem or not target.built for target in failed)


def main():
    events, bazel_status, given = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    targets = read_events(events)
    failed = {label: target for label, target in targets.items() if target.failed()}
    ran = {label: target for label, target in targets.items() if target.is_test and label not in failed}
    skipped = {label: reason for label, target in ran.items() if (reason := target.skip_reason()) is not None}
    print()
    for label, reason in sorted(skipped.items()):
        print(f"SKIPPED: {label}: {reason or 'no reason given'}")
    for label, target in sorted(failed.items()):
        tell_failure(label, target, given)
    failures = len(failed)
    if not explained(bazel_status, failed.values()):
        failures += 1
        print(f"FAILED: bazel itself (exit status {bazel_status}): see its messages above")
    passed = len(ran) - len(skipped)
    if passed + failures == 0:
        print("ci/test: no test ran")
    print(f"{passed} passed, {failures} failed, {len(skipped)} skipped")
    return 0 if failures == 0 and passed > 0 else 1


sys.exit(main())
