/* Lines on standard error. Called by whoever has something to say; never fails, since there is nobody to tell. */
#include "narration.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "stream.h"

struct text {
    int fd;
    size_t used;
    char bytes[4096];
};

static void text_flush(struct text *text) {
    (void)stream_write(text->fd, text->bytes, text->used);
    text->used = 0;
}

static void text_put(struct text *text, const char *bytes, size_t length) {
    if (length > sizeof text->bytes - text->used) {
        text_flush(text);
    }
    memcpy(text->bytes + text->used, bytes, length);
    text->used += length;
}

static void text_put_escaped(struct text *text, char byte) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t value = (uint8_t)byte;
    const char escaped[4] = {'\\', 'x', digits[value >> 4], digits[value & 15]};
    const bool plain = value >= 0x20 && value <= 0x7e && byte != '"' && byte != '\\';

    text_put(text, plain ? &byte : escaped, plain ? 1 : sizeof escaped);
}

void narrate(int fd, const char *who, const char *format, ...) {
    struct text text = {.fd = fd};
    va_list arguments;
    int length;

    text.used = (size_t)snprintf(text.bytes, sizeof text.bytes, "%s: ", who);
    va_start(arguments, format);
    length = vsnprintf(text.bytes + text.used, sizeof text.bytes - text.used, format, arguments);
    va_end(arguments);
    if (length > 0) {
        text.used += (size_t)length;
    }
    if (text.used >= sizeof text.bytes) {
        text.used = sizeof text.bytes - 1;
    }
    text_put(&text, "\n", 1);
    text_flush(&text);
}

void narrate_message(int fd, const char *before, const char *message, size_t length, const char *after) {
    struct text text = {.fd = fd};

    text_put(&text, before, strlen(before));
    for (size_t i = 0; i < length; i++) {
        text_put_escaped(&text, message[i]);
    }
    text_put(&text, after, strlen(after));
    text_put(&text, "\n", 1);
    text_flush(&text);
}
