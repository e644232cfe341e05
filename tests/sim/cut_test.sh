#!/usr/bin/env bash
# Cutting equal states must not lose any: with and without it, runs end in as many states.
set -euo pipefail

ends() { "$sim" --exhaustive --bound 1 "$@" | sed -nE 's/^([^:]*): .* ([0-9]+) ends.* (all|NOT ALL) up to.*/\1 \2 \3/p'; }

sim=$1
cut=$(ends) whole=$(ends --uncut)
printf 'ends of runs, up to bound 1:\n%s\n' "$whole"
if [[ $cut != "$whole" ]]; then
    printf 'with equal states cut:\n%s\n' "$cut"
    exit 1
fi
[[ $(wc -l <<<"$whole") -ge 20 ]]
[[ $whole != *NOT* ]]
