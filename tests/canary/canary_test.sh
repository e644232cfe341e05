#!/bin/bash
# Starts canary_test.py without Bazel's Python rules, which need a toolchain that is not everywhere.
#   canary_test.sh canary_test.py CANARY
if ! command -v python3 >/dev/null; then
    echo "SKIP: needs python3"
    exit 0
fi
exec python3 "$@"
