/* What this process must know of all its handles at once: for fork, and for the guard against
 * SIGBUS.
 *
 * Owns the only global state of the library: the list of open handles and its lock. */
#ifndef GUARD_H
#define GUARD_H

#include "handle.h"

/* Around everything that opens or closes a handle's descriptors, from the first to the last: a
 * fork in another thread waits meanwhile, so that its child knows every descriptor that it
 * inherits. */
void guard_lock(void);
void guard_unlock(void); /* leaves errno alone */

/* Under the lock. */
void guard_add(struct shmq *q);
void guard_remove(struct shmq *q);

#endif
