/* A third process that means harm: it writes what it likes into a queue that two others use, or damages the object, and
 * they must come to no harm that shmq.h excludes.
 *
 *     blow.c     what it does: one value to one word, or something to the object
 *     assault.c  one trial: a stage, blows at one moment of a victim or all the time, and what must hold afterwards
 *     hostile.c  the program: which trials
 *
 * Scenes, actors, moments and jobs are those of crash.h. */
#pragma once

#include <stdatomic.h>

#include "crash.h"

/* ---- blow.c ---- */

/* truncate: to so many bytes. regrow: the same, and back. punch: a hole of so many pages. */
enum harm { WRITE, TRUNCATE, REGROW, PUNCH, REMOVE_NAME, REPLACE, HARMS };

struct blow {
    enum harm harm;
    uint64_t at; /* in the object */
    bool half;   /* 4 bytes, not 8 */
    bool adds;   /* to what is there */
    uint64_t value;
};

/* "0x1080=0x7fffffff" "0x4000+0x1" "0x8/4=0x0" (4 bytes) "truncate@0x1000" "punch@0x2000+0x1" "remove" … */
struct blow_text {
    char text[64];
};
struct blow_text blow_print(const struct blow *blow);
bool blow_parse(const char *text, struct blow *blow);

/* Drawn: one of the words of one page, or harm to the object. */
struct blow blow_draw(bool spares_meeting, bool spares_object);
void blow_strike(const struct blow *blow, int object, const char *path);

/* Does it change what newcomers and those who unlink go by? */
bool blow_hits_header(const struct blow *blow);
/* Does it change bytes of the ring that can still be read? */
bool blow_hits_ring(const struct blow *blow);

/* ---- assault.c ---- */

struct assault {
    struct scene scene;
    bool checked; /* with checksums */
    bool storms;  /* blow after blow at two that stream; else one at a moment of the victim */
    uint64_t seed;
    struct point point;
    struct blow blow;
};

/* Of all trials, in memory that processes share: what came of it. */
struct outcome {
    _Atomic uint64_t taken, torn, refused; /* messages; of them with other bytes; ends that had EBADMSG */
};
extern struct outcome *outcome;

/* For a process of its own, which it ends: play_ends. Notes the moments of the scene. */
void assault_rehearse(const struct assault *assault, struct result *result);
void assault(const struct assault *assault, struct result *result);
/* Another queue, whose instance a hostile header claims, keeps its doorbells. */
void assault_bystander(const struct assault *assault, struct result *result);
