/* The parts that the two processes play. Both clocks are CLOCK_MONOTONIC of one machine, so a time
 * that one process takes and sends can be subtracted from the other's. */
#include "measures.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { ASLEEP_NS = 1000000 }; /* without a message for so long, every receiver has gone to sleep */

struct message {
    int64_t number, sent_ns;
    char padding[MESSAGE_BYTES - 16];
};

static int put(struct pair *pair, int who, struct message *message) {
    struct lane *lane = &pair->lanes[who];
    const int status = lane->peer->send(lane, message, pair->bytes);
    if (lane->peer->flush != NULL) lane->peer->flush(lane);
    return status;
}

/* The next message, which must be this one: a wrong answer is not worth a time. */
static int take(struct pair *pair, int who, struct message *message, int64_t number) {
    struct lane *lane = &pair->lanes[1 - who];
    ssize_t length = lane->peer->receive(lane, message, pair->bytes, -1);
    if (length < 0) return -1;
    if ((size_t)length == pair->bytes && message->number == number) return 0;
    errno = EPROTO;
    return -1;
}

/* Once around a ring of 1 MiB in each direction, so that its pages are there: a page that must be
 * fetched first sends the other end to sleep, once in 56 messages. In bursts, to be quick. */
static int warm_up(struct pair *pair, int who) {
    enum { BURST = 100, BURSTS = 2 * 150 };
    int64_t number = 0;
    for (int burst = 0; burst < BURSTS; burst++)
        for (int i = 0; i < (pair->peer->single ? 1 : BURST); i++, number++) {
            struct message message = {.number = number};
            if ((burst % 2 == who ? put(pair, who, &message) : take(pair, who, &message, number)) != 0) return -1;
        }
    return 0;
}

/* Ping-pong at full speed: each answers at once, so a peer that looks before it sleeps stays awake.
 * The first tenth is not counted. */
static int round_trip(struct pair *pair, int who) {
    int64_t *times = pair_column(pair, 0);
    struct message message = {0};
    if (warm_up(pair, who) != 0) return -1;
    for (int64_t i = -(int64_t)(pair->rounds / 10); i < pair->rounds; i++) {
        int64_t start = now_ns();
        message.number = i;
        if ((who == 0 && put(pair, who, &message) != 0) || take(pair, who, &message, i) != 0 ||
            (who == 1 && put(pair, who, &message) != 0))
            return -1;
        if (who == 0 && i >= 0) times[i] = now_ns() - start;
    }
    return 0;
}

/* Lets the other fall asleep. Busy, because this core must not be asleep itself when it sends. */
static void outlast(int64_t ns) {
    for (int64_t until = now_ns() + ns; now_ns() < until;)
        ;
}

/* Columns of wake: from just before send to just after receive, by who sent; how long send took;
 * and both ways of one exchange together. */
enum { ONE_WAY = 0, SEND = 2, BOTH_WAYS = 4, WAKE_COLUMNS };

static int wake_other(struct pair *pair, int who, uint32_t i) {
    struct message message = {.number = i};
    outlast(ASLEEP_NS);
    message.sent_ns = now_ns();
    if (put(pair, who, &message) != 0) return -1;
    pair_column(pair, SEND + (uint32_t)who)[i] = now_ns() - message.sent_ns;
    return 0;
}

static int be_woken(struct pair *pair, int who, uint32_t i) {
    struct message message = {0};
    if (take(pair, who, &message, i) != 0) return -1;
    pair_column(pair, ONE_WAY + 1 - (uint32_t)who)[i] = now_ns() - message.sent_ns;
    return 0;
}

static int wake(struct pair *pair, int who) {
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

/* Processor time of this process, in user and system mode. */
static int64_t used_us(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
}

/* The second process waits for ever for a message that comes late. */
static int idle(struct pair *pair, int who) {
    const struct timespec late = {.tv_sec = pair->wait_ms / 1000, .tv_nsec = (long)pair->wait_ms % 1000 * 1000000};
    for (uint32_t i = 0; i < pair->rounds; i++) {
        struct message message = {.number = i};
        int64_t before = used_us();
        if (who == 0) {
            if (nanosleep(&late, NULL) != 0 || put(pair, who, &message) != 0) return -1;
        } else {
            if (take(pair, who, &message, i) != 0) return -1;
            pair_column(pair, 0)[i] = used_us() - before;
        }
    }
    return 0;
}

/* The same with a time-out, until that ends it: no message comes. */
static int idle_timeout(struct pair *pair, int who) {
    struct lane *lane = &pair->lanes[1 - who];
    for (uint32_t i = 0; who == 1 && i < pair->rounds; i++) {
        struct message message;
        int64_t before = used_us();
        if (lane->peer->receive(lane, &message, pair->bytes, pair->wait_ms) >= 0) {
            errno = EPROTO;
            return -1;
        }
        if (errno != ETIMEDOUT) return -1;
        pair_column(pair, 0)[i] = used_us() - before;
    }
    return 0;
}

/* ---- One way, and what it costs without another process ------------------------------------- */

/* How often per sample: often enough for a clock's tick, seldom enough for large messages. */
static int64_t burst_of(size_t bytes) {
    enum { BURST_BYTES = 1 << 20, MOST = 1000 };
    const size_t times = BURST_BYTES / bytes;
    return times > MOST ? MOST : times > 0 ? (int64_t)times : 1;
}

static int64_t in_ps(int64_t ns, int64_t times) { return ns * 1000 / times; }

/* Message `number`, one way. At its end it says which one it is, too. */
static int pass(struct pair *pair, int who, unsigned char *message, int64_t number) {
    const struct lane *lane = &pair->lanes[0];
    int64_t ends[2] = {number, number};
    if (who == 0) {
        memcpy(message, &number, sizeof number);
        memcpy(message + pair->bytes - sizeof number, &number, sizeof number);
        return lane->peer->send(&pair->lanes[0], message, pair->bytes);
    }
    const ssize_t length = lane->peer->receive(&pair->lanes[0], message, pair->bytes, -1);
    if (length < 0) return -1;
    memcpy(&ends[0], message, sizeof number);
    memcpy(&ends[1], message + pair->bytes - sizeof number, sizeof number);
    if ((size_t)length == pair->bytes && ends[0] == number && ends[1] == number) return 0;
    errno = EPROTO;
    return -1;
}

/* As fast as it goes; the receiver takes the time. The first tenth, and what fills the ring, is not counted. */
static int stream(struct pair *pair, int who) {
    const int64_t burst = burst_of(pair->bytes), before = 8 + pair->rounds / 10;
    unsigned char *message = calloc(1, pair->bytes);
    int64_t number = 0, start = now_ns();
    if (message == NULL) return -1;
    if (pair->peer->single) return errno = ENOTSUP, -1;
    for (int64_t round = -before; round < pair->rounds; round++) {
        for (int64_t i = 0; i < burst; i++)
            if (pass(pair, who, message, number++) != 0) return -1;
        const int64_t now = now_ns();
        if (who == 1 && round >= 0) pair_column(pair, 0)[round] = in_ps(now - start, burst);
        start = now;
    }
    if (who == 0 && pair->peer->flush != NULL) pair->peer->flush(&pair->lanes[0]);
    free(message);
    return 0;
}

/* ---- What the machine needs at least -------------------------------------------------------- */

/* Copies messages into memory as large as a ring, or out of it, going round as a ring does; returns ps a message. */
static int64_t copy_some(const struct pair *pair, unsigned char *ring, unsigned char *message, bool in) {
    const size_t slots = lane_room(&pair->lanes[0]) / pair->bytes;
    const int64_t burst = burst_of(pair->bytes), start = now_ns();
    for (int64_t i = 0; i < burst; i++) {
        unsigned char *slot = ring + (size_t)i % slots * pair->bytes;
        (void)(in ? memcpy(slot, message, pair->bytes) : memcpy(message, slot, pair->bytes));
        __asm__ __volatile__("" ::"r"(ring), "r"(message) : "memory"); /* somebody may read them */
    }
    return in_ps(now_ns() - start, burst);
}

/* Until it is our turn. */
static void await(_Atomic uint32_t *turn, uint32_t mine) {
    struct looking looking = {.timeout_ms = -1};
    while (*turn != mine)
        (void)lane_look(&looking);
}

/* Columns of copies: in one process alone; into memory that the other has read; out of memory that it has written. */
enum { ALONE, IN, OUT, COPIES };

/* In turns, so neither disturbs the other: no ring can be faster than the slower of IN and OUT. */
static int copies(struct pair *pair, int who) {
    struct copied {
        _Atomic uint32_t turn;
        _Alignas(4096) unsigned char ring[];
    } *shared = pair->shared;
    unsigned char *message = calloc(1, pair->bytes), *ring = calloc(1, lane_room(&pair->lanes[0]));
    if (message == NULL || ring == NULL) return -1;
    for (int64_t round = -8; round < pair->rounds; round++) {
        await(&shared->turn, (uint32_t)who);
        const int64_t alone = who == 0 ? copy_some(pair, ring, message, true) : 0;
        const int64_t across = copy_some(pair, shared->ring, message, who == 0);
        shared->turn = 1 - (uint32_t)who;
        if (round < 0) continue;
        if (who == 0) pair_column(pair, ALONE)[round] = alone;
        pair_column(pair, who == 0 ? IN : OUT)[round] = across;
    }
    free(message);
    free(ring);
    return 0;
}

static int null_system_call(struct pair *pair, int who) {
    enum { CALLS = 1000 };
    for (uint32_t round = 0; who == 0 && round < pair->rounds; round++) {
        const int64_t start = now_ns();
        for (int i = 0; i < CALLS; i++)
            (void)syscall(SYS_getppid);
        pair_column(pair, 0)[round] = in_ps(now_ns() - start, CALLS);
    }
    return 0;
}

const struct measure measures[] = {
    {
        .name = "round_trip",
        .unit = "ns",
        .about = "there and back at full speed: nobody needs to sleep",
        .part = round_trip,
        .rounds = 20000,
        .round_ms = 1,
        .columns = 1,
        .figures = {{"round_trip", 0, 1}},
    },
    {
        .name = "wake",
        .unit = "ns",
        .about = "to a receiver that sleeps: one way, what send takes, there and back",
        .part = wake,
        .rounds = 200,
        .round_ms = 10,
        .columns = WAKE_COLUMNS,
        .figures = {{"wake", ONE_WAY, 2}, {"wake_send", SEND, 2}, {"round_trip_asleep", BOTH_WAYS, 1}},
    },
    {
        .name = "idle",
        .unit = "us",
        .about = "processor time of a receiver that waits for ever",
        .part = idle,
        .rounds = 1,
        .columns = 1,
        .figures = {{"idle", 0, 1}},
    },
    {
        .name = "idle_timeout",
        .unit = "us",
        .about = "the same with a time-out",
        .part = idle_timeout,
        .rounds = 1,
        .columns = 1,
        .figures = {{"idle_timeout", 0, 1}},
    },
    {
        .name = "stream",
        .unit = "ps",
        .about = "one way at full speed, per message",
        .part = stream,
        .rounds = 100,
        .round_ms = 100,
        .columns = 1,
        .sized = true,
        .figures = {{"stream", 0, 1}},
    },
    {
        .name = "memcpy",
        .unit = "ps",
        .about = "so many bytes: in one process, into what another has read, out of what it wrote",
        .part = copies,
        .rounds = 100,
        .round_ms = 10,
        .columns = COPIES,
        .sized = true,
        .figures = {{"memcpy", ALONE, 1}, {"memcpy_in", IN, 1}, {"memcpy_out", OUT, 1}},
    },
    {
        .name = "system_call",
        .unit = "ps",
        .about = "one that does nothing; the peer is all the same",
        .part = null_system_call,
        .rounds = 100,
        .round_ms = 10,
        .columns = 1,
        .figures = {{"system_call", 0, 1}},
    },
    {.name = NULL},
};
