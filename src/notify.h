/* Notifiers: how a sleeper is woken. One file each, behind the same few functions.
 *
 * A notifier knows nothing of the ring, of messages or of who lives: it is given the words it
 * may use, waits and rings. It may wake a sleeper without reason, and a ring may be lost when
 * its ringer dies: the doorbell protocol (doorbell.h) looks at the cursors after every wait, and
 * sleeps in slices. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdint.h>

#include "layout.h"

/* One end's view of both doorbells: it waits on `mine` and rings `theirs`. */
struct bells {
    shared_u32 *mine;
    shared_u32 *theirs;
};

struct notifier {
    const char *name;
    /* How often a waiter looks at the ring before each wait, at least and at most: looking
     * adapts between the two. */
    uint32_t fewest_looks, most_looks;
    /* Forgets rings that came before: afterwards only what rings from now on wakes. */
    void (*reset)(struct bells *bells);
    /* Until rung or until_ns (CLOCK_MONOTONIC); may also return for no reason. -1: EINTR,
     * EBADMSG. */
    int (*wait)(struct bells *bells, int64_t until_ns);
    /* Never waits. -1: EBADMSG. */
    int (*ring)(struct bells *bells);
};

extern const struct notifier shmq_notify_sem;
extern const struct notifier shmq_notify_spin;

/* By enum shmq_notify; NULL if this build has none. */
const struct notifier *notifier_of(uint32_t kind);

#endif
