/* Several producers and as many consumers of one lane. The first of each side is the process that pair.c has forked;
 * it forks the others, which run on the same core and open ends of their own.
 *
 * A round is so many messages for all together, a fair share for each. Its time is from the first producer's start to
 * the last consumer's end; and the numbers of all that was taken must add up. */
#include "measures.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 20000 }; /* messages of a round, if it is not told */

struct meeting {
    _Atomic uint32_t arrived;
    _Atomic int error; /* of the first who failed: nobody waits for him */
    _Atomic int64_t started, ended;
    _Atomic int64_t sum; /* of the numbers of all messages taken */
};

/* Until all ends are there, for the n-th time. */
static int meet(struct meeting *meeting, uint32_t n, uint32_t ends) {
    const struct timespec nap = {.tv_nsec = 50000};
    (void)atomic_fetch_add(&meeting->arrived, 1);
    while (meeting->arrived < n * ends) {
        if (meeting->error != 0) return errno = meeting->error, -1;
        (void)nanosleep(&nap, NULL);
    }
    return 0;
}

static void note_first(_Atomic int64_t *first, int64_t now) {
    int64_t none = 0;
    (void)atomic_compare_exchange_strong(first, &none, now);
}

static void note_last(_Atomic int64_t *last, int64_t now) {
    int64_t before = *last;
    while (before < now && !atomic_compare_exchange_weak(last, &before, now))
        ;
}

static int send_share(struct pair *pair, struct lane *lane, int64_t first, int64_t share) {
    struct meeting *meeting = pair->shared;
    note_first(&meeting->started, now_ns());
    for (int64_t number = first; number < first + share; number++)
        if (message_send(pair, lane, number) != 0) return -1;
    if (lane->peer->flush != NULL) lane->peer->flush(lane);
    return 0;
}

static int take_share(struct pair *pair, struct lane *lane, int64_t share) {
    struct meeting *meeting = pair->shared;
    int64_t sum = 0;
    for (int64_t i = 0; i < share; i++) {
        const int64_t number = message_take(pair, lane);
        if (number < 0) return -1;
        sum += number;
    }
    meeting->sum += sum;
    note_last(&meeting->ended, now_ns());
    return 0;
}

/* What the first consumer does between two rounds. */
static int conclude(struct pair *pair, int64_t round, int64_t total) {
    struct meeting *meeting = pair->shared;
    if (meeting->sum != total * (total - 1) / 2) return errno = EPROTO, -1;
    if (round >= 0) pair_column(pair, 0)[round] = in_ps(meeting->ended - meeting->started, total);
    meeting->started = meeting->ended = meeting->sum = 0;
    return 0;
}

static int play(struct pair *pair, int who, struct lane *lane, uint32_t mate) {
    struct meeting *meeting = pair->shared;
    const int64_t share = (pair->burst > 0 ? pair->burst : BURST) / pair->ends + 1;
    uint32_t meetings = 0;
    for (int64_t round = -1; round < pair->rounds; round++) {
        if (meet(meeting, ++meetings, 2 * pair->ends) != 0) return -1;
        if ((who == 0 ? send_share(pair, lane, mate * share, share) : take_share(pair, lane, share)) != 0) return -1;
        if (meet(meeting, ++meetings, 2 * pair->ends) != 0) return -1;
        if (who == 1 && mate == 0 && conclude(pair, round, share * pair->ends) != 0) return -1;
    }
    return 0;
}

/* One of those that come later; what has no name they inherit. */
_Noreturn static void play_along(struct pair *pair, int who, uint32_t mate, pid_t first) {
    struct meeting *meeting = pair->shared;
    struct lane own = pair->lanes[0];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != first) _exit(1);
    if (own.peer->named) {
        own.state = NULL;
        own.fds[0] = own.fds[1] = -1;
    }
    int status = own.peer->named ? own.peer->open(&own, who == 0 ? PEER_PRODUCER : PEER_CONSUMER) : 0;
    if (status == 0) status = play(pair, who, &own, mate);
    if (status != 0) meeting->error = errno;
    own.peer->close(&own);
    _exit(status == 0 ? 0 : 1);
}

int crowd(struct pair *pair, int who) {
    struct meeting *meeting = pair->shared;
    const pid_t first = getpid();
    if (pair->peer->single) return errno = ENOTSUP, -1;
    for (uint32_t mate = 1; mate < pair->ends; mate++) {
        const pid_t pid = fork();
        if (pid == 0) play_along(pair, who, mate, first);
        if (pid < 0) {
            meeting->error = errno;
            return -1;
        }
    }
    const int status = play(pair, who, &pair->lanes[0], 0);
    if (status != 0) meeting->error = errno;
    while (status == 0 && wait(NULL) > 0)
        ;
    return status;
}
