/* Standard input, cut into lines (or what another separator ends). A line may hold any bytes, may be empty, and the
 * last one may lack its separator. A line is never longer than the limit; nothing else is bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lines {
    int fd;
    char separator;
    bool ended;      /* read(2) said so; it is not asked again */
    size_t limit;    /* longest line, in bytes */
    uint64_t number; /* of the line handed out last, or that was too long; from 1 */
    char *buffer;
    size_t size, start, end; /* the buffer's bytes from start to end are not handed out yet */
};

void lines_open(struct lines *lines, int fd, char separator, size_t limit);

/* The next line, valid until the next call. Returns 1; 0 at the end; -1 with errno: EMSGSIZE (too long: *length is its
 * whole length, and it is skipped), EINTR (stopped by a signal), ENOMEM, or an error of read(2). */
int lines_next(struct lines *lines, const char **line, size_t *length);

void lines_close(struct lines *lines);
