/* Finds out, from outside, why the core refused a queue. Called by session.c once opening has failed; only looks, and
 * changes nothing.
 *
 * Which notifier a queue was created with stands in its first page. Without a handle the public interface does not tell
 * it, so this file, alone among the programs', reads layout.h. What it reads there goes into a sentence and nowhere
 * else. */
#include "refusal.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layout.h"
#include "options.h"
#include "shmq.h"

/* The first page of what the name means. False: nothing there that looks like a queue. */
static bool read_header(const char *queue, struct header *header) {
    const bool shared = queue[0] == '/' && strchr(queue + 1, '/') == NULL;
    char path[4096];
    struct stat status;
    ssize_t got = -1;
    int fd;

    (void)snprintf(path, sizeof path, "%s%s", shared ? "/dev/shm" : "", queue);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        got = pread(fd, header, sizeof *header, 0);
    }
    close(fd);
    return got == (ssize_t)sizeof *header && header->magic == SHMQ_MAGIC;
}

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
    if ((header->flags & ~(unsigned)SHMQ_EPHEMERAL) != 0) {
        return "it has features that this build may lack";
    }
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

void refusal_unsupported(char text[REFUSAL_MAX], const char *queue, unsigned asked) {
    struct header header;
    const bool exists = read_header(queue, &header);
    const unsigned kind = exists ? header.notify : asked;
    const char *missing = missing_here(kind);

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

void refusal_foreign(char text[REFUSAL_MAX], const char *queue) {
    struct header header;
    const bool exists = read_header(queue, &header);

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
    const unsigned kind = read_header(queue, &header) ? header.notify : asked;

    if (kind != SHMQ_NOTIFY_NAMED || access("/dev/shm", W_OK | X_OK) == 0) {
        return false;
    }
    (void)snprintf(text, REFUSAL_MAX,
                   "the notifier named keeps its semaphores in /dev/shm, which is not there or not "
                   "yours to write: use another notifier (-n sem needs no such thing)");
    return true;
}
