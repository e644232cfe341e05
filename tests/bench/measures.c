/* The table of what can be measured, and the messages that are passed for it. */
#include "measures.h"

#include <errno.h>
#include <string.h>

int message_send(struct pair *pair, struct lane *lane, int64_t number) {
    memcpy(pair->message, &number, sizeof number);
    memcpy(pair->message + pair->bytes - sizeof number, &number, sizeof number);
    return lane->peer->send(lane, pair->message, pair->bytes);
}

/* Who is to spin, and has no form that does, asks again and again without waiting. */
static ssize_t receive(struct pair *pair, struct lane *lane) {
    struct looking looking = {.timeout_ms = -1};
    if (!pair->spins || lane->peer->busy) return lane->peer->receive(lane, pair->message, pair->bytes, -1);
    ssize_t length;
    while ((length = lane->peer->receive(lane, pair->message, pair->bytes, 0)) < 0 && errno == EAGAIN)
        (void)lane_look(&looking);
    return length;
}

int64_t message_take(struct pair *pair, struct lane *lane) {
    int64_t ends[2];
    const ssize_t length = receive(pair, lane);
    if (length < 0) return -1;
    memcpy(&ends[0], pair->message, sizeof ends[0]);
    memcpy(&ends[1], pair->message + pair->bytes - sizeof ends[1], sizeof ends[1]);
    if ((size_t)length == pair->bytes && ends[0] == ends[1] && ends[0] >= 0) return ends[0];
    errno = EPROTO;
    return -1;
}

int message_expect(struct pair *pair, struct lane *lane, int64_t number) {
    const int64_t got = message_take(pair, lane);
    if (got == number) return 0;
    if (got >= 0) errno = EPROTO;
    return -1;
}

int64_t burst_of(const struct pair *pair) {
    enum { BURST_BYTES = 1 << 20, MOST = 1000 };
    if (pair->burst > 0) return pair->burst;
    const size_t times = BURST_BYTES / pair->bytes;
    return times > MOST ? MOST : times > 0 ? (int64_t)times : 1;
}

int64_t in_ps(int64_t ns, int64_t times) { return ns * 1000 / times; }

const struct measure measures[] = {
    {
        .name = "round_trip",
        .wait = "default",
        .unit = "ns",
        .about = "there and back at full speed, as each peer waits by itself",
        .part = round_trip,
        .rounds = 10000,
        .round_ms = 5,
        .columns = 1,
        .figures = {{"round_trip", 0, 1}},
    },
    {
        .name = "round_trip",
        .wait = "spinning",
        .unit = "ns",
        .about = "the same with receivers that never sleep",
        .part = round_trip,
        .rounds = 10000,
        .round_ms = 5,
        .columns = 1,
        .figures = {{"round_trip", 0, 1}},
    },
    {
        .name = "round_trip",
        .wait = "asleep",
        .unit = "ns",
        .about = "to receivers that sleep: both ways, one way, what send takes",
        .part = round_trip_asleep,
        .rounds = 1000,
        .round_ms = 10,
        .columns = ASLEEP_COLUMNS,
        .figures = {{"round_trip", BOTH_WAYS, 1}, {"one_way", ONE_WAY, 2}, {"send", SEND, 2}},
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
        .name = "attach",
        .unit = "ns",
        .about = "to open an end of what is there",
        .part = attach,
        .rounds = 50,
        .round_ms = 200,
        .columns = 1,
        .one_way = true,
        .comes_late = true,
        .figures = {{"attach", 0, 1}},
    },
    {
        .name = "stream",
        .unit = "ps",
        .about = "one way at full speed, per message",
        .part = stream,
        .rounds = 100,
        .round_ms = 100,
        .columns = 1,
        .one_way = true,
        .figures = {{"stream", 0, 1}},
    },
    {
        .name = "many",
        .unit = "ps",
        .about = "the same with several ends a side (--ends)",
        .part = crowd,
        .rounds = 10,
        .round_ms = 1000,
        .columns = 1,
        .one_way = true,
        .comes_late = true,
        .figures = {{"many", 0, 1}},
    },
    {
        .name = "memcpy",
        .unit = "ps",
        .about = "so many bytes: in one process, into what another has read, out of what it wrote",
        .part = copies,
        .rounds = 100,
        .round_ms = 10,
        .columns = COPIES,
        .one_way = true,
        .figures = {{"memcpy", ALONE, 1}, {"memcpy_in", IN, 1}, {"memcpy_out", OUT, 1}},
    },
    {
        .name = "instructions",
        .unit = "instructions",
        .about = "of a send with room for it, and of a receive of what is there",
        .part = instructions,
        .rounds = 400,
        .round_ms = 100,
        .columns = 2,
        .one_way = true,
        .figures = {{"send", 0, 1}, {"receive", 1, 1}},
    },
    {
        .name = "system_call",
        .unit = "ps",
        .about = "one that does nothing; the peer is all the same",
        .part = null_system_call,
        .rounds = 100,
        .round_ms = 10,
        .columns = 1,
        .one_way = true,
        .figures = {{"system_call", 0, 1}},
    },
    {.name = NULL},
};
