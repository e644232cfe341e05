/* See doorbell.h. */
#include "os.h"

#include "doorbell.h"

#include "life.h"

/* How often an end looks at the ring before each sleep; and, if it cannot sleep, between two
 * questions whether the peer lives (under a millisecond). A sleep that was shorter than a wake-up takes was in vain. */
enum { LOOKS_LEAST = 128, LOOKS_MOST = 1024, WAKE_UP_NS = 50000 };

void doorbell_attach(struct shmq *q) {
    /* Relaxed: our own page, ours alone since the lease was taken. Odd: our predecessor died
     * asleep. */
    q->ticket = (shared_load(&q->own->ticket) + 1) & ~(uint64_t)1;
    /* Of one that died while it streamed. Relaxed: who sleeps and has missed what that one sent is rung when we announce
     * ourselves. */
    if (!q->many) shared_store(&q->own->light, 0);
    if (q->looks == 0) q->looks = q->bells.notifier->polls ? LOOKS_MOST : LOOKS_LEAST;
    shared_store(&q->own->ticket, q->ticket);
}

static int ring_now(struct shmq *q, uint64_t ticket) {
    q->rung = ticket;
    doorbell_darken(q);
    shared_count(&q->own->rings);
    const struct notifier *notifier = q->bells.notifier;
    return notifier->ring == NULL || notifier->ring(&q->bells) == 0 ? 0 : shmq_damaged(q);
}

void doorbell_darken(struct shmq *q) {
    /* D5: release, pairs with the load after D1. Who is told that we make our own barriers sees what we published without. */
    if (q->light) shared_store_release(&q->own->light, 0);
    q->light = false;
}

void doorbell_lighten(struct shmq *q) {
    if (q->light || q->many || !q->lightens) return;
    q->light = true;
    shared_store(&q->own->light, 1);
    /* D6: pairs with D1. A sleeper that misses our word has a ticket that we see from here on. */
    shared_barrier();
}

int doorbell_answer(struct shmq *q, uint64_t ticket) {
    uint64_t want = shared_load(&q->peer->want);     /* relaxed: ordered by D3 */
    if ((int64_t)(q->ring.own - want) < 0) return 0; /* too little yet: a later ring_advance comes by here again */
    return ring_now(q, ticket);
}

int doorbell_announce(struct shmq *q) {
    /* D2 and D3, as in doorbell_ring. */
    shared_barrier();
    uint64_t ticket = shared_load_acquire(&q->peer->ticket);
    return ticket % 2 == 0 ? 0 : ring_now(q, ticket);
}

static bool available(const struct shmq *q, uint64_t need) { return ring_available(&q->ring) >= need; }

static int look(struct shmq *q) { return ring_look(&q->ring) == 0 && q->fault == 0 ? 0 : shmq_damaged(q); }

/* Looks for longer before the next sleep if that has paid lately, or would have: a wake-up costs as much as very many
 * looks. */
static void adapt(struct shmq *q, bool paid) {
    const uint32_t looks = paid ? 2 * q->looks : q->looks / 2;
    q->looks = looks < LOOKS_LEAST ? LOOKS_LEAST : looks < LOOKS_MOST ? looks : LOOKS_MOST;
}

/* Looks a while, for that may save a sleep. */
static int spin(struct shmq *q, uint64_t need) {
    for (uint32_t turn = 0; turn < q->looks; turn++) {
        shared_pause();
        if (look(q) != 0) return -1;
        if (available(q, need)) return adapt(q, true), 0;
    }
    return 0;
}

/* Has the other end gone for good? Nothing is said while something is still available. */
static int ask_for_peer(struct shmq *q, uint64_t need) {
    int gone = life_of_peer(q);
    if (gone == 0) return 0;
    /* Its last words, published before it went. */
    if (look(q) != 0) return -1;
    if (available(q, need)) return 0;
    life_report(q, gone);
    return fail(gone);
}

/* Steps 0 to 3: from here on the other end rings. */
static int lie_down(struct shmq *q, uint64_t need) {
    if (q->bells.notifier->reset != NULL) q->bells.notifier->reset(&q->bells);
    /* The peer's cursor that makes `need` available. Relaxed: ordered by D4. */
    shared_store(&q->own->want, q->ring.own + need - q->ring.slack);
    q->ticket = (q->ticket + 1) | 1;
    shared_store_release(&q->own->ticket, q->ticket); /* D4: release, pairs with D3 */
    /* D1: step 2, pairs with D2. Between our ticket and the looks at the peer's cursor and life. */
    shared_barrier();
    /* And D2's part of a peer that leaves it to us; acquire, pairs with D5. Where that is denied time must do it: what was
     * stored before our ticket was seen does not stay in a core for a millisecond. Who polls looks again anyway. */
    if (!q->bells.notifier->polls && shared_load_acquire(&q->peer->light) != 0 &&
        os_membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0)
        (void)os_nap(OS_MS);
    if (q->bells.notifier->watch != NULL) q->bells.notifier->watch(&q->bells);
    return look(q);
}

/* Step 5. Relaxed: a ringer who misses it rings in vain. */
static void get_up(struct shmq *q) { shared_store(&q->own->ticket, ++q->ticket); }

/* Steps 0 to 5, one slice at most. 0: ask again whether enough is available. */
static int sleep_once(struct shmq *q, uint64_t need, int64_t until_ns) {
    int result = lie_down(q, need);
    if (result == 0 && !available(q, need)) result = ask_for_peer(q, need);
    if (result == 0 && !available(q, need)) {
        shared_count(&q->own->sleeps);
        const int64_t start_ns = os_now(), slice_ns = start_ns + SLICE_NS;
        q->bells.forever = until_ns == INT64_MAX && q->peer_slots == 1;
        result = q->bells.notifier->wait(&q->bells, slice_ns < until_ns ? slice_ns : until_ns);
        if (result != 0 && errno != EINTR) result = shmq_damaged(q);
        if (!q->bells.notifier->polls) adapt(q, os_now() - start_ns < WAKE_UP_NS);
    }
    get_up(q);
    return result;
}

int doorbell_arm(struct shmq *q, uint64_t need) {
    if (lie_down(q, need) != 0) return -1;
    if (!available(q, need) && life_of_peer(q) == 0) return 0;
    get_up(q);
    return 1;
}

int64_t doorbell_deadline(struct shmq *q, int timeout_ms) {
    if (timeout_ms <= 0) return timeout_ms == 0 ? 0 : INT64_MAX;
    if (q->until_ns == 0) q->until_ns = os_now() + timeout_ms * OS_MS;
    return q->until_ns;
}

int doorbell_wait(struct shmq *q, uint64_t need, int timeout_ms) {
    const int64_t until_ns = doorbell_deadline(q, timeout_ms);
    while (!available(q, need)) {
        if (timeout_ms != 0 && spin(q, need) != 0) return -1;
        if (available(q, need)) return 0;
        if (os_now() >= until_ns) {
            if (ask_for_peer(q, need) != 0) return -1;
            return available(q, need) ? 0 : fail(timeout_ms == 0 ? EAGAIN : ETIMEDOUT);
        }
        if (sleep_once(q, need, until_ns) != 0 || look(q) != 0) return -1;
    }
    return 0;
}
