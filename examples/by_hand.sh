#!/usr/bin/env bash
# The examples compile with README.md's line for users without Bazel, without a warning.
set -euo pipefail

scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/examples.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
for example in examples/*.c; do
    echo "cc -O2 -Isrc $example src/*.c -pthread -lrt -Wall -Wextra -Werror"
    cc -O2 -Isrc "$example" src/*.c -pthread -lrt -Wall -Wextra -Werror -o "$scratch/program"
    "$scratch/program" 2>"$scratch/usage" && { echo "$example needs arguments, and did not say so"; exit 1; }
    grep -q '^Usage: ' "$scratch/usage"
done
