/* How much gets through one way, and what the machine needs for it at least. */
#include "measures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int pass(struct pair *pair, int who, int64_t number) {
    struct lane *lane = &pair->lanes[0];
    return who == 0 ? message_send(pair, lane, number) : message_expect(pair, lane, number);
}

/* As fast as it goes; the receiver takes the time. The ring's first lap, which brings its pages here, is not counted,
 * and of the rounds the first tenth. */
int stream(struct pair *pair, int who) {
    struct lane *lane = &pair->lanes[0];
    const int64_t burst = burst_of(pair), lap = (int64_t)(lane_room(lane) / pair->bytes) + 8;
    int64_t number = 0;
    if (pair->peer->single) return errno = ENOTSUP, -1;
    for (; number < lap; number++)
        if (pass(pair, who, number) != 0) return -1;
    int64_t start = now_ns();
    for (int64_t round = -(int64_t)(pair->rounds / 10); round < pair->rounds; round++) {
        for (int64_t i = 0; i < burst; i++)
            if (pass(pair, who, number++) != 0) return -1;
        const int64_t now = now_ns();
        if (who == 1 && round >= 0) pair_column(pair, 0)[round] = in_ps(now - start, burst);
        start = now;
    }
    if (who == 0 && lane->peer->flush != NULL) lane->peer->flush(lane);
    return 0;
}

/* Copies messages into memory as large as a ring, or out of it, going round as a ring does; returns ps a message. */
static int64_t copy_some(const struct pair *pair, unsigned char *ring, bool in) {
    const size_t slots = lane_room(&pair->lanes[0]) / pair->bytes;
    const int64_t burst = burst_of(pair), start = now_ns();
    for (int64_t i = 0; i < burst; i++) {
        unsigned char *slot = ring + (size_t)i % slots * pair->bytes;
        (void)(in ? memcpy(slot, pair->message, pair->bytes) : memcpy(pair->message, slot, pair->bytes));
        __asm__ __volatile__("" ::"r"(ring), "r"(pair->message) : "memory"); /* somebody may read them */
    }
    return in_ps(now_ns() - start, burst);
}

/* In turns, so neither disturbs the other: no ring can be faster than the slower of IN and OUT. */
int copies(struct pair *pair, int who) {
    struct copied {
        _Atomic uint32_t turn;
        _Alignas(4096) unsigned char ring[];
    } *shared = pair->shared;
    unsigned char *ring = calloc(1, lane_room(&pair->lanes[0]));
    if (ring == NULL) return -1;
    for (int64_t round = -8; round < pair->rounds; round++) {
        pair_await(&shared->turn, (uint32_t)who);
        const int64_t alone = who == 0 ? copy_some(pair, ring, true) : 0;
        const int64_t across = copy_some(pair, shared->ring, who == 0);
        shared->turn = 1 - (uint32_t)who;
        if (round < 0) continue;
        if (who == 0) pair_column(pair, ALONE)[round] = alone;
        pair_column(pair, who == 0 ? IN : OUT)[round] = across;
    }
    free(ring);
    return 0;
}

int null_system_call(struct pair *pair, int who) {
    enum { CALLS = 1000 };
    for (uint32_t round = 0; who == 0 && round < pair->rounds; round++) {
        const int64_t start = now_ns();
        for (int i = 0; i < CALLS; i++)
            (void)syscall(SYS_getppid);
        pair_column(pair, 0)[round] = in_ps(now_ns() - start, CALLS);
    }
    return 0;
}
