/* Fail everywhere: each call that the core makes to the system fails, in each way that the kernel has, in each operation.
 *
 *     fail_os.h    puts itself between the core and libc
 *     fail_os.c    makes a call fail; and the time in which nobody really sleeps
 *     ways.c       the ways to fail: every call of os.h and notify_os.h, every errno, and why
 *     short.c      what runs out for real: descriptors, memory, space
 *     play.c       one trial: an operation in which something fails, and what must hold
 *     fail_test.c  which trials
 *
 * All ends live in one thread. Who falls asleep hands over to fail_asleep, which lets the other end act meanwhile; then a
 * wait finds its ring, or its time is over at once. So runs are alike, call by call, and none of them waits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "notifiers.h"

/* ---- ways.c ---- */

/* No errno: less is read or written than was asked for. */
enum { SHORT = 1 << 16 };

struct fail_way {
    const char *call; /* the function of os.h or notify_os.h */
    int error;        /* an errno, or SHORT; 0: cannot fail */
    bool harmless;    /* nothing may come of it */
    const char *why;
};

/* Those of one call stand together. */
extern const struct fail_way FAIL_WAYS[];
extern const size_t FAIL_WAYS_COUNT;

/* The first of this call; NULL: there is none. */
const struct fail_way *fail_first_way(const char *call);
/* "EINTR", "SHORT". */
const char *fail_word_of(int error);

/* ---- fail_os.c ---- */

enum { FAIL_RECORDED = 1024 };

/* What was called while it was armed. */
extern struct fail_log {
    uint32_t calls;
    const struct fail_way *recorded[FAIL_RECORDED]; /* the first way of each call */
} fail_log;

/* From now on, the call of this number (the first is 0) fails so; always: and whenever it is called again. NULL: none. */
void fail_arm(const struct fail_way *way, uint32_t at, bool always);
void fail_disarm(void);

/* Are called once, and without faults: when somebody falls asleep; when something fails. */
extern void (*fail_asleep)(void), (*fail_meanwhile)(void);

/* The time that the core is told: nanoseconds. */
int64_t fail_time_ns(void);

/* The instance of the last queue that was planned here. */
extern uint64_t fail_instance;

/* ---- short.c ---- */

struct shortage {
    const char *name;
    int error; /* what who meets it is told */
    /* Takes all but so much; NULL: it cannot be had here. */
    void (*begin)(uint32_t amount);
    void (*end)(void);
};

enum { SHORTAGES = 5 };
extern const struct shortage SHORTAGES_OF[SHORTAGES];

/* From now on /dev/shm is a small file system of this process alone. Skips the test where that cannot be. */
void short_begin(void);

/* ---- play.c ---- */

enum operation {
    CREATE,
    ATTACH,
    SEND,
    RECV,
    RESERVE,
    COMMIT,
    PEEK,
    RELEASE,
    DRAIN,
    STAT,
    FD,
    ARM,
    CLOSE,
    LAST, /* the last end of an ephemeral queue closes */
    UNLINK,
    OPERATIONS
};

/* What our end would do next can be done at once; cannot, and it does not wait; cannot, and it waits for ever, or for a
 * time; the other end waits for us; another end of our side has the lock. */
enum state { READY, STUCK, WAITING, TIMING, RINGING, LOCKED, STATES };

struct scene {
    enum operation operation;
    enum state state;
    enum shmq_end side;
    bool many;
    const char *name; /* of the queue */
};

bool scene_makes_sense(const struct scene *scene);

/* What is different about it. Nothing: it is calm. */
struct trial {
    const struct fail_way *way;
    uint32_t at;
    bool always;
    const struct shortage *shortage;
    uint32_t amount;
};

/* Counts, of all tests, in memory that processes share. */
extern struct counts {
    _Atomic uint32_t scenes, trials, failed, wrong;
    _Atomic uint32_t met[256]; /* by way */
} *counts;

/* Returns what the operation said: 0 or an errno. `calm`: what it says in a calm trial. */
int play(const struct scene *scene, const struct trial *trial, int calm);

/* How many trials of this process went wrong. Each has been shown. */
uint32_t play_wrongs(void);
