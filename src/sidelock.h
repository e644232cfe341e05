/* The side lock: of a side with many ends, one at a time works on the queue.
 *
 * A word in the side's own page: who holds it (slot + 1; 0 nobody), whether somebody waits, and how often it was
 * taken. Not a libc mutex: that knows its owner by a thread number, which means another thread in another PID
 * namespace. Here the owner is a slot, and the slot's lease tells in any namespace whether its holder lives: whoever
 * is about to wait asks, and takes over from the dead. There is nothing to repair then but a record that was
 * not published. The count tells apart two owners of one slot. Ends of one side trust each other.
 *
 * The holder is the one that waits for messages; the others of its side wait for the lock. */
#pragma once

#include "handle.h"

/* For a new end: if the last owner of its slot died with the lock, nobody but us can tell. */
void sidelock_inherit(struct shmq *q);

/* Waits until doorbell_deadline(q, timeout_ms). -1: EAGAIN ETIMEDOUT EINTR EBADMSG. */
int sidelock_take(struct shmq *q, int timeout_ms);

/* Wakes one that waits. Leaves errno alone. */
void sidelock_release(struct shmq *q);
