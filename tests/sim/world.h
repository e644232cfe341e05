/* The world that actors live in: one queue whose region and leases are simulated, and what stands for region.c and
 * guard.c, so that the scripts call shmq_open and the rest as any program does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "layout.h"
#include "shmq.h"

struct queue {
    enum shmq_notify notify;
    unsigned flags;
    uint64_t capacity;
    unsigned slots[2]; /* of each side that anybody will ever take */
    bool strangers;    /* each end in a PID namespace of its own */
};

/* The queue that the next runs are about; then, for each run, that nobody has been there yet. */
void world_make(const struct queue *queue);
void world_begin(void);

/* What the kernel does for one that was killed. */
void world_bury(unsigned actor);

/* The handle that an actor opened last; NULL: none, or it is closed. */
struct shmq *world_handle(unsigned actor);

/* The pages, to name words of. */
const struct end_page *world_page(enum shmq_end end);
unsigned char *world_ring(void);

/* os.c's part. */
void world_begin_os(void);
uint32_t world_process_space(void);
bool world_is_empty_slot(int64_t byte);
bool world_holds(unsigned actor, int64_t byte);
bool world_is_held(int64_t byte, int64_t bytes);
