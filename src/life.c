/* See life.h. */
#include "os.h"

#include "life.h"

#include "lease.h"

static bool peer_holds_lease(const struct shmq *q) {
    enum shmq_end other = q->end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
    return lease_held(q->region.object, region_role(other));
}

/* Why the peer is not there: EPIPE it never came or closed, EOWNERDEAD it died; 0 it is there, or
 * on its way (and will ring). */
static int absence(const struct shmq *q, uint64_t *life) {
    /* L1: acquire, pairs with L2. Whoever sees a life closed also sees all that it published. */
    *life = shared_load_acquire(&q->peer->life);
    if (*life % 2 == 0) return EPIPE; /* whatever the lease says: dropped right after, or a successor's */
    if (peer_holds_lease(q)) return 0;
    /* The same life still: so it was this one's lease that was free. */
    return shared_load_acquire(&q->peer->life) == *life ? EOWNERDEAD : 0;
}

void life_begin(struct shmq *q) {
    /* Our own page is ours alone since the lease was taken: relaxed loads. */
    q->life = (shared_load(&q->own->life) + 1) | 1;
    if (q->end == SHMQ_CONSUMER)
        q->old_life = shared_load(&q->own->end_seen);
    else if (absence(q, &q->old_life) == 0)
        q->old_life = 0;
    shared_store_release(&q->own->life, q->life); /* L2 */
}

void life_end(struct shmq *q) {
    /* L2: release, pairs with L1. Without it a consumer could see us gone and our last message
     * not yet there. */
    shared_store_release(&q->own->life, q->life + 1);
}

int life_of_peer(struct shmq *q, uint64_t *life) {
    int gone = absence(q, life);
    if (gone == 0 || (*life != 0 && *life != q->old_life)) return gone;
    /* In this order: once the name is gone nobody new takes the lease. */
    return region_unlinked(&q->region) && !peer_holds_lease(q) ? EPIPE : 0;
}

void life_report(struct shmq *q, uint64_t life) {
    /* Relaxed: read by our successors only, under the lease. */
    if (q->end == SHMQ_CONSUMER && life != q->old_life) shared_store(&q->own->end_seen, life);
}

uint32_t life_count(const struct shmq *q, enum shmq_end end) {
    return end == q->end || lease_held(q->region.object, region_role(end)) ? 1 : 0;
}
