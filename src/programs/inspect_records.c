/* The records of a queue that others may be using, looked at from outside: the second half of inspect.h. */
#include <stdlib.h>
#include <unistd.h>

#include "checksum.h"
#include "inspect.h"
#include "patience.h"
#include "region.h"
#include "ring.h"
#include "stop.h"

static const int64_t LIMIT_NS = 5000000000; /* a hostile queue, or a very large one, takes no more of our time */
static const uint64_t LONGEST = 64 << 20;   /* payload bytes that are worth a look at their checksum */

static uint64_t ring_starts(const struct inspection *found) { return PAGE_RING * (uint64_t)found->header.page_size; }

/* Reads from the ring at a position, around its end. */
static bool read_ring(const struct inspection *found, uint64_t position, void *to, size_t bytes) {
    unsigned char *at = to;

    while (bytes > 0) {
        const uint64_t offset = position & (found->header.capacity - 1);
        const uint64_t piece = found->header.capacity - offset;
        const size_t ask = bytes < piece ? bytes : (size_t)piece;
        const ssize_t got = pread(found->fd, at, ask, (off_t)(ring_starts(found) + offset));

        if (got <= 0) return false;
        at += got;
        position += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return true;
}

/* The head as it is now, after all that was read before. */
static bool read_head(const struct inspection *found, uint64_t *head) {
    const off_t at = (off_t)PAGE_CONSUMER * (off_t)found->header.page_size + (off_t)offsetof(struct end_page, cursor);

    atomic_thread_fence(memory_order_seq_cst);
    return pread(found->fd, head, sizeof *head, at) == (ssize_t)sizeof *head;
}

/* As ring_is_intact does, on a copy. False: the checksum is another one. `unsealed` counts those not looked at. */
static bool is_intact(const struct inspection *found, const struct ring *ring, size_t length, uint64_t *unsealed) {
    const size_t bytes = sizeof(uint64_t) + length;
    uint64_t *copy;
    bool intact = true;

    if (ring->before != RECORD_CHECKED) return true;
    copy = CHECKSUM_BUILT != 0 && length <= LONGEST ? malloc(bytes) : NULL;
    if (copy == NULL || !read_ring(found, ring->own + RECORD_HEADER, copy, bytes))
        (*unsealed)++; /* or truncated: the next read says so */
    else
        intact = copy[0] == checksum(copy + 1, length, ring->own ^ (uint64_t)ring->salt << 32);
    free(copy);
    return intact;
}

/* Judges the record at ring->own; its bytes in the ring go to *bytes. */
static enum record_fault judge(const struct inspection *found, const struct ring *ring, struct walk *walk,
                               uint64_t *bytes) {
    uint64_t header;
    size_t length;

    if (!read_ring(found, ring->own, &header, sizeof header)) return RECORD_UNREADABLE;
    length = (uint32_t)header;
    walk->length = length;
    *bytes = ring_record_bytes(ring, length);
    if (header != ring_header(ring, length)) return RECORD_TAG;
    if (length > ring->max_message) return RECORD_LENGTH;
    if (*bytes > ring_available(ring)) return RECORD_OVERRUN;
    return is_intact(found, ring, length, &walk->unsealed) ? RECORD_FINE : RECORD_CHECKSUM;
}

void inspect_records(const struct inspection *found, struct walk *walk) {
    const struct header *header = &found->header;
    const int64_t until_ns = monotonic_ns() + LIMIT_NS;
    struct ring ring = {
        .own = found->side[SHMQ_CONSUMER].cursor,
        .peer = found->side[SHMQ_PRODUCER].cursor,
        .capacity = header->capacity,
        .max_message = header->max_message,
        .salt = (uint32_t)header->instance,
        .before = region_record_header(header),
    };

    *walk = (struct walk){.complete = true};
    while ((int64_t)ring_available(&ring) > 0) {
        uint64_t bytes = 0, head;
        const enum record_fault fault = judge(found, &ring, walk, &bytes);

        walk->complete = stop_signal() == 0 && monotonic_ns() < until_ns;
        if (!walk->complete || !read_head(found, &head)) return;
        if ((int64_t)(head - ring.own) > 0) {
            ring.own = head; /* taken meanwhile: what we read may have been anything */
            continue;
        }
        if (fault != RECORD_FINE) {
            walk->fault = fault;
            walk->position = ring.own;
            return;
        }
        walk->messages++;
        ring.own += bytes;
    }
}
