/* What the actors of a run do (actors.c), and what must be true of it (oracle.c). */
#pragma once

#include "world.h"

enum { MESSAGES_MOST = 16 }; /* of one producer and those that replace it */

struct plot {
    const char *name, *what;
    struct queue queue;
    unsigned ends[2];  /* actors at each side, to begin with */
    unsigned messages; /* of each producer */
    bool peek;         /* consumers peek and release, producers reserve and commit */
    bool uneven;       /* every second message is longer */
    bool drain;        /* producers drain before they close */
    bool armed;        /* both ends wait as an event loop does: timeout_ms is 0 */
    int timeout_ms;
    unsigned kills;
    bool unreplaced; /* else somebody comes for each that was killed */
    unsigned quirks;
    unsigned bound; /* of the short form: see struct driver */
};

extern const struct plot plots[]; /* plots.c; the last has no name */

/* What a message is: whose, and its number. */
struct letter {
    unsigned origin, number;
};

/* ---- actors.c ---- */

/* The script of these runs. */
const struct script *plot_script(const struct plot *plot);
const struct plot *plot_now(void);
enum shmq_end plot_side(unsigned actor);
enum shmq_end own_side(void);
/* The actor sleeps for a reason of its own, outside of the core. */
bool plot_pauses(unsigned actor);

/* ---- oracle.c ---- */

void oracle_begin(void);

/* Around each call of the core, which waits for so many bytes. Who is killed between may leave somebody without his
 * ring. */
void oracle_enter(uint64_t need);
void oracle_leave(void);

void oracle_came(void);
void oracle_closes(void);

/* What is in a letter, and how much of it is sent. */
void oracle_write(struct letter letter, uint64_t payload[2]);
size_t oracle_length(struct letter letter);
/* The letter that a consumer was given. */
struct letter oracle_read(const uint64_t payload[2], size_t length);
void oracle_sending(struct letter letter);
void oracle_sent(struct letter letter, bool sent);
/* The number that the next of this origin has: what was tried, or sent, is not sent again. */
unsigned oracle_next_number(unsigned origin);
/* A consumer has been given this, and for good. */
void oracle_seen(struct letter letter);
void oracle_taken(struct letter letter);
/* A call said that the other end closed (EPIPE) or died (EOWNERDEAD). */
void oracle_told(int error);
/* One was killed. */
void oracle_died(unsigned actor);

/* At each step: no lock has two owners. */
void oracle_look(void);
bool oracle_idle(void);
void oracle_end(void);
/* All that it remembers. */
uint64_t oracle_digest(void);
