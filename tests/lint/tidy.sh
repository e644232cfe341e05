#!/usr/bin/env bash
# clang-tidy, with the checks of .clang-tidy, has nothing to say about the library and the programs.
# Arguments: how to parse them (-std=…).
set -euo pipefail

mapfile -t sources < <(find -L src -type f -name '*.c' | sort)
echo "clang-tidy: ${#sources[@]} files"
[[ ${#sources[@]} -ge 3 ]] || { echo 'too few: has the list of files in tests/lint/BUILD lost some?'; exit 1; }
export out=${TEST_TMPDIR:?}/tidy dialect="$*"
mkdir "$out"
# One file of findings a source. On standard error it counts the warnings in system headers that it did not show.
# shellcheck disable=SC2016 # what is quoted is for the inner shell
if ! printf '%s\0' "${sources[@]}" | xargs -0 -P "$(nproc)" -n 1 bash -c '
    # shellcheck disable=SC2086 # several arguments
    clang-tidy-19 --quiet --config-file=.clang-tidy "$1" -- $dialect -Isrc >"$out/${1//\//_}" 2>"$out/errors_${1//\//_}"' -; then
    # Each finding once: one in a header comes with every source that includes it.
    cat "$out"/src_* | sed "s|$PWD/||g" | awk '/: (warning|error): / {show = !seen[$0]++} show'
    grep -hE 'rror' "$out"/errors_* | grep -v 'treated as error' || true
    echo "to look at one file: clang-tidy-19 FILE -- $dialect -Isrc"
    exit 1
fi
