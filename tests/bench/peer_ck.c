/* ck_ring: Concurrency Kit's ring in shared memory, for one producer and one consumer: its fastest form. Nobody
 * sleeps.
 *
 * A ck_ring holds pointers, and does so in shared memory as well if they mean the same to both: here they are numbers
 * of slots. There are twice as many slots as entries, used in turn, so the slot that the consumer has taken from the
 * ring and is still reading is not written again, and no second ring is needed to give it back. Who waits tells the
 * processor (ck_pr_stall does the same as lane_look) and yields now and then. */
#include "peer.h"

#include <ck_ring.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { LINE = 64 };

struct rings {
    int formatted;
    ck_ring_t ring;
    ck_ring_buffer_t entries[];
};

struct slot {
    uint64_t length;
    unsigned char bytes[];
};

/* Slots start at a cache line each. */
static size_t slot_bytes(const struct lane *lane) {
    return (sizeof(struct slot) + lane->longest + LINE - 1) / LINE * LINE;
}

/* lane->count is how many entries there are. */
static size_t slots_at(const struct lane *lane) {
    return (sizeof(struct rings) + lane->count * sizeof(ck_ring_buffer_t) + LINE - 1) / LINE * LINE;
}

static size_t all_bytes(const struct lane *lane) { return slots_at(lane) + (size_t)2 * lane->count * slot_bytes(lane); }

static struct slot *slot_of(const struct lane *lane, uintptr_t number) {
    return (struct slot *)(void *)((char *)lane->state + slots_at(lane) + number * slot_bytes(lane));
}

/* A power of two, as ck_ring_init wants it; one entry always stays empty. */
static int ck_make(struct lane *lane) {
    lane->count = 4;
    while (2 * lane->count * slot_bytes(lane) <= lane_room(lane))
        lane->count *= 2;
    return 0;
}

static void format(const struct lane *lane, void *object) {
    struct rings *rings = object;
    ck_ring_init(&rings->ring, lane->count);
}

static int ck_open(struct lane *lane, enum peer_end end) {
    (void)end;
    (void)ck_make(lane); /* nobody has, of two that start at once */
    lane->state = lane_share(lane, all_bytes(lane), format);
    return lane->state != NULL ? 0 : -1;
}

static void ck_close(struct lane *lane) {
    if (lane->state != NULL) (void)munmap(lane->state, all_bytes(lane));
    lane->state = NULL;
}

/* Only the producer moves p_tail. */
static int ck_send(struct lane *lane, const void *message, size_t length) {
    struct rings *rings = lane->state;
    struct looking looking = {.timeout_ms = -1};
    const uintptr_t number = rings->ring.p_tail & (2 * rings->ring.size - 1);
    if (length > lane->longest) return errno = EMSGSIZE, -1;
    struct slot *slot = slot_of(lane, number);
    memcpy(slot->bytes, message, length);
    slot->length = length;
    while (!ck_ring_enqueue_spsc(&rings->ring, rings->entries, (const void *)number)) /* NOLINT: a number */
        (void)lane_look(&looking);
    return 0;
}

static ssize_t ck_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct rings *rings = lane->state;
    struct looking looking = {.timeout_ms = timeout_ms};
    void *entry;
    (void)size;
    while (!ck_ring_dequeue_spsc(&rings->ring, rings->entries, (void *)&entry))
        if (lane_look(&looking) != 0) return -1;
    if ((uintptr_t)entry >= (uintptr_t)2 * rings->ring.size) return errno = EBADMSG, -1;
    const struct slot *slot = slot_of(lane, (uintptr_t)entry);
    const size_t length = slot->length;
    if (length > lane->longest) return errno = EBADMSG, -1;
    memcpy(buffer, slot->bytes, length);
    return (ssize_t)length;
}

static size_t ck_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    struct rings rings;
    if (!lane_peek(lane, &rings, sizeof rings)) return 0;
    const unsigned mask = 2 * lane->count - 1;
    size_t count = 0;
    spots[count++] = lane_spot(lane, 0, sizeof rings);
    for (unsigned at = rings.ring.c_head; at != rings.ring.p_tail && count < PEER_SPOTS - 1; at++) {
        spots[count++] = lane_spot(lane, slots_at(lane) + (at & mask) * slot_bytes(lane), slot_bytes(lane));
    }
    return count;
}

const struct peer peers_ck[] = {
    {
        .name = "ck_ring",
        .named = true,
        .busy = true,
        .make = ck_make,
        .open = ck_open,
        .send = ck_send,
        .receive = ck_receive,
        .close = ck_close,
        .forget = lane_unshare,
        .spots = ck_spots,
    },
    {.name = NULL},
};
