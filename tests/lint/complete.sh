#!/usr/bin/env bash
# No C file and no script of the tree escapes the tests of this folder: compares what Bazel handed to this test with
# what stands in the source tree. Needs to run outside the sandbox, because it looks at the tree itself.
set -euo pipefail

tree=$(dirname "$(readlink -f README.md)")

# The files below $1 that lint tests look at, one a line; not what measurements and campaigns leave at its top.
lintable() {
    cd "$1"
    find -L . \( -name 'bazel-*' -o -name .git -o -path ./bench-results -o -path ./crash-results \
        -o -path ./fuzz-results -o -path ./sim-results -o -path ./stress-results \) -prune -o -type f -print | sed 's|^\./||' |
        while IFS= read -r file; do
            case $file in
                *.c | *.h | *.cc | *.sh) printf '%s\n' "$file" ;;
                *.*/* | *.*) [[ $file != .ci/* ]] || printf '%s\n' "$file" ;;
                *) ! head -c 64 "$file" | grep -aqE '^#!.*\<(ba|da)?sh\>' || printf '%s\n' "$file" ;;
            esac
        done | sort
}

forgotten=$(comm -23 <(lintable "$tree") <(lintable "$PWD"))
if [[ -n $forgotten ]]; then
    printf 'not linted: %s\n' "$forgotten"
    echo 'Add shmq_lint_files() to the BUILD file of its package, and that package to LINT_FILES in tests/lint/BUILD.'
    exit 1
fi
echo "$(lintable "$tree" | wc -l) files, none forgotten"
