/* See counts.h. Lets others read along, whichever engine runs the target: if FUZZ_COUNTS names a file, its first 8 bytes
 * are the executions and the next 8 the operations, of this process and of those that it forks, also while they run and
 * after they were killed. */
#include "counts.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "counted.h"
#undef LLVMFuzzerTestOneInput

extern uint64_t *fuzz_operations __attribute__((weak));

static uint64_t own;
static uint64_t *executions = &own;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ++*executions;
    return counted_LLVMFuzzerTestOneInput(data, size);
}

uint64_t operations_done(void) { return &fuzz_operations == NULL ? 0 : *fuzz_operations; }

__attribute__((constructor)) static void share(void) {
    const char *path = getenv("FUZZ_COUNTS");
    if (path == NULL) return;
    const size_t bytes = 2 * sizeof *executions;
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) return perror(path);
    void *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (shared == MAP_FAILED) return perror(path);
    executions = shared;
    if (&fuzz_operations != NULL) fuzz_operations = executions + 1;
}
