/* For fuzzers: the first byte names a plot, the others are the choices of one run, in their order; 0 when they are
 * used up. */
#include <stdlib.h>

#include "plot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    unsigned count = 0;
    while (plots[count].name != NULL)
        count++;
    if (size == 0) return 0;
    static const struct script *script;
    static unsigned current;
    if (script == NULL || current != data[0] % count) script = plot_script(&plots[current = data[0] % count]);
    struct driver driver = {.kind = DRIVE_BYTES, .bytes = data + 1, .bytes_left = size - 1};
    if (engine_run(script, &driver)) return 0;
    (void)fprintf(stderr, "FAILED: %s\nto see it: sim %s --replay ", engine.message, plots[current].name);
    engine_print_choices(stderr);
    (void)fputc('\n', stderr);
    abort();
}
