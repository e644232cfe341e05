/* What shmqctl prints: text that is gathered and written in big pieces, names of others made harmless, colour only
 * where somebody looks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum paper_colour { PLAIN, BOLD, DIM, RED, GREEN, YELLOW };

struct paper {
    int fd;
    bool terminal;
    bool colour; /* a terminal, and NO_COLOR is not set */
    int error;   /* of the first write that failed; 0: none */
    size_t used;
    char bytes[8192];
};

void paper_begin(struct paper *paper, int fd);

void paper_put(struct paper *paper, const char *bytes, size_t length);

/* As printf; what is longer than 1 KiB is cut off. For names that others chose there are the next two. */
void paper_print(struct paper *paper, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes outside printable ASCII, and backslashes, become \xNN. Returns the columns taken. */
size_t paper_name(struct paper *paper, const char *name);
size_t paper_name_columns(const char *name);

/* As a word of bash: as it is if it can be, else $'…'. */
void paper_word(struct paper *paper, const char *name);

/* Words, in lines of 79 columns that begin with `indent` blanks; the paper is at column `indent` already. */
void paper_wrap(struct paper *paper, size_t indent, const char *text);

void paper_colour(struct paper *paper, enum paper_colour colour);

/* Writes what is left. -1 with errno if anything could not be written. */
int paper_flush(struct paper *paper);
