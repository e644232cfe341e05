/* The engine of the simulator: actors that are coroutines of one process, and every choice that a run makes.
 *
 * A run is one execution of a script. It follows from its choices alone: who goes on at each scheduling point, who
 * dies, which of several values a load returns. Who makes the choices is the driver: depth first through all of them,
 * a random number generator from a seed, or bytes. All of them are noted, so that a run can be had again, and told.
 *
 *     engine_run(script, driver)  resets, lets script->begin() spawn actors, runs them until none can go on
 *     engine_point()              an actor is about to do what others could tell: others may go first, somebody may die
 *     engine_sleep()              until woken, or until its time; time passes only when nobody can run
 *     engine_fail()               what must not happen has happened; the run is over
 *
 * Equal states. Each actor's history is a hash of all that it has been told so far, and so of all that it knows;
 * objects that several change add the order in which they were changed. Two points of equal histories and objects go
 * on alike, so where the depth-first driver has a choice of who goes on, it follows only the first of them, unless the
 * second has more of its bound left than the first had. cut_test looks whether runs end in as many states without that. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { ACTORS_MOST = 8, BOUND_MOST = 15 };

/* A line of the sources. */
struct place {
    const char *file, *function;
    int line;
};

#define HERE                                                                                                           \
    ({                                                                                                                 \
        static const struct place here_ = {__FILE_NAME__, __func__, __LINE__};                                         \
        &here_;                                                                                                        \
    })

enum actor_state { ABSENT, READY, ASLEEP, OVER, DEAD };

/* Why one sleeps. The script's idle() looks at it. */
enum sleep {
    SLEEP_WAIT, /* until somebody wakes it */
    SLEEP_NAP,  /* for a time */
    SLEEP_YIELD /* until anybody has done anything */
};

struct actor {
    enum actor_state state;
    enum sleep sleep;
    const void *on; /* what it sleeps on */
    int64_t until_ns;
    bool timed_out; /* its latest sleep */
    bool mortal;
    bool looked;    /* has loaded since its latest pause */
    unsigned turns; /* of a loop that pauses and looks, and does nothing else */
    uint64_t history;
    const char *name;
    /* The engine's own. */
    void (*body)(void);
    void *stack_pointer;
    int error;
};

/* What a choice is about; drivers may prefer one answer or another. */
enum choice { CHOOSE_ACTOR, CHOOSE_DEATH, CHOOSE_VALUE, CHOOSE_OTHER, CHOICE_KINDS };

/* What others could tell of a step. Who dies without such a step has died before or after it as well. */
enum {
    QUIET = 0,
    EFFECT = 1,  /* it changes something: who takes it may die before it */
    WITNESS = 2, /* it sees who lives: others may die before it */
    LOCAL = 4,   /* whatever others could do before it they can do after it as well: see all_points */
    UNSEEN = 8   /* nobody may look at what it changes before a later step: who dies here dies there */
};

struct script {
    void (*begin)(void);
    void (*died)(unsigned actor); /* NULL: nobody is told */
    void (*look)(void);           /* NULL, or before each step: is everything right? */
    /* All that live sleep. True: the run is over; else time passes until the first of them has waited long enough. */
    bool (*idle)(void);
    void (*end)(void);        /* all are over, or idle() said so: is everything right? */
    uint64_t (*digest)(void); /* NULL, or what these would remember, and no actor knows: part of the state */
    unsigned kills;           /* at most */
    unsigned quirks;          /* at most: sleeps whose time runs out early, swaps that fail for no reason */
};

enum driver_kind { DRIVE_EXHAUSTIVE, DRIVE_RANDOM, DRIVE_BYTES };

struct driver {
    enum driver_kind kind;
    uint64_t seed;        /* random */
    const uint8_t *bytes; /* bytes; when they are used up, 0 */
    size_t bytes_left;
    unsigned bound; /* exhaustive, up to BOUND_MOST: at most so many preemptions and old values, together, in one run */
    bool uncut;     /* exhaustive: follow equal states as well; for a look at whether cutting them is right */
    bool again;     /* the choices of the last run, or of engine_parse_choices, and then 0 */
    bool trace;     /* tell each step */
};

struct engine {
    struct actor actor[ACTORS_MOST];
    unsigned current; /* index of the actor that runs */
    int64_t now_ns;
    uint64_t objects; /* the sum of what all objects say of their own state */
    unsigned kills_left, quirks_left;
    unsigned steps;
    /* The depth-first driver switches before a LOCAL step too. It need not: of words that one actor alone stores to he
     * himself reads one value only; and plain words that it matters for are a race. (A store to any other word is not
     * LOCAL: others may read what was there before, but not after a membarrier.) */
    bool all_points;
    bool trace;
    bool failed;
    char message[512];
};

extern struct engine engine;

/* One run. False: it failed, and engine.message says how. */
bool engine_run(const struct script *script, struct driver *driver);

/* After an exhaustive run: prepares the next one; false if there is none. */
bool engine_next(void);
/* Forgets the states seen and the choices of the last run; before the first exhaustive one. */
void engine_restart(void);
/* The choices of the last run as text, only those that are not 0: "c,12:1,40:2", or "x2,12:1,40:2" for an exhaustive
 * one of bound 2, which has fewer choices to make; and back, for a driver with `again`. False: not such a text. */
void engine_print_choices(FILE *to);
bool engine_parse_choices(const char *text, struct driver *driver);

/* States that the exhaustive driver has seen; those in which runs ended; whether the bound kept it from any answer. */
uint64_t engine_states(void);
uint64_t engine_ends(void);
bool engine_was_bounded(void);

/* ---- For actors and what they call ---------------------------------------------------------------------------- */

unsigned engine_spawn(const char *name, void (*body)(void), bool mortal);
unsigned engine_choose(unsigned count, enum choice kind);
void engine_point(const struct place *place, unsigned kind);

/* True: woken; false: it was until_ns before that. */
bool engine_sleep(const void *on, int64_t until_ns, enum sleep sleep);
void engine_wake(const void *on, unsigned most);

/* Wakes those that yielded: something has changed. */
void engine_changed(void);

_Noreturn void engine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The beginning of a line of the trace: the step, who, where. Only if engine.trace. */
void engine_tell(const struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline struct actor *engine_self(void) { return &engine.actor[engine.current]; }

static inline uint64_t engine_hash(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* The current actor has learned something. */
static inline void engine_learn(uint64_t value) {
    struct actor *self = engine_self();
    self->history = engine_hash(self->history, value);
}

/* An object has changed, by nobody's step. `id` is all its state so far. */
static inline void engine_mark(uint64_t *id, uint64_t state) {
    engine.objects -= engine_hash(*id, (uintptr_t)id - (uintptr_t)&engine);
    *id = state;
    engine.objects += engine_hash(*id, (uintptr_t)id - (uintptr_t)&engine);
}

/* An object that several change: the current actor does, and learns what it found. */
static inline void engine_touch(uint64_t *id, uint64_t value) {
    engine_learn(*id ^ value);
    engine_mark(id, engine_self()->history);
}
