#!/bin/bash
# Starts run_test.py without Bazel's Python rules, which need a toolchain that is not everywhere.
#   run_test.sh run_test.py STRESS [unittest's arguments]
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
