/* Stress: rounds of many ends on one queue, each round after a scenario of its own, while the supervisor kills, stops
 * and signals them. What every message is and where it may go is known beforehand, so that one word too many or too few
 * is noticed.
 *
 *     scenario.c   what a round is like, drawn from (seed, round)
 *     letter.c     what a message is, and the account of who took which
 *     ends.c       producers and consumers, as processes or as threads
 *     round.c      the supervisor: starts, kills, stops, signals, watches, and balances the account
 *     traces.c     what a round must not leave behind, and what a failed one should
 *     stress.c     the program */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "memory.h"
#include "mix.h"
#include "shmq.h"

enum {
    PRODUCERS = 4,
    CONSUMERS = 3,
    ENDS = PRODUCERS + CONSUMERS, /* the producers come first */
    MOST = 1 << 24,               /* messages of a producer in one round */
    LETTER_LEAST = 16,            /* bytes of a message that is not empty */
    INSTANCES = 4096
};

/* Each key's meaning: scenario.c. */
struct scenario {
    uint32_t notifier, place, producers, consumers, many, ephemeral, checksum, capacity, max, sizes, empty, send, kill,
        take, timeouts, pause, detour, drain, stop, signals, ms;
};
enum place { SHM, A_FILE, MEMORY };                     /* place: memory is for threads */
enum sizes { TINY, MIXED, ANY, LARGEST };               /* sizes */
enum manner { COPY, ZERO_COPY, BOTH };                  /* send, take */
enum timeouts { FOREVER, NONE, SHORT, MIXED_TIMEOUTS }; /* timeouts */

/* What an end alone writes, and the supervisor reads. On lines of its own and relaxed, as everything here: whatever
 * the ends know of each other must come through the queue, or a thread sanitizer would not miss its order. */
struct own {
    _Alignas(128) _Atomic uint64_t in; /* it has opened the queue */
    _Atomic uint64_t leaving;          /* it has closed it for good */
    _Atomic uint64_t sent;             /* producer: messages acknowledged, which is the number of the next */
    _Atomic uint64_t taken, bytes;     /* consumer */
    _Atomic uint64_t turns;            /* messages, those that came again included */
    _Atomic uint64_t interrupted;      /* EINTR */
    _Atomic uint64_t busy;             /* with a message: who is killed otherwise leaves nothing uncertain */
};

/* Shared by all processes of a round. */
struct round {
    struct scenario s;
    uint64_t seed;
    uint32_t number;
    bool threads;
    char name[512];                        /* of the queue */
    char directory[480];                   /* of the round's own, where the queue may be a file */
    const struct memory *memory;           /* of threads */
    _Atomic uint64_t over;                 /* producers end */
    _Atomic uint64_t silence;              /* all producers have ended */
    _Atomic uint64_t left_busy;            /* a close could not unlink, because a stopped process held the life cycle */
    _Atomic uint64_t instances[INSTANCES]; /* of the queues that this name meant */
    _Atomic uint64_t empties, again;       /* empty messages taken; messages that came twice */
    _Atomic uint64_t next[PRODUCERS];      /* in an orderly round: the number expected; under the consumers' lock */
    struct own own[ENDS];
    /* By producer and number, a bit each. */
    _Atomic uint64_t perhaps[PRODUCERS][MOST / 64]; /* its sender was killed in the middle of it */
    _Atomic uint64_t taken[PRODUCERS][MOST / 64];
};

static inline uint64_t get(const _Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_relaxed); }
static inline void put(_Atomic uint64_t *word, uint64_t value) {
    atomic_store_explicit(word, value, memory_order_relaxed);
}
static inline void add(_Atomic uint64_t *word, uint64_t more) {
    atomic_fetch_add_explicit(word, more, memory_order_relaxed);
}

/* ---- scenario.c ---- */

/* Takes "key=value key=value …", to hold in every scenario drawn from now on. What is wrong with it, or NULL. */
const char *scenario_pin(const char *pairs);
/* Draws the scenario of this round; `again`: the next one, instead. What is wrong with what was pinned, or NULL. */
const char *scenario_draw(struct scenario *s, uint64_t seed, uint32_t round, unsigned again, bool threads);
/* Why this cannot run here, or NULL. */
const char *scenario_missing(const struct scenario *s);
void scenario_print(FILE *to, const struct scenario *s);

/* ---- letter.c ---- */

bool letter_is_empty(const struct round *round, uint64_t number);
size_t letter_length(const struct round *round, unsigned producer, uint64_t number);
void letter_write(const struct round *round, unsigned producer, uint64_t number, void *to);
/* Whose letter it is and which, for all of it to be right; else the test fails. */
void letter_check(const struct round *round, const void *bytes, size_t length, unsigned *producer, uint64_t *number);

/* A message was taken: into the account. False: it came again, as it may after a kill. `last` is of this consumer. */
bool account_take(struct round *round, unsigned producer, uint64_t number, int64_t last[PRODUCERS]);
void account_take_empty(struct round *round);
/* A producer was killed in the middle of its next message. */
void account_kill(struct round *round, unsigned producer);
/* After all have ended, so many of each side by a kill while busy: what is wrong, or NULL. */
const char *account_balance(const struct round *round, const unsigned kills[2], uint64_t *lost);
uint64_t account_sent(const struct round *round);

/* ---- ends.c ---- */

void end_run(struct round *round, unsigned end); /* returns when it has closed */
void ends_run_threads(struct round *round);
struct shmq_attr end_attr(const struct round *round);

/* ---- traces.c ---- */

/* The queue's instance, so that its doorbells can be named. */
void traces_note_instance(struct round *round);
/* What is left of the round's names, or NULL. */
const char *traces_left(const struct round *round);
/* Mappings of a queue that this process has. */
int traces_mappings(const struct round *round);
void traces_sweep(struct round *round);
/* The state of these processes and a copy of the queue, into directory/<seed>-<round>; and in short to stderr. */
void traces_keep(const struct round *round, const char *directory, const char *reason, const pid_t *pids, int count);

/* ---- round.c ---- */

struct outcome {
    char failure[512]; /* empty: none */
    uint64_t messages, bytes, again, lost, interrupted, kills, stops, signals, memory_kib;
    double seconds;
};

extern volatile int stress_interrupted; /* by Ctrl-C */

/* The command that runs this round again. */
void stress_reproduce(FILE *to, uint64_t seed, uint32_t number, bool threads);

/* Runs one round. A failed or interrupted one is cleaned up as well. */
void round_run(struct round *round, const char *evidence, struct outcome *outcome);
