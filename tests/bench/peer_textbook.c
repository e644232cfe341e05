/* textbook: mmap and two named semaphores, as courses teach it: a ring of slots, `items` counts the full ones,
 * `space` the empty ones, and each end waits for its own.
 *
 * Written as a careful reader would: every call is checked, an interrupted wait is taken up again, the clock is the
 * monotonic one, and it may start in either order, because an object of zeros is an empty ring and the semaphores are
 * created whole. What the books do not teach it does not have: the object is sized by ftruncate, which allocates
 * nothing, and an end that is killed between its two semaphores leaves the count wrong. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct ring {
    uint64_t in, out; /* slots filled and emptied so far; each has one writer */
    _Alignas(16) unsigned char slots[];
};

struct slot {
    uint64_t length;
    unsigned char bytes[];
};

struct book {
    struct ring *ring;
    sem_t *items, *space;
    size_t slot_bytes, slots, bytes;
};

static void sizes(const struct lane *lane, struct book *book) {
    book->slot_bytes = (sizeof(struct slot) + lane->longest + 15) / 16 * 16;
    book->slots = lane_room(lane) / book->slot_bytes;
    book->bytes = sizeof(struct ring) + book->slots * book->slot_bytes;
}

static struct slot *slot_at(const struct book *book, uint64_t number) {
    return (struct slot *)(void *)&book->ring->slots[number % book->slots * book->slot_bytes];
}

static void sem_name(const struct lane *lane, const char *what, char name[], size_t size) {
    (void)snprintf(name, size, "/%s.%s", lane->name, what);
}

enum { SEM_NAME = sizeof((struct lane *)NULL)->name + 8 };

static int textbook_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static struct ring *map_ring(const struct lane *lane, size_t bytes) {
    const int object = shm_open(lane->name, O_RDWR | O_CREAT, 0600);
    if (object < 0) return NULL;
    void *ring = MAP_FAILED;
    if (ftruncate(object, (off_t)bytes) == 0) ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, object, 0);
    const int error = errno;
    (void)close(object);
    errno = error;
    return ring != MAP_FAILED ? ring : NULL;
}

static sem_t *open_sem(const struct lane *lane, const char *what, size_t count) {
    char name[SEM_NAME];
    sem_name(lane, what, name, sizeof name);
    return sem_open(name, O_CREAT, 0600, (unsigned)count);
}

static void textbook_close(struct lane *lane) {
    struct book *book = lane->state;
    if (book == NULL) return;
    if (book->ring != NULL) (void)munmap(book->ring, book->bytes);
    if (book->items != SEM_FAILED) (void)sem_close(book->items);
    if (book->space != SEM_FAILED) (void)sem_close(book->space);
    free(book);
    lane->state = NULL;
}

static int textbook_open(struct lane *lane, enum peer_end end) {
    struct book *book = calloc(1, sizeof *book);
    (void)end;
    if (book == NULL) return -1;
    sizes(lane, book);
    book->items = book->space = SEM_FAILED;
    lane->state = book;
    book->ring = map_ring(lane, book->bytes);
    if (book->ring != NULL) book->items = open_sem(lane, "items", 0);
    if (book->items != SEM_FAILED) book->space = open_sem(lane, "space", book->slots);
    if (book->space != SEM_FAILED) return 0;
    const int error = errno;
    textbook_close(lane);
    errno = error;
    return -1;
}

static int wait_for(sem_t *sem, int timeout_ms) {
    if (timeout_ms == 0) return sem_trywait(sem);
    const struct timespec until = lane_deadline(CLOCK_MONOTONIC, timeout_ms);
    int status;
    do
        status = timeout_ms < 0 ? sem_wait(sem) : sem_clockwait(sem, CLOCK_MONOTONIC, &until);
    while (status != 0 && errno == EINTR);
    return status;
}

static int textbook_send(struct lane *lane, const void *message, size_t length) {
    const struct book *book = lane->state;
    if (length > lane->longest) return errno = EMSGSIZE, -1;
    if (wait_for(book->space, -1) != 0) return -1;
    struct slot *slot = slot_at(book, book->ring->in);
    memcpy(slot->bytes, message, length);
    slot->length = length;
    book->ring->in++;
    return sem_post(book->items);
}

static ssize_t textbook_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const struct book *book = lane->state;
    (void)size;
    if (wait_for(book->items, timeout_ms) != 0) return -1;
    const struct slot *slot = slot_at(book, book->ring->out);
    const size_t length = slot->length;
    if (length > lane->longest) return errno = EBADMSG, -1;
    memcpy(buffer, slot->bytes, length);
    book->ring->out++;
    return sem_post(book->space) == 0 ? (ssize_t)length : -1;
}

static void textbook_forget(struct lane *lane) {
    static const char *const whats[] = {"items", "space"};
    char name[SEM_NAME];
    for (size_t i = 0; i < 2; i++) {
        sem_name(lane, whats[i], name, sizeof name);
        (void)sem_unlink(name);
    }
    lane_unshare(lane);
}

static size_t textbook_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    struct book book;
    struct ring ring;
    sizes(lane, &book);
    if (!lane_peek(lane, &ring, sizeof ring)) return 0;
    size_t count = 0;
    spots[count++] = lane_spot(lane, 0, sizeof ring);
    for (uint64_t number = ring.out; number < ring.in && count < PEER_SPOTS - 2; number++)
        spots[count++] = lane_spot(lane, sizeof ring + number % book.slots * book.slot_bytes, book.slot_bytes);
    for (int i = 0; i < 2; i++) {
        spots[count] = (struct spot){.at = 0, .bytes = sizeof(sem_t)};
        (void)snprintf(spots[count++].path, sizeof spots->path, "/dev/shm/sem.%s.%s", lane->name,
                       i == 0 ? "items" : "space");
    }
    return count;
}

const struct peer peers_textbook[] = {
    {
        .name = "textbook",
        .named = true,
        .make = textbook_make,
        .open = textbook_open,
        .send = textbook_send,
        .receive = textbook_receive,
        .close = textbook_close,
        .forget = textbook_forget,
        .spots = textbook_spots,
    },
    {.name = NULL},
};
