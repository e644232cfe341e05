#!/usr/bin/env bash
# Every C or C++ file among this test's files is laid out as .clang-format says.
set -euo pipefail

mapfile -t sources < <(find -L . -type f \( -name '*.[ch]' -o -name '*.cc' \) | sort)
echo "clang-format: ${#sources[@]} files"
[[ ${#sources[@]} -ge 3 ]] || { echo 'too few: has the list of files in tests/lint/BUILD lost some?'; exit 1; }
wrong=()
for source in "${sources[@]}"; do
    clang-format-19 --style=file "$source" | diff -u --label "$source" --label 'as it should be' "$source" - ||
        wrong+=("${source#./}")
done
[[ ${#wrong[@]} -eq 0 ]] || { echo "to mend: clang-format-19 -i ${wrong[*]}"; exit 1; }
