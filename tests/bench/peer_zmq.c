/* zmq: ZeroMQ, PUSH to PULL over ipc.
 *
 * As its guide has it: one context a process, made after the fork; the stable end, the consumer, binds, and the
 * producer connects. Options: a high-water mark of as many messages as are to fit, a finite linger, so that closing
 * neither loses what is under way nor waits for ever, and ZMQ_IMMEDIATE, so that nothing is queued for nobody.
 * zmq_send copies, as it must when the caller keeps its buffer. Its own thread is free to use another core. */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

enum { LINGER_MS = 5000 };

struct sockets {
    void *context, *socket;
};

static int zmq_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static void zmq_lane_close(struct lane *lane) {
    struct sockets *zmq = lane->state;
    if (zmq == NULL) return;
    if (zmq->socket != NULL) (void)zmq_close(zmq->socket);
    if (zmq->context != NULL) (void)zmq_ctx_term(zmq->context);
    free(zmq);
    lane->state = NULL;
}

static int set(void *socket, int option, int value) { return zmq_setsockopt(socket, option, &value, sizeof value); }

/* The producer waits until it is connected: then the name has done its work. */
static int join(struct lane *lane, void *socket, enum peer_end end) {
    const size_t fit = lane->capacity / lane->longest;
    const int most = fit == 0 ? 1000 : fit > 1 ? (int)(fit / 2) : 1; /* 1000 is the default; both ends have a queue */
    char address[sizeof lane->name + 20];
    zmq_pollitem_t ready = {.socket = socket, .events = ZMQ_POLLOUT};
    (void)snprintf(address, sizeof address, "ipc:///dev/shm/%s", lane->name);
    if (set(socket, ZMQ_LINGER, LINGER_MS) != 0 || set(socket, ZMQ_IMMEDIATE, 1) != 0) return -1;
    if (end == PEER_CONSUMER) return set(socket, ZMQ_RCVHWM, most) == 0 ? zmq_bind(socket, address) : -1;
    if (set(socket, ZMQ_SNDHWM, most) != 0 || zmq_connect(socket, address) != 0) return -1;
    return zmq_poll(&ready, 1, -1) == 1 ? 0 : -1;
}

static int zmq_lane_open(struct lane *lane, enum peer_end end) {
    struct sockets *zmq = calloc(1, sizeof *zmq);
    if (zmq == NULL) return -1;
    lane->state = zmq;
    zmq->context = zmq_ctx_new();
    if (zmq->context != NULL) zmq->socket = zmq_socket(zmq->context, end == PEER_PRODUCER ? ZMQ_PUSH : ZMQ_PULL);
    if (zmq->socket != NULL && join(lane, zmq->socket, end) == 0) return 0;
    const int error = errno;
    zmq_lane_close(lane);
    errno = error;
    return -1;
}

static int zmq_lane_send(struct lane *lane, const void *message, size_t length) {
    const struct sockets *zmq = lane->state;
    return zmq_send(zmq->socket, message, length, 0) < 0 ? -1 : 0;
}

static ssize_t zmq_lane_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const struct sockets *zmq = lane->state;
    zmq_pollitem_t ready = {.socket = zmq->socket, .events = ZMQ_POLLIN};
    (void)size;
    const int count = timeout_ms <= 0 ? 1 : zmq_poll(&ready, 1, timeout_ms);
    if (count == 0) return lane_late(timeout_ms);
    const int flags = timeout_ms == 0 ? ZMQ_DONTWAIT : 0;
    const int got = count > 0 ? zmq_recv(zmq->socket, buffer, lane->longest, flags) : -1;
    if (got <= (int)lane->longest) return got;
    errno = EMSGSIZE; /* and the rest of it is gone */
    return -1;
}

static void zmq_lane_forget(struct lane *lane) {
    char path[sizeof lane->name + 12];
    (void)snprintf(path, sizeof path, "/dev/shm/%s", lane->name);
    (void)unlink(path);
}

const struct peer peers_zmq[] = {
    {
        .name = "zmq",
        .named = true,
        .make = zmq_make,
        .open = zmq_lane_open,
        .send = zmq_lane_send,
        .receive = zmq_lane_receive,
        .close = zmq_lane_close,
        .forget = zmq_lane_forget,
    },
    {.name = NULL},
};
