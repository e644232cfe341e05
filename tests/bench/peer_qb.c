/* qb_rb: libqb's ring buffer, shared between processes, with its semaphore: as corosync uses it.
 *
 * As qb/qbrb.h has it: who serves creates it and lives on, so that is the maker; the ends open it by its name, the
 * consumer waits in qb_rb_chunk_read, and the producer that finds no room tries again, because libqb has nothing to
 * wait on there. To create it again would empty it, so there is no coming in either order. */
#include "peer.h"

#include <errno.h>
#include <qb/qbrb.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The maker's handle is the names: to close it removes them. Who inherits it opens one of its own. */
struct handles {
    qb_ringbuffer_t *makers, *own;
};

static qb_ringbuffer_t *qb_open(const struct lane *lane, uint32_t flags) {
    return qb_rb_open(lane->name, lane_room(lane), QB_RB_FLAG_SHARED_PROCESS | flags, 0);
}

static int qb_lane_make(struct lane *lane) {
    struct handles *handles = calloc(1, sizeof *handles);
    if (handles == NULL) return -1;
    lane->state = handles;
    handles->makers = qb_open(lane, QB_RB_FLAG_CREATE);
    return handles->makers != NULL ? 0 : -1;
}

static int qb_lane_open(struct lane *lane, enum peer_end end) {
    struct handles *handles = lane->state;
    (void)end;
    handles->own = qb_open(lane, 0);
    return handles->own != NULL ? 0 : -1;
}

static int qb_lane_send(struct lane *lane, const void *message, size_t length) {
    const struct handles *handles = lane->state;
    struct looking looking = {.timeout_ms = -1};
    ssize_t wrote;
    while ((wrote = qb_rb_chunk_write(handles->own, message, length)) == -EAGAIN)
        (void)lane_look(&looking);
    if (wrote < 0) errno = (int)-wrote;
    return wrote < 0 ? -1 : 0;
}

static ssize_t qb_lane_receive(struct lane *lane, void *buffer, size_t size, int timeout_ms) {
    const struct handles *handles = lane->state;
    const ssize_t got = qb_rb_chunk_read(handles->own, buffer, lane->longest, timeout_ms);
    (void)size;
    if (got == -ETIMEDOUT) return lane_late(timeout_ms);
    if (got < 0) errno = (int)-got;
    return got < 0 ? -1 : got;
}

static void qb_lane_close(struct lane *lane) {
    struct handles *handles = lane->state;
    if (handles == NULL || handles->own == NULL) return;
    qb_rb_close(handles->own);
    handles->own = NULL;
}

static void qb_lane_forget(struct lane *lane) {
    struct handles *handles = lane->state;
    if (handles == NULL) return;
    if (handles->makers != NULL) qb_rb_close(handles->makers);
    free(handles);
    lane->state = NULL;
}

/* ---- Spots --------------------------------------------------------------------------------- */

/* How libqb 2 begins its header; it tells nobody. */
struct header {
    uint32_t write, read, words;
    char header_path[4096], data_path[4096];
    int32_t references;
    sem_t semaphore;
};

static size_t qb_lane_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    struct header header;
    struct lane half = *lane; /* an object's name instead of the lane's */
    (void)snprintf(half.name, sizeof half.name, "qb-%.40s-header", lane->name);
    if (!lane_peek(&half, &header, sizeof header)) return 0;
    spots[0] = lane_spot(&half, 0, offsetof(struct header, header_path));
    spots[1] = lane_spot(&half, offsetof(struct header, header_path), strlen(header.header_path));
    spots[2] = lane_spot(&half, offsetof(struct header, data_path), strlen(header.data_path));
    spots[3] = lane_spot(&half, offsetof(struct header, references), sizeof header.references);
    spots[4] = lane_spot(&half, offsetof(struct header, semaphore), sizeof header.semaphore);
    (void)snprintf(half.name, sizeof half.name, "qb-%.40s-data", lane->name);
    const size_t end = header.write >= header.read ? header.write : header.words;
    spots[5] = lane_spot(&half, sizeof(uint32_t) * header.read, sizeof(uint32_t) * (end - header.read));
    return spots[5].bytes > 0 ? 6 : 5;
}

const struct peer peers_qb[] = {
    {
        .name = "qb_rb",
        .make = qb_lane_make,
        .open = qb_lane_open,
        .send = qb_lane_send,
        .receive = qb_lane_receive,
        .close = qb_lane_close,
        .forget = qb_lane_forget,
        .spots = qb_lane_spots,
    },
    {.name = NULL},
};
