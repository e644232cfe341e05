/* How many operations of the queue a target has done. */
#ifndef FUZZ_OPERATIONS_H
#define FUZZ_OPERATIONS_H

#include <stdint.h>

/* What the target counted in a global `uint64_t fuzz_operations`; 0 if it has none. */
uint64_t operations_done(void);

#endif
