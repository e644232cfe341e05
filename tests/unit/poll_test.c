/* shmq_fd and shmq_arm: a queue in an event loop. Only fifo has a descriptor; each promise is kept
 * in poll, in select, and in epoll, level and edge triggered. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

enum {
    NOTICE_MS = 2000, /* far less is needed; a lost wake-up never comes */
    QUIET_MS = 30,
    SMALL = 8
};

static int rounds(void) { return check_scaled(100000); }

static shmq *enter_fifo(const char *name, enum shmq_end end) {
    return enter_as(name, end, &(struct shmq_attr){.capacity = CAPACITY, .notify = SHMQ_NOTIFY_FIFO});
}

static void put(shmq *producer, size_t length) {
    static const char message[LONGEST];
    CHECK(shmq_send(producer, message, length, 0) == 0);
}

static void take(shmq *consumer) {
    char message[LONGEST];
    CHECK(shmq_recv(consumer, message, sizeof message, 0) >= 0);
}

/* ---- Event loops --------------------------------------------------------------------------- */

enum way { POLL, SELECT, EPOLL_LEVEL, EPOLL_EDGE, WAYS };
static const char *const WAY[] = {"poll", "select", "epoll, level", "epoll, edge"};

struct loop {
    enum way way;
    int fd, epoll;
};

static struct loop new_loop(enum way way, shmq *q) {
    struct loop loop = {way, shmq_fd(q), -1};
    CHECK(loop.fd >= 0);
    if (way < EPOLL_LEVEL) return loop;
    struct epoll_event event = {.events = EPOLLIN | (way == EPOLL_EDGE ? EPOLLET : 0)};
    loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(loop.epoll >= 0);
    CHECK(epoll_ctl(loop.epoll, EPOLL_CTL_ADD, loop.fd, &event) == 0);
    return loop;
}

static void end_loop(const struct loop *loop) {
    if (loop->epoll >= 0) CHECK(close(loop->epoll) == 0);
}

/* Does the loop wake up within that time? */
static bool wakes(const struct loop *loop, int timeout_ms) {
    struct pollfd polled = {.fd = loop->fd, .events = POLLIN};
    struct timeval time = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    struct epoll_event event;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(loop->fd, &set);
    const int ready = loop->way == POLL     ? poll(&polled, 1, timeout_ms)
                      : loop->way == SELECT ? select(loop->fd + 1, &set, NULL, NULL, &time)
                                            : epoll_wait(loop->epoll, &event, 1, timeout_ms);
    CHECK(ready >= 0);
    return ready > 0;
}

/* Both ends of a queue, and a loop around one of them. */
struct scene {
    const char *name;
    shmq *producer, *consumer;
    struct loop loop;
};
typedef void scene_body(struct scene *scene);

static void in_every_loop(enum shmq_end end, scene_body *body) {
    for (int everywhere = 0; everywhere <= 1; everywhere++)
        for (int way = POLL; way < WAYS; way++) {
            struct scene scene = {.name = everywhere ? "./q" : check_name("q")};
            check_note("%s, %s", WAY[way], scene.name);
            scene.producer = enter_fifo(scene.name, SHMQ_PRODUCER);
            scene.consumer = enter_fifo(scene.name, SHMQ_CONSUMER);
            scene.loop = new_loop((enum way)way, end == SHMQ_PRODUCER ? scene.producer : scene.consumer);
            body(&scene);
            end_loop(&scene.loop);
            if (scene.producer != NULL) leave(scene.producer);
            if (scene.consumer != NULL) leave(scene.consumer);
            CHECK(shmq_unlink(scene.name) == 0);
        }
}

#define TEST_LOOPS(sentence, end)                                                                                      \
    static void sentence##_in(struct scene *s);                                                                        \
    TEST(sentence) { in_every_loop(end, sentence##_in); }                                                              \
    static void sentence##_in(struct scene *s)

/* ---- A consumer ---------------------------------------------------------------------------- */

/* Nothing is there, and the loop sleeps. */
static void arm_in_vain(struct scene *s, shmq *q) {
    CHECK_EQUAL(shmq_arm(q), 0);
    CHECK(!wakes(&s->loop, QUIET_MS));
}

TEST_LOOPS(an_armed_consumer_is_woken_by_every_message, SHMQ_CONSUMER) {
    for (int round = 0; round < 3; round++) {
        arm_in_vain(s, s->consumer);
        put(s->producer, SMALL);
        CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
        CHECK_EQUAL(shmq_arm(s->consumer), 1);
        take(s->consumer);
    }
}

TEST_LOOPS(arm_says_one_while_something_is_there, SHMQ_CONSUMER) {
    put(s->producer, SMALL);
    put(s->producer, 0);
    for (int round = 0; round < 3; round++)
        CHECK_EQUAL(shmq_arm(s->consumer), 1);
    CHECK(shmq_peek(s->consumer, NULL, 0) != NULL);
    CHECK_EQUAL(shmq_arm(s->consumer), 1);
    take(s->consumer);
    CHECK_EQUAL(shmq_arm(s->consumer), 1);
    take(s->consumer);
    arm_in_vain(s, s->consumer);
}

TEST_LOOPS(arming_twice_is_arming, SHMQ_CONSUMER) {
    arm_in_vain(s, s->consumer);
    arm_in_vain(s, s->consumer);
    put(s->producer, SMALL);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    take(s->consumer);
    put(s->producer, SMALL); /* not armed since: whatever is told now */
    take(s->consumer);
    arm_in_vain(s, s->consumer);
    put(s->producer, SMALL);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
}

TEST_LOOPS(a_wait_after_arming_is_a_wait, SHMQ_CONSUMER) {
    char message[SMALL];
    arm_in_vain(s, s->consumer);
    CHECK_FAILS(shmq_recv(s->consumer, message, sizeof message, 0), EAGAIN);
    CHECK_FAILS(shmq_recv(s->consumer, message, sizeof message, 10), ETIMEDOUT);
    arm_in_vain(s, s->consumer);
    put(s->producer, SMALL);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    CHECK(shmq_recv(s->consumer, message, sizeof message, -1) == SMALL);
}

TEST_LOOPS(an_armed_consumer_is_woken_when_its_producer_closes, SHMQ_CONSUMER) {
    arm_in_vain(s, s->consumer);
    leave(s->producer);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    CHECK_EQUAL(shmq_arm(s->consumer), 1);
    CHECK_FAILS(shmq_recv(s->consumer, NULL, 0, 0), EPIPE);
    CHECK_EQUAL(shmq_arm(s->consumer), 1); /* still gone */
    s->producer = enter_fifo(s->name, SHMQ_PRODUCER);
    arm_in_vain(s, s->consumer); /* and here is the next */
    put(s->producer, SMALL);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    take(s->consumer);
}

TEST_LOOPS(a_consumer_that_is_alone_is_woken_by_whoever_comes, SHMQ_CONSUMER) {
    leave(s->producer);
    s->producer = NULL;
    end_loop(&s->loop);
    CHECK_FAILS(shmq_recv(s->consumer, NULL, 0, 0), EPIPE);
    leave(s->consumer);
    s->consumer = enter_fifo(s->name, SHMQ_CONSUMER); /* to this one, nobody has been there */
    s->loop = new_loop(s->loop.way, s->consumer);
    arm_in_vain(s, s->consumer);
    s->producer = enter_fifo(s->name, SHMQ_PRODUCER);
    CHECK_EQUAL(shmq_arm(s->consumer), 0);
    put(s->producer, SMALL);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    take(s->consumer);
}

/* ---- A producer ---------------------------------------------------------------------------- */

TEST_LOOPS(an_armed_producer_is_woken_by_room_for_the_longest_message, SHMQ_PRODUCER) {
    CHECK_EQUAL(shmq_arm(s->producer), 1);
    for (int round = 0; round < 3; round++) {
        CHECK_EQUAL(fill(s->producer, LONGEST), EAGAIN);
        CHECK_EQUAL(fill(s->producer, 0), EAGAIN);
        arm_in_vain(s, s->producer);
        take(s->consumer);
        CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
        CHECK_EQUAL(shmq_arm(s->producer), 1);
        put(s->producer, LONGEST);
        CHECK_EQUAL(shmq_arm(s->producer), 0);
        while (shmq_peek(s->consumer, NULL, 0) != NULL)
            CHECK(shmq_release(s->consumer) == 0);
    }
}

TEST_LOOPS(an_armed_producer_is_not_woken_by_less_room, SHMQ_PRODUCER) {
    CHECK_EQUAL(fill(s->producer, SMALL), EAGAIN);
    arm_in_vain(s, s->producer);
    for (size_t bytes = 16; bytes < LONGEST + 8; bytes += 16) {
        CHECK(!wakes(&s->loop, 0));
        CHECK(bytes % 64 != 0 || shmq_arm(s->producer) == 0);
        take(s->consumer);
    }
    CHECK(!wakes(&s->loop, QUIET_MS));
    take(s->consumer);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    CHECK_EQUAL(shmq_arm(s->producer), 1);
    put(s->producer, LONGEST);
}

TEST_LOOPS(an_armed_producer_is_woken_when_its_consumer_closes, SHMQ_PRODUCER) {
    CHECK_EQUAL(fill(s->producer, LONGEST), EAGAIN);
    arm_in_vain(s, s->producer);
    leave(s->consumer);
    s->consumer = NULL;
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    CHECK_EQUAL(shmq_arm(s->producer), 1);
    CHECK_FAILS(shmq_send(s->producer, "", LONGEST, 0), EPIPE);
}

TEST_LOOPS(a_producer_that_holds_room_has_it, SHMQ_PRODUCER) {
    CHECK_EQUAL(fill(s->producer, LONGEST), EAGAIN);
    CHECK(shmq_reserve(s->producer, SMALL, 0) != NULL);
    CHECK_EQUAL(shmq_arm(s->producer), 1); /* though for the longest message there is none */
    CHECK(shmq_release(s->producer) == 0);
    CHECK_EQUAL(shmq_arm(s->producer), 0);
}

/* ---- Deaths -------------------------------------------------------------------------------- */

struct victim {
    const char *name;
    enum shmq_end end;
    check_gate ready;
};

static void live_until_killed(void *argument) {
    struct victim *victim = argument;
    (void)enter_fifo(victim->name, victim->end);
    check_pass(&victim->ready);
    for (;;)
        pause();
}

static void outlive(struct scene *s, enum shmq_end end, shmq **peer, shmq *q) {
    struct victim *victim = check_shared(sizeof *victim);
    leave(*peer);
    *peer = NULL;
    *victim = (struct victim){.name = s->name, .end = end};
    pid_t child = check_spawn(live_until_killed, victim);
    check_wait(&victim->ready, 1);
    arm_in_vain(s, q);
    check_kill(child);
    CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
    CHECK_EQUAL(shmq_arm(q), 1);
}

TEST_LOOPS(an_armed_consumer_is_woken_when_its_producer_dies, SHMQ_CONSUMER) {
    outlive(s, SHMQ_PRODUCER, &s->producer, s->consumer);
    CHECK_FAILS(shmq_recv(s->consumer, NULL, 0, 0), EOWNERDEAD);
}

TEST_LOOPS(an_armed_producer_is_woken_when_its_consumer_dies, SHMQ_PRODUCER) {
    CHECK_EQUAL(fill(s->producer, LONGEST), EAGAIN);
    outlive(s, SHMQ_CONSUMER, &s->consumer, s->producer);
    CHECK_FAILS(shmq_send(s->producer, "", LONGEST, 0), EOWNERDEAD);
}

/* ---- No wake-up is lost -------------------------------------------------------------------- */

struct duel {
    const char *name;
    enum way way;
    enum shmq_end armed;
    _Atomic int done; /* rounds that the armed end has finished */
};

/* One step of the end that has no loop, each time at another moment of the other's arming. */
static void hurry(void *argument) {
    struct duel *duel = argument;
    const enum shmq_end end = duel->armed == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
    shmq *q = enter_fifo(duel->name, end);
    for (int round = 0; round < rounds(); round++) {
        while (atomic_load(&duel->done) != round)
            shared_pause();
        for (uint64_t pause = check_below(400); pause > 0; pause--)
            shared_pause();
        if (end == SHMQ_PRODUCER)
            put(q, SMALL);
        else
            take(q);
    }
    while (atomic_load(&duel->done) != rounds())
        shared_pause();
    leave(q);
}

static bool try_step(shmq *q, enum shmq_end end) {
    static char message[LONGEST];
    if (end == SHMQ_CONSUMER) return shmq_recv(q, message, sizeof message, 0) >= 0;
    return shmq_send(q, message, LONGEST, 0) == 0;
}

static void fight(enum way way, enum shmq_end end) {
    struct duel *duel = check_shared(sizeof *duel);
    *duel = (struct duel){.name = check_name("q"), .way = way, .armed = end};
    check_note("%s, end %d", WAY[way], end);
    shmq *q = enter_fifo(duel->name, end);
    struct loop loop = new_loop(way, q);
    if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(q, LONGEST), EAGAIN);
    int slept = 0, armed;
    pid_t child = check_spawn(hurry, duel);
    for (int round = 0; round < rounds(); atomic_store(&duel->done, ++round))
        while (!try_step(q, end)) {
            CHECK_EQUAL(errno, EAGAIN);
            CHECK((armed = shmq_arm(q)) >= 0);
            if (armed == 0) CHECK(wakes(&loop, check_late(NOTICE_MS)));
            slept += armed == 0;
        }
    printf("        %s: armed %d times and slept in %d rounds\n", WAY[way], slept, rounds());
    CHECK(slept > rounds() / 10);
    end_loop(&loop);
    check_join(child);
    leave(q);
    CHECK(shmq_unlink(duel->name) == 0);
}

TEST(no_wake_up_of_an_armed_consumer_is_lost) {
    for (int way = POLL; way < WAYS; way++)
        fight((enum way)way, SHMQ_CONSUMER);
}

TEST(no_wake_up_of_an_armed_producer_is_lost) {
    for (int way = POLL; way < WAYS; way++)
        fight((enum way)way, SHMQ_PRODUCER);
}

/* ---- Refusals ------------------------------------------------------------------------------ */

TEST_NOTIFIERS_EVERYWHERE(only_fifo_has_a_descriptor) {
    const bool pollable = notifier_now->kind == SHMQ_NOTIFY_FIFO;
    shmq *q[] = {enter(name, SHMQ_PRODUCER, 0), enter(name, SHMQ_CONSUMER, 0)};
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        if (pollable) {
            CHECK(shmq_fd(q[end]) >= 0);
            CHECK_EQUAL(fcntl(shmq_fd(q[end]), F_GETFD), FD_CLOEXEC);
            CHECK_EQUAL(shmq_arm(q[end]), end == SHMQ_PRODUCER);
        } else {
            CHECK_FAILS(shmq_fd(q[end]), ENOTSUP);
            CHECK_FAILS(shmq_arm(q[end]), ENOTSUP);
        }
    }
    put(q[0], SMALL);
    take(q[1]);
    leave(q[0]);
    leave(q[1]);
    CHECK(shmq_unlink(name) == 0);
}

TEST_LOOPS(arming_on_a_damaged_region_is_ebadmsg_for_good, SHMQ_CONSUMER) {
    const uint64_t tail = 1 << 20;
    int fd = open(check_path(s->name), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(pwrite(fd, &tail, sizeof tail, PAGE_PRODUCER * (off_t)getpagesize()) == sizeof tail);
    CHECK(close(fd) == 0);
    CHECK_FAILS(shmq_arm(s->consumer), EBADMSG);
    CHECK_FAILS(shmq_arm(s->consumer), EBADMSG);
    CHECK_FAILS(shmq_fd(s->consumer), EBADMSG);
}

/* Whoever may open the FIFO may write to it: that costs looks and no more. */
TEST_LOOPS(bytes_that_others_write_into_the_fifo_are_thrown_away, SHMQ_CONSUMER) {
    enum { LOOKS = 64 }; /* far more than its 64 KiB take */
    char path[64];
    static const char garbage[4096] = "garbage";
    snprintf(path, sizeof path, "/proc/self/fd/%d", s->loop.fd);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK(fd >= 0);
    for (int round = 0; round < 3; round++) {
        CHECK_EQUAL(shmq_arm(s->consumer), 0);
        while (write(fd, garbage, sizeof garbage) > 0)
            continue;
        int looks = 0;
        CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
        put(s->producer, SMALL); /* it may be asleep; but its FIFO is full */
        take(s->consumer);
        do
            CHECK(shmq_arm(s->consumer) == 0 && looks++ < LOOKS);
        while (wakes(&s->loop, QUIET_MS));
        put(s->producer, SMALL);
        CHECK(wakes(&s->loop, check_late(NOTICE_MS)));
        take(s->consumer);
    }
    CHECK(close(fd) == 0);
}

/* Whoever opens it for writing and goes again leaves it readable, for as long as nobody else can
 * write (POLLHUP). */
TEST_LOOPS(a_writer_that_came_and_went_wakes_nobody_for_good, SHMQ_CONSUMER) {
    char path[64];
    end_loop(&s->loop);
    leave(s->producer);
    s->producer = NULL;
    CHECK_FAILS(shmq_recv(s->consumer, NULL, 0, 0), EPIPE);
    leave(s->consumer);
    s->consumer = enter_fifo(s->name, SHMQ_CONSUMER);
    s->loop = new_loop(s->loop.way, s->consumer);
    snprintf(path, sizeof path, "/proc/self/fd/%d", s->loop.fd);
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK(fd >= 0 && close(fd) == 0);
    CHECK_EQUAL(shmq_arm(s->consumer), 0);
    (void)wakes(&s->loop, 0); /* once may be */
    arm_in_vain(s, s->consumer);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
