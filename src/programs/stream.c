/* Whole writes and patient reads on descriptors: short counts, EINTR and EAGAIN end here. Knows nothing of queues. */
#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "stop.h"

/* After a failed read or write: whether to try again. Waits if the descriptor is a non-blocking one. */
static bool try_again(int fd, short events) {
    struct pollfd ready = {.fd = fd, .events = events};

    if (errno == EAGAIN && poll(&ready, 1, -1) >= 0) {
        return true;
    }
    return errno == EINTR && stop_signal() == 0;
}

ssize_t stream_read(int fd, void *buffer, size_t size) {
    ssize_t got;

    do {
        got = read(fd, buffer, size);
    } while (got < 0 && try_again(fd, POLLIN));
    return got;
}

int stream_write_parts(int fd, struct iovec *parts, int count) {
    while (count > 0) {
        ssize_t written = writev(fd, parts, count);

        if (written < 0) {
            if (!try_again(fd, POLLOUT)) {
                return -1;
            }
            continue;
        }
        while (count > 0 && (size_t)written >= parts->iov_len) {
            written -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (char *)parts->iov_base + written;
            parts->iov_len -= (size_t)written;
        }
    }
    return 0;
}

int stream_write(int fd, const char *bytes, size_t length) {
    struct iovec part = stream_part(bytes, length);

    return stream_write_parts(fd, &part, 1);
}

struct iovec stream_part(const void *bytes, size_t length) {
    /* struct iovec serves reading as well and has no const; writev(2) only reads. */
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
}
