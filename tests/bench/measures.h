/* What can be measured of a peer, and the messages that are passed for it. */
#pragma once

#include "pair.h"

enum { MESSAGE_BYTES = 64 };

/* What one or several neighbouring columns of samples are together. */
struct figure {
    const char *name;
    uint32_t first, columns;
};

struct measure {
    const char *name;
    const char *wait; /* how its receivers wait; of those that have a choice, one row each. Or NULL */
    const char *unit;
    const char *about;
    part *part;
    uint32_t rounds;   /* by default */
    uint32_t round_ms; /* surely enough for one; what it waits in vain comes on top */
    uint32_t columns;
    bool one_way;             /* it needs but one lane */
    bool comes_late;          /* it opens ends by their names while it plays */
    struct figure figures[3]; /* the last may be missing */
};

/* The last has no name. */
extern const struct measure measures[];

/* The parts, each in the file that is named. */
part round_trip, round_trip_asleep, idle, idle_timeout, attach; /* latency.c */
part stream, copies, null_system_call;                          /* flow.c */
part crowd;                                                     /* crowd.c */
part instructions;                                              /* count.c */

/* Columns of round_trip_asleep: from just before send to just after receive, by who sent; how long send took; both
 * ways of one exchange together; and when it was sent, for the other's eyes. */
enum { ONE_WAY = 0, SEND = 2, BOTH_WAYS = 4, SENT_AT = 5, ASLEEP_COLUMNS = 7 };

/* Columns of copies: in one process alone; into memory that the other has read; out of memory that it has written. */
enum { ALONE, IN, OUT, COPIES };

/* A message of pair->bytes says which one it is, at its beginning and at its end: a wrong answer is not worth a time. */
int message_send(struct pair *pair, struct lane *lane, int64_t number);
/* The next one, whichever it is; -1 with errno. */
int64_t message_take(struct pair *pair, struct lane *lane);
/* The next one, which must be this one. */
int message_expect(struct pair *pair, struct lane *lane, int64_t number);

/* Messages of a sample: often enough for a clock's tick, seldom enough for large ones; unless it is told. */
int64_t burst_of(const struct pair *pair);
int64_t in_ps(int64_t ns, int64_t times);
