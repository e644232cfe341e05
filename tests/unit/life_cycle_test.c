/* The life of a queue: who may come, in which order, what each end is told of the other, and what
 * remains.
 *
 * Most tests are run twice, with a shared-memory object and with a regular file. The other end is a
 * `player`, a process of its own that leaves properly or by SIGKILL, as the test wants. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "layout.h"
#include "notifiers.h"
#include "shmq.h"

/* Of a race; with the default notifier, which costs least, ten times as many. Who unlinks while others open misses them
 * in two of three rounds at worst: it needs ten to meet them at all. */
static int rounds(void) {
    enum { LEAST = 10 };
    const int wanted = check_scaled(notifier_now->kind == SHMQ_NOTIFY_SEM ? 1000 : 100);
    return wanted < LEAST ? LEAST : wanted;
}

/* ---- What is seen from outside ------------------------------------------------------------- */

static struct stat status_of(const shmq *q) {
    struct stat status;
    CHECK(fstat(q->region.object, &status) == 0);
    return status;
}

static bool has_name(const shmq *q) { return status_of(q).st_nlink == 1; }

/* ---- The other end, in a process of its own ------------------------------------------------ */

enum deed { STAND_BY, RECEIVE, SEND, DRAIN };
enum exit { CLOSES, DIES };

struct player {
    const char *name;
    enum shmq_end end;
    unsigned flags;
    int messages; /* sends, or takes, so many before it is ready; -1: fills the ring */
    enum deed deed;
    int error; /* how its deed ended */
    check_gate ready, done, go;
    pid_t pid;
};

static int do_deed(shmq *q, enum deed deed) {
    int number = 0;
    switch (deed) {
    case RECEIVE: return shmq_recv(q, &number, sizeof number, -1) >= 0 ? 0 : errno;
    case SEND: return shmq_send(q, &number, sizeof number, -1) == 0 ? 0 : errno;
    case DRAIN: return shmq_drain(q, -1) == 0 ? 0 : errno;
    default: return 0;
    }
}

static void play(void *argument) {
    struct player *player = argument;
    shmq *q = enter(player->name, player->end, player->flags);
    for (int number = 0; number < player->messages; number++)
        if (player->end == SHMQ_PRODUCER)
            put_number(q, number);
        else
            take_number(q, number);
    if (player->messages < 0) CHECK_EQUAL(fill(q, 4), EAGAIN);
    check_pass(&player->ready);
    player->error = do_deed(q, player->deed);
    check_pass(&player->done);
    check_wait(&player->go, 1);
    leave(q);
}

/* A player that is there and, if it has a deed that waits, asleep in it. */
static struct player *call(struct player wanted) {
    struct player *player = check_shared(sizeof *player);
    *player = wanted;
    player->pid = check_spawn(play, player);
    check_wait(&player->ready, 1);
    if (player->deed != STAND_BY) await_asleep(player->name, player->end);
    return player;
}

static int error_of(struct player *player) {
    check_wait(&player->done, 1);
    return player->error;
}

static void dismiss(struct player *player, enum exit how) {
    if (how == CLOSES) {
        check_pass(&player->go);
        check_join(player->pid);
    } else {
        check_kill(player->pid);
    }
    CHECK(munmap(player, sizeof *player) == 0);
}

/* ---- Coming, in every order ---------------------------------------------------------------- */

TEST_NOTIFIERS_EVERYWHERE(a_consumer_may_come_first_and_waits) {
    struct player *consumer = call((struct player){name, SHMQ_CONSUMER, SHMQ_EPHEMERAL, .deed = RECEIVE});
    shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL);
    put_number(producer, 1);
    CHECK_EQUAL(error_of(consumer), 0);
    dismiss(consumer, CLOSES);
    CHECK(exists(name));
    leave(producer);
    CHECK(!exists(name));
}

TEST_NOTIFIERS_EVERYWHERE(a_producer_may_come_first_and_even_be_gone) {
    dismiss(call((struct player){name, SHMQ_PRODUCER, SHMQ_EPHEMERAL, .messages = 3}), CLOSES);
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    for (int number = 0; number < 3; number++)
        take_number(consumer, number);
    CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
    leave(consumer);
    CHECK(!exists(name));
}

TEST_EVERYWHERE(who_attaches_gets_what_the_creator_chose) {
    const struct shmq_attr chosen = {.capacity = 8192, .max_message = 100, .flags = SHMQ_EPHEMERAL};
    const struct shmq_attr other = {.capacity = 1 << 16, .max_message = 5000};
    shmq *producer, *consumer;
    struct shmq_stat stat;
    CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, &chosen) == 0);
    CHECK_FAILS(shmq_open(&consumer, name, SHMQ_CONSUMER, O_CREAT | O_EXCL, &other), EEXIST);
    CHECK(shmq_open(&consumer, name, SHMQ_CONSUMER, O_CREAT, &other) == 0);
    CHECK(shmq_stat(consumer, &stat) == 0);
    CHECK_EQUAL(stat.capacity, 8192);
    CHECK_EQUAL(stat.max_message, 100);
    CHECK_EQUAL(stat.flags, SHMQ_EPHEMERAL);
    CHECK_EQUAL(stat.producers + stat.consumers, 2);
    leave(consumer);
    leave(producer);
}

struct crowd {
    const char *name;
    check_gate gate;
    int rounds;
    int errors[4]; /* of a round's opens; 0 won */
};

static struct crowd *new_crowd(const char *name, int rounds) {
    struct crowd *crowd = check_shared(sizeof *crowd);
    crowd->name = name;
    crowd->rounds = rounds;
    return crowd;
}

/* Different distances between the players' steps from round to round. */
static void dawdle(void) {
    for (volatile uint64_t turn = check_below(4) == 0 ? check_below((uint64_t)check_scaled(20000)) : 0; turn > 0;)
        turn = turn - 1;
}

static void meet_and_talk(struct crowd *crowd, enum shmq_end end) {
    for (int round = 0; round < crowd->rounds; round++) {
        check_meet(&crowd->gate, 2);
        dawdle();
        shmq *q = enter(crowd->name, end, SHMQ_EPHEMERAL);
        if (end == SHMQ_PRODUCER) {
            put_number(q, round);
        } else {
            take_number(q, round);
            if (round % 2 == 0) CHECK_EQUAL(recv_error(q, -1), EPIPE);
        }
        leave(q);
        check_meet(&crowd->gate, 2);
        CHECK(!exists(crowd->name));
    }
}

static void talk_as_producer(void *crowd) { meet_and_talk(crowd, SHMQ_PRODUCER); }

TEST_NOTIFIERS_EVERYWHERE(both_may_come_at_the_same_moment) {
    struct crowd *crowd = new_crowd(name, rounds());
    const int descriptors = check_descriptors(), mappings = check_mappings();
    pid_t child = check_spawn(talk_as_producer, crowd);
    meet_and_talk(crowd, SHMQ_CONSUMER);
    check_join(child);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

static void push_in(struct crowd *crowd, int who) {
    const enum shmq_end end = who % 2 == 0 ? SHMQ_PRODUCER : SHMQ_CONSUMER;
    const struct shmq_attr attr = {.capacity = 4096, .notify = notifier_now->kind, .flags = SHMQ_EPHEMERAL};
    for (int round = 0; round < crowd->rounds; round++) {
        shmq *q = NULL;
        check_meet(&crowd->gate, 4);
        const bool won = shmq_open(&q, crowd->name, end, O_CREAT, &attr) == 0;
        crowd->errors[who] = won ? 0 : errno;
        check_meet(&crowd->gate, 4);
        const int *errors = crowd->errors; /* 0 and EBUSY, in either order */
        CHECK_EQUAL(errors[who % 2] + errors[who % 2 + 2], EBUSY);
        CHECK(errors[who % 2] == 0 || errors[who % 2 + 2] == 0);
        if (won && end == SHMQ_PRODUCER) put_number(q, round);
        if (won && end == SHMQ_CONSUMER) take_number(q, round);
        if (won) leave(q);
        check_meet(&crowd->gate, 4);
        CHECK(!exists(crowd->name));
    }
}

static void push_in_0(void *crowd) { push_in(crowd, 0); }
static void push_in_1(void *crowd) { push_in(crowd, 1); }
static void push_in_2(void *crowd) { push_in(crowd, 2); }

TEST_NOTIFIERS_EVERYWHERE(of_four_that_come_at_once_one_of_each_wins) {
    struct crowd *crowd = new_crowd(name, rounds() / 4);
    const pid_t children[] = {check_spawn(push_in_0, crowd), check_spawn(push_in_1, crowd),
                              check_spawn(push_in_2, crowd)};
    push_in(crowd, 3);
    for (int child = 0; child < 3; child++)
        check_join(children[child]);
}

TEST_NOTIFIERS_EVERYWHERE(a_second_end_of_a_kind_is_busy_until_the_first_has_gone) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int how = CLOSES; how <= DIES; how++) {
            struct player *first = call((struct player){name, (enum shmq_end)end, .messages = 0});
            shmq *second;
            for (int try = 0; try < 3; try++)
                CHECK_FAILS(shmq_open(&second, name, (enum shmq_end)end, 0, NULL), EBUSY);
            CHECK(second == NULL);
            dismiss(first, (enum exit)how);
            second = enter(name, (enum shmq_end)end, 0);
            leave(second);
        }
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(a_second_end_of_a_kind_is_busy_within_one_process_too) {
    shmq *first = enter(name, SHMQ_PRODUCER, 0), *second;
    CHECK_FAILS(shmq_open(&second, name, SHMQ_PRODUCER, O_CREAT, NULL), EBUSY);
    put_number(first, 1);
    leave(first);
    second = enter(name, SHMQ_PRODUCER, 0);
    put_number(second, 2);
    leave(second);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- Session after session ----------------------------------------------------------------- */

TEST_NOTIFIERS_EVERYWHERE(a_kept_queue_serves_session_after_session) {
    for (int session = 0; session < check_scaled(20); session++) {
        dismiss(call((struct player){name, SHMQ_PRODUCER, .messages = 2}), CLOSES);
        shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
        take_number(consumer, 0);
        take_number(consumer, 1);
        CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
        leave(consumer);
        /* This one comes early for the next session: the old end is no news to it. */
        consumer = enter(name, SHMQ_CONSUMER, 0);
        CHECK_EQUAL(recv_error(consumer, 0), EAGAIN);
        CHECK_EQUAL(recv_error(consumer, 1), ETIMEDOUT);
        leave(consumer);
    }
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(an_end_that_nobody_was_told_of_is_told_to_the_next_consumer) {
    for (int how = CLOSES; how <= DIES; how++) {
        dismiss(call((struct player){name, SHMQ_PRODUCER, .messages = 1}), (enum exit)how);
        shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
        take_number(consumer, 0);
        leave(consumer); /* without a look at what comes after the message */
        consumer = enter(name, SHMQ_CONSUMER, 0);
        CHECK_EQUAL(recv_error(consumer, 0), how == CLOSES ? EPIPE : EOWNERDEAD);
        leave(consumer);
        consumer = enter(name, SHMQ_CONSUMER, 0);
        CHECK_EQUAL(recv_error(consumer, 0), EAGAIN);
        leave(consumer);
    }
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(what_was_not_taken_stays_for_the_next_consumer) {
    for (int how = CLOSES; how <= DIES; how++)
        for (unsigned flags = 0; flags <= SHMQ_EPHEMERAL; flags += SHMQ_EPHEMERAL) {
            struct player *producer = call((struct player){name, SHMQ_PRODUCER, flags, .messages = 3});
            struct player *reader = call((struct player){name, SHMQ_CONSUMER, .messages = 1});
            dismiss(producer, (enum exit)how);
            dismiss(reader, (enum exit)how);
            shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
            take_number(consumer, 1);
            take_number(consumer, 2);
            CHECK_EQUAL(recv_error(consumer, -1), how == CLOSES ? EPIPE : EOWNERDEAD);
            leave(consumer);
            CHECK_EQUAL(exists(name), flags == 0);
            if (flags == 0) CHECK(shmq_unlink(name) == 0);
        }
}

/* ---- Closed or dead ------------------------------------------------------------------------ */

static void tell_consumer(const char *name, enum exit how, bool came_before, int messages) {
    const int wanted = how == CLOSES ? EPIPE : EOWNERDEAD;
    shmq *consumer = came_before ? enter(name, SHMQ_CONSUMER, 0) : NULL;
    dismiss(call((struct player){name, SHMQ_PRODUCER, .messages = messages}), how);
    if (!came_before) consumer = enter(name, SHMQ_CONSUMER, 0);
    for (int number = 0; number < messages; number++)
        take_number(consumer, number);
    for (int repeat = -1; repeat <= 1; repeat++) { /* for ever, not at all, 1 ms */
        CHECK_EQUAL(recv_error(consumer, repeat), wanted);
        CHECK_FAILS(shmq_peek(consumer, NULL, repeat), wanted);
    }
    struct player *next = call((struct player){name, SHMQ_PRODUCER, .messages = 1});
    take_number(consumer, 0);
    CHECK_EQUAL(recv_error(consumer, 0), EAGAIN); /* a new life: the old end is forgotten */
    dismiss(next, how == CLOSES ? DIES : CLOSES);
    CHECK_EQUAL(recv_error(consumer, -1), how == CLOSES ? EOWNERDEAD : EPIPE);
    leave(consumer);
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(a_consumer_can_tell_a_closed_producer_from_a_dead_one) {
    for (int how = CLOSES; how <= DIES; how++)
        for (int before = 0; before <= 1; before++)
            for (int messages = 0; messages <= 2; messages += 2)
                tell_consumer(name, (enum exit)how, before != 0, messages);
}

TEST_NOTIFIERS_EVERYWHERE(a_sleeping_consumer_is_told_that_its_producer_closed_or_died) {
    for (int how = CLOSES; how <= DIES; how++) {
        struct player *producer = call((struct player){name, SHMQ_PRODUCER, .messages = 0});
        struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .deed = RECEIVE});
        dismiss(producer, (enum exit)how);
        const int64_t start = check_now_ms();
        CHECK_EQUAL(error_of(consumer), how == CLOSES ? EPIPE : EOWNERDEAD);
        CHECK(check_now_ms() - start < check_late(2000));
        dismiss(consumer, CLOSES);
    }
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(a_sleeping_producer_is_told_that_its_consumer_closed_or_died) {
    static const struct {
        enum deed deed;
        int messages;
    } waits[] = {{SEND, -1}, {DRAIN, -1}, {DRAIN, 1}};
    for (size_t wait = 0; wait < sizeof waits / sizeof waits[0]; wait++)
        for (int how = CLOSES; how <= DIES; how++) {
            struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .messages = 0});
            struct player *producer =
                call((struct player){name, SHMQ_PRODUCER, .messages = waits[wait].messages, .deed = waits[wait].deed});
            dismiss(consumer, (enum exit)how);
            const int64_t start = check_now_ms();
            CHECK_EQUAL(error_of(producer), how == CLOSES ? EPIPE : EOWNERDEAD);
            CHECK(check_now_ms() - start < check_late(2000));
            dismiss(producer, CLOSES);
            CHECK(shmq_unlink(name) == 0);
        }
}

TEST_NOTIFIERS_EVERYWHERE(a_producer_repeats_that_its_consumer_left_until_another_comes) {
    for (int how = CLOSES; how <= DIES; how++) {
        const int wanted = how == CLOSES ? EPIPE : EOWNERDEAD;
        struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .messages = 0});
        shmq *producer = enter(name, SHMQ_PRODUCER, 0);
        dismiss(consumer, (enum exit)how);
        put_number(producer, 1); /* nothing is said while there is space */
        CHECK_EQUAL(fill(producer, 4), wanted);
        for (int repeat = -1; repeat <= 1; repeat++) {
            CHECK_FAILS(shmq_send(producer, "four", 4, repeat), wanted);
            CHECK_FAILS(shmq_reserve(producer, 4, repeat), wanted);
            CHECK_FAILS(shmq_drain(producer, repeat), wanted);
        }
        consumer = call((struct player){name, SHMQ_CONSUMER, .messages = 0});
        CHECK_FAILS(shmq_send(producer, "four", 4, 0), EAGAIN);
        CHECK_FAILS(shmq_drain(producer, 1), ETIMEDOUT);
        dismiss(consumer, how == CLOSES ? DIES : CLOSES);
        CHECK_FAILS(shmq_drain(producer, -1), how == CLOSES ? EOWNERDEAD : EPIPE);
        leave(producer);
        CHECK(shmq_unlink(name) == 0);
    }
}

TEST_NOTIFIERS_EVERYWHERE(a_consumer_that_left_before_the_producer_came_is_no_news) {
    for (int how = CLOSES; how <= DIES; how++) {
        dismiss(call((struct player){name, SHMQ_CONSUMER, .messages = 0}), (enum exit)how);
        shmq *producer = enter(name, SHMQ_PRODUCER, 0);
        CHECK_EQUAL(fill(producer, 4), EAGAIN);
        CHECK_FAILS(shmq_drain(producer, 1), ETIMEDOUT);
        leave(producer);
        CHECK(shmq_unlink(name) == 0);
    }
}

/* ---- Ephemeral queues ---------------------------------------------------------------------- */

/* A row: who comes, what happens, who goes last, and whether the queue is there afterwards. */
static const struct ending {
    unsigned flags;
    bool consumer_came;
    int sent, taken;
    enum shmq_end last;     /* closes last */
    enum exit first_leaves; /* how the other one leaves before it */
    bool stays;
} endings[] = {
    /* The three conditions hold. */
    {SHMQ_EPHEMERAL, true, 0, 0, SHMQ_PRODUCER, CLOSES, false},
    {SHMQ_EPHEMERAL, true, 0, 0, SHMQ_CONSUMER, CLOSES, false},
    {SHMQ_EPHEMERAL, true, 3, 3, SHMQ_PRODUCER, CLOSES, false},
    {SHMQ_EPHEMERAL, true, 3, 3, SHMQ_CONSUMER, CLOSES, false},
    {SHMQ_EPHEMERAL, true, 3, 3, SHMQ_PRODUCER, DIES, false},
    {SHMQ_EPHEMERAL, true, 3, 3, SHMQ_CONSUMER, DIES, false},
    /* Not drained. */
    {SHMQ_EPHEMERAL, true, 3, 2, SHMQ_PRODUCER, CLOSES, true},
    {SHMQ_EPHEMERAL, true, 3, 2, SHMQ_CONSUMER, CLOSES, true},
    {SHMQ_EPHEMERAL, true, 3, 2, SHMQ_PRODUCER, DIES, true},
    {SHMQ_EPHEMERAL, true, 3, 0, SHMQ_CONSUMER, DIES, true},
    /* No consumer ever came. */
    {SHMQ_EPHEMERAL, false, 0, 0, SHMQ_PRODUCER, CLOSES, true},
    {SHMQ_EPHEMERAL, false, 3, 0, SHMQ_PRODUCER, CLOSES, true},
    /* Not ephemeral. */
    {0, true, 0, 0, SHMQ_PRODUCER, CLOSES, true},
    {0, true, 3, 3, SHMQ_CONSUMER, CLOSES, true},
};

static void end_as(const char *name, const struct ending *ending) {
    const enum shmq_end other = ending->last == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
    const int messages[] = {ending->sent, ending->taken};
    struct player *first = NULL, *last = NULL;
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        if (end == SHMQ_CONSUMER && !ending->consumer_came) continue;
        struct player **player = (enum shmq_end)end == other ? &first : &last;
        *player = call((struct player){name, (enum shmq_end)end, ending->flags, .messages = messages[end]});
    }
    if (first != NULL) dismiss(first, ending->first_leaves);
    CHECK(exists(name)); /* the last one is still there */
    dismiss(last, CLOSES);
    CHECK_EQUAL(exists(name), ending->stays);
    if (ending->stays) CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(an_ephemeral_queue_goes_with_its_last_end_if_drained_and_a_consumer_came) {
    for (size_t row = 0; row < sizeof endings / sizeof endings[0]; row++)
        end_as(name, &endings[row]);
}

TEST_NOTIFIERS_EVERYWHERE(a_consumer_alone_takes_an_ephemeral_queue_with_it) {
    leave(enter(name, SHMQ_CONSUMER, SHMQ_EPHEMERAL));
    CHECK(!exists(name));
}

TEST_NOTIFIERS_EVERYWHERE(a_queue_whose_ends_were_all_killed_is_taken_up_and_cleared_away_by_the_next) {
    struct player *producer = call((struct player){name, SHMQ_PRODUCER, SHMQ_EPHEMERAL, .messages = 1});
    struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .messages = 1});
    dismiss(producer, DIES);
    dismiss(consumer, DIES);
    CHECK(exists(name));
    shmq *next = enter(name, SHMQ_CONSUMER, 0);
    CHECK_EQUAL(recv_error(next, -1), EOWNERDEAD);
    leave(next);
    CHECK(!exists(name));
}

TEST_EVERYWHERE(an_end_that_found_damage_unlinks_nothing) {
    shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL);
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    leave(producer);
    /* As a hostile peer would: a tail far ahead. */
    const uint64_t tail = 1 << 20;
    int fd = open_object(name);
    CHECK(pwrite(fd, &tail, sizeof tail, PAGE_PRODUCER * (off_t)getpagesize()) == sizeof tail);
    CHECK_EQUAL(recv_error(consumer, 0), EBADMSG);
    leave(consumer);
    const uint64_t life = word_at(fd, PAGE_CONSUMER, offsetof(struct end_page, life));
    CHECK_EQUAL(life % 2, 1); /* as if it had died */
    close(fd);
    CHECK(shmq_unlink(name) == 0);
}

TEST(an_ephemeral_queue_is_unlinked_where_it_is_though_the_process_moved_on) {
    CHECK(mkdir("elsewhere", 0700) == 0);
    shmq *producer = enter("./q", SHMQ_PRODUCER, SHMQ_EPHEMERAL);
    shmq *consumer = enter("./q", SHMQ_CONSUMER, 0);
    put_number(producer, 1);
    CHECK(chdir("elsewhere") == 0);
    shmq *stranger = enter("./q", SHMQ_PRODUCER, 0); /* another queue of the same relative name */
    take_number(consumer, 1);
    leave(consumer);
    leave(producer);
    CHECK(!exists("../q") && exists("./q"));
    leave(stranger);
    CHECK(shmq_unlink("./q") == 0);
    CHECK(chdir("..") == 0 && rmdir("elsewhere") == 0);
}

/* Both ends close at the same moment; in every third round a message is left. */
static void close_together(struct crowd *crowd, enum shmq_end end) {
    for (int round = 0; round < crowd->rounds; round++) {
        const bool leave_one = round % 3 == 0;
        shmq *q = enter(crowd->name, end, SHMQ_EPHEMERAL);
        if (end == SHMQ_PRODUCER && leave_one) put_number(q, round);
        check_meet(&crowd->gate, 2);
        CHECK(has_name(q));
        check_meet(&crowd->gate, 2);
        dawdle();
        leave(q);
        check_meet(&crowd->gate, 2);
        CHECK_EQUAL(exists(crowd->name), leave_one);
        check_meet(&crowd->gate, 2);
        if (leave_one && end == SHMQ_CONSUMER) CHECK(shmq_unlink(crowd->name) == 0);
        check_meet(&crowd->gate, 2);
    }
}

static void close_as_producer(void *crowd) { close_together(crowd, SHMQ_PRODUCER); }

TEST_NOTIFIERS_EVERYWHERE(of_two_that_close_at_once_one_unlinks) {
    struct crowd *crowd = new_crowd(name, rounds());
    pid_t child = check_spawn(close_as_producer, crowd);
    close_together(crowd, SHMQ_CONSUMER);
    check_join(child);
}

/* Both come and go as they like: whoever is in finds its queue under its name. */
static void come_and_go(struct crowd *crowd, enum shmq_end end) {
    check_meet(&crowd->gate, 2);
    for (int round = 0; round < 20 * crowd->rounds; round++) {
        shmq *q = enter(crowd->name, end, SHMQ_EPHEMERAL);
        for (volatile uint64_t turn = round % 4 == 0 ? check_below((uint64_t)check_scaled(100000)) : 0; turn > 0;)
            turn = turn - 1; /* long enough for the other to finish what it began */
        if (!has_name(q)) check_fail(__FILE__, __LINE__, "an end was left in a queue without a name");
        leave(q);
    }
}

static void come_and_go_as_producer(void *crowd) { come_and_go(crowd, SHMQ_PRODUCER); }

TEST_NOTIFIERS_EVERYWHERE(nobody_is_unlinked_by_others_that_close_while_it_opens) {
    struct crowd *crowd = new_crowd(name, rounds());
    pid_t child = check_spawn(come_and_go_as_producer, crowd);
    come_and_go(crowd, SHMQ_CONSUMER);
    check_join(child);
    leave(enter(name, SHMQ_CONSUMER, SHMQ_EPHEMERAL)); /* a producer may have created it last */
    CHECK(!exists(name));
}

/* ---- Deaths while creating ----------------------------------------------------------------- */

static void create_again_and_again(void *name) {
    for (;;) {
        shmq *q;
        const struct shmq_attr attr = {.capacity = 1 << 16, .notify = notifier_now->kind, .flags = SHMQ_EPHEMERAL};
        CHECK(shmq_open(&q, name, SHMQ_CONSUMER, O_CREAT | O_EXCL, &attr) == 0);
        leave(q);
    }
}

TEST_NOTIFIERS_EVERYWHERE(a_creator_killed_at_any_moment_leaves_a_whole_queue_or_none) {
    int found = 0, kill = 0;
    for (; kill < rounds() / 5 || ((found == 0 || found == kill) && kill < 5000); kill++) {
        union {
            const char *name;
            void *argument;
        } queue = {name};
        pid_t child = check_spawn(create_again_and_again, queue.argument);
        const struct timespec moment = {.tv_nsec = (long)check_below(3000000)};
        nanosleep(&moment, NULL);
        check_kill(child);
        found += exists(name);
        shmq *consumer = enter(name, SHMQ_CONSUMER, SHMQ_EPHEMERAL);
        shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL);
        put_number(producer, kill);
        take_number(consumer, kill);
        leave(producer);
        leave(consumer);
        CHECK(!exists(name));
    }
    printf("        %d of %d died while their queue had its name\n", found, kill);
    CHECK(found > 0 && found < kill);
}

/* ---- Unlinking ----------------------------------------------------------------------------- */

TEST_NOTIFIERS_EVERYWHERE(ends_that_are_open_go_on_when_their_queue_is_unlinked) {
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    put_number(producer, 1);
    CHECK(shmq_unlink(name) == 0);
    CHECK(!exists(name));
    CHECK_FAILS(shmq_unlink(name), ENOENT);
    put_number(producer, 2);
    shmq *new_producer = enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL);
    shmq *new_consumer = enter(name, SHMQ_CONSUMER, 0);
    put_number(new_producer, 3);
    take_number(consumer, 1);
    take_number(consumer, 2);
    CHECK_EQUAL(recv_error(consumer, 1), ETIMEDOUT); /* its producer is still there */
    take_number(new_consumer, 3);
    leave(producer);
    CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
    leave(consumer);
    CHECK(exists(name)); /* the old ends' going does not touch the new queue */
    put_number(new_producer, 4);
    take_number(new_consumer, 4);
    leave(new_producer);
    leave(new_consumer);
    CHECK(!exists(name));
}

TEST_NOTIFIERS_EVERYWHERE(a_waiter_alone_in_an_unlinked_queue_is_told_that_nobody_can_come) {
    static const struct {
        enum shmq_end end;
        int messages;
        enum deed deed;
    } waiters[] = {{SHMQ_CONSUMER, 0, RECEIVE}, {SHMQ_PRODUCER, -1, SEND}, {SHMQ_PRODUCER, 1, DRAIN}};
    for (size_t at = 0; at < sizeof waiters / sizeof waiters[0]; at++) {
        struct player *waiter =
            call((struct player){name, waiters[at].end, .messages = waiters[at].messages, .deed = waiters[at].deed});
        CHECK(shmq_unlink(name) == 0);
        const int64_t start = check_now_ms();
        shmq *other = enter(name, SHMQ_PRODUCER, 0); /* a new queue: no help */
        CHECK_EQUAL(error_of(waiter), EPIPE);
        CHECK(check_now_ms() - start < check_late(2000));
        dismiss(waiter, CLOSES);
        leave(other);
        CHECK(shmq_unlink(name) == 0);
    }
}

/* Between taking its role and announcing itself a producer is nobody yet; but it can come. */
TEST_EVERYWHERE(a_waiter_in_an_unlinked_queue_waits_for_whoever_holds_the_other_end) {
    char message[8];
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    int fd = open_object(name);
    struct flock role = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LEASE_ROLES, .l_len = 1};
    CHECK(fcntl(fd, F_OFD_SETLK, &role) == 0);
    CHECK(shmq_unlink(name) == 0);
    CHECK_FAILS(shmq_recv(consumer, message, sizeof message, 0), EAGAIN);
    CHECK_FAILS(shmq_recv(consumer, message, sizeof message, 300), ETIMEDOUT);
    CHECK(close(fd) == 0);
    CHECK_FAILS(shmq_recv(consumer, message, sizeof message, -1), EPIPE);
    leave(consumer);
}

struct race {
    const char *name;
    check_gate gate;
    int unlink_error;
    struct stat object[2];
};

static void race_to_open(struct race *race, enum shmq_end end) {
    for (int round = 0; round < rounds(); round++) {
        check_meet(&race->gate, 3);
        dawdle();
        shmq *q = enter(race->name, end, 0);
        check_meet(&race->gate, 3);
        race->object[end] = status_of(q);
        check_meet(&race->gate, 3);
        const struct stat *ours = &race->object[end], *theirs = &race->object[1 - (int)end];
        const bool together = ours->st_ino == theirs->st_ino;
        /* Whoever lost its name lost it by the one unlink; and the two met, or one has the new. */
        if (together)
            CHECK_EQUAL(ours->st_nlink, race->unlink_error == ENOENT);
        else
            CHECK(race->unlink_error == 0 && ours->st_nlink + theirs->st_nlink == 1);
        if (end == SHMQ_CONSUMER && !together && ours->st_nlink == 0) CHECK_EQUAL(recv_error(q, -1), EPIPE);
        if (end == SHMQ_PRODUCER && together) put_number(q, round);
        if (end == SHMQ_CONSUMER && together) take_number(q, round);
        leave(q);
        check_meet(&race->gate, 3);
    }
}

static void race_as_producer(void *race) { race_to_open(race, SHMQ_PRODUCER); }

static void race_as_consumer(void *race) { race_to_open(race, SHMQ_CONSUMER); }

TEST_NOTIFIERS_EVERYWHERE(who_opens_while_another_unlinks_gets_the_old_queue_or_a_new_one) {
    enum { LEAST = 4000, MOST = 1 << 26 };
    uint64_t dawdling =
        LEAST; /* turns, at most: so that about half of the unlinks find a queue, however long opening takes */
    int unlinked = 0;
    struct race *race = check_shared(sizeof *race);
    race->name = name;
    const pid_t children[] = {check_spawn(race_as_producer, race), check_spawn(race_as_consumer, race)};
    for (int round = 0; round < rounds(); round++) {
        check_meet(&race->gate, 3);
        for (volatile uint64_t turn = check_below(dawdling); turn > 0;)
            turn = turn - 1;
        race->unlink_error = shmq_unlink(name) == 0 ? 0 : errno;
        CHECK(race->unlink_error == 0 || race->unlink_error == ENOENT);
        unlinked += race->unlink_error == 0;
        dawdling = race->unlink_error == 0 ? dawdling / 2 + LEAST : dawdling < MOST ? 2 * dawdling : MOST;
        check_meet(&race->gate, 3);
        check_meet(&race->gate, 3);
        check_meet(&race->gate, 3);
        if (exists(name)) CHECK(shmq_unlink(name) == 0);
    }
    for (int child = 0; child < 2; child++)
        check_join(children[child]);
    printf("        %d of %d unlinks found a queue\n", unlinked, rounds());
    CHECK(unlinked > 0);
}

/* ---- The life-cycle lease in strange hands ------------------------------------------------- */

struct holder {
    const char *name;
    short type;
    check_gate held;
};

static void hold_and_stop(void *argument) {
    struct holder *holder = argument;
    struct flock lock = {.l_type = holder->type, .l_start = LEASE_LIFE_CYCLE, .l_len = 1};
    CHECK(fcntl(open_object(holder->name), F_OFD_SETLK, &lock) == 0);
    check_pass(&holder->held);
    raise(SIGSTOP);
}

/* A process that holds the life-cycle lease and is stopped. */
static pid_t stopped_holder(const char *name, short type) {
    struct holder *holder = check_shared(sizeof *holder);
    holder->name = name;
    holder->type = type;
    pid_t child = check_spawn(hold_and_stop, holder);
    check_wait(&holder->held, 1);
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    return child;
}

static bool about_a_second(int64_t start_ms) {
    const int64_t took_ms = check_now_ms() - start_ms;
    return took_ms >= 900 && took_ms < check_late(10000);
}

TEST_EVERYWHERE(a_stopped_unlinker_stalls_an_open_for_a_second_and_not_for_ever) {
    shmq *producer = enter(name, SHMQ_PRODUCER, 0), *consumer;
    const int descriptors = check_descriptors();
    pid_t holder = stopped_holder(name, F_WRLCK);
    int64_t start = check_now_ms();
    CHECK_FAILS(shmq_open(&consumer, name, SHMQ_CONSUMER, O_CREAT, NULL), EBUSY);
    CHECK(about_a_second(start));
    start = check_now_ms();
    CHECK_FAILS(shmq_unlink(name), EBUSY);
    CHECK(about_a_second(start));
    CHECK_EQUAL(check_descriptors(), descriptors);
    put_number(producer, 1); /* who is in is not concerned */
    check_kill(holder);
    consumer = enter(name, SHMQ_CONSUMER, 0);
    take_number(consumer, 1);
    leave(consumer);
    leave(producer);
    CHECK(shmq_unlink(name) == 0);
}

TEST_EVERYWHERE(a_stopped_opener_stalls_unlinking_for_a_second_and_nobody_else) {
    shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL);
    pid_t holder = stopped_holder(name, F_RDLCK);
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    put_number(producer, 1);
    take_number(consumer, 1);
    int64_t start = check_now_ms();
    CHECK_FAILS(shmq_unlink(name), EBUSY);
    CHECK(about_a_second(start));
    leave(producer);
    const int descriptors = check_descriptors();
    start = check_now_ms();
    CHECK_FAILS(shmq_close(consumer), EBUSY); /* it is closed, but could not clear away */
    CHECK(about_a_second(start));
    CHECK(check_descriptors() < descriptors && exists(name));
    check_kill(holder);
    leave(enter(name, SHMQ_CONSUMER, 0));
    CHECK(!exists(name));
}

/* ---- What a crash leaves in the meeting page ----------------------------------------------- */

static void set_counts(int fd, uint32_t count) {
    const off_t page = PAGE_MEETING * (off_t)getpagesize();
    const off_t items = page + (off_t)offsetof(struct meeting, items);
    const off_t space = page + (off_t)offsetof(struct meeting, space);
    CHECK(pwrite(fd, &count, sizeof count, items) == sizeof count);
    CHECK(pwrite(fd, &count, sizeof count, space) == sizeof count);
}

/* A consumer that sleeps, a message that wakes it, and time-outs that last. */
static void hold_session(const char *name) {
    struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .deed = RECEIVE});
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    put_number(producer, 1);
    CHECK_EQUAL(error_of(consumer), 0);
    dismiss(consumer, CLOSES);
    shmq *next = enter(name, SHMQ_CONSUMER, 0);
    const int64_t start = check_now_ms(), cpu = check_cpu_ms();
    CHECK_EQUAL(recv_error(next, 300), ETIMEDOUT);
    CHECK(check_now_ms() - start >= 300);
    CHECK(check_cpu_ms() - cpu < check_late(100)); /* asleep, not looking round and round */
    leave(producer);
    CHECK_EQUAL(recv_error(next, -1), EPIPE); /* told, so that the next session is a new one */
    leave(next);
}

TEST_EVERYWHERE(a_ring_that_nobody_heard_does_not_disturb_the_next_session) {
    struct player *consumer = call((struct player){name, SHMQ_CONSUMER, .deed = RECEIVE});
    stop_asleep(name, SHMQ_CONSUMER, consumer->pid);
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    put_number(producer, 7);
    CHECK(is_rung(name)); /* and it dies before it can tell */
    dismiss(consumer, DIES);
    CHECK(is_rung(name));
    shmq *next = enter(name, SHMQ_CONSUMER, 0);
    take_number(next, 7);
    leave(producer);
    CHECK_EQUAL(recv_error(next, -1), EPIPE);
    leave(next);
    hold_session(name);
    CHECK(shmq_unlink(name) == 0);
}

TEST_EVERYWHERE(absurd_counts_in_the_semaphores_disturb_nobody) {
    static const uint32_t counts[] = {1, 12345, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    leave(enter(name, SHMQ_CONSUMER, 0));
    int fd = open_object(name);
    for (size_t at = 0; at < sizeof counts / sizeof counts[0]; at++) {
        set_counts(fd, counts[at]);
        hold_session(name);
    }
    close(fd);
    CHECK(shmq_unlink(name) == 0);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
