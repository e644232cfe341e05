/* What this process must know of all its handles at once: for fork, and for the guard against
 * SIGBUS (shmq_guard_sigbus stands here).
 *
 * Owns the only global state of the library: the list of open handles and its lock. */
#pragma once

#include "handle.h"

/* Around everything that opens or closes a handle's descriptors, from the first to the last: a
 * fork in another thread waits meanwhile, so that its child knows every descriptor that it
 * inherits. */
void guard_lock(void);
void guard_unlock(void); /* leaves errno alone */

/* Under the lock. An empty handle; NULL: no memory. Handles are used again and never freed, so that
 * a signal handler can look at all of them at any time. */
struct shmq *guard_new(void);
void guard_free(struct shmq *q);
