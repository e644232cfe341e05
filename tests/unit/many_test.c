/* Many ends on a side: who gets which message, who holds the side's lock and for how long, who is told what when
 * others leave. Deaths by the dozen are in many_death_test. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

enum {
    BOTH = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS,
    SOON_MS = 100, /* what a call may take that need not wait, on a busy machine */
    SHORT_MS = 60, /* a time-out */
    LATE_MS = 600, /* … ten times */
    TAKE_OVER_MS = 250
};

static const unsigned MANY_OF[] = {SHMQ_MANY_PRODUCERS, SHMQ_MANY_CONSUMERS};

static bool is_locked(const shmq *q) { return atomic_load(&q->own->lock) % 256 != 0; }

/* A queue with many on both sides that has `ready` messages in it, and so room for some; two ends of one side and one of
 * the other. */
struct scene {
    const char *name;
    enum shmq_end end;
    shmq *one, *two, *peer;
};

static struct scene new_scene(const char *name, enum shmq_end end, int ready) {
    const enum shmq_end other = region_other(end);
    struct scene scene = {.name = name,
                          .end = end,
                          .one = enter(name, end, BOTH),
                          .two = enter(name, end, BOTH),
                          .peer = enter(name, other, BOTH)};
    for (int at = 0; at < ready; at++)
        CHECK(pass_one(end == SHMQ_PRODUCER ? scene.one : scene.peer, 0) == 0);
    return scene;
}

static void end_scene(struct scene *scene) {
    if (scene->one != NULL) leave(scene->one);
    if (scene->two != NULL) leave(scene->two);
    if (scene->peer != NULL) leave(scene->peer);
    remove_queue(scene->name);
}

/* The same with either end; `ready` messages wait in it. */
static void with_either(const char *name, void (*body)(struct scene *scene)) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        struct scene scene = new_scene(name, (enum shmq_end)end, 8);
        check_note("%s, notifier %s", end == SHMQ_PRODUCER ? "producers" : "consumers", notifier_now->name);
        body(&scene);
        end_scene(&scene);
    }
}

/* ---- A stream ------------------------------------------------------------------------------ */

enum { PRODUCERS = 4, CONSUMERS = 3, MOST = 8000 };

struct party {
    const char *name;
    struct shmq_attr attr;
    int count[2]; /* of ends, by enum shmq_end */
    uint32_t each;
    check_gate consumers_in, producers_in;
    _Atomic uint32_t next[2]; /* who is that: numbers of their own for all ends */
    _Atomic uint8_t taken[PRODUCERS][MOST];
};

/* A process with so many ends of one kind, each in a thread of its own. */
struct crew {
    struct party *party;
    enum shmq_end end;
    int threads;
};

struct letter {
    uint32_t producer, number;
    unsigned char body[LONGEST - 8];
};

static size_t write_letter(struct letter *letter, uint32_t producer, uint32_t number) {
    const size_t body = (producer * 40503u + number * 2654435761u) >> 16 & 63;
    letter->producer = producer;
    letter->number = number;
    memset(letter->body, (int)(producer * 64 + number % 61), body);
    return 8 + body;
}

static int post(shmq *q, uint32_t producer, uint32_t number) {
    struct letter letter;
    if (number % 3 != 0) return shmq_send(q, &letter, write_letter(&letter, producer, number), -1);
    struct letter *room = shmq_reserve(q, 72, -1);
    return room == NULL ? -1 : shmq_commit(q, write_letter(room, producer, number));
}

static void *produce(void *argument) {
    struct party *party = argument;
    const uint32_t me = atomic_fetch_add(&party->next[SHMQ_PRODUCER], 1);
    check_wait(&party->consumers_in, (uint32_t)party->count[SHMQ_CONSUMER]);
    shmq *q = enter_as(party->name, SHMQ_PRODUCER, &party->attr);
    check_meet(&party->producers_in, (uint32_t)party->count[SHMQ_PRODUCER]);
    for (uint32_t number = 0; number < party->each; number++)
        while (post(q, me, number) != 0)
            CHECK(was_cut_short());
    leave(q);
    return NULL;
}

static void note(struct party *party, const struct letter *letter, size_t length, int64_t *last) {
    struct letter wanted;
    const uint32_t producer = letter->producer;
    CHECK(length >= 8 && producer < PRODUCERS && letter->number < party->each);
    CHECK_EQUAL(length, write_letter(&wanted, producer, letter->number));
    CHECK(memcmp(letter, &wanted, length) == 0);
    CHECK((int64_t)letter->number > last[producer]); /* each producer's in order */
    last[producer] = letter->number;
    CHECK_EQUAL(atomic_fetch_add(&party->taken[producer][letter->number], 1), 0);
}

static void *consume(void *argument) {
    struct party *party = argument;
    int64_t last[PRODUCERS] = {-1, -1, -1, -1};
    struct letter letter;
    shmq *q = enter_as(party->name, SHMQ_CONSUMER, &party->attr);
    check_pass(&party->consumers_in);
    for (unsigned turn = 0;; turn++) {
        size_t length = 0;
        const struct letter *seen = turn % 2 == 0 ? shmq_peek(q, &length, -1) : &letter;
        const ssize_t got = turn % 2 == 0 ? 0 : shmq_recv(q, &letter, sizeof letter, -1);
        if (seen == NULL || got < 0) {
            if (was_cut_short()) continue;
            CHECK_EQUAL(errno, EPIPE);
            break;
        }
        note(party, seen, turn % 2 == 0 ? length : (size_t)got, last);
        if (turn % 2 == 0) CHECK(shmq_release(q) == 0);
    }
    leave(q);
    return NULL;
}

static void be_crew(void *argument) {
    const struct crew *crew = argument;
    pthread_t threads[PRODUCERS];
    void *(*body)(void *) = crew->end == SHMQ_PRODUCER ? produce : consume;
    for (int at = 0; at < crew->threads; at++)
        CHECK(pthread_create(&threads[at], NULL, body, crew->party) == 0);
    for (int at = 0; at < crew->threads; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
}

static void hold_party(const char *name, unsigned flags, uint32_t each) {
    struct party *party = check_shared(sizeof *party);
    const int producers = (flags & SHMQ_MANY_PRODUCERS) != 0 ? PRODUCERS : 1;
    const int consumers = (flags & SHMQ_MANY_CONSUMERS) != 0 ? CONSUMERS : 1;
    *party = (struct party){.name = name,
                            .attr = {CAPACITY, LONGEST, notifier_now->kind, flags | SHMQ_EPHEMERAL, 0},
                            .count = {producers, consumers},
                            .each = each};
    check_note("notifier %s, flags %u", notifier_now->name, flags);
    struct crew crews[] = {{party, SHMQ_PRODUCER, 1},
                           {party, SHMQ_CONSUMER, 1},
                           {party, SHMQ_PRODUCER, producers / 2},
                           {party, SHMQ_CONSUMER, consumers / 2},
                           {party, SHMQ_PRODUCER, producers / 4},
                           {party, SHMQ_CONSUMER, consumers / 3}};
    pid_t pids[sizeof crews / sizeof crews[0]] = {0};
    for (size_t at = 0; at < sizeof crews / sizeof crews[0]; at++)
        if (crews[at].threads > 0) pids[at] = check_spawn(be_crew, &crews[at]);
    for (size_t at = 0; at < sizeof crews / sizeof crews[0]; at++)
        if (crews[at].threads > 0) check_join(pids[at]);
    for (int producer = 0; producer < producers; producer++)
        for (uint32_t number = 0; number < each; number++)
            CHECK_EQUAL(party->taken[producer][number], 1);
    CHECK(!exists(name)); /* ephemeral: the last of many has closed it */
}

TEST_NOTIFIERS_EVERYWHERE(every_message_of_many_producers_reaches_one_of_many_consumers) {
    for (unsigned flags = 0; flags <= BOTH; flags++)
        hold_party(name, flags, (uint32_t)check_scaled(notifier_now->sleeps ? MOST : MOST / 8));
}

TEST(many_ends_share_a_stream_with_checksums) {
    hold_party(check_name("q"), BOTH | SHMQ_CHECKSUM, (uint32_t)check_scaled(MOST));
}

/* ---- Slots --------------------------------------------------------------------------------- */

struct holders {
    const char *name;
    enum shmq_end end;
    check_gate in;
};

static void hold_three_slots(void *argument) {
    struct holders *holders = argument;
    for (int at = 0; at < 3; at++)
        (void)enter(holders->name, holders->end, MANY_OF[holders->end]);
    check_pass(&holders->in);
    for (;;)
        pause();
}

static void check_full(const char *name, enum shmq_end end) {
    shmq *q;
    CHECK_FAILS(shmq_open(&q, name, end, 0, NULL), EBUSY);
}

static void fill_side(const char *name, enum shmq_end end) {
    struct holders *holders = check_shared(sizeof *holders);
    *holders = (struct holders){.name = name, .end = end};
    shmq *slot[SLOTS];
    struct shmq_stat stat;
    for (int at = 0; at < SLOTS - 3; at++)
        slot[at] = enter(name, end, MANY_OF[end]);
    pid_t child = check_spawn(hold_three_slots, holders);
    check_wait(&holders->in, 1);
    check_full(name, end);
    CHECK(shmq_stat(slot[0], &stat) == 0);
    CHECK_EQUAL(end == SHMQ_PRODUCER ? stat.producers : stat.consumers, SLOTS);
    CHECK_EQUAL(end == SHMQ_PRODUCER ? stat.consumers : stat.producers, 0);
    leave(slot[5]); /* a slot that was closed is free again */
    slot[5] = enter(name, end, 0);
    check_full(name, end);
    check_kill(child); /* and those of the dead */
    for (int at = SLOTS - 3; at < SLOTS; at++)
        slot[at] = enter(name, end, 0);
    check_full(name, end);
    shmq *other = enter(name, region_other(end), 0);
    check_full(name, region_other(end)); /* that side is for one */
    leave(other);
    for (int at = 0; at < SLOTS; at++)
        leave(slot[at]);
    remove_queue(name);
}

TEST_NOTIFIERS(sixty_four_ends_are_as_many_as_a_side_takes) {
    fill_side(name, SHMQ_PRODUCER);
    fill_side(name, SHMQ_CONSUMER);
}

/* All slots used, and by the dead before: what one says reaches all. */
TEST_NOTIFIERS(the_last_of_sixty_four_works_as_well) {
    shmq *producers[SLOTS], *consumers[SLOTS];
    for (int at = 0; at < SLOTS; at++) {
        producers[at] = enter(name, SHMQ_PRODUCER, BOTH);
        consumers[at] = enter(name, SHMQ_CONSUMER, BOTH);
    }
    for (int at = 0; at < SLOTS; at++) {
        unsigned char byte = (unsigned char)at;
        CHECK(shmq_send(producers[at], &byte, 1, 0) == 0);
        CHECK(shmq_recv(consumers[SLOTS - 1 - at], &byte, 1, 0) == 1 && byte == at);
    }
    for (int at = 0; at < SLOTS; at++) {
        CHECK_FAILS(pass_one(consumers[at], 0), EAGAIN); /* one lives */
        leave(producers[at]);
    }
    for (int at = 0; at < SLOTS; at++) {
        CHECK_FAILS(pass_one(consumers[at], 0), EPIPE);
        leave(consumers[at]);
    }
    remove_queue(name);
}

/* ---- Who is told what ---------------------------------------------------------------------- */

struct mortal {
    const char *name;
    enum shmq_end end;
    bool holds; /* … the lock of its side, or stops itself with it */
    bool stops;
    int ready; /* so many messages it passes first */
    check_gate in;
};

static void be_mortal(void *argument) {
    struct mortal *mortal = argument;
    shmq *q = enter(mortal->name, mortal->end, BOTH);
    for (int at = 0; at < mortal->ready; at++)
        CHECK(pass_one(q, -1) == 0);
    if (mortal->holds || mortal->stops) hold(q);
    check_pass(&mortal->in);
    if (!mortal->stops)
        for (;;)
            pause();
    CHECK(raise(SIGSTOP) == 0);
    CHECK((mortal->end == SHMQ_PRODUCER ? shmq_commit(q, 8) : shmq_release(q)) == 0);
    leave(q);
}

static pid_t new_mortal(struct mortal wanted) {
    struct mortal *mortal = check_shared(sizeof *mortal);
    *mortal = wanted;
    pid_t pid = check_spawn(be_mortal, mortal);
    check_wait(&mortal->in, 1);
    return pid;
}

TEST_NOTIFIERS(every_consumer_is_told_when_the_last_producer_has_closed) {
    shmq *consumers[CONSUMERS], *producers[2];
    for (int at = 0; at < CONSUMERS; at++)
        consumers[at] = enter(name, SHMQ_CONSUMER, BOTH);
    for (int session = 0; session < 3; session++) {
        for (int at = 0; at < 2; at++)
            producers[at] = enter(name, SHMQ_PRODUCER, BOTH);
        CHECK(pass_one(producers[0], 0) == 0);
        leave(producers[session % 2]);
        CHECK(pass_one(consumers[2], -1) == 0);
        for (int at = 0; at < CONSUMERS; at++)
            CHECK_FAILS(pass_one(consumers[at], 0), EAGAIN);
        leave(producers[1 - session % 2]);
        for (int turn = 0; turn < 2; turn++) /* again and again, until somebody comes */
            for (int at = 0; at < CONSUMERS; at++)
                CHECK_FAILS(pass_one(consumers[at], turn == 0 ? -1 : 0), EPIPE);
    }
    /* A later consumer waits for the next producer. */
    shmq *late = enter(name, SHMQ_CONSUMER, BOTH);
    CHECK_FAILS(pass_one(late, 0), EAGAIN);
    CHECK_FAILS(pass_one(late, SHORT_MS), ETIMEDOUT);
    CHECK_FAILS(pass_one(consumers[0], 0), EPIPE);
    producers[0] = enter(name, SHMQ_PRODUCER, BOTH);
    CHECK_FAILS(pass_one(consumers[0], 0), EAGAIN);
    CHECK(pass_one(producers[0], 0) == 0);
    CHECK(pass_one(late, -1) == 0);
    leave(producers[0]);
    CHECK_FAILS(pass_one(late, -1), EPIPE);
    leave(late);
    for (int at = 0; at < CONSUMERS; at++)
        leave(consumers[at]);
    remove_queue(name);
}

/* Who of two ends goes how, in which order, and what the other side is told then. */
static const struct {
    bool first_dies, second_dies;
    int error;
} DEPARTURES[] = {
    {false, false, EPIPE}, {true, false, EOWNERDEAD}, {false, true, EOWNERDEAD}, {true, true, EOWNERDEAD}};

static void go(shmq **q, pid_t pid) {
    if (pid != 0)
        check_kill(pid);
    else
        leave(*q);
}

/* Two at the one side come and go; two at the other are told once nobody is left. */
static void depart(const char *name, enum shmq_end end, size_t row) {
    const bool dies[] = {DEPARTURES[row].first_dies, DEPARTURES[row].second_dies};
    shmq *q[2] = {NULL}, *told[2];
    pid_t pids[2] = {0};
    for (int at = 0; at < 2; at++)
        told[at] = enter(name, region_other(end), BOTH);
    for (int at = 0; at < 2; at++)
        if (dies[at])
            pids[at] = new_mortal((struct mortal){.name = name, .end = end});
        else
            q[at] = enter(name, end, BOTH);
    if (end == SHMQ_CONSUMER) CHECK_EQUAL(fill(told[0], 1), EAGAIN);
    go(&q[0], pids[0]);
    for (int at = 0; at < 2; at++)
        CHECK_FAILS(pass_one(told[at], 0), EAGAIN); /* one still lives */
    go(&q[1], pids[1]);
    for (int at = 0; at < 2; at++)
        CHECK_FAILS(pass_one(told[at], at == 0 ? -1 : 0), DEPARTURES[row].error);
    q[0] = enter(name, end, BOTH); /* somebody came again */
    CHECK_FAILS(pass_one(told[0], 0), EAGAIN);
    leave(q[0]);
    for (int at = 0; at < 2; at++)
        leave(told[at]);
    remove_queue(name);
}

TEST_NOTIFIERS(whoever_is_left_alone_is_told_whether_anybody_died) {
    for (size_t row = 0; row < sizeof DEPARTURES / sizeof DEPARTURES[0]; row++)
        for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
            check_note("notifier %s, row %zu, end %d", notifier_now->name, row, end);
            depart(name, (enum shmq_end)end, row);
        }
}

/* ---- The side lock ------------------------------------------------------------------------- */

static void check_waits(shmq *q) {
    CHECK_FAILS(pass_one(q, 0), EAGAIN);
    const int64_t start = check_now_ms();
    CHECK_FAILS(pass_one(q, SHORT_MS), ETIMEDOUT);
    const int64_t took = check_now_ms() - start;
    if (took < SHORT_MS || took > check_late(LATE_MS))
        check_fail(__FILE__, __LINE__, "a time-out of 60 ms took %d", (int)took);
}

static void *let_go_soon(void *q) {
    nap_ms(SHORT_MS);
    let_go(q);
    return NULL;
}

static void hold_and_let_go(struct scene *scene) {
    pthread_t thread;
    hold(scene->one);
    check_waits(scene->two);
    let_go(scene->one);
    CHECK(pass_one(scene->two, 0) == 0);
    hold(scene->two);
    check_waits(scene->one);
    CHECK(pthread_create(&thread, NULL, let_go_soon, scene->two) == 0);
    CHECK(pass_one(scene->one, -1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(!is_locked(scene->one));
}

TEST_NOTIFIERS(what_is_reserved_or_peeked_at_keeps_others_of_its_side_waiting) { with_either(name, hold_and_let_go); }

static void *pass_after(void *q) {
    CHECK(pass_one(q, -1) == 0);
    return NULL;
}

/* Two wait for a third; each wakes the next. Who were forgotten would find out by a slice: so at best, of some rounds. */
static void wake_in_turn(struct scene *scene) {
    enum { ROUNDS = 5, AT_ONCE_MS = 50 };
    int64_t best_ms = INT64_MAX;
    shmq *third = enter(scene->name, scene->end, BOTH);
    for (int round = 0; round < ROUNDS && best_ms > AT_ONCE_MS; round++) {
        pthread_t threads[2];
        hold(scene->one);
        CHECK(pthread_create(&threads[0], NULL, pass_after, scene->two) == 0);
        CHECK(pthread_create(&threads[1], NULL, pass_after, third) == 0);
        nap_ms(30);
        const int64_t start_ms = check_now_ms();
        let_go(scene->one);
        for (int at = 0; at < 2; at++)
            CHECK(pthread_join(threads[at], NULL) == 0);
        if (check_now_ms() - start_ms < best_ms) best_ms = check_now_ms() - start_ms;
        for (int at = 0; at < 3; at++) /* as many messages, and as much room, as before */
            CHECK(pass_one(scene->peer, 0) == 0);
    }
    CHECK(best_ms <= check_late(AT_ONCE_MS));
    leave(third);
}

TEST_NOTIFIERS(each_of_those_that_wait_for_the_lock_is_woken) { with_either(name, wake_in_turn); }

static void drop_and_replace(struct scene *scene) {
    hold(scene->one);
    hold(scene->one); /* again: the same message, or another reservation */
    CHECK_FAILS(pass_one(scene->two, 0), EAGAIN);
    if (scene->end == SHMQ_PRODUCER) {
        CHECK_FAILS(shmq_send(scene->one, "x", 1, 0), EBUSY);
        CHECK_FAILS(shmq_commit(scene->one, 9), EINVAL);
        CHECK_FAILS(pass_one(scene->two, 0), EAGAIN);
    }
    CHECK(shmq_release(scene->one) == 0);
    CHECK(pass_one(scene->two, 0) == 0);
    hold(scene->one);
    if (scene->end == SHMQ_PRODUCER)
        CHECK_FAILS(shmq_reserve(scene->one, LONGEST + 1, -1), EMSGSIZE); /* the first one is gone too */
    else
        CHECK(pass_one(scene->one, 0) == 0); /* takes what was peeked at */
    CHECK(!is_locked(scene->one));
    CHECK(pass_one(scene->two, 0) == 0);
}

TEST_NOTIFIERS(what_drops_a_reservation_gives_the_lock_back) { with_either(name, drop_and_replace); }

/* Nothing that fails keeps the lock. */
TEST_NOTIFIERS(a_call_that_fails_does_not_keep_the_lock) {
    struct scene scene = new_scene(name, SHMQ_CONSUMER, 0);
    char message[LONGEST + 1] = "";
    size_t length;
    CHECK_FAILS(shmq_recv(scene.one, message, 1, 0), EAGAIN);
    CHECK_FAILS(shmq_recv(scene.one, message, 1, SHORT_MS), ETIMEDOUT);
    CHECK_FAILS(shmq_peek(scene.one, &length, SHORT_MS), ETIMEDOUT);
    CHECK_FAILS(shmq_peek(scene.one, &length, 0), EAGAIN);
    CHECK_FAILS(shmq_release(scene.one), EINVAL);
    CHECK(!is_locked(scene.one));
    CHECK(shmq_send(scene.peer, message, 9, 0) == 0);
    CHECK_FAILS(shmq_recv(scene.one, message, 8, -1), EMSGSIZE);
    CHECK(!is_locked(scene.one));
    CHECK_EQUAL(shmq_recv(scene.two, message, 9, 0), 9);
    CHECK_FAILS(shmq_send(scene.peer, message, LONGEST + 1, -1), EMSGSIZE);
    CHECK_FAILS(shmq_reserve(scene.peer, LONGEST + 1, -1), EMSGSIZE);
    CHECK(!is_locked(scene.peer));
    CHECK_EQUAL(fill(scene.peer, 1), EAGAIN);
    CHECK_FAILS(shmq_send(scene.peer, message, 1, SHORT_MS), ETIMEDOUT);
    CHECK_FAILS(shmq_reserve(scene.peer, 1, 0), EAGAIN);
    CHECK_FAILS(shmq_drain(scene.peer, 0), EAGAIN);
    CHECK_FAILS(shmq_drain(scene.peer, SHORT_MS), ETIMEDOUT);
    CHECK(!is_locked(scene.peer));
    /* A peeked message for which the buffer is too small stays peeked at, and so does the lock. */
    hold(scene.one);
    CHECK_FAILS(shmq_recv(scene.one, message, 0, 0), EMSGSIZE);
    CHECK_FAILS(pass_one(scene.two, 0), EAGAIN);
    CHECK(shmq_release(scene.one) == 0);
    CHECK(pass_one(scene.two, 0) == 0);
    end_scene(&scene);
}

static void on_signal(int number) { (void)number; }

/* Rings every 20 ms: one may come before the wait. */
static void interrupt_soon(void) {
    const struct sigaction action = {.sa_handler = on_signal};
    const struct timespec often = {.tv_nsec = 20000000};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &(struct itimerspec){often, often}, NULL) == 0);
}

static void interrupt(struct scene *scene) {
    hold(scene->one);
    CHECK_FAILS(pass_one(scene->two, -1), EINTR); /* who waits for the lock sleeps on a futex, whatever the notifier */
    CHECK(shmq_release(scene->one) == 0);
    CHECK(pass_one(scene->two, 0) == 0);
}

TEST_NOTIFIERS(a_signal_handler_interrupts_the_wait_for_the_lock) {
    interrupt_soon();
    with_either(name, interrupt);
    if (!notifier_now->tells_signals) return;
    struct scene scene = new_scene(name, SHMQ_CONSUMER, 0);
    CHECK_FAILS(pass_one(scene.one, -1), EINTR);
    CHECK(!is_locked(scene.one));
    end_scene(&scene);
    signal(SIGUSR1, SIG_IGN);
}

static void close_while_holding(struct scene *scene) {
    hold(scene->one);
    CHECK_FAILS(pass_one(scene->two, 0), EAGAIN);
    leave(scene->one);
    scene->one = NULL;
    CHECK(!is_locked(scene->two));
    CHECK(pass_one(scene->two, 0) == 0);
}

TEST_NOTIFIERS(closing_gives_the_lock_back) { with_either(name, close_while_holding); }

/* Nobody has a slot beyond the last: what stands there is damage, and no dead owner. */
TEST(a_lock_whose_owner_cannot_be_is_damage) {
    static const uint64_t words[] = {SLOTS + 1, 255, UINT64_MAX, 0x100 + SLOTS + 1};
    for (size_t row = 0; row < sizeof words / sizeof words[0]; row++)
        for (int timeout_ms = -1; timeout_ms <= 0; timeout_ms++) {
            struct scene scene = new_scene(check_name("q"), SHMQ_CONSUMER, 2);
            atomic_store(&scene.two->own->lock, words[row]);
            CHECK_FAILS(pass_one(scene.one, timeout_ms), EBADMSG);
            CHECK_FAILS(pass_one(scene.one, timeout_ms), EBADMSG);
            CHECK_EQUAL(atomic_load(&scene.two->own->lock), words[row]);
            atomic_store(&scene.two->own->lock, 0);
            CHECK(pass_one(scene.two, timeout_ms) == 0);
            end_scene(&scene);
        }
}

/* ---- Deaths with the lock ------------------------------------------------------------------ */

static int64_t worst_ms; /* of all take-overs of a test */

static void pass_in_time(shmq *q, int64_t since_ms) {
    CHECK(pass_one(q, -1) == 0);
    const int64_t took_ms = check_now_ms() - since_ms;
    if (took_ms > worst_ms) worst_ms = took_ms;
    CHECK(took_ms < check_late(10 * TAKE_OVER_MS));
}

struct killing {
    pid_t pid;
    int64_t at_ms;
};

static void *kill_soon(void *argument) {
    struct killing *killing = argument;
    nap_ms(20 + (long)check_below(100));
    killing->at_ms = check_now_ms();
    check_kill(killing->pid);
    return NULL;
}

static void kill_holder(struct scene *scene) {
    pthread_t thread;
    leave(scene->one); /* so the dead one's slot is the first */
    scene->one = NULL;
    const struct mortal holder = {.name = scene->name, .end = scene->end, .holds = true};
    check_kill(new_mortal(holder));
    CHECK(pass_one(scene->two, 0) == 0); /* who does not wait asks at once */
    check_kill(new_mortal(holder));
    const int64_t start_ms = check_now_ms();
    pass_in_time(scene->two, start_ms);
    for (int round = 0; round < 2; round++) { /* while others wait */
        struct killing killing = {.pid = new_mortal(holder)};
        CHECK(pthread_create(&thread, NULL, kill_soon, &killing) == 0);
        CHECK(pass_one(scene->two, -1) == 0);
        const int64_t took_ms = check_now_ms();
        CHECK(pthread_join(thread, NULL) == 0);
        if (took_ms - killing.at_ms > worst_ms) worst_ms = took_ms - killing.at_ms;
        CHECK(took_ms - killing.at_ms < check_late(10 * TAKE_OVER_MS));
    }
    /* A new end in the slot of the dead holder that calls nothing is in nobody's way. */
    check_kill(new_mortal(holder));
    scene->one = enter(scene->name, scene->end, BOTH);
    CHECK_EQUAL(scene->one->region.slot, 0);
    CHECK(pass_one(scene->two, 0) == 0);
    /* And if that one calls first: it goes on where the dead one left it. */
    leave(scene->one);
    check_kill(new_mortal(holder));
    scene->one = enter(scene->name, scene->end, BOTH);
    CHECK(pass_one(scene->one, 0) == 0);
}

TEST_NOTIFIERS(a_holder_that_is_killed_delays_nobody_for_long) {
    worst_ms = 0;
    with_either(name, kill_holder);
    printf("        %s: taken over from the dead within %d ms\n", notifier_now->name, (int)worst_ms);
}

static void stop_holder(struct scene *scene) {
    pid_t pid = new_mortal((struct mortal){.name = scene->name, .end = scene->end, .stops = true});
    int status = 0;
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    check_waits(scene->two);
    check_waits(scene->one);
    const int64_t start = check_now_ms();
    shmq *newcomer = enter(scene->name, scene->end, BOTH); /* who comes and goes needs no lock */
    leave(newcomer);
    CHECK(check_now_ms() - start < check_late(SOON_MS * 5));
    CHECK(kill(pid, SIGCONT) == 0);
    CHECK(pass_one(scene->two, -1) == 0);
    check_join(pid);
}

TEST_NOTIFIERS(a_stopped_holder_costs_others_their_time_outs_only) { with_either(name, stop_holder); }

/* ---- Contention ---------------------------------------------------------------------------- */

struct crowd {
    const char *name;
    enum shmq_end end;
    check_gate in;
};

static void wait_in_vain(void *argument) {
    struct crowd *crowd = argument;
    shmq *q = enter(crowd->name, crowd->end, BOTH);
    check_meet(&crowd->in, 4);
    for (int turn = 0; turn < 5; turn++)
        check_waits(q);
    check_meet(&crowd->in, 4);
    leave(q);
}

TEST_NOTIFIERS(time_outs_hold_where_many_wait) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        struct crowd *crowd = check_shared(sizeof *crowd);
        *crowd = (struct crowd){.name = name, .end = (enum shmq_end)end};
        shmq *peer = enter(name, region_other(crowd->end), BOTH), *self = enter(name, crowd->end, BOTH);
        pid_t pids[4];
        if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(self, 1), EAGAIN);
        for (int at = 0; at < 4; at++)
            pids[at] = check_spawn(wait_in_vain, crowd);
        for (int at = 0; at < 4; at++)
            check_join(pids[at]);
        leave(self);
        leave(peer);
        remove_queue(name);
    }
}

/* ---- Figures, descriptors, closing --------------------------------------------------------- */

TEST_NOTIFIERS(figures_are_of_the_whole_side) {
    shmq *producers[3], *consumers[2];
    struct shmq_stat stat;
    for (int at = 0; at < 3; at++)
        producers[at] = enter(name, SHMQ_PRODUCER, BOTH);
    for (int at = 0; at < 2; at++)
        consumers[at] = enter(name, SHMQ_CONSUMER, BOTH);
    for (int at = 0; at < 9; at++)
        CHECK(pass_one(producers[at % 3], 0) == 0);
    for (int at = 0; at < 4; at++)
        CHECK(pass_one(consumers[at % 2], 0) == 0);
    pid_t pid = new_mortal((struct mortal){.name = name, .end = SHMQ_PRODUCER});
    for (int at = 0; at < 5; at++) {
        CHECK(shmq_stat(at < 3 ? producers[at] : consumers[at - 3], &stat) == 0);
        CHECK(stat.producers == 4 && stat.consumers == 2);
        CHECK(stat.sent == 9 && stat.received == 4 && stat.used == 5 * 16);
        CHECK_EQUAL(stat.flags, BOTH);
    }
    check_kill(pid);
    leave(producers[1]);
    leave(consumers[0]);
    hold(producers[0]);
    CHECK(shmq_stat(producers[2], &stat) == 0); /* no lock is needed */
    CHECK(stat.producers == 2 && stat.consumers == 1 && stat.sent == 9);
    leave(producers[0]);
    leave(producers[2]);
    leave(consumers[1]);
    remove_queue(name);
}

static void take_all(void *name) {
    shmq *q = enter(name, SHMQ_CONSUMER, BOTH);
    while (pass_one(q, -1) == 0)
        continue;
    CHECK_EQUAL(errno, EPIPE);
    leave(q);
}

/* How many locks the kernel keeps for that file now. */
static int count_locks(const char *name) {
    struct stat status;
    char wanted[32], line[256];
    int count = 0;
    CHECK(stat(check_path(name), &status) == 0);
    snprintf(wanted, sizeof wanted, ":%llu ", (unsigned long long)status.st_ino);
    FILE *locks = fopen("/proc/locks", "re");
    while (locks != NULL && fgets(line, sizeof line, locks) != NULL)
        count += strstr(line, wanted) != NULL;
    if (locks != NULL) fclose(locks);
    return count;
}

TEST_NOTIFIERS(ringing_in_turns_takes_nothing_for_good) {
    enum { RINGS = 200, ENOUGH = 20 };
    if (!notifier_now->sleeps) return;
    shmq *producers[2];
    for (int at = 0; at < 2; at++)
        producers[at] = enter(name, SHMQ_PRODUCER, BOTH);
    const pid_t consumer = check_spawn(take_all, (void *)(uintptr_t)name);
    for (int ring = 0; ring < RINGS; ring++) {
        while (atomic_load(&producers[0]->peer->ticket) % 2 == 0)
            nap_ms(0);
        CHECK(pass_one(producers[ring % 2], -1) == 0);
    }
    const int locks = count_locks(name);
    if (locks > ENOUGH) check_fail(__FILE__, __LINE__, "%d locks in the kernel after %d rings", locks, RINGS);
    for (int at = 0; at < 2; at++)
        leave(producers[at]);
    check_join(consumer);
    remove_queue(name);
}

static bool is_readable(shmq *q, int timeout_ms) {
    struct pollfd polled = {.fd = shmq_fd(q), .events = POLLIN};
    CHECK(polled.fd >= 0);
    return poll(&polled, 1, timeout_ms) == 1;
}

TEST(an_event_loop_serves_a_side_of_its_own_only) {
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_FIFO];
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        const char *name = check_name("q");
        const enum shmq_end other = region_other((enum shmq_end)end);
        shmq *alone = enter(name, (enum shmq_end)end, MANY_OF[other]);
        shmq *many[] = {enter(name, other, 0), enter(name, other, 0)};
        for (int at = 0; at < 2; at++) {
            CHECK_FAILS(shmq_fd(many[at]), ENOTSUP);
            CHECK_FAILS(shmq_arm(many[at]), ENOTSUP);
        }
        if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(alone, 1), EAGAIN);
        for (int at = 0; at < 2; at++) {
            CHECK_EQUAL(shmq_arm(alone), 0);
            CHECK(!is_readable(alone, 0));
            for (int count = 0; count < (end == SHMQ_PRODUCER ? LONGEST / 16 + 1 : 1); count++)
                CHECK(pass_one(many[at], 0) == 0);
            CHECK(is_readable(alone, check_late(LATE_MS)));
            CHECK_EQUAL(shmq_arm(alone), 1);
            while (pass_one(alone, 0) == 0)
                continue;
        }
        leave(many[0]);
        if (shmq_arm(alone) == 0) CHECK(!is_readable(alone, SHORT_MS) || shmq_arm(alone) == 0); /* one lives */
        leave(many[1]);
        CHECK(is_readable(alone, check_late(LATE_MS)));
        CHECK_FAILS(pass_one(alone, 0), EPIPE);
        leave(alone);
        remove_queue(name);
    }
}

TEST_NOTIFIERS_EVERYWHERE(the_last_of_many_unlinks_an_ephemeral_queue) {
    for (int drained = 0; drained <= 1; drained++) {
        shmq *q[4]; /* two producers, two consumers: each of them is the last one once */
        for (int last = 0; last < 4; last++) {
            for (int at = 0; at < 4; at++)
                q[at] = enter(name, (enum shmq_end)(at / 2), BOTH | SHMQ_EPHEMERAL);
            if (drained == 0) CHECK(pass_one(q[0], 0) == 0);
            for (int at = 1; at <= 4; at++) {
                CHECK(exists(name));
                leave(q[(last + at) % 4]);
            }
            CHECK_EQUAL(exists(name), drained == 0);
            if (drained == 0) remove_queue(name);
        }
    }
}

TEST_NOTIFIERS(drain_waits_for_what_others_sent_too) {
    struct scene scene = new_scene(name, SHMQ_PRODUCER, 0);
    CHECK(pass_one(scene.one, 0) == 0);
    CHECK(pass_one(scene.two, 0) == 0);
    CHECK_FAILS(shmq_drain(scene.one, 0), EAGAIN);
    CHECK(pass_one(scene.peer, 0) == 0);
    CHECK_FAILS(shmq_drain(scene.one, SHORT_MS), ETIMEDOUT);
    CHECK(pass_one(scene.peer, 0) == 0);
    CHECK(shmq_drain(scene.one, 0) == 0);
    CHECK(shmq_drain(scene.two, -1) == 0);
    CHECK(!is_locked(scene.one));
    CHECK(pass_one(scene.two, 0) == 0);
    leave(scene.peer);
    scene.peer = NULL;
    CHECK_FAILS(shmq_drain(scene.one, -1), EPIPE);
    end_scene(&scene);
}

/* A neighbour that waits for room has the side's turn nearly all the time. */
TEST_NOTIFIERS(drain_needs_no_turn_of_its_side) {
    struct scene scene = new_scene(name, SHMQ_PRODUCER, 1);
    hold(scene.two);
    CHECK_FAILS(shmq_drain(scene.one, 0), EAGAIN);
    CHECK_FAILS(shmq_drain(scene.one, SHORT_MS), ETIMEDOUT);
    CHECK(pass_one(scene.peer, 0) == 0);
    CHECK(shmq_drain(scene.one, 0) == 0);
    CHECK(shmq_drain(scene.one, -1) == 0);
    CHECK(shmq_drain(scene.two, -1) == 0); /* what it has reserved is not sent */
    let_go(scene.two);
    hold(scene.two);
    leave(scene.peer);
    scene.peer = NULL;
    CHECK_FAILS(shmq_drain(scene.one, -1), EPIPE);
    let_go(scene.two);
    end_scene(&scene);
}

TEST_NOTIFIERS(a_drain_does_not_believe_that_more_was_received_than_sent) {
    struct scene scene = new_scene(name, SHMQ_PRODUCER, 1);
    const int fd = open_object(name);
    set_word(fd, PAGE_CONSUMER, offsetof(struct end_page, cursor),
             word_at(fd, PAGE_PRODUCER, offsetof(struct end_page, cursor)) + RECORD_ALIGN);
    CHECK(close(fd) == 0);
    CHECK_FAILS(shmq_drain(scene.one, -1), EBADMSG);
    CHECK_FAILS(shmq_drain(scene.one, 0), EBADMSG);
    end_scene(&scene);
}

TEST_NOTIFIERS(a_signal_handler_interrupts_a_drain) {
    enum { SECOND_MS = 1000 }; /* fifty handlers */
    struct scene scene = new_scene(name, SHMQ_PRODUCER, 1);
    interrupt_soon();
    const int64_t start_ms = check_now_ms();
    CHECK_FAILS(shmq_drain(scene.one, -1), EINTR); /* naps between its looks, whatever the notifier */
    CHECK(check_now_ms() - start_ms < check_late(SECOND_MS));
    CHECK(!is_locked(scene.one));
    CHECK(pass_one(scene.peer, 0) == 0);
    CHECK(shmq_drain(scene.one, 0) == 0);
    end_scene(&scene);
    signal(SIGUSR1, SIG_IGN);
}

/* ---- fork ---------------------------------------------------------------------------------- */

struct family {
    const char *name;
    check_gate child_is_in;
    pid_t child;
};

static void be_child(void *argument) {
    struct family *family = argument;
    check_pass(&family->child_is_in);
    for (;;)
        pause();
}

/* Holds the lock, and has a child that outlives it. */
static void be_parent(void *argument) {
    struct family *family = argument;
    shmq *q = enter(family->name, SHMQ_PRODUCER, BOTH);
    hold(q);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_FAILS(shmq_commit(q, 8), EINVAL);
        CHECK_FAILS(shmq_reserve(q, 8, 0), EINVAL);
        CHECK_FAILS(shmq_send(q, "x", 1, 0), EINVAL);
        CHECK_FAILS(shmq_close(q), EINVAL);
        be_child(family);
    }
    family->child = child;
    be_child(family); /* the gate counts both */
}

TEST_NOTIFIERS(a_forked_child_neither_uses_nor_keeps_alive_an_end_of_many) {
    struct family *family = check_shared(sizeof *family);
    *family = (struct family){.name = name};
    shmq *consumer = enter(name, SHMQ_CONSUMER, BOTH);
    pid_t parent = check_spawn(be_parent, family);
    check_wait(&family->child_is_in, 2);
    shmq *producer = enter(name, SHMQ_PRODUCER, BOTH);
    CHECK_FAILS(pass_one(producer, 0), EAGAIN); /* the parent holds the lock */
    check_kill(parent);
    CHECK(pass_one(producer, 0) == 0);
    CHECK(pass_one(consumer, 0) == 0);
    leave(producer);
    CHECK_FAILS(pass_one(consumer, 0), EOWNERDEAD);
    CHECK(kill(family->child, SIGKILL) == 0);
    leave(consumer);
    remove_queue(name);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
