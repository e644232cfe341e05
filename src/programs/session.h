/* One end of a queue as a program holds it: options, streams, handle; and the one place where an errno of the core becomes
 * a sentence and an exit status. */
#pragma once

#include "options.h"
#include "programs.h"
#include "progress.h"
#include "shmq.h"

struct session {
    enum shmq_end end;
    const char *program; /* "producer", for complaints */
    const char *teller;  /* "Producer", for --verbose */
    const struct streams *io;
    struct options options;
    struct progress progress;
    shmq *queue; /* NULL while none is open */
};

struct session session_begin(enum shmq_end end, const struct streams *io);

/* Opens the queue, made if there is none. Returns STATUS_DONE, or says what is wrong and returns the status for it. */
int session_open(struct session *session);

/* Closes the queue, if one is open, and says if an ephemeral one could not be removed. */
void session_close(struct session *session);

/* For errno after a call of the core failed: says what happened while `doing` something and returns the status. */
int session_failure(struct session *session, const char *doing);

/* The status for having been stopped by a signal. */
int session_stopped(void);

/* With --verbose: one line. */
void session_tell(const struct session *session, const char *line);
