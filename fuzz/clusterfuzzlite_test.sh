#!/usr/bin/env bash
# What .clusterfuzzlite/build.sh builds, from a checkout anywhere, with each engine and sanitizer: every target starts,
# covers code, and replays its corpus; dictionary and options are such as the engine takes.
set -euo pipefail

for tool in clang-19 clang++-19 afl-showmap; do
    command -v "$tool" >/dev/null || { echo "SKIP: needs $tool"; exit 0; }
done
readonly LEAST=60 # edges: what `empty` has is one, what any target's corpus has is more than a hundred
scratch=${TEST_TMPDIR:?}
mkdir "$scratch/a checkout"
cp -rL src fuzz tests .clusterfuzzlite "$scratch/a checkout/"
export SRC=$scratch/src WORK=$scratch/work OUT CFLAGS CXXFLAGS LIB_FUZZING_ENGINE SANITIZER
export CC=clang-19 CXX=clang++-19
mkdir "$SRC" "$WORK"
declare -A coverage=([libfuzzer]=-fsanitize=fuzzer-no-link [afl]=-fsanitize-coverage=trace-pc-guard)
declare -A engines=([libfuzzer]=-fsanitize=fuzzer
    [afl]='/usr/lib/afl/libAFLDriver.a /usr/lib/afl/afl-compiler-rt.o -lstdc++ -lm')

fail() {
    [[ ! -e $scratch/log ]] || tail -n 30 "$scratch/log"
    echo "FAILED: $*"
    exit 1
}

# Runs a target, with its dictionary and its options, on its seeds; prints how many edges they cover.
edges_of_libfuzzer() { # $1 target, $2 folder of seeds
    local option
    option=-$(sed -n 's/ = /=/p' "$OUT/$1.options")
    "$OUT/$1" "$option" -dict="$OUT/$1.dict" -runs=0 "$2" >"$scratch/log" 2>&1 || return
    sed -nE 's/.*DONE +cov: ([0-9]+).*/\1/p' "$scratch/log"
}

edges_of_afl() {
    AFL_NO_UI=1 afl-showmap -C -i "$2" -o "$scratch/map" -- "$OUT/$1" >"$scratch/log" 2>&1 || return
    "$OUT/$1" "$2"/* >>"$scratch/log" 2>&1 || return # as one looks at findings
    sed -nE 's/.*coverage of ([0-9]+) edges.*/\1/p' "$scratch/log"
}

for SANITIZER in address undefined; do
    for engine in libfuzzer afl; do
        OUT=$scratch/$engine-$SANITIZER
        mkdir "$OUT"
        flags="-fsanitize=$SANITIZER -fno-sanitize-recover=all"
        CFLAGS="-O1 -gline-tables-only $flags ${coverage[$engine]}" CXXFLAGS=$flags
        LIB_FUZZING_ENGINE=${engines[$engine]}
        "$scratch/a checkout/.clusterfuzzlite/build.sh" >"$scratch/log" 2>&1 ||
            fail "$engine with $SANITIZER does not build"
        for corpus in fuzz/corpus/*; do
            target=$(basename "$corpus")
            [[ $target != empty ]] || continue
            seeds=$OUT/$target.seeds
            python3 -m zipfile -e "$OUT/${target}_seed_corpus.zip" "$seeds"
            [[ $(find "$seeds" -type f | wc -l) -ge $(find -L "$corpus" -type f | wc -l) ]] ||
                fail "$target: seeds are missing"
            edges=$("edges_of_$engine" "$target" "$seeds") || fail "$target with $engine and $SANITIZER"
            [[ ${edges:-0} -ge $LEAST ]] ||
                fail "$target with $engine and $SANITIZER covers ${edges:-no} edges, not $LEAST"
            echo "ok     $target $engine $SANITIZER: $edges edges"
        done
        rm -rf "$OUT"
    done
done
[[ -z $(ls -A "$WORK") ]] || fail "this is left in WORK: $(ls -A "$WORK")"
