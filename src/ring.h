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
#pragma once

#include <stdbool.h>

#include "shared.h"

/* Whoever makes one sets all but the pace, the cursors from memory, and calls ring_catch_up before the
 * first use. */
struct ring {
    uint64_t own;         /* this end's cursor */
    uint64_t peer;        /* the other end's as last seen and found possible */
    uint64_t slack;       /* available when both cursors are equal: producer, capacity; consumer, 0 */
    unsigned char *bytes; /* 2 x capacity, mapped twice or not */
    uint64_t capacity;    /* a power of two, at least 16 */
    uint64_t max_message; /* at most capacity - RECORD_HEADER, and below 2^32 */
    uint32_t salt;        /* not 0 */
    uint32_t before;      /* bytes of a record before its payload: RECORD_HEADER, RECORD_CHECKED */
    uint32_t pace;        /* pauses before the next look: ring_look_paced */
    bool streams;         /* the last of these looks has brought much */
    shared_u64 *own_word;
    const shared_u64 *peer_word;
};

/* Continues from the cursors in memory. -1 if they are impossible, or moved back; errno is for the
 * caller to set, here and below. */
int ring_catch_up(struct ring *ring);

/* Looks at the other end's cursor. -1 if it is impossible. */
int ring_look(struct ring *ring);

/* The same for an end that streams: first lets the other end run ahead for as long as that has
 * paid. */
int ring_look_paced(struct ring *ring);

/* With checksums: that of a payload in this place. */
uint64_t ring_checksum(const struct ring *ring, const void *payload, size_t length);

static inline uint64_t ring_available(const struct ring *ring) { return ring->peer + ring->slack - ring->own; }

/* Bytes that a message takes in the ring. */
static inline uint64_t ring_record_bytes(const struct ring *ring, uint64_t length) {
    return (ring->before + length + (RECORD_ALIGN - 1)) & ~(uint64_t)(RECORD_ALIGN - 1);
}

/* The record that comes next, and its payload. */
static inline void *ring_at(const struct ring *ring) { return ring->bytes + (ring->own & (ring->capacity - 1)); }

static inline void *ring_payload(const struct ring *ring) { return (unsigned char *)ring_at(ring) + ring->before; }

/* The header of a record of so many bytes that stands at ring_at(). */
static inline uint64_t ring_header(const struct ring *ring, size_t length) {
    uint32_t tag = (uint32_t)(ring->own / RECORD_ALIGN) ^ ring->salt;
    return (uint64_t)tag << 32 | (uint32_t)length;
}

/* Consumer, at least a header available: the next record's payload, and its length. NULL if
 * the record makes no sense. */
static inline const void *ring_read(const struct ring *ring, size_t *length) {
    const uint64_t header = shared_load(ring_at(ring)); /* relaxed: ordered by R2 */
    *length = (uint32_t)header;
    if (header != ring_header(ring, *length) || *length > ring->max_message) return NULL;
    return ring_record_bytes(ring, *length) <= ring_available(ring) ? ring_payload(ring) : NULL;
}

/* Where a checksum stands; relaxed accesses, ordered as the payload's. */
static inline shared_u64 *ring_seal(const struct ring *ring) { return (shared_u64 *)ring_at(ring) + 1; }

/* `payload` stands at ring_payload(), or was copied from there. */
static inline bool ring_is_intact(const struct ring *ring, const void *payload, size_t length) {
    return ring->before != RECORD_CHECKED || shared_load(ring_seal(ring)) == ring_checksum(ring, payload, length);
}

/* Gives `bytes` to the other end: the producer publishes a record, the consumer releases one. */
static inline void ring_advance(struct ring *ring, uint64_t bytes) {
    ring->own += bytes;
    /* R1 advance: release, pairs with the other end's R2 look. Producer: whoever sees the new
     * tail sees the record written below it; without it the consumer could read bytes of an
     * earlier lap. Consumer: our reads of the record are done before the producer sees that its
     * space is free; without it they could return what is written there next. */
    shared_store_release(ring->own_word, ring->own);
}

/* Producer, with room for it: publishes what stands at ring_payload(). `payload` is that, or better what was copied
 * there: a checksum of it also notices what is damaged before it is taken. */
static inline void ring_publish(struct ring *ring, const void *payload, size_t length) {
    if (ring->before == RECORD_CHECKED) shared_store(ring_seal(ring), ring_checksum(ring, payload, length));
    shared_store(ring_at(ring), ring_header(ring, length)); /* relaxed: nobody looks before R1 */
    ring_advance(ring, ring_record_bytes(ring, length));
}
