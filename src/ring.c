/* The part of the ring that disbelieves: everything that the other end wrote passes here. See
 * ring.h. */
#include "ring.h"

#include "checksum.h"

/* Pacing. A cursor has to travel between the cores' caches for each look, so a look should
 * bring many messages. Once an end streams (a look at once brings something) but each look brings
 * little, it pauses before the next one, longer and longer, and the other end runs ahead
 * undisturbed. A look that brings nothing ends it: latency comes first then. */
enum { PACE_MAX = 63, PACE_ENOUGH_BYTES = 16 * 1024 };

/* Of one look; the simulator's rings have less. */
#ifndef STREAM_BYTES
#define STREAM_BYTES 4096
#endif

int ring_catch_up(struct ring *ring) {
    const struct ring before = *ring;
    ring->own = shared_load(ring->own_word);           /* relaxed: ours, by lease or side lock */
    ring->peer = shared_load_acquire(ring->peer_word); /* R2, as in ring_look */
    if ((int64_t)(ring->own - before.own) < 0 || (int64_t)(ring->peer - before.peer) < 0 ||
        ring->own % RECORD_ALIGN != 0 || ring->peer % RECORD_ALIGN != 0)
        return -1;
    return ring_available(ring) <= ring->capacity ? 0 : -1;
}

int ring_look(struct ring *ring) {
    /* R2 look: acquire, pairs with the other end's R1 advance. */
    uint64_t seen = shared_load_acquire(ring->peer_word);
    /* A cursor never moves back, and never past what it may own: both are one unsigned
     * comparison. */
    if (seen - ring->peer > ring->capacity - ring_available(ring) || seen % RECORD_ALIGN != 0) return -1;
    ring->peer = seen;
    return 0;
}

int ring_look_paced(struct ring *ring) {
    for (uint32_t turn = 0; turn < ring->pace; turn++)
        shared_pause();
    uint64_t before = ring->peer;
    if (ring_look(ring) != 0) return -1;
    uint64_t gained = ring->peer - before;
    ring->streams = gained >= STREAM_BYTES;
    const bool little = gained < PACE_ENOUGH_BYTES && gained < ring->capacity / 4;
    ring->pace = gained == 0 ? 0 : little ? (2 * ring->pace + 1) & PACE_MAX : ring->pace / 2;
    return 0;
}

/* The position is part of it, so that no older payload passes for this one. */
uint64_t ring_checksum(const struct ring *ring, const void *payload, size_t length) {
    return checksum(payload, length, ring->own ^ (uint64_t)ring->salt << 32);
}
