/* Waiting in pieces up to a deadline. Called by whoever waits for the other end; never waits itself. */
#include "patience.h"

#include <errno.h>
#include <time.h>

#include "stop.h"

enum { PIECE_MS = 200 };

static const int64_t NS_PER_MS = 1000000;

int64_t monotonic_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec;
}

struct patience patience_begin(int timeout_ms) {
    struct patience patience = {INT64_MAX};

    if (timeout_ms >= 0) {
        patience.deadline_ns = monotonic_ns() + timeout_ms * NS_PER_MS;
    }
    return patience;
}

int patience_piece(const struct patience *patience) {
    int64_t left_ns;

    if (patience->deadline_ns == INT64_MAX) {
        return PIECE_MS;
    }
    left_ns = patience->deadline_ns - monotonic_ns();
    if (left_ns <= 0) {
        return 0;
    }
    return left_ns >= PIECE_MS * NS_PER_MS ? PIECE_MS : (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

bool patience_left(const struct patience *patience) {
    if (errno != EINTR && errno != ETIMEDOUT && errno != EAGAIN) {
        return false;
    }
    if (stop_signal() != 0) {
        errno = EINTR;
        return false;
    }
    errno = ETIMEDOUT;
    return patience->deadline_ns > monotonic_ns(); /* without a deadline always: the clock never gets there */
}
