/* limit: the tightest ring that can be written, to show what the others could still gain. It is for nobody's use.
 *
 * Nobody sleeps, nothing is checked, nobody's death is noticed. The ring is mapped twice, one behind the other, so
 * each message is copied once in and once out, as shmq does it. The two cursors and what each end knows have cache
 * lines of their own; an end looks at the other's cursor only when it knows of no more, and moves its own for BATCH
 * bytes at a time, or when it has to wait, or by flush. */
#include "peer.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared.h"

enum { LINE = 128, BATCH = 16384 };

struct end {
    _Alignas(LINE) _Atomic uint64_t cursor; /* bytes put or taken so far, as the other may know */
    _Alignas(LINE) uint64_t here;           /* and in truth */
    uint64_t told, seen;                    /* our cursor, the other's, as it was last written and read */
};

struct ring {
    struct end ends[2];
    size_t room;
    _Alignas(4096) unsigned char bytes[];
};

static unsigned char *map(int object, void *at, size_t from, size_t bytes) {
    void *memory = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, object, (off_t)from);
    return memory != MAP_FAILED ? memory : NULL;
}

/* In one piece of address space: the header and the ring, and the ring again. */
static struct ring *map_twice(int object, size_t room) {
    const size_t once = sizeof(struct ring) + room;
    unsigned char *place = mmap(NULL, once + room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return NULL;
    if (map(object, place, 0, once) == NULL || map(object, place + once, sizeof(struct ring), room) == NULL)
        return NULL;
    struct ring *ring = (struct ring *)(void *)place;
    ring->room = room;
    return ring;
}

static int limit_make(struct lane *lane) {
    const size_t room = lane_room(lane);
    const int object = memfd_create("limit", MFD_CLOEXEC);
    if (object < 0) return -1;
    if (ftruncate(object, (off_t)(sizeof(struct ring) + room)) == 0) lane->state = map_twice(object, room);
    (void)close(object);
    return lane->state != NULL ? 0 : -1;
}

static int limit_open(struct lane *lane, enum peer_end end) {
    (void)lane, (void)end;
    return 0;
}

static void limit_close(struct lane *lane) {
    const struct ring *ring = lane->state;
    if (ring != NULL) (void)munmap(lane->state, sizeof *ring + 2 * ring->room);
    lane->state = NULL;
}

static size_t record_bytes(size_t length) { return sizeof(uint64_t) + (length + 7) / 8 * 8; }

static void tell(struct end *end) {
    if (end->told == end->here) return;
    end->told = end->here;
    atomic_store_explicit(&end->cursor, end->here, memory_order_release);
}

static void move(struct end *end, size_t bytes) {
    end->here += bytes;
    if (end->here - end->told >= BATCH) tell(end);
}

static uint64_t look(struct end *end, const struct end *other) {
    return end->seen = atomic_load_explicit(&other->cursor, memory_order_acquire);
}

static int limit_send(struct lane *lane, const void *message, size_t length) {
    struct ring *ring = lane->state;
    struct end *end = &ring->ends[PEER_PRODUCER];
    struct looking looking = {.timeout_ms = -1};
    const size_t bytes = record_bytes(length);
    while (end->here + bytes - end->seen > ring->room) {
        tell(end);
        if (end->here + bytes - look(end, &ring->ends[PEER_CONSUMER]) > ring->room) (void)lane_look(&looking);
    }
    unsigned char *record = &ring->bytes[end->here & (ring->room - 1)];
    memcpy(record, &length, sizeof length);
    shared_copy_in(record + sizeof length, message, length);
    move(end, bytes);
    return 0;
}

static void limit_flush(struct lane *lane) {
    struct ring *ring = lane->state;
    tell(&ring->ends[PEER_PRODUCER]);
}

static ssize_t limit_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct ring *ring = lane->state;
    struct end *end = &ring->ends[PEER_CONSUMER];
    struct looking looking = {.timeout_ms = timeout_ms};
    size_t length;
    (void)size;
    while (end->here == end->seen) {
        tell(end);
        if (look(end, &ring->ends[PEER_PRODUCER]) == end->here && lane_look(&looking) != 0) return -1;
    }
    const unsigned char *record = &ring->bytes[end->here & (ring->room - 1)];
    memcpy(&length, record, sizeof length);
    shared_copy_out(buffer, record + sizeof length, length);
    move(end, record_bytes(length));
    return (ssize_t)length;
}

const struct peer peers_limit[] = {
    {
        .name = "limit",
        .bound = true,
        .busy = true,
        .make = limit_make,
        .open = limit_open,
        .send = limit_send,
        .flush = limit_flush,
        .receive = limit_receive,
        .close = limit_close,
        .forget = limit_close,
    },
    {.name = NULL},
};
