/* What an engine, or replay.c, calls of a target. Put before each source of a target (ci/bazel/fuzz.bzl). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A target defines the first, and if it has to prepare something the second. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Optional: a number that tells what the last input made happen. It must be the same whatever ran before. */
__attribute__((weak)) uint64_t fuzz_outcome(void);
