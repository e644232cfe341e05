/* What several adapters share: lanes that are a pair of descriptors, that wait by looking, that lie in an object in
 * /dev/shm. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shared.h"

void lane_init(struct lane *lane, const struct peer *peer, const char *name, size_t longest) {
    *lane = (struct lane){.peer = peer, .fds = {-1, -1}, .longest = longest};
    (void)snprintf(lane->name, sizeof lane->name, "%s", name);
}

const char *lane_why(const struct lane *lane, int error) { return lane->why[0] != '\0' ? lane->why : strerror(error); }

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

/* The other end must be closed here, or its death would go unnoticed. */
int lane_open_fd(struct lane *lane, enum peer_end end) {
    close_fd(&lane->fds[end == PEER_PRODUCER ? PEER_CONSUMER : PEER_PRODUCER]);
    if (lane->fds[end] >= 0) return 0;
    (void)snprintf(lane->why, sizeof lane->why, "who comes later cannot inherit it");
    errno = EBADF;
    return -1;
}

void lane_close_fds(struct lane *lane) {
    close_fd(&lane->fds[PEER_PRODUCER]);
    close_fd(&lane->fds[PEER_CONSUMER]);
}

int lane_wait_fd(int fd, int timeout_ms) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int count = timeout_ms < 0 ? 1 : poll(&ready, 1, timeout_ms);
    if (count == 0) return lane_late(timeout_ms);
    return count > 0 ? 0 : -1;
}

int lane_lacks(struct lane *lane, const char *what) {
    (void)snprintf(lane->why, sizeof lane->why, "%s", what);
    errno = ENOTSUP;
    return -1;
}

size_t lane_room(const struct lane *lane) {
    enum { USUAL = 1 << 20, PAGE = 4096, AT_LEAST = 3 }; /* bytes; messages, with what stands before them */
    const size_t wanted = lane->capacity > 0 ? lane->capacity : USUAL, needed = AT_LEAST * (lane->longest + 128);
    const size_t most = wanted > needed ? wanted : needed;
    return most <= PAGE ? PAGE : (size_t)1 << (64 - __builtin_clzll(most - 1)); /* in a few instructions */
}

/* ---- Time ---------------------------------------------------------------------------------- */

int lane_late(int timeout_ms) {
    errno = timeout_ms == 0 ? EAGAIN : ETIMEDOUT;
    return -1;
}

struct timespec lane_deadline(clockid_t clock, int timeout_ms) {
    enum { SECOND_NS = 1000000000 };
    struct timespec until = {.tv_sec = 0};
    if (timeout_ms < 0) return until;
    (void)clock_gettime(clock, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)timeout_ms % 1000 * 1000000;
    if (until.tv_nsec >= SECOND_NS) until.tv_sec++, until.tv_nsec -= SECOND_NS;
    return until;
}

static int64_t in_ms(struct timespec time) { return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000; }

/* Lets others run now and then, for machines with one core. */
int lane_look(struct looking *looking) {
    enum { LOOKS = 1000 };
    if (looking->timeout_ms == 0) return lane_late(0);
    shared_pause();
    if (++looking->looks % LOOKS != 0) return 0;
    (void)sched_yield();
    if (looking->timeout_ms < 0) return 0;
    if (looking->until_ms == 0) looking->until_ms = in_ms(lane_deadline(CLOCK_MONOTONIC, looking->timeout_ms));
    return in_ms(lane_deadline(CLOCK_MONOTONIC, 0)) < looking->until_ms ? 0 : lane_late(looking->timeout_ms);
}

/* ---- Objects in /dev/shm ------------------------------------------------------------------- */

static void *map_and_format(const struct lane *lane, int object, size_t bytes, formatter *format) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
    if (memory == MAP_FAILED) return NULL;
    atomic_int *formatted = memory;
    if (*formatted == 0) format(lane, memory), *formatted = 1;
    return memory;
}

void *lane_share(const struct lane *lane, size_t bytes, formatter *format) {
    const int object = shm_open(lane->name, O_RDWR | O_CREAT, 0600);
    if (object < 0) return NULL;
    int error = flock(object, LOCK_EX) == 0 ? posix_fallocate(object, 0, (off_t)bytes) : errno;
    void *memory = error == 0 ? map_and_format(lane, object, bytes, format) : NULL;
    if (error == 0) error = errno;
    (void)flock(object, LOCK_UN); /* to close it does not: the mapping holds on to it */
    (void)close(object);
    errno = error;
    return memory;
}

void lane_unshare(struct lane *lane) { (void)shm_unlink(lane->name); }

bool lane_peek(const struct lane *lane, void *bytes, size_t count) {
    const int object = shm_open(lane->name, O_RDONLY, 0);
    if (object < 0) return false;
    const bool read = pread(object, bytes, count, 0) == (ssize_t)count;
    (void)close(object);
    return read;
}

struct spot lane_spot(const struct lane *lane, size_t at, size_t bytes) {
    struct spot spot = {.at = (off_t)at, .bytes = bytes};
    (void)snprintf(spot.path, sizeof spot.path, "/dev/shm/%s", lane->name);
    return spot;
}
