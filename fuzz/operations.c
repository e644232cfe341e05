/* See operations.h. Also tells fuzz/speed.py, whichever engine runs the target: at exit, if FUZZ_OPERATIONS names a file for
 * it. */
#include "operations.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

extern uint64_t fuzz_operations __attribute__((weak));

uint64_t operations_done(void) { return &fuzz_operations == NULL ? 0 : fuzz_operations; }

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FUZZ_OPERATIONS");
    FILE *file = path == NULL ? NULL : fopen(path, "we");
    if (file == NULL) return;
    fprintf(file, "%" PRIu64 "\n", operations_done());
    fclose(file);
}
