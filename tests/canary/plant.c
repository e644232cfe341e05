/* The faults. See plant.h, which is included in here by force like everywhere else. */
#include "plant.h"

#include <stdio.h>
#include <string.h>

#undef malloc
#undef memory_order_release

static enum plant planted;

enum plant plant_now(void) { return planted; }

/* Before main, so that no two threads do it. */
__attribute__((constructor)) static void choose(void) {
    static const char *const names[] = {"none", "overflow", "release", "shift", "uninitialised", "leak"};
    const char *name = getenv("SHMQ_PLANT");
    if (name == NULL) return;
    for (planted = NOTHING; strcmp(name, names[planted]) != 0; planted++)
        if (planted == LEAK) {
            fprintf(stderr, "SHMQ_PLANT=%s: there is no such fault\n", name);
            exit(2);
        }
}

static volatile int sink;

static void shift(size_t bytes) {
    const volatile int bits = 32 + (int)bytes;
    sink = 1 << bits;
}

/* By a pointer that a compiler cannot look through: gcc would see the fault itself. */
static void branch(void) {
    volatile unsigned char *volatile byte = malloc(1);
    if (byte != NULL && *byte == 7) sink = 1;
    free((void *)(size_t)byte);
}

__attribute__((noinline)) static void lose(void) {
    static atomic_int lost;
    if (atomic_fetch_add(&lost, 1) >= 8) return;
    char *volatile block = malloc(64);
    block[0] = 1;
    block = NULL;
}

void plant_at(size_t bytes) {
    switch (planted) {
    case SHIFT: shift(bytes); break;
    case UNINITIALISED: branch(); break;
    case LEAK: lose(); break;
    default: break;
    }
}
