/* Producers and consumers: each goes on until it is told that the round is over, whatever happens to it or others. */
#include "stress.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

struct end {
    struct round *round;
    struct own *own;
    shmq *q;
    unsigned me; /* producers come first */
    bool deaf;   /* came too late to be told of the producers' end, perhaps */
    uint64_t random;
    unsigned char *buffer;
    int64_t last[PRODUCERS];
};

static enum shmq_end role_of(unsigned me) { return me < PRODUCERS ? SHMQ_PRODUCER : SHMQ_CONSUMER; }

static uint64_t chance(struct end *end, uint64_t bound) { return random_of(&end->random) % bound; }

/* One time in so many; never if that is 0. */
static bool now_and_then(struct end *end, uint64_t every) { return every != 0 && chance(end, every) == 0; }

static void nap(uint64_t us) {
    const struct timespec time = {.tv_sec = 0, .tv_nsec = (long)us * 1000};
    nanosleep(&time, NULL);
}

/* ---- Coming and going ---------------------------------------------------------------------- */

struct shmq_attr end_attr(const struct round *round) {
    const struct scenario *s = &round->s;
    const unsigned flags =
        s->many | (s->ephemeral != 0 ? SHMQ_EPHEMERAL : 0u) | (s->checksum != 0 ? SHMQ_CHECKSUM : 0u);
    return (struct shmq_attr){.capacity = s->capacity, .max_message = s->max, .notify = s->notifier, .flags = flags};
}

static void attach(struct end *end) {
    const enum shmq_end role = role_of(end->me);
    struct region region = end->round->memory->region;
    region.slot = role == SHMQ_PRODUCER ? end->me : end->me - PRODUCERS;
    region.header.max_message = end->round->s.max;
    memory_open_object(&region, role);
    CHECK(attach_memory(&end->q, &region, role) == 0);
}

static void enter(struct end *end) {
    const struct round *round = end->round;
    const struct shmq_attr attr = end_attr(round);
    if (round->threads) attach(end);
    /* Somebody may have been stopped while it held the life cycle. */
    for (int tries = 50; end->q == NULL; tries--) {
        if (shmq_open(&end->q, round->name, role_of(end->me), O_CREAT, &attr) == 0) break;
        if (errno != EBUSY || round->s.stop == 0 || tries == 0)
            check_fail(__FILE__, __LINE__, "shmq_open: %s", strerrorname_np(errno));
        add(&end->own->interrupted, 1);
    }
    if (!round->threads) traces_note_instance(end->round);
    put(&end->own->in, 1);
}

static void go(struct end *end) {
    const bool may_fail = end->round->s.stop != 0 && end->round->s.ephemeral != 0;
    const int result = shmq_close(end->q);
    end->q = NULL;
    if (result == 0) return;
    if (errno != EBUSY || !may_fail) check_fail(__FILE__, __LINE__, "shmq_close: %s", strerrorname_np(errno));
    put(&end->round->left_busy, 1);
}

/* For the supervisor, who reads it after a kill: so it is in order with what the end did before and after. */
static void be_busy(struct end *end, bool busy) {
    atomic_signal_fence(memory_order_seq_cst);
    put(&end->own->busy, busy);
    atomic_signal_fence(memory_order_seq_cst);
}

/* Between two messages, or while one is held. */
static void rest(struct end *end) {
    if (now_and_then(end, end->round->s.pause)) nap(chance(end, chance(end, 16) == 0 ? 20000 : 1500));
}

/* Leaves and comes again. Who comes when the producers may be gone for good is not told any more. */
static void make_detour(struct end *end) {
    if (get(&end->round->over) != 0 || !now_and_then(end, end->round->s.detour)) return;
    go(end);
    if (chance(end, 2) == 0) nap(chance(end, 5000));
    enter(end);
    end->deaf = get(&end->round->over) != 0;
}

static int draw_timeout(struct end *end) {
    const uint64_t random = chance(end, 1 << 20);
    if (end->deaf) return 100;
    switch (end->round->s.timeouts) {
    case FOREVER: return -1;
    case NONE: return 0;
    case SHORT: return 1 + (int)random % 20;
    default: return random % 3 == 0 ? -1 : random % 3 == 1 ? 0 : 1 + (int)(random >> 8) % 250;
    }
}

/* ---- What may go wrong --------------------------------------------------------------------- */

/* Ends may come and go without being told to. */
static bool is_restless(const struct round *round) { return round->s.kill != 0 || round->s.detour != 0; }

static bool may_interrupt(const struct round *round) {
    /* Of two threads that wait for SIGURG the kernel wakes either, and the other's wait is cut short. */
    return round->s.signals != 0 || round->s.stop != 0 || (round->threads && round->s.notifier == SHMQ_NOTIFY_SIGNAL);
}

/* All producers have ended, this consumer was perhaps not told of it, and nothing is left. */
static bool is_silent(const struct end *end) {
    struct shmq_stat stat;
    if (!end->deaf || get(&end->round->silence) == 0) return false;
    CHECK(shmq_stat(end->q, &stat) == 0);
    return stat.used == 0;
}

/* The other side is gone: whether it will come again. */
static bool will_return(struct end *end) {
    const struct round *round = end->round;
    if (!is_restless(round)) {
        if (role_of(end->me) == SHMQ_PRODUCER || get(&round->over) == 0)
            check_fail(__FILE__, __LINE__, "%s of %u, while the others are there", strerrorname_np(errno), end->me);
        return false;
    }
    if (role_of(end->me) == SHMQ_CONSUMER && get(&round->silence) != 0) return false;
    nap(1000);
    return true;
}

/* After a call that failed: whether to try again. */
static bool endure(struct end *end, int timeout) {
    const int error = errno;
    if (error == EPIPE || (error == EOWNERDEAD && end->round->s.kill != 0)) return will_return(end);
    if ((error == EAGAIN && timeout == 0) || (error == ETIMEDOUT && timeout > 0)) {
        sched_yield(); /* there may be more ends than cores */
        return !is_silent(end);
    }
    if (error != EINTR || !may_interrupt(end->round))
        check_fail(__FILE__, __LINE__, "%s of %u with time-out %d", strerrorname_np(error), end->me, timeout);
    add(&end->own->interrupted, 1);
    return !is_silent(end); /* who is interrupted ever again never comes to a time-out */
}

/* ---- Producers ----------------------------------------------------------------------------- */

static int reserve_and_commit(struct end *end, uint64_t number, size_t length, int timeout) {
    const size_t more = now_and_then(end, 8) ? chance(end, end->round->s.max - length + 1) : 0;
    void *room = shmq_reserve(end->q, length + more, timeout);
    if (room == NULL) return -1;
    if (now_and_then(end, 64)) { /* thinks better of it */
        CHECK(shmq_release(end->q) == 0);
        return errno = EINTR, -2;
    }
    letter_write(end->round, end->me, number, room);
    rest(end);
    CHECK(shmq_commit(end->q, length) == 0);
    return 0;
}

static int post(struct end *end, uint64_t number, int timeout) {
    const uint32_t send = end->round->s.send;
    const size_t length = letter_length(end->round, end->me, number);
    if (send == ZERO_COPY || (send == BOTH && chance(end, 2) == 0))
        return reserve_and_commit(end, number, length, timeout);
    letter_write(end->round, end->me, number, end->buffer);
    return shmq_send(end->q, length == 0 ? NULL : end->buffer, length, timeout);
}

static void drain(struct end *end) {
    int timeout;
    do
        timeout = draw_timeout(end);
    while (shmq_drain(end->q, timeout) != 0 && endure(end, timeout));
}

static void produce(struct end *end) {
    uint64_t number = get(&end->own->sent); /* goes on after one that was killed */
    enter(end);
    while (get(&end->round->over) == 0) {
        const int timeout = draw_timeout(end);
        if (number == MOST) {
            nap(1000);
            continue;
        }
        be_busy(end, true);
        const int result = post(end, number, timeout);
        if (result == 0) put(&end->own->sent, ++number);
        if (result == -1) (void)endure(end, timeout);
        be_busy(end, false);
        if (result != 0) continue;
        add(&end->own->turns, 1);
        rest(end);
        make_detour(end);
    }
    if (end->round->s.drain != 0) drain(end);
    go(end);
}

/* ---- Consumers ----------------------------------------------------------------------------- */

static void take(struct end *end, const void *bytes, size_t length) {
    unsigned producer;
    uint64_t number;
    add(&end->own->turns, 1);
    if (length == 0) {
        account_take_empty(end->round);
    } else {
        letter_check(end->round, bytes, length, &producer, &number);
        if (!account_take(end->round, producer, number, end->last)) return;
    }
    put(&end->own->taken, get(&end->own->taken) + 1);
    put(&end->own->bytes, get(&end->own->bytes) + length);
}

static bool peek_and_release(struct end *end, int timeout) {
    size_t length;
    const void *bytes = shmq_peek(end->q, &length, timeout);
    if (bytes == NULL) return false;
    take(end, bytes, length);
    rest(end);
    if (length > 0 && now_and_then(end, 16)) { /* it stays as it was while we hold it */
        unsigned producer;
        uint64_t number;
        letter_check(end->round, bytes, length, &producer, &number);
    }
    CHECK(shmq_release(end->q) == 0);
    return true;
}

static bool receive(struct end *end, int timeout) {
    const size_t size = now_and_then(end, 64) ? chance(end, end->round->s.max) : end->round->s.max;
    const ssize_t length = shmq_recv(end->q, end->buffer, size, timeout);
    if (length < 0 && errno == EMSGSIZE && size < end->round->s.max) return true; /* it stays, for whoever is next */
    if (length < 0) return false;
    take(end, end->buffer, (size_t)length);
    return true;
}

static bool take_one(struct end *end, int timeout) {
    const uint32_t how = end->round->s.take;
    if (how == ZERO_COPY || (how == BOTH && chance(end, 2) == 0)) return peek_and_release(end, timeout);
    return receive(end, timeout);
}

/* Told that there is no more to come: both counters of the queue are what the producers count. */
static void check_counters(const struct end *end) {
    struct shmq_stat stat;
    CHECK(shmq_stat(end->q, &stat) == 0);
    const uint64_t sent = account_sent(end->round);
    CHECK_EQUAL(stat.sent, sent);
    CHECK_EQUAL(stat.received, sent);
    CHECK_EQUAL(stat.used, 0);
}

static void consume(struct end *end) {
    int timeout;
    memset(end->last, -1, sizeof end->last);
    enter(end);
    end->deaf = get(&end->round->over) != 0;
    for (;;) {
        timeout = draw_timeout(end);
        be_busy(end, true);
        const bool took = take_one(end, timeout);
        if (!took && !endure(end, timeout)) break;
        be_busy(end, false);
        if (!took) continue;
        rest(end);
        make_detour(end);
    }
    if (!is_restless(end->round)) check_counters(end);
    go(end);
}

/* ---- As processes and as threads ----------------------------------------------------------- */

void end_run(struct round *round, unsigned me) {
    const uint64_t life = (uint64_t)getpid() << 8 | me; /* those that replace each other differ */
    struct end end = {.round = round, .own = &round->own[me], .me = me, .buffer = malloc(round->s.max)};
    end.random = mix(round->seed + round->number) ^ mix(life);
    CHECK(end.buffer != NULL);
    (me < PRODUCERS ? produce : consume)(&end);
    free(end.buffer);
    put(&end.own->leaving, 1);
}

struct seat {
    struct round *round;
    unsigned me;
    pthread_t thread;
};

static void *sit(void *argument) {
    const struct seat *seat = argument;
    end_run(seat->round, seat->me);
    return NULL;
}

void ends_run_threads(struct round *round) {
    struct seat seats[ENDS];
    struct memory memory = memory_new(round->s.notifier, round->s.capacity, end_attr(round).flags, mix(round->seed));
    round->memory = &memory;
    for (unsigned me = 0; me < ENDS; me++) {
        seats[me] = (struct seat){round, me, 0};
        if (me < PRODUCERS ? me >= round->s.producers : me - PRODUCERS >= round->s.consumers) continue;
        CHECK(pthread_create(&seats[me].thread, NULL, sit, &seats[me]) == 0);
    }
    for (unsigned me = 0; me < round->s.producers; me++)
        CHECK(pthread_join(seats[me].thread, NULL) == 0);
    put(&round->silence, 1);
    for (unsigned me = PRODUCERS; me < PRODUCERS + round->s.consumers; me++)
        CHECK(pthread_join(seats[me].thread, NULL) == 0);
    memory_free(&memory);
}
