/* Finds out, from outside, why the core refused a queue, or gave one up. Called by session.c once that has happened;
 * only looks, and changes nothing. What it finds goes into a sentence and nowhere else. */
#include "refusal.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checksum.h"
#include "inspect.h"
#include "options.h"
#include "shmq.h"

static bool has_proc(void) { return access("/proc/self/fd", F_OK) == 0; }

static bool has_pidfd(void) {
    const int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (self >= 0) {
        close(self);
    }
    return self >= 0;
}

static bool urgent_is_blocked(void) {
    sigset_t blocked;

    return pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, SIGURG) == 1;
}

/* What this process finds missing around itself; NULL: nothing. */
static const char *missing_here(unsigned kind) {
    if (!has_proc()) {
        return "/proc is not mounted here";
    }
    if (kind == SHMQ_NOTIFY_SIGNAL && !has_pidfd()) {
        return "the notifier signal needs pidfd_open, which this kernel (before Linux 5.3) or "
               "sandbox lacks";
    }
    if (kind == SHMQ_NOTIFY_SIGNAL && !urgent_is_blocked()) {
        return "the notifier signal needs SIGURG blocked in this process";
    }
    return NULL;
}

/* What a queue that is to be created can be refused for. */
static const char *missing_for_new(unsigned kind) {
    switch (kind) {
    case SHMQ_NOTIFY_FIFO: return "the file system that is to hold it lacks FIFOs, O_TMPFILE or locks";
    case SHMQ_NOTIFY_NAMED:
        return "/dev/shm, which is to hold the semaphores, or the file system that is to hold the "
               "queue lacks O_TMPFILE or locks";
    default: return "the file system that is to hold it lacks O_TMPFILE or locks";
    }
}

/* What a queue that is there can be refused for. */
static const char *missing_for_existing(const struct header *header) {
    switch (header->notify) {
    case SHMQ_NOTIFY_NAMED: return "its semaphores are not there, and /dev/shm lacks O_TMPFILE to make them";
    case SHMQ_NOTIFY_COND: return "the other end lives in another PID namespace (a container)";
    case SHMQ_NOTIFY_FIFO: return "its FIFOs are not there, and the file system that holds it cannot have any";
    case SHMQ_NOTIFY_SIGNAL:
        return "the other end lives in another PID namespace (a container), or belongs to a user "
               "to whom you may not send signals";
    default: return "something that it needs is missing here";
    }
}

static const char *remedy_for_new(unsigned kind) {
    if (!has_proc()) {
        return "mount it, for no queue can be created without";
    }
    return kind == SHMQ_NOTIFY_SEM ? "use another place (-q); /name is one in /dev/shm"
                                   : "use another notifier (-n sem needs the least) or another place (-q)";
}

/* False: checksums are not what is missing. */
static bool checksums_are_missing(char text[REFUSAL_MAX], bool exists, unsigned flags) {
    if (CHECKSUM_BUILT != 0 || (flags & SHMQ_CHECKSUM) == 0) return false;
    (void)snprintf(text, REFUSAL_MAX,
                   "%s, and this build has none: install libxxhash-dev and build again, or use %s without",
                   exists ? "it was created with --checksum" : "you ask for checksums (--checksum)",
                   exists ? "another queue (-q)" : "a queue");
    return true;
}

void refusal_unsupported(char text[REFUSAL_MAX], const char *queue, const struct shmq_attr *asked) {
    struct header header;
    const bool exists = inspect_header(queue, &header);
    const unsigned kind = exists ? header.notify : asked->notify;
    const char *missing = missing_here(kind);

    if (checksums_are_missing(text, exists, exists ? header.flags : asked->flags)) return;
    if (exists) {
        (void)snprintf(text, REFUSAL_MAX,
                       "it was created with -n %s, and %s: end the programs that use it and create "
                       "it with -n sem, which always works, or use another queue (-q)",
                       options_notifier(kind), missing != NULL ? missing : missing_for_existing(&header));
        return;
    }
    (void)snprintf(text, REFUSAL_MAX, "%s: %s", missing != NULL ? missing : missing_for_new(kind),
                   remedy_for_new(kind));
}

void refusal_busy(char text[REFUSAL_MAX], const char *queue, enum shmq_end end) {
    const char *who = end == SHMQ_PRODUCER ? "producer" : "consumer";
    struct inspection found;

    inspect(&found, queue);
    if (!inspect_has_state(&found))
        (void)snprintf(text, REFUSAL_MAX, "somebody is just opening or removing it: try again");
    else if (found.side[end].many && found.side[end].alive_count == SLOTS)
        (void)snprintf(text, REFUSAL_MAX, "all %d places for %ss are taken: end one, or use another queue (-q)", SLOTS,
                       who);
    else if (found.side[end].alive_count > 0 && !found.side[end].many)
        (void)snprintf(text, REFUSAL_MAX,
                       "another %s has it open (or is just opening it), and it was not created with --many: end that "
                       "one, or use another queue (-q)",
                       who);
    else if (inspect_is_busy(&found))
        (void)snprintf(text, REFUSAL_MAX,
                       "somebody has been opening, closing or removing it for over a second: shmqctl check says who");
    else
        (void)snprintf(text, REFUSAL_MAX, "another %s had it open a moment ago: try again", who);
    inspect_close(&found);
}

void refusal_damage(char text[REFUSAL_MAX], const char *queue) {
    struct inspection found;
    const char *checksums;

    inspect(&found, queue);
    checksums = (found.header.flags & SHMQ_CHECKSUM) != 0 ? ", or changed a message (its checksum)" : "";
    if (found.what == INSPECTED_ABSENT)
        (void)snprintf(text, REFUSAL_MAX, "it is not there any more");
    else if (found.what == INSPECTED_FOREIGN && found.status.st_size == 0)
        (void)snprintf(text, REFUSAL_MAX, "somebody has truncated it, to nothing: remove it with rm, and start anew");
    else if (found.what == INSPECTED_QUEUE && (found.header_fault == HEADER_SHORT || found.header_fault == TOO_SHORT))
        (void)snprintf(text, REFUSAL_MAX,
                       "somebody has truncated it, to %lld bytes: remove it with shmqctl rm, and start anew",
                       (long long)found.status.st_size);
    else
        (void)snprintf(text, REFUSAL_MAX,
                       "somebody has written over it%s: shmqctl check says more; remove it with shmqctl rm, and start "
                       "anew",
                       checksums);
    inspect_close(&found);
}

void refusal_foreign(char text[REFUSAL_MAX], const char *queue) {
    struct header header;
    const bool exists = inspect_header(queue, &header);

    if (exists && header.abi == SHMQ_ABI && header.fingerprint != 0) {
        (void)snprintf(text, REFUSAL_MAX,
                       "it was created with -n %s, which shares objects of the C library, by a build with "
                       "another C library or of another version: remove it and use -n sem, or use another "
                       "name (-q)",
                       options_notifier(header.notify));
        return;
    }
    (void)snprintf(text, REFUSAL_MAX, "%s: remove it, or use another name (-q)",
                   exists ? "what is there is a queue of another version, or a damaged one"
                          : "what is there is not a queue, or one of another version");
}

bool refusal_of_semaphores(char text[REFUSAL_MAX], const char *queue, unsigned asked) {
    struct header header;
    const unsigned kind = inspect_header(queue, &header) ? header.notify : asked;

    if (kind != SHMQ_NOTIFY_NAMED || access("/dev/shm", W_OK | X_OK) == 0) {
        return false;
    }
    (void)snprintf(text, REFUSAL_MAX,
                   "the notifier named keeps its semaphores in /dev/shm, which is not there or not "
                   "yours to write: use another notifier (-n sem needs no such thing)");
    return true;
}
