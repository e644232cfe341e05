/* See life.h. */
#include "os.h"

#include "life.h"

#include "lease.h"

/* Why the peer of this slot is not there: EPIPE it never came or closed, EOWNERDEAD it died; 0 it
 * is there, or on its way (and will ring). */
static int absence(struct shmq *q, unsigned slot) {
    const uint64_t last = q->seen_life[slot];
    /* L1: acquire, pairs with L2. Whoever sees a life closed also sees all that it published. */
    const uint64_t life = q->seen_life[slot] = shared_load_acquire(&q->peer->life[slot]);
    /* Nobody came; or the life that we knew is closed, whatever the lease says: it is dropped right after, or a
     * successor's. Any other even word under a lease is damage, or that of one that came and went in between. */
    if (life % 2 == 0 && life == (last == 0 ? 0 : last + 1)) return EPIPE;
    if (lease_held(q->region.object, region_role(region_other(q->end)) + (int)slot, 1)) return 0;
    return life % 2 == 0 ? EPIPE : EOWNERDEAD;
}

void life_begin(struct shmq *q) {
    shared_u64 *own = &q->own->life[q->region.slot];
    /* Our own slot is ours alone since the lease was taken: relaxed load. */
    q->life = (shared_load(own) + 1) | 1;
    for (unsigned slot = 0; slot < q->peer_slots; slot++) {
        q->old_life[slot] = absence(q, slot) == 0 ? 0 : q->seen_life[slot];
        if (q->end == SHMQ_CONSUMER) q->old_life[slot] = shared_load(&q->own->end_seen[slot]); /* relaxed: no order */
    }
    /* L2: relaxed, for the barrier of the announcement before it (D2) is the release. Pairs with L1. */
    shared_store(own, q->life);
}

void life_end(struct shmq *q) {
    /* L2: release, pairs with L1. Without it a consumer could see us gone and our last message not yet there. */
    shared_store_release(&q->own->life[q->region.slot], q->life + 1);
}

int life_of_peer(struct shmq *q) {
    int gone = 0;
    for (unsigned slot = 0; slot < q->peer_slots; slot++) {
        int why = absence(q, slot);
        if (why == 0) return q->gone = 0;
        if (q->seen_life[slot] != 0 && q->seen_life[slot] != q->old_life[slot] && gone != EOWNERDEAD) gone = why;
    }
    /* One may have come before the last of them left, but after we had passed its slot. */
    for (unsigned slot = 0; slot < q->peer_slots; slot++)
        if (shared_load(&q->peer->life[slot]) != q->seen_life[slot]) return q->gone = 0; /* relaxed: ordered by L1 */
    if (gone == 0) gone = q->gone;
    if (gone != 0) return gone;
    /* In this order: once the name is gone nobody new takes a lease. */
    bool alone = region_unlinked(&q->region) && !lease_held(q->region.object, region_role(region_other(q->end)), SLOTS);
    return alone ? EPIPE : 0;
}

void life_report(struct shmq *q, int gone) {
    q->gone = gone; /* and so again, until somebody comes */
    for (unsigned slot = 0; slot < q->peer_slots; slot++) {
        q->old_life[slot] = q->seen_life[slot];
        if (q->end == SHMQ_CONSUMER) shared_store(&q->own->end_seen[slot], q->seen_life[slot]); /* for successors */
    }
}

uint32_t life_count(const struct shmq *q, enum shmq_end end) {
    uint32_t count = 0;
    for (unsigned slot = 0; slot < region_slots(&q->region.header, end); slot++)
        count +=
            (end == q->end && slot == q->region.slot) || lease_held(q->region.object, region_role(end) + (int)slot, 1);
    return count;
}
