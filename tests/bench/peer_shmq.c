/* shmq: one row a notifier, with everything else as users get it by default; for the careful with checksums and the guard
 * against SIGBUS. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "layout.h"
#include "shmq.h"

/* The ends create the queue, whoever comes first. */
static int shmq_lane_make(struct lane *lane) {
    (void)lane;
    return 0;
}

static void queue_name(const struct lane *lane, char name[], size_t size) {
    (void)snprintf(name, size, "/%s", lane->name);
}

static int shmq_lane_open(struct lane *lane, enum peer_end end) {
    const unsigned flags = SHMQ_EPHEMERAL | (lane->careful ? SHMQ_CHECKSUM : 0U) |
                           (lane->many ? SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0U);
    const struct shmq_attr attr = {.capacity = lane->capacity, .notify = lane->peer->kind, .flags = flags};
    char name[sizeof lane->name + 1];
    shmq *queue;
    queue_name(lane, name, sizeof name);
    if (lane->careful && shmq_guard_sigbus() != 0) return -1;
    if (shmq_open(&queue, name, end == PEER_PRODUCER ? SHMQ_PRODUCER : SHMQ_CONSUMER, O_CREAT, &attr) == 0) {
        lane->state = queue;
        return 0;
    }
    if (errno == ENOTSUP) (void)snprintf(lane->why, sizeof lane->why, "not in this build, or not on this system");
    return -1;
}

static int shmq_lane_send(struct lane *lane, const void *message, size_t length) {
    return shmq_send(lane->state, message, length, -1);
}

static ssize_t shmq_lane_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    return shmq_recv(lane->state, buffer, size, timeout_ms);
}

static void shmq_lane_close(struct lane *lane) {
    if (lane->state != NULL) (void)shmq_close(lane->state);
    lane->state = NULL;
}

static void shmq_lane_forget(struct lane *lane) {
    char name[sizeof lane->name + 1];
    queue_name(lane, name, sizeof name);
    (void)shmq_unlink(name);
}

/* The words of an end's page that are in use; returns how many spots they are. */
static size_t spots_of_page(struct spot spots[], off_t page) {
    const struct spot words[] = {
        {.at = page + (off_t)offsetof(struct end_page, cursor), .bytes = sizeof(shared_u64)},
        {.at = page + (off_t)offsetof(struct end_page, ticket), .bytes = 3 * sizeof(shared_u64)}, /* want, light */
        {.at = page + (off_t)offsetof(struct end_page, bell), .bytes = sizeof(shared_u64)},
        {.at = page + (off_t)offsetof(struct end_page, life), .bytes = sizeof(shared_u64)},
    };
    const size_t count = sizeof words / sizeof *words;
    for (size_t i = 0; i < count; i++)
        spots[i] = words[i];
    return count;
}

/* Of a queue that nobody is moving. What is unread may run on at the ring's beginning: then without that. */
static size_t find_spots(int object, struct spot spots[]) {
    struct header header;
    struct end_page producer, consumer;
    if (pread(object, &header, sizeof header, 0) != sizeof header) return 0;
    const off_t page = header.page_size;
    if (pread(object, &producer, sizeof producer, PAGE_PRODUCER * page) != sizeof producer ||
        pread(object, &consumer, sizeof consumer, PAGE_CONSUMER * page) != sizeof consumer)
        return 0;
    const uint64_t unread = producer.cursor - consumer.cursor, from = consumer.cursor & (header.capacity - 1);
    const uint64_t whole = header.capacity - from;
    size_t count = 0;
    spots[count++] = (struct spot){.at = 0, .bytes = sizeof header};
    spots[count++] = (struct spot){.at = PAGE_MEETING * page, .bytes = sizeof(struct meeting)};
    count += spots_of_page(&spots[count], PAGE_PRODUCER * page);
    count += spots_of_page(&spots[count], PAGE_CONSUMER * page);
    spots[count].at = PAGE_RING * page + (off_t)from;
    spots[count].bytes = unread < whole ? unread : whole;
    return spots[count].bytes > 0 ? count + 1 : count;
}

static size_t shmq_lane_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    char path[sizeof spots->path];
    (void)snprintf(path, sizeof path, "/dev/shm/%s", lane->name);
    const int object = open(path, O_RDONLY | O_CLOEXEC);
    if (object < 0) return 0;
    const size_t count = find_spots(object, spots);
    (void)close(object);
    for (size_t i = 0; i < count; i++)
        (void)snprintf(spots[i].path, sizeof spots[i].path, "%s", path);
    return count;
}

#define ROW(notifier, which)                                                                                           \
    {                                                                                                                  \
        .name = "shmq/" notifier,                                                                                      \
        .named = true,                                                                                                 \
        .many = true,                                                                                                  \
        .busy = (which) == SHMQ_NOTIFY_SPIN,                                                                           \
        .kind = (which),                                                                                               \
        .make = shmq_lane_make,                                                                                        \
        .open = shmq_lane_open,                                                                                        \
        .send = shmq_lane_send,                                                                                        \
        .receive = shmq_lane_receive,                                                                                  \
        .close = shmq_lane_close,                                                                                      \
        .forget = shmq_lane_forget,                                                                                    \
        .spots = shmq_lane_spots,                                                                                      \
    }

const struct peer peers_shmq[] = {
    ROW("sem", SHMQ_NOTIFY_SEM),       ROW("named", SHMQ_NOTIFY_NAMED),
    ROW("cond", SHMQ_NOTIFY_COND),     ROW("fifo", SHMQ_NOTIFY_FIFO),
    ROW("signal", SHMQ_NOTIFY_SIGNAL), ROW("lock", SHMQ_NOTIFY_LOCK),
    ROW("spin", SHMQ_NOTIFY_SPIN),     {.name = NULL},
};
