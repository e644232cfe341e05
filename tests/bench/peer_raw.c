/* What the machine itself can do: a message that travels in the cache line of the word that
 * announces it. cache_line looks until the word changes, futex sleeps at once and always wakes:
 * nothing that looks, or that sleeps, can be faster. No queue: it carries one message at a time,
 * so it is for ping-pong only, and it notices no death. */
#include "peer.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, ROOM = LINE - 8 };

struct line {
    _Alignas(LINE) _Atomic uint32_t sent; /* messages so far: announces the message */
    uint32_t unused;
    unsigned char message[ROOM];
};
_Static_assert(sizeof(struct line) == LINE, "a message and its number fill one line");

static int raw_make(struct lane *lane) {
    void *page =
        mmap(NULL, sizeof(struct line), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    lane->state = page == MAP_FAILED ? NULL : page;
    return lane->state != NULL ? 0 : -1;
}

static int raw_open(struct lane *lane, enum peer_end end) {
    (void)end;
    lane->count = 0;
    return 0;
}

static void raw_close(struct lane *lane) {
    if (lane->state != NULL) (void)munmap(lane->state, sizeof(struct line));
    lane->state = NULL;
}

static int line_send(struct lane *lane, const void *message, size_t length) {
    struct line *line = lane->state;
    if (length > ROOM) {
        errno = EMSGSIZE;
        return -1;
    }
    memcpy(line->message, message, length);
    atomic_store_explicit(&line->sent, ++lane->count, memory_order_release);
    return 0;
}

static int futex_send(struct lane *lane, const void *message, size_t length) {
    struct line *line = lane->state;
    if (line_send(lane, message, length) != 0) return -1;
    return syscall(SYS_futex, &line->sent, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? -1 : 0;
}

static int64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits by looking; lets others run now and then, for machines with one core. */
static void look(struct line *line, uint32_t before, int64_t rest_ms) {
    enum { LOOKS = 1000 };
    (void)rest_ms;
    for (int i = 0; i < LOOKS; i++)
        if (atomic_load_explicit(&line->sent, memory_order_acquire) != before) return;
    (void)sched_yield();
}

static void sleep_on(struct line *line, uint32_t before, int64_t rest_ms) {
    struct timespec rest = {.tv_sec = rest_ms / 1000, .tv_nsec = rest_ms % 1000 * 1000000};
    (void)syscall(SYS_futex, &line->sent, FUTEX_WAIT, before, rest_ms < 0 ? NULL : &rest, NULL, 0);
}

static ssize_t line_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms,
                            void (*wait)(struct line *, uint32_t, int64_t)) {
    struct line *line = lane->state;
    int64_t until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    while (atomic_load_explicit(&line->sent, memory_order_acquire) == lane->count) {
        int64_t rest = until < 0 ? -1 : until - now_ms();
        if (until >= 0 && rest <= 0) {
            errno = timeout_ms == 0 ? EAGAIN : ETIMEDOUT;
            return -1;
        }
        wait(line, lane->count, rest);
    }
    lane->count++;
    memcpy(buffer, line->message, size < ROOM ? size : ROOM);
    return (ssize_t)size;
}

static ssize_t look_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    return line_receive(lane, buffer, size, timeout_ms, look);
}

static ssize_t futex_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    return line_receive(lane, buffer, size, timeout_ms, sleep_on);
}

#define ROW(row_name, send_function, receive_function)                                                                 \
    {                                                                                                                  \
        .name = (row_name),                                                                                            \
        .largest = ROOM,                                                                                               \
        .single = true,                                                                                                \
        .bound = true,                                                                                                 \
        .make = raw_make,                                                                                              \
        .open = raw_open,                                                                                              \
        .send = (send_function),                                                                                       \
        .receive = (receive_function),                                                                                 \
        .close = raw_close,                                                                                            \
        .forget = raw_close,                                                                                           \
    }

const struct peer peers_raw[] = {
    ROW("cache_line", line_send, look_receive),
    ROW("futex", futex_send, futex_receive),
    {.name = NULL},
};
