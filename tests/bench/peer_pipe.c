/* pipe: the classic. Bytes without borders; up to PIPE_BUF of them are written in one piece, so that several may write.
 *
 * As pipe(7) has it: F_SETPIPE_SZ makes it larger where more should fit, as far as the system lets this user
 * (/proc/sys/fs/pipe-max-size). */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* To as many bytes as it gives; not below what it gives everybody. */
static void resize(int fd, size_t bytes) {
    enum { USUAL = 65536, MOST = 1 << 30 };
    size_t wanted = bytes < MOST ? bytes : MOST;
    while (fcntl(fd, F_SETPIPE_SZ, (int)wanted) < 0 && wanted > USUAL)
        wanted /= 2;
}

static int pipe_make(struct lane *lane) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    lane->fds[PEER_CONSUMER] = ends[0];
    lane->fds[PEER_PRODUCER] = ends[1];
    if (lane->capacity > 0) resize(ends[1], lane->capacity);
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
        .many = true,
        .make = pipe_make,
        .open = lane_open_fd,
        .send = pipe_send,
        .receive = pipe_receive,
        .close = lane_close_fds,
        .forget = lane_close_fds,
    },
    {.name = NULL},
};
