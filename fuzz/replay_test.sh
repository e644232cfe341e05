#!/usr/bin/env bash
# The replay tells of whatever an input ends with, names it, and says last how to repeat it.
#   replay_test.sh REPLAY_FAULTY
set -euo pipefail

program=$1
cd "${TEST_TMPDIR:?}" && program=$OLDPWD/$program

fail() {
    printf 'FAILED: %s\n' "$1" && cat output
    exit 1
}

# $1 the input that fails, between two that do not; $2 what is said of it
expect() {
    printf '%s' "$1" >"$1"
    printf 'fine' >before && printf 'fine' >after
    ! "$program" before "$1" after >output 2>&1 || fail "nobody noticed $1"
    grep -qx 'ok     before' output || fail "what came before $1 was not ok"
    grep -qx "try    $1" output || fail "$1 was not named"
    ! grep -qE "^ok +($1|after)" output || fail "$1 or what comes after it was ok"
    grep -qE "$2" output || fail "$2 is not said of $1"
    tail -n 1 output | grep -qE "^to reproduce: .*replay_faulty.* $1\$" || fail "the last line does not repeat $1"
    echo "ok     $1: $2"
}

expect a 'signal 6 .Aborted'
expect e 'ended early'

# The only one that is noticed later, when all have been ok once.
printf 's' >s
! "$program" before s after >output 2>&1 || fail "nobody noticed what s leaves behind"
grep -qx 's does something else after other inputs than before' output || fail "s is not named"
echo "ok     s: it leaves something behind"

if [[ ${SHMQ_TEST_VARIANT-} == asan ]]; then
    expect l 'LeakSanitizer: detected memory leaks'
    expect o 'AddressSanitizer: heap-buffer-overflow'
fi
