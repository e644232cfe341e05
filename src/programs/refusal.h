/* Why a queue could not be opened, or not be used any more, where the errno alone would leave people guessing. */
#pragma once

#include <stdbool.h>

#include "shmq.h"

enum { REFUSAL_MAX = 512 };

/* For ENOTSUP: what is missing for the notifier and the flags that were asked for or, if the queue is there, for its
 * own; and what to do instead. Says what was found, and where more than one thing is possible, all of them. */
void refusal_unsupported(char text[REFUSAL_MAX], const char *queue, const struct shmq_attr *asked);

/* For EBUSY: which of the things that it can mean. */
void refusal_busy(char text[REFUSAL_MAX], const char *queue, enum shmq_end end);

/* For EBADMSG in a queue that was in use: what has happened to it, and what to do. */
void refusal_damage(char text[REFUSAL_MAX], const char *queue);

/* For EPROTO: why what is there cannot be used. */
void refusal_foreign(char text[REFUSAL_MAX], const char *queue);

/* For ENOTSUP, ENOENT, EACCES and EROFS, before all else: whether they come from the directory of the semaphores that
 * the notifier named has, and not from the queue's own. False: no. */
bool refusal_of_semaphores(char text[REFUSAL_MAX], const char *queue, unsigned asked);
