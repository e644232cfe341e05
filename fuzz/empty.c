/* Does nothing: what an engine costs by itself. fuzz/speed.py measures the other targets against it. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    (void)data;
    (void)size;
    return 0;
}
