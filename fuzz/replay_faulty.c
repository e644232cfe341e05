/* A target that fails in the way that its input names: does the replay tell? See replay_test.sh. */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t runs;

uint64_t fuzz_outcome(void) { return runs; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void *volatile kept;
    switch (size == 0 ? 0 : data[0]) {
    case 'a': abort();
    case 'e': _exit(0);
    case 'h':
        while (true)
            pause();
    case 'l':
        kept = malloc(1000);
        kept = NULL;
        return kept != NULL;
    case 's': return runs++, 0;
    case 'o': return ((const volatile uint8_t *)data)[size] == 0;
    default: return 0;
    }
}
