/* unix: a pair of AF_UNIX sockets that keep the borders of messages (SOCK_SEQPACKET). */
#include "peer.h"

#include <errno.h>
#include <sys/socket.h>

static int unix_make(struct lane *lane) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lane->fds); }

static int unix_send(struct lane *lane, const void *message, size_t length) {
    return send(lane->fds[PEER_PRODUCER], message, length, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static ssize_t unix_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    if (lane_wait_fd(lane->fds[PEER_CONSUMER], timeout_ms) != 0) return -1;
    ssize_t got = recv(lane->fds[PEER_CONSUMER], buffer, size, 0);
    if (got == 0 && size > 0) {
        errno = EPIPE;
        return -1;
    }
    return got;
}

const struct peer peers_unix[] = {
    {
        .name = "unix",
        .make = unix_make,
        .open = lane_open_fd,
        .send = unix_send,
        .receive = unix_receive,
        .close = lane_close_fds,
        .forget = lane_close_fds,
    },
    {.name = NULL},
};
