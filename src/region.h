/* The region: the object that a name stands for. Creates, finds, maps and unlinks it.
 *
 * Owns names, descriptors and mappings, and the order of the life cycle's steps. Knows nothing
 * of messages or of who waits. Whoever creates or attaches holds the life-cycle lease shared
 * while it does; whoever unlinks holds it exclusively. A name is only ever given (linkat) to a
 * finished object and only ever removed under the exclusive lease, after a look that it still
 * means the same object. So a process killed at any instruction leaves either a whole queue or
 * none. */
#pragma once

#include <limits.h>
#include <stdbool.h>

#include "layout.h"
#include "lease.h"
#include "shmq.h"

struct region {
    int directory;      /* where the name stands; stays right when the working directory changes */
    int object;         /* -1: memory that somebody else mapped */
    enum shmq_end role; /* ours, in this slot */
    unsigned slot;
    int64_t until_ns; /* patience of the present call with those who hold the life-cycle lease */
    char name[NAME_MAX + 1];
    struct header header; /* our own copy, checked: the page itself is never read again */
    unsigned char *base;  /* the mapping, or NULL */
    size_t mapped_bytes;
    struct end_page *end[2]; /* by enum shmq_end; only one's own is writable */
    struct meeting *meeting;
    unsigned char *ring; /* 2 x capacity */
};

/* How long to wait, from now on, for others who hold the life-cycle lease: `until_ns`. Ask it before
 * anything else that may have to wait. */
int64_t region_deadline(void);

/* Creates or attaches, as shmq_open says: takes a slot of our role and maps what it may see.
 * `region` comes with role and until_ns, and -1 for directory and object. On success the
 * life-cycle lease is still held, shared: drop it once everything that has a name is open. On
 * failure nothing is held, and nothing was created. */
int region_open(struct region *region, const char *path, int oflag, const struct shmq_attr *attr);

/* Drops every lease, unmaps and closes. Leaves errno alone, for those who fail. */
void region_close(struct region *region);

/* After a fork, in the child: closes the descriptors, and drops no lease, for they are the
 * parent's. */
void region_disown(struct region *region);

/* True if the object has lost its last name, so that nobody can come any more. */
bool region_unlinked(const struct region *region);

/* For an end that has dropped its role lease: unlinks the queue if nobody uses it and it is
 * ephemeral and drained; or, for an end that failed to open, if nobody has ever used it. */
int region_retire(struct region *region, bool failed);

/* What the kernel says of a path or a file system, in the words of the interface. Returns -1. */
int region_fail(void);

/* shmq_unlink. */
int region_unlink(const char *path, int64_t until_ns);

static inline enum shmq_end region_other(enum shmq_end end) {
    return end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
}

/* The byte of the role lease of an end's slot 0; the other slots follow. */
static inline int region_role(enum shmq_end end) { return LEASE_ROLES + SLOTS * (int)end; }

/* How many ends a side may have at once. */
static inline unsigned region_slots(const struct header *header, enum shmq_end end) {
    unsigned many = end == SHMQ_PRODUCER ? SHMQ_MANY_PRODUCERS : SHMQ_MANY_CONSUMERS;
    return (header->flags & many) != 0 ? SLOTS : 1;
}

/* Bytes of a record before its payload. */
static inline uint32_t region_record_header(const struct header *header) {
    return (header->flags & SHMQ_CHECKSUM) != 0 ? RECORD_CHECKED : RECORD_HEADER;
}

/* The lease of our own end. */
static inline int region_own_lease(const struct region *region) {
    return region_role(region->role) + (int)region->slot;
}
