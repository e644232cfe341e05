#!/usr/bin/env bash
# Builds every fuzz target as ClusterFuzzLite and OSS-Fuzz want it, without Bazel: X, X_seed_corpus.zip, X.dict and
# X.options in $OUT. From $CC, $CXX, $CFLAGS, $CXXFLAGS, $LIB_FUZZING_ENGINE, $SANITIZER and $WORK, which they set.
# What is compiled with what is as fuzz/BUILD and ci/bazel/fuzz.bzl have it.
set -euo pipefail

# The tree: this file lies in it, or there is a copy beside it, or we are in it.
for tree in "$(dirname "${BASH_SOURCE[0]}")/.." "${SRC:-/src}/shmq" "$PWD"; do
    [[ ! -e $tree/fuzz/fuzz.h ]] || break
done
cd "$tree"
: "${OUT:?where the targets go}" "${LIB_FUZZING_ENGINE:?what they are linked with}"
objects=$(mktemp -d "${WORK:-/tmp}/shmq.XXXXXX")
trap 'rm -rf "$objects"' EXIT

read -ra cflags <<<"-O2 ${CFLAGS-}"
read -ra cxxflags <<<"${CXXFLAGS-}"
read -ra engine <<<"$LIB_FUZZING_ENGINE"
cflags+=(-std=gnu11 -D_GNU_SOURCE -Isrc -Isrc/programs -Ifuzz -Itests/support)
# Who is killed leaves by longjmp, and asan's frames that notice a use after return would never be given back.
[[ ${SANITIZER-} != address ]] || cflags+=(-fsanitize-address-use-after-return=never)

pids=()
cores=$(nproc)

# One source more, while others are being compiled. $1 the object; the rest: options and the source
compile() {
    local object=$objects/$1 before=$((${#pids[@]} - cores))
    mkdir -p "$(dirname "$object")"
    [[ $before -lt 0 ]] || wait "${pids[before]}" # and its failure is ours
    "${CC:-clang}" "${cflags[@]}" "${@:2}" -c -o "$object" &
    pids+=($!)
}

# Whatever is not the process's own.
for source in src/programs/*.c; do
    case $(basename "$source" .c) in producer | consumer | shmqctl | startup | stop) continue ;; esac
    compile "programs/$(basename "$source" .c).o" -include fuzz/seam.h "$source"
done
for source in src/*.c fuzz/kernel*.c fuzz/support.c; do
    compile "core/$(basename "$source" .c).o" -include fuzz/seam.h "$source"
done
for source in fuzz/counts.c fuzz/orphan.c tests/support/msan.c; do
    compile "core/$(basename "$source" .c).o" "$source"
done
targets=()
for corpus in fuzz/corpus/*; do
    target=$(basename "$corpus")
    [[ $target != empty ]] || continue # nothing is to be found there
    targets+=("$target")
    compile "$target.o" -include fuzz/seam.h -include fuzz/counted.h "fuzz/$target.c"
done
for pid in "${pids[@]}"; do wait "$pid"; done
"${AR:-ar}" rc "$objects/programs.a" "$objects"/programs/*.o # for the one that wants them

# max_length of target $1 in fuzz/BUILD
max_length() {
    awk -v name="\"$1\"," '/^[a-z_]+\(/ {inside = 0} $1 == "name" && $3 == name {inside = 1}
        inside && $1 == "max_length" {print $3 + 0}' fuzz/BUILD
}

for target in "${targets[@]}"; do
    "${CXX:-clang++}" "${cxxflags[@]}" -o "$OUT/$target" "$objects/$target.o" "$objects"/core/*.o \
        "$objects/programs.a" "${engine[@]}" -pthread -lrt -ldl
    seeds=(fuzz/corpus/"$target"/*)
    [[ ! -d fuzz/regressions/$target ]] || seeds+=(fuzz/regressions/"$target"/*)
    rm -f "$OUT/${target}_seed_corpus.zip"
    python3 -m zipfile -c "$OUT/${target}_seed_corpus.zip" "${seeds[@]}"
    printf '[libfuzzer]\nmax_len = %s\n' "$(max_length "$target")" >"$OUT/$target.options"
    [[ ! -e fuzz/$target.dict ]] || cp "fuzz/$target.dict" "$OUT/"
done
