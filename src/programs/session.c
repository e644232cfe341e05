/* Opens and closes a program's end of the queue and puts errors into words. Called by producer_run.c and consumer_run.c;
 * moves no message. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "narration.h"
#include "refusal.h"
#include "stop.h"

struct session session_begin(enum shmq_end end, const struct streams *io) {
    return (struct session){.end = end,
                            .program = end == SHMQ_PRODUCER ? "producer" : "consumer",
                            .teller = end == SHMQ_PRODUCER ? "Producer" : "Consumer",
                            .io = io};
}

void session_tell(const struct session *session, const char *line) {
    if (session->options.verbose) {
        narrate(session->io->err, session->teller, "%s", line);
    }
}

int session_stopped(void) { return STATUS_SIGNAL + stop_signal(); }

static int status_of(int error) {
    switch (error) {
    case ETIMEDOUT: return STATUS_TIMEOUT;
    case EPIPE:
    case EOWNERDEAD: return STATUS_PEER;
    case EBADMSG: return STATUS_DAMAGE;
    default: return STATUS_FAILURE;
    }
}

/* `found` is room for what has to be looked up. */
static const char *why_not_opened(const struct session *session, int error, char found[REFUSAL_MAX]) {
    const struct options *options = &session->options;

    if ((error == ENOTSUP || error == ENOENT || error == EACCES || error == EROFS) &&
        refusal_of_semaphores(found, options->queue, options->attr.notify)) {
        return found;
    }
    switch (error) {
    case ENOTSUP: refusal_unsupported(found, options->queue, &options->attr); return found;
    case EPROTO: refusal_foreign(found, options->queue); return found;
    case EBUSY: refusal_busy(found, options->queue, session->end); return found;
    case EACCES:
        return "it belongs to another user or its mode keeps you out: whoever creates it must give "
               "-m 0660 or 0666, and you the same";
    case EBADMSG:
        return "the shared region is damaged: shmqctl check says more; remove it with shmqctl rm, or use another name "
               "(-q)";
    case ENOSPC:
        return "the file system that holds it (for /name: /dev/shm) is full: free some space, or "
               "ask for less (-c)";
    case EINVAL: return "such a name (-q) or capacity (-c) is not possible";
    case ELOOP: return "a symbolic link is not followed: give the name of the object itself (-q)";
    case ENOENT: return "the directory does not exist: create it, or use another name (-q)";
    case ENAMETOOLONG: return "the name is too long: use a shorter one (-q)";
    default: return strerror(error);
    }
}

int session_open(struct session *session) {
    const struct options *options = &session->options;
    char found[REFUSAL_MAX];
    int error;

    if (shmq_open(&session->queue, options->queue, session->end, O_CREAT, &options->attr) == 0) {
        session_tell(session, "Opened the queue.");
        return STATUS_DONE;
    }
    error = errno;
    if (error == EINTR && stop_signal() != 0) {
        return session_stopped();
    }
    narrate(session->io->err, session->program, "queue %s: %s", options->queue, why_not_opened(session, error, found));
    return error == EINVAL ? STATUS_USAGE : status_of(error);
}

void session_close(struct session *session) {
    progress_end(&session->progress);
    if (session->queue == NULL) {
        return;
    }
    /* The transfer has succeeded or failed before this, so the status stays; but nobody should be surprised. */
    if (shmq_close(session->queue) != 0) {
        narrate(session->io->err, session->program, "queue %s: is still there, since it could not be removed: %s",
                session->options.queue, strerror(errno));
    }
    session->queue = NULL;
    session_tell(session, "Closed the queue.");
}

static const char *what_happened(enum shmq_end end, int error) {
    switch (error) {
    case ETIMEDOUT: return "time ran out (-t)";
    case EPIPE: return end == SHMQ_PRODUCER ? "the consumer has left" : "the producer has closed";
    case EOWNERDEAD: return end == SHMQ_PRODUCER ? "the consumer died" : "the producer died";
    case EBADMSG: return "the shared region is damaged or gone: ";
    default: return strerror(error);
    }
}

int session_failure(struct session *session, const char *doing) {
    const int error = errno;
    char found[REFUSAL_MAX] = "";

    if (error == EINTR && stop_signal() != 0) {
        return session_stopped();
    }
    progress_end(&session->progress);
    if (error == EBADMSG) refusal_damage(found, session->options.queue);
    narrate(session->io->err, session->program, "queue %s: while %s: %s%s", session->options.queue, doing,
            what_happened(session->end, error), found);
    return status_of(error);
}
