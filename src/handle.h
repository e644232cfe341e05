/* struct shmq: all that one open end knows. Private memory; nothing of it is shared with another
 * process.
 *
 * What each part may touch: ring.c the cursors and the bytes, doorbell.c ticket and bells,
 * life.c who is there, region.c the object, guard.c the registry's links; shmq.c puts them
 * together. */
#pragma once

#include <stdalign.h>
#include <stdbool.h>

#include "notify.h"
#include "os.h"
#include "region.h"
#include "ring.h"
#include "shmq.h"

struct shmq {
    /* Touched for every message. */
    alignas(128) struct ring ring;
    /* What every call answers: EBADMSG, EINVAL (inherited by fork); 0 all is well. The guard's handler
     * sets it in the middle of anything that touches the region. */
    volatile int fault;
    enum shmq_end end;
    bool many;            /* this side, each end in a slot of its own: sidelock.h */
    bool light;           /* we ring without a barrier: doorbell_lighten */
    bool locked;          /* we hold its lock; what ring and ticket say was taken up anew under it */
    uint64_t held;        /* bytes of the record that is reserved or peeked at; 0 none */
    size_t held_length;   /* payload bytes of it */
    struct end_page *own; /* this end's page */
    const struct end_page *peer;
    uint64_t rung; /* the last of the peer's tickets that we rang for */

    /* Touched around a sleep. */
    uint64_t ticket;
    uint32_t looks; /* before the next sleep: adapts */
    bool lightens;  /* the system lets others make a barrier for us */
    struct bells bells;

    /* Touched of many ends by one. */
    uint64_t lock;    /* the side lock's word as we took it */
    int64_t until_ns; /* when this call's time is up; 0: not asked yet */

    /* Who is there: life.h. */
    unsigned peer_slots;
    uint64_t life;
    int gone;                  /* what was reported last */
    uint64_t old_life[SLOTS];  /* the peers' lives whose end is no news */
    uint64_t seen_life[SLOTS]; /* as last judged */

    /* Touched at open and close. */
    struct region region;
    bool open;
    struct shmq *next; /* guard.c; last, for it stays when the rest is used again */
};

/* Begins a life on the region that the handle has: the part of opening that works on any memory, mapped
 * by shmq_open or made by tests, fuzzers and the simulator. `region` needs header, role, end, meeting,
 * ring; its object may be -1: then leases are always held. On failure give the bells back. */
int shmq_begin(struct shmq *q);

/* Poisons the handle: what the other end wrote makes no sense. Returns -1 with EBADMSG. */
static inline int shmq_damaged(struct shmq *q) { return fail(q->fault = EBADMSG); }
