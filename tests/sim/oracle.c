/* What must be true of every run, whoever is scheduled, killed or shown an old value: each message whose send
 * returned is seen exactly once, in order, with its bytes; nobody sleeps while there is work, unless a death has
 * taken the ring along; no side lock has two owners; and who is told of an end is told the truth. */
#include "plot.h"

#include <errno.h>
#include <string.h>

#include "handle.h"
#include "memory.h"
#include "mix.h"

enum { RECORD_MOST = RECORD_HEADER + 16 };
enum fate { UNTRIED, TRIED, SENT };

static struct {
    /* Messages, by origin and number. */
    struct {
        enum fate fate;
        bool seen, taken;
        unsigned seer;
    } message[ACTORS_MOST][MESSAGES_MOST];
    unsigned next_number[ACTORS_MOST];       /* by origin: not tried yet */
    unsigned last[ACTORS_MOST][ACTORS_MOST]; /* by reader and origin: the number after the last one seen */
    unsigned missing_allowed;                /* consumers killed inside recv */
    /* Ends of lives, by side. */
    unsigned came[2], closed[2], died[2], events[2];
    uint64_t reported[SLOTS];             /* the lives of producers whose end was told */
    bool is_unreported;                   /* the last producer's end */
    unsigned came_at_report[ACTORS_MOST]; /* how many had come when this actor was told */
    uint64_t need[ACTORS_MOST];           /* bytes that it waits for */
    unsigned rescues[2];                  /* how often one of this side may have lost its ring to a death */
    /* By actor. */
    bool inside[ACTORS_MOST], is_there[ACTORS_MOST];
    int64_t excused_until_ns[ACTORS_MOST]; /* the sleep that a slice will end */
    unsigned events_before[ACTORS_MOST], came_before[ACTORS_MOST];
} oracle;

void oracle_begin(void) { memset(&oracle, 0, sizeof oracle); }

uint64_t oracle_digest(void) {
    uint64_t digest = 0, word;
    for (size_t at = 0; at < sizeof oracle; at += sizeof word) {
        memcpy(&word, (const unsigned char *)&oracle + at, sizeof word);
        digest = engine_hash(digest, word);
    }
    return digest;
}

static enum shmq_end other_side(void) { return region_other(own_side()); }

static bool lives(unsigned actor) { return engine.actor[actor].state == READY || engine.actor[actor].state == ASLEEP; }

/* ---- Messages -------------------------------------------------------------------------------------------------- */

static uint64_t name_of(struct letter letter) { return letter.origin * MESSAGES_MOST + letter.number; }

size_t oracle_length(struct letter letter) { return plot_now()->uneven && letter.number % 2 == 0 ? 16 : 8; }

void oracle_write(struct letter letter, uint64_t payload[2]) {
    payload[0] = mix(name_of(letter) + 1) << 16 | name_of(letter);
    payload[1] = mix(payload[0]);
}

static struct letter letter_of(uint64_t payload) {
    const struct letter letter = {(payload & 0xffff) / MESSAGES_MOST, payload % MESSAGES_MOST};
    uint64_t right[2];
    oracle_write(letter, right);
    if (letter.origin >= ACTORS_MOST || payload != right[0])
        engine_fail("%s was given bytes that nobody sent: %llx", engine_self()->name, (unsigned long long)payload);
    return letter;
}

struct letter oracle_read(const uint64_t payload[2], size_t length) {
    const struct letter letter = letter_of(payload[0]);
    if (length != oracle_length(letter) || (length == 16 && payload[1] != mix(payload[0])))
        engine_fail("%s was given message %u with other bytes", engine_self()->name, letter.number);
    return letter;
}

unsigned oracle_next_number(unsigned origin) { return oracle.next_number[origin]; }

void oracle_sending(struct letter letter) {
    oracle.message[letter.origin][letter.number].fate = TRIED;
    oracle.next_number[letter.origin] = letter.number + 1;
}

void oracle_sent(struct letter letter, bool sent) {
    if (!sent && oracle.message[letter.origin][letter.number].seen)
        engine_fail("message %u of producer %u was received, and its send failed", letter.number, letter.origin);
    oracle.message[letter.origin][letter.number].fate = sent ? SENT : UNTRIED;
    if (!sent) oracle.next_number[letter.origin] = letter.number;
}

static void see(struct letter letter, unsigned reader) {
    __typeof__(&oracle.message[0][0]) message = &oracle.message[letter.origin][letter.number];
    if (message->fate == UNTRIED) engine_fail("message %u of producer %u was never sent", letter.number, letter.origin);
    const bool again = message->seen && !message->taken && engine.actor[message->seer].state == DEAD;
    if (message->seen && !again)
        engine_fail("message %u of producer %u is received twice", letter.number, letter.origin);
    unsigned *last = &oracle.last[reader][letter.origin];
    if (letter.number < *last && !again)
        engine_fail("message %u of producer %u comes after message %u", letter.number, letter.origin, *last - 1);
    *last = letter.number + 1;
    message->seen = true;
    message->seer = engine.current;
}

void oracle_seen(struct letter letter) {
    /* Single consumers follow one another; many of them see each its own part. */
    see(letter, plot_now()->ends[SHMQ_CONSUMER] > 1 ? engine.current : 0);
}

void oracle_taken(struct letter letter) { oracle.message[letter.origin][letter.number].taken = true; }

/* ---- Lives ----------------------------------------------------------------------------------------------------- */

void oracle_enter(uint64_t need) {
    oracle.need[engine.current] = need;
    oracle.inside[engine.current] = true;
    oracle.events_before[engine.current] = oracle.events[other_side()];
    oracle.came_before[engine.current] = oracle.came[other_side()];
}

void oracle_leave(void) { oracle.inside[engine.current] = false; }

static bool has_any_there(enum shmq_end side) {
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if (oracle.is_there[at] && plot_side(at) == side) return true;
    return false;
}

void oracle_came(void) {
    oracle.is_there[engine.current] = true;
    if (plot_now()->queue.strangers && has_any_there(other_side())) engine_fail("two meet that cannot ring each other");
    if (own_side() == SHMQ_PRODUCER) oracle.is_unreported = true;
    oracle.came[own_side()]++;
    oracle.events[own_side()]++;
    /* It has rung for the one before it. Of many, others may have died besides, or died at the side lock. */
    if (plot_now()->queue.flags == 0) oracle.rescues[other_side()] = 0;
}

void oracle_closes(void) {
    oracle.is_there[engine.current] = false;
    oracle.closed[own_side()]++;
    oracle.events[own_side()]++;
}

static unsigned live_ends(enum shmq_end side) {
    unsigned count = 0;
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        count += lives(at) && plot_side(at) == side;
    return count;
}

void oracle_died(unsigned actor) {
    const enum shmq_end side = plot_side(actor);
    oracle.events[side]++;
    oracle.died[side]++;
    oracle.is_there[actor] = false;
    if (!oracle.inside[actor]) return;
    oracle.rescues[region_other(side)] += live_ends(region_other(side));
    oracle.rescues[side] += live_ends(side); /* at the side lock */
    if (side == SHMQ_CONSUMER && !plot_now()->peek) oracle.missing_allowed++;
}

/* Who is told that the other side has gone, and nobody came meanwhile, has first had what that left: messages, or
 * room. */
static void check_nothing_left(enum shmq_end side) {
    const uint64_t used =
        memory_newest(&world_page(SHMQ_PRODUCER)->cursor) - memory_newest(&world_page(SHMQ_CONSUMER)->cursor);
    if (side == SHMQ_PRODUCER && used > 0)
        engine_fail("%s is told of the end before the last message", engine_self()->name);
    if (side == SHMQ_CONSUMER && used <= plot_now()->queue.capacity - RECORD_MOST && !plot_now()->drain)
        engine_fail("%s is told of the end, and there is room", engine_self()->name);
}

/* A close that it has not been told of is true, although another producer has come by now: it may see that later. */
static bool is_late_news(int error) {
    const struct shmq *q = world_handle(engine.current);
    if (error != EPIPE || q->end != SHMQ_CONSUMER) return false;
    for (unsigned slot = 0; slot < q->peer_slots; slot++)
        if (q->seen_life[slot] % 2 == 0 && q->seen_life[slot] != oracle.reported[slot]) return true;
    return false;
}

/* Notes whose end it is: of the lives that the core has seen so far, which may be fewer than there were. False: it is
 * a death, and all of them were told before. */
static bool reports_news(int error) {
    const struct shmq *q = world_handle(engine.current);
    bool is_new = error != EOWNERDEAD;
    for (unsigned slot = 0; slot < q->peer_slots; slot++) {
        is_new = is_new || (q->seen_life[slot] % 2 != 0 && q->seen_life[slot] != oracle.reported[slot]);
        oracle.reported[slot] = q->seen_life[slot];
    }
    return is_new;
}

void oracle_told(int error) {
    const enum shmq_end side = other_side();
    const char *self = engine_self()->name;
    const bool late = is_late_news(error);
    if (error == EPIPE && oracle.closed[side] == 0) engine_fail("%s is told of a close, and nobody closed", self);
    if (error == EOWNERDEAD && oracle.died[side] == 0) engine_fail("%s is told of a death, and nobody died", self);
    /* A consumer hears the same again until another producer comes; a later one hears nothing of it. */
    if (side == SHMQ_PRODUCER && !reports_news(error) && plot_now()->queue.slots[SHMQ_CONSUMER] == 1 &&
        oracle.came_at_report[engine.current] != oracle.came_before[engine.current])
        engine_fail("%s is told of a death that was reported before", self);
    oracle.came_at_report[engine.current] = oracle.came[side];
    if (side == SHMQ_PRODUCER) oracle.is_unreported = false;
    if (oracle.came[side] == oracle.came_before[engine.current] && !has_any_there(side)) check_nothing_left(side);
    if (oracle.events[side] != oracle.events_before[engine.current]) return; /* it may have heard of any of them */
    if (late) return;
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if (oracle.is_there[at] && plot_side(at) == side)
            engine_fail("%s is told that the other end has gone, and %s is there", self, engine.actor[at].name);
}

/* ---- Sleepers -------------------------------------------------------------------------------------------------- */

void oracle_look(void) {
    const struct shmq *own = world_handle(engine.current);
    if (own == NULL || !own->locked) return;
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        const struct shmq *q = at != engine.current && lives(at) ? world_handle(at) : NULL;
        if (q != NULL && q->end == own->end && q->locked)
            engine_fail("the side lock has two owners: %s and %s", engine_self()->name, engine.actor[at].name);
    }
}

/* What a sleeper misses: nothing; what a slice is there for; or what it should have been woken for. */
enum missed { NOTHING, DEATH, RING };

static enum missed missed_lock(const struct shmq *q) {
    const uint64_t owner = memory_newest(&q->own->lock) & 0xff;
    if (owner == 0) return RING;
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        const struct shmq *holder = lives(at) && plot_pauses(at) ? world_handle(at) : NULL;
        if (holder != NULL && holder->end == q->end && holder->region.slot + 1 == owner && !holder->locked) return RING;
    }
    return world_is_held(region_role(q->end) + (int64_t)owner - 1, 1) ? NOTHING : DEATH;
}

static enum missed missed_end(const struct shmq *q) {
    const int64_t role = region_role(region_other(q->end));
    enum missed missed = NOTHING;
    if (world_is_held(role, SLOTS)) return NOTHING;
    for (unsigned slot = 0; slot < q->peer_slots; slot++) {
        const uint64_t life = memory_newest(&q->peer->life[slot]);
        if (life == 0 || life == q->old_life[slot]) continue;
        if (life % 2 != 0) return DEATH;
        missed = RING;
    }
    return missed;
}

static enum missed missed_by(unsigned actor) {
    const struct shmq *q = world_handle(actor);
    if (q == NULL || plot_pauses(actor)) return NOTHING;
    if (q->many && !q->locked) return missed_lock(q);
    const uint64_t available = memory_newest(&q->peer->cursor) + q->ring.slack - q->ring.own;
    return available >= oracle.need[actor] ? RING : missed_end(q);
}

/* These two hear of a death at once, from the kernel. */
static bool kernel_tells(void) {
    const struct queue *queue = &plot_now()->queue;
    return queue->flags == 0 && (queue->notify == SHMQ_NOTIFY_FIFO || queue->notify == SHMQ_NOTIFY_LOCK);
}

/* All sleep. Time-outs are no excuse: whoever waits to be woken must not miss anything, but what a death took along. */
bool oracle_idle(void) {
    bool over = true;
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        if (engine.actor[at].state != ASLEEP) continue;
        const enum missed missed = missed_by(at);
        over = over && missed == NOTHING && !plot_pauses(at);
        if (missed == DEATH && engine.actor[at].sleep == SLEEP_WAIT && kernel_tells())
            engine_fail("%s sleeps on after a death", engine.actor[at].name);
        if (missed != RING || engine.actor[at].sleep != SLEEP_WAIT) continue;
        if (oracle.excused_until_ns[at] == engine.actor[at].until_ns) continue;
        if (oracle.rescues[plot_side(at)] == 0)
            engine_fail("lost wake-up: all sleep, %s too, and there is something for it to do", engine.actor[at].name);
        oracle.rescues[plot_side(at)]--;
        oracle.excused_until_ns[at] = engine.actor[at].until_ns;
    }
    memory_settle();
    return over;
}

/* ---- The end --------------------------------------------------------------------------------------------------- */

/* What is left in the ring is as good as received: it waits for whoever comes next. */
static void see_what_is_left(void) {
    const uint64_t capacity = plot_now()->queue.capacity;
    const uint64_t tail = memory_newest(&world_page(SHMQ_PRODUCER)->cursor);
    uint64_t head = memory_newest(&world_page(SHMQ_CONSUMER)->cursor);
    if (tail - head > capacity) engine_fail("head %llu, tail %llu", (unsigned long long)head, (unsigned long long)tail);
    while (head != tail) {
        const unsigned char *record = world_ring() + (head & (capacity - 1));
        const uint32_t length = (uint32_t)memory_newest(record);
        const struct letter letter = letter_of(memory_newest(record + RECORD_HEADER));
        if (length != oracle_length(letter)) engine_fail("a record that was left has %u bytes", length);
        see(letter, plot_now()->ends[SHMQ_CONSUMER] > 1 ? ACTORS_MOST - 1 : 0);
        head += RECORD_HEADER + length;
    }
}

void oracle_end(void) {
    unsigned missing = 0, first = 0;
    if (oracle.is_unreported && oracle.died[SHMQ_CONSUMER] == 0 && live_ends(SHMQ_PRODUCER) == 0 &&
        live_ends(SHMQ_CONSUMER) > 0)
        engine_fail("a consumer waits, and was never told of the last producer's end");
    see_what_is_left();
    for (unsigned origin = 0; origin < ACTORS_MOST; origin++) {
        for (unsigned number = 0; number < MESSAGES_MOST; number++) {
            if (oracle.message[origin][number].fate != SENT || oracle.message[origin][number].seen) continue;
            first = missing++ == 0 ? number : first;
        }
    }
    if (missing > oracle.missing_allowed)
        engine_fail("message %u is lost, and %u in all; %u may be", first, missing, oracle.missing_allowed);
}
