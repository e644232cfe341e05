/* Who does what, in which order; and the words for it. */
#include "interleave.h"

#include <fcntl.h>
#include <string.h>

#define MANY (SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS)

const struct plot PLOTS[] = {
    /* Two come at once, and stay or go. */
    {NULL, {"P", "C"}, 0},
    {NULL, {"P.", "C."}, 0},
    {NULL, {"P", "P"}, 0},
    {NULL, {"P.", "P."}, 0},
    {NULL, {"P", "c"}, 0},
    {NULL, {"X", "C"}, 0},
    {NULL, {"X.", "Y."}, 0},
    {NULL, {"Ps.", "Cr."}, 0},
    /* While a third one unlinks, or one of them. */
    {NULL, {"P.", "u"}, 0},
    {NULL, {"Pu", "C"}, 0},
    {NULL, {"P.u", "C.u"}, 0},
    {"P.", {"C", "u"}, 0},
    {"P.", {"c.", "u"}, 0},
    {"P.", {"u", "u"}, 0},
    {"P", {"C", "uP"}, 0},
    {"C", {"P.", "P."}, 0},
    /* Ephemeral: who goes last unlinks, unless somebody comes. */
    {NULL, {"P.", "C."}, SHMQ_EPHEMERAL},
    {NULL, {"P.", "C"}, SHMQ_EPHEMERAL},
    {NULL, {"Ps.", "Cr."}, SHMQ_EPHEMERAL},
    {"P.", {"C.", "P."}, SHMQ_EPHEMERAL},
    {"P.", {"C.", "c."}, SHMQ_EPHEMERAL},
    {"P.", {"C.", "u"}, SHMQ_EPHEMERAL},
    {"P.", {"C.", "X."}, SHMQ_EPHEMERAL},
    {"C", {"P.", "p."}, SHMQ_EPHEMERAL},
    /* Many ends a side. */
    {NULL, {"P", "P."}, MANY},
    {NULL, {"P.", "C."}, MANY | SHMQ_EPHEMERAL},
    /* Three. */
    {NULL, {"P", "C", "P"}, 0},
    {NULL, {"P.", "C.", "u"}, 0},
    {NULL, {"P", "c", "u"}, 0},
    {NULL, {"X", "C.", "u"}, 0},
    {"P.", {"C", "P", "u"}, 0},
    {"P.", {"u", "uP", "C"}, 0},
    {NULL, {"P.", "C.", "C."}, SHMQ_EPHEMERAL},
    {NULL, {"P.", "C.", "u"}, SHMQ_EPHEMERAL},
    {"P.", {"C.", "P", "c"}, SHMQ_EPHEMERAL},
    {NULL, {"P.", "P.", "C"}, MANY | SHMQ_EPHEMERAL},
};
const uint32_t PLOTS_COUNT = sizeof PLOTS / sizeof PLOTS[0];

static const char LETTERS_KNOWN[] = "PCpcXY.usrd";

struct plot_text plot_print(const struct plot *plot) {
    struct plot_text print;
    const char *const *part = plot->part;
    snprintf(print.text, sizeof print.text, "%s%s%s%s%s%s%s%s%s", plot->keeper == NULL ? "" : plot->keeper,
             plot->keeper == NULL ? "" : ":", part[0], part[1] == NULL ? "" : " ", part[1] == NULL ? "" : part[1],
             part[2] == NULL ? "" : " ", part[2] == NULL ? "" : part[2], (plot->flags & MANY) != 0 ? " many" : "",
             (plot->flags & SHMQ_EPHEMERAL) != 0 ? " ephemeral" : "");
    return print;
}

static bool is_part(const char *word) { return *word != '\0' && strspn(word, LETTERS_KNOWN) == strlen(word); }

bool plot_parse(char *text, struct plot *plot) {
    uint32_t parts = 0;
    char *rest = strchr(text, ':');
    *plot = (struct plot){.keeper = rest == NULL ? NULL : text};
    if (rest != NULL) *rest++ = '\0';
    if (rest != NULL && !is_part(text)) return false;
    for (char *at = NULL, *word = strtok_r(rest == NULL ? text : rest, " ", &at); word != NULL;
         word = strtok_r(NULL, " ", &at)) {
        if (strcmp(word, "many") == 0)
            plot->flags |= MANY;
        else if (strcmp(word, "ephemeral") == 0)
            plot->flags |= SHMQ_EPHEMERAL;
        else if (parts == CAST || !is_part(word))
            return false;
        else
            plot->part[parts++] = word;
    }
    return parts > 0;
}

struct request plot_request(char letter, unsigned flags) {
    const bool consumes = strchr("CcYr", letter) != NULL;
    struct request request = {.end = consumes ? SHMQ_CONSUMER : SHMQ_PRODUCER, .count = 1, .flags = flags};
    switch (letter) {
    case 'p':
    case 'c': request.deed = FIND; break;
    case 'X':
    case 'Y': request.deed = MAKE; break;
    case '.': request.deed = SHUT; break;
    case 'u': request.deed = REMOVE; break;
    case 's': request.deed = GIVE; break;
    case 'r': request.deed = TAKE, request.count = NUMBERS_MOST; break;
    case 'd': request.deed = WAIT_DRAINED; break;
    default: request.deed = OPEN;
    }
    return request;
}

/* ---- Schedules ----------------------------------------------------------------------------- */

struct schedule_text schedule_print(const struct schedule *schedule) {
    struct schedule_text print = {""};
    size_t length = 0;
    for (const struct turn *turn = schedule->turn; turn < schedule->turn + schedule->turns; turn++) {
        char *const at = print.text + length;
        const size_t room = sizeof print.text - length;
        const char *space = length == 0 ? "" : " ";
        const int who = 'A' + turn->who;
        if (turn->dies)
            length += (size_t)snprintf(at, room, "%sx%c", space, who);
        else if (turn->steps == TO_THE_END)
            length += (size_t)snprintf(at, room, "%s%c*", space, who);
        else
            length += (size_t)snprintf(at, room, "%s%c%u", space, who, turn->steps);
    }
    return print;
}

bool schedule_parse(const char *text, struct schedule *schedule) {
    *schedule = (struct schedule){.turns = 0};
    while (*(text += strspn(text, " ")) != '\0') {
        struct turn turn = {.dies = *text == 'x', .steps = TO_THE_END};
        text += turn.dies;
        const int who = *text++ - 'A';
        if (who < 0 || who >= CAST || schedule->turns == TURNS_MOST) return false;
        turn.who = (uint8_t)who;
        int length = 0;
        if (!turn.dies && *text == '*')
            text++;
        else if (!turn.dies && sscanf(text, "%hu%n", &turn.steps, &length) != 1)
            return false;
        text += length;
        schedule->turn[schedule->turns++] = turn;
    }
    return true;
}
