/* sem: a binary semaphore of our own on a futex, one u32 a doorbell in the meeting page. The classic pairing with mmap.
 *
 * Not sem_t: a damaged one makes libc abort the process, and the peer can write it. Here 0 is not rung and all else is; the
 * worst that a wrong value does is a needless look, or a wait that ends with its slice. Nothing needs repair after a death.
 * It does not count: one look serves all rings before it, and those of many ringers would add up. All accesses are relaxed:
 * the word is a hint, the cursors are the truth; the ticket orders a ring after the reset before it. */
#include "os.h"

#include "notify.h"
#include "shared.h"

static int sem_open_bells(struct bells *bells) {
    for (enum bell bell = MINE; bell <= THEIRS; bell++)
        bells->at[bell] = notify_is_items(bells, bell) ? &bells->meeting->items : &bells->meeting->space;
    return 0;
}

/* Takes all rings so far. */
static void sem_reset(struct bells *bells) { shared_store(bells->at[MINE], 0); }

static int sem_wait_until(struct bells *bells, int64_t until_ns) {
    shared_u64 *const mine = bells->at[MINE];
    if (shared_load(mine) != 0 || os_futex_wait(mine, 0, until_ns) == 0) return 0;
    return errno == ETIMEDOUT || errno == EAGAIN ? 0 : -1; /* EFAULT: the word is gone */
}

static int sem_ring(struct bells *bells) {
    shared_store(bells->at[THEIRS], 1);
    return os_futex_wake(bells->at[THEIRS], 1) < 0 ? -1 : 0;
}

const struct notifier shmq_notify_sem = {
    .name = "sem",
    .open = sem_open_bells,
    .reset = sem_reset,
    .wait = sem_wait_until,
    .ring = sem_ring,
};
