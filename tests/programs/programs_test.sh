#!/bin/bash
# Starts a test of this folder without Bazel's Python rules, which need a toolchain that is not everywhere.
#   programs_test.sh X_test.py PRODUCER CONSUMER [PROGRAM]... [unittest's arguments]
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
