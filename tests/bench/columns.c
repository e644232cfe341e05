/* What happens in each column of the scoreboard. */
#include "trial.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { DAMAGED_BYTES = 16 };

/* In either order. */
static void start_both(struct trial *trial, body *produce, body *consume) {
    const enum peer_end first = trial_draw(trial, 2) == 0 ? PEER_PRODUCER : PEER_CONSUMER;
    for (int i = 0; i < 2; i++) {
        const enum peer_end end = i == 0 ? first : PEER_PRODUCER + PEER_CONSUMER - first;
        trial_start(trial, end, end == PEER_PRODUCER ? produce : consume);
    }
    trial_let_go(trial);
}

/* ---- One is killed ------------------------------------------------------------------------- */

/* A quarter of the kills strike while the ends open, or before that. */
static void kill_somewhere(struct trial *trial, enum peer_end victim) {
    const bool early = trial_draw(trial, 4) == 0;
    const int64_t us = (int64_t)trial_draw(trial, early ? 400 : 3000);
    if (!early) (void)trial_await(trial, side_opened);
    trial_nap(us);
    trial_kill(trial, victim);
}

/* The other goes on, somebody comes in the place of the dead, and all that was acknowledged must arrive. */
static void replace(struct trial *trial, enum peer_end victim) {
    struct board *board = trial->board;
    board->doubt = victim == PEER_PRODUCER ? board->sent : board->taken;
    if (victim == PEER_PRODUCER) board->sent++;
    trial_start(trial, victim, victim == PEER_PRODUCER ? produce_all : consume_all);
    board->closing = 1;
    trial_finish(trial);
}

static void act_kill(struct trial *trial, enum peer_end victim) {
    trial->stubborn = true;
    if (!trial_make(trial)) return;
    start_both(trial, produce_all, consume_all);
    kill_somewhere(trial, victim);
    trial_nap(trial_draw(trial, 2) == 0 ? 0 : (int64_t)trial_draw(trial, 300000));
    replace(trial, victim);
}

static void act_kill_producer(struct trial *trial) { act_kill(trial, PEER_PRODUCER); }

static void act_kill_consumer(struct trial *trial) { act_kill(trial, PEER_CONSUMER); }

/* In the middle of the call that the other waits for: a message where there was none, or room where there was none. */
static void act_step(struct trial *trial, enum peer_end victim) {
    const bool is_producer = victim == PEER_PRODUCER;
    trial->stubborn = true;
    trial->slow[PEER_PRODUCER] = trial->slow[PEER_CONSUMER] = false;
    if (!trial_make(trial)) return;
    start_both(trial, is_producer ? produce_some_and_stop : produce_all,
               is_producer ? consume_all : consume_some_and_stop);
    if (!steps_await_rest(trial, victim)) {
        trial_finish(trial);
        return;
    }
    steps_make(trial, victim);
    trial_kill(trial, victim);
    replace(trial, victim);
}

static void act_step_producer(struct trial *trial) { act_step(trial, PEER_PRODUCER); }

static void act_step_consumer(struct trial *trial) { act_step(trial, PEER_CONSUMER); }

/* ---- Objects are damaged ------------------------------------------------------------------- */

static size_t find_spots(struct trial *trial, struct spot spots[PEER_SPOTS]) {
    const size_t count = trial->peer->spots(&trial->lane, spots);
    if (count == 0) trial_judge(trial, ABSENT, "its objects are not to be found");
    return count;
}

/* Of some of the spots; in each byte at least one bit changes. */
static void damage(struct trial *trial, const struct spot spots[], size_t count) {
    const uint64_t some = 1 + trial_draw(trial, ((uint64_t)1 << count) - 1);
    for (int damaged = 0; damaged < DAMAGED_BYTES;) {
        const struct spot *spot = &spots[trial_draw(trial, count)];
        if ((some >> (spot - spots) & 1) == 0) continue;
        const off_t at = spot->at + (off_t)trial_draw(trial, spot->bytes);
        const int object = open(spot->path, O_RDWR | O_CLOEXEC);
        unsigned char byte;
        bool done = pread(object, &byte, 1, at) == 1;
        byte ^= (unsigned char)(1 + trial_draw(trial, 255));
        done = done && pwrite(object, &byte, 1, at) == 1;
        if (!done) trial_judge(trial, ABSENT, "%s cannot be damaged: %s", spot->path, strerror(errno));
        (void)close(object);
        damaged++;
    }
}

/* While both rest and messages are unread. Others may come in their place; all go on when all are there, because who
 * comes after another has left need not be told of that. */
static void act_corrupt(struct trial *trial) {
    const bool new_producer = trial_draw(trial, 2) == 0, new_consumer = trial_draw(trial, 2) == 0;
    struct spot spots[PEER_SPOTS];
    trial->takes = (int64_t)trial_draw(trial, BEFORE_REST - 1);
    trial->board->last = AT_END;
    if (!trial_make(trial)) return;
    start_both(trial, new_producer ? produce_some_and_leave : produce_some_and_rest,
               new_consumer ? consume_some_and_leave : consume_some_and_rest);
    if (trial_await(trial, side_rests) && trial->outcome->verdict == WELL) {
        const size_t count = find_spots(trial, spots);
        if (count > 0) damage(trial, spots, count);
        trial->harmed = true;
        if (new_producer) trial_start(trial, PEER_PRODUCER, rest_and_produce);
        if (new_consumer) trial_start(trial, PEER_CONSUMER, rest_and_consume);
        (void)trial_await(trial, side_rests);
        trial->board->resume = 1;
        trial_event(trial);
    }
    trial_finish(trial);
}

static void act_truncate(struct trial *trial) {
    struct spot spots[PEER_SPOTS];
    if (!trial_make(trial)) return;
    start_both(trial, produce_all, consume_all);
    if (trial_await(trial, side_opened)) {
        trial_nap(500 + (int64_t)trial_draw(trial, 5000));
        const size_t count = find_spots(trial, spots);
        for (size_t i = 0; i < count; i++)
            if (truncate(spots[i].path, 0) != 0)
                trial_judge(trial, ABSENT, "%s cannot be truncated: %s", spots[i].path, strerror(errno));
        trial_event(trial);
    }
    trial_finish(trial);
}

/* ---- No room; no order --------------------------------------------------------------------- */

/* The producer alone creates, and if that works it must go on working until every byte was used. */
static void act_full(struct trial *trial) {
    trial->board->last = 3 * (int64_t)(trial->lane.capacity / trial->stream.longest);
    if (!trial_make(trial)) return;
    trial_start(trial, PEER_PRODUCER, produce_all);
    trial_let_go(trial);
    if (trial_await(trial, side_opened) && trial->outcome->verdict == WELL)
        trial_start(trial, PEER_CONSUMER, consume_all);
    trial_finish(trial);
}

/* Nobody has made anything before. */
static void act_start(struct trial *trial) {
    trial->board->last = 1;
    start_both(trial, produce_all, consume_all);
    trial_finish(trial);
}

/* ---- The columns --------------------------------------------------------------------------- */

static bool streams(const struct peer *peer) { return !peer->bound; }
static bool has_heirs(const struct peer *peer) { return !peer->bound && (peer->named || peer->spots != NULL); }
static bool has_objects(const struct peer *peer) { return !peer->bound && peer->spots != NULL; }
static bool has_name(const struct peer *peer) { return !peer->bound && peer->named; }

static const char NO_STREAM[] = "it is not for use";
static const char NO_HEIR[] = "its ends are inherited: nobody can come in the place of the dead";
static const char NO_OBJECT[] = "it has no object that others could touch";
static const char NO_NAME[] = "it is made before its ends come";

const struct column columns[] = {
    {.name = "kill_producer",
     .about = "the producer is killed at random; another one comes",
     .unsuited = NO_STREAM,
     .suits = streams,
     .act = act_kill_producer,
     .trials = 200,
     .fine = 1 << WELL},
    {.name = "kill_consumer",
     .about = "the same with the consumer",
     .unsuited = NO_STREAM,
     .suits = streams,
     .act = act_kill_consumer,
     .trials = 200,
     .fine = 1 << WELL},
    {.name = "step_producer",
     .about = "the producer is killed after every instruction of a send",
     .unsuited = NO_HEIR,
     .suits = has_heirs,
     .act = act_step_producer,
     .trials = 1000,
     .limit_s = 3,
     .fine = 1 << WELL,
     .steps = true},
    {.name = "step_consumer",
     .about = "the consumer is, of a receive",
     .unsuited = NO_HEIR,
     .suits = has_heirs,
     .act = act_step_consumer,
     .trials = 1000,
     .limit_s = 3,
     .fine = 1 << WELL,
     .steps = true},
    {.name = "corrupt",
     .about = "16 random bytes of header, cursors and unread messages change",
     .unsuited = NO_OBJECT,
     .suits = has_objects,
     .act = act_corrupt,
     .trials = 200,
     .fine = 1 << WELL | 1 << TOLD,
     .damages = true},
    {.name = "truncate",
     .about = "the object is truncated to 0 while both run",
     .unsuited = NO_OBJECT,
     .suits = has_objects,
     .act = act_truncate,
     .trials = 100,
     .fine = 1 << TOLD,
     .damages = true},
    {.name = "full",
     .about = "it is created where there is no room",
     .unsuited = NO_OBJECT,
     .suits = has_objects,
     .act = act_full,
     .trials = 20,
     .fine = 1 << NO_SPACE,
     .small = true},
    {.name = "start",
     .about = "both create or attach at the same instant; one message must cross",
     .unsuited = NO_NAME,
     .suits = has_name,
     .act = act_start,
     .trials = 100,
     .fine = 1 << WELL},
    {.name = NULL},
};
