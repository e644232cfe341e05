#!/usr/bin/env bash
# The line that README.md shows to users without Bazel is there, and compiles a program of theirs (yours.c) without a
# warning; so does a C++ compiler. Both programs are run.
set -euo pipefail

readonly LINE='cc -O2 -Isrc yours.c src/*.c -pthread -lrt'

grep -qF "$LINE" README.md || { echo "README.md does not show this line any more: $LINE"; exit 1; }

here=$PWD
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/readme.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/src"
cp -L src/*.[ch] "$scratch/src/" # the core alone: the line does not name src/programs
cp -L "$here/tests/lint/yours.c" "$scratch/"
cd "$scratch"

# $1 a program; runs it on a queue that nobody else has, and looks whether it cleaned up.
run() {
    local queue
    queue=/shmq-readme-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
    "$1" "$queue"
    [[ ! -e /dev/shm$queue ]] || { echo "$1 left /dev/shm$queue"; rm -f "/dev/shm$queue"; exit 1; }
}

echo "$LINE"
bash -c "$LINE"
run ./a.out

echo "$LINE -Wall -Wextra -Werror"
bash -c "$LINE -Wall -Wextra -Werror"
run ./a.out

echo 'c++: the same program'
cc -O2 -c src/*.c
c++ -O2 -Wall -Wextra -Werror -Isrc -o plusplus -x c++ yours.c -x none ./*.o -pthread -lrt
run ./plusplus
