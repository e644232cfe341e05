/* See life.h. */
#include "os.h"

#include "life.h"

#include "lease.h"

enum judgement { PEER_ALIVE, PEER_NEVER, PEER_CLOSED, PEER_DIED };

static enum shmq_end other(enum shmq_end end) {
    return end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
}

static enum judgement judge(const struct shmq *q, uint64_t *life) {
    enum { TRIES = 4 }; /* a peer that keeps changing its life is alive, whatever it is */
    const shared_u64 *word = &q->peer->life;
    *life = shared_load_acquire(word);
    for (int try = 0; try < TRIES; try++) {
        /* L1: acquire, pairs with L2. Whoever sees a life closed also sees all that it
         * published. */
        uint64_t before = *life;
        if (before == 0)
            return PEER_NEVER; /* or about to begin: it will ring */
        /* Whatever its lease says: that is dropped right after, or is a successor's, who will ring. */
        if (before % 2 == 0)
            return PEER_CLOSED;
        bool held = lease_held(q->region.object, region_role(other(q->end)));
        *life = shared_load_acquire(word);
        if (held)
            return PEER_ALIVE;
        if (*life == before)
            return PEER_DIED; /* the lease was asked for this very life */
    }
    return PEER_ALIVE;
}

void life_begin(struct shmq *q) {
    /* Our own page is ours alone since the lease was taken: relaxed loads. */
    q->life = (shared_load(&q->own->life) + 1) | 1;
    uint64_t peer_life;
    enum judgement peer = judge(q, &peer_life);
    if (q->end == SHMQ_CONSUMER)
        q->old_life = shared_load(&q->own->end_seen);
    else
        q->old_life = peer == PEER_ALIVE ? 0 : peer_life;
    shared_store_release(&q->own->life, q->life); /* L2 */
}

void life_end(struct shmq *q) {
    /* L2: release, pairs with L1. Without it a consumer could see us gone and our last message
     * not yet there. */
    shared_store_release(&q->own->life, q->life + 1);
}

int life_of_peer(struct shmq *q, uint64_t *life) {
    enum judgement peer = judge(q, life);
    if (peer == PEER_ALIVE)
        return 0;
    if (peer == PEER_NEVER || *life == q->old_life)
        return region_unlinked(&q->region) ? EPIPE : 0;
    return peer == PEER_DIED ? EOWNERDEAD : EPIPE;
}

void life_report(struct shmq *q, uint64_t life) {
    /* Relaxed: read by our successors only, under the lease. */
    if (q->end == SHMQ_CONSUMER && life != q->old_life)
        shared_store(&q->own->end_seen, life);
}

uint32_t life_count(const struct shmq *q, enum shmq_end end) {
    return end == q->end || lease_held(q->region.object, region_role(end)) ? 1 : 0;
}
