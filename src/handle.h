/* struct shmq: all that one open end knows. Private memory; nothing of it is shared with another
 * process.
 *
 * What each part may touch: ring.c the cursors and the bytes, doorbell.c ticket and bells,
 * life.c who is there, region.c the object, guard.c the registry's links; shmq.c puts them
 * together. */
#ifndef HANDLE_H
#define HANDLE_H

#include <stdalign.h>
#include <stdbool.h>

#include "notify.h"
#include "region.h"
#include "ring.h"
#include "shmq.h"

struct shmq {
    /* Touched for every message. */
    alignas(128) struct ring ring;
    int fault; /* what every call answers: EBADMSG, EINVAL (inherited by fork); 0 all is well */
    enum shmq_end end;
    uint64_t held;        /* bytes of the record that is reserved or peeked at; 0 none */
    size_t held_length;   /* payload bytes of it */
    struct end_page *own; /* this end's page */
    const struct end_page *peer;
    uint64_t rung;     /* the last of the peer's tickets that we rang for */
    uint64_t messages; /* our statistics; the page has a copy */

    /* Touched around a sleep. */
    uint64_t ticket;
    uint64_t sleeps, rings;
    uint32_t looks; /* before the next sleep: adapts */
    struct bells bells;
    uint64_t old_life; /* the peer's life whose end is no news: life.h */

    /* Touched at open and close. */
    uint64_t life;
    struct region region;
    struct shmq *next; /* guard.c */
};

/* Attaches to memory that the caller mapped and keeps: no name, no leases, a role never refused.
 * For tests, fuzzers and the simulator. `region` needs header, end, meeting, ring, and object
 * -1. */
int shmq_attach_memory(struct shmq **q, const struct region *region, enum shmq_end end);

/* Poisons the handle: what the other end wrote makes no sense. Returns -1 with EBADMSG. */
static inline int shmq_damaged(struct shmq *q) {
    q->fault = EBADMSG;
    errno = EBADMSG;
    return -1;
}

#endif
