/* What is simulated: small cases, each with what could go wrong in it. A record is 16 bytes: a header, and a payload
 * of 8. */
#include "plot.h"

enum { TWO_RECORDS = 32, FOUR_RECORDS = 64 };

#define PAIR(kind) .queue = {SHMQ_NOTIFY_##kind, 0, TWO_RECORDS, {1, 1}, false}, .ends = {1, 1}, .timeout_ms = -1
#define MANY(p, c, n)                                                                                                  \
    .queue = {SHMQ_NOTIFY_SEM, MANY_OF(p, c), (n), {(p), (c)}, false}, .ends = {(p), (c)}, .timeout_ms = -1
#define MANY_OF(p, c) (((p) > 1 ? SHMQ_MANY_PRODUCERS : 0u) | ((c) > 1 ? SHMQ_MANY_CONSUMERS : 0u))

const struct plot plots[] = {
    {"sem", "a producer sends three messages through a ring of two", PAIR(SEM), .messages = 3, .kills = 1, .bound = 3},
    {"fifo", "the same, rung by FIFOs", PAIR(FIFO), .messages = 3, .kills = 1, .bound = 2},
    {"armed", "the same in two event loops", .queue = {SHMQ_NOTIFY_FIFO, 0, TWO_RECORDS, {1, 1}, false}, .ends = {1, 1},
     .messages = 3, .armed = true, .kills = 1, .bound = 2},
    {"lock", "the same, rung by file locks", PAIR(LOCK), .messages = 3, .kills = 1, .bound = 2},
    {"spin", "the same, rung by nobody", PAIR(SPIN), .messages = 3, .kills = 1, .bound = 2},
    {"named", "the same, rung by POSIX semaphores", PAIR(NAMED), .messages = 3, .kills = 1, .bound = 2},
    {"signal", "the same, rung by signals", PAIR(SIGNAL), .messages = 3, .kills = 1, .bound = 2},
    {"cond", "the same, rung by a condition variable; nobody dies", PAIR(COND), .messages = 3, .bound = 4},
    {"peek", "the same without a copy: reserve, commit, peek and release", PAIR(SEM), .messages = 3, .peek = true,
     .kills = 1, .bound = 2},
    {"drain", "the producer waits until all is received before it closes", PAIR(SEM), .messages = 3, .drain = true,
     .kills = 1, .bound = 2},
    {"uneven", "messages of two lengths", PAIR(SEM), .messages = 3, .uneven = true, .kills = 1, .bound = 2},
    {"strangers", "two that cannot signal each other come at once",
     .queue = {SHMQ_NOTIFY_SIGNAL, 0, TWO_RECORDS, {1, 1}, .strangers = true}, .ends = {1, 1}, .messages = 1,
     .timeout_ms = 1000, .bound = 5},
    {"turns", "a producer comes when another has left, and both stream", .ends = {2, 1},
     .queue = {SHMQ_NOTIFY_SEM, 0, TWO_RECORDS, {1, 1}, false}, .messages = 4, .timeout_ms = -1, .bound = 1},
    {"armed_turns", "the same with a consumer in an event loop", .ends = {2, 1},
     .queue = {SHMQ_NOTIFY_FIFO, 0, TWO_RECORDS, {1, 1}, false}, .messages = 4, .armed = true, .bound = 1},
    {"end", "a consumer waits for one message and the end; who dies is replaced", PAIR(SEM), .messages = 1, .kills = 2,
     .bound = 2},
    {"death", "who dies is not replaced, and the other is told", PAIR(SEM), .messages = 2, .kills = 1,
     .unreplaced = true, .bound = 3},
    {"fifo_death", "the same with FIFOs, at once", PAIR(FIFO), .messages = 2, .kills = 1, .unreplaced = true,
     .bound = 3},
    {"lock_death", "the same with file locks, at once", PAIR(LOCK), .messages = 2, .kills = 1, .unreplaced = true,
     .bound = 3},
    {"sidelock", "three producers contend for the side lock, with room for all", MANY(3, 0, FOUR_RECORDS),
     .messages = 1, .kills = 1, .bound = 2},
    {"producers", "two producers and a consumer", MANY(2, 1, TWO_RECORDS), .messages = 2, .kills = 1, .bound = 1},
    {"consumers", "a producer and two consumers", MANY(1, 2, TWO_RECORDS), .messages = 2, .kills = 1, .bound = 1},
    {"drain_many", "two producers that drain beside each other", MANY(2, 1, TWO_RECORDS), .messages = 1, .drain = true,
     .kills = 1, .bound = 1},
    {.name = NULL},
};
