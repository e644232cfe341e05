/* cond: a robust mutex and two condition variables in the meeting page, shared between processes:
 * the other classic, as it is.
 *
 * "Rung" is a flag under the mutex, so no ring is lost. But libc's condition variable does not
 * survive a death: an end killed while it waits or signals can hang its peer for ever in
 * pthread_cond_signal, whatever the mutex does. The delivery promise holds without deaths only,
 * and time-outs without ends that are stopped while they hold the mutex.
 * The mutex knows its owner by a thread number, so both ends must live in one PID namespace; and
 * libc trusts what is in there, so they must trust each other. */
#include "notify_os.h"

#include "notify.h"
#include "shared.h"

/* What the meeting page holds. libc's types: see notify_fingerprint. */
struct doorbell {
    pthread_cond_t cond;
    shared_u64 rung; /* relaxed: under the mutex */
};

struct meeting_cond {
    pthread_mutex_t mutex;
    struct doorbell items, space;
};
_Static_assert(sizeof(struct meeting_cond) <= 4096, "fits in the smallest page");

static struct meeting_cond *place(struct meeting *meeting) { return (void *)meeting; }

static int cond_format(struct meeting *meeting) {
    struct meeting_cond *at = place(meeting);
    errno = os_mutex_format(&at->mutex);
    if (errno == 0) errno = os_cond_format(&at->items.cond);
    if (errno == 0) errno = os_cond_format(&at->space.cond);
    return errno == 0 ? 0 : -1;
}

static int cond_open(struct bells *bells) {
    struct meeting_cond *at = place(bells->meeting);
    for (enum bell bell = MINE; bell <= THEIRS; bell++)
        bells->at[bell] = notify_is_items(bells, bell) ? &at->items : &at->space;
    return notify_introduce(bells);
}

static int enter(struct bells *bells) {
    pthread_mutex_t *mutex = &place(bells->meeting)->mutex;
    int error = os_mutex_lock(mutex);
    if (error == EOWNERDEAD) error = os_mutex_repair(mutex); /* a flag is always whole */
    return error == 0 ? 0 : fail(error);
}

static void leave(struct bells *bells) { (void)os_mutex_unlock(&place(bells->meeting)->mutex); }

static void cond_reset(struct bells *bells) {
    struct doorbell *doorbell = bells->at[MINE];
    if (enter(bells) != 0) return; /* wait and ring say so */
    shared_store(&doorbell->rung, 0);
    leave(bells);
}

static int cond_wait(struct bells *bells, int64_t until_ns) {
    struct doorbell *doorbell = bells->at[MINE];
    if (enter(bells) != 0) return -1;
    int error = 0;
    while (error == 0 && shared_load(&doorbell->rung) == 0)
        error = os_cond_wait(&doorbell->cond, &place(bells->meeting)->mutex, until_ns);
    if (error == EOWNERDEAD) error = os_mutex_repair(&place(bells->meeting)->mutex);
    leave(bells);
    return error == 0 || error == ETIMEDOUT ? 0 : fail(error);
}

static int cond_ring(struct bells *bells) {
    struct doorbell *doorbell = bells->at[THEIRS];
    if (enter(bells) != 0) return -1;
    shared_store(&doorbell->rung, 1);
    int error = os_cond_signal(&doorbell->cond);
    leave(bells);
    return error == 0 ? 0 : fail(error);
}

const struct notifier shmq_notify_cond = {
    .name = "cond",
    .keeps = sizeof(struct meeting_cond),
    .format = cond_format,
    .open = cond_open,
    .reset = cond_reset,
    .wait = cond_wait,
    .ring = cond_ring,
};
