/* The two ends of a trial: what a program would be that uses the peer, and checks every message that it takes. */
#include "trial.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

enum {
    PACE_US = 1500, /* who waits falls asleep in that */
    GOES_ON = 200,  /* messages after everything has happened */
    SLOW_EVERY = 8,
    SLOW_US = 200,
    NEIGHBOURS = 4096 /* how far off a wrong message is looked for, to say which it is */
};

static struct side *side_of(const struct trial *trial, enum peer_end end) { return &trial->board->sides[end]; }

__attribute__((format(printf, 4, 5))) static void report(const struct trial *trial, enum peer_end end,
                                                         enum verdict verdict, const char *format, ...) {
    struct side *side = side_of(trial, end);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(side->why, sizeof side->why, format, arguments);
    va_end(arguments);
    side->verdict = verdict;
}

/* What the peer says of its failure, in words. */
static const char *words(const struct trial *trial, int error) {
    const char *name = strerrorname_np(error);
    return trial->lane.why[0] != '\0' || name == NULL ? lane_why(&trial->lane, error) : name;
}

/* After a failed call: is another worth while? The consumer that hears that all is over, and knows better, has lost
 * something. */
static bool may_retry(const struct trial *trial, enum peer_end end, int64_t number, bool known) {
    const int error = errno;
    const bool over = end == PEER_CONSUMER && error == EPIPE;
    struct side *side = side_of(trial, end);
    side->told = error;
    if (trial->stubborn && over && known) {
        report(trial, end, SILENT, "the stream ended with message %lld, which is lost", (long long)number);
        return false;
    }
    if (trial->stubborn) return trial_nap(1000), true;
    side->ended = over;
    report(trial, end, TOLD, "%s message %lld: %s", end == PEER_PRODUCER ? "send of" : "receive of", (long long)number,
           words(trial, error));
    return false;
}

static void pause_if_slow(const struct trial *trial, enum peer_end end, int64_t number) {
    if (trial->slow[end] && number % SLOW_EVERY == 0) trial_nap(SLOW_US);
}

static void stop_if_asked(struct trial *trial) {
    if (trial->stops) trial->stops = false, (void)raise(SIGSTOP);
}

/* ---- Producer ------------------------------------------------------------------------------ */

static bool send_one(struct trial *trial, int64_t number) {
    unsigned char letter[LONGEST];
    const size_t length = stream_write(&trial->stream, (uint64_t)number, letter);
    stop_if_asked(trial);
    while (trial->peer->send(&trial->lane, letter, length) != 0)
        if (!may_retry(trial, PEER_PRODUCER, number, false)) return false;
    side_of(trial, PEER_PRODUCER)->told = 0;
    trial->board->sent = number + 1;
    pause_if_slow(trial, PEER_PRODUCER, number);
    return true;
}

void produce_all(struct trial *trial) {
    struct board *board = trial->board;
    for (int64_t number = board->sent; board->last == NEVER || number < board->last; number++) {
        if (board->last == NEVER && board->closing != 0) board->last = number + GOES_ON;
        if (!send_one(trial, number)) return;
    }
}

/* ---- Consumer ------------------------------------------------------------------------------ */

/* Which message this is, for the report; -1 if it is none of those around. */
static int64_t find_number(const struct stream *stream, int64_t around, const unsigned char *letter, size_t length) {
    const int64_t first = around > NEIGHBOURS ? around - NEIGHBOURS : 0;
    for (int64_t number = first; number < around + NEIGHBOURS; number++)
        if (stream_is(stream, (uint64_t)number, letter, length)) return number;
    return -1;
}

static void report_wrong(const struct trial *trial, int64_t next, const unsigned char *letter, size_t length) {
    const int64_t number = find_number(&trial->stream, next, letter, length);
    const char *what = number < 0 ? "has wrong bytes" : number < next ? "came again" : "came before its time";
    report(trial, PEER_CONSUMER, SILENT, "where message %lld was due, %s%lld %s", (long long)next,
           number < 0 ? "what should be " : "message ", (long long)(number < 0 ? next : number), what);
}

/* Takes the next message, which must be `*next` or, if that is in doubt, the one after it. */
static bool take_one(struct trial *trial, int64_t *next) {
    const struct board *board = trial->board;
    const struct stream *stream = &trial->stream;
    unsigned char letter[LONGEST];
    ssize_t got;
    stop_if_asked(trial);
    for (bool known = board->last != NEVER; (got = trial->peer->receive(&trial->lane, letter, stream->longest, -1)) < 0;
         known = board->last != NEVER)
        if (!may_retry(trial, PEER_CONSUMER, *next, known)) return false;
    side_of(trial, PEER_CONSUMER)->told = 0;
    const bool skips = *next == board->doubt && stream_is(stream, (uint64_t)*next + 1, letter, (size_t)got);
    if (!skips && !stream_is(stream, (uint64_t)*next, letter, (size_t)got))
        return report_wrong(trial, *next, letter, (size_t)got), false;
    *next += skips ? 2 : 1;
    trial->board->taken = *next;
    pause_if_slow(trial, PEER_CONSUMER, *next);
    return true;
}

void consume_all(struct trial *trial) {
    unsigned char letter[LONGEST];
    int64_t next = trial->board->taken;
    while (trial->board->last == NEVER || next < trial->board->last)
        if (!take_one(trial, &next)) return;
    if (trial->peer->receive(&trial->lane, letter, trial->stream.longest, 0) >= 0)
        report(trial, PEER_CONSUMER, SILENT, "a message came after the last one");
}

/* ---- Bodies with a rest -------------------------------------------------------------------- */

static bool produce_some(struct trial *trial) {
    for (int64_t number = 0; number < BEFORE_REST; number++)
        if (!send_one(trial, number)) return false;
    return true;
}

/* Of what is there by then, and leaves the rest unread. */
static bool consume_some(struct trial *trial) {
    int64_t next = 0;
    while (trial->board->sent < BEFORE_REST)
        trial_nap(200);
    while (next < trial->takes)
        if (!take_one(trial, &next)) return false;
    return true;
}

static void rest(struct trial *trial, enum peer_end end) {
    side_of(trial, end)->rests = 1;
    while (trial->board->resume == 0)
        trial_nap(200);
}

void produce_some_and_leave(struct trial *trial) { (void)produce_some(trial); }

void consume_some_and_leave(struct trial *trial) { (void)consume_some(trial); }

void rest_and_produce(struct trial *trial) {
    rest(trial, PEER_PRODUCER);
    produce_all(trial);
}

void rest_and_consume(struct trial *trial) {
    rest(trial, PEER_CONSUMER);
    consume_all(trial);
}

void produce_some_and_rest(struct trial *trial) {
    if (produce_some(trial)) rest_and_produce(trial);
}

void consume_some_and_rest(struct trial *trial) {
    if (consume_some(trial)) rest_and_consume(trial);
}

static bool be_traced(struct trial *trial, enum peer_end end) {
    trial->stops = ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
    if (!trial->stops) report(trial, end, ABSENT, "ptrace is denied here: %s", strerrorname_np(errno));
    return trial->stops;
}

void produce_some_and_stop(struct trial *trial) {
    for (int64_t number = 0; number < BEFORE_REST; number++) {
        trial_nap(PACE_US);
        if (!send_one(trial, number)) return;
    }
    if (be_traced(trial, PEER_PRODUCER)) rest_and_produce(trial);
}

void consume_some_and_stop(struct trial *trial) {
    for (int64_t next = 0; next < BEFORE_REST;) {
        trial_nap(PACE_US);
        if (!take_one(trial, &next)) return;
    }
    if (be_traced(trial, PEER_CONSUMER)) rest_and_consume(trial);
}

/* ---- From fork to exit --------------------------------------------------------------------- */

static void burn(uint32_t us) {
    struct timespec now, start;
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    do
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000 + (now.tv_nsec - start.tv_nsec) / 1000 < (int64_t)us);
}

static void report_refusal(const struct trial *trial, enum peer_end end) {
    const int error = errno;
    const enum verdict verdict = error == ENOTSUP && !trial->harmed ? ABSENT : error == ENOSPC ? NO_SPACE : TOLD;
    report(trial, end, verdict, "open: %s", words(trial, error));
    side_of(trial, end)->refused = 1;
}

_Noreturn void end_run(struct trial *trial, enum peer_end end, body *does) {
    const struct peer *peer = trial->peer;
    trial->board->here++;
    while (trial->board->go == 0)
        (void)sched_yield();
    burn(trial->delay_us[end]);
    if (peer->open(&trial->lane, end) == 0) {
        side_of(trial, end)->opened = 1;
        does(trial);
        peer->close(&trial->lane);
    } else {
        report_refusal(trial, end);
    }
    _exit(0);
}
