/* One schedule. The cast take their turns under ptrace, one at a time, and stop where interleave.h says. When all have
 * ended or died they are let go, and whoever still has an end tries it; two more come, and all of them leave. What was seen
 * of it is one history, to be explained. */
#include "interleave.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"

enum {
    PATIENCE_MS = 4000, /* no call that nobody stops takes so long */
    SLOW_MS = 900, /* about a second is what shmq waits for others: so long, and not from napping, is our own fault */
    NAPS_OF_A_SECOND = 100 /* and more */
};

static const char *const WHO[PROCESSES] = {"A", "B", "C", "keeper", "late producer", "late consumer"};

/* All of this process is one schedule. */
static const struct plot *plot;
static struct result *result;
static struct record *record;
static struct history history;
static struct scene scene;
static uint32_t messages;

static struct member {
    struct actor actor;
    struct trace trace;
    uint32_t part, parts;  /* the present one, and after the last one */
    uint32_t steps;        /* in the present one */
    uint32_t naps;         /* likewise */
    uint32_t napped;       /* in which turn: whoever has waited longest goes on first */
    enum stop stop;        /* as it was left */
    bool plays, has_begun; /* is of the cast; has had a turn */
    bool asks;             /* stands before a call that could tell whether another one has died */
    bool is_followed, has_end, consumes;
} members[PROCESSES];

/* ---- What was seen ------------------------------------------------------------------------- */

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One more word of the story. */
static void tell(const char *format, ...) {
    va_list arguments;
    const size_t length = strlen(record->story);
    va_start(arguments, format);
    vsnprintf(record->story + length, sizeof record->story - length, format, arguments);
    va_end(arguments);
}

/* Queues in the order in which they were seen. */
static int number_of(uint64_t instance) {
    static uint64_t seen[16];
    int number = 0;
    while (number < 15 && seen[number] != 0 && seen[number] != instance)
        number++;
    seen[number] = instance;
    return number + 1;
}

static const char *name_of(int error) { return error == 0 ? "0" : strerrorname_np(error); }

static void print_part(char *to, size_t room, const struct part *part) {
    int length = snprintf(to, room, "%s:%c=%s", WHO[part->who], part->letter, part->known ? name_of(part->error) : "?");
    if (part->instance != 0) length += snprintf(to + length, room - (size_t)length, "#%d", number_of(part->instance));
    for (uint32_t at = 0; at < part->taken && (size_t)length < room; at++)
        length += snprintf(to + length, room - (size_t)length, ",%u", part->numbers[at]);
}

/* Each event in a few words, up to the one that nothing explains. */
static void tell_story(uint32_t explained) {
    char text[128];
    for (uint32_t at = 0; at < history.events && at <= explained; at++) {
        const struct event *event = &history.event[at];
        const struct part *part = &history.part[event->part];
        if (at == explained) tell("| ");
        if (event->kind == NAMED && event->instance == 0)
            tell("(no name) ");
        else if (event->kind == NAMED)
            tell("(#%d) ", number_of(event->instance));
        else if (event->kind == DIED_HERE)
            tell("x%s ", WHO[event->who]);
        else if (!event->ended)
            tell("%s:%c… ", WHO[event->who], part->letter);
        else
            print_part(text, sizeof text, part), tell("%s ", text);
    }
}

static void note_outcome(void) {
    size_t length = 0;
    for (uint32_t at = 0; at < history.parts && length < sizeof record->outcome - 64; at++) {
        print_part(record->outcome + length, sizeof record->outcome - length, &history.part[at]);
        length += strlen(record->outcome + length);
        record->outcome[length++] = ' ';
    }
}

void trial_ends(enum verdict verdict, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (result != NULL) {
        vsnprintf(result->why, sizeof result->why, format, arguments);
        result->verdict = verdict;
        if (verdict != GOOD && record->story[0] == '\0') tell_story(history.events);
    }
    va_end(arguments);
    _exit(0);
}

static struct event *new_event(void) {
    if (history.events == EVENTS_MOST) trial_ends(BAD, "they go on without end");
    return &history.event[history.events++];
}

static void note_name(void) { *new_event() = (struct event){.kind = NAMED, .instance = traces_note(result)}; }

static void note_progress(const struct member *member, bool ended) {
    *new_event() = (struct event){
        .kind = WENT_ON, .who = history.part[member->part].who, .ended = ended, .part = (uint16_t)member->part};
}

/* ---- Operations ---------------------------------------------------------------------------- */

static uint32_t new_part(uint8_t who, char letter) {
    if (history.parts == DEEDS_MOST) trial_ends(BAD, "operations without end");
    struct part *part = &history.part[history.parts];
    *part = (struct part){.who = who, .letter = letter, .number = letter == 's' ? ++messages : 0};
    return history.parts++;
}

static struct request request_of(const struct part *part) {
    struct request request = plot_request(part->letter, plot->flags);
    request.number = part->number;
    return request;
}

/* The present operation of a process has ended. */
static void end_part(struct member *member) {
    struct part *part = &history.part[member->part];
    struct reply reply;
    if (!actor_end(&member->actor, PATIENCE_MS, &reply))
        trial_ends(HUNG, "%s is in its call %c for over %d ms: %s", WHO[part->who], part->letter, PATIENCE_MS,
                   actor_place(&member->actor).text);
    part->known = true;
    part->error = reply.error;
    part->instance = reply.instance;
    if (part->letter == 'r') part->taken = reply.done;
    memcpy(part->numbers, reply.numbers, sizeof part->numbers);
    const bool opens = strchr("PCpcXY", part->letter) != NULL;
    if (opens) member->consumes = plot_request(part->letter, 0).end == SHMQ_CONSUMER;
    if (opens || part->letter == '.') member->has_end = opens && reply.error == 0;
    record->slow |= reply.error == EBUSY && reply.took_ms >= SLOW_MS && member->naps < NAPS_OF_A_SECOND;
    note_progress(member, true);
}

/* One operation at full speed, all others being at rest. */
static void perform(uint8_t who, char letter) {
    struct member *member = &members[who];
    if (member->actor.pid == 0) member->actor = actor_new(WHO[who], &scene, result->name);
    member->part = new_part(who, letter);
    const struct request request = request_of(&history.part[member->part]);
    actor_begin(&member->actor, &request);
    end_part(member);
}

/* ---- Stops --------------------------------------------------------------------------------- */

/* Nobody else could tell whether it was done. */
static bool is_private(const struct edge *edge) {
    switch (edge->call) {
    case SYS_brk:
    case SYS_fstatfs: /* nobody here takes the space of another */
    case SYS_geteuid:
    case SYS_getpid:
    case SYS_getrandom:
    case SYS_madvise:
    case SYS_mmap:
    case SYS_mprotect:
    case SYS_prlimit64:
    case SYS_rt_sigprocmask: return true;
    case SYS_futex: return (edge->argument[1] & FUTEX_PRIVATE_FLAG) != 0;
    default: return false;
    }
}

static bool naps(const struct edge *edge) {
    return edge->call == SYS_nanosleep || edge->call == SYS_clock_nanosleep || edge->call == SYS_sched_yield;
}

/* What is stored after such a call is another moment than the call: it gives a name, or takes a lock for one alone. */
static bool is_followed_by_stores(const struct member *member, const struct edge *edge) {
    if (edge->call == SYS_linkat) return true;
    return edge->call == SYS_fcntl && edge->argument[1] == F_OFD_SETLK &&
           (short)trace_read(&member->trace, edge->argument[2]) == F_WRLCK; /* struct flock begins with l_type */
}

/* Could tell whether another process has died: it is about a lock, the other end of a FIFO or a process; or a word that the
 * kernel marks (a robust mutex), which any code may read. */
static bool asks(const struct edge *edge) {
    switch (edge->call) {
    case SYS_fcntl:
        return edge->argument[1] == F_OFD_SETLK || edge->argument[1] == F_OFD_SETLKW ||
               edge->argument[1] == F_OFD_GETLK;
    case SYS_pidfd_open:
    case SYS_pidfd_send_signal: return true;
    default: return notifier_now->kind == SHMQ_NOTIFY_FIFO || notifier_now->kind == SHMQ_NOTIFY_COND;
    }
}

/* Has ended an operation, and goes on with the next, if there is one. */
static enum stop next_part(struct member *member) {
    end_part(member);
    member->part++;
    member->steps = member->naps = 0;
    return member->part == member->parts ? FINISHED : AT_CALL;
}

/* To the next stop. */
static enum stop advance(struct member *member) {
    for (;;) {
        const struct edge edge = trace_to_edge(&member->trace);
        member->asks = notifier_now->kind == SHMQ_NOTIFY_COND;
        if (edge.is_end && !member->is_followed) continue;
        if (edge.is_end) return member->is_followed = false, AT_CALL;
        if (trace_is_desk(&member->trace, &edge)) {
            if (edge.call == SYS_read) return next_part(member);
            continue;
        }
        member->is_followed = is_followed_by_stores(member, &edge);
        if (is_private(&edge)) continue;
        member->asks = asks(&edge);
        if (!naps(&edge)) return AT_CALL;
        member->naps++;
        return NAPS;
    }
}

/* ---- Turns --------------------------------------------------------------------------------- */

/* Of the cast: who is not there any more, or has ended, cannot go on. */
static bool can_go_on(const struct member *member) {
    return member->plays && member->stop != DEAD_NOW && member->stop != FINISHED;
}

static uint8_t set_of_those_who_can(void) {
    uint8_t set = 0;
    for (int who = 0; who < CAST; who++)
        if (can_go_on(&members[who])) set |= (uint8_t)(1 << who);
    return set;
}

/* Who has begun, and could die: even after its last operation, if it has an end. */
static uint8_t set_of_living(void) {
    uint8_t set = 0;
    for (int who = 0; who < CAST; who++) {
        const struct member *member = &members[who];
        if (member->has_begun && (can_go_on(member) || (member->stop == FINISHED && member->has_end)))
            set |= (uint8_t)(1 << who);
    }
    return set;
}

/* Who may go on after this one. Who naps waits for others: those who do not nap go first, then who has napped longest. */
static uint8_t set_of_next(const struct member *last) {
    const uint8_t all = set_of_those_who_can();
    uint8_t awake = 0;
    if (last->stop != NAPS) return all;
    const struct member *oldest = last;
    for (const struct member *member = members; member < members + CAST; member++) {
        if (!can_go_on(member)) continue;
        if (member->stop != NAPS) awake |= (uint8_t)(1 << (member - members));
        if (member->napped < oldest->napped) oldest = member;
    }
    return awake != 0 ? awake : (uint8_t)(1 << (oldest - members));
}

static void run_turn(struct member *member, struct taken_turn *taken) {
    const uint32_t wanted = taken->turn.steps;
    taken->turn.steps = 0;
    taken->others = (uint8_t)(set_of_those_who_can() & ~(1 << taken->turn.who));
    if (!can_go_on(member)) result->astray = true;
    while (can_go_on(member) && taken->turn.steps < wanted) {
        if (taken->turn.steps == STOPS_MOST) trial_ends(BAD, "a turn without end");
        if (member->asks) taken->asks[taken->turn.steps / 64] |= 1ull << taken->turn.steps % 64;
        member->has_begun = true;
        member->steps++;
        member->stop = advance(member);
        taken->turn.steps++;
        /* Who naps alone goes on. */
        if (member->stop == NAPS && taken->others != 0) break;
    }
    member->napped = record->turns;
    taken->stop = taken->turn.steps == wanted && can_go_on(member) ? AT_CALL : member->stop;
    result->astray |= wanted != TO_THE_END && (taken->turn.steps < wanted || !can_go_on(member));
    if (member->steps > 0 && can_go_on(member)) note_progress(member, false);
}

static void run_death(struct member *member, struct taken_turn *taken) {
    if (member->stop == DEAD_NOW || !member->plays) trial_ends(BAD, "who shall die is not there");
    trace_kill(&member->trace);
    member->stop = DEAD_NOW;
    member->has_end = false;
    taken->stop = DEAD_NOW;
    *new_event() = (struct event){.kind = DIED_HERE, .who = taken->turn.who};
}

static void take_turn(const struct turn *turn) {
    if (record->turns == TURNS_MOST) trial_ends(BAD, "they wait for each other without end");
    struct taken_turn *taken = &record->taken[record->turns++];
    struct member *member = &members[turn->who];
    *taken = (struct taken_turn){.turn = *turn, .alive = set_of_living()};
    if (turn->dies)
        run_death(member, taken);
    else
        run_turn(member, taken);
    taken->next = set_of_next(member);
    note_name();
}

static void take_turns(const struct schedule *schedule) {
    for (uint32_t at = 0; at < schedule->turns; at++)
        take_turn(&schedule->turn[at]);
    uint8_t next = schedule->turns == 0 ? set_of_those_who_can() : record->taken[record->turns - 1].next;
    while (next != 0) {
        take_turn(&(struct turn){.who = (uint8_t)__builtin_ctz(next), .steps = TO_THE_END});
        next = record->taken[record->turns - 1].next;
    }
}

/* ---- Before and after ---------------------------------------------------------------------- */

/* A process that stands before its first call. */
static void enter(uint8_t who) {
    struct member *member = &members[who];
    const char *letters = plot->part[who];
    member->plays = true;
    member->actor = actor_new(WHO[who], &scene, result->name);
    member->part = history.parts;
    for (const char *at = letters; *at != '\0'; at++) {
        struct request request = request_of(&history.part[new_part(who, *at)]);
        request.traced = at == letters;
        if (request.traced)
            trace_seize(&member->trace, &member->actor, &request);
        else
            actor_begin(&member->actor, &request);
    }
    member->parts = history.parts;
    member->stop = advance(member);
}

static void let_go(void) {
    for (struct member *member = members; member < members + CAST; member++)
        if (member->plays && member->stop != DEAD_NOW) trace_release(&member->trace);
}

/* Everybody who has such an end does this. */
static void perform_all(bool consumes, char letter) {
    for (uint8_t who = 0; who < PROCESSES; who++)
        if (members[who].has_end && members[who].consumes == consumes) perform(who, letter);
}

static void talk(void) {
    perform_all(false, 's');
    perform_all(true, 'r');
    perform_all(false, 'd');
}

static void check_all(void) {
    uint32_t explained;
    const bool is_right = explain(&history, &explained);
    note_outcome();
    if (is_right) return;
    tell_story(explained);
    trial_ends(BAD, "nothing explains what stands behind the bar");
}

static void come_and_go(void) {
    perform_all(true, 'r');
    talk();
    perform(LATE_PRODUCER, 'P');
    perform(LATE_CONSUMER, 'C');
    talk();
    note_name();
    perform_all(false, '.');
    note_name();
    perform_all(true, 'r');
    perform_all(true, '.');
    note_name();
    const char *locked = traces_locked();
    perform(LATE_PRODUCER, 'u');
    note_name();
    check_all();
    if (locked != NULL) trial_ends(BAD, "left: %s", locked);
    const char *left = traces_left(result);
    if (left != NULL) trial_ends(BAD, "left: %s", left);
}

void weave(const struct plot *of, const struct notifier_row *notifier, const struct schedule *schedule,
           struct result *into, struct record *in) {
    plot = of;
    result = into;
    record = in;
    scene = (struct scene){.notifier = notifier};
    notifier_now = notifier;
    history.flags = plot->flags;
    for (const char *letter = plot->keeper; letter != NULL && *letter != '\0'; letter++)
        perform(KEEPER, *letter);
    note_name();
    for (uint8_t who = 0; who < CAST; who++)
        if (plot->part[who] != NULL) enter(who);
    take_turns(schedule);
    record->living = set_of_living();
    let_go();
    come_and_go();
    trial_ends(GOOD, "%s", "");
}
