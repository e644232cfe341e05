/* nanomsg: PUSH to PULL over ipc.
 *
 * As its manual has it: the consumer binds, the producer connects; NN_SNDBUF and NN_RCVBUF are the capacity asked
 * for; NN_RCVMAXSIZE, which would drop messages over 1 MiB, is lifted. There is no lingering (NN_LINGER does
 * nothing), and what the consumer has not taken when the producer closes is lost; so the producer waits a moment
 * before, as its guide does. nn_send copies, as it must when the caller keeps its buffer. Its own thread is free to
 * use another core. */
#include "peer.h"

#include <errno.h>
#include <nanomsg/nn.h>
#include <nanomsg/pipeline.h>
#include <stdio.h>
#include <unistd.h>

static const struct timespec MOMENT = {.tv_nsec = 100000000};

static int nanomsg_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static int set(int socket, int option, int value) {
    return nn_setsockopt(socket, NN_SOL_SOCKET, option, &value, sizeof value);
}

static int wait_for(int socket, short events, int timeout_ms) {
    struct nn_pollfd ready = {.fd = socket, .events = events};
    const int count = nn_poll(&ready, 1, timeout_ms);
    return count == 0 ? lane_late(timeout_ms) : count < 0 ? -1 : 0;
}

/* The producer waits until it is connected: then the name has done its work. */
static int join(const struct lane *lane, int socket, enum peer_end end) {
    char address[sizeof lane->name + 20];
    (void)snprintf(address, sizeof address, "ipc:///dev/shm/%s", lane->name);
    if (lane->capacity > 0 && set(socket, end == PEER_PRODUCER ? NN_SNDBUF : NN_RCVBUF, (int)lane->capacity) != 0)
        return -1;
    if (set(socket, NN_RCVMAXSIZE, -1) != 0) return -1;
    if (end == PEER_CONSUMER) return nn_bind(socket, address) < 0 ? -1 : 0;
    return nn_connect(socket, address) < 0 ? -1 : wait_for(socket, NN_POLLOUT, -1);
}

static int nanomsg_open(struct lane *lane, enum peer_end end) {
    const int socket = nn_socket(AF_SP, end == PEER_PRODUCER ? NN_PUSH : NN_PULL);
    if (socket < 0) return -1;
    lane->fds[end] = socket;
    if (join(lane, socket, end) == 0) return 0;
    const int error = errno;
    (void)nn_close(socket);
    lane->fds[end] = -1;
    errno = error;
    return -1;
}

static int nanomsg_send(struct lane *lane, const void *message, size_t length) {
    return nn_send(lane->fds[PEER_PRODUCER], message, length, 0) < 0 ? -1 : 0;
}

static ssize_t nanomsg_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const int socket = lane->fds[PEER_CONSUMER];
    (void)size;
    if (timeout_ms > 0 && wait_for(socket, NN_POLLIN, timeout_ms) != 0) return -1;
    const int got = nn_recv(socket, buffer, lane->longest, timeout_ms == 0 ? NN_DONTWAIT : 0);
    if (got <= (int)lane->longest) return got;
    errno = EMSGSIZE; /* and the rest of it is gone */
    return -1;
}

static void nanomsg_close(struct lane *lane) {
    if (lane->fds[PEER_PRODUCER] >= 0) (void)nanosleep(&MOMENT, NULL);
    for (int end = PEER_PRODUCER; end <= PEER_CONSUMER; end++) {
        if (lane->fds[end] >= 0) (void)nn_close(lane->fds[end]);
        lane->fds[end] = -1;
    }
}

static void nanomsg_forget(struct lane *lane) {
    char path[sizeof lane->name + 12];
    (void)snprintf(path, sizeof path, "/dev/shm/%s", lane->name);
    (void)unlink(path);
}

const struct peer peers_nanomsg[] = {
    {
        .name = "nanomsg",
        .named = true,
        .make = nanomsg_make,
        .open = nanomsg_open,
        .send = nanomsg_send,
        .receive = nanomsg_receive,
        .close = nanomsg_close,
        .forget = nanomsg_forget,
    },
    {.name = NULL},
};
