/* How long one message takes, what waiting for it costs, and how long it takes to join. Both clocks are CLOCK_MONOTONIC
 * of one machine, so a time that one process takes can be subtracted from the other's. */
#include "measures.h"

#include <errno.h>
#include <sys/resource.h>
#include <time.h>

enum { ASLEEP_NS = 500000 }; /* without a message for so long, every receiver has gone to sleep */

static int put(struct pair *pair, int who, int64_t number) {
    struct lane *lane = &pair->lanes[who];
    const int status = message_send(pair, lane, number);
    if (lane->peer->flush != NULL) lane->peer->flush(lane);
    return status;
}

static int take(struct pair *pair, int who, int64_t number) {
    return message_expect(pair, &pair->lanes[1 - who], number);
}

/* Once around each ring, so that its pages are there: a page that must be fetched first sends the other end to sleep,
 * once in 56 messages. In bursts, to be quick. */
static int warm_up(struct pair *pair, int who) {
    enum { BURST = 100 };
    const size_t lap = lane_room(&pair->lanes[0]) / pair->bytes;
    int64_t number = 0;
    for (size_t burst = 0; burst < 2 * (lap / BURST + 1); burst++)
        for (int i = 0; i < (pair->peer->single ? 1 : BURST); i++, number++)
            if (((int)(burst % 2) == who ? put(pair, who, number) : take(pair, who, number)) != 0) return -1;
    return 0;
}

/* Ping-pong at full speed: each answers at once, so a peer that looks before it sleeps stays awake.
 * The first tenth is not counted. */
int round_trip(struct pair *pair, int who) {
    int64_t *times = pair_column(pair, 0);
    const int64_t before = pair->rounds / 10;
    if (warm_up(pair, who) != 0) return -1;
    for (int64_t i = 0; i < before + pair->rounds; i++) {
        const int64_t start = now_ns();
        if ((who == 0 && put(pair, who, i) != 0) || take(pair, who, i) != 0 || (who == 1 && put(pair, who, i) != 0))
            return -1;
        if (who == 0 && i >= before) times[i - before] = now_ns() - start;
    }
    return 0;
}

/* Lets the other fall asleep. Busy, because this core must not be asleep itself when it sends. The time is for a core
 * that goes to sleep as well; a receiver that was kept from its core meanwhile needs longer. */
static void outlast(const struct pair *pair, int who) {
    for (int64_t until = now_ns() + ASLEEP_NS; now_ns() < until;)
        ;
    if (!pair->peer->busy) pair_await_asleep(pair, who);
}

static int wake_other(struct pair *pair, int who, uint32_t i) {
    int64_t *sent_at = pair_column(pair, SENT_AT + (uint32_t)who);
    outlast(pair, 1 - who);
    sent_at[i] = now_ns();
    if (put(pair, who, i) != 0) return -1;
    pair_column(pair, SEND + (uint32_t)who)[i] = now_ns() - sent_at[i];
    return 0;
}

static int be_woken(struct pair *pair, int who, uint32_t i) {
    const uint32_t other = 1 - (uint32_t)who;
    if (take(pair, who, i) != 0) return -1;
    const int64_t now = now_ns();
    pair_column(pair, ONE_WAY + other)[i] = now - pair_column(pair, SENT_AT + other)[i];
    return 0;
}

int round_trip_asleep(struct pair *pair, int who) {
    if (warm_up(pair, who) != 0) return -1;
    for (uint32_t i = 0; i < pair->rounds; i++) {
        int status = who == 0 ? wake_other(pair, who, i) : be_woken(pair, who, i);
        if (status == 0) status = who == 0 ? be_woken(pair, who, i) : wake_other(pair, who, i);
        if (status != 0) return -1;
        if (who == 0) /* the answer came after the other had written its column */
            pair_column(pair, BOTH_WAYS)[i] = pair_column(pair, ONE_WAY)[i] + pair_column(pair, ONE_WAY + 1)[i];
    }
    return 0;
}

/* ---- What waiting costs --------------------------------------------------------------------- */

/* Processor time of this process, in user and system mode. */
static int64_t used_us(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

/* The second process waits for ever for a message that comes late. */
int idle(struct pair *pair, int who) {
    const struct timespec late = {.tv_sec = pair->wait_ms / 1000, .tv_nsec = (long)pair->wait_ms % 1000 * 1000000};
    for (uint32_t i = 0; i < pair->rounds; i++) {
        const int64_t before = used_us();
        if (who == 0 && (nanosleep(&late, NULL) != 0 || put(pair, who, i) != 0)) return -1;
        if (who == 0) continue;
        if (take(pair, who, i) != 0) return -1;
        pair_column(pair, 0)[i] = used_us() - before;
    }
    return 0;
}

/* The same with a time-out, until that ends it: no message comes. */
int idle_timeout(struct pair *pair, int who) {
    struct lane *lane = &pair->lanes[1 - who];
    for (uint32_t i = 0; who == 1 && i < pair->rounds; i++) {
        const int64_t before = used_us();
        if (lane->peer->receive(lane, pair->message, pair->bytes, pair->wait_ms) >= 0) return errno = EPROTO, -1;
        if (errno != ETIMEDOUT) return -1;
        pair_column(pair, 0)[i] = used_us() - before;
    }
    return 0;
}

/* ---- Joining -------------------------------------------------------------------------------- */

/* The producer comes and goes; the consumer stays, and with it what both have opened. */
int attach(struct pair *pair, int who) {
    struct lane *lane = &pair->lanes[0];
    if (!lane->peer->named) return errno = ENOTSUP, -1;
    for (uint32_t i = 0; who == 0 && i < pair->rounds; i++) {
        lane->peer->close(lane);
        const int64_t start = now_ns();
        if (lane->peer->open(lane, PEER_PRODUCER) != 0) return -1;
        pair_column(pair, 0)[i] = now_ns() - start;
    }
    return 0;
}
