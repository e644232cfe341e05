/* The ring: records in shared bytes between two cursors, seen from one end.
 *
 * Works on memory that it is given and makes no system call. Knows no doorbell, no lease and no
 * name. An end owns one cursor, the other end owns the other: what this end owns it keeps here,
 * in private memory, and never reads back; what the other end owns is read once per decision and
 * checked before use.
 *
 *     head ............ tail          both only grow, modulo 2^64
 *      | readable        | free, until head + capacity
 *
 * "Available" is what this end may touch next: free bytes for the producer, readable bytes for
 * the consumer.
 *
 * A record always starts in the first copy of the ring and may run on into the second, so it is
 * contiguous in both ends' view. Memory that is not mapped twice (tests; rings below a page) is
 * simply given as 2 x capacity bytes. */
#ifndef RING_H
#define RING_H

#include <stdbool.h>

#include "shared.h"

struct ring {
    uint64_t own;   /* this end's cursor */
    uint64_t peer;  /* the other end's as last seen and found possible */
    uint64_t slack; /* available when both cursors are equal: producer, capacity; consumer, 0 */
    unsigned char *bytes;
    uint64_t capacity;
    uint64_t max_message;
    uint32_t salt;
    uint32_t pace; /* pauses before the next look: ring_look_paced */
    shared_u64 *own_word;
    const shared_u64 *peer_word;
};

/* What a ring is made of; the cursor words lie in the ends' pages. */
struct ring_memory {
    shared_u64 *tail;
    shared_u64 *head;
    unsigned char *bytes; /* 2 x capacity, mapped twice or not */
    uint64_t capacity;    /* a power of two, at least 16 */
    uint64_t max_message; /* at most capacity - RECORD_HEADER, and below 2^32 */
    uint32_t salt;        /* not 0 */
};

/* Continues from the cursors in memory. -1 if they are impossible; errno is for
 * the caller to set, here and below. */
int ring_attach(struct ring *ring, bool producer, const struct ring_memory *memory);

/* Looks at the other end's cursor. -1 if it is impossible. */
int ring_look(struct ring *ring);

/* The same for an end that streams: first lets the other end run ahead for as long as that has
 * paid. */
int ring_look_paced(struct ring *ring);

/* Consumer, at least a header available: the next record's payload, and its length. NULL if
 * the record makes no sense. */
const void *ring_read(const struct ring *ring, size_t *length);

static inline uint64_t ring_available(const struct ring *ring) { return ring->peer + ring->slack - ring->own; }

/* Bytes that a message takes in the ring. */
static inline uint64_t ring_record_bytes(uint64_t length) {
    return (RECORD_HEADER + length + (RECORD_ALIGN - 1)) & ~(uint64_t)(RECORD_ALIGN - 1);
}

static inline void *ring_at(const struct ring *ring) { return ring->bytes + (ring->own & (ring->capacity - 1)); }

static inline uint32_t ring_tag(const struct ring *ring) { return (uint32_t)(ring->own / RECORD_ALIGN) ^ ring->salt; }

/* Gives `bytes` to the other end: the producer publishes a record, the consumer releases one. */
static inline void ring_advance(struct ring *ring, uint64_t bytes) {
    ring->own += bytes;
    /* R1 advance: release, pairs with the other end's R2 look. Producer: whoever sees the new
     * tail sees the record written below it; without it the consumer could read bytes of an
     * earlier lap. Consumer: our reads of the record are done before the producer sees that its
     * space is free; without it they could return what is written there next. */
    shared_store_release(ring->own_word, ring->own);
}

/* Producer, ring_record_bytes(length) available: publishes what stands at ring_at() +
 * RECORD_HEADER. */
static inline void ring_publish(struct ring *ring, size_t length) {
    struct record record = {.length = (uint32_t)length, .tag = ring_tag(ring)};
    shared_store_record(ring_at(ring), record); /* relaxed: nobody looks there before R1 */
    ring_advance(ring, ring_record_bytes(length));
}

#endif
