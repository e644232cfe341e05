/* Why a queue could not be opened, where the errno alone would leave people guessing. */
#ifndef SHMQ_PROGRAMS_REFUSAL_H
#define SHMQ_PROGRAMS_REFUSAL_H

#include <stdbool.h>

enum { REFUSAL_MAX = 512 };

/* For ENOTSUP: what is missing for the notifier that was asked for or, if the queue is there, for its own; and what to
 * do instead. Says what was found, and where more than one thing is possible, all of them. */
void refusal_unsupported(char text[REFUSAL_MAX], const char *queue, unsigned asked);

/* For EPROTO: why what is there cannot be used. */
void refusal_foreign(char text[REFUSAL_MAX], const char *queue);

/* For ENOTSUP, ENOENT, EACCES and EROFS, before all else: whether they come from the directory of the semaphores that
 * the notifier named has, and not from the queue's own. False: no. */
bool refusal_of_semaphores(char text[REFUSAL_MAX], const char *queue, unsigned asked);

#endif
