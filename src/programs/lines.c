/* Cuts input into lines, read in big blocks. Called by producer_run.c; knows nothing of queues. */
#include "lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

enum { BLOCK = 128 * 1024 }; /* the buffer at first; it doubles when a longer line comes */

void lines_open(struct lines *lines, int fd, char separator, size_t limit) {
    *lines = (struct lines){.fd = fd, .separator = separator, .limit = limit};
}

void lines_close(struct lines *lines) {
    free(lines->buffer);
    lines->buffer = NULL;
}

/* Makes room behind `end`: moves what is left to the buffer's front, or doubles a buffer that one line fills. */
static int make_room(struct lines *lines) {
    const size_t kept = lines->end - lines->start;

    if (kept > 0 && lines->end < lines->size) {
        return 0;
    }
    if (kept < lines->size) {
        memmove(lines->buffer, lines->buffer + lines->start, kept);
    } else {
        const size_t size = lines->size == 0 ? BLOCK : lines->size * 2;
        char *buffer = realloc(lines->buffer, size); /* starts at 0: one line fills it */

        if (buffer == NULL) {
            return -1;
        }
        lines->buffer = buffer;
        lines->size = size;
    }
    lines->start = 0;
    lines->end = kept;
    return 0;
}

/* Reads one block, or learns that there is none. */
static int fill(struct lines *lines) {
    ssize_t got;

    if (make_room(lines) != 0) {
        return -1;
    }
    got = stream_read(lines->fd, lines->buffer + lines->end, lines->size - lines->end);
    if (got < 0) {
        return -1;
    }
    lines->ended = got == 0;
    lines->end += (size_t)got;
    return 0;
}

int lines_next(struct lines *lines, const char **line, size_t *length) {
    size_t searched = 0; /* bytes from start that hold no separator: none is looked at twice */
    size_t dropped = 0;  /* bytes of a line that is too long: only counted */

    lines->number++;
    for (;;) {
        const size_t held = lines->end - lines->start;
        const char *from = held > 0 ? lines->buffer + lines->start : "";
        const char *stop = memchr(from + searched, lines->separator, held - searched);
        const size_t found = stop != NULL ? (size_t)(stop - from) : held;

        *line = from;
        *length = dropped + found;
        if (stop != NULL || (lines->ended && *length > 0)) {
            lines->start += stop != NULL ? found + 1 : found;
            if (*length > lines->limit) {
                errno = EMSGSIZE;
                return -1;
            }
            return 1;
        }
        if (lines->ended) {
            return 0;
        }
        searched = held;
        if (*length > lines->limit) {
            dropped = *length;
            lines->start = lines->end;
            searched = 0;
        }
        if (fill(lines) != 0) {
            return -1;
        }
    }
}
