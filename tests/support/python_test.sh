#!/bin/bash
# Starts a test in Python without Bazel's Python rules, which need a toolchain that is not everywhere.
#   python_test.sh X_test.py [what X_test.py takes]
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
