/* The threaded twin of the two-process tests: both ends in one process and on one mapping, where
 * a thread sanitizer sees every access of both. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "ends.h"
#include "handle.h"
#include "memory.h"
#include "notifiers.h"

enum { PAGE = 4096, LARGEST = 200 };

static unsigned messages(void) { return (unsigned)check_scaled(60000); }

/* ---- A stream of numbered messages --------------------------------------------------------- */

static size_t length_of(unsigned number, size_t longest) {
    const size_t length = number * 2654435761u >> 20;
    return length % ((number % 64 == 0 ? longest : 24) + 1);
}

static void write_message(unsigned number, unsigned char *to, size_t length) {
    for (size_t at = 0; at < length; at++)
        to[at] = (unsigned char)(number * 31 + at);
}

static void check_message(unsigned number, const unsigned char *bytes, size_t length, size_t wanted) {
    CHECK_EQUAL(length, wanted);
    for (size_t at = 0; at < length; at++)
        CHECK_EQUAL(bytes[at], (unsigned char)(number * 31 + at));
}

struct job {
    const struct region *region;
    size_t longest;
    bool zero_copy;
    bool detour; /* the consumer leaves and comes again now and then */
};

/* After a failed wait of the producer: the consumer is on its detour and will come again. */
static void await_return(const struct job *job) {
    if (was_cut_short()) return;
    CHECK_EQUAL(errno, EPIPE);
    CHECK(job->detour);
    sched_yield();
}

static shmq *attach(const struct job *job, enum shmq_end end) {
    struct region region = *job->region;
    shmq *q;
    memory_open_object(&region, end);
    CHECK(attach_memory(&q, &region, end) == 0);
    return q;
}

static void expect_cut_short(void) {
    if (!was_cut_short()) check_fail(__FILE__, __LINE__, "errno %s", strerrorname_np(errno));
}

static void send_one(shmq *producer, const struct job *job, unsigned number) {
    unsigned char buffer[LARGEST];
    const size_t length = length_of(number, job->longest);
    if (job->zero_copy) {
        unsigned char *room;
        while ((room = shmq_reserve(producer, length, -1)) == NULL)
            expect_cut_short();
        write_message(number, room, length);
        CHECK(shmq_commit(producer, length) == 0);
    } else {
        write_message(number, buffer, length);
        while (shmq_send(producer, buffer, length, -1) != 0)
            await_return(job);
    }
}

static void take_one(shmq *consumer, const struct job *job, unsigned number) {
    unsigned char buffer[LARGEST];
    const size_t wanted = length_of(number, job->longest);
    if (job->zero_copy) {
        size_t length;
        const unsigned char *message;
        while ((message = shmq_peek(consumer, &length, -1)) == NULL)
            expect_cut_short();
        check_message(number, message, length, wanted);
        CHECK(shmq_release(consumer) == 0);
    } else {
        ssize_t length;
        while ((length = shmq_recv(consumer, buffer, sizeof buffer, -1)) < 0)
            expect_cut_short();
        check_message(number, buffer, (size_t)length, wanted);
    }
}

static void *produce(void *argument) {
    const struct job *job = argument;
    shmq *producer = attach(job, SHMQ_PRODUCER);
    for (unsigned number = 0; number < messages(); number++)
        send_one(producer, job, number);
    while (shmq_drain(producer, -1) != 0)
        await_return(job);
    CHECK(shmq_close(producer) == 0);
    return NULL;
}

static void consume(const struct job *job) {
    shmq *consumer = attach(job, SHMQ_CONSUMER);
    struct shmq_stat stat;
    for (unsigned number = 0; number < messages(); number++) {
        take_one(consumer, job, number);
        if (number % 1024 == 0) {
            CHECK(shmq_stat(consumer, &stat) == 0); /* a look at the other's words meanwhile */
            CHECK(stat.used <= stat.capacity && stat.received == number + 1);
        }
        if (job->detour && number % (messages() / 7) == 0) {
            CHECK(shmq_close(consumer) == 0);
            consumer = attach(job, SHMQ_CONSUMER);
        }
    }
    do
        CHECK(shmq_recv(consumer, NULL, 0, -1) == -1);
    while (was_cut_short());
    CHECK_EQUAL(errno, EPIPE);
    CHECK(shmq_close(consumer) == 0);
}

/* valgrind 3.19 runs one thread at a time, and does not know that F_OFD_SETLKW may block: a thread that waits in it stops
 * the one that would unlock. (Of two processes neither stops the other.) */
static bool would_stop_everybody(void) {
    return check_tool() == CHECK_VALGRIND && notifier_now->kind == SHMQ_NOTIFY_LOCK;
}

static void run(size_t capacity, bool zero_copy, bool detour) {
    if (would_stop_everybody()) return;
    struct memory memory = memory_new(notifier_now->kind, capacity, 0, check_random());
    const size_t longest = capacity / 2 < LARGEST ? capacity / 2 : LARGEST;
    struct job job = {&memory.region, longest, zero_copy, detour};
    pthread_t producer;
    CHECK(pthread_create(&producer, NULL, produce, &job) == 0);
    consume(&job);
    CHECK(pthread_join(producer, NULL) == 0);
    memory_free(&memory);
}

TEST_NOTIFIERS(two_threads_stream_through_one_mapping) { run(PAGE, false, false); }

TEST_NOTIFIERS(two_threads_stream_without_copying) { run(PAGE, true, false); }

TEST_NOTIFIERS(two_threads_stream_through_a_ring_of_a_few_records) {
    run(64, false, false);
    run(64, true, false);
}

TEST_NOTIFIERS(a_consumer_thread_may_leave_and_come_again) { run(1 << 16, false, true); }

/* ---- Many ends ----------------------------------------------------------------------------- */

enum { PRODUCERS = 3, CONSUMERS = 2, EACH = 3000 };

struct party {
    struct memory memory;
    _Atomic unsigned next[2]; /* by enum shmq_end: whose turn it is to come */
    check_gate in;
    _Atomic unsigned char taken[PRODUCERS][EACH];
};

static shmq *join(struct party *party, enum shmq_end end, unsigned *me) {
    struct region region = party->memory.region;
    *me = atomic_fetch_add(&party->next[end], 1);
    region.slot = *me;
    const struct job job = {.region = &region};
    shmq *q = attach(&job, end);
    check_meet(&party->in, PRODUCERS + CONSUMERS);
    return q;
}

static void *produce_among_many(void *argument) {
    struct party *party = argument;
    unsigned message[6] = {0};
    shmq *q = join(party, SHMQ_PRODUCER, &message[0]);
    for (message[1] = 0; message[1] < EACH; message[1]++) {
        for (int at = 2; at < 6; at++)
            message[at] = message[0] ^ message[1] * 31;
        while (shmq_send(q, message, 8 + message[1] % 5 * 4, -1) != 0)
            expect_cut_short();
    }
    CHECK(shmq_close(q) == 0);
    return NULL;
}

static void note(struct party *party, const unsigned *message, size_t length, int *last) {
    CHECK(length >= 8 && message[0] < PRODUCERS && message[1] < EACH);
    CHECK_EQUAL(length, 8 + message[1] % 5 * 4);
    for (size_t at = 2; at < length / 4; at++)
        CHECK_EQUAL(message[at], message[0] ^ message[1] * 31);
    CHECK((int)message[1] > last[message[0]]);
    last[message[0]] = (int)message[1];
    CHECK_EQUAL(atomic_fetch_add(&party->taken[message[0]][message[1]], 1), 0);
}

static void *consume_among_many(void *argument) {
    struct party *party = argument;
    int last[PRODUCERS] = {-1, -1, -1};
    unsigned me, message[6];
    struct shmq_stat stat;
    shmq *q = join(party, SHMQ_CONSUMER, &me);
    for (unsigned turn = 0;; turn++) {
        size_t length = 0;
        const bool peeks = turn % 2 == me;
        const unsigned *seen = peeks ? shmq_peek(q, &length, -1) : message;
        const ssize_t got = peeks ? 0 : shmq_recv(q, message, sizeof message, -1);
        if (seen == NULL || got < 0) {
            if (was_cut_short()) continue;
            CHECK_EQUAL(errno, EPIPE);
            break;
        }
        note(party, seen, peeks ? length : (size_t)got, last);
        if (peeks) CHECK(shmq_release(q) == 0);
        if (turn % 512 == 0) CHECK(shmq_stat(q, &stat) == 0 && stat.used <= stat.capacity);
    }
    CHECK(shmq_close(q) == 0);
    return NULL;
}

static void run_party(unsigned flags) {
    if (would_stop_everybody()) return;
    struct party *party = calloc(1, sizeof *party);
    pthread_t threads[PRODUCERS + CONSUMERS];
    CHECK(party != NULL);
    flags |= SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS;
    party->memory = memory_new(notifier_now->kind, PAGE, flags, check_random());
    for (int at = 0; at < PRODUCERS + CONSUMERS; at++)
        CHECK(pthread_create(&threads[at], NULL, at < PRODUCERS ? produce_among_many : consume_among_many, party) == 0);
    for (int at = 0; at < PRODUCERS + CONSUMERS; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
    for (int producer = 0; producer < PRODUCERS; producer++)
        for (int number = 0; number < EACH; number++)
            CHECK_EQUAL(party->taken[producer][number], 1);
    memory_free(&party->memory);
    free(party);
}

TEST_NOTIFIERS(many_threads_share_one_mapping) { run_party(0); }

TEST(many_threads_share_one_mapping_with_checksums) {
    need_checksums();
    run_party(SHMQ_CHECKSUM);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
