/* What a round is like. Every value comes from (seed, round) alone, or is pinned. */
#include "stress.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "checksum.h"
#include "notifiers.h"

enum { PAGE = 4096 };

struct draw {
    struct scenario *s; /* the keys above are drawn already */
    uint64_t r;         /* a random number of this key alone */
    bool threads;
};

static bool killing(const struct draw *d) { return d->s->kill != 0; }

static uint32_t largest(const struct scenario *s) { return s->capacity - (s->checksum != 0 ? 16 : 8); }

static uint32_t one_in(const struct draw *d, uint32_t chances, uint32_t value) {
    return d->r % chances == 0 ? value : 0;
}

static uint32_t draw_notifier(const struct draw *d) { return (uint32_t)(d->r % NOTIFIERS_COUNT); }
static uint32_t draw_place(const struct draw *d) { return d->threads ? MEMORY : d->r % 3 == 0 ? A_FILE : SHM; }
static uint32_t draw_producers(const struct draw *d) { return d->r % 2 == 0 ? 1 : 2 + (uint32_t)(d->r >> 8) % 3; }
static uint32_t draw_consumers(const struct draw *d) { return d->r % 2 == 0 ? 1 : 2 + (uint32_t)(d->r >> 8) % 2; }
static uint32_t draw_many(const struct draw *d) {
    const uint32_t needed =
        (d->s->producers > 1 ? SHMQ_MANY_PRODUCERS : 0u) | (d->s->consumers > 1 ? SHMQ_MANY_CONSUMERS : 0u);
    return needed | one_in(d, 4, (uint32_t)(d->r >> 8) % 4);
}
static uint32_t draw_ephemeral(const struct draw *d) { return d->threads ? 0 : d->r % 2; }
static uint32_t draw_checksum(const struct draw *d) { return one_in(d, 3, 1); }
static uint32_t draw_capacity(const struct draw *d) {
    return d->threads ? 64u << d->r % 15 : (uint32_t)PAGE << d->r % 9;
}
static uint32_t draw_max(const struct draw *d) {
    const uint32_t most = largest(d->s);
    switch (d->r % 4) {
    case 0: return most < 64 ? most : LETTER_LEAST + (uint32_t)(d->r >> 8) % 48;
    case 1: return d->s->capacity / 4;
    case 2: return most;
    default: return LETTER_LEAST + (uint32_t)(d->r >> 8) % (most - LETTER_LEAST + 1);
    }
}
static uint32_t draw_sizes(const struct draw *d) { return d->r % 8 == 0 ? LARGEST : d->r % 8 == 1 ? ANY : d->r % 2; }
static uint32_t draw_empty(const struct draw *d) { return one_in(d, 2, 2 + (uint32_t)(d->r >> 8) % 30); }
static uint32_t draw_send(const struct draw *d) { return (uint32_t)(d->r % 3); }
static uint32_t draw_kill(const struct draw *d) {
    const bool survives = !d->threads && NOTIFIERS[d->s->notifier].survives;
    return survives && d->r % 5 < 2 ? 20 + (uint32_t)(d->r >> 8) % 180 : 0;
}
static uint32_t draw_take(const struct draw *d) { return (uint32_t)(d->r % (killing(d) ? BOTH : BOTH + 1)); }
static uint32_t draw_timeouts(const struct draw *d) { return d->r % 8 < 3 ? FOREVER : (uint32_t)(1 + (d->r >> 8) % 3); }
static uint32_t draw_pause(const struct draw *d) { return d->r % 3 == 0 ? 0 : 1u << (d->r >> 8) % 13; }
static uint32_t draw_detour(const struct draw *d) { return killing(d) ? 0 : one_in(d, 4, 16u << (d->r >> 8) % 9); }
static uint32_t draw_drain(const struct draw *d) { return d->r % 2; }
static uint32_t draw_stop(const struct draw *d) {
    return d->threads ? 0 : one_in(d, 3, 10 + (uint32_t)(d->r >> 8) % 100);
}
static uint32_t draw_signals(const struct draw *d) {
    return d->threads ? 0 : one_in(d, 3, 1 + (uint32_t)(d->r >> 8) % 20);
}
static uint32_t draw_ms(const struct draw *d) { return 300 + (uint32_t)(d->r % 900); }

/* In the order of drawing: a value may depend on those above. */
static const struct key {
    const char *name;
    size_t at;
    uint32_t least, most; /* of what may be pinned */
    uint32_t (*draw)(const struct draw *d);
    const char *words; /* its values' names; NULL: numbers */
} KEYS[] = {
#define KEY(name, least, most, words) {#name, offsetof(struct scenario, name), least, most, draw_##name, words}
    KEY(notifier, 0, NOTIFIERS_COUNT - 1, "sem named cond fifo signal lock spin"),
    KEY(place, 0, MEMORY, "shm file memory"),
    KEY(producers, 1, PRODUCERS, NULL),
    KEY(consumers, 1, CONSUMERS, NULL),
    KEY(many, 0, 3, "none producers consumers both"),
    KEY(ephemeral, 0, 1, NULL),
    KEY(checksum, 0, 1, NULL),
    KEY(capacity, 64, 1 << 20, NULL),      /* bytes */
    KEY(max, LETTER_LEAST, 1 << 20, NULL), /* bytes of a message */
    KEY(sizes, 0, LARGEST, "tiny mixed any largest"),
    KEY(empty, 0, MOST, NULL), /* every so-manieth message of a producer is empty; 0: none */
    KEY(send, 0, BOTH, "send reserve both"),
    KEY(kill, 0, 100000, NULL), /* an end every so many ms */
    KEY(take, 0, BOTH, "recv peek both"),
    KEY(timeouts, 0, MIXED_TIMEOUTS, "forever none short mixed"),
    KEY(pause, 0, MOST, NULL),     /* an end pauses after one in so many messages */
    KEY(detour, 0, MOST, NULL),    /* an end closes and comes again after one in so many messages */
    KEY(drain, 0, 1, NULL),        /* producers drain before they close */
    KEY(stop, 0, 100000, NULL),    /* an end is stopped every so many ms */
    KEY(signals, 0, 100000, NULL), /* a burst of signals every so many ms */
    KEY(ms, 1, 3600000, NULL),     /* how long the producers send */
#undef KEY
};
enum { KEYS_COUNT = sizeof KEYS / sizeof KEYS[0] };

static bool is_pinned[KEYS_COUNT];
static uint32_t pinned[KEYS_COUNT];

static uint32_t *value_of(struct scenario *s, const struct key *key) {
    return (uint32_t *)(void *)((unsigned char *)s + key->at);
}

/* The word of this number among words; NULL: no more. */
static const char *word_at(const char *words, uint32_t number, size_t *length) {
    for (; number > 0 && words != NULL; number--)
        words = strchr(words, ' ') == NULL ? NULL : strchr(words, ' ') + 1;
    if (words != NULL) *length = strcspn(words, " ");
    return words;
}

static bool parse_value(const struct key *key, const char *text, size_t length, uint32_t *value) {
    size_t found;
    const char *word;
    for (uint32_t number = 0; key->words != NULL; number++) {
        if ((word = word_at(key->words, number, &found)) == NULL) return false;
        *value = number;
        if (found == length && strncmp(word, text, length) == 0) return true;
    }
    char *end;
    *value = (uint32_t)strtoul(text, &end, 10);
    return length > 0 && end == text + length && text[0] != '-' && *value >= key->least && *value <= key->most;
}

static const char *pin_one(const char *pair, size_t length) {
    const char *equals = memchr(pair, '=', length);
    for (size_t at = 0; equals != NULL && at < KEYS_COUNT; at++) {
        const size_t name = (size_t)(equals - pair);
        if (strlen(KEYS[at].name) != name || strncmp(KEYS[at].name, pair, name) != 0) continue;
        is_pinned[at] = parse_value(&KEYS[at], equals + 1, length - name - 1, &pinned[at]);
        return is_pinned[at] ? NULL : "there is no such value of that key";
    }
    return "there is no such key";
}

const char *scenario_pin(const char *pairs) {
    const char *wrong = NULL;
    for (const char *at = pairs; *at != '\0' && wrong == NULL;) {
        const size_t length = strcspn(at, " ");
        if (length > 0) wrong = pin_one(at, length);
        at += length + (at[length] == ' ');
    }
    return wrong;
}

/* Only pins can contradict each other. */
static const char *contradiction(const struct scenario *s, bool threads) {
    const bool mischief = s->kill != 0 || s->stop != 0 || s->signals != 0;
    if (threads && (s->place != MEMORY || s->ephemeral != 0 || mischief))
        return "threads are in memory, and have no kill, stop, signals or ephemeral";
    if (!threads && (s->place == MEMORY || s->capacity < PAGE))
        return "memory, and rings below a page, are for threads";
    if ((s->producers > 1 && (s->many & SHMQ_MANY_PRODUCERS) == 0) ||
        (s->consumers > 1 && (s->many & SHMQ_MANY_CONSUMERS) == 0))
        return "more than one needs many";
    if ((s->capacity & (s->capacity - 1)) != 0) return "capacity is no power of two";
    if (s->max > largest(s)) return "max is too large for the capacity";
    if (s->empty == 1) return "not all messages can be empty";
    if (s->kill != 0 && !NOTIFIERS[s->notifier].survives) return "this notifier does not survive kill";
    if (s->kill != 0 && (s->take == BOTH || s->detour != 0)) return "with kill, take one way and without a detour";
    return NULL;
}

static const char *draw_once(struct scenario *s, uint64_t state, bool threads) {
    *s = (struct scenario){0};
    for (size_t at = 0; at < KEYS_COUNT; at++) {
        const struct draw d = {s, random_of(&state), threads}; /* also if it is pinned: the others stay the same */
        *value_of(s, &KEYS[at]) = is_pinned[at] ? pinned[at] : KEYS[at].draw(&d);
    }
    return contradiction(s, threads);
}

const char *scenario_draw(struct scenario *s, uint64_t seed, uint32_t round, unsigned again, bool threads) {
    enum { TRIES = 1000 }; /* to fit what is pinned */
    uint64_t state = mix(seed ^ mix(((uint64_t)round << 16) + again + 1));
    const char *wrong = "";
    for (int try = 0; try < TRIES && wrong != NULL; try++)
        wrong = draw_once(s, random_of(&state), threads);
    return wrong;
}

const char *scenario_missing(const struct scenario *s) {
    if (s->checksum != 0 && !CHECKSUM_BUILT) return "xxhash.h is missing: no checksums are built";
    if (check_tool() == CHECK_VALGRIND && s->notifier == SHMQ_NOTIFY_LOCK && s->place == MEMORY)
        return "while a thread waits for a lock valgrind stops them all";
    if (!notifier_works_here(&NOTIFIERS[s->notifier])) return "there are no pidfds, which the signal notifier needs";
    return NULL;
}

void scenario_print(FILE *to, const struct scenario *s) {
    struct scenario copy = *s;
    for (size_t at = 0; at < KEYS_COUNT; at++) {
        const uint32_t value = *value_of(&copy, &KEYS[at]);
        size_t length = 0;
        const char *word = KEYS[at].words == NULL ? NULL : word_at(KEYS[at].words, value, &length);
        fprintf(to, at == 0 ? "%s=" : " %s=", KEYS[at].name);
        if (word != NULL)
            fprintf(to, "%.*s", (int)length, word);
        else
            fprintf(to, "%u", value);
    }
}
