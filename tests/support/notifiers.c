/* See notifiers.h. */
#include "notifiers.h"

#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

const struct notifier_row NOTIFIERS[NOTIFIERS_COUNT] = {
    /* name, kind, sleeps, survives, notices, tells_signals, trusts, prefix */
    {"sem", SHMQ_NOTIFY_SEM, true, true, false, true, false, NULL},
    {"named", SHMQ_NOTIFY_NAMED, true, true, false, true, true, "/dev/shm/sem.shmq."},
    {"cond", SHMQ_NOTIFY_COND, true, false, false, false, true, NULL},
    {"fifo", SHMQ_NOTIFY_FIFO, true, true, true, true, false, ".shmq."},
    {"signal", SHMQ_NOTIFY_SIGNAL, true, true, false, true, false, NULL},
    {"lock", SHMQ_NOTIFY_LOCK, true, true, true, false, false, NULL},
    {"spin", SHMQ_NOTIFY_SPIN, false, true, true, false, false, NULL},
};

const struct notifier_row *notifier_now = &NOTIFIERS[SHMQ_NOTIFY_SEM];

bool notifier_works_here(const struct notifier_row *row) {
    if (row->kind != SHMQ_NOTIFY_SIGNAL) return true;
    if (check_tool() == CHECK_VALGRIND) return false; /* 3.19 has no pidfds, and says so on half a page each time */
    const int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self >= 0) close(self);
    return self >= 0;
}

void notifier_for_each(void (*body)(const char *name), bool everywhere) {
    /* A regular file makes a difference to the queue, and to a notifier with a doorbell beside it: where a process takes a
     * tenth of a second, once for the queue is enough. */
    const bool is_slow = check_tool() == CHECK_VALGRIND;
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        const bool differs = row == SHMQ_NOTIFY_SEM || row == SHMQ_NOTIFY_FIFO;
        if (!notifier_works_here(&NOTIFIERS[row])) continue;
        notifier_now = &NOTIFIERS[row];
        check_note("notifier %s", notifier_now->name);
        body(check_name(notifier_now->name));
        check_note("notifier %s", notifier_now->name);
        if (everywhere && (!is_slow || differs)) body("./q");
    }
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_SEM];
    check_note("%s", "");
}

bool notifier_open_says(int error) {
    static const int errors[] = {EINVAL, ENOENT, EEXIST, EACCES, EPERM,  ELOOP,   ENAMETOOLONG, ENOSPC,
                                 ENOMEM, EMFILE, ENFILE, EBUSY,  EPROTO, EBADMSG, ENOTSUP};
    for (size_t at = 0; at < sizeof errors / sizeof errors[0]; at++)
        if (errors[at] == error) return true;
    return false;
}

const char *notifier_path(const char *queue, uint64_t instance, bool items) {
    static char path[4096];
    char pattern[4096];
    glob_t found;
    const char *queue_path = check_path(queue);
    const bool beside = notifier_now->prefix[0] != '/';
    const int directory = beside ? (int)(strrchr(queue_path, '/') + 1 - queue_path) : 0;
    snprintf(pattern, sizeof pattern, "%.*s%s%016llx*.%s", directory, queue_path, notifier_now->prefix,
             (unsigned long long)instance, items ? "items" : "space");
    const bool any = glob(pattern, 0, NULL, &found) == 0;
    snprintf(path, sizeof path, "%s", any ? found.gl_pathv[0] : pattern);
    if (any) globfree(&found);
    return path;
}

int notifier_doorbells(const char *queue, uint64_t instance) {
    struct stat status;
    int count = 0;
    for (int items = 0; notifier_now->prefix != NULL && items <= 1; items++)
        count += lstat(notifier_path(queue, instance, items != 0), &status) == 0;
    return count;
}
