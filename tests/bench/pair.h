/* Two processes that measure together: they are pinned to two cores, joined by one or two lanes of one peer, watched,
 * and they leave nothing behind.
 *
 * Process `who` (0 or 1) sends on lanes[who] and receives on lanes[1 - who]; where there is one lane, process 0 sends.
 * What they find goes into columns of samples that the parent shares with them. Before and after they play, they probe
 * the machine: hosts move cores about, and figures from before and after such a move cannot be compared. Whoever wants
 * a certain distance has the two wait for it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "peer.h"

enum outcome { MEASURED, NOT_HERE, FAILED, HUNG, INTERRUPTED };

struct board; /* what the three share */

struct pair {
    const struct peer *peer;
    const char *stem;         /* what names of objects start with */
    size_t bytes;             /* of a message */
    size_t capacity;          /* of a lane; 0: what users get by default */
    uint32_t rounds, columns; /* of samples */
    int64_t burst;            /* messages of a sample; 0: as many as seem good */
    uint32_t ends;            /* of each side, for those that have several */
    int wait_ms;              /* for measures that wait in vain */
    bool spins;               /* receivers never sleep */
    bool careful;             /* as in struct lane */
    bool keeps_names;         /* until the end, because ends are opened while they play */
    double limit_s;           /* whoever needs longer hangs, and is killed */
    int64_t placement_ns[2];  /* they play when a cache line takes so long at least, at most; 0: at once */
    int cores[2], core_count; /* where the processes run; 1: both on one, or wherever */
    struct lane lanes[2];
    int lane_count;
    unsigned char *message; /* of each of the two its own */
    struct board *board;
    void *shared; /* zeroed memory of the two: as much as a lane's room, and a page */
    int signal;   /* what interrupted */
};

/* What each of the two does; -1 with errno if it fails. */
typedef int part(struct pair *pair, int who);

/* Runs both parts to the end, whatever that is. The samples stay until pair_free. */
enum outcome pair_run(struct pair *pair, part *play);
void pair_free(struct pair *pair);

/* Why it is not MEASURED. */
const char *pair_complaint(const struct pair *pair);

/* rounds numbers; the columns lie one behind the other. */
int64_t *pair_column(const struct pair *pair, uint32_t column);

/* A cache line's round trip between the two, in ns, before they played (0) and after (1). */
int64_t pair_probe(const struct pair *pair, int when);

/* How long they played. */
int64_t pair_played_ns(const struct pair *pair);

/* How often the two slept while they played. */
int64_t pair_sleeps(const struct pair *pair);

/* Until process `who` is asleep, as the kernel sees it. For ever, if it waits without sleeping. */
void pair_await_asleep(const struct pair *pair, int who);

/* Until it is our turn. */
void pair_await(const _Atomic uint32_t *turn, uint32_t mine);

int64_t now_ns(void); /* CLOCK_MONOTONIC */
