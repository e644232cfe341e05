/* Peers that must look bad, to prove the instrument: a naive ring, as many are written, and four that would be shmq but for
 * one fault each. For scoreboard_test only. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

/* ---- naive: mmap, two semaphores and a mutex ----------------------------------------------- */

enum { SLOTS = 160, ROOM = 512 };

struct naive {
    pthread_mutex_t mutex; /* not robust */
    sem_t items, space;
    size_t in, out; /* believed */
    struct slot {
        size_t length;
        unsigned char bytes[ROOM];
    } slots[SLOTS];
};

static void naive_format(struct naive *ring) {
    pthread_mutexattr_t shared;
    (void)pthread_mutexattr_init(&shared);
    (void)pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutex_init(&ring->mutex, &shared);
    (void)sem_init(&ring->items, 1, 0);
    (void)sem_init(&ring->space, 1, SLOTS);
}

static int nothing_to_make(struct lane *lane) {
    (void)lane;
    return 0;
}

/* As long as it may take when there is more to prepare, or somebody else has the core. */
static void take_a_while(void) {
    const struct timespec time = {.tv_nsec = 200000};
    (void)nanosleep(&time, NULL);
}

/* Others see it before it is ready; nothing says whether there is room. */
static int naive_open(struct lane *lane, enum peer_end end) {
    (void)end;
    int object = shm_open(lane->name, O_RDWR | O_CREAT | O_EXCL, 0600);
    const bool creates = object >= 0;
    if (!creates) object = shm_open(lane->name, O_RDWR, 0);
    if (object < 0 || (creates && ftruncate(object, sizeof(struct naive)) != 0)) return -1;
    void *ring = mmap(NULL, sizeof(struct naive), PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
    (void)close(object);
    if (ring == MAP_FAILED) return -1;
    lane->state = ring;
    if (creates) take_a_while();
    if (creates) naive_format(ring);
    return 0;
}

static int naive_send(struct lane *lane, const void *message, size_t length) {
    struct naive *ring = lane->state;
    (void)sem_wait(&ring->space);
    (void)pthread_mutex_lock(&ring->mutex);
    struct slot *slot = &ring->slots[ring->in];
    memcpy(slot->bytes, message, length);
    slot->length = length;
    (void)sched_yield(); /* so that it is found in here when it is killed */
    ring->in = (ring->in + 1) % SLOTS;
    (void)pthread_mutex_unlock(&ring->mutex);
    return sem_post(&ring->items);
}

static ssize_t naive_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    struct naive *ring = lane->state;
    (void)size;
    if ((timeout_ms == 0 ? sem_trywait(&ring->items) : sem_wait(&ring->items)) != 0) return -1;
    (void)pthread_mutex_lock(&ring->mutex);
    const struct slot *slot = &ring->slots[ring->out];
    const size_t length = slot->length;
    memcpy(buffer, slot->bytes, length);
    (void)sched_yield();
    ring->out = (ring->out + 1) % SLOTS;
    (void)pthread_mutex_unlock(&ring->mutex);
    (void)sem_post(&ring->space);
    return (ssize_t)length;
}

static void naive_close(struct lane *lane) {
    if (lane->state != NULL) (void)munmap(lane->state, sizeof(struct naive));
    lane->state = NULL;
}

static void naive_forget(struct lane *lane) { (void)shm_unlink(lane->name); }

static size_t naive_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    spots[0] = (struct spot){.at = 0, .bytes = offsetof(struct naive, slots)};
    spots[1] = (struct spot){.at = offsetof(struct naive, slots), .bytes = sizeof(struct slot) * 8};
    for (int i = 0; i < 2; i++)
        (void)snprintf(spots[i].path, sizeof spots[i].path, "/dev/shm/%s", lane->name);
    return 2;
}

/* ---- shmq/sem with a fault ----------------------------------------------------------------- */

enum { SOUND = 50 }; /* so many messages, then the fault */

static const struct peer *sound(void) { return &peers_shmq[0]; }

static int sound_open(struct lane *lane, enum peer_end end) { return sound()->open(lane, end); }

static ssize_t sound_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    return sound()->receive(lane, buffer, size, timeout_ms);
}

static void sound_close(struct lane *lane) { sound()->close(lane); }

static void sound_forget(struct lane *lane) { sound()->forget(lane); }

static int sound_send(struct lane *lane, const void *message, size_t length) {
    return sound()->send(lane, message, length);
}

static bool is_time(struct lane *lane) { return ++lane->count % SOUND == 0; }

static int losing_send(struct lane *lane, const void *message, size_t length) {
    return is_time(lane) ? 0 : sound_send(lane, message, length);
}

static int repeating_send(struct lane *lane, const void *message, size_t length) {
    if (is_time(lane) && sound_send(lane, message, length) != 0) return -1;
    return sound_send(lane, message, length);
}

static int garbling_send(struct lane *lane, const void *message, size_t length) {
    unsigned char garbled[ROOM];
    memcpy(garbled, message, length);
    if (is_time(lane)) garbled[length / 2] ^= 1;
    return sound_send(lane, garbled, length);
}

static void forget_nothing(struct lane *lane) { (void)lane; }

/* So that there is something to forget. */
static void littering_close(struct lane *lane) {
    if (lane->state != NULL) (void)close(shm_open("litter", O_CREAT | O_RDWR, 0600));
    sound_close(lane);
}

#define ROW(row_name, send_function, close_function, forget_function)                                                  \
    {                                                                                                                  \
        .name = "planted/" row_name,                                                                                   \
        .named = true,                                                                                                 \
        .make = nothing_to_make,                                                                                       \
        .open = sound_open,                                                                                            \
        .send = (send_function),                                                                                       \
        .receive = sound_receive,                                                                                      \
        .close = (close_function),                                                                                     \
        .forget = (forget_function),                                                                                   \
    }

const struct peer peers_brought[] = {
    {
        .name = "planted/naive",
        .largest = ROOM,
        .named = true,
        .make = nothing_to_make,
        .open = naive_open,
        .send = naive_send,
        .receive = naive_receive,
        .close = naive_close,
        .forget = naive_forget,
        .spots = naive_spots,
    },
    ROW("loses", losing_send, sound_close, sound_forget),
    ROW("repeats", repeating_send, sound_close, sound_forget),
    ROW("garbles", garbling_send, sound_close, sound_forget),
    ROW("litters", sound_send, littering_close, forget_nothing),
    {.name = NULL},
};
