/* What there is to do, and the words for it. */
#include "crash.h"

#include <string.h>

const char *const OPERATION_NAMES[OPERATIONS] = {"create", "attach", "send",  "recv", "reserve",
                                                 "peek",   "drain",  "close", "last", "unlink"};
const char *const STATE_NAMES[STATES] = {"empty", "full", "wrapping", "asleep", "ringing"};

/* By operation, a bit for each that makes sense. */
enum { BIT_EMPTY = 1, BIT_FULL = 2, BIT_WRAPPING = 4, BIT_ASLEEP = 8, BIT_RINGING = 16, BITS_ALL = 31 };
enum { PRODUCES = 1, CONSUMES = 2, EITHER = 3 };
static const struct {
    unsigned states, sides;
} SENSE[OPERATIONS] = {
    [CREATE] = {BIT_EMPTY, EITHER},
    [ATTACH] = {BIT_EMPTY | BIT_FULL | BIT_RINGING, EITHER},
    [SEND] = {BITS_ALL, PRODUCES},
    [RECV] = {BITS_ALL, CONSUMES},
    [RESERVE] = {BITS_ALL, PRODUCES},
    [PEEK] = {BITS_ALL, CONSUMES},
    [DRAIN] = {BIT_EMPTY | BIT_FULL | BIT_ASLEEP, PRODUCES},
    [CLOSE] = {BIT_EMPTY | BIT_FULL | BIT_RINGING, EITHER},
    [LAST] = {BIT_EMPTY | BIT_FULL, EITHER},
    [UNLINK] = {BIT_EMPTY | BIT_FULL, PRODUCES}, /* a third process, that is no end */
};

bool scene_makes_sense(const struct scene *scene) {
    const unsigned state = 1u << scene->state, side = 1u << scene->side;
    if ((SENSE[scene->operation].states & state) == 0 || (SENSE[scene->operation].sides & side) == 0) return false;
    /* Nobody but a producer fills a ring. */
    if (scene->operation == ATTACH && scene->state == FULL && scene->side == SHMQ_PRODUCER) return false;
    /* Without a notifier nobody sleeps. */
    return scene->notifier->sleeps || (scene->state != ASLEEP && scene->state != RINGING);
}

const char *scene_side(const struct scene *scene) {
    if (scene->operation == UNLINK) return "neither";
    return scene->side == SHMQ_PRODUCER ? "producer" : "consumer";
}

int word_of(const char *const *names, int count, const char *word) {
    for (int at = 0; at < count; at++)
        if (strcmp(names[at], word) == 0) return at;
    return -1;
}

/* ---- Points -------------------------------------------------------------------------------- */

struct trial_text trial_print(const struct trial *trial) {
    struct trial_text print;
    const struct point *first = &trial->first, *second = &trial->second;
    const int length = snprintf(print.text, sizeof print.text, "%s%u.%u%s", trial->fate == STOPPED ? "stop:" : "",
                                first->calls, first->steps, first->asleep ? "z" : "");
    if (trial->pair)
        snprintf(print.text + length, sizeof print.text - (size_t)length, "+%u.%u%s", second->calls, second->steps,
                 second->asleep ? "z" : "");
    return print;
}

/* One moment; what follows it, or NULL. */
static const char *parse_point(const char *text, struct point *point) {
    int length = 0;
    *point = (struct point){.calls = 0};
    if (sscanf(text, "%u.%u%n", &point->calls, &point->steps, &length) != 2) return NULL;
    point->asleep = text[length] == 'z';
    return text + length + (point->asleep ? 1 : 0);
}

bool trial_parse(const char *text, struct trial *trial) {
    static const char STOP[] = "stop:";
    const size_t prefix = sizeof STOP - 1;
    *trial = (struct trial){.fate = strncmp(text, STOP, prefix) == 0 ? STOPPED : KILLED};
    const char *rest = parse_point(text + (trial->fate == STOPPED ? prefix : 0), &trial->first);
    if (rest != NULL && *rest == '+') {
        trial->pair = true;
        rest = parse_point(rest + 1, &trial->second);
    }
    return rest != NULL && *rest == '\0';
}
