/* See paper.h. Knows nothing of queues. */
#include "paper.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

enum { COLUMNS = 79 };

void paper_begin(struct paper *paper, int fd) {
    const char *none = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    *paper = (struct paper){.fd = fd, .terminal = isatty(fd) == 1};
    paper->colour = paper->terminal && (none == NULL || *none == '\0') && term != NULL && strcmp(term, "dumb") != 0;
}

int paper_flush(struct paper *paper) {
    if (paper->used > 0 && paper->error == 0 && stream_write(paper->fd, paper->bytes, paper->used) != 0) {
        paper->error = errno;
    }
    paper->used = 0;
    errno = paper->error;
    return paper->error == 0 ? 0 : -1;
}

void paper_put(struct paper *paper, const char *bytes, size_t length) {
    while (length > 0) {
        const size_t room = sizeof paper->bytes - paper->used;
        const size_t part = length < room ? length : room;

        memcpy(paper->bytes + paper->used, bytes, part);
        paper->used += part;
        bytes += part;
        length -= part;
        if (paper->used == sizeof paper->bytes) (void)paper_flush(paper);
    }
}

void paper_print(struct paper *paper, const char *format, ...) {
    char text[1024];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0) paper_put(paper, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

static bool is_harmless(char byte) { return byte >= ' ' && byte <= '~' && byte != '\\'; }

size_t paper_name_columns(const char *name) {
    size_t columns = 0;

    for (; *name != '\0'; name++)
        columns += is_harmless(*name) ? 1 : 4;
    return columns;
}

size_t paper_name(struct paper *paper, const char *name) {
    for (const char *at = name; *at != '\0'; at++) {
        if (is_harmless(*at))
            paper_put(paper, at, 1);
        else
            paper_print(paper, "\\x%02x", (unsigned)(unsigned char)*at);
    }
    return paper_name_columns(name);
}

void paper_word(struct paper *paper, const char *name) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+:,@%=";

    if (*name != '\0' && name[strspn(name, plain)] == '\0') {
        paper_put(paper, name, strlen(name));
        return;
    }
    paper_put(paper, "$'", 2);
    for (; *name != '\0'; name++) {
        if (is_harmless(*name) && *name != '\'')
            paper_put(paper, name, 1);
        else
            paper_print(paper, "\\x%02x", (unsigned)(unsigned char)*name);
    }
    paper_put(paper, "'", 1);
}

void paper_wrap(struct paper *paper, size_t indent, const char *text) {
    size_t column = indent;

    while (*text != '\0') {
        const size_t word = strcspn(text, " ");

        if (column > indent && column + 1 + word > COLUMNS) {
            paper_print(paper, "\n%*s", (int)indent, "");
            column = indent;
        }
        if (column > indent) paper_put(paper, " ", 1);
        column += word + (column > indent ? 1 : 0);
        paper_put(paper, text, word);
        text += word;
        text += strspn(text, " ");
    }
    paper_put(paper, "\n", 1);
}

void paper_colour(struct paper *paper, enum paper_colour colour) {
    static const char *const codes[] = {
        [PLAIN] = "\033[0m", [BOLD] = "\033[1m",   [DIM] = "\033[2m",
        [RED] = "\033[31m",  [GREEN] = "\033[32m", [YELLOW] = "\033[33m",
    };

    if (paper->colour) paper_put(paper, codes[colour], strlen(codes[colour]));
}
