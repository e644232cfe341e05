/* See world.h. */
#include "sim_os.h"

#include "world.h"

#include <string.h>

#include "guard.h"
#include "handle.h"
#include "lease.h"
#include "memory.h"

enum { PAGE_BYTES = 2048, MEETING_AT = 2 * PAGE_BYTES, RING_AT = MEETING_AT + 4096 };
_Static_assert(sizeof(struct end_page) <= PAGE_BYTES, "the pages lie behind each other");

static struct queue world;
static struct shmq handles[ACTORS_MOST];

static struct end_page *page_of(enum shmq_end end) { return (void *)(memory_bytes + PAGE_BYTES * (size_t)end); }

const struct end_page *world_page(enum shmq_end end) { return page_of(end); }

unsigned char *world_ring(void) { return memory_bytes + RING_AT; }

static const char *name_of(const void *word) {
    static const char *const ends[] = {"producer", "consumer"};
    static char name[40];
    const size_t offset = (size_t)((const unsigned char *)word - memory_bytes);
    if (offset >= RING_AT)
        (void)snprintf(name, sizeof name, "ring[%zu]", offset - RING_AT);
    else if (offset >= MEETING_AT)
        (void)snprintf(name, sizeof name, "meeting.%s", offset - MEETING_AT < 128 ? "items" : "space");
    else {
        const size_t at = offset % PAGE_BYTES;
        const char *field = at >= offsetof(struct end_page, end_seen) ? "end_seen"
                            : at >= offsetof(struct end_page, life)   ? "life"
                            : at >= offsetof(struct end_page, lock)   ? "lock"
                            : at >= offsetof(struct end_page, bell)   ? "bell"
                            : at >= offsetof(struct end_page, light)  ? "light"
                            : at >= offsetof(struct end_page, want)   ? "want"
                            : at >= offsetof(struct end_page, ticket) ? "ticket"
                                                                      : "cursor";
        (void)snprintf(name, sizeof name, "%s.%s", ends[offset / PAGE_BYTES], field);
    }
    return name;
}

/* A word of the own page, of a side that has one end at a time. */
static bool is_own(const void *word) {
    const struct shmq *q = &handles[engine.current];
    const size_t offset = (size_t)((const unsigned char *)word - (const unsigned char *)page_of(q->region.role));
    return offset < PAGE_BYTES && world.slots[q->region.role] == 1;
}

void world_make(const struct queue *queue) {
    world = *queue;
    memory_clear();
    memory_describe(name_of, is_own);
    memory_plain(world_ring(), queue->capacity, true);
    for (enum shmq_end end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        const unsigned taken = queue->slots[end];
        memory_constant(&page_of(end)->life[taken], (SLOTS - taken) * sizeof page_of(end)->life[0]);
        const unsigned seen = queue->slots[region_other(end)];
        memory_constant(&page_of(end)->end_seen[seen], (SLOTS - seen) * sizeof page_of(end)->end_seen[0]);
    }
}

void world_begin(void) {
    memory_begin();
    world_begin_os();
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        handles[at].open = false;
}

uint32_t world_process_space(void) { return world.strangers ? 1 + handles[engine.current].region.role : 1; }

bool world_is_empty_slot(int64_t byte) {
    const int64_t slot = byte - LEASE_ROLES;
    return slot >= 0 && slot < 2 * SLOTS && slot % SLOTS >= world.slots[slot / SLOTS];
}

struct shmq *world_handle(unsigned actor) { return handles[actor].open ? &handles[actor] : NULL; }

/* ---- What stands for guard.c ------------------------------------------------------------------------------------ */

void guard_lock(void) {}
void guard_unlock(void) {}

struct shmq *guard_new(void) {
    struct shmq *q = &handles[engine.current];
    memset(q, 0, sizeof *q);
    q->lightens = q->open = true;
    return q;
}

void guard_free(struct shmq *q) { q->open = false; }

/* ---- What stands for region.c ----------------------------------------------------------------------------------- */

int64_t region_deadline(void) { return 0; }

int region_open(struct region *region, const char *path, int oflag, const struct shmq_attr *attr) {
    (void)path;
    (void)oflag;
    (void)attr;
    region->directory = region->object = SIM_OBJECT;
    region->header = (struct header){
        .capacity = world.capacity,
        .max_message = world.capacity - RECORD_HEADER,
        .instance = 0x5eed5eedu,
        .notify = world.notify,
        .flags = world.flags,
    };
    for (enum shmq_end end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        region->end[end] = page_of(end);
    region->meeting = (void *)(memory_bytes + MEETING_AT);
    region->ring = world_ring();
    for (region->slot = 0; lease_take(region->object, region_own_lease(region), F_WRLCK) != 0; region->slot++)
        if (errno != EBUSY || region->slot + 1 == region_slots(&region->header, region->role)) return -1;
    return 0;
}

void region_close(struct region *region) { (void)region; }
void region_disown(struct region *region) { (void)region; }
bool region_unlinked(const struct region *region) { return (void)region, false; }
int region_retire(struct region *region, bool failed) { return (void)region, (void)failed, 0; }
int region_fail(void) { return -1; }
int region_unlink(const char *path, int64_t until_ns) { return (void)path, (void)until_ns, 0; }
