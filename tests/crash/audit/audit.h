/* Which shared words an operation touches, seen by the processor itself, and who asked for it.
 *
 * The region of a watched end is always out of reach (PROT_NONE). An instruction that touches it faults, is noted, and
 * then runs alone: the region is opened for that one step. So nothing is missed, whoever does it and wherever it stands.
 * The core is compiled once more for this, with two kinds of hooks: shared.h's, which announce each access and its
 * extent (a fault that nobody announced went around shared.h), and the compiler's own at the begin and end of each
 * function (-finstrument-functions), so that it is known in which call of which function that was.
 *
 * Put before every source of the core (-include, see BUILD). What the kernel reads for us is seen by the linker's --wrap
 * of the calls that touch the object. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before each access; `access` is one of enum shared_access, which shared.h declares later. */
void audit_announce(int access, const void *address, size_t bytes);

#define SHARED_HOOK(access, address, bytes) audit_announce((int)(access), (address), (bytes))

struct audit_access {
    bool reads;
    bool around;          /* not through shared.h */
    uint64_t at, bytes;   /* in the object; of what went around, the first byte only */
    const char *function; /* the innermost that is none of shared.h's and os.h's; around, the one of shmq.h */
    uint64_t call;        /* which call of it */
};

enum { AUDIT_MOST = 1 << 18 };

struct audit_log {
    size_t count;
    struct audit_access access[AUDIT_MOST];
};

/* Once, first of all. */
void audit_begin(void);
/* From now on the regions that this thread maps are watched, and what it does to them is noted. */
void audit_watch(void);
/* Regions mapped from now on are not; those that are watched stay so. */
void audit_look_away(void);
/* What was noted since the last time. Until the next access. */
struct audit_log *audit_take(void);
