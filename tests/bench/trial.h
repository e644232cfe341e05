/* One trial of a peer: two ends at work, something that happens to them, and a verdict.
 *
 * A trial is a process of its own, the judge, with a /dev/shm of its own that nobody else sees: whatever a peer leaves
 * there is counted, and gone with the judge. The judge forks the ends, does the harm, forks who comes later, and watches.
 * What is drawn follows from (seed, trial); when exactly a kill strikes does not.
 *
 *     survival.c   the program: many trials side by side
 *     columns.c    what happens in each column
 *     steps.c      an end's call, instruction by instruction
 *     trial.c      the judge
 *     ends.c       producer and consumer */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "peer.h"
#include "stream.h"

enum { LONGEST = 400 }; /* bytes of a message */

/* What came of a trial; of several the last in this order. */
enum verdict {
    WELL,     /* every message exactly once, in order, with its bytes */
    NO_SPACE, /* ENOSPC when it was created */
    TOLD,     /* an error was returned to somebody */
    LITTER,   /* well, but something is left behind */
    SILENT,   /* a message was wrong, lost or repeated, and nobody was told */
    HANG,
    CRASH,
    ABSENT, /* this machine or this build does not have the peer */
    VERDICTS
};
extern const char *const verdict_words[VERDICTS];

struct outcome {
    enum verdict verdict;
    int64_t ms; /* how long it took */
    char why[192];
    uint32_t steps; /* that the killed call had made */
    char where[64]; /* what would have been the next */
};

/* What an end tells the judge. */
struct side {
    _Atomic uint32_t opened, rests, refused; /* it has opened; waits for the judge; could not open */
    _Atomic int32_t told;                    /* errno of its last call; 0: that worked */
    enum verdict verdict;                    /* read when it has exited */
    bool ended;                              /* the consumer has heard that there is nothing more to come */
    char why[160];
};

enum { NEVER = -1 };

/* What judge and ends share. */
struct board {
    _Atomic uint32_t here, go, resume; /* ends before open; they may; those that rest may go on */
    _Atomic uint32_t closing;          /* the producer sends some more and closes */
    _Atomic int64_t sent, taken;       /* messages acknowledged; messages taken and found right */
    _Atomic int64_t last;              /* how many there will be; NEVER: not known yet */
    _Atomic int64_t doubt;             /* the message that somebody was killed with: it may be missing */
    struct side sides[2];
};

struct column;

struct trial {
    const struct peer *peer;
    const struct column *column;
    uint64_t state; /* of what is drawn */
    struct stream stream;
    struct lane lane;
    struct board *board;
    bool slow[2];
    uint32_t delay_us[2]; /* before open */
    int64_t takes;        /* messages of the consumer that rests */
    bool stubborn;        /* the ends try again whatever they are told */
    bool harmed;          /* those who come now cannot expect what the first ones did */
    bool stops;           /* the end stops before its next call, for its tracer */
    /* The judge's. */
    pid_t pids[2]; /* 0: not there */
    int64_t limit_ms, until_ms;
    uint32_t most_steps; /* of a call that is killed */
    struct outcome *outcome;
};

/* A column of the scoreboard. */
struct column {
    const char *name, *about;
    const char *unsuited; /* said of a peer that it is not for */
    bool (*suits)(const struct peer *peer);
    void (*act)(struct trial *trial);
    uint32_t trials;
    uint32_t limit_s; /* unless asked for another */
    uint32_t fine;    /* a bit for each verdict that is none to be ashamed of */
    bool steps;       /* a trial's number is how many instructions the victim makes; the rest is drawn alike for all */
    bool small;       /* its /dev/shm is smaller than what a lane should hold */
    bool damages;     /* objects, so that nobody can be blamed for what he leaves */
};
extern const struct column columns[];

struct order {
    const struct peer *peer;
    const struct column *column;
    uint64_t seed;
    uint32_t number;
    int64_t limit_ms; /* without any progress: a hang */
};
enum { TO_THE_END = INT32_MAX }; /* more steps than any call has */

/* In a process of its own that nobody else needs: runs the trial and writes what came of it. */
void trial_run(const struct order *order, struct outcome *outcome);

/* ---- trial.c, for columns ---- */

uint64_t trial_draw(struct trial *trial, uint64_t bound);
void trial_nap(int64_t us);
void trial_judge(struct trial *trial, enum verdict verdict, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes the lane; false, and judged, if that fails. */
bool trial_make(struct trial *trial);

typedef void body(struct trial *trial);
/* Starts an end, which opens, does that, and closes. */
void trial_start(struct trial *trial, enum peer_end end, body *does);
/* Lets both open at the same moment, as soon as they have started. */
void trial_let_go(struct trial *trial);
/* From now on the time of a hang counts anew. */
void trial_event(struct trial *trial);
/* Until this is true of both ends or of one; an end that has left counts. False: the verdict is clear. */
typedef bool condition(const struct side *side);
bool trial_await(struct trial *trial, condition *holds);
/* One look at the ends, and a short nap. False: the verdict is clear. */
bool trial_look(struct trial *trial);
bool side_opened(const struct side *side);
bool side_rests(const struct side *side);
/* Kills and reaps it. */
void trial_kill(struct trial *trial, enum peer_end end);
/* Until both have left or are ended; then the verdict is complete. */
void trial_finish(struct trial *trial);

/* ---- steps.c ---- */

/* Until this end rests, and the other waits for it. False: the verdict is clear. */
bool steps_await_rest(struct trial *trial, enum peer_end end);
/* Lets an end that stops before its next call make so many instructions of it, and notes in the outcome how many those
 * were: fewer if the call was over. */
void steps_make(struct trial *trial, enum peer_end end);

/* ---- ends.c ---- */

/* In the end's process: opens, does that, closes. */
_Noreturn void end_run(struct trial *trial, enum peer_end end, body *does);

/* Bodies, from the message on that the board says is next. */
void produce_all(struct trial *trial); /* until `last`, which `closing` sets */
void consume_all(struct trial *trial); /* the same; and nothing may come after it */
enum { BEFORE_REST = 8, AT_END = 64 }; /* messages */
void produce_some_and_rest(struct trial *trial);
void produce_some_and_leave(struct trial *trial);
void consume_some_and_rest(struct trial *trial);
void consume_some_and_leave(struct trial *trial);
void rest_and_produce(struct trial *trial);
void rest_and_consume(struct trial *trial);
/* So slowly that the other waits each time; then a call for steps_make. */
void produce_some_and_stop(struct trial *trial);
void consume_some_and_stop(struct trial *trial);
