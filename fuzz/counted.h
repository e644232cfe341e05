/* Put before each source of a target (ci/bazel/fuzz.bzl): the engine calls counts.c, and that calls the target. */
#pragma once

#include "fuzz.h"

int counted_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#define LLVMFuzzerTestOneInput counted_LLVMFuzzerTestOneInput
