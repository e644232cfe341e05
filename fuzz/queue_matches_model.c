/* A queue is a queue: whatever both ends do with it, in whatever order, each message that was sent is received exactly
 * once, in order, with its bytes; and each call says what a model of a few lines says.
 *
 *     1 byte   the notifier, modulo 7        1 byte   flags: 1 many producers, 2 many consumers, 8 checksums
 *     1 byte   capacity: 16 << (it % 10)     number   max_message (support.h: take_number)
 *     number   where cursors begin: so many words of 8 bytes before 2^64
 *     then operations: a byte of
 *       bits 0-3  what: see enum operation    bits 4-5  which end of its side (of 3)    bit 6  the side: consumers
 *       bit 7     the next operation but one happens when this one falls asleep; it is read there
 *     and what it needs: a number, the length; of what can wait, a byte: bits 0-3 the time-out, of TIMEOUTS from 13 on
 *     and else 0, since a wait is a thousand times as slow as the rest; bit 4 the buffer is too small by 1.
 *
 * An end that waits for ever, and whom nobody wakes, is killed in its sleep.
 *
 * It stays below a tenth of the speed of an empty target because an input is some dozens of operations, each with a model
 * beside it, and because who waits looks at the ring 128 times and more before it sleeps. */
#include "support.h"

#include <poll.h>
#include <string.h>

enum { ENDS = 3, QUEUE = 1024, MAX_OPERATIONS = 400, SLEEPS = 16 };
static const int TIMEOUTS[16] = {[13] = 1, 60, -1};

enum operation { OPEN, SEND, RECV, RESERVE, COMMIT, PEEK, RELEASE, DRAIN, STAT, ARM, CLOSE, KILL, UNLINK, FORK, WRONG };

struct end {
    shmq *q;
    int side, index;
    uint64_t bytes_held; /* of the record; 0 none */
    size_t length_held;
    unsigned char *reserved;
    int gone;
    uint64_t old_life[ENDS]; /* of peers: no news */
    bool armed, busy, takes_turns, has_turn;
};

static struct model {
    struct stage stage;
    uint64_t capacity, max_message, before, head, tail, first, next;
    bool many[2], unlinked, forked;
    size_t length[QUEUE]; /* of the messages from `first` to `next` */
    uint8_t stamp[QUEUE], next_stamp;
    uint64_t life[2][ENDS], end_seen[ENDS];
    struct end end[2][ENDS];
} model;

static struct bytes input;
static jmp_buf killed;

static int actor_of(const struct end *end) { return end->side * ENDS + end->index; }
static uint64_t record_bytes(size_t length) { return (model.before + length + 7) / 8 * 8; }
static uint64_t used(void) { return model.tail - model.head; }
static uint64_t unused(void) { return model.capacity - used(); }

static bool any_open(int side) {
    for (int at = 0; at < ENDS; at++)
        if (model.end[side][at].q != NULL) return true;
    return false;
}

/* Bytes that are like no other message's nearby. Returns what tells them. */
static uint8_t fill(unsigned char *to, size_t length) {
    const uint8_t stamp = model.next_stamp += 37;
    for (size_t at = 0; at < length; at++)
        to[at] = (unsigned char)(stamp + at);
    return stamp;
}

static void check_bytes(const unsigned char *message, size_t length) {
    fuzz_assert(model.first < model.next, "what is received was sent");
    fuzz_assert(length == model.length[model.first % QUEUE], "a message has the length that was sent, in order");
    for (size_t at = 0; at < length; at++)
        fuzz_assert(message[at] == (unsigned char)(model.stamp[model.first % QUEUE] + at),
                    "a message has the bytes that were sent");
}

static void push(size_t length, uint8_t stamp) {
    model.stamp[model.next % QUEUE] = stamp;
    model.length[model.next++ % QUEUE] = length;
    model.tail += record_bytes(length);
}

static void pop(void) { model.head += record_bytes(model.length[model.first++ % QUEUE]); }

/* Another end of this side holds a message, or sleeps in wait for one: so it has the side. */
static bool locked_out(const struct end *end) {
    for (int at = 0; model.many[end->side] && at < ENDS; at++) {
        const struct end *other = &model.end[end->side][at];
        if (other != end && other->q != NULL && (other->bytes_held != 0 || other->has_turn)) return true;
    }
    return false;
}

/* ---- Who is there ----------------------------------------------------------------------------- */

/* What a waiter is to hear of its peers: 0, EPIPE, EOWNERDEAD. */
static int gone_for(struct end *end) {
    const int peers = !end->side;
    int gone = 0;
    if (any_open(peers)) return end->gone = 0;
    for (int slot = 0; slot < ENDS; slot++) {
        const uint64_t life = model.life[peers][slot];
        if (life != 0 && life != end->old_life[slot] && gone != EOWNERDEAD) gone = life % 2 != 0 ? EOWNERDEAD : EPIPE;
    }
    if (gone == 0) gone = end->gone;
    return gone == 0 && model.unlinked ? EPIPE : gone;
}

static void report(struct end *end, int gone) {
    end->gone = gone;
    for (int slot = 0; slot < ENDS; slot++) {
        end->old_life[slot] = model.life[!end->side][slot];
        if (end->side == SHMQ_CONSUMER) model.end_seen[slot] = end->old_life[slot];
    }
}

static void begin_life(struct end *end) {
    uint64_t *life = &model.life[end->side][end->q->region.slot];
    *life = (*life + 1) | 1;
    for (int slot = 0; slot < ENDS; slot++)
        end->old_life[slot] = end->side == SHMQ_CONSUMER ? model.end_seen[slot] : model.life[!end->side][slot];
    end->gone = 0;
    for (int slot = 0; end->side == SHMQ_PRODUCER && slot < ENDS; slot++)
        for (int at = 0; at < ENDS; at++)
            if (model.end[SHMQ_CONSUMER][at].q != NULL && model.end[SHMQ_CONSUMER][at].q->region.slot == (unsigned)slot)
                end->old_life[slot] = 0;
}

static void drop(struct end *end) {
    const struct end blank = {.side = end->side, .index = end->index};
    *end = blank;
}

static void die(struct end *end) {
    kernel_kill(actor_of(end));
    fuzz_forget(end->q);
    drop(end);
}

/* ---- What a call may say ---------------------------------------------------------------------- */

static void fail_as(const struct end *end, const char *what, int error, int wanted) {
    fuzz_fail("%s: a %s says errno %d where it is %d", what, end->side == 0 ? "producer" : "consumer", error, wanted);
}

static void expect(const struct end *end, const char *what, int result, int wanted) {
    const int error = result < 0 ? errno : 0;
    if (error != wanted) fail_as(end, what, error, wanted);
}

/* Why a wait ends without what it waited for; `there`: it is there, as the model sees it. */
static int why_not(struct end *end, bool there, int timeout_ms) {
    const int out = timeout_ms == 0 ? EAGAIN : ETIMEDOUT;
    if (locked_out(end)) return out;
    if (there) return 0;
    const int gone = gone_for(end);
    if (gone != 0) report(end, gone);
    return gone != 0 ? gone : out;
}

static void allow(const struct end *end) {
    if (end->side == SHMQ_PRODUCER)
        stage_allow(&model.stage, model.tail, unused());
    else
        stage_allow(&model.stage, model.head, used());
}

/* ---- Operations ------------------------------------------------------------------------------- */

static void send_one(struct end *end, size_t length, int timeout_ms) {
    static unsigned char messages[ENDS][STAGE_LARGEST];
    unsigned char *message = messages[end->index];
    const uint8_t stamp = fill(message, length <= model.max_message ? length : 0);
    const int result = shmq_send(end->q, length == 0 ? NULL : message, length, timeout_ms);
    const int error = errno;
    const bool fits = unused() >= record_bytes(length);
    const int wanted = end->bytes_held != 0         ? EBUSY
                       : length > model.max_message ? EMSGSIZE
                                                    : why_not(end, fits, timeout_ms);
    errno = error;
    expect(end, "send", result, wanted);
    if (result == 0) push(length, stamp);
}

static void reserve(struct end *end, size_t length, int timeout_ms) {
    end->bytes_held = 0;
    end->reserved = shmq_reserve(end->q, length, timeout_ms);
    const int error = errno;
    const int wanted =
        length > model.max_message ? EMSGSIZE : why_not(end, unused() >= record_bytes(length), timeout_ms);
    errno = error;
    expect(end, "reserve", end->reserved == NULL ? -1 : 0, wanted);
    if (end->reserved == NULL) return;
    fuzz_assert((uintptr_t)end->reserved % 8 == 0, "what is reserved is 8-byte aligned");
    end->bytes_held = record_bytes(length);
    end->length_held = length;
    memset(end->reserved, 0xee, length);
}

static void commit(struct end *end, size_t length) {
    const int wanted = end->bytes_held == 0 || length > end->length_held ? EINVAL : 0;
    const uint8_t stamp = fill(end->reserved, wanted == 0 ? length : 0);
    expect(end, "commit", shmq_commit(end->q, length), wanted);
    if (wanted != 0) return;
    end->bytes_held = 0;
    push(length, stamp);
}

static void recv_one(struct end *end, bool too_small, int timeout_ms) {
    static unsigned char buffer[STAGE_LARGEST];
    const uint64_t first = model.first;
    size_t length = model.first < model.next ? model.length[first % QUEUE] : 0;
    const size_t size = !too_small ? sizeof buffer : length > 0 ? length - 1 : 0;
    const ssize_t result = shmq_recv(end->q, size == 0 ? NULL : buffer, size, timeout_ms);
    const int error = errno;
    length = model.first < model.next ? model.length[model.first % QUEUE] : 0;
    int wanted = why_not(end, model.first < model.next, timeout_ms);
    if (wanted == 0 && length > size) wanted = EMSGSIZE;
    errno = error;
    expect(end, "recv", result < 0 ? -1 : 0, wanted);
    if (result < 0) return;
    check_bytes(buffer, (size_t)result);
    end->bytes_held = 0;
    pop();
}

static void peek(struct end *end, int timeout_ms) {
    size_t length = 0;
    const unsigned char *message = shmq_peek(end->q, &length, timeout_ms);
    const int error = errno, wanted = why_not(end, model.first < model.next, timeout_ms);
    errno = error;
    expect(end, "peek", message == NULL ? -1 : 0, wanted);
    if (message == NULL) return;
    allow(end); /* it may have come while we slept */
    fuzz_assert((uintptr_t)message % 8 == 0, "a message is 8-byte aligned");
    check_bytes(message, length);
    end->bytes_held = record_bytes(length);
}

static void release(struct end *end) {
    const bool holds = end->bytes_held != 0;
    expect(end, "release", shmq_release(end->q), holds ? 0 : EINVAL);
    end->bytes_held = 0;
    if (holds && end->side == SHMQ_CONSUMER) pop();
}

static void drain(struct end *end, int timeout_ms) {
    const uint64_t sent = model.tail;
    const int result = shmq_drain(end->q, timeout_ms), error = errno;
    const bool many = model.many[SHMQ_PRODUCER], taken = many ? (int64_t)(model.head - sent) >= 0 : used() == 0;
    const int wanted = many && taken ? 0 : why_not(end, taken, timeout_ms);
    errno = error;
    if (many && locked_out(end) && result < 0) return; /* it needs no turn: so it may also hear of the consumers */
    expect(end, "drain", result, wanted);
}

static uint32_t count(int side) {
    uint32_t open = 0;
    for (int at = 0; at < ENDS; at++)
        open += model.end[side][at].q != NULL;
    return open;
}

static void look_at_stat(const struct end *end) {
    struct shmq_stat stat;
    expect(end, "stat", shmq_stat(end->q, &stat), 0);
    fuzz_assert(stat.used == used() && stat.capacity == model.capacity, "stat says how many bytes are used");
    fuzz_assert(stat.sent == model.next && stat.received == model.first, "stat counts messages");
    fuzz_assert(stat.producers == count(0) && stat.consumers == count(1), "stat counts ends");
    fuzz_assert(stat.max_message == model.max_message, "stat says the longest message");
}

static bool ready(struct end *end) {
    if (end->bytes_held != 0) return true;
    const bool there = end->side == SHMQ_PRODUCER ? unused() >= record_bytes(model.max_message) : used() > 0;
    return there || gone_for(end) != 0;
}

static void arm(struct end *end) {
    const bool can = model.stage.region.header.notify == SHMQ_NOTIFY_FIFO && !model.many[end->side];
    const int fd = shmq_fd(end->q);
    expect(end, "fd", fd < 0 ? -1 : 0, can ? 0 : ENOTSUP);
    const int result = shmq_arm(end->q);
    expect(end, "arm", result < 0 ? -1 : 0, can ? 0 : ENOTSUP);
    if (can) fuzz_assert(result == ready(end), "arm says 1 if the next call says something now");
    end->armed = can && result == 0;
}

/* Whoever was told to wait for its descriptor, does not wait in vain. */
static void check_armed(void) {
    for (int at = 0; at < 2 * ENDS; at++) {
        struct end *end = &model.end[at / ENDS][at % ENDS];
        if (end->q == NULL || !end->armed || !ready(end)) continue;
        struct pollfd polled = {.fd = shmq_fd(end->q)};
        fuzz_assert(kernel_ppoll(&polled, 1, &(struct timespec){0}, NULL) == 1, "the descriptor becomes readable");
        end->armed = false;
    }
}

/* ---- Coming and going ------------------------------------------------------------------------- */

static void open_end(struct end *end) {
    const bool taken = any_open(end->side) && !model.many[end->side];
    end->q = stage_open(&model.stage, (enum shmq_end)end->side);
    expect(end, "open", end->q == NULL ? -1 : 0, taken ? EBUSY : 0);
    if (end->q != NULL) begin_life(end);
}

static void close_end(struct end *end) {
    const unsigned slot = end->q->region.slot;
    expect(end, "close", shmq_close(end->q), 0);
    model.life[end->side][slot]++;
    drop(end);
}

/* The child of a fork: nobody's end is its own. */
static void fork_here(void) {
    struct shmq_stat stat;
    kernel_fork_child();
    model.forked = true;
    for (int at = 0; at < 2 * ENDS; at++) {
        struct end *end = &model.end[at / ENDS][at % ENDS];
        if (end->q == NULL) continue;
        expect(end, "stat after fork", shmq_stat(end->q, &stat), EINVAL);
        expect(end, "send after fork", shmq_send(end->q, "", 0, 0), EINVAL);
        expect(end, "recv after fork", (int)shmq_recv(end->q, &stat, 1, 0), EINVAL);
        expect(end, "close after fork", shmq_close(end->q), EINVAL);
    }
}

/* Arguments that are wrong whatever the queue is like. */
static void wrong(const struct end *end) {
    const bool produces = end->side == SHMQ_PRODUCER;
    expect(end, "the other side's call", produces ? (int)shmq_recv(end->q, &model, 1, 0) : shmq_drain(end->q, 0),
           EINVAL);
    expect(end, "a time-out of -2", produces ? shmq_send(end->q, "", 0, -2) : (shmq_peek(end->q, NULL, -2), -1),
           EINVAL);
    expect(end, "nothing to send from", produces ? shmq_send(end->q, NULL, 1, 0) : -1, EINVAL);
    expect(end, "nowhere to receive to", produces ? -1 : (int)shmq_recv(end->q, NULL, 1, 0), EINVAL);
    expect(end, "nowhere to put it", shmq_stat(end->q, NULL), EINVAL);
    expect(end, "no queue", shmq_commit(NULL, 0) & shmq_release(NULL) & shmq_fd(NULL) & shmq_arm(NULL), EINVAL);
    expect(end, "close no queue", shmq_close(NULL), EINVAL);
}

static void act(struct end *end, enum operation what, bool nested) {
    const bool sizes = what == SEND || what == RESERVE || what == COMMIT;
    const bool waits = what == SEND || what == RESERVE || what == RECV || what == PEEK || what == DRAIN;
    const size_t length = sizes ? (size_t)take_number(&input) : 0;
    const uint8_t how = waits ? take_byte(&input) : 0;
    const int timeout_ms = nested ? 0 : TIMEOUTS[how & 15];
    if (end->side == SHMQ_PRODUCER && model.next - model.first >= QUEUE - 1) return;
    switch (what) {
    case SEND: send_one(end, length, timeout_ms); break;
    case RESERVE: reserve(end, length, timeout_ms); break;
    case COMMIT: commit(end, length); break;
    case RECV: recv_one(end, (how & 16) != 0, timeout_ms); break;
    case PEEK: peek(end, timeout_ms); break;
    case RELEASE: release(end); break;
    case DRAIN: drain(end, timeout_ms); break;
    case STAT: look_at_stat(end); break;
    case ARM: arm(end); break;
    case CLOSE: close_end(end); break;
    case KILL: die(end); break;
    case UNLINK: kernel_drop_links(model.stage.object), model.unlinked = true; break;
    default: wrong(end); break;
    }
}

/* Turns what an end's side has not into what it has. */
static enum operation suited(const struct end *end, enum operation what) {
    if (end->side == SHMQ_PRODUCER) return what == RECV ? SEND : what == PEEK ? RESERVE : what;
    return what == SEND ? RECV : what == RESERVE ? PEEK : what == COMMIT ? RELEASE : what == DRAIN ? RECV : what;
}

static void step(bool nested);

static void while_asleep(void) {
    struct end *sleeper = NULL;
    for (int at = 0; at < 2 * ENDS; at++)
        if (model.end[at / ENDS][at % ENDS].busy) sleeper = &model.end[at / ENDS][at % ENDS];
    if (sleeper == NULL) return;
    sleeper->has_turn = sleeper->takes_turns && !locked_out(sleeper);
    step(true);
    sleeper->has_turn = false;
    allow(sleeper);
}

static void step(bool nested) {
    const uint8_t byte = take_byte(&input);
    struct end *end = &model.end[byte >> 6 & 1][(byte >> 4 & 3) % ENDS];
    enum operation what = suited(end, (byte & 15) % (WRONG + 1));
    if (end->busy || (what == FORK && nested)) return;
    if (what == FORK) return fork_here();
    if (end->q == NULL) what = OPEN;
    const int actor = actor_of(end);
    kernel_begin(actor, end->side);
    kernel.sleeps_allowed = SLEEPS;
    kernel.asleep = !nested && (byte & 0x80) != 0 ? while_asleep : NULL;
    kernel.killed = nested ? NULL : &killed;
    allow(end);
    end->busy = true;
    end->takes_turns = what != DRAIN;
    end->armed = false;
    if (what == OPEN && end->q == NULL)
        open_end(end);
    else if (what != OPEN)
        act(end, what, nested);
    end->busy = false;
    (*fuzz_operations)++;
    if (!nested) check_armed();
}

/* Somebody would have slept for ever. */
static void kill_sleeper(void) {
    for (int at = 0; at < 2 * ENDS; at++) {
        struct end *end = &model.end[at / ENDS][at % ENDS];
        if (!end->busy) continue;
        die(end);
    }
}

static void set_up(void) {
    const unsigned notify = take_byte(&input) % 7;
    const unsigned flags = take_byte(&input) & (SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS | SHMQ_CHECKSUM);
    const uint64_t capacity = (uint64_t)16 << take_byte(&input) % 10;
    const uint64_t max_message = take_number(&input), start = 0 - 8 * take_number(&input);
    memset(&model, 0, sizeof model);
    model.capacity = capacity;
    model.before = (flags & SHMQ_CHECKSUM) != 0 ? 16 : 8;
    model.max_message =
        max_message == 0 || max_message > capacity - model.before ? capacity - model.before : max_message;
    model.head = model.tail = start;
    model.many[SHMQ_PRODUCER] = (flags & SHMQ_MANY_PRODUCERS) != 0;
    model.many[SHMQ_CONSUMER] = (flags & SHMQ_MANY_CONSUMERS) != 0;
    for (int at = 0; at < 2 * ENDS; at++) {
        model.end[at / ENDS][at % ENDS].side = at / ENDS;
        model.end[at / ENDS][at % ENDS].index = at % ENDS;
    }
    kernel_begin(2 * ENDS, 0);
    stage_set(&model.stage, (size_t)capacity, (size_t)max_message, notify, flags, start);
}

/* All that is still there comes, and then nothing is held any more. */
static void wind_up(void) {
    for (int at = 0; !model.forked && at < 2 * ENDS; at++) {
        struct end *end = &model.end[at / ENDS][at % ENDS];
        kernel_begin(actor_of(end), end->side);
        if (end->q != NULL) close_end(end);
    }
    struct end *last = &model.end[SHMQ_CONSUMER][0];
    kernel_begin(actor_of(last), SHMQ_CONSUMER);
    if (model.forked) return;
    open_end(last);
    allow(last);
    while (model.first < model.next)
        recv_one(last, false, 0);
    close_end(last);
    fuzz_assert(kernel_held() == 1, "who has closed holds no descriptor, lock or mapping"); /* but the stage itself */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    fuzz_begin();
    set_up();
    for (volatile int count = 0; count < MAX_OPERATIONS && input.left > 0 && !model.forked; count++) {
        if (setjmp(killed) == 0)
            step(false);
        else
            kill_sleeper();
    }
    kernel.killed = NULL;
    kernel.asleep = NULL;
    wind_up();
    return 0;
}
