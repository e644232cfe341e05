/* Nothing is read twice for one decision, and nothing is touched but through shared.h.
 *
 * Each operation runs under the audit (audit.h), which notes every access to the region. The first time that an operation
 * reads a word needs no reason. Every further time it needs one: a line of REASONS, which says why what was read before is
 * not relied on any more, or is checked anew. A line that nothing needs fails the test as well. All words count, those of
 * our own side too. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"
#include "audit.h"
#include "checksum.h"
#include "notifiers.h"

enum {
    PAGE = 4096,
    LETTER = 200,
    NEVER_MS = 20000, /* a time-out that must not come */
    LATE_MS = 30,     /* one that must */
    WORDS = (PAGE_RING + 1) * PAGE / 8,
    READERS_MOST = 8, /* functions that read one word in one operation */
    MANY = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS
};

/* AGAIN: in another call of the same or another function. WITHIN: in one call, too. AROUND: not through shared.h. */
enum repetition { AGAIN, WITHIN, AROUND, REPETITIONS };
static const char *const REPETITION_NAMES[REPETITIONS] = {"AGAIN", "WITHIN", "AROUND"};

static const struct reason {
    const char *function, *word;
    enum repetition repetition;
    const char *why;
} REASONS[] = {
    /* The ring. */
    {"ring_look", "peer's cursor", AGAIN, "each look starts from the last value that was found possible"},
    {"ring_catch_up", "own cursor", AGAIN, "what was there when the handle was made is only what must not move back"},
    {"ring_catch_up", "peer's cursor", AGAIN, "so here"},
    {"ring_read", "ring", AGAIN, "a recv that gave the message back has forgotten its length"},
    {"ring_is_intact", "ring", AGAIN, "each call compares anew, with what it hands out"},
    {"shmq_recv", "ring", AGAIN, "what peek showed is taken: copied, and the copy is compared"},
    {"shmq_commit", "ring", AROUND, "the checksum is made of what the caller has written there"},
    {"shmq_peek", "ring", AROUND, "the checksum is compared with what the caller is shown there"},
    {"shmq_peek", "ring", AGAIN, "so each time"},
    {"shmq_stat", "peer's cursor", AGAIN, "a figure, passed on and not used"},
    {"drain_beside_others", "own cursor", WITHIN,
     "what was sent when it came, and each turn how far others of our side have come"},
    {"drain_beside_others", "peer's cursor", WITHIN, "each turn looks anew, and compares with the two"},
    /* The doorbell. */
    {"doorbell_announce", "peer's ticket", AGAIN,
     "once before our life begins, once after; a ring too many is harmless"},
    {"doorbell_attach", "own ticket", AGAIN, "of a side with many: taken up whenever its lock is taken"},
    {"lie_down", "peer's light", AGAIN, "each sleep asks who makes the barrier"},
    {"sleep_once", "own figures", AGAIN, "counts each sleep"},
    /* Who is there. */
    {"absence", "peer's life", AGAIN, "each question is a new one"},
    {"life_of_peer", "peer's life", AGAIN, "only whether it has changed since; then nothing is said"},
    {"read_page", "peer's ticket", AGAIN, "of a page that is read as a whole, for cursor and lives"},
    /* The side lock: compare and swap decides. */
    {"sidelock_take", "own lock", WITHIN, "until it can be taken"},
    {"sleep_on", "own lock", AGAIN, "the kernel sleeps only while it is what was seen"},
    /* Notifiers. */
    {"sem_wait_until", "meeting", WITHIN, "the kernel sleeps only while it is 0; any count afterwards is good"},
    {"signal_open", "peer's bell", AGAIN, "a hint; who is rung is asked when ringing"},
    {"signal_ring", "peer's bell", WITHIN, "whether it still says the same, after the process was taken hold of"},
    {"lock_reset", "peer's bell", AGAIN, "the gate to wait at is noted before each wait"},
    {"lock_wait", "peer's bell", AGAIN, "only whether it is still the gate that was noted"},
};
enum { REASONS_COUNT = sizeof REASONS / sizeof REASONS[0] };

static struct {
    uint64_t operations, accesses, reads, repeated;
    bool used[REASONS_COUNT];
    int missing;
} total;

/* ---- Judging ------------------------------------------------------------------------------- */

/* The name of a word, as its reader sees it. */
static const char *word_name(uint64_t at, enum shmq_end own) {
    static const struct {
        size_t from;
        const char *own, *peer;
    } FIELDS[] = {{offsetof(struct end_page, cursor), "own cursor", "peer's cursor"},
                  {offsetof(struct end_page, ticket), "own ticket", "peer's ticket"},
                  {offsetof(struct end_page, want), "own want", "peer's want"},
                  {offsetof(struct end_page, light), "own light", "peer's light"},
                  {offsetof(struct end_page, bell), "own bell", "peer's bell"},
                  {offsetof(struct end_page, lock), "own lock", "peer's lock"},
                  {offsetof(struct end_page, messages), "own figures", "peer's figures"},
                  {offsetof(struct end_page, life), "own life", "peer's life"},
                  {offsetof(struct end_page, end_seen), "own end_seen", "peer's end_seen"}};
    const uint64_t page = at / PAGE;
    const char *name = page == PAGE_HEADER ? "header" : page == PAGE_MEETING ? "meeting" : "ring";
    for (size_t row = 0; page != PAGE_HEADER && page < PAGE_MEETING && row < sizeof FIELDS / sizeof FIELDS[0]; row++)
        if (at % PAGE >= FIELDS[row].from)
            name = (page == PAGE_PRODUCER) == (own == SHMQ_PRODUCER) ? FIELDS[row].own : FIELDS[row].peer;
    return name;
}

/* Who has read a word in this operation, and in which call last. */
static struct readers {
    struct {
        const char *function;
        uint64_t call;
    } of[READERS_MOST];
} readers[WORDS];

/* Notes that this word is read; AROUND: it is the first time. */
static enum repetition note_reader(uint64_t word, const struct audit_access *access) {
    enum repetition repetition = AROUND;
    for (int at = 0; at < READERS_MOST; at++) {
        const char *function = readers[word].of[at].function;
        if (function != NULL && repetition == AROUND) repetition = AGAIN;
        if (function == access->function && readers[word].of[at].call == access->call) return WITHIN;
        if (function != NULL && function != access->function) continue;
        readers[word].of[at].function = access->function;
        readers[word].of[at].call = access->call;
        return repetition;
    }
    check_fail(__FILE__, __LINE__, "too many functions read one word");
}

static void need_reason(const char *operation, const struct audit_access *access, uint64_t byte,
                        enum repetition repetition, enum shmq_end own) {
    static struct {
        const char *function, *word;
        enum repetition repetition;
    } told[64];
    const char *word = word_name(byte, own);
    for (size_t at = 0; at < REASONS_COUNT; at++) {
        const struct reason *reason = &REASONS[at];
        const bool fits = reason->repetition == repetition || (repetition == AGAIN && reason->repetition == WITHIN);
        if (!fits || strcmp(reason->function, access->function) != 0 || strcmp(reason->word, word) != 0) continue;
        total.used[at] = true;
        return;
    }
    size_t at = 0; /* each once */
    for (; at < sizeof told / sizeof told[0] && told[at].function != NULL; at++)
        if (told[at].function == access->function && told[at].word == word && told[at].repetition == repetition) return;
    if (at == sizeof told / sizeof told[0]) return;
    told[at].function = access->function;
    told[at].word = word;
    told[at].repetition = repetition;
    total.missing++;
    printf("no reason: %s, notifier %s: %s reads or writes %s (byte 0x%llx) %s\n", operation, notifier_now->name,
           access->function, word, (unsigned long long)byte, REPETITION_NAMES[repetition]);
}

/* Every word that was read is read for the first time, or has a reason. An end that is open has read the header. */
static void judge_read(const char *operation, const struct audit_access *access, enum shmq_end own, bool was_open) {
    const uint64_t end = (access->at + access->bytes + 7) / 8;
    total.reads++;
    for (uint64_t count = access->at / 8; count < end; count++) {
        /* What runs over the end of the ring runs on at its beginning. */
        const uint64_t word = count < WORDS ? count : count - PAGE / 8;
        enum repetition repetition = note_reader(word, access);
        if (repetition == AROUND && word < PAGE / 8 && was_open) repetition = AGAIN;
        if (repetition == AROUND) continue;
        total.repeated++;
        need_reason(operation, access, 8 * word, repetition, own);
    }
}

/* Of an operation that has just ended. */
static void judge(const char *operation, enum shmq_end own, bool was_open) {
    const struct audit_log *log = audit_take();
    memset(readers, 0, sizeof readers);
    for (size_t at = 0; at < log->count; at++) {
        const struct audit_access *access = &log->access[at];
        if (access->around) need_reason(operation, access, access->at, AROUND, own);
        if (access->reads) judge_read(operation, access, own, was_open);
    }
    total.operations++;
    total.accesses += log->count;
}

/* ---- Ends ---------------------------------------------------------------------------------- */

/* One queue: the end that is watched, the other end, and of a side with many another one beside us. */
static struct stage {
    const char *name;
    enum shmq_end end;
    unsigned flags;
    shmq *q, *peer, *mate;
    pthread_t helper;
    bool helped;
} stage;

static void nap_ms(long ms) {
    const struct timespec nap = {.tv_nsec = ms * 1000000};
    nanosleep(&nap, NULL);
}

static shmq *enter(enum shmq_end end) {
    const struct shmq_attr attr = {PAGE, LETTER, notifier_now->kind, stage.flags, 0};
    shmq *q;
    CHECK(shmq_open(&q, stage.name, end, O_CREAT, &attr) == 0);
    return q;
}

static void watched_enter(void) {
    audit_watch();
    stage.q = enter(stage.end);
    audit_look_away();
}

/* One message through this end. */
static int pass(shmq *q, int timeout_ms) {
    char letter[LETTER] = "a letter";
    if (q->end == SHMQ_PRODUCER) return shmq_send(q, letter, sizeof letter, timeout_ms);
    return shmq_recv(q, letter, sizeof letter, timeout_ms) < 0 ? -1 : 0;
}

/* Until this end has nothing to do any more. */
static void exhaust(shmq *q) {
    while (pass(q, 0) == 0)
        continue;
    CHECK_EQUAL(errno, EAGAIN);
}

static void await_ticket(const struct end_page *page) {
    const int64_t until_ms = check_now_ms() + NEVER_MS;
    while (atomic_load(&page->ticket) % 2 == 0 && check_now_ms() < until_ms)
        nap_ms(1);
    nap_ms(5);
}

static void *wake_us(void *argument) {
    await_ticket(stage.peer->peer);
    CHECK(pass(stage.peer, 0) == 0);
    return argument;
}

static void *take_all(void *argument) {
    nap_ms(20);
    exhaust(stage.peer);
    return argument;
}

static void *sleep_until_rung(void *argument) {
    CHECK(pass(stage.peer, NEVER_MS) == 0);
    return argument;
}

/* Holds the lock of our side until somebody waits for it. */
static void *hold_turn(void *argument) {
    enum { WAITERS = 0x100 }; /* sidelock.c */
    const int64_t until_ms = check_now_ms() + NEVER_MS;
    while ((atomic_load(&stage.mate->own->lock) & WAITERS) == 0 && check_now_ms() < until_ms)
        nap_ms(1);
    CHECK(shmq_close(stage.mate) == 0);
    return argument;
}

static void begin_help(void *(*body)(void *)) {
    CHECK(pthread_create(&stage.helper, NULL, body, NULL) == 0);
    stage.helped = true;
}

/* ---- Operations ---------------------------------------------------------------------------- */

static void nothing(void) {}
static void let_there_be_messages(void) { exhaust(stage.end == SHMQ_CONSUMER ? stage.peer : stage.q); }
static void let_peer_wake_us(void) { begin_help(wake_us); }
static void fill_and_let_peer_wake_us(void) {
    if (stage.end == SHMQ_PRODUCER) exhaust(stage.q);
    begin_help(wake_us);
}
static void fill_and_let_peer_take_all(void) {
    exhaust(stage.q);
    begin_help(take_all);
}
static void let_peer_sleep(void) {
    if (stage.end == SHMQ_CONSUMER) exhaust(stage.peer);
    begin_help(sleep_until_rung);
    await_ticket(stage.peer->own);
}
static void let_peer_close(void) {
    CHECK(shmq_close(stage.peer) == 0);
    stage.peer = NULL;
}
static void fill_and_let_peer_close(void) {
    if (stage.end == SHMQ_PRODUCER) exhaust(stage.q);
    let_peer_close();
}
static void let_mate_work(void) {
    stage.mate = enter(stage.end);
    if (stage.end == SHMQ_CONSUMER) exhaust(stage.peer);
    CHECK(stage.end == SHMQ_PRODUCER ? shmq_reserve(stage.mate, 1, 0) != NULL : shmq_peek(stage.mate, NULL, 0) != NULL);
    begin_help(hold_turn);
}

static void pass_at_once(void) { CHECK(pass(stage.q, 0) == 0); }
static void pass_in_vain(void) { CHECK_FAILS(pass(stage.q, 0), EAGAIN); }
static void pass_too_late(void) { CHECK_FAILS(pass(stage.q, LATE_MS), ETIMEDOUT); }
static void pass_in_time(void) { CHECK(pass(stage.q, NEVER_MS) == 0); }
static void pass_alone(void) { CHECK_FAILS(pass(stage.q, NEVER_MS), EPIPE); }
static void reserve_and_commit(void) {
    void *room = shmq_reserve(stage.q, LETTER, NEVER_MS);
    CHECK(room != NULL);
    CHECK(shmq_commit(stage.q, LETTER / 2) == 0);
}
static void reserve_and_drop(void) {
    CHECK(shmq_reserve(stage.q, LETTER, 0) != NULL);
    CHECK(shmq_release(stage.q) == 0);
}
static void peek_and_release(void) {
    size_t length = 0;
    CHECK(shmq_peek(stage.q, &length, NEVER_MS) != NULL && length == LETTER);
    CHECK(shmq_release(stage.q) == 0);
}
static void peek_twice_and_take(void) {
    char letter[LETTER];
    CHECK_FAILS(shmq_recv(stage.q, letter, LETTER - 1, 0), EMSGSIZE);
    CHECK(shmq_peek(stage.q, NULL, 0) != NULL);
    CHECK(shmq_peek(stage.q, NULL, 0) != NULL);
    CHECK_EQUAL(shmq_recv(stage.q, letter, LETTER, 0), LETTER);
}
static void drain_at_once(void) { CHECK(shmq_drain(stage.q, 0) == 0); }
static void drain_too_late(void) { CHECK_FAILS(shmq_drain(stage.q, LATE_MS), ETIMEDOUT); }
static void drain_in_time(void) { CHECK(shmq_drain(stage.q, NEVER_MS) == 0); }
static void look_at_figures(void) {
    struct shmq_stat stat;
    CHECK(shmq_stat(stage.q, &stat) == 0);
}
static void arm_in_vain(void) { CHECK_EQUAL(shmq_arm(stage.q), 0); }
static void arm_ready(void) { CHECK_EQUAL(shmq_arm(stage.q), 1); }
static void leave(void) {
    audit_watch(); /* of the object too */
    CHECK(shmq_close(stage.q) == 0);
    audit_look_away();
    stage.q = NULL;
}
static void take_name(void) { CHECK(shmq_unlink(stage.name) == 0); }

enum { FULL_FIRST = 1, ALONE = 2, FIFO_ONLY = 4, MANY_ONLY = 8, FLEETING = 16, SLEEPERS = 32 };

static const struct operation {
    const char *name;
    int end; /* -1: either */
    unsigned needs;
    void (*prepare)(void), (*run)(void);
} OPERATIONS[] = {
    {"create", -1, ALONE, nothing, watched_enter},
    {"attach", -1, 0, nothing, watched_enter},
    {"send", SHMQ_PRODUCER, 0, nothing, pass_at_once},
    {"send, full", SHMQ_PRODUCER, 0, let_there_be_messages, pass_in_vain},
    {"recv", SHMQ_CONSUMER, 0, let_there_be_messages, pass_at_once},
    {"recv, empty", SHMQ_CONSUMER, 0, nothing, pass_in_vain},
    {"send, too late", SHMQ_PRODUCER, 0, let_there_be_messages, pass_too_late},
    {"recv, too late", SHMQ_CONSUMER, 0, nothing, pass_too_late},
    {"waiting", -1, 0, fill_and_let_peer_wake_us, pass_in_time},
    {"ringing", SHMQ_PRODUCER, SLEEPERS, let_peer_sleep, pass_at_once},
    {"recv, peer closed", SHMQ_CONSUMER, 0, let_peer_close, pass_alone},
    {"send, peer closed", SHMQ_PRODUCER, 0, fill_and_let_peer_close, pass_alone},
    {"turn of another", -1, MANY_ONLY, let_mate_work, pass_in_time},
    {"reserve, commit", SHMQ_PRODUCER, 0, nothing, reserve_and_commit},
    {"reserve, full", SHMQ_PRODUCER, 0, fill_and_let_peer_wake_us, reserve_and_commit},
    {"reserve, release", SHMQ_PRODUCER, 0, nothing, reserve_and_drop},
    {"peek, release", SHMQ_CONSUMER, 0, let_there_be_messages, peek_and_release},
    {"peek, empty", SHMQ_CONSUMER, 0, let_peer_wake_us, peek_and_release},
    {"peek, peek, recv", SHMQ_CONSUMER, 0, let_there_be_messages, peek_twice_and_take},
    {"drain, empty", SHMQ_PRODUCER, 0, nothing, drain_at_once},
    {"drain, too late", SHMQ_PRODUCER, 0, let_there_be_messages, drain_too_late},
    {"drain, waiting", SHMQ_PRODUCER, 0, fill_and_let_peer_take_all, drain_in_time},
    {"stat", -1, 0, nothing, look_at_figures},
    {"arm", SHMQ_CONSUMER, FIFO_ONLY, nothing, arm_in_vain},
    {"arm, full", SHMQ_PRODUCER, FIFO_ONLY, let_there_be_messages, arm_in_vain},
    {"arm, ready", SHMQ_CONSUMER, FIFO_ONLY, let_there_be_messages, arm_ready},
    {"close", -1, 0, nothing, leave},
    {"close, last", -1, FLEETING, let_peer_close, leave},
    {"unlink", SHMQ_PRODUCER, 0, nothing, take_name},
};

static bool makes_sense(const struct operation *operation, enum shmq_end end, unsigned flags) {
    if (operation->end >= 0 && operation->end != (int)end) return false;
    if ((operation->needs & FIFO_ONLY) != 0 && (notifier_now->kind != SHMQ_NOTIFY_FIFO || (flags & MANY) != 0))
        return false;
    if ((operation->needs & SLEEPERS) != 0 && !notifier_now->sleeps) return false;
    return (operation->needs & MANY_ONLY) == 0 || (flags & MANY) != 0;
}

static void play(const char *name, const struct operation *operation, enum shmq_end end, unsigned flags) {
    const bool enters = operation->run == watched_enter;
    const unsigned fleeting = (operation->needs & FLEETING) != 0 ? SHMQ_EPHEMERAL : 0;
    stage = (struct stage){.name = name, .end = end, .flags = flags | fleeting};
    check_note("%s, notifier %s, end %d, flags %u", operation->name, notifier_now->name, (int)end, flags);
    if ((operation->needs & ALONE) == 0) stage.peer = enter(region_other(end));
    if (enters && stage.peer != NULL && end == SHMQ_CONSUMER) exhaust(stage.peer);
    if (!enters) watched_enter();
    operation->prepare();
    audit_watch();
    (void)audit_take();
    operation->run();
    audit_look_away();
    judge(operation->name, end, !enters && operation->run != take_name);
    if (stage.helped) CHECK(pthread_join(stage.helper, NULL) == 0);
    if (stage.q != NULL) CHECK(shmq_close(stage.q) == 0);
    if (stage.peer != NULL) CHECK(shmq_close(stage.peer) == 0);
    (void)audit_take();
    if (shmq_unlink(name) != 0) CHECK_EQUAL(errno, ENOENT);
}

static void play_all(const char *name) {
    static const unsigned flags[] = {0, MANY, SHMQ_CHECKSUM};
    if (notifier_now->trusts) return; /* libc's words are libc's */
    for (size_t row = 0; row < sizeof flags / sizeof flags[0]; row++)
        for (size_t at = 0; at < sizeof OPERATIONS / sizeof OPERATIONS[0]; at++)
            for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
                if (makes_sense(&OPERATIONS[at], (enum shmq_end)end, flags[row]) &&
                    (flags[row] != SHMQ_CHECKSUM || CHECKSUM_BUILT))
                    play(name, &OPERATIONS[at], (enum shmq_end)end, flags[row]);
}

static bool is_needless(size_t at) { return !total.used[at] && (REASONS[at].repetition != AROUND || CHECKSUM_BUILT); }

static bool any_is_needless(void) {
    for (size_t at = 0; at < REASONS_COUNT; at++)
        if (is_needless(at)) return true;
    return false;
}

TEST(no_word_is_read_twice_for_one_decision_and_none_is_touched_around_shared_h) {
    enum { PASSES = 4 }; /* who sleeps on a busy machine may find its time up when it first looks again */
    audit_begin();
    for (int passes = 0; passes < PASSES && any_is_needless() && total.missing == 0; passes++)
        notifier_for_each(play_all, false);
    printf("operations=%llu accesses=%llu reads=%llu repeated=%llu\n", (unsigned long long)total.operations,
           (unsigned long long)total.accesses, (unsigned long long)total.reads, (unsigned long long)total.repeated);
    for (size_t at = 0; at < REASONS_COUNT; at++) {
        if (!is_needless(at)) continue;
        printf("needless: %s, %s, %s\n", REASONS[at].function, REASONS[at].word,
               REPETITION_NAMES[REASONS[at].repetition]);
        total.missing++;
    }
    CHECK_EQUAL(total.missing, 0);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
