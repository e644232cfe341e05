/* Of a side with many ends one at a time works on the queue; and when it dies, at whatever step of whatever call, the
 * next takes over: no message is lost, torn, repeated or put before another, and nobody waits for the dead.
 *
 *     1 byte   the notifier, of NOTIFIERS; bit 3 with checksums
 *     1 byte   capacity: 64 << (it % 6)            number   where the cursors begin, in words of 8 bytes before 2^64
 *     then operations: a byte
 *       bits 0-2 what: see enum operation   bits 3-4 which of 4 ends   bit 5 of the consumers' side
 *       bit 6 it dies at the step that the next byte says, if it gets there; steps are calls and accesses
 *       bit 7 with 500 ms to wait, and the next operation happens while it sleeps, if it does
 *
 * It stays below a tenth of the speed of an empty target for what queue_matches_model.c says; and who is to die needs a
 * setjmp, at which a sanitizer cleans the stack. */
#include "support.h"

#include <string.h>

enum { ENDS = 4, QUEUE = 512, MAX_OPERATIONS = 250, SLEEPS = 60 };
enum operation { PASS, HOLD, LET_GO, CLOSE, DIE, DRAIN, COUNT, OPERATIONS };
static const unsigned NOTIFIERS[8] = {SHMQ_NOTIFY_SEM,    SHMQ_NOTIFY_FIFO, SHMQ_NOTIFY_LOCK,  SHMQ_NOTIFY_SPIN,
                                      SHMQ_NOTIFY_SIGNAL, SHMQ_NOTIFY_SEM,  SHMQ_NOTIFY_NAMED, SHMQ_NOTIFY_SEM};

struct message {
    uint64_t number;
    bool perhaps; /* whoever sent or took it died at that */
};

struct end {
    shmq *q;
    int side, index;
    uint64_t *held; /* the message that is reserved or peeked at */
    enum operation busy;
    uint64_t number; /* of the message that it is sending */
};

static struct scene {
    struct stage stage;
    uint64_t record_bytes, capacity;
    uint64_t next_number, first, next;
    struct message message[QUEUE]; /* sent and not taken, as far as we know */
    struct end end[2][ENDS];
    struct end *acting;
} scene;

static struct bytes input;
static jmp_buf killed;

static int actor_of(const struct end *end) { return end->side * ENDS + end->index; }
static struct message *at(uint64_t index) { return &scene.message[index % QUEUE]; }

static void push(uint64_t number, bool perhaps) {
    if (scene.next - scene.first < QUEUE) *at(scene.next++) = (struct message){number, perhaps};
}

static bool certainly_empty(void) { return scene.first == scene.next; }

/* Of those before `until`. */
static bool perhaps_taken(uint64_t until) {
    for (uint64_t index = scene.first; index < until; index++)
        if (!at(index)->perhaps) return false;
    return true;
}

static bool perhaps_empty(void) { return perhaps_taken(scene.next); }

/* Somebody was given this message. */
static void check_number(uint64_t number) {
    while (!certainly_empty() && at(scene.first)->perhaps && at(scene.first)->number != number)
        scene.first++;
    fuzz_assert(!certainly_empty(), "no message is received twice, or that was never sent");
    fuzz_assert(at(scene.first)->number == number, "messages are received in order, and none is lost");
}

/* Somebody died while it took one: the first of those that are there may have gone. */
static void doubt_first(void) {
    for (uint64_t index = scene.first; index < scene.next; index++) {
        const bool was_certain = !at(index)->perhaps;
        at(index)->perhaps = true;
        if (was_certain) return;
    }
}

/* Another end of this side is in the middle of a message. */
static struct end *holder_beside(const struct end *end) {
    for (int index = 0; index < ENDS; index++) {
        struct end *other = &scene.end[end->side][index];
        if (other != end && other->q != NULL && (other->held != NULL || other == scene.acting)) return other;
    }
    return NULL;
}

static bool any_peer(const struct end *end) {
    for (int index = 0; index < ENDS; index++)
        if (scene.end[!end->side][index].q != NULL) return true;
    return false;
}

static void expect_out_of_turn(const struct end *end, int error, bool may_wait) {
    if (holder_beside(end) != NULL && (error == EAGAIN || error == ETIMEDOUT)) return;
    if (!may_wait) fuzz_fail("errno %d: nobody that lives has the side, and all that is needed is there", error);
    const bool gone = error == EPIPE || error == EOWNERDEAD;
    if (gone) fuzz_assert(!any_peer(end), "nobody is gone while one of them lives");
    fuzz_assert(gone || error == EAGAIN || error == ETIMEDOUT, "a wait ends as shmq.h says");
}

/* There may be less room than is needed: by records that perhaps are there. */
static bool may_lack_room(void) { return (scene.next - scene.first + 1) * scene.record_bytes > scene.capacity; }

/* ---- Operations ------------------------------------------------------------------------------- */

static void pass(struct end *end, int timeout_ms) {
    uint64_t number = end->number = ++scene.next_number;
    if (end->side == SHMQ_PRODUCER) {
        if (shmq_send(end->q, &number, sizeof number, timeout_ms) == 0) return push(number, false);
        if (errno == EBUSY) return fuzz_assert(end->held != NULL, "EBUSY: something is reserved");
        return expect_out_of_turn(end, errno, may_lack_room());
    }
    const ssize_t got = shmq_recv(end->q, &number, sizeof number, timeout_ms);
    if (got < 0) return expect_out_of_turn(end, errno, perhaps_empty());
    fuzz_assert(got == sizeof number, "a message has its length");
    check_number(number);
    scene.first++;
    end->held = NULL;
}

static void hold(struct end *end, int timeout_ms) {
    size_t length = 0;
    const bool produces = end->side == SHMQ_PRODUCER;
    end->held = produces ? NULL : end->held;
    uint64_t *held =
        produces ? shmq_reserve(end->q, 8, timeout_ms) : (void *)(uintptr_t)shmq_peek(end->q, &length, timeout_ms);
    if (held == NULL) return expect_out_of_turn(end, errno, produces ? may_lack_room() : perhaps_empty());
    end->held = held;
    if (!produces) check_number(*held);
}

static void let_go(struct end *end) {
    const bool held = end->held != NULL;
    if (end->side == SHMQ_PRODUCER) {
        if (held) *end->held = end->number = ++scene.next_number;
        const int result = shmq_commit(end->q, 8);
        fuzz_assert((result == 0) == held, "what is reserved can be committed");
        if (held) push(end->number, false);
    } else {
        const int result = shmq_release(end->q);
        fuzz_assert((result == 0) == held, "what is shown can be released");
        if (held) scene.first++;
    }
    end->held = NULL;
}

static void close_end(struct end *end) {
    fuzz_assert(shmq_close(end->q) == 0, "an end that found nothing wrong closes");
    end->q = NULL;
    end->held = NULL;
}

static void open_end(struct end *end) {
    end->q = stage_open(&scene.stage, (enum shmq_end)end->side);
    fuzz_assert(end->q != NULL, "there is a place for each of up to 64 ends");
}

static void count_ends(const struct end *end) {
    struct shmq_stat stat;
    uint32_t open[2] = {0, 0};
    for (int which = 0; which < 2 * ENDS; which++)
        open[which / ENDS] += scene.end[which / ENDS][which % ENDS].q != NULL;
    fuzz_assert(shmq_stat(end->q, &stat) == 0, "a sound queue can be looked at");
    fuzz_assert(stat.producers == open[0] && stat.consumers == open[1], "who lives is counted, and nobody else");
}

static void drain(struct end *end, int timeout_ms) {
    const uint64_t sent = scene.next;
    if (end->side == SHMQ_CONSUMER) return;
    if (shmq_drain(end->q, timeout_ms) == 0) return fuzz_assert(perhaps_taken(sent), "drained is what has been taken");
    if (errno == EPIPE || errno == EOWNERDEAD) return fuzz_assert(!any_peer(end), "nobody is gone while one lives");
    fuzz_assert((errno == EAGAIN || errno == ETIMEDOUT) && !certainly_empty(), "a drain waits for what is not taken");
}

/* It went no further. What it had published, or taken, nobody knows but the queue. */
static void bury(struct end *end, enum operation at_what) {
    const bool held = end->held != NULL;
    kernel_kill(actor_of(end));
    if (end->q != NULL) fuzz_forget(end->q);
    end->q = NULL;
    end->held = NULL;
    if (at_what == PASS && end->side == SHMQ_PRODUCER && !held) push(end->number, true);
    if (at_what == LET_GO && end->side == SHMQ_PRODUCER && held) push(end->number, true);
    if (end->side == SHMQ_CONSUMER && (at_what == PASS || (at_what == LET_GO && held))) doubt_first();
}

static void act(struct end *end, enum operation what, int timeout_ms) {
    if (scene.next - scene.first >= QUEUE - 2) return;
    switch (what) {
    case PASS: pass(end, timeout_ms); break;
    case HOLD: hold(end, timeout_ms); break;
    case LET_GO: let_go(end); break;
    case CLOSE: close_end(end); break;
    case DIE: bury(end, DIE); break;
    case DRAIN: drain(end, timeout_ms); break;
    default: count_ends(end); break;
    }
}

static void step(bool nested);

static void while_asleep(void) { step(true); }

static void step(bool nested) {
    const uint8_t byte = take_byte(&input), when = (byte & 0x40) != 0 ? take_byte(&input) : 0;
    struct end *end = &scene.end[byte >> 5 & 1][byte >> 3 & 3], *const outer = scene.acting;
    const enum operation what = (byte & 7) % OPERATIONS;
    if (end == outer) return;
    kernel_begin(actor_of(end), end->side);
    kernel.sleeps_allowed = SLEEPS;
    if (!nested && (byte & 0x40) != 0) kernel.kill_at = when;
    kernel.killed = nested ? NULL : &killed;
    kernel.asleep = !nested && (byte & 0x80) != 0 ? while_asleep : NULL;
    if (!nested) scene.acting = end;
    end->busy = what;
    (*fuzz_operations)++;
    if (end->q == NULL)
        open_end(end);
    else
        act(end, what, !nested && (byte & 0x80) != 0 ? 500 : 0);
    scene.acting = outer;
}

static void set_up(void) {
    const uint8_t kind = take_byte(&input);
    const unsigned flags = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS | ((kind & 8) != 0 ? SHMQ_CHECKSUM : 0);
    memset(&scene, 0, sizeof scene);
    scene.capacity = (uint64_t)64 << take_byte(&input) % 6;
    scene.record_bytes = (kind & 8) != 0 ? 24 : 16;
    const uint64_t start = 0 - 8 * take_number(&input);
    for (int which = 0; which < 2 * ENDS; which++) {
        scene.end[which / ENDS][which % ENDS].side = which / ENDS;
        scene.end[which / ENDS][which % ENDS].index = which % ENDS;
    }
    kernel_begin(2 * ENDS, 0);
    stage_set(&scene.stage, (size_t)scene.capacity, 0, NOTIFIERS[kind & 7], flags, start);
}

/* Everybody dies. A newcomer takes what is left, whatever they held. */
static void wind_up(void) {
    struct end *last = &scene.end[SHMQ_CONSUMER][0];
    for (int which = 0; which < 2 * ENDS; which++) {
        struct end *end = &scene.end[which / ENDS][which % ENDS];
        if (end->q != NULL) bury(end, DIE);
    }
    kernel_begin(actor_of(last), SHMQ_CONSUMER);
    open_end(last);
    for (uint64_t number; shmq_recv(last->q, &number, sizeof number, 0) == sizeof number; scene.first++)
        check_number(number);
    fuzz_assert(errno == EAGAIN || errno == EPIPE || errno == EOWNERDEAD, "a newcomer goes on after any death");
    fuzz_assert(perhaps_empty(), "no message is lost");
    close_end(last);
    fuzz_assert(kernel_held() == 1, "who has closed holds nothing"); /* but the stage itself */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    fuzz_begin();
    set_up();
    for (volatile int count = 0; count < MAX_OPERATIONS && input.left > 0; count++) {
        if (setjmp(killed) == 0) {
            step(false);
            continue;
        }
        struct end *dead = scene.acting;
        scene.acting = NULL;
        bury(dead, dead->busy);
        shmq *known[2 * ENDS];
        for (int which = 0; which < 2 * ENDS; which++)
            known[which] = scene.end[which / ENDS][which % ENDS].q;
        fuzz_forget_others(known, 2 * ENDS);
    }
    kernel.killed = NULL;
    kernel.asleep = NULL;
    wind_up();
    return 0;
}
