/* Interleave everywhere: two or three processes open, close and unlink one name, and stop at every system call; all
 * schedules with a few preemptions are played, with and without a death.
 *
 *     plot.c        who does what; schedules, and the words for both
 *     weave.c       one schedule: everybody under ptrace, then those who come later, and all that was seen
 *     explain.c     what may be seen: shmq.h as a small model of names, ends and lives
 *     interleave.c  the program: which schedules, several at a time
 *
 * A process stops before each system call that others could tell, after one that takes a lock or gives a name (what it
 * stores next is another moment), and between two operations. A call that concerns nothing but its own process, such as
 * mmap, is no stop: who goes on before it or after it is all the same. Who naps lets others go on. And a death is told by
 * locks, processes and FIFOs alone: of the moments between two calls that ask for one, a process dies at one. */
#pragma once

#include "crash.h"

/* ---- plot.c ---- */

/* The first three take turns, who keeps has been there before, and the last two come when all is over. */
enum { CAST = 3, KEEPER = CAST, LATE_PRODUCER, LATE_CONSUMER, PROCESSES };

/* What a process does, a letter each: P C open the producer's or the consumer's end, and create the queue if they must; p c
 * only if it is there; X Y only if it is not (O_EXCL); . closes, u unlinks, s sends a message, r receives what there is,
 * d drains. */
struct plot {
    const char *keeper, *part[CAST];
    unsigned flags; /* of the queue */
};

extern const struct plot PLOTS[];
extern const uint32_t PLOTS_COUNT;

/* "keeper:A B C flags", where each may be missing. */
struct plot_text {
    char text[96];
};
struct plot_text plot_print(const struct plot *plot);
/* False: that is no plot. It keeps pointers into `text`, which it cuts into pieces. */
bool plot_parse(char *text, struct plot *plot);
/* Of one letter. */
struct request plot_request(char letter, unsigned flags);

enum { TURNS_MOST = 128, STOPS_MOST = 512, TO_THE_END = UINT16_MAX };

/* One process goes on: so many stops, or until it ends, or naps; or dies where it stands. */
struct turn {
    uint8_t who;
    bool dies;
    uint16_t steps;
};

/* "A5 B3 xA B*"; after it everybody goes on to the end, in the order of their letters. */
struct schedule {
    uint32_t turns, preemptions, deaths;
    uint32_t tries; /* that said nothing */
    struct turn turn[TURNS_MOST];
};

struct schedule_text {
    char text[8 * TURNS_MOST];
};
struct schedule_text schedule_print(const struct schedule *schedule);
bool schedule_parse(const char *text, struct schedule *schedule);

/* ---- explain.c ---- */

enum { DEEDS_MOST = 64, EVENTS_MOST = 512, NUMBERS_MOST = 16 };

/* What one process was told to do, and what came of it. */
struct part {
    uint8_t who;
    char letter;
    bool known; /* it has ended; else its process died in it */
    int error;
    uint32_t number; /* of the message that is sent */
    uint32_t taken, numbers[NUMBERS_MOST];
    uint64_t instance; /* of the queue that was opened */
};

/* In the order of time: somebody went on with this deed, and perhaps ended it; the name was looked at; somebody died. */
struct event {
    enum { WENT_ON, NAMED, DIED_HERE } kind;
    uint8_t who;
    bool ended;
    uint16_t part;
    uint64_t instance; /* 0: the name means nothing */
};

struct history {
    unsigned flags;
    uint32_t parts, events;
    struct part part[DEEDS_MOST];
    struct event event[EVENTS_MOST];
};

/* Whether all of it can be so. If not, how many events can. */
bool explain(const struct history *history, uint32_t *explained);

/* ---- weave.c ---- */

enum stop { AT_CALL, NAPS, FINISHED, DEAD_NOW };

/* A turn as it was. Sets of processes are a bit each. */
struct taken_turn {
    struct turn turn; /* with the steps that it had */
    enum stop stop;
    uint8_t others;                 /* could have gone on instead */
    uint8_t next;                   /* could go on afterwards */
    uint8_t alive;                  /* have begun, and could die */
    uint64_t asks[STOPS_MOST / 64]; /* a bit for each step: a call that could tell whether another one has died */
};

/* What a schedule was, in memory that processes share. */
struct record {
    uint32_t turns;
    uint8_t living; /* have begun, and could die when all had ended */
    bool slow;      /* so slow that somebody may have run out of patience: says nothing */
    struct taken_turn taken[TURNS_MOST];
    char outcome[512]; /* all results, the same for histories that are alike */
    char story[6000];
};

/* For a process of its own, which it ends. */
void weave(const struct plot *plot, const struct notifier_row *notifier, const struct schedule *schedule,
           struct result *result, struct record *record);
