/* What a message is, and the account of who took which.
 *
 * A letter says whose it is, its number and length, and a sum of these; every further byte follows from them. An empty
 * message says nothing: by rule every so-manieth of a producer is empty, so the account knows how many there must be,
 * and in an orderly round between which others. */
#include "stress.h"

#include <string.h>

#include "check.h"

struct head {
    uint32_t number, length, producer, sum;
};
_Static_assert(sizeof(struct head) == LETTER_LEAST, "the shortest letter is all head");

static uint64_t origin(const struct round *round, unsigned producer, uint64_t number) {
    return mix(round->seed + round->number * 0x9e3779b97f4a7c15u + ((uint64_t)producer << 40) + number + 1);
}

bool letter_is_empty(const struct round *round, uint64_t number) {
    return round->s.empty != 0 && number % round->s.empty == round->s.empty - 1;
}

size_t letter_length(const struct round *round, unsigned producer, uint64_t number) {
    if (letter_is_empty(round, number)) return 0;
    const uint64_t random = origin(round, producer, number) >> 20, choice = random % 1024;
    const uint32_t max = round->s.max;
    uint32_t bound = max;
    if (round->s.sizes == LARGEST) return max;
    if (round->s.sizes == TINY) bound = 64;
    if (round->s.sizes == MIXED) bound = choice < 512 ? 24 : choice < 960 ? 80 : choice < 1020 ? 512 : max;
    if (bound > max) bound = max;
    return LETTER_LEAST + (random >> 10) % (bound - LETTER_LEAST + 1);
}

static struct head head_of(const struct round *round, unsigned producer, uint64_t number) {
    const struct head head = {
        .number = (uint32_t)number,
        .length = (uint32_t)letter_length(round, producer, number),
        .producer = producer,
        .sum = (uint32_t)(origin(round, producer, number) >> 32),
    };
    return head;
}

void letter_write(const struct round *round, unsigned producer, uint64_t number, void *to) {
    const struct head head = head_of(round, producer, number);
    const uint64_t first = origin(round, producer, number);
    unsigned char *bytes = to;
    if (head.length == 0) return;
    memcpy(bytes, &head, sizeof head);
    for (size_t at = sizeof head; at < head.length; at += 8) {
        const uint64_t word = mix(first + at);
        memcpy(bytes + at, &word, head.length - at < 8 ? head.length - at : 8);
    }
}

void letter_check(const struct round *round, const void *from, size_t length, unsigned *producer, uint64_t *number) {
    const unsigned char *bytes = from;
    struct head head, wanted;
    if (length < sizeof head) check_fail(__FILE__, __LINE__, "a message of %zu bytes", length);
    memcpy(&head, bytes, sizeof head);
    if (head.producer >= round->s.producers || head.number >= MOST)
        check_fail(__FILE__, __LINE__, "a message %u of %u", head.number, head.producer);
    wanted = head_of(round, head.producer, head.number);
    if (length != wanted.length || memcmp(&head, &wanted, sizeof head) != 0)
        check_fail(__FILE__, __LINE__, "message %u of %u has %zu bytes, says %u, of %u", head.number, head.producer,
                   length, head.length, wanted.length);
    const uint64_t first = origin(round, head.producer, head.number);
    for (size_t at = sizeof head; at < length; at += 8) {
        const uint64_t word = mix(first + at);
        if (memcmp(bytes + at, &word, length - at < 8 ? length - at : 8) != 0)
            check_fail(__FILE__, __LINE__, "message %u of %u is wrong at byte %zu of %zu", head.number, head.producer,
                       at, length);
    }
    *producer = head.producer;
    *number = head.number;
}

/* ---- The account --------------------------------------------------------------------------- */

static bool bit_of(const _Atomic uint64_t *bits, uint64_t number) {
    return (get(&bits[number / 64]) >> number % 64 & 1) != 0;
}

/* Returns what it was. */
static bool set_bit(_Atomic uint64_t *bits, uint64_t number) {
    const uint64_t bit = (uint64_t)1 << number % 64;
    return (atomic_fetch_or_explicit(&bits[number / 64], bit, memory_order_relaxed) & bit) != 0;
}

/* Are messages accounted for in the very order of the ring? While one is peeked at, no other consumer is at work. */
static bool is_orderly(const struct round *round) {
    return round->s.take == ZERO_COPY || (round->s.consumers == 1 && round->s.kill == 0);
}

static uint64_t empties_below(const struct round *round, uint64_t number) {
    return round->s.empty == 0 ? 0 : number / round->s.empty;
}

/* Each producer's empty messages have come before what it sent after them; of those since then, one each at most. */
static void check_empties(const struct round *round) {
    uint64_t due = 0;
    for (unsigned producer = 0; producer < round->s.producers; producer++)
        due += empties_below(round, get(&round->next[producer]));
    const uint64_t seen = get(&round->empties);
    if (seen < due || seen > due + round->s.producers)
        check_fail(__FILE__, __LINE__, "%llu empty messages where %llu were due", (unsigned long long)seen,
                   (unsigned long long)due);
}

static bool take_in_order(struct round *round, unsigned producer, uint64_t number) {
    const uint64_t next = get(&round->next[producer]);
    set_bit(round->taken[producer], number); /* first: who is killed in between sees it again */
    if (round->s.kill != 0 && number + 1 == next) {
        add(&round->again, 1);
        return false;
    }
    if (number < next)
        check_fail(__FILE__, __LINE__, "message %llu of %u came after %llu", (unsigned long long)number, producer,
                   (unsigned long long)next - 1);
    for (uint64_t skipped = next; skipped < number; skipped++)
        if (!letter_is_empty(round, skipped) && !bit_of(round->perhaps[producer], skipped))
            check_fail(__FILE__, __LINE__, "message %llu of %u is lost", (unsigned long long)skipped, producer);
    put(&round->next[producer], number + 1);
    if (round->s.kill == 0) check_empties(round);
    return true;
}

bool account_take(struct round *round, unsigned producer, uint64_t number, int64_t last[PRODUCERS]) {
    if (is_orderly(round)) return take_in_order(round, producer, number);
    if ((int64_t)number <= last[producer])
        check_fail(__FILE__, __LINE__, "message %llu of %u came after %lld", (unsigned long long)number, producer,
                   (long long)last[producer]);
    last[producer] = (int64_t)number;
    if (set_bit(round->taken[producer], number))
        check_fail(__FILE__, __LINE__, "message %llu of %u came twice", (unsigned long long)number, producer);
    return true;
}

void account_take_empty(struct round *round) {
    if (round->s.empty == 0) check_fail(__FILE__, __LINE__, "an empty message, which nobody sent");
    add(&round->empties, 1);
}

void account_kill(struct round *round, unsigned producer) {
    const uint64_t number = get(&round->own[producer].sent);
    set_bit(round->perhaps[producer], number);
    put(&round->own[producer].sent, number + 1);
}

uint64_t account_sent(const struct round *round) {
    uint64_t sent = 0;
    for (unsigned producer = 0; producer < round->s.producers; producer++)
        sent += get(&round->own[producer].sent);
    return sent;
}

const char *account_balance(const struct round *round, const unsigned kills[2], uint64_t *lost) {
    static char wrong[256];
    uint64_t empties = 0, perhaps = 0;
    *lost = 0;
    for (unsigned producer = 0; producer < round->s.producers; producer++) {
        const uint64_t sent = get(&round->own[producer].sent);
        for (uint64_t number = 0; number < sent; number++) {
            const bool sure = !bit_of(round->perhaps[producer], number);
            if (letter_is_empty(round, number)) {
                empties += sure;
                perhaps += !sure;
            } else {
                *lost += sure && !bit_of(round->taken[producer], number);
            }
        }
        if (sent < MOST && bit_of(round->taken[producer], sent)) return "a message came that nobody sent";
    }
    const uint64_t seen = get(&round->empties);
    if (seen < empties) *lost += empties - seen;
    /* A consumer that is killed inside recv may take one message with it; one that peeks sees it again. */
    const unsigned may_lose = round->s.take == COPY ? kills[SHMQ_CONSUMER] : 0;
    const unsigned may_repeat = round->s.take == ZERO_COPY ? kills[SHMQ_CONSUMER] : 0;
    const uint64_t surplus = seen > empties + perhaps ? seen - empties - perhaps : 0;
    if (*lost <= may_lose && get(&round->again) + surplus <= may_repeat) return NULL;
    snprintf(wrong, sizeof wrong,
             "lost %llu of at most %u, repeated %llu and %llu empty ones of at most %u (empty: %llu seen, %llu sent)",
             (unsigned long long)*lost, may_lose, (unsigned long long)get(&round->again), (unsigned long long)surplus,
             may_repeat, (unsigned long long)seen, (unsigned long long)empties);
    return wrong;
}
