/* Messages through real queues, with every notifier: sizes, limits, zero copy, figures, and what
 * the mapping forbids. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

/* A queue of one page and its two ends, all in this process. */
struct pair {
    const char *name;
    struct shmq_attr attr;
    shmq *producer, *consumer;
    char buffer[1024];
};
enum { MAX_MESSAGE = 1000 };
typedef void pair_body(struct pair *q);

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void open_end(struct pair *q, enum shmq_end end) {
    shmq **handle = end == SHMQ_PRODUCER ? &q->producer : &q->consumer;
    CHECK(shmq_open(handle, q->name, end, O_CREAT, &q->attr) == 0);
}

static void open_pair(struct pair *q, const char *name, const struct shmq_attr *attr) {
    *q = (struct pair){.name = name, .attr = *attr};
    open_end(q, SHMQ_PRODUCER);
    open_end(q, SHMQ_CONSUMER);
}

static void close_pair(struct pair *q) {
    close_end(&q->producer);
    close_end(&q->consumer);
    CHECK(shmq_unlink(q->name) == 0);
}

static void with_every_notifier(pair_body *body) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        if (!notifier_works_here(&NOTIFIERS[row])) continue;
        struct pair q;
        const struct shmq_attr attr = {.capacity = 1, .max_message = MAX_MESSAGE, .notify = NOTIFIERS[row].kind};
        check_note("notifier %s", NOTIFIERS[row].name);
        open_pair(&q, check_name(NOTIFIERS[row].name), &attr);
        body(&q);
        close_pair(&q);
    }
}

/* A test with a fresh pair `q`, once for every notifier. */
#define TEST_MESSAGES(sentence)                                                                                        \
    static void sentence##_through(struct pair *q);                                                                    \
    TEST(sentence) { with_every_notifier(sentence##_through); }                                                        \
    static void sentence##_through(struct pair *q)

/* The next message is this text, and its final zero. */
static void check_next(struct pair *q, const char *text) {
    memset(q->buffer, '?', sizeof q->buffer);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), strlen(text) + 1);
    CHECK(strcmp(q->buffer, text) == 0);
}

static void check_empty(struct pair *q) { CHECK_FAILS(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), EAGAIN); }

static void put(struct pair *q, const char *text) { CHECK(shmq_send(q->producer, text, strlen(text) + 1, 0) == 0); }

/* Until nothing more fits; how many fitted. */
static int fill_pair(struct pair *q) {
    int count = 0;
    while (shmq_send(q->producer, q->buffer, MAX_MESSAGE, 0) == 0)
        count++;
    CHECK_FAILS(shmq_send(q->producer, q->buffer, MAX_MESSAGE, 0), EAGAIN);
    return count;
}

/* ---- Sending and receiving ----------------------------------------------------------------- */

TEST_MESSAGES(a_message_arrives_as_it_was_sent) {
    CHECK(shmq_send(q->producer, "hello", 6, -1) == 0);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, -1), 6);
    CHECK(strcmp(q->buffer, "hello") == 0);
    check_empty(q);
}

TEST_MESSAGES(messages_arrive_in_order) {
    put(q, "first");
    put(q, "second");
    put(q, "third");
    check_next(q, "first");
    check_next(q, "second");
    check_next(q, "third");
    check_empty(q);
}

TEST_MESSAGES(an_empty_message_is_a_message) {
    CHECK(shmq_send(q->producer, NULL, 0, 0) == 0);
    CHECK(shmq_send(q->producer, "x", 0, 0) == 0);
    put(q, "full");
    CHECK(shmq_send(q->producer, NULL, 0, 0) == 0);
    q->buffer[0] = '?';
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), 0);
    CHECK(q->buffer[0] == '?');
    CHECK_EQUAL(shmq_recv(q->consumer, NULL, 0, 0), 0);
    check_next(q, "full");
    size_t length = 7;
    CHECK(shmq_peek(q->consumer, &length, 0) != NULL);
    CHECK_EQUAL(length, 0);
    CHECK(shmq_release(q->consumer) == 0);
    check_empty(q);
}

TEST_MESSAGES(a_message_of_max_message_arrives_and_a_longer_one_is_refused) {
    char message[MAX_MESSAGE + 1];
    for (size_t at = 0; at < sizeof message; at++)
        message[at] = (char)check_random();
    CHECK(shmq_send(q->producer, message, MAX_MESSAGE, 0) == 0);
    CHECK_FAILS(shmq_send(q->producer, message, MAX_MESSAGE + 1, 0), EMSGSIZE);
    CHECK_FAILS(shmq_send(q->producer, message, SIZE_MAX, 0), EMSGSIZE);
    CHECK_FAILS(shmq_reserve(q->producer, MAX_MESSAGE + 1, 0), EMSGSIZE);
    CHECK_FAILS(shmq_reserve(q->producer, SIZE_MAX, -1), EMSGSIZE);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, MAX_MESSAGE, 0), MAX_MESSAGE);
    CHECK(memcmp(q->buffer, message, MAX_MESSAGE) == 0);
    check_empty(q);
}

TEST_MESSAGES(too_small_a_buffer_leaves_message_and_buffer_as_they_are) {
    size_t length = 0;
    put(q, "twelve bytes");
    put(q, "next");
    memset(q->buffer, '?', sizeof q->buffer);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, 12, 0), EMSGSIZE);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, 1, -1), EMSGSIZE);
    CHECK_FAILS(shmq_recv(q->consumer, NULL, 0, 0), EMSGSIZE);
    for (size_t at = 0; at < sizeof q->buffer; at++)
        CHECK(q->buffer[at] == '?');
    CHECK_FAILS(shmq_release(q->consumer), EINVAL); /* recv has shown nothing */
    CHECK(shmq_peek(q->consumer, &length, 0) != NULL);
    CHECK_EQUAL(length, 13);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, 13, 0), 13);
    CHECK(strcmp(q->buffer, "twelve bytes") == 0);
    check_next(q, "next");
}

TEST_MESSAGES(recv_writes_no_byte_more_than_the_message) {
    put(q, "short");
    memset(q->buffer, '?', sizeof q->buffer);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), 6);
    for (size_t at = 6; at < sizeof q->buffer; at++)
        CHECK(q->buffer[at] == '?');
}

/* Many laps of a ring of one page: what runs over its end is in one piece, for both ends and in
 * all four ways. */
TEST_MESSAGES(messages_that_cross_the_end_of_the_ring_are_whole) {
    char message[MAX_MESSAGE];
    for (int turn = 0; turn < check_scaled(20000); turn++) {
        const size_t length = check_below(MAX_MESSAGE + 1);
        memset(message, turn, sizeof message);
        for (size_t at = 0; at + 8 <= length; at += 8) {
            uint64_t random = check_random();
            memcpy(message + at, &random, sizeof random);
        }
        if (check_below(2) == 0) {
            CHECK(shmq_send(q->producer, message, length, 0) == 0);
        } else {
            void *reserved = shmq_reserve(q->producer, length, 0);
            CHECK(reserved != NULL && (uintptr_t)reserved % 8 == 0);
            memcpy(reserved, message, length);
            CHECK(shmq_commit(q->producer, length) == 0);
        }
        if (check_below(2) == 0) {
            CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, length, 0), length);
            CHECK(memcmp(q->buffer, message, length) == 0);
        } else {
            size_t shown = 0;
            const void *peeked = shmq_peek(q->consumer, &shown, 0);
            CHECK(peeked != NULL && (uintptr_t)peeked % 8 == 0);
            CHECK(shown == length && memcmp(peeked, message, length) == 0);
            CHECK(shmq_release(q->consumer) == 0);
        }
    }
}

/* ---- Zero copy ----------------------------------------------------------------------------- */

TEST_MESSAGES(commit_may_shrink_a_reservation) {
    static const size_t lengths[] = {100, 99, 10, 1, 0};
    for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++) {
        char *reserved = shmq_reserve(q->producer, 100, 0);
        CHECK(reserved != NULL);
        memset(reserved, 'a' + (int)row, 100);
        CHECK(shmq_commit(q->producer, lengths[row]) == 0);
    }
    for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++) {
        CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), lengths[row]);
        for (size_t at = 0; at < lengths[row]; at++)
            CHECK(q->buffer[at] == 'a' + (int)row);
    }
    check_empty(q);
}

TEST_MESSAGES(a_second_reserve_replaces_the_first) {
    char *first = shmq_reserve(q->producer, 10, 0);
    CHECK(first != NULL);
    memset(first, 'x', 10);
    char *second = shmq_reserve(q->producer, 20, 0);
    CHECK(second != NULL);
    memcpy(second, "the second reserved", 20);
    CHECK(shmq_commit(q->producer, 20) == 0);
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
    check_next(q, "the second reserved");
    check_empty(q);
}

TEST_MESSAGES(a_shorter_second_reserve_cannot_be_committed_at_the_first_ones_length) {
    CHECK(shmq_reserve(q->producer, 20, 0) != NULL);
    CHECK(shmq_reserve(q->producer, 10, 0) != NULL);
    CHECK_FAILS(shmq_commit(q->producer, 11), EINVAL);
    CHECK(shmq_commit(q->producer, 10) == 0);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), 10);
}

TEST_MESSAGES(a_reserve_that_fails_drops_the_one_before) {
    CHECK(shmq_reserve(q->producer, 10, 0) != NULL);
    CHECK_FAILS(shmq_reserve(q->producer, MAX_MESSAGE + 1, 0), EMSGSIZE);
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
    (void)fill_pair(q);
    const size_t left = page_size() % (MAX_MESSAGE + 8);
    CHECK(left >= 8);
    CHECK(shmq_reserve(q->producer, 0, 0) != NULL);
    CHECK_FAILS(shmq_reserve(q->producer, MAX_MESSAGE, 0), EAGAIN);
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
}

TEST_MESSAGES(nothing_is_sent_past_a_reservation) {
    CHECK(shmq_reserve(q->producer, 10, 0) != NULL);
    CHECK_FAILS(shmq_send(q->producer, "x", 1, 0), EBUSY);
    CHECK_FAILS(shmq_send(q->producer, "x", 1, -1), EBUSY);
    check_empty(q);
    CHECK(shmq_commit(q->producer, 10) == 0);
    put(q, "after");
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), 10);
    check_next(q, "after");
}

TEST_MESSAGES(release_drops_a_reservation) {
    CHECK(shmq_reserve(q->producer, 10, 0) != NULL);
    CHECK(shmq_release(q->producer) == 0);
    CHECK_FAILS(shmq_release(q->producer), EINVAL);
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
    check_empty(q);
    put(q, "sent");
    check_next(q, "sent");
}

TEST_MESSAGES(close_discards_a_reservation) {
    char *reserved = shmq_reserve(q->producer, 5, 0);
    CHECK(reserved != NULL);
    memcpy(reserved, "lost", 5);
    close_end(&q->producer);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), EPIPE);
    open_end(q, SHMQ_PRODUCER);
    check_empty(q);
    put(q, "new");
    check_next(q, "new");
}

TEST_MESSAGES(commit_longer_than_reserved_is_refused_and_keeps_the_reservation) {
    char *reserved = shmq_reserve(q->producer, 5, 0);
    CHECK(reserved != NULL);
    memcpy(reserved, "kept", 5);
    CHECK_FAILS(shmq_commit(q->producer, 6), EINVAL); /* though the record has room for 8 */
    CHECK_FAILS(shmq_commit(q->producer, SIZE_MAX), EINVAL);
    check_empty(q);
    CHECK(shmq_commit(q->producer, 5) == 0);
    check_next(q, "kept");
}

TEST_MESSAGES(commit_and_release_need_something_held) {
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
    CHECK_FAILS(shmq_release(q->producer), EINVAL);
    CHECK_FAILS(shmq_release(q->consumer), EINVAL);
    put(q, "there");
    CHECK_FAILS(shmq_release(q->consumer), EINVAL); /* there, but not shown */
    CHECK_FAILS(shmq_commit(q->producer, 0), EINVAL);
    check_next(q, "there");
    CHECK_FAILS(shmq_release(q->consumer), EINVAL);
}

TEST_MESSAGES(peek_shows_the_same_message_until_it_is_released) {
    size_t length = 0;
    put(q, "first");
    const char *first = shmq_peek(q->consumer, &length, 0);
    CHECK(first != NULL);
    put(q, "second");
    for (int time = 0; time < 3; time++) {
        CHECK(shmq_peek(q->consumer, &length, 0) == first);
        CHECK(length == 6 && strcmp(first, "first") == 0);
    }
    CHECK(shmq_peek(q->consumer, NULL, 0) == first);
    CHECK(shmq_release(q->consumer) == 0);
    CHECK_FAILS(shmq_release(q->consumer), EINVAL);
    const char *second = shmq_peek(q->consumer, &length, 0);
    CHECK(second != NULL && length == 7 && strcmp(second, "second") == 0);
    CHECK(shmq_release(q->consumer) == 0);
    CHECK_FAILS(shmq_peek(q->consumer, &length, 0), EAGAIN);
}

TEST_MESSAGES(recv_takes_the_message_that_peek_showed) {
    put(q, "first");
    put(q, "second");
    const void *peeked = shmq_peek(q->consumer, NULL, 0);
    CHECK(peeked != NULL);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, 3, 0), EMSGSIZE);
    CHECK(shmq_peek(q->consumer, NULL, 0) == peeked);
    check_next(q, "first");
    CHECK_FAILS(shmq_release(q->consumer), EINVAL); /* recv took it */
    check_next(q, "second");
}

TEST_MESSAGES(recv_that_fails_after_peek_keeps_the_peek) {
    put(q, "message");
    CHECK(shmq_peek(q->consumer, NULL, 0) != NULL);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, 3, 0), EMSGSIZE);
    CHECK(shmq_release(q->consumer) == 0);
    check_empty(q);
}

TEST_MESSAGES(a_message_that_was_peeked_at_and_not_released_is_delivered_again) {
    put(q, "again");
    CHECK(shmq_peek(q->consumer, NULL, 0) != NULL);
    close_end(&q->consumer);
    open_end(q, SHMQ_CONSUMER);
    check_next(q, "again");
    check_empty(q);
}

TEST_MESSAGES(a_message_keeps_its_space_until_it_is_released) {
    const int count = fill_pair(q);
    CHECK(count > 1);
    CHECK(shmq_peek(q->consumer, NULL, 0) != NULL);
    CHECK_FAILS(shmq_send(q->producer, q->buffer, MAX_MESSAGE, 0), EAGAIN);
    CHECK(shmq_release(q->consumer) == 0);
    CHECK(shmq_send(q->producer, q->buffer, MAX_MESSAGE, 0) == 0);
    CHECK_FAILS(shmq_send(q->producer, q->buffer, MAX_MESSAGE, 0), EAGAIN);
}

/* ---- Drain, and who has left --------------------------------------------------------------- */

TEST_MESSAGES(drain_of_what_was_never_sent_is_done_at_once) {
    CHECK(shmq_drain(q->producer, 0) == 0);
    CHECK(shmq_drain(q->producer, 50) == 0);
    CHECK(shmq_drain(q->producer, -1) == 0);
    close_end(&q->consumer);
    CHECK(shmq_drain(q->producer, -1) == 0);
}

TEST_MESSAGES(drain_waits_until_the_last_message_is_taken) {
    put(q, "one");
    put(q, "two");
    CHECK_FAILS(shmq_drain(q->producer, 0), EAGAIN);
    check_next(q, "one");
    CHECK_FAILS(shmq_drain(q->producer, 0), EAGAIN);
    CHECK_FAILS(shmq_drain(q->producer, 5), ETIMEDOUT);
    CHECK(shmq_peek(q->consumer, NULL, 0) != NULL);
    CHECK_FAILS(shmq_drain(q->producer, 0), EAGAIN); /* shown is not yet received */
    CHECK(shmq_release(q->consumer) == 0);
    CHECK(shmq_drain(q->producer, 0) == 0);
    CHECK(shmq_drain(q->producer, -1) == 0);
}

TEST_MESSAGES(an_empty_message_has_to_be_drained_too) {
    CHECK(shmq_send(q->producer, NULL, 0, 0) == 0);
    CHECK_FAILS(shmq_drain(q->producer, 0), EAGAIN);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0), 0);
    CHECK(shmq_drain(q->producer, 0) == 0);
}

TEST_MESSAGES(a_reservation_is_not_waited_for_by_drain) {
    CHECK(shmq_reserve(q->producer, 10, 0) != NULL);
    CHECK(shmq_drain(q->producer, 0) == 0);
    CHECK(shmq_commit(q->producer, 10) == 0);
    CHECK_FAILS(shmq_drain(q->producer, 0), EAGAIN);
}

TEST_MESSAGES(messages_survive_that_their_producer_closes) {
    close_end(&q->consumer);
    put(q, "first");
    put(q, "second");
    close_end(&q->producer);
    open_end(q, SHMQ_CONSUMER);
    check_next(q, "first");
    close_end(&q->consumer);
    open_end(q, SHMQ_CONSUMER);
    check_next(q, "second");
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, -1), EPIPE);
}

TEST_MESSAGES(messages_survive_that_both_ends_close) {
    put(q, "kept");
    close_end(&q->producer);
    close_end(&q->consumer);
    open_end(q, SHMQ_PRODUCER);
    put(q, "added");
    open_end(q, SHMQ_CONSUMER);
    check_next(q, "kept");
    check_next(q, "added");
    check_empty(q);
}

/* ---- Time-outs ----------------------------------------------------------------------------- */

static int recv_for(struct pair *q, int timeout_ms) {
    return (int)shmq_recv(q->consumer, q->buffer, sizeof q->buffer, timeout_ms);
}

static int peek_for(struct pair *q, int timeout_ms) {
    return shmq_peek(q->consumer, NULL, timeout_ms) == NULL ? -1 : 0;
}

static int send_for(struct pair *q, int timeout_ms) {
    return shmq_send(q->producer, q->buffer, MAX_MESSAGE, timeout_ms);
}

static int reserve_for(struct pair *q, int timeout_ms) {
    return shmq_reserve(q->producer, MAX_MESSAGE, timeout_ms) == NULL ? -1 : 0;
}

static int drain_for(struct pair *q, int timeout_ms) { return shmq_drain(q->producer, timeout_ms); }

typedef int waiting_call(struct pair *q, int timeout_ms);

/* 0 answers at once: a hundred times in less than a tenth of what one slice of waiting would
 * take each. Else it is the time that was asked for, and neither less nor ten times more. */
static void check_time_out(struct pair *q, waiting_call *wait) {
    enum { WAIT_MS = 50, TIMES = 100, AT_ONCE_MS = 2000 };
    int64_t start = check_now_ms();
    for (int time = 0; time < TIMES; time++)
        CHECK_FAILS(wait(q, 0), EAGAIN);
    CHECK(check_now_ms() - start < check_late(AT_ONCE_MS));
    start = check_now_ms();
    CHECK_FAILS(wait(q, WAIT_MS), ETIMEDOUT);
    const int64_t took_ms = check_now_ms() - start;
    CHECK(took_ms >= WAIT_MS - 1); /* both times are rounded down */
    CHECK(took_ms < check_late(10 * WAIT_MS));
}

TEST_MESSAGES(recv_and_peek_on_an_empty_queue_time_out) {
    check_time_out(q, recv_for);
    check_time_out(q, peek_for);
}

TEST_MESSAGES(send_and_reserve_on_a_full_queue_time_out) {
    (void)fill_pair(q);
    check_time_out(q, send_for);
    check_time_out(q, reserve_for);
}

TEST_MESSAGES(drain_of_what_nobody_takes_times_out) {
    put(q, "left");
    check_time_out(q, drain_for);
}

TEST_MESSAGES(a_time_out_of_more_than_one_slice_is_waited_in_full) {
    const int64_t start = check_now_ms();
    CHECK_FAILS(recv_for(q, 450), ETIMEDOUT);
    CHECK(check_now_ms() - start >= 449);
    CHECK(check_now_ms() - start < check_late(4500));
}

TEST_MESSAGES(queues_without_another_end_time_out_as_well) {
    close_end(&q->producer);
    close_end(&q->consumer);
    CHECK(shmq_unlink(q->name) == 0);
    open_end(q, SHMQ_PRODUCER);
    (void)fill_pair(q);
    check_time_out(q, send_for);
    close_end(&q->producer);
    CHECK(shmq_unlink(q->name) == 0);
    open_end(q, SHMQ_CONSUMER);
    check_time_out(q, recv_for);
}

/* ---- Waking -------------------------------------------------------------------------------- */

enum { WAKES = 40 };

struct sleeper {
    const char *name;
    enum shmq_end end;
};

/* Waits WAKES times: a consumer for messages, a producer (whose ring is full) for space. */
static void sleep_and_sleep(void *argument) {
    const struct sleeper *sleeper = argument;
    char message[MAX_MESSAGE] = "";
    shmq *q;
    CHECK(shmq_open(&q, sleeper->name, sleeper->end, 0, NULL) == 0);
    for (int wake = 0; wake < WAKES; wake++) {
        if (sleeper->end == SHMQ_CONSUMER)
            CHECK(shmq_recv(q, message, sizeof message, -1) >= 0);
        else
            CHECK(shmq_send(q, message, sizeof message, -1) == 0);
    }
    CHECK(shmq_close(q) == 0);
}

/* Until the other end has begun one more sleep than `before`; how many that makes. */
static uint64_t await_sleep(const struct shmq *q, uint64_t before) {
    uint64_t sleeps = 0;
    while ((sleeps = shared_load(&q->peer->sleeps)) == before)
        sched_yield();
    return sleeps;
}

/* If wake-ups were lost, each would cost most of a slice: 200 ms, WAKES times. */
static void wake_and_wake(struct pair *q, enum shmq_end sleeping) {
    struct sleeper sleeper = {q->name, sleeping};
    close_end(sleeping == SHMQ_CONSUMER ? &q->consumer : &q->producer);
    const struct shmq *awake = sleeping == SHMQ_CONSUMER ? q->producer : q->consumer;
    pid_t child = check_spawn(sleep_and_sleep, &sleeper);
    uint64_t sleeps = 0;
    int64_t waking_ms = 0;
    for (uint64_t wake = 0; wake < WAKES; wake++) {
        sleeps = await_sleep(awake, sleeps);
        const uint64_t messages = shared_load(&awake->peer->messages);
        const int64_t start = check_now_ms();
        if (sleeping == SHMQ_CONSUMER)
            CHECK(shmq_send(q->producer, NULL, 0, 0) == 0); /* exactly what is wanted */
        else
            CHECK(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0) == MAX_MESSAGE);
        while (shared_load(&awake->peer->messages) == messages)
            sched_yield();
        waking_ms += check_now_ms() - start;
    }
    check_join(child);
    CHECK(waking_ms < WAKES * 200 / 2);
}

TEST_MESSAGES(a_sleeping_consumer_is_woken_by_a_message) { wake_and_wake(q, SHMQ_CONSUMER); }

TEST_MESSAGES(a_sleeping_producer_is_woken_by_space) {
    (void)fill_pair(q);
    wake_and_wake(q, SHMQ_PRODUCER);
}

/* ---- Figures ------------------------------------------------------------------------------- */

static struct shmq_stat stat_of(shmq *q) {
    struct shmq_stat stat;
    memset(&stat, '?', sizeof stat);
    CHECK(shmq_stat(q, &stat) == 0);
    return stat;
}

static void check_figures(struct pair *q, uint64_t used, uint64_t sent, uint64_t received) {
    shmq *const ends[] = {q->producer, q->consumer};
    for (size_t end = 0; end < 2; end++) {
        const struct shmq_stat stat = stat_of(ends[end]);
        CHECK_EQUAL(stat.capacity, page_size());
        CHECK_EQUAL(stat.max_message, MAX_MESSAGE);
        CHECK_EQUAL(stat.used, used);
        CHECK_EQUAL(stat.sent, sent);
        CHECK_EQUAL(stat.received, received);
        CHECK_EQUAL(stat.sleeps, 0);
        CHECK_EQUAL(stat.rings, 0);
        CHECK_EQUAL(stat.producers, 1);
        CHECK_EQUAL(stat.consumers, 1);
        CHECK_EQUAL(stat.notify, q->attr.notify);
        CHECK_EQUAL(stat.flags, q->attr.flags);
    }
}

TEST_MESSAGES(stat_counts_bytes_and_messages_exactly) {
    check_figures(q, 0, 0, 0);
    put(q, "seven .");
    check_figures(q, 16, 1, 0);
    CHECK(shmq_send(q->producer, NULL, 0, 0) == 0);
    check_figures(q, 24, 2, 0);
    CHECK(shmq_send(q->producer, q->buffer, 9, 0) == 0);
    check_figures(q, 48, 3, 0);
    CHECK(shmq_reserve(q->producer, 100, 0) != NULL);
    check_figures(q, 48, 3, 0); /* what is only reserved is not used */
    CHECK(shmq_commit(q->producer, 1) == 0);
    check_figures(q, 64, 4, 0);
    CHECK(shmq_peek(q->consumer, NULL, 0) != NULL);
    check_figures(q, 64, 4, 0); /* what is only shown is */
    CHECK(shmq_release(q->consumer) == 0);
    check_figures(q, 48, 4, 1);
    CHECK_FAILS(shmq_send(q->producer, q->buffer, MAX_MESSAGE + 1, 0), EMSGSIZE);
    CHECK_EQUAL(shmq_recv(q->consumer, q->buffer, 0, 0), 0);
    CHECK_FAILS(shmq_recv(q->consumer, q->buffer, 1, 0), EMSGSIZE);
    check_figures(q, 40, 4, 2);
    close_end(&q->producer);
    close_end(&q->consumer);
    open_end(q, SHMQ_CONSUMER);
    open_end(q, SHMQ_PRODUCER);
    check_figures(q, 40, 4, 2); /* since creation, whoever asks */
}

TEST_MESSAGES(stat_is_exact_after_many_laps) {
    uint64_t used = 0, sent = 0, received = 0;
    uint64_t records[1 << 10] = {0};
    for (int turn = 0; turn < check_scaled(20000); turn++) {
        const size_t length = check_below(MAX_MESSAGE + 1);
        const uint64_t record = 8 + (length + 7) / 8 * 8;
        if (check_below(2) == 0 && used + record <= page_size()) {
            CHECK(shmq_send(q->producer, q->buffer, length, 0) == 0);
            records[sent++ % (1 << 10)] = record;
            used += record;
        } else if (received < sent) {
            CHECK(shmq_recv(q->consumer, q->buffer, sizeof q->buffer, 0) >= 0);
            used -= records[received++ % (1 << 10)];
        }
        CHECK_EQUAL(stat_of(q->producer).used, used);
        CHECK_EQUAL(stat_of(q->consumer).used, used);
    }
    check_figures(q, used, sent, received);
}

static void live(void *argument) {
    const struct sleeper *who = argument;
    char message[MAX_MESSAGE];
    shmq *q;
    CHECK(shmq_open(&q, who->name, who->end, 0, NULL) == 0);
    (void)shmq_recv(q, message, sizeof message, -1); /* until killed */
}

TEST_MESSAGES(stat_counts_who_is_alive) {
    close_end(&q->consumer);
    CHECK_EQUAL(stat_of(q->producer).producers, 1);
    CHECK_EQUAL(stat_of(q->producer).consumers, 0);
    struct sleeper who = {q->name, SHMQ_CONSUMER};
    pid_t child = check_spawn(live, &who);
    (void)await_sleep(q->producer, 0);
    CHECK_EQUAL(stat_of(q->producer).consumers, 1);
    check_kill(child);
    CHECK_EQUAL(stat_of(q->producer).consumers, 0);
    open_end(q, SHMQ_CONSUMER);
    CHECK_EQUAL(stat_of(q->producer).consumers, 1);
    close_end(&q->producer);
    CHECK_EQUAL(stat_of(q->consumer).producers, 0);
    CHECK_EQUAL(stat_of(q->consumer).consumers, 1);
}

TEST_MESSAGES(stat_counts_waits_that_slept) {
    CHECK_FAILS(recv_for(q, 0), EAGAIN);
    CHECK_EQUAL(stat_of(q->consumer).sleeps, 0);
    uint64_t sleeps = 0; /* a busy machine may let the time run out before the first */
    for (int ms = 5; ms < 10000 && sleeps == 0; ms *= 2) {
        CHECK_FAILS(recv_for(q, ms), ETIMEDOUT);
        sleeps = stat_of(q->consumer).sleeps;
    }
    CHECK(sleeps > 0);
    CHECK_EQUAL(stat_of(q->producer).sleeps, 0); /* each side its own */
    close_end(&q->consumer);
    open_end(q, SHMQ_CONSUMER);
    CHECK_EQUAL(stat_of(q->consumer).sleeps, sleeps);
}

/* ---- What is asked for at creation --------------------------------------------------------- */

static void check_sizes(size_t capacity, size_t max_message, uint64_t gives, uint64_t gives_max) {
    const struct shmq_attr attr = {.capacity = capacity, .max_message = max_message};
    const char *name = check_name("sizes");
    shmq *q;
    check_note("capacity %zu, max_message %zu", capacity, max_message);
    CHECK(shmq_open(&q, name, SHMQ_CONSUMER, O_CREAT | O_EXCL, &attr) == 0);
    CHECK_EQUAL(stat_of(q).capacity, gives);
    CHECK_EQUAL(stat_of(q).max_message, gives_max);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

static void check_attr_refused(const struct shmq_attr *attr, int error) {
    const char *name = check_name("refused");
    shmq *q = (shmq *)(void *)&q; /* anything: it must become NULL */
    CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, attr), error);
    CHECK(q == NULL);
    CHECK_FAILS(shmq_unlink(name), ENOENT);
}

TEST(capacity_is_rounded_up_to_a_power_of_two_of_pages) {
    const size_t page = page_size();
    const size_t mebibyte = (size_t)1 << 20;
    check_sizes(0, 0, mebibyte, mebibyte / 4);
    check_sizes(1, 0, page, page / 4);
    check_sizes(page - 1, 0, page, page / 4);
    check_sizes(page, 0, page, page / 4);
    check_sizes(page + 1, 0, 2 * page, page / 2);
    check_sizes(2 * page, 0, 2 * page, page / 2);
    check_sizes(3 * page, 0, 4 * page, page);
    check_sizes(5 * page, 0, 8 * page, 2 * page);
    check_sizes(4 * mebibyte, 0, 4 * mebibyte, mebibyte);
}

TEST(max_message_is_anything_that_fits_with_its_header) {
    const size_t page = page_size();
    check_sizes(1, 1, page, 1);
    check_sizes(1, page - 8, page, page - 8);
    check_sizes(page + 1, 2 * page - 8, 2 * page, 2 * page - 8);
    check_attr_refused(&(struct shmq_attr){.capacity = 1, .max_message = page - 7}, EINVAL);
    check_attr_refused(&(struct shmq_attr){.capacity = 1, .max_message = page}, EINVAL);
    check_attr_refused(&(struct shmq_attr){.max_message = (size_t)1 << 20}, EINVAL);
    check_attr_refused(&(struct shmq_attr){.max_message = SIZE_MAX}, EINVAL);
    check_attr_refused(&(struct shmq_attr){.max_message = (size_t)1 << 32}, EINVAL);
}

TEST(the_largest_message_fills_the_ring) {
    struct pair q;
    const size_t page = page_size(), largest = page - 8;
    static char message[1 << 16], copy[1 << 16];
    CHECK(largest <= sizeof message);
    open_pair(&q, check_name("q"), &(struct shmq_attr){.capacity = page, .max_message = largest});
    for (int time = 0; time < 3; time++) {
        memset(message, 'a' + time, sizeof message);
        CHECK(shmq_send(q.producer, message, largest, 0) == 0);
        CHECK_EQUAL(stat_of(q.consumer).used, page);
        CHECK_FAILS(shmq_send(q.producer, NULL, 0, 0), EAGAIN);
        CHECK_EQUAL(shmq_recv(q.consumer, copy, sizeof copy, 0), largest);
        CHECK(memcmp(message, copy, largest) == 0);
        CHECK(shmq_send(q.producer, NULL, 0, 0) == 0); /* shifts the next one */
        CHECK_EQUAL(shmq_recv(q.consumer, NULL, 0, 0), 0);
    }
    close_pair(&q);
}

TEST(a_capacity_that_no_address_space_holds_is_invalid) {
    static const size_t capacities[] = {SIZE_MAX, SIZE_MAX - 4095, SIZE_MAX / 2 + 1, SIZE_MAX / 2 + 2,
                                        ((size_t)1 << 62) + 1};
    for (size_t row = 0; row < sizeof capacities / sizeof capacities[0]; row++) {
        check_note("capacity %zu", capacities[row]);
        check_attr_refused(&(struct shmq_attr){.capacity = capacities[row]}, EINVAL);
        check_attr_refused(&(struct shmq_attr){.capacity = capacities[row], .max_message = 1}, EINVAL);
    }
}

TEST(whoever_attaches_takes_the_queue_as_it_was_created) {
    const struct shmq_attr small = {.capacity = 1, .max_message = 10, .notify = SHMQ_NOTIFY_SPIN};
    const struct shmq_attr other = {.capacity = SIZE_MAX, .max_message = 99, .notify = 99, .flags = ~0u};
    const char *name = check_name("q");
    shmq *producer, *consumer;
    CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, O_CREAT, &small) == 0);
    CHECK(shmq_open(&consumer, name, SHMQ_CONSUMER, O_CREAT, &other) == 0);
    const struct shmq_stat stat = stat_of(consumer);
    CHECK_EQUAL(stat.capacity, page_size());
    CHECK_EQUAL(stat.max_message, 10);
    CHECK_EQUAL(stat.notify, SHMQ_NOTIFY_SPIN);
    CHECK_EQUAL(stat.flags, 0);
    CHECK(shmq_close(producer) == 0);
    CHECK(shmq_close(consumer) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- Nothing else -------------------------------------------------------------------------- */

/* All that an end maps of the object, but for the header. */
static void check_shared_memory(const shmq *q) {
    const size_t page = page_size(), capacity = q->region.header.capacity;
    check_initialized(q->region.base + page, (PAGE_RING - 1) * page + 2 * capacity);
}

/* The other end sees every byte of the mapping: none may come from our stack or heap by accident, as the padding of a
 * record might. Only MemorySanitizer knows whether. */
TEST_MESSAGES(nothing_uninitialized_gets_into_shared_memory) {
    struct shmq_stat stat;
    for (size_t length = 0; length <= 40; length++) {
        char *message = malloc(length + 1), *got = malloc(length + 1); /* no byte more than is sent has a value */
        CHECK(message != NULL && got != NULL);
        memset(message, 'x', length);
        CHECK(shmq_send(q->producer, message, length, 0) == 0);
        char *room = shmq_reserve(q->producer, length + 20, 0);
        CHECK(room != NULL);
        memcpy(room, message, length);
        CHECK(shmq_commit(q->producer, length) == 0);
        CHECK_FAILS(shmq_drain(q->producer, 1), ETIMEDOUT);
        for (int time = 0; time < 2; time++)
            CHECK_EQUAL(shmq_recv(q->consumer, got, length, 0), length);
        CHECK_FAILS(shmq_recv(q->consumer, NULL, 0, 1), ETIMEDOUT);
        CHECK(shmq_stat(q->producer, &stat) == 0);
        check_initialized(&stat, sizeof stat);
        check_initialized(got, length);
        free(message);
        free(got);
    }
    check_shared_memory(q->producer);
    check_shared_memory(q->consumer);
}

/* ---- Memory protection --------------------------------------------------------------------- */

/* Where a wild store of one end goes to. */
typedef unsigned char *target(shmq *q);

static unsigned char *own_page(shmq *q) { return (unsigned char *)q->region.end[q->end] + page_size() - 1; }

static unsigned char *peers_page(shmq *q) {
    return (unsigned char *)q->region.end[q->end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER];
}

static unsigned char *peers_page_end(shmq *q) { return peers_page(q) + page_size() - 1; }

static unsigned char *header_page(shmq *q) { return q->region.base; }

static unsigned char *peeked_message(shmq *q) {
    const unsigned char *message = shmq_peek(q, NULL, 0);
    CHECK(message != NULL);
    return q->region.ring + (message - q->region.ring);
}

static unsigned char *second_copy_of_the_message(shmq *q) { return peeked_message(q) + q->region.header.capacity; }

static unsigned char *free_ring(shmq *q) { return q->region.ring + q->region.header.capacity - 1; }

static const struct wild_store {
    const char *where;
    enum shmq_end end;
    target *target;
    bool faults;
} WILD_STORES[] = {
    {"own page", SHMQ_CONSUMER, own_page, false},
    {"producer's page", SHMQ_CONSUMER, peers_page, true},
    {"end of producer's page", SHMQ_CONSUMER, peers_page_end, true},
    {"header", SHMQ_CONSUMER, header_page, true},
    {"peeked message", SHMQ_CONSUMER, peeked_message, true},
    {"second copy of the message", SHMQ_CONSUMER, second_copy_of_the_message, true},
    {"free part of the ring", SHMQ_CONSUMER, free_ring, true},
    {"own page", SHMQ_PRODUCER, own_page, false},
    {"consumer's page", SHMQ_PRODUCER, peers_page, true},
    {"end of consumer's page", SHMQ_PRODUCER, peers_page_end, true},
    {"header", SHMQ_PRODUCER, header_page, true},
    {"free part of the ring", SHMQ_PRODUCER, free_ring, false},
};

struct culprit {
    const char *name;
    const struct wild_store *store;
};

static void store_wildly(void *argument) {
    const struct culprit *culprit = argument;
    const struct rlimit none = {0, 0};
    shmq *q;
    CHECK(shmq_open(&q, culprit->name, culprit->store->end, 0, NULL) == 0);
    volatile unsigned char *at = culprit->store->target(q);
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
    CHECK(signal(SIGSEGV, SIG_DFL) != SIG_ERR); /* sanitizers have a handler */
    *at = '!';
    CHECK(culprit->store->faults == false);
    CHECK(shmq_close(q) == 0);
}

static void check_wild_store(struct pair *q, const struct wild_store *store) {
    struct culprit culprit = {q->name, store};
    int status = 0;
    put(q, "unharmed");
    close_end(store->end == SHMQ_PRODUCER ? &q->producer : &q->consumer);
    pid_t child = check_spawn(store_wildly, &culprit);
    CHECK(waitpid(child, &status, 0) == child);
    if (store->faults)
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    else
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    open_end(q, store->end);
    check_next(q, "unharmed");
    put(q, "and it goes on");
    check_next(q, "and it goes on");
}

TEST(a_wild_store_faults_in_the_guilty_process_and_harms_no_message) {
    for (size_t row = 0; row < sizeof WILD_STORES / sizeof WILD_STORES[0]; row++) {
        struct pair q;
        check_note("%s into %s", WILD_STORES[row].end == SHMQ_PRODUCER ? "producer" : "consumer",
                   WILD_STORES[row].where);
        open_pair(&q, check_name("q"), &(struct shmq_attr){.capacity = 1});
        check_wild_store(&q, &WILD_STORES[row]);
        close_pair(&q);
    }
}

int main(int argc, char **argv) { return check_main(argc, argv); }
