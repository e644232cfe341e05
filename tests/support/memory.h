/* An end of a queue that is only memory: what shmq_open does, without names and mappings of its own. */
#ifndef MEMORY_H
#define MEMORY_H

#include "handle.h"

/* `region` needs header, end, meeting, ring, and object and directory or -1; the caller keeps the memory. -1 and *q NULL
 * on failure. Close it with shmq_close. */
int attach_memory(shmq **q, const struct region *region, enum shmq_end end);

#endif
