/* Nothing that another process can write is believed: a hostile one rewrites any word of the region, between operations
 * and before any access in the middle of one. Then no end touches anything outside the ring or is given a message
 * longer than the longest; who was told EBADMSG is told so ever after; no time-out is overrun; and with checksums,
 * whatever is received was sent, at that very position. (Hostile writes into the ring are never right by chance: what
 * they write there is mixed first. Of named and cond nothing is promised.)
 *
 *     1 byte   bits 0-2 the notifier, of those that do not trust; bit 3 an object of the kernel's, opened by name, that
 *              can be truncated, else a stage of any capacity
 *     1 byte   flags, as in shmq.h                         1 byte   capacity: 16 << (it % 9); objects 4096 << (it % 2)
 *     number   where the cursors of a stage begin, in words of 8 bytes before 2^64
 *     then operations: a byte
 *       bits 0-3 what: see enum operation   bit 4 which end   bit 5 after the first, the time-out of what waits is 60
 *       ms bits 6-7 how many strikes come with it, which follow first; of each
 *         1 byte when: before access number so    1 byte where: see strike_at    1 byte how: see worth    number
 *
 * It stays below a tenth of the speed of an empty target for what queue_matches_model.c says. */
#include "support.h"

#include <fcntl.h>
#include <string.h>

#include "mix.h"

enum { STRIKES = 3, SENT = 256, MAX_OPERATIONS = 200, SLEEPS = 40, PAGE = 4096, ENDLESS = 1 << 20 };
static const unsigned NOTIFIERS[8] = {SHMQ_NOTIFY_SEM,    SHMQ_NOTIFY_FIFO, SHMQ_NOTIFY_LOCK, SHMQ_NOTIFY_SPIN,
                                      SHMQ_NOTIFY_SIGNAL, SHMQ_NOTIFY_SEM,  SHMQ_NOTIFY_FIFO, SHMQ_NOTIFY_SEM};

enum operation {
    SEND,
    RECV,
    RESERVE,
    COMMIT,
    PEEK,
    RELEASE,
    DRAIN,
    STAT,
    ARM,
    REOPEN,
    SMALL_RECV,
    TRUNCATE,
    OPERATIONS
};

struct strike {
    uint8_t when, where, how;
    uint64_t number;
};

struct sent {
    uint64_t position;
    size_t length;
    uint8_t stamp;
    bool loose; /* somebody wrote into the ring before it was sealed */
};

static struct scene {
    bool by_name;
    struct stage stage;
    struct shmq_attr attr;
    uint64_t capacity, max_message;
    bool checksums, truncated;
    struct end_page *page[2];
    uint64_t *meeting;
    unsigned char *ring;
    size_t ring_bytes;
    shmq *end[2];
    bool poisoned[2];
    bool loose, struck; /* somebody wrote into the ring since it was reserved; since this operation began */
    unsigned char *reserved;
    size_t length_reserved;
    struct strike strike[STRIKES];
    unsigned strikes, accesses, sent_count;
    struct sent sent[SENT];
    uint8_t stamp;
} scene;

static struct bytes input;
static jmp_buf killed;

/* ---- Strikes ---------------------------------------------------------------------------------- */

/* Below 32 the words of the pages, producer's first; from there on those of the ring, from the consumer's cursor on. */
static uint64_t *strike_at(uint8_t where, bool *in_ring) {
    struct end_page *page = scene.page[where >> 3 & 1];
    shared_u64 *const words[8] = {&page->cursor, &page->ticket,   &page->want,    &page->bell,
                                  &page->lock,   &page->messages, &page->life[0], &page->end_seen[0]};
    *in_ring = where >= 32;
    if (where < 16) return (uint64_t *)(uintptr_t)words[where & 7];
    if (where < 32) return scene.meeting + (where & 15) * 2;
    const size_t offset = (scene.page[SHMQ_CONSUMER]->cursor & (scene.capacity - 1) & ~(uint64_t)7) + (where - 32) * 8u;
    return (uint64_t *)(void *)(scene.ring + offset % scene.ring_bytes);
}

/* What is written there. */
static uint64_t worth(const struct strike *strike, uint64_t old, bool in_ring) {
    const struct ring at = {.own = scene.page[strike->how >> 3 & 1]->cursor, .salt = 0x89abcdef};
    switch (strike->how & 7) {
    case 0: return in_ring ? mix(strike->number) : strike->number;
    case 1: return in_ring ? old ^ (uint64_t)1 << strike->number % 64 : old + strike->number;
    case 2: return in_ring ? mix(old) : old - strike->number;
    case 3: return ring_header(&at, (uint32_t)strike->number);
    case 4: return at.own + (in_ring ? mix(at.own) : strike->number);
    case 5: return old ^ (uint64_t)1 << strike->number % 64;
    case 6: return in_ring ? 0 : scene.page[SHMQ_CONSUMER]->cursor + scene.capacity;
    default: return 0;
    }
}

static void strike(const struct strike *one) {
    bool in_ring = false;
    uint64_t *at = strike_at(one->where, &in_ring);
    const uint64_t value = worth(one, *at, in_ring);
    if (!scene.by_name) fuzz_allow(at, sizeof *at);
    *at = value;
    scene.loose |= in_ring;
    scene.struck |= in_ring;
}

static void before_access(int access, const void *address, size_t bytes) {
    (void)access, (void)address, (void)bytes;
    const unsigned number = ++scene.accesses;
    if (number > ENDLESS) fuzz_fail("a hostile peer holds up an operation for ever");
    for (unsigned at = 0; at < scene.strikes; at++)
        if (scene.strike[at].when == number) strike(&scene.strike[at]);
}

static void take_strikes(unsigned count) {
    scene.strikes = count;
    for (unsigned at = 0; at < count; at++) {
        struct strike *one = &scene.strike[at];
        one->when = take_byte(&input);
        one->where = take_byte(&input);
        one->how = take_byte(&input);
        one->number = take_number(&input);
        if (one->when == 0) strike(one);
    }
}

/* Where its words are now. An object may have lost its name; then they are nowhere. */
static void find_words(void) {
    static unsigned char nowhere[PAGE_RING * PAGE + 2 * PAGE] __attribute__((aligned(4096)));
    size_t bytes = 0;
    unsigned char *base = scene.by_name ? kernel_bytes("q", &bytes) : NULL;
    if (base == NULL) base = nowhere;
    scene.page[0] = scene.by_name ? (void *)(base + PAGE_PRODUCER * PAGE) : scene.stage.page[0];
    scene.page[1] = scene.by_name ? (void *)(base + PAGE_CONSUMER * PAGE) : scene.stage.page[1];
    scene.meeting = (void *)(scene.by_name ? base + PAGE_MEETING * PAGE : (unsigned char *)scene.stage.region.meeting);
    scene.ring = scene.by_name ? base + PAGE_RING * PAGE : scene.stage.region.ring;
    if (base == nowhere) memset(nowhere, 0, sizeof nowhere);
}

/* ---- What must hold --------------------------------------------------------------------------- */

static shmq *of(int end) { return scene.end[end]; }

/* After each call: documented, and the same for ever. */
static void judge(int end, const char *what, int64_t result) {
    const int error = errno;
    (*fuzz_operations)++;
    fuzz_check_errno(result < 0 ? -1 : 0, what);
    if (scene.poisoned[end] && (result >= 0 || error != EBADMSG)) fuzz_fail("%s: EBADMSG does not stick", what);
    if (result < 0 && error == EBADMSG) scene.poisoned[end] = true;
}

static void check_time(int64_t before_ns, int timeout_ms) {
    const int64_t slack_ns = 50000000; /* of who naps or lets others run */
    if (kernel.now_ns - before_ns > timeout_ms * INT64_C(1000000) + slack_ns)
        fuzz_fail("a hostile peer costs a time-out of %d ms", timeout_ms);
}

static void fill(unsigned char *to, size_t length, uint8_t stamp) {
    for (size_t at = 0; at < length; at++)
        to[at] = (unsigned char)(stamp + at);
}

static void note_sent(size_t length, uint8_t stamp, bool loose) {
    const uint64_t position = of(SHMQ_PRODUCER)->ring.own - ring_record_bytes(&of(SHMQ_PRODUCER)->ring, length);
    scene.sent[scene.sent_count++ % SENT] = (struct sent){position, length, stamp, loose};
}

static bool is_it(const struct sent *sent, uint64_t position, const unsigned char *message, size_t length) {
    if (sent->position != position) return false;
    if (sent->loose) return true; /* anything may have been sealed */
    if (sent->length != length) return false;
    for (size_t at = 0; at < length; at++)
        if (message[at] != (unsigned char)(sent->stamp + at)) return false;
    return true;
}

static void check_message(uint64_t position, const unsigned char *message, size_t length) {
    fuzz_assert(length <= scene.max_message, "no message is longer than the longest");
    if (!scene.checksums || scene.sent_count > SENT) return;
    for (unsigned at = 0; at < scene.sent_count; at++)
        if (is_it(&scene.sent[at], position, message, length)) return;
    fuzz_fail("a message of %zu bytes is received that was not sent at %llu", length, (unsigned long long)position);
}

static void check_inside(const unsigned char *at, size_t length) {
    bool inside = false;
    for (int end = 0; end <= 1; end++) {
        const shmq *q = of(end);
        inside |= q != NULL && at >= q->ring.bytes && at + length <= q->ring.bytes + 2 * scene.capacity;
    }
    fuzz_assert(inside, "what is reserved or peeked at lies in the ring");
}

/* ---- Operations ------------------------------------------------------------------------------- */

static void send_one(size_t length, int timeout_ms) {
    static unsigned char message[2 * PAGE];
    const uint8_t stamp = scene.stamp += 37;
    if (length <= scene.max_message) fill(message, length, stamp);
    const int result = shmq_send(of(SHMQ_PRODUCER), message, length, timeout_ms), error = errno;
    /* With EBADMSG it may have been sent. */
    if (result == 0 || (error == EBADMSG && !scene.poisoned[SHMQ_PRODUCER])) note_sent(length, stamp, scene.truncated);
    errno = error;
    judge(SHMQ_PRODUCER, "send", result);
}

static void reserve(size_t length, int timeout_ms) {
    scene.reserved = shmq_reserve(of(SHMQ_PRODUCER), length, timeout_ms);
    judge(SHMQ_PRODUCER, "reserve", scene.reserved == NULL ? -1 : 0);
    if (scene.reserved == NULL) return;
    scene.length_reserved = length;
    scene.loose = false;
    fuzz_assert(length <= scene.max_message, "no message is longer than the longest");
    check_inside(scene.reserved, length);
}

static void commit(size_t length) {
    const uint8_t stamp = scene.stamp += 37;
    const bool can = scene.reserved != NULL && length <= scene.length_reserved;
    if (can) fill(scene.reserved, length, stamp);
    const int result = shmq_commit(of(SHMQ_PRODUCER), length), error = errno;
    if (can) note_sent(length, stamp, scene.loose || scene.truncated);
    if (can) scene.reserved = NULL;
    errno = error;
    judge(SHMQ_PRODUCER, "commit", result);
}

static void recv_one(size_t size, int timeout_ms) {
    static unsigned char buffer[2 * PAGE];
    const ssize_t result =
        shmq_recv(of(SHMQ_CONSUMER), buffer, size < sizeof buffer ? size : sizeof buffer, timeout_ms);
    judge(SHMQ_CONSUMER, "recv", result);
    if (result < 0) return;
    const struct ring *ring = &of(SHMQ_CONSUMER)->ring;
    check_message(ring->own - ring_record_bytes(ring, (uint64_t)result), buffer, (size_t)result);
}

static void peek(int timeout_ms) {
    size_t length = 0;
    const bool held = of(SHMQ_CONSUMER)->held != 0;
    const unsigned char *message = shmq_peek(of(SHMQ_CONSUMER), &length, timeout_ms);
    judge(SHMQ_CONSUMER, "peek", message == NULL ? -1 : 0);
    if (message == NULL) return;
    static unsigned char copy[2 * PAGE];
    check_inside(message, length);
    fuzz_assert(length <= scene.max_message, "no message is longer than the longest");
    memcpy(copy, message, length);
    /* Shown, it can still be changed: then the second peek is the one that must be right. */
    if (!held && !scene.struck) check_message(of(SHMQ_CONSUMER)->ring.own, copy, length);
}

static void release(int end) {
    if (end == SHMQ_PRODUCER) scene.reserved = NULL;
    judge(end, "release", shmq_release(of(end)));
}

static void look_at_stat(int end) {
    struct shmq_stat stat;
    const int result = shmq_stat(of(end), &stat);
    judge(end, "stat", result);
    if (result == 0) fuzz_assert(stat.used <= scene.capacity, "no more is used than there is");
}

static int open_end(int end) {
    kernel_begin(end, end);
    if (!scene.by_name) return (scene.end[end] = stage_open(&scene.stage, (enum shmq_end)end)) == NULL ? -1 : 0;
    return shmq_open(&scene.end[end], "/q", (enum shmq_end)end, O_CREAT, &scene.attr);
}

static void reopen(int end) {
    fuzz_check_errno(shmq_close(of(end)), "close");
    find_words();
    scene.end[end] = NULL;
    scene.poisoned[end] = false;
    if (end == SHMQ_PRODUCER) scene.reserved = NULL;
    fuzz_check_errno(open_end(end), "open");
    find_words();
}

static unsigned others_faults;

/* Was there before shmq_guard_sigbus: what is no queue's comes here. */
static void on_others_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    others_faults++;
}

static void truncate_object(uint64_t bytes) {
    const unsigned before = others_faults;
    if (bytes % 8 >= 6) {
        kernel_send_sigbus(bytes % 8 == 6 ? &scene : NULL);
        fuzz_assert(others_faults == before + 1, "a SIGBUS elsewhere goes to the handler that was there before");
    }
    if (!scene.by_name || bytes % 8 >= 6) return;
    kernel_truncate("q", (size_t)(bytes % 8) * PAGE);
    scene.truncated = true;
}

static void act(enum operation what, int end, uint64_t number, int timeout_ms) {
    switch (what) {
    case SEND: send_one((size_t)number, timeout_ms); break;
    case RECV: recv_one(SIZE_MAX, timeout_ms); break;
    case SMALL_RECV: recv_one((size_t)number, timeout_ms); break;
    case RESERVE: reserve((size_t)number, timeout_ms); break;
    case COMMIT: commit((size_t)number); break;
    case PEEK: peek(timeout_ms); break;
    case RELEASE: release(end); break;
    case DRAIN: judge(SHMQ_PRODUCER, "drain", shmq_drain(of(SHMQ_PRODUCER), timeout_ms)); break;
    case STAT: look_at_stat(end); break;
    case ARM: judge(end, "arm", shmq_arm(of(end))); break;
    case REOPEN: reopen(end); break;
    default: truncate_object(number); break;
    }
}

static int end_of(enum operation what, uint8_t byte) {
    if (what == SEND || what == RESERVE || what == COMMIT || what == DRAIN) return SHMQ_PRODUCER;
    return what == RECV || what == SMALL_RECV || what == PEEK ? SHMQ_CONSUMER : byte >> 4 & 1;
}

static void step(void) {
    const uint8_t byte = take_byte(&input);
    const enum operation what = (byte & 15) % OPERATIONS;
    const bool sized = what == SEND || what == RESERVE || what == COMMIT || what == SMALL_RECV || what == TRUNCATE;
    const int end = end_of(what, byte), timeout_ms = (byte & 0x20) != 0 ? 60 : 0;
    const uint64_t number = sized ? take_number(&input) : 0;
    take_strikes(byte >> 6);
    if (of(end) == NULL) return (void)open_end(end), find_words();
    kernel_begin(end, end);
    kernel.sleeps_allowed = SLEEPS;
    kernel.killed = &killed;
    kernel.meanwhile = before_access;
    if (!scene.by_name) stage_allow_all(&scene.stage);
    scene.accesses = 0;
    scene.struck = false;
    const int64_t before_ns = kernel.now_ns;
    act(what, end, number, timeout_ms);
    if (what != REOPEN) check_time(before_ns, timeout_ms);
}

/* ---- The scene -------------------------------------------------------------------------------- */

static void set_up(void) {
    const uint8_t kind = take_byte(&input), flags = take_byte(&input) & 15, size = take_byte(&input);
    const unsigned notify = NOTIFIERS[kind & 7];
    memset(&scene, 0, sizeof scene);
    scene.by_name = (kind & 8) != 0;
    scene.checksums = (flags & SHMQ_CHECKSUM) != 0;
    scene.capacity = scene.by_name ? (uint64_t)4096 << size % 2 : (uint64_t)16 << size % 9;
    scene.ring_bytes = (scene.by_name ? 1 : 2) * (size_t)scene.capacity;
    scene.max_message = scene.capacity - (scene.checksums ? 16 : 8);
    scene.attr = (struct shmq_attr){(size_t)scene.capacity, (size_t)scene.max_message, notify, flags, 0};
    const uint64_t start = 0 - 8 * take_number(&input);
    kernel_begin(2, 0);
    if (!scene.by_name)
        stage_set(&scene.stage, (size_t)scene.capacity, 0, notify, flags & ~(unsigned)SHMQ_EPHEMERAL, start);
    if (!scene.by_name && scene.max_message == 0) scene.stage.region.header.max_message = 0;
    for (int end = 0; end <= 1; end++)
        if (open_end(end) != 0) fuzz_fail("errno %d: a new queue cannot be opened", errno);
    find_words();
}

static void wind_up(void) {
    kernel.meanwhile = NULL;
    for (int end = 0; end <= 1; end++) {
        kernel_begin(end, end);
        if (of(end) != NULL) fuzz_check_errno(shmq_close(of(end)), "close");
    }
    fuzz_assert(kernel_held() == (scene.by_name ? 0 : 1), "who has closed holds nothing"); /* but the stage itself */
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    const struct sigaction before = {.sa_sigaction = on_others_fault, .sa_flags = SA_SIGINFO};
    fuzz_begin();
    (void)kernel_sigaction(SIGBUS, &before, NULL);
    return shmq_guard_sigbus();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    fuzz_begin();
    set_up();
    if (setjmp(killed) != 0) return 0; /* slept on: time-outs and sleeps are counted elsewhere */
    for (int count = 0; count < MAX_OPERATIONS && input.left > 0; count++)
        step();
    wind_up();
    return 0;
}
