/* See memory.h. */
#include "memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "guard.h"
#include "lease.h"

enum { PAGE = 4096 };

int attach_memory(shmq **handle, const struct region *region, enum shmq_end end) {
    guard_lock();
    struct shmq *q = guard_new();
    guard_unlock();
    *handle = NULL;
    q->region = *region;
    q->region.role = end;
    if (shmq_begin(q) == 0) {
        *handle = q;
        return 0;
    }
    bells_close(&q->bells);
    guard_lock();
    guard_free(q);
    guard_unlock();
    return -1;
}

struct memory memory_new(enum shmq_notify notify, size_t capacity, unsigned flags, uint64_t instance) {
    const size_t bytes = PAGE_RING * PAGE + (2 * capacity + PAGE - 1) / PAGE * PAGE;
    struct memory memory = {.pages = aligned_alloc(PAGE, bytes)};
    unsigned char *base = memory.pages;
    CHECK(base != NULL);
    memset(base, 0, bytes);
    memory.region = (struct region){
        .directory = -1,
        .object = -1,
        .header = {.capacity = capacity,
                   .max_message = capacity - RECORD_CHECKED,
                   .notify = notify,
                   .flags = flags,
                   .instance = instance | 1},
        .end = {(struct end_page *)(void *)(base + PAGE_PRODUCER * PAGE),
                (struct end_page *)(void *)(base + PAGE_CONSUMER * PAGE)},
        .meeting = (struct meeting *)(void *)(base + PAGE_MEETING * PAGE),
        .ring = base + PAGE_RING * PAGE,
    };
    const struct notifier *notifier = notifier_of(notify);
    if (notifier->format != NULL) CHECK(notifier->format(memory.region.meeting) == 0);
    return memory;
}

void memory_open_object(struct region *region, enum shmq_end end) {
    region->directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    region->object = open("object", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(region->directory >= 0 && region->object >= 0);
    CHECK(lease_take(region->object, region_role(end) + (int)region->slot, F_WRLCK) == 0);
}

void memory_free(struct memory *memory) {
    const struct notifier *notifier = notifier_of(memory->region.header.notify);
    memory_open_object(&memory->region, SHMQ_PRODUCER);
    const struct bells queue = {.directory = memory->region.directory,
                                .object = memory->region.object,
                                .instance = memory->region.header.instance};
    if (notifier->remove != NULL) notifier->remove(&queue);
    region_close(&memory->region);
    CHECK(unlink("object") == 0);
    free(memory->pages);
}
