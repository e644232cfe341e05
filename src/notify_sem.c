/* sem: a counting semaphore of our own on a futex, one u32 a doorbell in the meeting page. The
 * classic pairing with mmap.
 *
 * Not sem_t: a damaged one makes libc abort the process, and the peer can write it. Here any
 * value is a valid count; the worst that a wrong one does is a needless look, or a wait that
 * ends with its slice. Nothing needs repair after a death. All accesses are relaxed: the count
 * is a hint, the cursors are the truth. */
#include "os.h"

#include "notify.h"
#include "shared.h"

static int sem_open_bells(struct bells *bells) {
    for (enum bell bell = MINE; bell <= THEIRS; bell++)
        bells->at[bell] = notify_is_items(bells, bell) ? &bells->meeting->items : &bells->meeting->space;
    return 0;
}

static void sem_reset(struct bells *bells) { shared_store(bells->at[MINE], 0); }

/* Down. */
static int sem_wait_until(struct bells *bells, int64_t until_ns) {
    shared_u64 *const mine = bells->at[MINE];
    if (shared_load(mine) == 0 && os_futex_wait(mine, 0, until_ns) != 0) {
        if (errno == ETIMEDOUT) return 0;
        if (errno != EAGAIN) return -1; /* EFAULT: the word is gone */
    }
    uint64_t count = shared_load(mine);
    if (count > 0) /* lost to a ringer: one needless look */
        (void)shared_swap(mine, count, count - 1);
    return 0;
}

/* Up, saturating. A peer that keeps changing the word cannot hold us here: the wake-up alone
 * suffices. */
static int sem_ring(struct bells *bells) {
    enum { TRIES = 8 };
    shared_u64 *const theirs = bells->at[THEIRS];
    for (int try = 0; try < TRIES; try++) {
        uint64_t count = shared_load(theirs);
        if ((uint32_t)count == UINT32_MAX || shared_swap(theirs, count, count + 1)) break;
    }
    return os_futex_wake(theirs, 1) < 0 ? -1 : 0;
}

const struct notifier shmq_notify_sem = {
    .name = "sem",
    .open = sem_open_bells,
    .reset = sem_reset,
    .wait = sem_wait_until,
    .ring = sem_ring,
};
