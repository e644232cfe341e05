#!/usr/bin/env bash
# Every script among this test's files passes shellcheck. A script is what starts with #! and a shell.
set -euo pipefail

mapfile -t scripts < <(find -L . -type f -exec grep -lIE -m1 '^#!.*\<(ba|da)?sh\>' {} + | sort)
echo "shellcheck: ${#scripts[@]} scripts"
[[ ${#scripts[@]} -ge 3 ]] || { echo 'too few: has the list of files in tests/lint/BUILD lost some?'; exit 1; }
shellcheck --external-sources "${scripts[@]}"
