/* What the machine itself can do: a message that travels in the cache line of the word that announces it, and four
 * ways to hear of it. cache_line looks until the word changes, and so does two_lines, whose message has a line of its
 * own, as in every queue; futex, semaphore and eventfd sleep at once and always wake: nothing that looks, or that sleeps by these, can be faster. No queue: it carries one message at a time, so it
 * is for ping-pong only, and it notices no death. The row `machine` moves nothing at all: for figures that need no
 * other process. */
#include "peer.h"

#include <errno.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE = 64, ROOM = LINE - 8 };

struct line {
    _Alignas(LINE) _Atomic uint32_t sent; /* messages so far: announces the message */
    uint32_t unused;
    unsigned char message[ROOM];
};
_Static_assert(sizeof(struct line) == LINE, "a message and its number fill one line");

struct page {
    struct line line;
    unsigned char apart[LINE]; /* two_lines' message */
    _Alignas(LINE) sem_t semaphore;
};

static int raw_make(struct lane *lane) {
    void *page =
        mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    lane->state = page == MAP_FAILED ? NULL : page;
    return lane->state != NULL ? sem_init(&((struct page *)page)->semaphore, 1, 0) : -1;
}

static int eventfd_make(struct lane *lane) {
    lane->fds[PEER_CONSUMER] = eventfd(0, EFD_CLOEXEC); /* and the producer's */
    return lane->fds[PEER_CONSUMER] >= 0 ? raw_make(lane) : -1;
}

static int raw_open(struct lane *lane, enum peer_end end) {
    (void)end;
    lane->count = 0;
    return 0;
}

static void raw_close(struct lane *lane) {
    if (lane->state != NULL) (void)munmap(lane->state, sizeof(struct page));
    lane->state = NULL;
    lane_close_fds(lane);
}

/* ---- Send ---------------------------------------------------------------------------------- */

static int line_send(struct lane *lane, const void *message, size_t length) {
    struct line *line = lane->state;
    if (length > ROOM) return errno = EMSGSIZE, -1;
    memcpy(line->message, message, length);
    atomic_store_explicit(&line->sent, ++lane->count, memory_order_release);
    return 0;
}

static int two_lines_send(struct lane *lane, const void *message, size_t length) {
    struct page *page = lane->state;
    if (length > LINE) return errno = EMSGSIZE, -1;
    memcpy(page->apart, message, length);
    atomic_store_explicit(&page->line.sent, ++lane->count, memory_order_release);
    return 0;
}

static int futex_send(struct lane *lane, const void *message, size_t length) {
    struct line *line = lane->state;
    if (line_send(lane, message, length) != 0) return -1;
    return syscall(SYS_futex, &line->sent, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? -1 : 0;
}

static int semaphore_send(struct lane *lane, const void *message, size_t length) {
    struct page *page = lane->state;
    return line_send(lane, message, length) == 0 ? sem_post(&page->semaphore) : -1;
}

static int eventfd_send(struct lane *lane, const void *message, size_t length) {
    return line_send(lane, message, length) == 0 ? eventfd_write(lane->fds[PEER_CONSUMER], 1) : -1;
}

/* ---- Receive ------------------------------------------------------------------------------- */

static bool is_there(const struct lane *lane) {
    struct line *line = lane->state;
    return atomic_load_explicit(&line->sent, memory_order_acquire) != lane->count;
}

static ssize_t take(struct lane *lane, void *buffer, size_t size) {
    const struct line *line = lane->state;
    lane->count++;
    memcpy(buffer, line->message, size < ROOM ? size : ROOM);
    return (ssize_t)size;
}

static ssize_t line_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct looking looking = {.timeout_ms = timeout_ms};
    while (!is_there(lane))
        if (lane_look(&looking) != 0) return -1;
    return take(lane, buffer, size);
}

static ssize_t two_lines_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const struct page *page = lane->state;
    struct looking looking = {.timeout_ms = timeout_ms};
    while (!is_there(lane))
        if (lane_look(&looking) != 0) return -1;
    lane->count++;
    memcpy(buffer, page->apart, size < LINE ? size : LINE);
    return (ssize_t)size;
}

static ssize_t futex_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct line *line = lane->state;
    const struct timespec until = lane_deadline(CLOCK_MONOTONIC, timeout_ms);
    while (!is_there(lane))
        if (syscall(SYS_futex, &line->sent, FUTEX_WAIT_BITSET, lane->count, timeout_ms < 0 ? NULL : &until, NULL,
                    FUTEX_BITSET_MATCH_ANY) != 0 &&
            errno == ETIMEDOUT)
            return lane_late(timeout_ms);
    return take(lane, buffer, size);
}

static ssize_t semaphore_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct page *page = lane->state;
    const struct timespec until = lane_deadline(CLOCK_MONOTONIC, timeout_ms);
    if (timeout_ms < 0 ? sem_wait(&page->semaphore) != 0
                       : sem_clockwait(&page->semaphore, CLOCK_MONOTONIC, &until) != 0)
        return errno == ETIMEDOUT ? lane_late(timeout_ms) : -1;
    return take(lane, buffer, size);
}

static ssize_t eventfd_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    eventfd_t times; /* always 1: there is one message at a time */
    if (lane_wait_fd(lane->fds[PEER_CONSUMER], timeout_ms) != 0) return -1;
    return eventfd_read(lane->fds[PEER_CONSUMER], &times) == 0 ? take(lane, buffer, size) : -1;
}

/* ---- Nothing ------------------------------------------------------------------------------- */

static int nothing_sent(struct lane *lane, const void *message, size_t length) {
    (void)message, (void)length;
    return lane_lacks(lane, "it moves no message");
}

static ssize_t nothing_received(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    (void)buffer, (void)timeout_ms;
    return nothing_sent(lane, NULL, size);
}

#define ROW(row_name, make_function, send_function, receive_function, looks)                                           \
    {                                                                                                                  \
        .name = (row_name),                                                                                            \
        .largest = ROOM,                                                                                               \
        .single = true,                                                                                                \
        .busy = (looks),                                                                                               \
        .bound = true,                                                                                                 \
        .make = (make_function),                                                                                       \
        .open = raw_open,                                                                                              \
        .send = (send_function),                                                                                       \
        .receive = (receive_function),                                                                                 \
        .close = raw_close,                                                                                            \
        .forget = raw_close,                                                                                           \
    }

const struct peer peers_raw[] = {
    ROW("cache_line", raw_make, line_send, line_receive, true),
    ROW("two_lines", raw_make, two_lines_send, two_lines_receive, true),
    ROW("futex", raw_make, futex_send, futex_receive, false),
    ROW("semaphore", raw_make, semaphore_send, semaphore_receive, false),
    ROW("eventfd", eventfd_make, eventfd_send, eventfd_receive, false),
    {
        .name = "machine",
        .bound = true,
        .make = raw_make,
        .open = raw_open,
        .send = nothing_sent,
        .receive = nothing_received,
        .close = raw_close,
        .forget = raw_close,
    },
    {.name = NULL},
};
