#!/bin/bash
# Starts a test in Python without Bazel's Python rules, which need a toolchain that is not everywhere.
#   bench_test.sh bench_test.py BENCH [unittest's arguments]
#   bench_test.sh scoreboard_test.py SURVIVAL SURVIVAL_PLANTED [unittest's arguments]
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
