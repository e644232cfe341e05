/* What others do in the middle of our calls: the core is compiled a second time, so that a test gets control before each
 * access to shared memory (SHARED_HOOK in shared.h) and lets there come, die or lie whom it likes. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "checksum.h"
#include "notifiers.h"

enum {
    BOTH = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS,
    AT_ONCE_MS = 100, /* of the best of some rounds: half of what a slice takes */
    NOTICE_MS = 2000, /* by a slice of 200 ms: ten times that */
    NEVER_MS = 5000,  /* a time-out that must not come */
    ROUNDS = 8        /* of which one is not disturbed */
};

/* ---- The hook ------------------------------------------------------------------------------ */

typedef void hook_body(int access, const void *address, size_t bytes, void *argument);

/* Each thread has its own. */
static _Thread_local struct {
    hook_body *body; /* NULL: nothing happens */
    void *argument;
    bool inside; /* what it does itself is not hooked */
} hook;

void hook_at(int access, const void *address, size_t bytes) {
    const int error = errno;
    if (hook.body == NULL || hook.inside) return;
    hook.inside = true;
    hook.body(access, address, bytes, hook.argument);
    hook.inside = false;
    errno = error;
}

static void set_hook(hook_body *body, void *argument) {
    hook.body = body;
    hook.argument = argument;
}

static void clear_hook(void) { set_hook(NULL, NULL); }

/* ---- Ends ---------------------------------------------------------------------------------- */

static unsigned owner_of(const shmq *q) { return (unsigned)(atomic_load(&q->own->lock) % 256); }

/* ---- Who comes while we lie down ----------------------------------------------------------- */

/* A process that comes to the other end when it is told to, does nothing, and is killed: by a third one, so that all of
 * this process may sleep. */
struct visitor {
    const char *name;
    enum shmq_end end;
    check_gate go, in, over;
    pid_t killer;
    int64_t killed_ms;
};

static void be_visitor(void *argument) {
    struct visitor *visitor = argument;
    check_wait(&visitor->go, 1);
    (void)enter(visitor->name, visitor->end, 0);
    check_pass(&visitor->in);
    for (;;)
        pause();
}

static void kill_visitor(void *argument) {
    struct visitor *visitor = argument;
    const pid_t pid = check_spawn(be_visitor, visitor);
    check_wait(&visitor->over, 1);
    nap_ms(10); /* until who was about to sleep does */
    visitor->killed_ms = check_now_ms();
    check_kill(pid);
}

static struct visitor *new_visitor(const char *name, enum shmq_end end) {
    struct visitor *visitor = check_shared(sizeof *visitor);
    *visitor = (struct visitor){.name = name, .end = end};
    visitor->killer = check_spawn(kill_visitor, visitor);
    return visitor;
}

/* When it comes: before these accesses of lie_down, counted from its first. Afterwards everybody sees the ticket, and
 * who comes rings. */
enum moment { BEFORE_WANT, BEFORE_TICKET, BEFORE_BARRIER, BEFORE_LIGHT, BEFORE_LOOK, MOMENTS };

struct sleeper {
    shmq *q;
    struct visitor *visitor;
    enum moment moment;
    int accesses; /* since it began to lie down; 0: not yet */
};

static void let_visitor_in(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct sleeper *sleeper = argument;
    const struct end_page *own = sleeper->q->own;
    if (access == SHARED_STORE && address == &own->sleeps) check_pass(&sleeper->visitor->over);
    if (sleeper->accesses == 0 && !(access == SHARED_STORE && address == &own->want)) return;
    const bool is_ticket = access == SHARED_STORE && address == &own->ticket;
    if (sleeper->accesses == BEFORE_TICKET) CHECK(is_ticket && atomic_load(&own->ticket) % 2 == 0);
    if (sleeper->accesses++ != (int)sleeper->moment) return;
    check_pass(&sleeper->visitor->go);
    check_wait(&sleeper->visitor->in, 1);
}

/* How long it takes until an end that sleeps is told that somebody died who came while it lay down. */
static int64_t hear_of_death(const char *name, enum shmq_end end, enum moment moment) {
    struct visitor *visitor = new_visitor(name, region_other(end));
    struct sleeper sleeper = {.q = enter(name, end, 0), .visitor = visitor, .moment = moment};
    if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(sleeper.q, 1), EAGAIN);
    set_hook(let_visitor_in, &sleeper);
    CHECK_FAILS(pass_one(sleeper.q, -1), EOWNERDEAD);
    const int64_t told_ms = check_now_ms();
    clear_hook();
    check_join(visitor->killer);
    leave(sleeper.q);
    remove_queue(name);
    return told_ms - visitor->killed_ms;
}

TEST_NOTIFIERS(the_death_of_a_peer_that_came_while_we_lay_down_is_noticed) {
    if (!notifier_now->survives) return;
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int moment = BEFORE_WANT; moment < MOMENTS; moment++) {
            const int limit_ms = check_late(notifier_now->notices ? AT_ONCE_MS : NOTICE_MS);
            int64_t best_ms = INT64_MAX;
            check_note("notifier %s, end %d, moment %d", notifier_now->name, end, moment);
            if (!notifier_now->notices && moment != BEFORE_TICKET) continue;
            for (int round = 0; round < ROUNDS && best_ms > limit_ms; round++) {
                const int64_t took_ms = hear_of_death(name, (enum shmq_end)end, (enum moment)moment);
                if (took_ms < best_ms) best_ms = took_ms;
            }
            if (best_ms > limit_ms) check_fail(__FILE__, __LINE__, "told after %d ms at best", (int)best_ms);
        }
}

struct doze {
    shmq *q, *peer;
    enum moment moment;
    int accesses; /* since it began to lie down; 0: not yet */
};

static void let_message_in(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct doze *doze = argument;
    if (doze->accesses == 0 && !(access == SHARED_STORE && address == &doze->q->own->want)) return;
    if (doze->accesses++ == (int)doze->moment) CHECK(pass_one(doze->peer, 0) == 0);
}

/* How long a call takes for which something arrives just when it lies down. */
static int64_t lie_down_in_vain(const char *name, enum shmq_end end, enum moment moment) {
    struct doze doze = {.moment = moment, .q = enter(name, end, 0), .peer = enter(name, region_other(end), 0)};
    if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(doze.q, 1), EAGAIN);
    set_hook(let_message_in, &doze);
    const int64_t start_ms = check_now_ms();
    CHECK(pass_one(doze.q, -1) == 0);
    const int64_t took_ms = check_now_ms() - start_ms;
    clear_hook();
    leave(doze.peer);
    leave(doze.q);
    remove_queue(name);
    return took_ms;
}

/* Whoever published before our ticket was up does not ring. */
TEST_NOTIFIERS(what_arrives_while_we_lie_down_is_taken_at_once) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int moment = BEFORE_WANT; moment < MOMENTS; moment++) {
            const int limit_ms = check_late(AT_ONCE_MS);
            int64_t best_ms = INT64_MAX;
            check_note("notifier %s, end %d, moment %d", notifier_now->name, end, moment);
            for (int round = 0; round < ROUNDS && best_ms > limit_ms; round++) {
                const int64_t took_ms = lie_down_in_vain(name, (enum shmq_end)end, (enum moment)moment);
                if (took_ms < best_ms) best_ms = took_ms;
            }
            if (best_ms > limit_ms) check_fail(__FILE__, __LINE__, "taken after %d ms at best", (int)best_ms);
        }
}

/* An event loop has no slices: what the descriptor does not tell nobody tells. */
static void loop_hears_of_death(const char *name, enum shmq_end end, enum moment moment) {
    struct visitor *visitor = new_visitor(name, region_other(end));
    struct sleeper sleeper = {.q = enter(name, end, 0), .visitor = visitor, .moment = moment};
    struct pollfd polled = {.fd = shmq_fd(sleeper.q), .events = POLLIN};
    CHECK(polled.fd >= 0);
    if (end == SHMQ_PRODUCER) CHECK_EQUAL(fill(sleeper.q, 1), EAGAIN);
    set_hook(let_visitor_in, &sleeper);
    CHECK_EQUAL(shmq_arm(sleeper.q), 0);
    clear_hook();
    if (moment > BEFORE_TICKET) { /* it has rung */
        CHECK_EQUAL(poll(&polled, 1, check_late(NOTICE_MS)), 1);
        CHECK_EQUAL(shmq_arm(sleeper.q), 0);
    }
    CHECK_EQUAL(poll(&polled, 1, 0), 0);
    check_pass(&visitor->over);
    check_join(visitor->killer);
    CHECK_EQUAL(poll(&polled, 1, 0), 1);
    CHECK_EQUAL(shmq_arm(sleeper.q), 1);
    CHECK_FAILS(pass_one(sleeper.q, 0), EOWNERDEAD);
    leave(sleeper.q);
    remove_queue(name);
}

TEST(an_event_loop_hears_of_the_death_of_a_peer_that_came_while_it_armed) {
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_FIFO];
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int moment = BEFORE_WANT; moment < MOMENTS; moment++) {
            check_note("end %d, moment %d", end, moment);
            loop_hears_of_death(check_name("q"), (enum shmq_end)end, (enum moment)moment);
        }
}

/* ---- Who dies while it opens --------------------------------------------------------------- */

struct comer {
    const char *name;
    enum shmq_end end;
    unsigned flags;
    int last; /* of the accesses that it lives for */
};

static void die_at_last(int access, const void *address, size_t bytes, void *argument) {
    (void)access, (void)address, (void)bytes;
    if (((struct comer *)argument)->last-- == 0) (void)raise(SIGKILL);
}

static void come(void *argument) {
    struct comer *comer = argument;
    set_hook(die_at_last, comer);
    (void)enter(comer->name, comer->end, comer->flags);
    _exit(EXIT_SUCCESS);
}

/* False: it lived for all accesses of shmq_open. */
static bool dies_while_opening(struct comer comer) {
    shmq *q = enter(comer.name, region_other(comer.end), comer.flags);
    if (q->end == SHMQ_PRODUCER) CHECK_EQUAL(fill(q, 1), EAGAIN);
    struct pollfd polled = {.fd = shmq_fd(q), .events = POLLIN};
    CHECK_EQUAL(shmq_arm(q), 0);
    int status;
    const pid_t pid = check_spawn(come, &comer);
    CHECK(waitpid(pid, &status, 0) == pid);
    const bool readable = poll(&polled, 1, 0) == 1;
    if (shmq_arm(q) == 1) CHECK(readable); /* there is something to say, so the loop was told */
    leave(q);
    remove_queue(comer.name);
    return WIFSIGNALED(status);
}

TEST(an_event_loop_hears_of_the_death_of_a_peer_that_was_still_opening) {
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_FIFO];
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int many = 0; many <= 1; many++) {
            const unsigned side = end == SHMQ_PRODUCER ? SHMQ_MANY_PRODUCERS : SHMQ_MANY_CONSUMERS;
            struct comer comer = {check_name("q"), (enum shmq_end)end, many != 0 ? side : 0, 0};
            do
                check_note("end %d, many %d, access %d", end, many, comer.last);
            while (dies_while_opening(comer) && comer.last++ < 1000);
            CHECK(comer.last > 5 && comer.last < 1000);
        }
}

/* ---- Who takes over from the dead ---------------------------------------------------------- */

struct holder {
    const char *name;
    enum shmq_end end;
    check_gate holds;
};

static void be_holder(void *argument) {
    struct holder *holder = argument;
    shmq *q = enter(holder->name, holder->end, BOTH);
    hold(q);
    check_pass(&holder->holds);
    for (;;)
        pause();
}

/* A queue with many on both sides and some messages in it. In slot 0 of the side that matters is a process that holds
 * its lock, in slot 1 an end that wants it. */
struct scene {
    const char *name;
    enum shmq_end end;
    shmq *peer, *waiter;
    pid_t holder;
    shmq *successor; /* in slot 0 */
    int turns;       /* that a test counts */
    check_gate one, other;
    int error; /* of the waiter's call, 0 none */
};

static struct scene new_scene(const char *name, enum shmq_end end) {
    struct holder *holder = check_shared(sizeof *holder);
    struct scene scene = {.name = name, .end = end, .peer = enter(name, region_other(end), BOTH)};
    shmq *producer = end == SHMQ_PRODUCER ? enter(name, end, BOTH) : scene.peer;
    *holder = (struct holder){.name = name, .end = end};
    for (int at = 0; at < 8; at++)
        CHECK(pass_one(producer, 0) == 0);
    if (end == SHMQ_PRODUCER) leave(producer);
    scene.holder = check_spawn(be_holder, holder);
    check_wait(&holder->holds, 1);
    scene.waiter = enter(name, end, BOTH);
    CHECK_EQUAL(scene.waiter->region.slot, 1);
    CHECK_EQUAL(owner_of(scene.waiter), 1);
    return scene;
}

static void end_scene(const struct scene *scene) {
    CHECK_EQUAL(owner_of(scene->waiter), 0);
    CHECK_EQUAL(scene->successor->region.slot, 0);
    CHECK(pass_one(scene->waiter, 0) == 0);
    CHECK(pass_one(scene->successor, 0) == 0);
    leave(scene->waiter);
    leave(scene->successor);
    leave(scene->peer);
    remove_queue(scene->name);
}

/* The lock of our own side is about to change, by us. */
static bool is_update(const struct scene *scene, int access, const void *address) {
    return access == SHARED_UPDATE && address == &scene->waiter->own->lock;
}

/* The waiter has found the owner dead, and takes over: in between the slot gets another owner, who takes the lock so many
 * times. */
static void let_successor_hold(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct scene *scene = argument;
    if (scene->successor != NULL || !is_update(scene, access, address)) return;
    scene->successor = enter(scene->name, scene->end, BOTH);
    for (int turn = 1; turn <= scene->turns; turn++) {
        hold(scene->successor);
        if (turn < scene->turns) let_go(scene->successor);
    }
}

TEST(a_slot_that_was_taken_anew_is_not_mistaken_for_the_dead_holder) {
    enum { SHORT_MS = 60 };
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int timeout_ms = 0; timeout_ms <= SHORT_MS; timeout_ms += SHORT_MS)
            for (int turns = 1; turns <= 3; turns++) {
                struct scene scene = new_scene(check_name("q"), (enum shmq_end)end);
                check_note("end %d, time-out %d, turns %d", end, timeout_ms, turns);
                scene.turns = turns;
                check_kill(scene.holder);
                set_hook(let_successor_hold, &scene);
                CHECK_FAILS(pass_one(scene.waiter, timeout_ms), timeout_ms == 0 ? EAGAIN : ETIMEDOUT);
                clear_hook();
                CHECK(scene.successor != NULL);
                CHECK_EQUAL(owner_of(scene.waiter), 1);
                let_go(scene.successor);
                end_scene(&scene);
            }
}

static void tell_of_update(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct scene *scene = argument;
    if (is_update(scene, access, address)) check_pass(&scene->one);
}

static void *wait_for_lock(void *argument) {
    struct scene *scene = argument;
    set_hook(tell_of_update, scene);
    scene->error = pass_one(scene->waiter, check_late(NEVER_MS)) == 0 ? 0 : errno;
    return NULL;
}

/* A time since this one, of which the best counts. */
struct race {
    int64_t start_ms, best_ms;
};

static void end_race(struct race *race, pthread_t waiter, struct scene *scene) {
    CHECK(pthread_join(waiter, NULL) == 0);
    const int64_t took_ms = check_now_ms() - race->start_ms;
    if (took_ms < race->best_ms) race->best_ms = took_ms;
    CHECK_EQUAL(scene->error, 0);
    end_scene(scene);
}

TEST(a_newcomer_in_the_slot_of_a_dead_holder_wakes_who_waits_for_the_lock) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        struct race race = {.best_ms = INT64_MAX};
        check_note("end %d", end);
        for (int round = 0; round < ROUNDS && race.best_ms > check_late(AT_ONCE_MS); round++) {
            struct scene scene = new_scene(check_name("q"), (enum shmq_end)end);
            pthread_t waiter;
            CHECK(pthread_create(&waiter, NULL, wait_for_lock, &scene) == 0);
            check_wait(&scene.one, 1);
            nap_ms(10); /* now it sleeps */
            check_kill(scene.holder);
            race.start_ms = check_now_ms();
            scene.successor = enter(scene.name, scene.end, BOTH);
            end_race(&race, waiter, &scene);
        }
        if (race.best_ms > check_late(AT_ONCE_MS))
            check_fail(__FILE__, __LINE__, "woken after %d ms at best", (int)race.best_ms);
    }
}

struct announcement {
    struct scene scene;
    pthread_t waiter;
    struct race race;
    bool made;
};

/* The newcomer has seen that it is the dead one's heir: in between somebody begins to wait for it, and says so in the
 * lock's word. */
static void let_waiter_announce_itself(int access, const void *address, size_t bytes, void *argument) {
    enum { WAITERS = 0x100 };
    (void)address, (void)bytes;
    struct announcement *announcement = argument;
    struct scene *scene = &announcement->scene;
    if (announcement->made || access != SHARED_UPDATE) return;
    announcement->made = true;
    CHECK(pthread_create(&announcement->waiter, NULL, wait_for_lock, scene) == 0);
    const int64_t until_ms = check_now_ms() + check_late(NEVER_MS);
    while ((atomic_load(&scene->waiter->own->lock) & WAITERS) == 0) {
        CHECK(check_now_ms() < until_ms);
        nap_ms(1);
    }
    nap_ms(10); /* now it sleeps */
    announcement->race.start_ms = check_now_ms();
}

TEST(who_begins_to_wait_while_a_newcomer_inherits_the_lock_is_woken) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        struct announcement announcement = {.race = {.best_ms = INT64_MAX}};
        struct scene *scene = &announcement.scene;
        check_note("end %d", end);
        for (int round = 0; round < ROUNDS && announcement.race.best_ms > check_late(AT_ONCE_MS); round++) {
            *scene = new_scene(check_name("q"), (enum shmq_end)end);
            announcement.made = false;
            check_kill(scene->holder);
            set_hook(let_waiter_announce_itself, &announcement);
            scene->successor = enter(scene->name, scene->end, BOTH);
            clear_hook();
            CHECK(announcement.made);
            end_race(&announcement.race, announcement.waiter, scene);
        }
        CHECK(announcement.race.best_ms <= check_late(AT_ONCE_MS));
    }
}

static void stop_at_update(int access, const void *address, size_t bytes, void *argument) {
    (void)address, (void)bytes;
    struct scene *scene = argument;
    if (access != SHARED_UPDATE || scene->turns++ > 0) return;
    check_pass(&scene->one);
    check_wait(&scene->other, 1);
}

static void *succeed(void *argument) {
    struct scene *scene = argument;
    set_hook(stop_at_update, scene);
    scene->successor = enter(scene->name, scene->end, BOTH);
    return NULL;
}

struct inheritance {
    struct scene scene;
    pthread_t successor;
    bool begun;
};

/* The waiter has found the owner dead: in between the heir comes, looks at the lock, and stops there. */
static void let_successor_look(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct inheritance *inheritance = argument;
    if (inheritance->begun || !is_update(&inheritance->scene, access, address)) return;
    inheritance->begun = true;
    CHECK(pthread_create(&inheritance->successor, NULL, succeed, &inheritance->scene) == 0);
    check_wait(&inheritance->scene.one, 1);
}

TEST(a_newcomer_leaves_the_lock_to_whoever_took_over_from_the_dead_first) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        struct inheritance inheritance = {.scene = new_scene(check_name("q"), (enum shmq_end)end)};
        struct scene *scene = &inheritance.scene;
        check_note("end %d", end);
        check_kill(scene->holder);
        set_hook(let_successor_look, &inheritance);
        hold(scene->waiter);
        clear_hook();
        CHECK(inheritance.begun && scene->successor == NULL);
        CHECK_EQUAL(owner_of(scene->waiter), 2);
        check_pass(&scene->other);
        CHECK(pthread_join(inheritance.successor, NULL) == 0);
        CHECK_EQUAL(owner_of(scene->waiter), 2);
        CHECK_FAILS(pass_one(scene->successor, 0), EAGAIN);
        let_go(scene->waiter);
        end_scene(scene);
    }
}

/* ---- What changes under a consumer's hands ------------------------------------------------- */

static void send_message(shmq *producer, size_t length, unsigned seed) {
    unsigned char message[LONGEST];
    write_pattern(message, length, seed);
    CHECK(shmq_send(producer, message, length, 0) == 0);
}

/* How a message is taken. */
enum manner { RECV, PEEK_AND_RECV, PEEK_AND_RELEASE, MANNERS };

/* Its length, once it is in `buffer`. */
static ssize_t take(shmq *consumer, enum manner manner, unsigned char *buffer, size_t size) {
    size_t length = 0;
    const void *message;
    if (manner == RECV) return shmq_recv(consumer, buffer, size, 0);
    if ((message = shmq_peek(consumer, &length, 0)) == NULL) return -1;
    if (manner == PEEK_AND_RECV) {
        const ssize_t got = shmq_recv(consumer, buffer, size, 0);
        if (got >= 0) CHECK_EQUAL(got, length);
        return got;
    }
    if (length > size) {
        errno = EMSGSIZE;
        return -1;
    }
    memcpy(buffer, message, length);
    return shmq_release(consumer) == 0 ? (ssize_t)length : -1;
}

/* When a byte of the payload is damaged, and mended again: before it is copied, or right after. */
static const struct {
    bool before, after;
    bool may_be_noticed, must_be_noticed;
} DAMAGES[] = {
    {true, false, true, true}, {false, true, true, false}, {true, true, true, true}, {false, false, false, false}};

struct damage {
    const void *payload; /* where the consumer sees it */
    unsigned char *byte; /* where the producer does */
    bool before, after;
    int accesses; /* since the copy began; 0: not yet */
};

static void damage_payload(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct damage *damage = argument;
    if (damage->accesses == 0 && !(access == SHARED_LOAD && address == damage->payload)) return;
    if ((damage->accesses == 0 && damage->before) || (damage->accesses == 1 && damage->after)) *damage->byte ^= 0x10;
    damage->accesses++;
}

static void damage_copy(size_t row, size_t length, size_t at, enum manner manner) {
    const char *name = check_name("q");
    unsigned char message[LONGEST], got[LONGEST];
    shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_CHECKSUM), *consumer = enter(name, SHMQ_CONSUMER, SHMQ_CHECKSUM);
    struct damage damage = {.payload = ring_payload(&consumer->ring),
                            .byte = (unsigned char *)ring_payload(&producer->ring) + at,
                            .before = DAMAGES[row].before,
                            .after = DAMAGES[row].after};
    check_note("row %zu, length %zu, byte %zu, manner %d", row, length, at, (int)manner);
    write_pattern(message, length, 1);
    CHECK(shmq_send(producer, message, length, 0) == 0);
    set_hook(damage_payload, &damage);
    errno = 0;
    const ssize_t taken = take(consumer, manner, got, sizeof got);
    const int error = errno;
    clear_hook();
    CHECK(damage.accesses > 1);
    if (taken >= 0) {
        CHECK(!DAMAGES[row].must_be_noticed);
        CHECK(taken == (ssize_t)length && memcmp(got, message, length) == 0);
    } else {
        CHECK(DAMAGES[row].may_be_noticed);
        CHECK_EQUAL(error, EBADMSG);
    }
    leave(consumer);
    leave(producer);
    remove_queue(name);
}

TEST(a_checksum_is_that_of_the_copy_and_not_of_the_ring) {
    static const size_t lengths[] = {1, 8, 100, LONGEST};
    need_checksums();
    for (size_t row = 0; row < sizeof DAMAGES / sizeof DAMAGES[0]; row++)
        for (size_t at = 0; at < sizeof lengths / sizeof lengths[0]; at++)
            for (int manner = RECV; manner <= PEEK_AND_RECV; manner++) {
                damage_copy(row, lengths[at], 0, (enum manner)manner);
                damage_copy(row, lengths[at], lengths[at] - 1, (enum manner)manner);
                damage_copy(row, lengths[at], check_below(lengths[at]), (enum manner)manner);
            }
}

enum { FIRST = 24, SECOND = 600, CANARY = 0xa5 };

/* A producer that changes the length of a record while it is taken. */
struct forgery {
    const void *record;      /* where the consumer sees it */
    const void *payload;     /* … */
    shared_u64 *header;      /* where the producer does */
    uint32_t length;         /* the new one */
    int at;                  /* before this access of all that are made */
    int accesses;            /* so far */
    bool looked, is_in_time; /* the header was read before; not before it was forged */
};

static void forge_length(int access, const void *address, size_t bytes, void *argument) {
    struct forgery *forgery = argument;
    if (forgery->accesses++ == forgery->at) {
        forgery->is_in_time = !forgery->looked;
        atomic_store(forgery->header, (atomic_load(forgery->header) >> 32 << 32) | forgery->length);
    }
    if (access == SHARED_LOAD && address == forgery->record) forgery->looked = true;
    if (access == SHARED_LOAD && address == forgery->payload)
        CHECK(bytes == FIRST || (forgery->is_in_time && bytes == forgery->length));
}

/* Whether so many accesses were made. */
static bool forge_at(int at, uint32_t length, size_t size, enum manner manner, unsigned flags) {
    const char *name = check_name("q");
    unsigned char got[2 * LONGEST];
    shmq *producer = enter(name, SHMQ_PRODUCER, flags), *consumer = enter(name, SHMQ_CONSUMER, flags);
    struct forgery forgery = {.record = ring_at(&consumer->ring),
                              .payload = ring_payload(&consumer->ring),
                              .header = ring_at(&producer->ring),
                              .length = length,
                              .at = at};
    const unsigned char *payload = ring_payload(&producer->ring);
    check_note("length %u at access %d, size %zu, manner %d, flags %u", length, at, size, (int)manner, flags);
    send_message(producer, FIRST, 1);
    send_message(producer, SECOND, 2); /* so that a longer one is possible */
    send_message(producer, SECOND, 3);
    memset(got, CANARY, sizeof got);
    const uint64_t before = atomic_load(&consumer->own->cursor);
    set_hook(forge_length, &forgery);
    errno = 0;
    const ssize_t taken = take(consumer, manner, got, size);
    const int error = errno;
    clear_hook();
    const bool is_another = forgery.is_in_time && length <= LONGEST; /* as if it had been sent */
    if (taken < 0)
        CHECK(error == EBADMSG || (error == EMSGSIZE && is_another && length > size));
    else
        CHECK(taken == FIRST || (is_another && taken == (ssize_t)length));
    if (taken > 0) CHECK(memcmp(got, payload, (size_t)taken) == 0);
    for (size_t byte = taken < 0 ? size : (size_t)taken; byte < sizeof got; byte++)
        CHECK_EQUAL(got[byte], CANARY);
    if (taken >= 0)
        CHECK_EQUAL(atomic_load(&consumer->own->cursor) - before, ring_record_bytes(&consumer->ring, (uint64_t)taken));
    if (forgery.accesses <= at) CHECK_EQUAL(taken, FIRST);
    if (taken == FIRST) {
        CHECK_EQUAL(shmq_recv(consumer, got, sizeof got, 0), SECOND);
        write_pattern(got + LONGEST, SECOND, 2);
        CHECK(memcmp(got, got + LONGEST, SECOND) == 0);
    }
    leave(consumer);
    leave(producer);
    remove_queue(name);
    return forgery.accesses > at;
}

TEST(a_length_that_changes_while_a_message_is_taken_is_read_once) {
    static const uint32_t lengths[] = {0, 8, FIRST - 1, FIRST + 1, 100, LONGEST, LONGEST + 1, UINT32_MAX};
    static const unsigned flags[] = {0, BOTH, SHMQ_CHECKSUM};
    for (int row = 0; row < (CHECKSUM_BUILT ? 3 : 2); row++)
        for (int manner = RECV; manner < MANNERS; manner++)
            for (size_t length = 0; length < sizeof lengths / sizeof lengths[0]; length++)
                for (int size = FIRST; size <= LONGEST + 1; size += LONGEST + 1 - FIRST) {
                    int at = 0;
                    while (forge_at(at, lengths[length], (size_t)size, (enum manner)manner, flags[row]))
                        at++;
                    CHECK(at > 4);
                }
}

/* ---- One of many drains -------------------------------------------------------------------- */

struct drain {
    shmq *one, *two, *consumer;
    int looks;
    check_gate begun;
    int error;
};

static bool is_look(const struct drain *drain, int access, const void *address) {
    return access == SHARED_LOAD && address == &drain->one->peer->cursor;
}

/* Before each look of the one another sends, and the consumer takes, one message. */
static void go_on_meanwhile(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct drain *drain = argument;
    if (!is_look(drain, access, address)) return;
    drain->looks++;
    CHECK(pass_one(drain->two, 0) == 0);
    CHECK(pass_one(drain->consumer, 0) == 0);
}

TEST_NOTIFIERS(a_drain_ends_though_others_keep_the_ring_from_running_empty) {
    enum { WAITING = 5 };
    struct shmq_stat stat;
    struct drain drain = {.one = enter(name, SHMQ_PRODUCER, BOTH),
                          .two = enter(name, SHMQ_PRODUCER, BOTH),
                          .consumer = enter(name, SHMQ_CONSUMER, BOTH)};
    for (int at = 0; at < WAITING; at++)
        CHECK(pass_one(at % 2 == 0 ? drain.one : drain.two, 0) == 0);
    set_hook(go_on_meanwhile, &drain);
    CHECK(shmq_drain(drain.one, NEVER_MS) == 0);
    clear_hook();
    CHECK_EQUAL(drain.looks, WAITING); /* as soon as it can, and no sooner */
    CHECK(shmq_stat(drain.two, &stat) == 0);
    CHECK(stat.sent == stat.received + WAITING && stat.received == (unsigned)drain.looks);
    CHECK_FAILS(shmq_drain(drain.one, 0), EAGAIN); /* what came since then is waited for by a new call */
    leave(drain.one);
    leave(drain.two);
    leave(drain.consumer);
    remove_queue(name);
}

static void tell_of_look(int access, const void *address, size_t bytes, void *argument) {
    (void)bytes;
    struct drain *drain = argument;
    if (is_look(drain, access, address)) check_pass(&drain->begun);
}

static void *drain_one(void *argument) {
    struct drain *drain = argument;
    set_hook(tell_of_look, drain);
    drain->error = shmq_drain(drain->one, 10 * NEVER_MS) == 0 ? 0 : errno;
    return NULL;
}

TEST_NOTIFIERS(while_one_of_many_drains_another_sends) {
    enum { MORE = 20 };
    pthread_t thread;
    struct drain drain = {.one = enter(name, SHMQ_PRODUCER, BOTH),
                          .two = enter(name, SHMQ_PRODUCER, BOTH),
                          .consumer = enter(name, SHMQ_CONSUMER, BOTH)};
    CHECK(pass_one(drain.one, 0) == 0);
    CHECK(pthread_create(&thread, NULL, drain_one, &drain) == 0);
    for (uint32_t turn = 1; turn <= MORE; turn++) {
        check_wait(&drain.begun, turn); /* goes on looking */
        CHECK(pass_one(drain.two, NEVER_MS) == 0);
    }
    CHECK(pass_one(drain.consumer, 0) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQUAL(drain.error, 0);
    for (int at = 0; at < MORE; at++) /* what was sent meanwhile is still there */
        CHECK(pass_one(drain.consumer, 0) == 0);
    CHECK_FAILS(pass_one(drain.consumer, 0), EAGAIN);
    leave(drain.one);
    leave(drain.two);
    leave(drain.consumer);
    remove_queue(name);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
