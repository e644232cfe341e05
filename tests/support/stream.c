/* See stream.h. */
#include "stream.h"

#include <string.h>

#include "check.h"
#include "mix.h"

static uint64_t origin(const struct stream *stream, uint64_t number) {
    return mix(stream->seed + (number + 1) * 0x9e3779b97f4a7c15u);
}

/* Mostly short; one in a thousand is anything up to the longest. */
static size_t length_of(const struct stream *stream, uint64_t number) {
    const uint64_t random = origin(stream, number), choice = random % 1024;
    size_t bound = choice < 512 ? 16 : choice < 960 ? 64 : choice < 1023 ? 512 : STREAM_LONGEST;
    if (bound < stream->shortest) bound = stream->shortest;
    if (bound > stream->longest) bound = stream->longest;
    return stream->shortest + (size_t)(random >> 32) % (bound - stream->shortest + 1);
}

size_t stream_write(const struct stream *stream, uint64_t number, unsigned char *to) {
    const size_t length = length_of(stream, number);
    const uint64_t first = origin(stream, number);
    for (size_t at = 0; at < length; at += 8) {
        const uint64_t word = mix(first + at);
        memcpy(to + at, &word, length - at < 8 ? length - at : 8);
    }
    return length;
}

bool stream_is(const struct stream *stream, uint64_t number, const unsigned char *bytes, size_t length) {
    const uint64_t first = origin(stream, number);
    if (length != length_of(stream, number)) return false;
    for (size_t at = 0; at < length; at += 8) {
        const uint64_t word = mix(first + at);
        if (memcmp(bytes + at, &word, length - at < 8 ? length - at : 8) != 0) return false;
    }
    return true;
}

bool stream_send(shmq *producer, const struct stream *stream, uint64_t number) {
    static unsigned char buffer[STREAM_LONGEST];
    if (!stream->zero_copy) return shmq_send(producer, buffer, stream_write(stream, number, buffer), -1) == 0;
    const size_t length = length_of(stream, number);
    const size_t spare = number % 3 == 0 ? stream->longest - length : 0;
    unsigned char *room = shmq_reserve(producer, length + (spare < 50 ? spare : 50), -1);
    if (room == NULL) return false;
    (void)stream_write(stream, number, room);
    CHECK(shmq_commit(producer, length) == 0);
    return true;
}

const unsigned char *stream_next(shmq *consumer, const struct stream *stream, size_t *length) {
    static unsigned char buffer[STREAM_LONGEST];
    if (stream->zero_copy) return shmq_peek(consumer, length, -1);
    const ssize_t got = shmq_recv(consumer, buffer, sizeof buffer, -1);
    *length = (size_t)got;
    return got < 0 ? NULL : buffer;
}

bool stream_take(shmq *consumer, const struct stream *stream, uint64_t number) {
    size_t length;
    const unsigned char *message = stream_next(consumer, stream, &length);
    if (message == NULL) return false;
    if (!stream_is(stream, number, message, length))
        check_fail(__FILE__, __LINE__, "not message %llu, in %zu bytes", (unsigned long long)number, length);
    if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
    return true;
}
