/* The progress line. Called by the transfer loops; never waits, and says nothing where no terminal is. */
#include "progress.h"

#include <stdio.h>
#include <unistd.h>

#include "patience.h"
#include "stream.h"

static const int64_t FIRST_NS = 1000000000; /* a shorter transfer needs no line */
static const int64_t EVERY_NS = 200000000;

struct progress progress_begin(int fd, int data) {
    return (struct progress){.fd = fd, .enabled = isatty(fd) && !isatty(data)};
}

void progress_count(struct progress *progress, size_t length) {
    progress->messages++;
    progress->bytes += length;
}

/* "12.3 MiB" from a number of bytes; returns the number and stores the unit. */
static double scaled(double bytes, const char **unit) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;

    while (bytes >= 1000 && i + 1 < sizeof units / sizeof units[0]) {
        bytes /= 1024;
        i++;
    }
    *unit = units[i];
    return bytes;
}

static void draw(const struct progress *progress, shmq *queue, int64_t now_ns) {
    const double seconds = (double)(now_ns - progress->began_ns) / 1e9;
    const char *unit, *rate_unit;
    const double bytes = scaled((double)progress->bytes, &unit);
    const double rate = scaled((double)progress->bytes / seconds, &rate_unit);
    struct shmq_stat stat;
    char line[160];
    int length;

    if (shmq_stat(queue, &stat) != 0) {
        return; /* the transfer itself will find out and say why */
    }
    length =
        snprintf(line, sizeof line, "\r%llu messages, %.1f %s, %.0f messages/s, %.1f %s/s, queue %.0f%% full\033[K",
                 (unsigned long long)progress->messages, bytes, unit, (double)progress->messages / seconds, rate,
                 rate_unit, 100 * (double)stat.used / (double)stat.capacity);
    (void)stream_write(progress->fd, line, (size_t)length);
}

void progress_show(struct progress *progress, shmq *queue) {
    int64_t now_ns;

    if (!progress->enabled || progress->messages == 0) {
        return;
    }
    now_ns = monotonic_ns();
    if (progress->began_ns == 0) {
        progress->began_ns = now_ns;
    }
    if (now_ns - progress->began_ns < FIRST_NS || now_ns - progress->drawn_ns < EVERY_NS) {
        return;
    }
    draw(progress, queue, now_ns);
    progress->drawn_ns = now_ns;
    progress->shown = true;
}

void progress_end(struct progress *progress) {
    if (progress->shown) {
        (void)stream_write(progress->fd, "\n", 1);
    }
    progress->shown = false;
}
