/* Streams of checked messages: length and bytes of each follow from the stream's seed and the
 * message's number, so the one who takes it knows exactly what must come next. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shmq.h"

enum {
    STREAM_LONGEST = 256 * 1024,
    STREAM_UNIQUE = 8 /* messages of so many bytes and more are never alike */
};

struct stream {
    uint64_t seed;
    size_t shortest, longest;
    bool zero_copy; /* by reserve and commit, peek and release */
};

/* The bytes of this message; returns how many. `to` has room for the longest. */
size_t stream_write(const struct stream *stream, uint64_t number, unsigned char *to);

bool stream_is(const struct stream *stream, uint64_t number, const unsigned char *bytes, size_t length);

/* Sends this message, and waits for ever. False, with errno, if it was not sent. */
bool stream_send(shmq *producer, const struct stream *stream, uint64_t number);

/* The next message as it lies in memory, or NULL with errno. With zero copy it is not released. */
const unsigned char *stream_next(shmq *consumer, const struct stream *stream, size_t *length);

/* Takes exactly this message, or fails the test. False, with errno, if none came. */
bool stream_take(shmq *consumer, const struct stream *stream, uint64_t number);
