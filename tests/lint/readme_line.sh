#!/usr/bin/env bash
# The line that README.md shows to users without Bazel is there, and compiles a program of theirs (yours.c) without a
# warning; so does a C++ compiler. Both are run. So are the producer and the consumer that README.md shows, in both orders.
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

readme=$here/README.md
queue=/shmq-readme-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')

# $1 a program that README.md shows: a block of C whose first line is its name.
compile_from_readme() {
    awk -v first="/* $1.c */" '/^```/ {inside = 0} $0 == first {inside = 1} inside' "$readme" |
        sed "s,/hello\",$queue\"," >yours.c
    [[ -s yours.c ]] || { echo "README.md shows no $1.c"; exit 1; }
    bash -c "$LINE -Wall -Wextra -Werror -o $1"
}

cross() { # $1 comes first, $2 second
    "./$1" >"$1.out" &
    "./$2" >"$2.out"
    wait $!
    grep -qx 'hello, world' hello_consumer.out || { echo "$1 first: hello did not cross"; exit 1; }
    [[ ! -e /dev/shm$queue ]] || { echo "left /dev/shm$queue"; rm -f "/dev/shm$queue"; exit 1; }
}

cp yours.c kept.c
compile_from_readme hello_producer
compile_from_readme hello_consumer
cross hello_producer hello_consumer
cross hello_consumer hello_producer
mv kept.c yours.c

echo 'c++: the same program'
cc -O2 -c src/*.c
c++ -O2 -Wall -Wextra -Werror -Isrc -o plusplus -x c++ yours.c -x none ./*.o -pthread -lrt
run ./plusplus
