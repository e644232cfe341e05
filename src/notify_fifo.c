/* fifo: two FIFOs beside the queue, .shmq.<instance>-<inode>.items and .space. The sleeper polls the one
 * for a byte, which the ringer writes: the only notifier with a descriptor, so the one that joins
 * event loops.
 *
 * The sleeper holds the reading end only, the ringer reading and writing: so a ring never fails
 * for want of a reader, and when the ringer dies the kernel tells the sleeper at once (POLLHUP).
 * Nothing that is written there is believed: it is drained and thrown away. */
#include "notify_os.h"

#include "notify.h"

static const char PREFIX[] = ".shmq.";

/* The FIFO that `path` stands for, opened for use. Ours may have been left with too few rights by
 * one of us who was killed right after making it. */
static int vet_and_open(const struct bells *bells, int path, enum bell bell) {
    struct stat found;
    if (os_stat(path, &found) != 0 || notify_vet(bells, &found, S_IFIFO) != 0) return -1;
    if (found.st_uid == os_user() && notify_give_rights(bells, path) != 0) return -1;
    return os_reopen(path, bell == MINE ? O_RDONLY : O_RDWR);
}

static int try_to_open(const struct bells *bells, enum bell bell) {
    char name[NOTIFY_NAME_MAX];
    if (notify_name(name, PREFIX, bells, notify_is_items(bells, bell)) != 0) return -1;
    if (os_make_fifo(bells->directory, name) != 0 && errno != EEXIST)
        return errno == EPERM || errno == EOPNOTSUPP ? fail(ENOTSUP) : -1;
    int path = os_open_path(bells->directory, name);
    if (path < 0) return -1;
    int fd = vet_and_open(bells, path, bell);
    os_close(path);
    return fd;
}

static int fifo_open(struct bells *bells) {
    enum { TRIES = 50 };
    for (enum bell bell = MINE; bell <= THEIRS; bell++) {
        for (int try = 0; (bells->fd[bell] = try_to_open(bells, bell)) < 0; try++) {
            if (errno != EACCES || try == TRIES) return -1;
            os_nap(OS_MS); /* another user who has just made it gives us our rights in a moment */
        }
    }
    return 0;
}

static void fifo_remove(const struct bells *queue) { notify_remove(queue->directory, PREFIX, queue); }

/* While nobody is there, we write to our own FIFO ourselves: else it would stay readable since the
 * last one left (POLLHUP), and a waiter would turn in circles. So that means: just now somebody
 * died, or is leaving. A child that another thread forks between the opening and the noting of it, and that does not
 * call exec, keeps it: then deaths are found by slices, and an armed event loop does not hear of them. */
static void fifo_watch(struct bells *bells) {
    const bool has_peer = notify_has_peer(bells);
    int fd = bells->fd[SPARE];
    if (has_peer == (fd < 0)) return;
    bells->fd[SPARE] = -1; /* first, so that a child forked meanwhile closes nobody else's */
    os_close(fd);
    if (!has_peer) bells->fd[SPARE] = os_reopen(bells->fd[MINE], O_WRONLY);
}

/* Whoever fills it only makes us look in vain. */
static void fifo_reset(struct bells *bells) {
    char rings[4096];
    (void)os_read_fifo(bells->fd[MINE], rings, sizeof rings);
}

static int fifo_wait(struct bells *bells, int64_t until_ns) {
    int events = os_poll(bells->fd[MINE], until_ns);
    if (events < 0 || (events & POLLNVAL) != 0) return events < 0 ? -1 : fail(EBADF);
    if ((events & POLLIN) == 0 && (events & POLLHUP) != 0) os_nap(OS_MS); /* until its lease is free */
    return 0;
}

static int fifo_ring(struct bells *bells) {
    /* EAGAIN: it is full, and so it has been rung already. */
    return os_write_fifo(bells->fd[THEIRS]) == 1 || errno == EAGAIN || errno == EINTR ? 0 : -1;
}

const struct notifier shmq_notify_fifo = {
    .name = "fifo",
    .pollable = true,
    .open = fifo_open,
    .remove = fifo_remove,
    .reset = fifo_reset,
    .watch = fifo_watch,
    .wait = fifo_wait,
    .ring = fifo_ring,
};
