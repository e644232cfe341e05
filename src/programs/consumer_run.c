/* What the program `consumer` does: messages from the queue go to standard output. A message is released only once
 * write(2) has taken all of it: a consumer killed at any moment loses none, and at worst writes one again the next time.
 * Called by consumer.c, tests and fuzzers; never touches what is process-wide. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "narration.h"
#include "patience.h"
#include "programs.h"
#include "session.h"
#include "stop.h"
#include "stream.h"

/* Waits for a message, with the progress line and an ear for signals. */
static const char *peek(struct session *session, size_t *length) {
    struct patience patience = patience_begin(session->options.timeout_ms);
    const char *message;

    while ((message = shmq_peek(session->queue, length, patience_piece(&patience))) == NULL) {
        if (!patience_left(&patience)) {
            return NULL;
        }
        progress_show(&session->progress, session->queue);
    }
    return message;
}

static int output_failure(struct session *session) {
    const int error = errno;

    if (error == EINTR) {
        return session_stopped();
    }
    if (error == EPIPE) {
        return STATUS_SIGNAL + SIGPIPE; /* quietly: the reader has seen enough */
    }
    if (error == EFAULT) { /* the system found the message's pages missing */
        errno = EBADMSG;
        return session_failure(session, "reading a message");
    }
    progress_end(&session->progress);
    narrate(session->io->err, session->program, "cannot write standard output: %s", strerror(error));
    return STATUS_FAILURE;
}

static int deliver(struct session *session, const char *message, size_t length) {
    struct iovec parts[] = {stream_part(message, length), stream_part(&session->options.separator, 1)};

    if (stream_write_parts(session->io->out, parts, 2) != 0) {
        return output_failure(session);
    }
    if (session->options.verbose) {
        narrate_message(session->io->err, "Consumer: Received notification! Message is: \"", message, length, "\"");
    }
    if (shmq_release(session->queue) != 0) {
        return session_failure(session, "taking a message");
    }
    progress_count(&session->progress, length);
    progress_show(&session->progress, session->queue);
    return stop_signal() == 0 ? STATUS_DONE : session_stopped();
}

/* The producer closed or died. A handle that has reported that goes on reporting it; one opened
 * afterwards waits for the next producer, and finds a new queue if closing removed the old one.
 * But a producer that is in the middle of leaving, or of coming, holds its end already and has not
 * said so yet: it is given the moment that it needs, for it must not see its consumer leave. */
static int next_producer(struct session *session) {
    struct shmq_stat stat;

    if (errno == EOWNERDEAD) {
        (void)session_failure(session, "waiting for a message");
    }
    if (shmq_stat(session->queue, &stat) == 0 && stat.producers > 0) {
        (void)poll(NULL, 0, 1);
        return stop_signal() == 0 ? STATUS_DONE : session_stopped();
    }
    session_close(session);
    return session_open(session);
}

static int consume(struct session *session) {
    const struct options *options = &session->options;
    uint64_t taken = 0;
    bool told = false;
    int status = STATUS_DONE;

    while (status == STATUS_DONE && (options->count == 0 || taken < options->count)) {
        const char *message;
        size_t length;

        if (!told) {
            session_tell(session, "Waiting for notification...");
        }
        message = peek(session, &length);
        told = message == NULL;
        if (message != NULL) {
            status = deliver(session, message, length);
            taken++;
        } else if (options->follow && (errno == EPIPE || errno == EOWNERDEAD)) {
            status = next_producer(session);
        } else if (errno == EPIPE) {
            return STATUS_DONE;
        } else {
            status = session_failure(session, "waiting for a message");
        }
    }
    return status;
}

int consumer_run(int argc, char **argv, const struct streams *io) {
    struct session session = session_begin(SHMQ_CONSUMER, io);
    int status = options_parse(&session.options, SHMQ_CONSUMER, argc, argv, io);

    if (status != OPTIONS_GO_ON) {
        return status;
    }
    status = session_open(&session);
    if (!session.options.verbose) {
        session.progress = progress_begin(io->err, io->out);
    }
    if (status == STATUS_DONE) {
        status = consume(&session);
    }
    session_close(&session);
    return status;
}
