/* What a fuzzer would do: the fuzz target takes bytes of all kinds, and the same bytes are the same run. */
#include "check.h"

#include "mix.h"
#include "plot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUTS = 2000, BYTES = 200 };

TEST(bytes_are_choices) {
    uint64_t state = check_random();
    for (int input = 0; input < INPUTS; input++) {
        uint8_t bytes[BYTES];
        const uint64_t often = random_of(&state) % 256; /* in half of all runs, few choices are not 0 */
        for (int at = 0; at < BYTES; at++) {
            const uint64_t number = random_of(&state);
            bytes[at] = at == 0 || number % 256 < often ? (uint8_t)(number >> 8) : 0;
        }
        const size_t size = random_of(&state) % (BYTES + 1);
        CHECK(LLVMFuzzerTestOneInput(bytes, size) == 0);
        const unsigned steps = engine.steps;
        const uint64_t objects = engine.objects;
        CHECK(LLVMFuzzerTestOneInput(bytes, size) == 0);
        CHECK(engine.steps == steps && engine.objects == objects);
    }
}

int main(int argc, char **argv) { return check_main(argc, argv); }
