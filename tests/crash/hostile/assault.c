/* One trial. Two ends that do as shmq.h says, and somebody who writes into their queue: at one moment of one of them, or
 * all the time. See hostile.h.
 *
 * Messages are numbered. Whatever is written, an end is given messages that were sent, in their order, none twice. Only
 * who writes into the ring itself may change bytes, if there are no checksums; or while they lie in a caller's hands. */
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "layout.h"

enum {
    WAIT_MS = 30,   /* the time-out of calls that wait */
    DOZE_MS = 300,  /* of one that sleeps while the victim goes step by step */
    ROOM_MS = 4000, /* beyond a time-out, on a busy machine: whoever takes longer hangs */
    OPEN_MS = 1000, /* patience of those who open and unlink */
    STORM_MS = 40,  /* blows for so long at most */
    BLOWS_MOST = 4, /* different ones of a storm */
    STREAM = 10     /* messages of one request */
};

/* All of this process is one trial. */
static const struct assault *plan;
static struct result *result;
static struct trace trace;
static int object = -1;
struct outcome *outcome;
static uint32_t next; /* number of the next message */
static bool tears;    /* a message may have other bytes than were sent */
static bool hits_header;

/* What is known of an end. */
static struct end {
    struct actor actor;
    enum shmq_end side;
    bool open, busy, poisoned;
    struct request request; /* that it is at */
    int64_t since_ms;       /* by the fair clock */
    int64_t taken;          /* the number that it took last */
} victim, peer;

/* By what signal it has ended, if it has. */
static void note_signal(const struct end *end, size_t length) {
    int status = 0;
    if (end->actor.pid == 0 || waitpid(end->actor.pid, &status, WNOHANG) != end->actor.pid || !WIFSIGNALED(status))
        return;
    snprintf(result->why + length, sizeof result->why - length, ": the %s by %s", end->actor.who,
             strsignal(WTERMSIG(status)));
}

void trial_ends(enum verdict verdict, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(result->why, sizeof result->why, format, arguments);
    va_end(arguments);
    if (verdict != GOOD) note_signal(&victim, strlen(result->why));
    if (verdict != GOOD) note_signal(&peer, strlen(result->why));
    result->verdict = verdict;
    _exit(0);
}

static void nap_us(long us) {
    const struct timespec nap = {.tv_nsec = us * 1000};
    nanosleep(&nap, NULL);
}

/* ---- What a call may say ------------------------------------------------------------------- */

static const char *name_of(int error) { return error == 0 ? "success" : strerrorname_np(error); }

static const char *const DEED_NAMES[] = {
    [OPEN] = "open",          [GIVE] = "send", [TAKE] = "recv",  [GIVE_IN_PLACE] = "commit", [TAKE_IN_PLACE] = "peek",
    [WAIT_DRAINED] = "drain", [LOOK] = "stat", [SHUT] = "close", [REMOVE] = "unlink"};

static bool is_move(enum deed deed) { return deed >= GIVE && deed <= TAKE_IN_PLACE; }

static bool may_say(const struct request *request, int error) {
    switch (request->deed) {
    case OPEN: return error == 0 || notifier_open_says(error);
    case SHUT:
        return error == 0 || (plan->scene.operation == LAST && (error == EBUSY || (error == EPROTO && hits_header)));
    case REMOVE: return error == 0 || error == ENOENT || (error == EPROTO && hits_header);
    case LOOK: return error == 0 || error == EBADMSG;
    default: break;
    }
    if (error == EMSGSIZE) return hits_header; /* who attaches believes a header that agrees with itself */
    if (error == EAGAIN) return request->timeout_ms == 0;
    if (error == ETIMEDOUT) return request->timeout_ms > 0;
    return error == 0 || error == EINTR || error == EPIPE || error == EOWNERDEAD || error == EBADMSG;
}

static int limit_of(const struct request *request) {
    if (!is_move(request->deed) && request->deed != WAIT_DRAINED) return ROOM_MS + OPEN_MS;
    return ROOM_MS + request->timeout_ms * (int)(request->count == 0 ? 1 : request->count);
}

static void check_taken(struct end *end, const struct reply *reply) {
    const char *who = end->actor.who;
    const uint32_t count = reply->done + (reply->torn && reply->error != 0); /* shown, and not released */
    for (uint32_t at = 0; at < count; at++) {
        const uint32_t number = reply->numbers[at];
        const bool torn = reply->torn && at + 1 == count;
        if (torn && reply->length > LETTER) trial_ends(BAD, "the %s took %zu bytes", who, reply->length);
        if (torn && !tears)
            trial_ends(BAD, "the %s took a message that nobody has sent: %zu bytes", who, reply->length);
        outcome->taken++;
        outcome->torn += torn;
        if (torn) return;
        if (number >= next) trial_ends(BAD, "the %s took message %u before it was sent", who, number);
        if (number <= end->taken)
            trial_ends(BAD, "the %s took message %u after %lld", who, number, (long long)end->taken);
        end->taken = number;
    }
}

/* A call has come back: with what it may say, in its time, and EBADMSG for good. */
static void judge(struct end *end, const struct reply *reply) {
    const struct request *request = &end->request;
    const char *who = end->actor.who;
    const bool on_handle = request->deed != OPEN && request->deed != SHUT && request->deed != REMOVE;
    if (!may_say(request, reply->error))
        trial_ends(BAD, "the %s got %s of %s", who, name_of(reply->error), DEED_NAMES[request->deed]);
    if (end->poisoned && on_handle && reply->error != EBADMSG)
        trial_ends(BAD, "the %s had EBADMSG, and then %s", who, name_of(reply->error));
    if (reply->error == ETIMEDOUT && reply->took_ms < request->timeout_ms - 1)
        trial_ends(BAD, "the time of the %s was up after %lld ms", who, (long long)reply->took_ms);
    if (is_move(request->deed) && end->side == SHMQ_CONSUMER) check_taken(end, reply);
    /* What was not sent comes never; with EBADMSG it may. */
    if (is_move(request->deed) && end->side == SHMQ_PRODUCER)
        next = request->number + reply->done + (reply->error == EBADMSG);
    outcome->refused += on_handle && reply->error == EBADMSG && !end->poisoned;
    if (on_handle && reply->error == EBADMSG) end->poisoned = true;
    if (request->deed == OPEN) end->open = reply->error == 0;
    if (request->deed == SHUT) end->open = false;
}

/* ---- Calls --------------------------------------------------------------------------------- */

static void prepare(struct end *end, struct request request) {
    request.number = next;
    if (is_move(request.deed) && end->side == SHMQ_PRODUCER) next += request.count;
    end->request = request;
    end->busy = true;
    end->since_ms = fair_now_ms();
}

static void begin(struct end *end, struct request request) {
    prepare(end, request);
    actor_begin(&end->actor, &end->request);
}

static void check_patience(const struct end *end) {
    const int limit_ms = limit_of(&end->request);
    if (fair_now_ms() - end->since_ms > limit_ms)
        trial_ends(HUNG, "the %s is in %s for over %d ms: %s", end->actor.who, DEED_NAMES[end->request.deed], limit_ms,
                   actor_place(&end->actor).text);
}

static bool has_finished(struct end *end, int wait_ms) {
    struct reply reply;
    struct pollfd said = {.fd = end->actor.fd, .events = POLLIN};
    if (poll(&said, 1, wait_ms) <= 0 || !actor_end(&end->actor, ROOM_MS, &reply)) return false;
    end->busy = false;
    judge(end, &reply);
    return true;
}

static void finish(struct end *end) {
    while (!has_finished(end, 100))
        check_patience(end);
}

static void act(struct end *end, struct request request) {
    begin(end, request);
    finish(end);
}

static unsigned queue_flags(void) {
    const struct scene *scene = &plan->scene;
    return (scene->many ? SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0) | (plan->checked ? SHMQ_CHECKSUM : 0) |
           (scene->operation == LAST ? SHMQ_EPHEMERAL : 0);
}

static struct request request_of(const struct end *end, enum deed deed, uint32_t count, int timeout_ms) {
    return (struct request){
        .deed = deed, .end = end->side, .count = count, .timeout_ms = timeout_ms, .flags = queue_flags()};
}

/* Gives or takes. */
static struct request move_request(const struct end *end, uint32_t count, int timeout_ms, bool in_place) {
    const bool gives = end->side == SHMQ_PRODUCER;
    const enum deed deed = in_place ? (gives ? GIVE_IN_PLACE : TAKE_IN_PLACE) : (gives ? GIVE : TAKE);
    return request_of(end, deed, count, timeout_ms);
}

static void move(struct end *end, uint32_t count) { act(end, move_request(end, count, 0, false)); }

static void enter(struct end *end) {
    act(end, request_of(end, OPEN, 0, 0));
    if (!end->open) trial_ends(BAD, "the %s cannot open its end", end->actor.who);
    traces_note(result);
}

/* ---- The stage ----------------------------------------------------------------------------- */

static void find_object(void) {
    if (object < 0) object = open(check_path(result->name), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
}

static void fill(void) {
    const bool produces = plan->scene.side == SHMQ_PRODUCER;
    struct end *producer = produces ? &victim : &peer, *consumer = produces ? &peer : &victim;
    const enum state state = plan->scene.state;
    const bool full = state == FULL || (produces ? state == ASLEEP : state == RINGING);
    if (producer->open && (full || state == WRAPPING)) move(producer, LETTERS);
    if (consumer->open && state == WRAPPING) move(consumer, LETTERS);
    if (producer->open && state == WRAPPING && !produces) move(producer, 1);
}

static void set_stage(void) {
    const enum operation operation = plan->scene.operation;
    victim =
        (struct end){.actor = actor_new("victim", &plan->scene, result->name), .side = plan->scene.side, .taken = -1};
    peer = (struct end){.actor = actor_new("peer", &plan->scene, result->name),
                        .side = victim.side == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER,
                        .taken = -1};
    if (operation == CREATE) return;
    enter(&peer);
    if (operation != ATTACH && operation != UNLINK) enter(&victim);
    fill();
    if (operation == LAST) act(&peer, request_of(&peer, SHUT, 0, 0));
    find_object();
    if (plan->scene.state != RINGING) return;
    begin(&peer, move_request(&peer, 1, DOZE_MS, false));
    nap_us(3000); /* until it sleeps */
}

/* Nobody wakes it: but that it sleeps is noticed. */
static void let_sleep(void *argument) { (void)argument; }

static void begin_victim(void) {
    static const enum deed DEEDS[OPERATIONS] = {
        [CREATE] = OPEN,        [ATTACH] = OPEN,        [SEND] = GIVE,  [RECV] = TAKE, [RESERVE] = GIVE_IN_PLACE,
        [PEEK] = TAKE_IN_PLACE, [DRAIN] = WAIT_DRAINED, [CLOSE] = SHUT, [LAST] = SHUT, [UNLINK] = REMOVE};
    struct request request =
        request_of(&victim, DEEDS[plan->scene.operation], 1, plan->scene.state == ASLEEP ? WAIT_MS : 0);
    request.traced = true;
    prepare(&victim, request);
    trace.wake = let_sleep;
    trace_begin(&trace, &victim.actor, &victim.request);
}

static void open_curtain(const struct assault *of, struct result *into) {
    plan = of;
    result = into;
    draw_from(of->seed);
    notifier_now = plan->scene.notifier;
    if (shmq_guard_sigbus() != 0) trial_ends(BAD, "no guard");
    set_stage();
}

/* ---- Afterwards ---------------------------------------------------------------------------- */

/* All that an open end can be asked. */
static void ask_all(struct end *end) {
    if (!end->open) return;
    for (int turn = 0; turn < 3; turn++) {
        act(end, move_request(end, 2, turn == 1 ? WAIT_MS : 0, turn == 2));
        act(end, request_of(end, LOOK, 0, 0));
        if (end->side == SHMQ_PRODUCER) act(end, request_of(end, WAIT_DRAINED, 0, 0));
    }
}

/* Whoever has just looked, and still thinks that all is well, has seen a cursor that makes sense; unless it was its own
 * that was changed, which it does not read. Ends of one side with many look when they work. */
static void check_looked(struct end *end, const struct blow *blow) {
    const uint64_t own = 4096 * (end->side == SHMQ_PRODUCER ? PAGE_PRODUCER : PAGE_CONSUMER);
    uint64_t tail = 0, head = 0;
    if (!end->open || plan->storms || plan->scene.many || blow->harm != WRITE || blow->at / 8 == own / 8) return;
    act(end, request_of(end, LOOK, 0, 0));
    if (end->poisoned || pread(object, &tail, 8, PAGE_PRODUCER * 4096) != 8 ||
        pread(object, &head, 8, PAGE_CONSUMER * 4096) != 8)
        return;
    if (tail - head > 4096 || tail % RECORD_ALIGN != 0 || head % RECORD_ALIGN != 0)
        trial_ends(BAD, "the %s believes that tail is 0x%llx and head 0x%llx", end->actor.who, (unsigned long long)tail,
                   (unsigned long long)head);
}

/* Before anybody stores a cursor again, and so mends it. */
static void look_at_once(const struct blow *blow) {
    if (peer.busy) return;
    check_looked(&victim, blow);
    check_looked(&peer, blow);
}

static void check_traces(const struct blow *blow) {
    struct stat status;
    const char *path = check_path(result->name);
    /* A name cannot be looked at and removed at once: what takes its place in between goes with it. */
    const bool unlinks = plan->scene.operation == LAST || plan->scene.operation == UNLINK;
    if (blow->harm == REPLACE && !unlinks && (lstat(path, &status) != 0 || status.st_size != (PAGE_RING + 1) * 4096L))
        trial_ends(BAD, "what somebody put in the place of the queue is gone");
    /* Who unlinks knows what the header says and the name means. */
    if (blow->harm != WRITE || hits_header) return;
    const char *left = traces_left(result);
    if (left != NULL) trial_ends(BAD, "left: %s", left);
}

static void draw_curtain(const struct blow *blow) {
    if (peer.busy) finish(&peer);
    for (int turn = 0; turn < 2; turn++) {
        ask_all(&victim);
        ask_all(&peer);
    }
    check_looked(&victim, blow);
    check_looked(&peer, blow);
    if (victim.open) act(&victim, request_of(&victim, SHUT, 0, 0));
    if (peer.open) act(&peer, request_of(&peer, SHUT, 0, 0));
    const char *locked = traces_locked();
    if (locked != NULL) trial_ends(BAD, "left: %s", locked);
    act(&peer, request_of(&peer, REMOVE, 0, 0));
    check_traces(blow);
    trial_ends(GOOD, "%s", "");
}

/* ---- One blow ------------------------------------------------------------------------------ */

/* What those who come from now on think that the queue is: their doorbells must go, too. */
static void note_instance(void) {
    struct header header;
    size_t at = 0;
    if (pread(object, &header, sizeof header, 0) != (ssize_t)sizeof header) return;
    while (result->instances[at] != 0 && result->instances[at] != header.instance)
        at++;
    result->instances[at] = header.instance;
}

static void strike_once(void) {
    find_object();
    if (object < 0) return; /* the moment was missed */
    const struct blow *blow = &plan->blow;
    const enum operation operation = plan->scene.operation;
    const bool in_hands = operation == PEEK || operation == RESERVE;
    if (plan->scene.operation == CREATE) traces_note(result);
    hits_header = blow_hits_header(blow);
    tears = in_hands ? blow_hits_ring(blow) || blow->harm == TRUNCATE : blow_hits_ring(blow) && !plan->checked;
    blow_strike(blow, object, check_path(result->name));
    note_instance();
}

static void assault_once(void) {
    begin_victim();
    trace_to(&trace, &plan->point);
    strike_once();
    trace_release(&trace);
    finish(&victim);
    if (plan->point.steps % 2 == 0) look_at_once(&plan->blow);
    draw_curtain(&plan->blow);
}

void assault_rehearse(const struct assault *of, struct result *into) {
    open_curtain(of, into);
    begin_victim();
    while (!trace.done && into->points < POINTS_MOST) {
        find_object();
        struct point *point = &into->point[into->points];
        *point = trace.now;
        point->at = 0; /* one run may go another way than the next */
        into->points += object >= 0;
        (void)trace_step(&trace);
    }
    into->instructions = trace.instructions;
    traces_note(into);
    trial_ends(GOOD, "%s", "");
}

/* ---- A storm ------------------------------------------------------------------------------- */

/* Both ends stream for as long as there is anything to hope for. */
static void stream(struct end *end, bool in_place) {
    if (!end->busy) begin(end, move_request(end, STREAM, WAIT_MS, in_place && draw() % 2 == 0));
    if (has_finished(end, 0)) return;
    check_patience(end);
}

static void assault_in_storm(void) {
    const bool spares_meeting = plan->scene.notifier->kind == SHMQ_NOTIFY_COND, in_place = draw() % 2 == 0;
    const uint64_t blows = 1 + draw() % BLOWS_MOST, pause_us = (uint64_t[]){0, 0, 20, 200}[draw() % 4];
    struct blow blow[BLOWS_MOST];
    for (uint64_t at = 0; at < blows; at++) {
        blow[at] = blow_draw(spares_meeting, true);
        hits_header |= blow_hits_header(&blow[at]);
        tears |= blow_hits_ring(&blow[at]) && (!plan->checked || in_place);
    }
    const int64_t until_ms = check_now_ms() + STORM_MS;
    nap_us((long)(draw() % 2000));
    while (check_now_ms() < until_ms && !(victim.poisoned && peer.poisoned)) {
        blow_strike(&blow[draw() % blows], object, check_path(result->name));
        if (pause_us > 0) nap_us((long)pause_us);
        stream(&victim, in_place);
        stream(&peer, in_place);
    }
    note_instance();
    if (victim.busy) finish(&victim);
    draw_curtain(&blow[0]);
}

void assault(const struct assault *of, struct result *into) {
    open_curtain(of, into);
    if (of->storms)
        assault_in_storm();
    else
        assault_once();
}

/* ---- Others' doorbells --------------------------------------------------------------------- */

static shmq *open_queue(const char *name, enum shmq_end end, enum shmq_notify notify) {
    const struct shmq_attr attr = {.capacity = 4096, .notify = notify};
    shmq *q;
    if (shmq_open(&q, name, end, O_CREAT, &attr) != 0) trial_ends(BAD, "open: %s", name_of(errno));
    return q;
}

static struct header read_header(const char *name) {
    struct header header;
    const int fd = open(check_path(name), O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != (ssize_t)sizeof header) trial_ends(BAD, "no queue");
    close(fd);
    return header;
}

/* Makes one queue look as if its doorbells were those of another. */
static void forge(const char *name, const struct header *other) {
    struct header header = read_header(name);
    const int fd = open(check_path(name), O_WRONLY | O_CLOEXEC);
    header.instance = other->instance;
    header.notify = other->notify;
    header.fingerprint = other->fingerprint;
    if (fd < 0 || pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header) trial_ends(BAD, "no queue");
    close(fd);
}

/* Both doorbells of that queue are there. */
static void check_doorbells_of(const char *name, uint64_t instance) {
    struct stat status;
    char path[256];
    const char *prefix = notifier_now->prefix;
    if (stat(check_path(name), &status) != 0) trial_ends(BAD, "the bystander's queue is gone");
    for (int items = 0; items <= 1; items++) {
        snprintf(path, sizeof path, "%s%s%016llx-%llx.%s", prefix[0] == '/' ? "" : "/dev/shm/", prefix,
                 (unsigned long long)instance, (unsigned long long)status.st_ino, items ? "items" : "space");
        if (access(path, F_OK) != 0) trial_ends(BAD, "the bystander's %s is gone", path);
    }
}

static void sweep_first(const struct result *of) {
    static struct result first;
    first = *of;
    first.instances[1] = 0;
    traces_sweep(&first);
}

void assault_bystander(const struct assault *of, struct result *into) {
    static const enum shmq_notify honest[] = {SHMQ_NOTIFY_SEM, SHMQ_NOTIFY_NAMED, SHMQ_NOTIFY_FIFO};
    char other[sizeof into->name + 8];
    plan = of;
    result = into;
    notifier_now = of->scene.notifier;
    snprintf(other, sizeof other, "%s.other", into->name);
    shmq *bystander = open_queue(other, SHMQ_PRODUCER, notifier_now->kind);
    const struct header header = read_header(other);
    into->instances[1] = header.instance; /* for who sweeps if this fails */
    for (size_t at = 0; at < sizeof honest / sizeof honest[0]; at++) {
        if (honest[at] != SHMQ_NOTIFY_SEM && honest[at] != notifier_now->kind) continue;
        shmq *q = open_queue(into->name, SHMQ_PRODUCER, honest[at]);
        into->instances[0] = read_header(into->name).instance;
        forge(into->name, &header);
        shmq *late = open_queue(into->name, SHMQ_CONSUMER, honest[at]); /* believes it */
        if (shmq_close(q) != 0 || shmq_close(late) != 0) trial_ends(BAD, "close: %s", name_of(errno));
        if (shmq_unlink(into->name) != 0) trial_ends(BAD, "unlink: %s", name_of(errno));
        check_doorbells_of(other, header.instance);
        sweep_first(into); /* what nobody could know of any more */
    }
    if (shmq_close(bystander) != 0 || shmq_unlink(other) != 0) trial_ends(BAD, "the bystander: %s", name_of(errno));
    trial_ends(GOOD, "%s", "");
}
