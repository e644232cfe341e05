/* See sidelock.h. */
#include "os.h"

#include "sidelock.h"

#include "doorbell.h"
#include "lease.h"

/* The word: count, waiters, owner. The futex is its low half, where the last two are. */
static const uint64_t OWNER = 0xff, WAITERS = 0x100, COUNT_ONE = (uint64_t)1 << 32;
enum { LOOKS = 100 }; /* before the first sleep: a holder that does not sleep is quick */

static uint64_t name_of(const struct shmq *q) { return q->region.slot + 1; }

/* Takes the lock from what it was, if it still is. */
static bool swap(struct shmq *q, uint64_t word, uint64_t waiters) {
    const uint64_t mine = ((word | (COUNT_ONE - 1)) + 1) | (word & WAITERS) | waiters | name_of(q); /* one more */
    /* S1: acquire, pairs with S2, the last holder's. Its cursor and statistics are ours to go on from;
     * of one that died, whatever it stored. */
    if (!shared_swap(&q->own->lock, word, mine)) return false;
    q->lock = mine;
    return true;
}

void sidelock_inherit(struct shmq *q) {
    uint64_t word; /* relaxed: S1 decides */
    while (((word = shared_load(&q->own->lock)) & OWNER) == name_of(q))
        if (swap(q, word, 0)) sidelock_release(q);
}

static bool has_died(const struct shmq *q, uint64_t owner) {
    return !lease_held(q->region.object, region_role(q->end) + (int)owner - 1, 1);
}

/* Until the lock changes, a slice at most; `word` is what we saw. -1: EINTR EBADMSG. */
static int sleep_on(struct shmq *q, uint64_t word, int64_t until_ns) {
    shared_u64 *lock = &q->own->lock;
    const int64_t slice_ns = os_now() + SLICE_NS;
    if ((word & WAITERS) == 0 && !shared_swap(lock, word, word | WAITERS)) return 0;
    if (os_futex_wait(lock, (uint32_t)(word | WAITERS), slice_ns < until_ns ? slice_ns : until_ns) == 0) return 0;
    if (errno == EAGAIN || errno == ETIMEDOUT) return 0;
    return errno == EINTR ? -1 : shmq_damaged(q);
}

int sidelock_take(struct shmq *q, int timeout_ms) {
    uint64_t waiters = 0;
    for (uint32_t looks = timeout_ms == 0 ? LOOKS : 0;; looks++) {
        const uint64_t word = shared_load(&q->own->lock); /* relaxed: S1 decides */
        const uint64_t owner = word & OWNER;
        if (owner > SLOTS) return shmq_damaged(q);
        if (owner == 0 || owner == name_of(q) || (looks >= LOOKS && has_died(q, owner))) {
            if (swap(q, word, waiters)) return 0;
        } else if (looks < LOOKS) {
            shared_pause();
        } else if (os_now() >= doorbell_deadline(q, timeout_ms)) {
            return fail(timeout_ms == 0 ? EAGAIN : ETIMEDOUT);
        } else if (sleep_on(q, word, doorbell_deadline(q, timeout_ms)) != 0) {
            return -1;
        } else {
            waiters = WAITERS; /* perhaps others sleep as we did: one wake-up too many at most */
        }
    }
}

void sidelock_release(struct shmq *q) {
    int error = errno;
    /* S2: release, pairs with S1. Without it the next holder could go on from an old cursor. */
    uint64_t word = shared_exchange_release(&q->own->lock, q->lock & ~(COUNT_ONE - 1));
    if ((word & WAITERS) != 0) (void)os_futex_wake(&q->own->lock, 1);
    errno = error;
}
