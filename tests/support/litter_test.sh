#!/usr/bin/env bash
# Does check.c sweep behind a test that does not? litter_test.sh LITTER
set -euo pipefail
litter=$1
scratch=$(mktemp -d "${TEST_TMPDIR:-/tmp}/litter.XXXXXX")
export TEST_TMPDIR=$scratch/tests # where the tests have their directories
mkdir "$TEST_TMPDIR"
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "FAILED: $*"
    cat "$scratch/output"
    exit 1
}

# left QUEUE…: their doorbells in /dev/shm
left() {
    local queue
    for queue in "$@"; do
        find /dev/shm -maxdepth 1 -name "*shmq.$queue.*"
    done
}

# swept STATUS HOW: the run ended so, had left something, and nothing of it is there any more
swept() {
    local queues
    [[ $status -eq $1 ]] || fail "$2: exit status $status, not $1"
    mapfile -t queues < <(sed -n 's/^queue //p' "$scratch/output")
    [[ ${#queues[@]} -ge 4 ]] || fail "$2: too few queues"
    grep -q 'left /dev/shm/.shmq.* behind' "$scratch/output" || fail "$2: no word of the FIFOs in /dev/shm"
    grep -q 'left the file .shmq.* behind' "$scratch/output" || fail "$2: no word of the FIFOs beside a file"
    [[ -z $(left "${queues[@]}") ]] || fail "$2: there is still $(left "${queues[@]}")"
    [[ -z $(ls -A "$TEST_TMPDIR") ]] || fail "$2: there is still $(ls -A "$TEST_TMPDIR")"
    echo "ok: $2"
}

for test in forgets fails crashes; do
    status=0
    "$litter" "$test" >"$scratch/output" 2>&1 || status=$?
    swept 1 "a test that $test"
done

for signal in INT TERM HUP; do
    : >"$scratch/output"
    env --default-signal=INT "$litter" waits >"$scratch/output" 2>&1 &
    until grep -q '^left' "$scratch/output"; do
        kill -0 $! || fail "it ended"
        sleep 0.02
    done
    kill "-$signal" $!
    status=0
    wait $! || status=$?
    swept $((128 + $(kill -l "$signal"))) "interrupted by SIG$signal"
done
