/* How long a program waits for the other end: in pieces, because not every notifier is woken by a signal, up to a
 * deadline of its own on the monotonic clock. For loops of this form:
 *
 *     struct patience patience = patience_begin(timeout_ms);
 *     while ((p = shmq_peek(q, &length, patience_piece(&patience))) == NULL)
 *         if (!patience_left(&patience))
 *             return failure by errno;
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct patience {
    int64_t deadline_ns; /* INT64_MAX: none */
};

int64_t monotonic_ns(void);

/* timeout_ms: -1 waits for ever, 0 never waits. */
struct patience patience_begin(int timeout_ms);

/* How long the next piece may last, in milliseconds. */
int patience_piece(const struct patience *patience);

/* After a piece failed: whether to wait for another one. If not, errno says why: EINTR (stopped by a signal),
 * ETIMEDOUT, or what it was before. */
bool patience_left(const struct patience *patience);
