/* The actors: producers that send numbered letters and close, consumers that receive until the last producer has
 * gone, and whoever replaces one that was killed. See plot.h. */
#include "plot.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "memory.h"
#include "region.h"
#include "sim_os.h"

static const struct plot *plot;

static struct {
    enum shmq_end side;
    unsigned origin; /* of a producer's letters; whoever replaces it goes on with them */
    bool pauses, newcomer;
} part[ACTORS_MOST];

const struct plot *plot_now(void) { return plot; }

enum shmq_end plot_side(unsigned actor) { return part[actor].side; }

enum shmq_end own_side(void) { return plot_side(engine.current); }

bool plot_pauses(unsigned actor) { return part[actor].pauses; }

/* Does anybody of this side live? */
static bool has_any(enum shmq_end side) {
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if ((engine.actor[at].state == READY || engine.actor[at].state == ASLEEP) && part[at].side == side) return true;
    return false;
}

static void pause_for(int64_t duration_ns) {
    const unsigned self = engine.current;
    part[self].pauses = true;
    (void)os_nap(duration_ns);
    part[self].pauses = false;
}

/* More than its side has room for: who finds it taken comes again. */
static bool takes_turns(void) { return plot->ends[own_side()] > plot->queue.slots[own_side()]; }

/* NULL: it cannot be rung by the other end, and that is right. */
static shmq *open_end(void) {
    shmq *q;
    oracle_enter(UINT64_MAX);
    bool open;
    while (!(open = shmq_open(&q, "/q", own_side(), 0, NULL) == 0) && errno == EBUSY && takes_turns())
        os_yield();
    if (!open && plot->queue.strangers && errno == ENOTSUP) {
        oracle_leave();
        return NULL;
    }
    if (!open) engine_fail("%s cannot open: errno %d", engine_self()->name, errno);
    oracle_came();
    oracle_leave();
    /* Others of its side must not wait for it, if its predecessor died with the side lock. */
    if (part[engine.current].newcomer && plot->queue.flags != 0) pause_for(1000 * OS_MS);
    return q;
}

static void close_end(shmq *q) {
    if (q == NULL) return;
    oracle_enter(UINT64_MAX);
    oracle_closes();
    if (shmq_close(q) != 0) engine_fail("%s cannot close: errno %d", engine_self()->name, errno);
    oracle_leave();
}

/* As an event loop does, which has nothing else to wait for. While nobody could write to the FIFO it is readable, also in
 * the moment before one who comes opens it: not to turn in circles is for the loop. */
static void wait_armed(shmq *q) {
    oracle_enter(own_side() == SHMQ_CONSUMER ? RECORD_ALIGN : plot->queue.capacity);
    const int armed = shmq_arm(q);
    if (armed < 0) engine_fail("%s cannot arm: errno %d", engine_self()->name, errno);
    const int events = armed != 0 ? POLLIN : sim_poll(shmq_fd(q), INT64_MAX, HERE);
    oracle_leave();
    if ((events & POLLIN) == 0) pause_for(OS_MS);
}

/* A call has failed with errno. True: try again; false: nobody is there any more. */
static bool goes_on(shmq *q, int error) {
    if (error == EAGAIN && plot->armed) return wait_armed(q), true;
    if (error == ETIMEDOUT || error == EINTR) return true;
    if (error != EPIPE && error != EOWNERDEAD) engine_fail("%s fails with errno %d", engine_self()->name, error);
    oracle_told(error);
    const bool has_others = has_any(region_other(own_side()));
    engine_learn(has_others);
    if (!has_others) return false;
    pause_for(5 * OS_MS);
    return true;
}

/* ---- Producers ------------------------------------------------------------------------------------------------- */

static int send_payload(shmq *q, const uint64_t payload[2], size_t length) {
    if (!plot->peek) return shmq_send(q, payload, length, plot->timeout_ms);
    void *place = shmq_reserve(q, length, plot->timeout_ms);
    if (place == NULL) return -1;
    memory_copy_in(place, payload, length, HERE);
    return shmq_commit(q, length);
}

static bool send_letter(shmq *q, struct letter letter) {
    uint64_t payload[2];
    oracle_write(letter, payload);
    for (;;) {
        oracle_enter(RECORD_HEADER + oracle_length(letter));
        oracle_sending(letter);
        const bool sent = send_payload(q, payload, oracle_length(letter)) == 0;
        const int error = errno;
        oracle_sent(letter, sent);
        oracle_leave();
        if (sent) return true;
        if (!goes_on(q, error)) return false;
    }
}

static void drain(shmq *q) {
    for (;;) {
        oracle_enter(plot->queue.capacity);
        const int result = shmq_drain(q, plot->timeout_ms), error = errno;
        oracle_leave();
        if (result == 0 || !goes_on(q, error)) return;
    }
}

static void produce(void) {
    const unsigned origin = part[engine.current].origin;
    shmq *q = open_end();
    for (unsigned number; q != NULL && (number = oracle_next_number(origin)) < plot->messages;)
        if (!send_letter(q, (struct letter){origin, number})) break;
    if (plot->drain && q != NULL) drain(q);
    close_end(q);
}

/* ---- Consumers ------------------------------------------------------------------------------------------------- */

/* False: none, with errno. */
static bool receive(shmq *q, struct letter *letter) {
    uint64_t payload[2] = {0, 0};
    if (!plot->peek) {
        const ssize_t length = shmq_recv(q, payload, sizeof payload, plot->timeout_ms);
        if (length < 0) return false;
        *letter = oracle_read(payload, (size_t)length);
        oracle_seen(*letter);
        return true;
    }
    size_t length;
    const void *message = shmq_peek(q, &length, plot->timeout_ms);
    if (message == NULL) return false;
    if (length > sizeof payload) engine_fail("a message of %zu bytes", length);
    memory_copy_out(payload, message, length, HERE);
    *letter = oracle_read(payload, length);
    oracle_seen(*letter);
    if (shmq_release(q) != 0) engine_fail("cannot release: errno %d", errno);
    return true;
}

static void consume(void) {
    shmq *q = open_end();
    while (q != NULL) {
        struct letter letter;
        oracle_enter(RECORD_ALIGN);
        const bool received = receive(q, &letter);
        const int error = errno;
        if (received) oracle_taken(letter);
        oracle_leave();
        if (!received && !goes_on(q, error)) break;
    }
    close_end(q);
}

/* ---- The script ------------------------------------------------------------------------------------------------ */

static void enter(enum shmq_end side, unsigned origin, const char *name, bool newcomer) {
    const unsigned actor = engine_spawn(name, side == SHMQ_PRODUCER ? produce : consume, true);
    part[actor].side = side;
    part[actor].origin = origin;
    part[actor].pauses = false;
    part[actor].newcomer = newcomer;
}

static void begin(void) {
    static const char *const names[2][3] = {{"producer", "producer 2", "producer 3"},
                                            {"consumer", "consumer 2", "consumer 3"}};
    world_begin();
    oracle_begin();
    for (enum shmq_end side = SHMQ_PRODUCER; side <= SHMQ_CONSUMER; side++)
        for (unsigned at = 0; at < plot->ends[side]; at++)
            enter(side, at, names[side][at], false);
}

static void died(unsigned actor) {
    static const char *const names[] = {"new producer", "new consumer"};
    oracle_died(actor);
    world_bury(actor);
    if (!plot->unreplaced) enter(part[actor].side, part[actor].origin, names[part[actor].side], true);
}

const struct script *plot_script(const struct plot *next) {
    static struct script script;
    plot = next;
    script = (struct script){.begin = begin,
                             .died = died,
                             .look = oracle_look,
                             .idle = oracle_idle,
                             .end = oracle_end,
                             .digest = oracle_digest,
                             .kills = plot->kills,
                             .quirks = plot->quirks};
    world_make(&plot->queue);
    return &script;
}
