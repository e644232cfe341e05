/* What an engine, or replay.c, and a target know of each other. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* A target defines the first, and if it has to prepare something the second. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

/* How many operations of the queue a target has done, if it counts them: defined where it counts. */
extern uint64_t fuzz_operations __attribute__((weak));

#endif
