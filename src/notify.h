/* Notifiers: how a sleeper is woken. One file each, behind the same few functions.
 *
 * A notifier knows nothing of the ring, of messages or of lives: it is given what it may use of
 * the queue, waits and rings. It may wake a sleeper without reason, and a ring may be lost when
 * its ringer dies: the doorbell protocol (doorbell.h) looks at the cursors after every wait, and
 * sleeps in slices. What a notifier calls of the system stands in notify_os.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "layout.h"

enum bell { MINE, THEIRS };       /* an end waits on the one and rings the other */
enum { SPARE = THEIRS + 1, FDS }; /* descriptors: one each, and one more */

/* One end's view of both doorbells: items, which the consumer waits for, and space. */
struct bells {
    const struct notifier *notifier;
    /* What a notifier may use of its queue. */
    bool produces;                /* whose view this is */
    int directory, object;        /* descriptors of the queue's */
    uint64_t instance;            /* the queue's random number */
    struct meeting *meeting;      /* the page that both ends write */
    shared_u64 *word[THEIRS + 1]; /* one in each end's page */
    bool forever;                 /* the present wait has no deadline: see wait */
    /* What it has for itself. */
    void *at[THEIRS + 1];      /* a doorbell in memory */
    int fd[FDS];               /* -1: none. A forked child closes them */
    uint64_t mark[THEIRS + 1]; /* what its file says */
    int64_t nap_ns;            /* the latest: notify_nap */
};

struct notifier {
    const char *name;
    bool polls;    /* waiting does not sleep: many looks at the ring between two waits */
    bool pollable; /* fd[MINE] becomes readable when rung: for event loops */
    size_t keeps;  /* bytes of libc's types that it has in shared memory: see notify_fingerprint */

    /* These may be NULL: nothing to do. */
    /* Can this process use it at all? -1: ENOTSUP. */
    int (*check)(void);
    /* At creation, before anybody can see the queue. -1 with errno. */
    int (*format)(struct meeting *meeting);
    /* Under the life-cycle lease: opens, or makes, what it needs. -1 with errno (ENOTSUP: this
     * end and its peer cannot ring each other); closed then too. */
    int (*open)(struct bells *bells);
    void (*close)(struct bells *bells);
    /* Under the exclusive life-cycle lease, of a queue that nobody need have open: removes what
     * has names. What cannot be removed must not keep the queue from going. */
    void (*remove)(const struct bells *queue);
    /* Forgets rings that came before: afterwards only what rings from now on wakes. */
    void (*reset)(struct bells *bells);
    /* Whoever comes from now on rings. What a wait, or an event loop, needs besides: of who is there already. */
    void (*watch)(struct bells *bells);
    /* Never waits, but for cond's mutex. -1: the queue is damaged. */
    int (*ring)(struct bells *bells);

    /* Until rung or until_ns (CLOCK_MONOTONIC); may also return for no reason. With `forever`,
     * whoever the kernel wakes at the peer's death as well may sleep on beyond until_ns.
     * -1: EINTR; any other errno: the queue is damaged. */
    int (*wait)(struct bells *bells, int64_t until_ns);
};

extern const struct notifier shmq_notify_sem, shmq_notify_named, shmq_notify_cond, shmq_notify_fifo, shmq_notify_signal,
    shmq_notify_lock, shmq_notify_spin;

/* By enum shmq_notify; NULL for other values. */
const struct notifier *notifier_of(uint32_t kind);

/* Of this libc and the bytes of its types that are kept in shared memory: builds that differ refuse each other. 0: of
 * none. */
uint64_t notify_fingerprint(size_t type_bytes);

/* Open and close for every notifier. */
int bells_open(struct bells *bells);
void bells_close(struct bells *bells);

/* After a fork, in the child: closes the descriptors and nothing else. */
void bells_disown(struct bells *bells);

/* ---- For notifiers ------------------------------------------------------------------------- */

enum { NOTIFY_NAME_MAX = 64 };

/* The name of a doorbell that has one: `prefix`, instance and inode of the queue, .items or .space.
 * (Its instance alone could be that of another queue, copied.) -1 with errno. */
int notify_name(char name[NOTIFY_NAME_MAX], const char *prefix, const struct bells *queue, bool items);

/* Removes both, if they are ours to remove. */
void notify_remove(int directory, const char *prefix, const struct bells *queue);

/* Whether `bell` is the items doorbell. */
static inline bool notify_is_items(const struct bells *bells, enum bell bell) {
    return bells->produces == (bell == THEIRS);
}

/* Does the other end hold its lease? */
bool notify_has_peer(const struct bells *bells);

/* May we use a doorbell of this type that we found under its name? One of somebody who may not
 * write to the queue could be made to hurt us. -1: EACCES. */
int notify_vet(const struct bells *bells, const struct stat *found, mode_t type);

/* Gives a doorbell of ours, by any descriptor of it, the owner and the rights of its queue. */
int notify_give_rights(const struct bells *bells, int fd);

/* Stores in our word who we are, and compares with our peer's, for those that depend on process
 * or thread numbers. -1: ENOTSUP, another PID namespace. */
int notify_introduce(struct bells *bells);

/* A nap for those that can but look again: longer each time until nap_ns is set back to 0. */
void notify_nap(struct bells *bells, int64_t until_ns);
