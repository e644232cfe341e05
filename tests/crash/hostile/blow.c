/* What the hostile process does. */
#include "hostile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout.h"

enum { PAGE = 4096, OBJECT_BYTES = (PAGE_RING + 1) * PAGE, RECORD = 208 /* of a letter */ };

static const char *const HARM_NAMES[HARMS] = {"write", "truncate", "regrow", "punch", "remove", "replace"};

/* ---- In words ------------------------------------------------------------------------------ */

struct blow_text blow_print(const struct blow *blow) {
    struct blow_text print;
    if (blow->harm == WRITE)
        snprintf(print.text, sizeof print.text, "0x%" PRIx64 "%s%c0x%" PRIx64, blow->at, blow->half ? "/4" : "",
                 blow->adds ? '+' : '=', blow->value);
    else
        snprintf(print.text, sizeof print.text, "%s@0x%" PRIx64 "+0x%" PRIx64, HARM_NAMES[blow->harm], blow->at,
                 blow->value);
    return print;
}

bool blow_parse(const char *text, struct blow *blow) {
    char *rest;
    *blow = (struct blow){.harm = WRITE};
    for (int harm = TRUNCATE; harm < HARMS; harm++) {
        const size_t length = strlen(HARM_NAMES[harm]);
        if (strncmp(text, HARM_NAMES[harm], length) != 0) continue;
        blow->harm = (enum harm)harm;
        return sscanf(text + length, "@%" SCNx64 "+%" SCNx64, &blow->at, &blow->value) == 2;
    }
    blow->at = strtoull(text, &rest, 16);
    blow->half = strncmp(rest, "/4", 2) == 0;
    if (blow->half) rest += 2;
    blow->adds = *rest == '+';
    if (rest == text || (*rest != '+' && *rest != '=')) return false;
    blow->value = strtoull(rest + 1, &rest, 16);
    return *rest == '\0' && blow->at < OBJECT_BYTES;
}

/* ---- What it changes ----------------------------------------------------------------------- */

bool blow_hits_header(const struct blow *blow) { return blow->harm != WRITE || blow->at < PAGE; }

bool blow_hits_ring(const struct blow *blow) {
    switch (blow->harm) {
    case WRITE: return blow->at >= PAGE_RING * PAGE;
    case TRUNCATE: return blow->at % PAGE != 0; /* else a page is there or not */
    case REGROW:
    case PUNCH: return true;
    default: return false;
    }
}

/* ---- Drawing ------------------------------------------------------------------------------- */

/* The words of an end's page that mean something. */
static const uint64_t END_WORDS[] = {offsetof(struct end_page, cursor),
                                     offsetof(struct end_page, ticket),
                                     offsetof(struct end_page, want),
                                     offsetof(struct end_page, light),
                                     offsetof(struct end_page, bell),
                                     offsetof(struct end_page, lock),
                                     offsetof(struct end_page, messages),
                                     offsetof(struct end_page, sleeps),
                                     offsetof(struct end_page, rings),
                                     offsetof(struct end_page, life[0]),
                                     offsetof(struct end_page, life[1]),
                                     offsetof(struct end_page, cursor),
                                     offsetof(struct end_page, life[SLOTS - 1]),
                                     offsetof(struct end_page, end_seen[0])};

/* A word of the ring: most often of the first records, where work is done. */
static uint64_t draw_in_ring(void) {
    const uint64_t record = RECORD * (draw() % 20),
                   word = draw() % 4 == 0 ? 8 * (draw() % (RECORD / 8)) : 8 * (draw() % 2);
    return PAGE_RING * PAGE + (record + word) % PAGE;
}

static uint64_t draw_word(bool spares_meeting) {
    /* What decides most. */
    static const uint64_t hot[] = {PAGE_PRODUCER * PAGE, PAGE_CONSUMER * PAGE, PAGE_RING * PAGE};
    const uint64_t choice = draw() % 10;
    if (draw() % 4 == 0) return hot[draw() % (sizeof hot / sizeof hot[0])];
    if (choice == 0) return 8 * (draw() % (sizeof(struct header) / 8));
    if (choice <= 3) return draw_in_ring();
    if (choice == 4 && !spares_meeting) return PAGE_MEETING * PAGE + 128 * (draw() % 2) + (draw() % 8 == 0 ? 4 : 0);
    const uint64_t page = choice % 2 == 0 ? PAGE_PRODUCER : PAGE_CONSUMER;
    return page * PAGE + END_WORDS[draw() % (sizeof END_WORDS / sizeof END_WORDS[0])];
}

static void draw_value(struct blow *blow) {
    static const uint64_t extremes[] = {
        0,          1,         UINT64_MAX,         INT32_MAX, (uint64_t)INT32_MIN, (uint32_t)INT32_MIN,
        UINT32_MAX, INT64_MAX, (uint64_t)INT64_MIN};
    static const uint64_t steps[] = {1, 1, 8, RECORD, PAGE, (uint64_t)1 << 32};
    switch (draw() % 4) {
    case 0: blow->value = extremes[draw() % (sizeof extremes / sizeof extremes[0])]; break;
    case 1: blow->value = draw() >> draw() % 64; break;
    case 2:
        blow->adds = true;
        blow->value = 8 * (draw() % (PAGE / 8));
        break;
    default: blow->adds = true; blow->value = steps[draw() % (sizeof steps / sizeof steps[0])];
    }
    if (blow->adds && draw() % 2 == 0) blow->value = 0 - blow->value;
}

struct blow blow_draw(bool spares_meeting, bool spares_object) {
    struct blow blow = {.harm = WRITE};
    if (!spares_object && draw() % 12 == 0) blow.harm = (enum harm)(TRUNCATE + draw() % (HARMS - TRUNCATE));
    if (blow.harm != WRITE) {
        blow.at = PAGE * (draw() % (PAGE_RING + 1)) + (draw() % 2 == 0 ? 0 : draw() % PAGE);
        blow.value = 1 + draw() % 2;
        return blow;
    }
    blow.at = draw_word(spares_meeting);
    blow.half = blow.at % 8 != 0 || draw() % 8 == 0;
    draw_value(&blow);
    return blow;
}

/* ---- Striking ------------------------------------------------------------------------------ */

static void write_word(const struct blow *blow, int object) {
    const size_t bytes = blow->half ? 4 : 8;
    uint64_t word = 0;
    const bool is_known = !blow->adds || pread(object, &word, bytes, (off_t)blow->at) == (ssize_t)bytes;
    word += blow->value;
    if (!is_known || pwrite(object, &word, bytes, (off_t)blow->at) != (ssize_t)bytes)
        trial_ends(BAD, "cannot write to the object");
}

static void replace(const char *path) {
    char aside[2048];
    snprintf(aside, sizeof aside, "%s.new", path);
    const int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, OBJECT_BYTES) != 0 || rename(aside, path) != 0)
        trial_ends(BAD, "cannot replace %s", path);
    close(fd);
}

void blow_strike(const struct blow *blow, int object, const char *path) {
    int result = 0;
    switch (blow->harm) {
    case WRITE: write_word(blow, object); break;
    case TRUNCATE: result = ftruncate(object, (off_t)blow->at); break;
    case REGROW:
        result = ftruncate(object, (off_t)blow->at);
        if (result == 0) result = ftruncate(object, OBJECT_BYTES);
        break;
    case PUNCH:
        result =
            fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)blow->at, (off_t)blow->value * PAGE);
        break;
    case REMOVE_NAME: (void)unlink(path); break; /* may be gone already */
    default: replace(path);
    }
    if (result != 0) trial_ends(BAD, "cannot do harm to the object");
}
