/* One trial: the stage is set, the victim gets as far as it may, and the others finish the job.
 *
 * Messages are numbered. Those whose giver was not told that they were sent may come or not; those whose taker died in the
 * middle may be gone; all others come, once, in order. */
#include "kill.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "layout.h"

enum {
    ROOM_MS = 2000 + 200,         /* a slice, and generous room: whoever waits longer hangs */
    PATIENCE_MS = 1000 + ROOM_MS, /* with those who open and unlink */
    LATE_MS = 100,                /* half of a slice: most wake-ups are quicker */
    SHORT_MS = 50,
    OBJECT_BYTES = (PAGE_RING + 1) * 4096,
    NUMBERS = 4096
};

/* What an end hears of the other side: nothing, a death, a proper end. */
enum { QUIET = 1, DEAD = 2, CLOSED = 4 };

/* All of this process is one trial. */
static const struct scene *scene;
static const struct trial *trial;
static struct result *result;
static struct actor victim, peer, mate, newcomer; /* the mate is of the victim's side, where that may have many */
static struct trace trace;
static bool outstanding;      /* the peer is in the middle of its call, asleep */
static uint64_t rings_before; /* of the victim's side, when it fell asleep */
static struct {
    uint32_t next, expected; /* to be given, to be taken */
    uint32_t forgiven;       /* takers that died in the middle */
    bool perhaps[NUMBERS];   /* its giver was not told that it is sent */
    bool taken[NUMBERS];
    uint32_t victims; /* the number that the victim gives */
} ledger;

void trial_ends(enum verdict verdict, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (result != NULL) {
        vsnprintf(result->why, sizeof result->why, format, arguments);
        result->astray = trace.astray;
        result->verdict = verdict;
    }
    va_end(arguments);
    _exit(0);
}

/* ---- Doing --------------------------------------------------------------------------------- */

static enum shmq_end other(enum shmq_end end) { return end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER; }

static const char *name_of(int error) { return error == 0 ? "success" : strerrorname_np(error); }

/* Things that can be either way are so at half of the points, these with those or not. */
static bool at_odd_point(void) { return (trial->first.calls + trial->first.steps) % 2 == 1; }

static bool at_upper_point(void) { return (trial->first.calls + trial->first.steps) / 2 % 2 == 1; }

static bool has_mate(void) {
    return scene->operation == UNLINK || (scene->many && scene->operation != CREATE && scene->operation != LAST);
}

/* The victim opens or closes the queue alone: there is no survivor but who comes later. */
static bool is_alone(void) { return scene->operation == CREATE || scene->operation == LAST; }

static struct reply finish(const struct actor *actor, int limit_ms) {
    struct reply reply;
    if (!actor_end(actor, limit_ms, &reply))
        trial_ends(HUNG, "the %s is in its call for over %d ms: %s", actor->who, limit_ms, actor_place(actor).text);
    if (reply.torn) trial_ends(BAD, "the %s took a torn message after %u others", actor->who, reply.done);
    return reply;
}

static struct reply act(const struct actor *actor, struct request request, int limit_ms) {
    actor_begin(actor, &request);
    return finish(actor, limit_ms);
}

static unsigned queue_flags(void) {
    return (scene->many ? SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0) |
           (scene->operation == LAST ? SHMQ_EPHEMERAL : 0);
}

static struct request open_request(enum shmq_end end) {
    return (struct request){.deed = OPEN, .end = end, .flags = queue_flags()};
}

static void enter(struct actor *actor, const char *who, enum shmq_end end) {
    if (actor->pid == 0) *actor = actor_new(who, scene, result->name);
    const struct reply reply = act(actor, open_request(end), PATIENCE_MS);
    if (reply.error != 0) trial_ends(BAD, "the %s cannot open its end: %s", who, name_of(reply.error));
    traces_note(result);
}

static void leave(const struct actor *actor) {
    const struct reply reply = act(actor, (struct request){.deed = SHUT}, PATIENCE_MS);
    if (reply.error != 0) trial_ends(BAD, "the %s cannot close: %s", actor->who, name_of(reply.error));
}

/* ---- Messages ------------------------------------------------------------------------------ */

/* Ends of one side do not know in which order they come to work. */
static bool is_disorderly(void) { return trial->fate == STOPPED && has_mate(); }

/* These will not come any more. */
static void pass_over(uint32_t until) {
    for (; ledger.expected < until; ledger.expected++) {
        if (ledger.perhaps[ledger.expected] || is_disorderly()) continue;
        if (ledger.forgiven == 0) trial_ends(BAD, "message %u is lost", ledger.expected);
        ledger.forgiven--;
    }
}

static void take_in(const struct actor *actor, uint32_t number) {
    if (number >= ledger.next) trial_ends(BAD, "the %s took message %u, which nobody has sent", actor->who, number);
    if (ledger.taken[number]) trial_ends(BAD, "message %u came again, to the %s", number, actor->who);
    ledger.taken[number] = true;
    if (number < ledger.expected && is_disorderly()) return;
    if (number < ledger.expected) trial_ends(BAD, "message %u came late, to the %s", number, actor->who);
    pass_over(number);
    ledger.expected = number + 1;
}

static void note_moved(const struct actor *actor, enum shmq_end end, const struct reply *reply) {
    if (end == SHMQ_PRODUCER) ledger.next += reply->done;
    for (uint32_t at = 0; end == SHMQ_CONSUMER && at < reply->done; at++)
        take_in(actor, reply->numbers[at]);
    if (ledger.next > NUMBERS - MORE) trial_ends(BAD, "messages without end");
}

/* Gives or takes. */
static struct request move_request(enum shmq_end end, uint32_t count, int timeout_ms) {
    return (struct request){.deed = end == SHMQ_PRODUCER ? GIVE : TAKE,
                            .end = end,
                            .number = ledger.next,
                            .count = count,
                            .timeout_ms = timeout_ms,
                            .flags = queue_flags()};
}

static struct reply move(const struct actor *actor, enum shmq_end end, uint32_t count, int timeout_ms) {
    const int limit_ms = ROOM_MS + (timeout_ms < 0 ? 0 : timeout_ms);
    const struct reply reply = act(actor, move_request(end, count, timeout_ms), limit_ms);
    note_moved(actor, end, &reply);
    return reply;
}

static void move_well(const struct actor *actor, enum shmq_end end, uint32_t count, int timeout_ms) {
    const struct reply reply = move(actor, end, count, timeout_ms);
    if (reply.error != 0)
        trial_ends(BAD, "the %s got %s after %u messages", actor->who, name_of(reply.error), reply.done);
}

static void note_wake_up(int64_t took_ms) { result->late |= took_ms > LATE_MS; }

static void finish_moving(const struct actor *actor, enum shmq_end end) {
    const struct reply reply = finish(actor, ROOM_MS);
    note_moved(actor, end, &reply);
    if (reply.error != 0) trial_ends(BAD, "the %s, woken, got %s", actor->who, name_of(reply.error));
    note_wake_up(reply.took_ms);
}

static unsigned meaning_of(const struct actor *actor, int error) {
    if (error == EAGAIN || error == ETIMEDOUT) return QUIET;
    if (error == EOWNERDEAD) return DEAD;
    if (error == EPIPE) return CLOSED;
    trial_ends(BAD, "the %s got %s", actor->who, name_of(error));
}

static unsigned check_heard(const struct actor *actor, int error, unsigned allowed) {
    const unsigned heard = meaning_of(actor, error);
    if ((heard & allowed) == 0) trial_ends(BAD, "the %s hears %s", actor->who, name_of(error));
    return heard;
}

/* Goes on until it hears something, and then again. */
static void hear(const struct actor *actor, enum shmq_end end, unsigned allowed) {
    const bool waits = (allowed & QUIET) == 0 && at_odd_point();
    const struct reply reply = move(actor, end, MORE, waits ? -1 : 0);
    if (check_heard(actor, reply.error, allowed) == QUIET) return;
    const struct reply again = move(actor, end, 1, waits ? 0 : -1);
    if (again.error != reply.error)
        trial_ends(BAD, "the %s hears %s, then %s", actor->who, name_of(reply.error), name_of(again.error));
}

/* Everything that was sent has been taken now. */
static void settle(const struct actor *consumer) {
    const struct reply rest = move(consumer, SHMQ_CONSUMER, MORE, 0);
    (void)check_heard(consumer, rest.error, QUIET);
    pass_over(ledger.next);
    ledger.forgiven = 0;
}

static void begin_moving(const struct actor *actor, enum shmq_end end) {
    const struct request request = move_request(end, 1, -1);
    actor_begin(actor, &request);
    const struct timespec nap = {.tv_nsec = 1000000};
    if (at_odd_point()) nanosleep(&nap, NULL);
}

/* Ends that work together: without waiting and waiting, copying and in place, through an empty and a full ring. */
static void exchange(const struct actor *one, const struct actor *two) {
    const struct actor *producer = scene->side == SHMQ_PRODUCER ? one : two, *consumer = producer == one ? two : one;
    settle(consumer);
    begin_moving(consumer, SHMQ_CONSUMER);
    move_well(producer, SHMQ_PRODUCER, 1, 0);
    finish_moving(consumer, SHMQ_CONSUMER);
    struct request request = move_request(SHMQ_PRODUCER, 2, 0);
    request.deed = GIVE_IN_PLACE;
    struct reply reply = act(producer, request, ROOM_MS);
    note_moved(producer, SHMQ_PRODUCER, &reply);
    request = move_request(SHMQ_CONSUMER, 2, 0);
    request.deed = TAKE_IN_PLACE;
    reply = act(consumer, request, ROOM_MS);
    note_moved(consumer, SHMQ_CONSUMER, &reply);
    if (reply.done != 2) trial_ends(BAD, "%u messages of 2 came, and then %s", reply.done, name_of(reply.error));
    reply = move(producer, SHMQ_PRODUCER, MORE, 0);
    (void)check_heard(producer, reply.error, QUIET);
    if (reply.done != LETTERS) trial_ends(BAD, "the ring was full with %u messages", reply.done);
    begin_moving(producer, SHMQ_PRODUCER);
    move_well(consumer, SHMQ_CONSUMER, 1, 0);
    finish_moving(producer, SHMQ_PRODUCER);
    actor_begin(producer, &(struct request){.deed = WAIT_DRAINED, .timeout_ms = -1});
    settle(consumer);
    reply = finish(producer, ROOM_MS);
    if (reply.error != 0) trial_ends(BAD, "drain gave %s", name_of(reply.error));
}

/* ---- The stage ----------------------------------------------------------------------------- */

static const struct end_page *page_of(const unsigned char *object, enum shmq_end end) {
    return (const struct end_page *)(const void *)(object +
                                                   4096 * (end == SHMQ_PRODUCER ? PAGE_PRODUCER : PAGE_CONSUMER));
}

/* The object as it is now, or NULL: there is none yet. */
static const unsigned char *map_object(void) {
    struct stat status;
    const int fd = open(check_path(result->name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return NULL;
    const bool is_whole = fstat(fd, &status) == 0 && status.st_size == OBJECT_BYTES;
    void *at = !is_whole ? MAP_FAILED : mmap(NULL, OBJECT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

/* Keeps a peer that sleeps from waking by itself, so that each run finds it asleep all the time. But a wait for signals is
 * cut short by that. */
static bool can_freeze(void) { return outstanding && scene->notifier->kind != SHMQ_NOTIFY_SIGNAL; }

static void freeze_peer(bool freezes) {
    if (!can_freeze()) return;
    if (kill(peer.pid, freezes ? SIGSTOP : SIGCONT) != 0) trial_ends(BAD, "the peer is not there any more");
}

/* The peer calls, and sleeps until the victim does something for it. */
static void let_peer_sleep(void) {
    const struct timespec nap = {.tv_nsec = 1000000};
    const unsigned char *object = map_object();
    if (object == NULL) trial_ends(BAD, "there is no queue");
    const struct request request = move_request(other(scene->side), 1, -1);
    actor_begin(&peer, &request);
    outstanding = true;
    for (int tries = 0; tries < ROOM_MS && atomic_load(&page_of(object, other(scene->side))->ticket) % 2 == 0; tries++)
        nanosleep(&nap, NULL);
    nanosleep(&nap, NULL);
    freeze_peer(true);
    rings_before = atomic_load(&page_of(object, scene->side)->rings);
}

/* A victim that was done has rung for a peer that is frozen in its sleep. */
static void check_rung(void) {
    const unsigned char *object = map_object();
    if (!can_freeze() || scene->operation == DRAIN || object == NULL) return;
    if (atomic_load(&page_of(object, scene->side)->rings) == rings_before)
        trial_ends(BAD, "the victim was done, and has not rung for the peer, which sleeps");
}

static void fill(const struct actor *own) {
    const bool produces = scene->side == SHMQ_PRODUCER;
    const struct actor *producer = produces ? own : &peer, *consumer = produces ? &peer : own;
    const enum state state = scene->state;
    const bool full = state == FULL || (produces ? state == ASLEEP : state == RINGING);
    if (full || state == WRAPPING) move_well(producer, SHMQ_PRODUCER, LETTERS, 0);
    if (state == WRAPPING) move_well(consumer, SHMQ_CONSUMER, LETTERS, 0);
    if (state == WRAPPING && !produces) move_well(producer, SHMQ_PRODUCER, 1, 0);
}

static void set_stage(void) {
    const enum operation operation = scene->operation;
    victim = actor_new("victim", scene, result->name);
    if (operation == CREATE) return;
    enter(&peer, "peer", other(scene->side));
    if (operation != ATTACH && operation != UNLINK) enter(&victim, "victim", scene->side);
    if (has_mate()) enter(&mate, "mate", scene->side);
    fill(operation == ATTACH || operation == UNLINK ? &mate : &victim);
    if (operation == LAST) leave(&peer);
    if (scene->state == RINGING) let_peer_sleep();
}

static struct request victims_request(void) {
    static const enum deed DEEDS[OPERATIONS] = {
        [CREATE] = OPEN,        [ATTACH] = OPEN,        [SEND] = GIVE,  [RECV] = TAKE, [RESERVE] = GIVE_IN_PLACE,
        [PEEK] = TAKE_IN_PLACE, [DRAIN] = WAIT_DRAINED, [CLOSE] = SHUT, [LAST] = SHUT, [UNLINK] = REMOVE};
    struct request request = move_request(scene->side, 1, scene->state == ASLEEP ? -1 : 0);
    request.deed = DEEDS[scene->operation];
    request.traced = true;
    return request;
}

/* The victim sleeps: this wakes it. */
static void wake_victim(void *argument) {
    (void)argument;
    move_well(&peer, other(scene->side), scene->operation == DRAIN ? LETTERS : 1, 0);
}

static void begin_victim(void) {
    const struct request request = victims_request();
    ledger.victims = request.number;
    trace.wake = scene->state == ASLEEP ? wake_victim : NULL;
    trace_begin(&trace, &victim, &request);
}

static void begin_rescuer(void) {
    newcomer = actor_new("second victim", scene, result->name);
    struct request request = move_request(scene->side, 1, 0);
    request.deed = RESCUE;
    request.traced = true;
    trace = (struct trace){.astray = trace.astray};
    trace_begin(&trace, &newcomer, &request);
}

/* ---- Deaths -------------------------------------------------------------------------------- */

static bool gives(void) { return scene->operation == SEND || scene->operation == RESERVE; }

static bool takes(void) { return (scene->operation == RECV || scene->operation == PEEK) && scene->state != EMPTY; }

/* What the peer may hear of the victim's death. */
static unsigned may_hear(bool done) {
    const bool produced = scene->side == SHMQ_PRODUCER;
    switch (scene->operation) {
    case CREATE: return !produced ? QUIET : done ? DEAD : QUIET | DEAD;
    case ATTACH: return done ? DEAD : QUIET | DEAD;
    case CLOSE: return done ? CLOSED : CLOSED | DEAD;
    case LAST:
        if (!produced) return QUIET;
        if (done) return scene->state == EMPTY ? QUIET : CLOSED;
        return scene->state == EMPTY ? QUIET | DEAD | CLOSED : DEAD | CLOSED;
    case UNLINK: return QUIET;
    default: return DEAD;
    }
}

static void check_names(bool done) {
    const bool there = access(check_path(result->name), F_OK) == 0;
    const bool goes = scene->operation == UNLINK || (scene->operation == LAST && scene->state == EMPTY);
    if (done && there == goes) trial_ends(BAD, "the victim was done, and the name is %s", there ? "there" : "gone");
    if (!there && !goes && scene->operation != CREATE) trial_ends(BAD, "the name is gone");
    traces_note(result);
}

/* The victim dies. What may be heard of that. */
static unsigned kill_victim(void) {
    const bool done = trace.done;
    trace_kill(&trace);
    check_names(done);
    if (done) check_rung();
    if (gives() && scene->state != FULL) ledger.perhaps[ledger.next++] = !done; /* full is EAGAIN */
    if (takes()) {
        ledger.expected += done;
        ledger.forgiven += !done;
    }
    return scene->many && has_mate() ? QUIET : may_hear(done);
}

/* So does the end that comes in its place. */
static unsigned kill_rescuer(unsigned allowed) {
    begin_rescuer();
    trace_to(&trace, &trial->second);
    trace_kill(&trace);
    newcomer.pid = 0;
    traces_note(result);
    if (scene->side == SHMQ_PRODUCER)
        ledger.perhaps[ledger.next++] = true;
    else
        ledger.forgiven++;
    const bool untold = has_mate() || (is_alone() && scene->side == SHMQ_CONSUMER);
    /* Who waits in its call, and is not frozen, may have heard of the first already. */
    const bool hears_last = trace.done && (!outstanding || can_freeze());
    return untold ? QUIET : hears_last ? DEAD : allowed | DEAD;
}

/* ---- What must hold then ------------------------------------------------------------------- */

/* The peer was asleep in its call; by now there was something for it. */
static void finish_peer(unsigned allowed) {
    if (!outstanding) return;
    const struct reply reply = finish(&peer, ROOM_MS);
    outstanding = false;
    note_moved(&peer, other(scene->side), &reply);
    if (reply.error != 0) (void)check_heard(&peer, reply.error, allowed & ~(unsigned)QUIET);
}

/* Somebody else than the victim is there for the peer. */
static void serve(const struct actor *own, unsigned allowed) {
    const int64_t since_ms = check_now_ms();
    if (outstanding) move_well(own, scene->side, 1, 0);
    finish_peer(allowed);
    note_wake_up(check_now_ms() - since_ms);
    exchange(own, &peer);
}

static void check_counters(uint32_t own) {
    const struct reply reply = act(&peer, (struct request){.deed = LOOK}, ROOM_MS);
    const struct shmq_stat *stat = &reply.stat;
    const uint32_t ours = scene->side == SHMQ_PRODUCER ? stat->producers : stat->consumers;
    const uint32_t theirs = scene->side == SHMQ_PRODUCER ? stat->consumers : stat->producers;
    if (reply.error != 0) trial_ends(BAD, "stat gave %s", name_of(reply.error));
    if (ours != own || theirs != 1) trial_ends(BAD, "stat counts %u of the victim's side and %u", ours, theirs);
    if (stat->used != 0) trial_ends(BAD, "of a drained ring %llu bytes are used", (unsigned long long)stat->used);
    if (stat->sent > ledger.next || stat->received > ledger.next)
        trial_ends(BAD, "stat: %llu sent, %llu received", (unsigned long long)stat->sent,
                   (unsigned long long)stat->received);
    const int64_t apart = (int64_t)(stat->sent - stat->received);
    if (apart < -2 || apart > 2) trial_ends(BAD, "%lld more sent than received", (long long)apart); /* one each death */
}

/* Closes, or dies without: what is to be heard of that. */
static unsigned go(const struct actor *actor) {
    if (!at_upper_point()) return leave(actor), CLOSED;
    (void)kill(actor->pid, SIGKILL);
    (void)waitpid(actor->pid, NULL, 0);
    return DEAD;
}

/* All go, and nothing is left. */
static void clear_stage(const struct actor *own) {
    check_counters(has_mate() && own != &mate ? 2 : 1);
    if (has_mate() && own != &mate) leave(&mate);
    const unsigned allowed = go(own);
    /* Of many, one that died may have left a slot that nobody has taken since. */
    hear(&peer, other(scene->side), scene->many ? CLOSED | DEAD : allowed);
    leave(&peer);
    if (scene->operation == LAST && scene->side == SHMQ_PRODUCER && access(check_path(result->name), F_OK) == 0)
        trial_ends(BAD, "the ephemeral queue is still there");
    const char *locked = traces_locked();
    if (locked != NULL) trial_ends(BAD, "left: %s", locked);
    const struct reply reply = act(&peer, (struct request){.deed = REMOVE}, PATIENCE_MS);
    if (reply.error != 0 && reply.error != ENOENT) trial_ends(BAD, "unlink gave %s", name_of(reply.error));
    const char *left = traces_left(result);
    if (left != NULL) trial_ends(BAD, "left: %s", left);
}

/* The peer has heard what there was to hear: another one that comes in its place does not. */
static void renew_peer(void) {
    leave(&peer);
    enter(&peer, "peer", other(scene->side));
    const struct reply reply = move(&peer, other(scene->side), MORE, 0);
    (void)check_heard(&peer, reply.error, QUIET);
}

/* The victim is dead: the survivor hears it, a newcomer takes its place. */
static void go_on_without_victim(unsigned allowed) {
    /* In the dead one's slot of many, and idle: others of its side must not think that it works. */
    const bool early = scene->many && has_mate() && scene->operation != UNLINK && at_odd_point();
    if (is_alone()) enter(&peer, "survivor", other(scene->side));
    if (early) enter(&newcomer, "newcomer", scene->side);
    if (has_mate()) serve(&mate, QUIET);
    const bool told = !outstanding || (allowed & QUIET) == 0;
    if (told) {
        finish_peer(allowed);
        hear(&peer, other(scene->side), allowed);
        if (scene->operation < LAST && at_upper_point()) renew_peer(); /* else the queue may be gone */
    }
    if (scene->operation == UNLINK) return clear_stage(&mate);
    if (!early) enter(&newcomer, "newcomer", scene->side);
    serve(&newcomer, allowed);
    clear_stage(&newcomer);
}

/* ---- Stops --------------------------------------------------------------------------------- */

/* Whoever calls while the victim is stopped gets an answer in time, and does not take it for dead. */
static void try_to_move(const struct actor *actor, enum shmq_end end) {
    const unsigned allowed = scene->operation == CLOSE && actor == &peer ? QUIET | CLOSED : QUIET;
    struct reply reply = move(actor, end, 1, 0);
    if (reply.error != 0) (void)check_heard(actor, reply.error, allowed);
    reply = move(actor, end, 1, SHORT_MS);
    if (reply.error != 0) (void)check_heard(actor, reply.error, allowed);
    if (reply.error == ETIMEDOUT && reply.took_ms < SHORT_MS - 1)
        trial_ends(BAD, "the %s's time was up after %d ms", actor->who, (int)reply.took_ms);
}

/* Somebody opens this end while the victim is stopped: true, or it is busy. */
static bool try_to_enter(struct actor *actor, const char *who, enum shmq_end end) {
    if (actor->pid == 0) *actor = actor_new(who, scene, result->name);
    const struct reply reply = act(actor, open_request(end), PATIENCE_MS);
    traces_note(result);
    if (reply.error == 0 || reply.error == EBUSY) return reply.error == 0;
    trial_ends(BAD, "while the victim is stopped the %s cannot open its end: %s", who, name_of(reply.error));
}

/* Nobody unlinks what somebody else is in the middle of opening or closing, and hears so after a second. */
static void try_to_remove(void) {
    const struct actor third = actor_new("third", scene, result->name);
    const struct reply reply = act(&third, (struct request){.deed = REMOVE}, PATIENCE_MS);
    if (reply.error != EBUSY || reply.took_ms < PATIENCE_MS - ROOM_MS - SHORT_MS)
        trial_ends(BAD, "unlink while the victim is in the middle gave %s after %d ms", name_of(reply.error),
                   (int)reply.took_ms);
}

static bool holds_its_end(void) { return scene->operation >= SEND && scene->operation <= DRAIN; }

/* What others can do while the victim is stopped. Whether the peer has come. */
static bool meanwhile(void) {
    bool peer_is_in = !is_alone();
    if (gives()) ledger.perhaps[ledger.next++] = true; /* until we know */
    traces_note(result);
    if (traces_life_cycle_held() && access(check_path(result->name), F_OK) == 0) try_to_remove();
    if (!outstanding && peer_is_in) try_to_move(&peer, other(scene->side));
    if (has_mate()) try_to_move(&mate, scene->side);
    if (!peer_is_in) peer_is_in = try_to_enter(&peer, "peer", other(scene->side));
    if (has_mate() && scene->operation != UNLINK) return peer_is_in;
    const bool entered = try_to_enter(&newcomer, "newcomer", scene->side);
    if (entered && holds_its_end()) trial_ends(BAD, "the newcomer took an end that the victim holds");
    if (entered) leave(&newcomer);
    return peer_is_in;
}

/* The victim goes on: what it was told to do ends as if nothing had been. */
static void finish_victim(void) {
    const int64_t since_ms = check_now_ms();
    if (kill(victim.pid, SIGCONT) != 0) trial_ends(BAD, "the stopped victim is not there any more");
    if (trace.wake != NULL && !trace.done)
        (void)move(&peer, other(scene->side), scene->operation == DRAIN ? MORE : 1, 0);
    const struct reply reply = finish(&victim, ROOM_MS);
    if (trace.wake != NULL) note_wake_up(check_now_ms() - since_ms);
    const bool full = scene->state == FULL && (scene->operation == SEND || scene->operation == RESERVE);
    const bool empty = scene->state == EMPTY && (scene->operation == RECV || scene->operation == PEEK);
    /* The kernel ends a wait for signals when a stopped process goes on: signal(7). */
    if (reply.error == EINTR && scene->notifier->kind == SHMQ_NOTIFY_SIGNAL && trace.now.asleep) return;
    const bool waits = full || empty || (scene->operation == DRAIN && scene->state != ASLEEP); /* others have sent */
    if (reply.error != 0 && !(waits && reply.error == EAGAIN))
        trial_ends(BAD, "the victim, after it was stopped, got %s", name_of(reply.error));
    if (gives())
        ledger.perhaps[ledger.victims] = reply.done == 0;
    else
        note_moved(&victim, scene->side, &reply);
}

static void go_on_with_victim(void) {
    const bool peer_is_in = meanwhile();
    finish_victim();
    if (!peer_is_in) enter(&peer, "peer", other(scene->side));
    if (has_mate()) serve(&mate, QUIET);
    if (scene->operation == UNLINK) return clear_stage(&mate);
    const bool gone = scene->operation == CLOSE || scene->operation == LAST;
    if (gone) enter(&newcomer, "newcomer", scene->side);
    serve(gone ? &newcomer : &victim, CLOSED);
    for (uint32_t number = 0; number < ledger.next; number++)
        if (!ledger.taken[number] && !ledger.perhaps[number]) trial_ends(BAD, "message %u is lost", number);
    clear_stage(gone ? &newcomer : &victim);
}

/* ---- All of it ----------------------------------------------------------------------------- */

static void begin(const struct scene *of, const struct trial *what, struct result *into) {
    scene = of;
    trial = what;
    result = into;
    notifier_now = scene->notifier;
    set_stage();
    begin_victim();
}

void play(const struct scene *of, const struct trial *what, struct result *into) {
    begin(of, what, into);
    trace_to(&trace, &trial->first);
    if (trial->fate == STOPPED) {
        trace_stop(&trace);
        freeze_peer(false);
        go_on_with_victim();
    } else {
        unsigned allowed = kill_victim();
        if (trial->pair) allowed = kill_rescuer(allowed);
        freeze_peer(false);
        go_on_without_victim(allowed);
    }
    trial_ends(GOOD, "%s", "");
}

static void note_point(bool is_moment) {
    if (result->points == POINTS_MOST) trial_ends(BAD, "moments without end");
    struct point *point = &result->point[result->points++];
    *point = trace.now;
    if (!is_moment) point->at = 0; /* one instruction as good as another */
}

void play_rehearse(const struct scene *of, const struct trial *what, uint32_t every, struct result *into) {
    static unsigned char before[OBJECT_BYTES];
    begin(of, what, into);
    if (trial->pair) {
        trace_to(&trace, &trial->first);
        (void)kill_victim();
        begin_rescuer();
    }
    const unsigned char *object = map_object();
    if (object != NULL) memcpy(before, object, OBJECT_BYTES);
    note_point(true);
    while (!trace.done) {
        const enum step step = trace_step(&trace);
        if (object == NULL && step == CALLED) object = map_object(); /* it has its name now */
        const bool changed = object != NULL && memcmp(before, object, OBJECT_BYTES) != 0;
        if (changed) memcpy(before, object, OBJECT_BYTES);
        const bool is_moment = step != PLAIN || changed || trace.done;
        if (is_moment || (every > 0 && trace.instructions % every == 0)) note_point(is_moment);
    }
    result->instructions = trace.instructions;
    traces_note(result);
    trial_ends(GOOD, "%s", "");
}
