/* pipe: the classic, and what every figure is compared with. Bytes without borders; up to PIPE_BUF
 * of them are written in one piece. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int pipe_make(struct lane *lane) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    lane->fds[PEER_CONSUMER] = ends[0];
    lane->fds[PEER_PRODUCER] = ends[1];
    if (lane->capacity > 0) (void)fcntl(ends[1], F_SETPIPE_SZ, (int)lane->capacity); /* or as many as it gives */
    return 0;
}

static int pipe_send(struct lane *lane, const void *message, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(lane->fds[PEER_PRODUCER], (const char *)message + done, length - done);
        if (wrote < 0) return -1;
        done += (size_t)wrote;
    }
    return 0;
}

static ssize_t pipe_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    if (lane_wait_fd(lane->fds[PEER_CONSUMER], timeout_ms) != 0) return -1;
    for (size_t done = 0; done < size;) {
        ssize_t got = read(lane->fds[PEER_CONSUMER], (char *)buffer + done, size - done);
        if (got == 0) errno = EPIPE;
        if (got <= 0) return -1;
        done += (size_t)got;
    }
    return (ssize_t)size;
}

const struct peer peers_pipe[] = {
    {
        .name = "pipe",
        .make = pipe_make,
        .open = lane_open_fd,
        .send = pipe_send,
        .receive = pipe_receive,
        .close = lane_close_fds,
        .forget = lane_close_fds,
    },
    {.name = NULL},
};
