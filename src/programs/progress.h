/* One line on a terminal that says how a transfer goes, once it lasts longer than a second. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shmq.h"

struct progress {
    int fd;
    bool enabled; /* false: nothing here costs anything */
    bool shown;   /* the cursor stands behind a line that progress_end must finish */
    uint64_t messages, bytes;
    int64_t began_ns, drawn_ns; /* 0: not yet */
};

/* Draws on fd if it is a terminal and `data`, where the messages come from or go to, is none: that one is read. */
struct progress progress_begin(int fd, int data);

void progress_count(struct progress *progress, size_t length);

/* Draws the line if it is time to. Cheap enough to be called for every message and after every wait. */
void progress_show(struct progress *progress, shmq *queue);

/* Leaves the line as it is and goes to the next one, so that something else can be said. */
void progress_end(struct progress *progress);
