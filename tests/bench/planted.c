/* Peers that must look bad, to prove the instrument: a naive ring, as many are written, and five that would be shmq but for
 * one fault each; and one that seals itself against ptrace. For scoreboard_test only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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

enum { WARM = 8 }; /* messages before the call that is looked at */

static int freezing_send(struct lane *lane, const void *message, size_t length) {
    return ++lane->count > WARM ? pause() : sound_send(lane, message, length);
}

static void forget_nothing(struct lane *lane) { (void)lane; }

/* So that there is something to forget. */
static void littering_close(struct lane *lane) {
    if (lane->state != NULL) (void)close(shm_open("litter", O_CREAT | O_RDWR, 0600));
    sound_close(lane);
}

/* As in a container that allows no debugging. */
static int sealed_open(struct lane *lane, enum peer_end end) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return -1;
    return sound_open(lane, end);
}

#define ROW(row_name, open_function, send_function, close_function, forget_function)                                   \
    {                                                                                                                  \
        .name = "planted/" row_name,                                                                                   \
        .named = true,                                                                                                 \
        .make = nothing_to_make,                                                                                       \
        .open = (open_function),                                                                                       \
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
    ROW("loses", sound_open, losing_send, sound_close, sound_forget),
    ROW("repeats", sound_open, repeating_send, sound_close, sound_forget),
    ROW("garbles", sound_open, garbling_send, sound_close, sound_forget),
    ROW("litters", sound_open, sound_send, littering_close, forget_nothing),
    ROW("freezes", sound_open, freezing_send, sound_close, sound_forget),
    ROW("sealed", sealed_open, sound_send, sound_close, sound_forget),
    {.name = NULL},
};
