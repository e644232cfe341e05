/* mutex: a ring of bytes under a mutex with two condition variables, as somebody writes it who knows the manual.
 *
 * The mutex is shared and robust, and who is told that its owner died marks it consistent and goes on: nothing is
 * half-done, because a message exists once `tail` has moved past it. The conditions use the monotonic clock and are
 * signalled after the mutex is given back. The object is created and formatted under a file lock and its space
 * allocated, so neither the order of starting nor a full /dev/shm surprises anybody. Cursors and lengths are checked
 * before they are used. */
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

struct ring {
    int formatted;
    pthread_mutex_t mutex;
    pthread_cond_t items, space;
    uint64_t head, tail; /* bytes taken and put so far */
    unsigned char bytes[];
};

static int mutex_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static void format(const struct lane *lane, void *object) {
    struct ring *ring = object;
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;
    (void)lane;
    (void)pthread_mutexattr_init(&mutex);
    (void)pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&ring->mutex, &mutex);
    (void)pthread_condattr_init(&cond);
    (void)pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
    (void)pthread_condattr_setclock(&cond, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&ring->items, &cond);
    (void)pthread_cond_init(&ring->space, &cond);
}

static int mutex_open(struct lane *lane, enum peer_end end) {
    (void)end;
    lane->state = lane_share(lane, sizeof(struct ring) + lane_room(lane), format);
    return lane->state != NULL ? 0 : -1;
}

static void mutex_close(struct lane *lane) {
    if (lane->state != NULL) (void)munmap(lane->state, sizeof(struct ring) + lane_room(lane));
    lane->state = NULL;
}

/* What any of libc's three ways to get the mutex returned. */
static int settle(struct ring *ring, int error) {
    if (error == EOWNERDEAD) error = pthread_mutex_consistent(&ring->mutex);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int lock(struct ring *ring) { return settle(ring, pthread_mutex_lock(&ring->mutex)); }

static int wait_for(struct ring *ring, pthread_cond_t *cond, const struct timespec *until) {
    return settle(ring, until == NULL ? pthread_cond_wait(cond, &ring->mutex)
                                      : pthread_cond_timedwait(cond, &ring->mutex, until));
}

/* Gives the mutex back and fails, with errno as it is. */
static int give_up(struct ring *ring) {
    const int error = errno;
    (void)pthread_mutex_unlock(&ring->mutex);
    errno = error;
    return -1;
}

static void put(struct ring *ring, size_t room, uint64_t at, const void *from, size_t bytes) {
    const size_t begin = at & (room - 1), first = bytes < room - begin ? bytes : room - begin;
    memcpy(&ring->bytes[begin], from, first);
    if (first < bytes) memcpy(ring->bytes, (const char *)from + first, bytes - first);
}

static void get(const struct ring *ring, size_t room, uint64_t at, void *to, size_t bytes) {
    const size_t begin = at & (room - 1), first = bytes < room - begin ? bytes : room - begin;
    memcpy(to, &ring->bytes[begin], first);
    if (first < bytes) memcpy((char *)to + first, ring->bytes, bytes - first);
}

static int mutex_send(struct lane *lane, const void *message, size_t bytes) {
    struct ring *ring = lane->state;
    const size_t room = lane_room(lane);
    const uint32_t length = (uint32_t)bytes;
    if (bytes > lane->longest) return errno = EMSGSIZE, -1;
    if (lock(ring) != 0) return -1;
    while (room - (ring->tail - ring->head) < sizeof length + bytes) {
        if (ring->tail - ring->head > room) return errno = EBADMSG, give_up(ring);
        if (wait_for(ring, &ring->space, NULL) != 0) return give_up(ring);
    }
    put(ring, room, ring->tail, &length, sizeof length);
    put(ring, room, ring->tail + sizeof length, message, bytes);
    ring->tail += sizeof length + bytes;
    (void)pthread_mutex_unlock(&ring->mutex);
    return settle(ring, pthread_cond_signal(&ring->items));
}

/* Copies the next message out; -1 if it makes no sense. */
static ssize_t take(struct ring *ring, size_t room, void *buffer, size_t size) {
    const uint64_t there = ring->tail - ring->head;
    uint32_t length;
    get(ring, room, ring->head, &length, sizeof length);
    if (there > room || length > size || sizeof length + length > there) return errno = EBADMSG, -1;
    get(ring, room, ring->head + sizeof length, buffer, length);
    ring->head += sizeof length + length;
    return length;
}

static ssize_t mutex_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct ring *ring = lane->state;
    const struct timespec until = lane_deadline(CLOCK_MONOTONIC, timeout_ms);
    (void)size;
    if (lock(ring) != 0) return -1;
    while (ring->tail == ring->head) {
        if (timeout_ms == 0) return lane_late(0), give_up(ring);
        if (wait_for(ring, &ring->items, timeout_ms < 0 ? NULL : &until) != 0) return give_up(ring);
    }
    const ssize_t got = take(ring, lane_room(lane), buffer, lane->longest);
    if (got < 0) return give_up(ring);
    (void)pthread_mutex_unlock(&ring->mutex);
    return settle(ring, pthread_cond_signal(&ring->space)) == 0 ? got : -1;
}

static size_t mutex_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    struct ring ring;
    if (!lane_peek(lane, &ring, sizeof ring)) return 0;
    const size_t room = lane_room(lane), begin = ring.head & (room - 1), there = ring.tail - ring.head;
    spots[0] = lane_spot(lane, 0, sizeof ring);
    spots[1] = lane_spot(lane, sizeof ring + begin, there < room - begin ? there : room - begin);
    return there > 0 ? 2 : 1;
}

const struct peer peers_mutex[] = {
    {
        .name = "mutex",
        .named = true,
        .many = true,
        .make = mutex_make,
        .open = mutex_open,
        .send = mutex_send,
        .receive = mutex_receive,
        .close = mutex_close,
        .forget = lane_unshare,
        .spots = mutex_spots,
    },
    {.name = NULL},
};
