/* What the program `producer` does: messages from arguments or standard input go into the queue, and then it waits until
 * they are taken. Called by producer.c, tests and fuzzers; never touches what is process-wide. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>

#include "lines.h"
#include "narration.h"
#include "patience.h"
#include "programs.h"
#include "session.h"
#include "stop.h"

/* After a wait that failed: has another consumer come in place of the one that left? One that goes
 * on with the next producer (--follow) closes its end and opens it anew, and a producer that came
 * in between has seen it leave. It is given a moment to be back; errno stays as it is if not. */
static bool consumer_is_back(struct session *session) {
    enum { LOOKS = 20 };
    const int error = errno;
    struct shmq_stat stat;

    for (int look = 0; error == EPIPE && look < LOOKS; look++) {
        (void)poll(NULL, 0, 1);
        if (shmq_stat(session->queue, &stat) == 0 && stat.consumers > 0) {
            return true;
        }
    }
    errno = error;
    return false;
}

/* Waits for room, with the progress line and an ear for signals. */
static void *reserve(struct session *session, size_t length) {
    struct patience patience = patience_begin(session->options.timeout_ms);
    void *room;

    while ((room = shmq_reserve(session->queue, length, patience_piece(&patience))) == NULL) {
        if (!patience_left(&patience) && !consumer_is_back(session)) {
            return NULL;
        }
        progress_show(&session->progress, session->queue);
    }
    return room;
}

static int send_message(struct session *session, const char *message, size_t length) {
    void *room;

    session_tell(session, "Writing a message...");
    room = reserve(session, length);
    if (room == NULL) {
        return session_failure(session, "waiting for space");
    }
    memcpy(room, message, length);
    session_tell(session, "Notifying consumer...");
    if (shmq_commit(session->queue, length) != 0) {
        return session_failure(session, "publishing");
    }
    progress_count(&session->progress, length);
    progress_show(&session->progress, session->queue);
    return stop_signal() == 0 ? STATUS_DONE : session_stopped();
}

static int too_long(struct session *session, const char *what, uint64_t number, size_t length, size_t limit) {
    progress_end(&session->progress);
    narrate(session->io->err, session->program,
            "%s %llu is %zu bytes long, more than the %zu that queue %s takes: create the queue "
            "with more (-c)",
            what, (unsigned long long)number, length, limit, session->options.queue);
    return STATUS_FAILURE;
}

static int send_arguments(struct session *session, int argc, char **argv, size_t limit) {
    const int first = session->options.first_message;

    for (int i = first; i < argc; i++) {
        const size_t length = strlen(argv[i]);
        int status;

        if (length > limit) {
            return too_long(session, "message", (uint64_t)(i - first) + 1, length, limit);
        }
        status = send_message(session, argv[i], length);
        if (status != STATUS_DONE) {
            return status;
        }
    }
    return STATUS_DONE;
}

static int input_failure(struct session *session, const struct lines *lines, size_t length) {
    if (errno == EINTR) {
        return session_stopped();
    }
    if (errno == EMSGSIZE) {
        return too_long(session, "line", lines->number, length, lines->limit);
    }
    progress_end(&session->progress);
    narrate(session->io->err, session->program, "cannot read standard input: %s", strerror(errno));
    return STATUS_FAILURE;
}

static int send_input(struct session *session, size_t limit) {
    struct lines lines;
    const char *line;
    size_t length;
    int more, status = STATUS_DONE;

    lines_open(&lines, session->io->in, session->options.separator, limit);
    while (status == STATUS_DONE && (more = lines_next(&lines, &line, &length)) != 0) {
        status = more > 0 ? send_message(session, line, length) : input_failure(session, &lines, length);
    }
    lines_close(&lines);
    return status;
}

/* Waits until the consumer has taken everything. */
static int drain(struct session *session) {
    struct patience patience = patience_begin(session->options.timeout_ms);

    while (shmq_drain(session->queue, patience_piece(&patience)) != 0) {
        if (!patience_left(&patience) && !consumer_is_back(session)) {
            return session_failure(session, "waiting for the consumer to take everything");
        }
        progress_show(&session->progress, session->queue);
    }
    return STATUS_DONE;
}

static int produce(struct session *session, int argc, char **argv) {
    const bool from_input = session->options.first_message >= argc;
    struct shmq_stat stat;
    int status;

    if (shmq_stat(session->queue, &stat) != 0) {
        return session_failure(session, "asking for its limits");
    }
    if (!session->options.verbose) {
        session->progress = progress_begin(session->io->err, from_input ? session->io->in : -1);
    }
    status = from_input ? send_input(session, (size_t)stat.max_message)
                        : send_arguments(session, argc, argv, (size_t)stat.max_message);
    if (status == STATUS_DONE && !session->options.no_wait) {
        status = drain(session);
    }
    return status;
}

int producer_run(int argc, char **argv, const struct streams *io) {
    struct session session = session_begin(SHMQ_PRODUCER, io);
    int status = options_parse(&session.options, SHMQ_PRODUCER, argc, argv, io);

    if (status != OPTIONS_GO_ON) {
        return status;
    }
    status = session_open(&session);
    if (status == STATUS_DONE) {
        status = produce(&session, argc, argv);
    }
    session_close(&session);
    return status;
}
