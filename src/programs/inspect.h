/* What can be learned of a queue without taking part in it: for shmqctl, and for those who were refused.
 *
 * Opens read-only and reads with pread: no mapping, so a truncation cannot fault; no lease is taken, only asked for; no
 * word is changed, no access time either where that can be helped. Nothing that is read is believed. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "layout.h"
#include "shmq.h"

/* What stands under the name. */
enum inspected {
    INSPECTED_QUEUE,   /* begins as queues do: see `header_fault` */
    INSPECTED_ABSENT,  /* nothing */
    INSPECTED_LINK,    /* a symbolic link: never followed */
    INSPECTED_FOREIGN, /* something else */
    INSPECTED_CLOSED,  /* may not be read */
    INSPECTED_FAILED   /* errno in `error` */
};

/* What is wrong with constants of the queue. From OTHER_LIBC on, the rest can be looked at all the same. */
enum header_fault {
    HEADER_SHORT,
    OTHER_ABI,
    OTHER_PAGES,
    HEADER_DAMAGED,
    TOO_SHORT,
    TOO_LONG,
    OTHER_LIBC,
    NO_CHECKSUMS,
    HEADER_FINE
};

/* Of one side. Of slots, only the first is used on a side that has not many. */
struct inspected_side {
    bool many;
    unsigned slots;
    unsigned alive_count;
    uint64_t cursor, messages, sleeps, rings;
    uint64_t lock; /* of a side with many: the slot that holds it, plus 1; 0: nobody */
    uint64_t life[SLOTS];
    uint64_t end_seen[SLOTS]; /* consumers': the producer lives whose end was told */
    bool alive[SLOTS];        /* holds its lease */
    bool died[SLOTS];         /* began a life, has not ended it, holds no lease */
};

struct inspection {
    const char *name; /* as the caller gave it */
    char path[PATH_MAX];
    int fd; /* -1: not open */
    enum inspected what;
    int error;
    struct stat status;
    int64_t born_s; /* of the real-time clock */
    struct header header;
    enum header_fault header_fault;
    /* From here on: if inspect_has_state. */
    struct inspected_side side[2]; /* by enum shmq_end */
    bool cursors_possible;
    uint64_t used;    /* bytes */
    uint64_t waiting; /* messages, by the two counts: one off at most, after a death or in the middle of things */
    bool busy;        /* somebody opens, closes or unlinks it at this moment */
};

/* The path of the object that `name` means to shmq_open. False: too long. */
bool inspect_path(const char *name, char path[PATH_MAX]);

/* Looks. inspect_close afterwards, whatever was found. */
void inspect(struct inspection *found, const char *name);
void inspect_close(struct inspection *found);

/* Looks again at the same object. False: the name means it no longer, or it can no longer be looked at. */
bool inspect_again(struct inspection *found);

/* Whether there are pages to speak of behind the header. */
bool inspect_has_state(const struct inspection *found);

/* Whether anybody has it open, whatever its header looks like. */
bool inspect_has_users(const struct inspection *found);

/* Whether the life-cycle lease is held right now. */
bool inspect_is_busy(const struct inspection *found);

/* May this process open an end? (The object's rights only.) */
bool inspect_may_open(const struct inspection *found);

/* The header alone, of what may be a queue. False: nothing there that looks like one. */
bool inspect_header(const char *name, struct header *header);

/* ---- Messages ------------------------------------------------------------------------------- */

enum record_fault { RECORD_FINE, RECORD_TAG, RECORD_LENGTH, RECORD_OVERRUN, RECORD_CHECKSUM, RECORD_UNREADABLE };

struct walk {
    uint64_t messages;       /* looked at and found right */
    uint64_t unsealed;       /* of them, without a look at the checksum: too long for that, or this build has none */
    bool complete;           /* false: stopped early, by a limit of time or by a signal */
    enum record_fault fault; /* of the first one that is wrong */
    uint64_t position;       /* of that */
    uint64_t length;         /* that it claims */
};

/* Goes through what is published and not taken. Others may work on the queue meanwhile: a record is judged only if it
 * was still there after it was read. */
void inspect_records(const struct inspection *found, struct walk *walk);
