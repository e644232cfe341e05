#!/bin/bash
# Starts programs_test.py without Bazel's Python rules, which need a toolchain that is not everywhere.
#   programs_test.sh programs_test.py PRODUCER CONSUMER [unittest's arguments]
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
