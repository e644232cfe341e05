/* mq: a POSIX message queue. The kernel copies each message in and out, keeps its borders, and wakes who waits.
 *
 * As mq_overview(7) has it: created by whoever comes first, each end opened for its own direction; as long as the
 * system lets anybody have it without asking (/proc/sys/fs/mqueue: 10 messages of up to 8192 bytes), because a limit
 * that only root can exceed is none that a program may count on. The messages outlive whoever is killed. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>

enum { LARGEST = 8192, USUAL = 10 }; /* bytes, messages: the kernel's defaults */

static int mq_make(struct lane *lane) {
    (void)lane;
    return 0;
}

/* "/" and the lane's. */
static const char *mq_name(const struct lane *lane, char name[], size_t size) {
    (void)snprintf(name, size, "/%s", lane->name);
    return name;
}

static long system_limit(const char *path, long usual) {
    long limit = usual;
    FILE *file = fopen(path, "re");
    if (file == NULL) return usual;
    if (fscanf(file, "%ld", &limit) != 1) limit = usual; /* NOLINT: the kernel wrote it */
    (void)fclose(file);
    return limit;
}

static int mq_lane_open(struct lane *lane, enum peer_end end) {
    struct mq_attr attr = {.mq_maxmsg = system_limit("/proc/sys/fs/mqueue/msg_max", USUAL),
                           .mq_msgsize = (long)lane->longest};
    char name[sizeof lane->name + 1];
    const long fit = (long)(lane->capacity / lane->longest);
    if (fit > 0 && fit < attr.mq_maxmsg) attr.mq_maxmsg = fit;
    lane->fds[end] = mq_open(mq_name(lane, name, sizeof name),
                             (end == PEER_PRODUCER ? O_WRONLY : O_RDONLY) | O_CREAT | O_CLOEXEC, 0600, &attr);
    lane->count = 0;
    if (lane->fds[end] >= 0) return 0;
    return errno == ENOSYS ? lane_lacks(lane, "this kernel has no POSIX message queues") : -1;
}

static int mq_lane_send(struct lane *lane, const void *message, size_t length) {
    return mq_send(lane->fds[PEER_PRODUCER], message, length, 0);
}

/* Whether calls on our own descriptor wait; lane->count remembers. A time that is over would put us to sleep until a
 * timer says so. */
static int let_wait(struct lane *lane, bool wait) {
    const struct mq_attr attr = {.mq_flags = wait ? 0 : O_NONBLOCK};
    if ((lane->count == 0) == wait) return 0;
    lane->count = wait ? 0 : 1;
    return mq_setattr(lane->fds[PEER_CONSUMER], &attr, NULL);
}

/* mq_timedreceive knows the wall clock only. It wants room for the longest message, whatever comes. */
static ssize_t mq_lane_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const int queue = lane->fds[PEER_CONSUMER];
    (void)size;
    if (let_wait(lane, timeout_ms != 0) != 0) return -1;
    if (timeout_ms <= 0) return mq_receive(queue, buffer, lane->longest, NULL);
    const struct timespec until = lane_deadline(CLOCK_REALTIME, timeout_ms);
    const ssize_t got = mq_timedreceive(queue, buffer, lane->longest, NULL, &until);
    return got < 0 && errno == ETIMEDOUT ? lane_late(timeout_ms) : got;
}

static void mq_lane_forget(struct lane *lane) {
    char name[sizeof lane->name + 1];
    (void)mq_unlink(mq_name(lane, name, sizeof name));
}

const struct peer peers_mq[] = {
    {
        .name = "mq",
        .largest = LARGEST,
        .named = true,
        .many = true,
        .make = mq_make,
        .open = mq_lane_open,
        .send = mq_lane_send,
        .receive = mq_lane_receive,
        .close = lane_close_fds, /* on Linux a queue's descriptor is a file's */
        .forget = mq_lane_forget,
    },
    {.name = NULL},
};
