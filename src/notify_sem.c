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

/* The kernel refuses a word that is gone (EFAULT). */
static int futex_failed(void) {
    if (errno != EINTR) errno = EBADMSG;
    return -1;
}

static void sem_reset(struct bells *bells) { shared_store32(bells->mine, 0); }

/* Down. */
static int sem_wait_until(struct bells *bells, int64_t until_ns) {
    if (shared_load32(bells->mine) == 0 && os_futex_wait(bells->mine, 0, until_ns) != 0) {
        if (errno == ETIMEDOUT) return 0;
        if (errno != EAGAIN) return futex_failed();
    }
    uint32_t count = shared_load32(bells->mine);
    if (count > 0) /* lost to a ringer: one needless look */
        (void)shared_swap32(bells->mine, count, count - 1);
    return 0;
}

/* Up, saturating. A peer that keeps changing the word cannot hold us here: the wake-up alone
 * suffices. */
static int sem_ring(struct bells *bells) {
    enum { TRIES = 8 };
    for (int try = 0; try < TRIES; try++) {
        uint32_t count = shared_load32(bells->theirs);
        if (count == UINT32_MAX || shared_swap32(bells->theirs, count, count + 1)) break;
    }
    return os_futex_wake(bells->theirs, 1) < 0 ? futex_failed() : 0;
}

const struct notifier shmq_notify_sem = {
    .name = "sem",
    .fewest_looks = 16,
    .most_looks = 1024,
    .reset = sem_reset,
    .wait = sem_wait_until,
    .ring = sem_ring,
};
