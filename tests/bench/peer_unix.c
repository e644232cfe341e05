/* unix: a pair of AF_UNIX sockets that keep the borders of messages (SOCK_SEQPACKET). */
#include "peer.h"

#include <errno.h>
#include <sys/socket.h>

enum { OVERHEAD = 32 }; /* bytes of the buffer that no message gets */

/* A message must fit into the send buffer. The system lets nobody but root have more than net.core.wmem_max, of which
 * it gives twice as much. */
static int unix_make(struct lane *lane) {
    const int wanted = (int)(lane->capacity > lane->longest ? lane->capacity : lane->longest);
    int given = 0;
    socklen_t size = sizeof given;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lane->fds) != 0) return -1;
    const int sender = lane->fds[PEER_PRODUCER];
    if (getsockopt(sender, SOL_SOCKET, SO_SNDBUF, &given, &size) != 0) return -1;
    if (given > wanted) return 0;
    if (setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &wanted, size) != 0 ||
        getsockopt(sender, SOL_SOCKET, SO_SNDBUF, &given, &size) != 0)
        return -1;
    return (size_t)given > lane->longest + OVERHEAD ? 0 : lane_lacks(lane, "net.core.wmem_max allows no such message");
}

static int unix_send(struct lane *lane, const void *message, size_t length) {
    return send(lane->fds[PEER_PRODUCER], message, length, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Without waiting, it is one call. */
static ssize_t unix_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    if (timeout_ms > 0 && lane_wait_fd(lane->fds[PEER_CONSUMER], timeout_ms) != 0) return -1;
    ssize_t got = recv(lane->fds[PEER_CONSUMER], buffer, size, timeout_ms == 0 ? MSG_DONTWAIT : 0);
    if (got == 0 && size > 0) {
        errno = EPIPE;
        return -1;
    }
    return got;
}

const struct peer peers_unix[] = {
    {
        .name = "unix",
        .many = true,
        .make = unix_make,
        .open = lane_open_fd,
        .send = unix_send,
        .receive = unix_receive,
        .close = lane_close_fds,
        .forget = lane_close_fds,
    },
    {.name = NULL},
};
