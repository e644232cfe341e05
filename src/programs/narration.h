/* What a program says about itself on standard error: --verbose's lines, and complaints. */
#pragma once

#include <stddef.h>

/* One line, in one write(2): "WHO: " and the rest as printf would. What does not fit 4 KiB is cut off. */
void narrate(int fd, const char *who, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* One line: `before`, the message, `after`. Bytes outside ASCII 0x20 to 0x7e, quotes and backslashes become \xNN, so
 * that every message is one line and can be told from every other. */
void narrate_message(int fd, const char *before, const char *message, size_t length, const char *after);
