/* shmq: one row a notifier, with everything else as users get it by default. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "shmq.h"

/* The ends create the queue, whoever comes first. */
static int shmq_lane_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static void queue_name(const struct lane *lane, char name[], size_t size) {
    (void)snprintf(name, size, "/%s", lane->name);
}

static int shmq_lane_open(struct lane *lane, enum peer_end end) {
    const struct shmq_attr attr = {.notify = lane->peer->kind, .flags = SHMQ_EPHEMERAL};
    char name[sizeof lane->name + 1];
    shmq *queue;
    queue_name(lane, name, sizeof name);
    if (shmq_open(&queue, name, end == PEER_PRODUCER ? SHMQ_PRODUCER : SHMQ_CONSUMER, O_CREAT, &attr) == 0) {
        lane->state = queue;
        return 0;
    }
    if (errno == ENOTSUP) (void)snprintf(lane->why, sizeof lane->why, "not in this build, or not on this system");
    return -1;
}

static int shmq_lane_send(struct lane *lane, const void *message, size_t length) {
    return shmq_send(lane->state, message, length, -1);
}

static ssize_t shmq_lane_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    return shmq_recv(lane->state, buffer, size, timeout_ms);
}

static void shmq_lane_close(struct lane *lane) {
    if (lane->state != NULL) (void)shmq_close(lane->state);
    lane->state = NULL;
}

static void shmq_lane_forget(struct lane *lane) {
    char name[sizeof lane->name + 1];
    queue_name(lane, name, sizeof name);
    (void)shmq_unlink(name);
}

#define ROW(notifier, which)                                                                                           \
    {                                                                                                                  \
        .name = "shmq/" notifier,                                                                                      \
        .kind = (which),                                                                                               \
        .make = shmq_lane_make,                                                                                        \
        .open = shmq_lane_open,                                                                                        \
        .send = shmq_lane_send,                                                                                        \
        .receive = shmq_lane_receive,                                                                                  \
        .close = shmq_lane_close,                                                                                      \
        .forget = shmq_lane_forget,                                                                                    \
    }

const struct peer peers_shmq[] = {
    ROW("sem", SHMQ_NOTIFY_SEM),       ROW("named", SHMQ_NOTIFY_NAMED),
    ROW("cond", SHMQ_NOTIFY_COND),     ROW("fifo", SHMQ_NOTIFY_FIFO),
    ROW("signal", SHMQ_NOTIFY_SIGNAL), ROW("lock", SHMQ_NOTIFY_LOCK),
    ROW("spin", SHMQ_NOTIFY_SPIN),     {.name = NULL},
};
