/* What a target has done: executions, which counts.c counts by itself, and operations of the queue. */
#pragma once

#include <stdint.h>

/* What the target counted where its global `uint64_t *fuzz_operations` points; 0 if it has none. */
uint64_t operations_done(void);
