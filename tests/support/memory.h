/* An end of a queue that is only memory: what shmq_open does, without names and mappings of its own. Several threads
 * can so share one mapping, where a thread sanitizer sees every access of all. */
#pragma once

#include "handle.h"

/* `region` needs header, end, meeting, ring, and object and directory or -1; the caller keeps the memory. -1 and *q NULL
 * on failure. Close it with shmq_close. */
int attach_memory(shmq **q, const struct region *region, enum shmq_end end);

/* What shmq_open would map; the ring is not mapped twice but simply long enough, so that each of its bytes has one
 * address. */
struct memory {
    struct region region;
    void *pages;
};

/* A fresh queue, and its end. What fails, fails the test. */
struct memory memory_new(enum shmq_notify notify, size_t capacity, unsigned flags, uint64_t instance);
void memory_free(struct memory *memory);

/* What notifiers use of a queue besides: a directory, this one; and an object in it, of which each end has an open file
 * description of its own with the lease of its role and slot. To be called for a copy of the region. */
void memory_open_object(struct region *region, enum shmq_end end);
