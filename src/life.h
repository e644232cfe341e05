/* Who is there: life words, leases and what has been told already.
 *
 * Each end counts its lives in its own page: 0 nobody came yet, odd open, even
 * closed properly. Whether an odd life still lives, only its lease tells. The
 * end of a producer's life is reported to consumers once: by the handle that
 * saw it, again and again until another producer comes; later handles wait as
 * for one that never came, so a kept queue serves session after session. A
 * producer reports only a consumer that left after it attached itself. On a
 * side with many ends each has its slot, and nobody is gone while one of them
 * lives. */
#pragma once

#include "handle.h"

/* Starts and ends our own life. Ring the peer afterwards. */
void life_begin(struct shmq *q);
void life_end(struct shmq *q);

/* What a waiter wants to know: 0 go on waiting; EPIPE, EOWNERDEAD nobody will come. When not 0,
 * look at the ring once more before believing it, and then call life_report. */
int life_of_peer(struct shmq *q);

/* Notes that what life_of_peer said last has been reported. */
void life_report(struct shmq *q, int gone);

/* How many live at one end, ourselves included. */
uint32_t life_count(const struct shmq *q, enum shmq_end end);
