/* The part of the ring that disbelieves: everything that the other end wrote passes here. See
 * ring.h. */
#include "ring.h"

/* Pacing. A cursor has to travel between the cores' caches for each look, so a look should
 * bring many messages. Once an end streams (a look at once brings something) but each look brings
 * little, it pauses before the next one, longer and longer, and the other end runs ahead
 * undisturbed. A look that brings nothing ends it: latency comes first then. */
enum { PACE_MAX = 64, PACE_ENOUGH_BYTES = 16 * 1024 };

int ring_attach(struct ring *ring, bool producer, const struct ring_memory *memory) {
    shared_u64 *own = producer ? memory->tail : memory->head;
    shared_u64 *peer = producer ? memory->head : memory->tail;
    *ring = (struct ring){
        .own = shared_load(own), /* relaxed: ours alone since the lease was taken */
        .slack = producer ? memory->capacity : 0,
        .bytes = memory->bytes,
        .capacity = memory->capacity,
        .max_message = memory->max_message,
        .salt = memory->salt,
        .own_word = own,
        .peer_word = peer,
    };
    ring->peer = shared_load_acquire(peer); /* R2, as in ring_look */
    if (ring->own % RECORD_ALIGN != 0 || ring->peer % RECORD_ALIGN != 0) return -1;
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
    if (gained == 0)
        ring->pace = 0;
    else if (gained < PACE_ENOUGH_BYTES && gained < ring->capacity / 4)
        ring->pace = ring->pace < PACE_MAX / 2 ? 2 * ring->pace + 1 : PACE_MAX;
    else
        ring->pace /= 2;
    return 0;
}

const void *ring_read(const struct ring *ring, size_t *length) {
    const unsigned char *at = ring_at(ring);
    struct record record = shared_load_record(at); /* relaxed: ordered by R2 */
    if (record.tag != ring_tag(ring) || record.length > ring->max_message ||
        ring_record_bytes(record.length) > ring_available(ring))
        return NULL;
    *length = record.length;
    return at + RECORD_HEADER;
}
