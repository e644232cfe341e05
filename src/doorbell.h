/* The doorbell protocol: how an end sleeps until the other end has done something, and never
 * misses it.
 *
 *     consumer, ring empty                          producer, after publishing
 *     0 reset the doorbell                          1 tail = new              (release)
 *     1 ticket = odd                  (release)     2 barrier
 *     2 barrier (for both), watch                   3 t = consumer's ticket   (acquire)
 *     3 look at tail again; data? 5                 4 t odd, new, tail has passed want? ring
 *     4 wait, a slice at most
 *     5 ticket = even
 *
 * and the mirror image for a full ring. The two barriers make it impossible that the consumer
 * misses the new tail and the producer the new ticket: one of them sees the other's store. An end
 * that streams leaves its barrier to whoever goes to sleep (doorbell_lighten). So nobody makes a
 * system call while the other end is awake, and nobody sleeps while there is work. Waits are cut
 * into slices, so that an end that died between 1 and 4 delays nobody for longer; what cannot be
 * missed by protocol is found by looking. */
#pragma once

#include "handle.h"

/* The longest sleep before an end looks by itself. */
#define SLICE_NS (200 * OS_MS)

/* When the time of the present call is up; asks the clock once, when first asked. timeout_ms as in
 * shmq.h. */
int64_t doorbell_deadline(struct shmq *q, int timeout_ms);

/* Takes up our own ticket where our predecessor on this end left it. */
void doorbell_attach(struct shmq *q);

/* Steps 2 to 4 with a ring for whoever sleeps: for what no cursor tells, the beginning and end
 * of a life. */
int doorbell_announce(struct shmq *q);

/* Waits until `need` bytes are available. timeout_ms as in shmq.h.
 * -1: EAGAIN ETIMEDOUT EINTR EPIPE EOWNERDEAD EBADMSG. */
int doorbell_wait(struct shmq *q, uint64_t need, int timeout_ms);

/* Steps 0 to 3 alone. 1: `need` bytes are available, or the peer has gone; 0: a ring will tell, or
 * the notifier that the peer has gone. -1: EBADMSG. */
int doorbell_arm(struct shmq *q, uint64_t need);

/* For an end that streams: a barrier for each message is a good part of what a small one costs, so from here on whoever
 * goes to sleep makes it for both (after D1): until we have to ring, or leave. Not of a side with many. */
void doorbell_lighten(struct shmq *q);
void doorbell_darken(struct shmq *q);

/* Step 4, when the peer holds an odd ticket. */
int doorbell_answer(struct shmq *q, uint64_t ticket);

/* Steps 2 to 4, after step 1: ring_advance or ring_publish. */
FAST int doorbell_ring(struct shmq *q) {
    /* D2: step 2, pairs with D1, the sleeper's. Between our cursor and the load of its ticket;
     * without it the processor may load the ticket first, see nobody asleep, and the sleeper may
     * have missed the cursor: a lost wake-up. */
    q->light ? shared_barrier_light() : shared_barrier();
    /* D3: acquire, pairs with D4: whoever sees the ticket also sees the `want` that belongs to
     * it. */
    uint64_t ticket = shared_load_acquire(&q->peer->ticket);
    if (__builtin_expect(ticket % 2 == 0 || ticket == q->rung, 1)) return 0;
    return doorbell_answer(q, ticket);
}
