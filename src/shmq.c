/* The public interface: checks arguments and puts the parts together. See shmq.h for what each
 * function promises. */
#include "os.h"

#include "shmq.h"

#include "doorbell.h"
#include "guard.h"
#include "lease.h"
#include "life.h"
#include "sidelock.h"

/* ---- Opening and closing ------------------------------------------------------------------- */

/* Goes on from what our own side did last: an end before us, or beside us. */
static int catch_up(struct shmq *q) {
    doorbell_attach(q);
    return ring_catch_up(&q->ring) == 0 ? 0 : shmq_damaged(q);
}

/* The handle of a region that was just mapped. */
static void put_together(struct shmq *q) {
    const struct region *region = &q->region;
    const struct header *header = &region->header;
    const bool produces = region->role == SHMQ_PRODUCER;
    const enum shmq_end other = region_other(region->role);
    q->end = region->role;
    q->many = region_slots(header, q->end) > 1;
    q->peer_slots = region_slots(header, other);
    q->own = region->end[q->end];
    q->peer = region->end[other];
    q->bells = (struct bells){
        .notifier = notifier_of(header->notify),
        .produces = produces,
        .directory = region->directory,
        .object = region->object,
        .instance = header->instance,
        .meeting = region->meeting,
        .word = {&q->own->bell, &region->end[other]->bell},
    };
    q->ring = (struct ring){
        .own = shared_load(&q->own->cursor), /* relaxed: ring_catch_up decides */
        .peer = shared_load(&q->peer->cursor),
        .slack = produces ? header->capacity : 0,
        .bytes = region->ring,
        .capacity = header->capacity,
        .max_message = header->max_message,
        .salt = (uint32_t)header->instance,
        .before = region_record_header(header),
        .own_word = &q->own->cursor,
        .peer_word = &q->peer->cursor,
    };
}

int shmq_begin(struct shmq *q) {
    put_together(q);
    if (bells_open(&q->bells) != 0) /* ENOENT: no /proc, no /dev/shm */
        return errno == ENOENT ? fail(ENOTSUP) : region_fail();
    if (q->many) sidelock_inherit(q);
    if (!q->many && catch_up(q) != 0) return -1;
    (void)doorbell_announce(q); /* an armed event loop that thought itself alone watches us before we could die alive */
    life_begin(q);
    return doorbell_announce(q);
}

/* Gives back an end that failed to open, or is closed. */
static int give_back(struct shmq *q, bool failed) {
    doorbell_darken(q); /* the page is a successor's as soon as the lease is dropped */
    lease_drop(q->region.object, region_own_lease(&q->region), 1);
    /* Now, not before: who comes while the lease is held takes it for an end that is there, and would sleep on. */
    if (q->fault == 0 && !failed) (void)doorbell_announce(q); /* who cannot be rung finds out by a slice */
    bells_close(&q->bells);
    int result = q->fault == 0 || failed ? region_retire(&q->region, failed) : 0;
    region_close(&q->region);
    return result;
}

/* Everything of shmq_open that takes or gives a descriptor. */
static int open_guarded(struct shmq *q, const char *name, int oflag, const struct shmq_attr *attr) {
    if (region_open(&q->region, name, oflag, attr) != 0) return -1;
    int result = shmq_begin(q);
    int error = q->fault == 0 ? errno : q->fault;
    lease_drop(q->region.object, LEASE_LIFE_CYCLE, 1);
    if (result == 0 && q->fault == 0) return 0;
    (void)give_back(q, true); /* an end that closed meanwhile may have left the unlinking to us */
    return fail(error);
}

int shmq_open(shmq **handle, const char *name, enum shmq_end end, int oflag, const struct shmq_attr *attr) {
    static const struct shmq_attr defaults;
    if (handle == NULL) return fail(EINVAL);
    *handle = NULL;
    if (end != SHMQ_PRODUCER && end != SHMQ_CONSUMER) return fail(EINVAL);
    const int64_t until_ns = region_deadline();
    guard_lock();
    struct shmq *q = guard_new();
    int result = -1;
    if (q != NULL) {
        q->region.role = end;
        q->region.until_ns = until_ns;
        result = open_guarded(q, name, oflag, attr == NULL ? &defaults : attr);
        if (result == 0)
            *handle = q;
        else
            guard_free(q);
    }
    guard_unlock();
    return result;
}

static __attribute__((noinline)) int leave_slowly(struct shmq *q, int result) {
    if (q->locked && (q->held == 0 || q->fault != 0)) {
        q->locked = false;
        sidelock_release(q);
    }
    return q->fault == 0 ? result : fail(q->fault);
}

/* The end of every operation that holds nothing any more: lets others of a side with many ends work
 * on the queue; see enter. Hands on the result. */
FAST int leave(struct shmq *q, int result) { return q->locked || q->fault != 0 ? leave_slowly(q, result) : result; }

int shmq_close(shmq *q) {
    if (q == NULL || q->fault == EINVAL) return fail(EINVAL);
    q->held = 0;
    (void)leave(q, 0);
    if (q->fault == 0) life_end(q);
    q->region.until_ns = region_deadline();
    guard_lock();
    int result = give_back(q, false);
    guard_free(q);
    guard_unlock();
    return result;
}

int shmq_unlink(const char *name) {
    const int64_t until_ns = region_deadline();
    guard_lock();
    int result = region_unlink(name, until_ns);
    guard_unlock();
    return result;
}

/* ---- Messages ------------------------------------------------------------------------------ */

/* What every call on a handle checks first. */
FAST int check_open(const struct shmq *q) {
    if (q == NULL) return fail(EINVAL);
    return q->fault == 0 ? 0 : fail(q->fault);
}

/* The same for a call that one end alone may make. */
FAST int check(const struct shmq *q, enum shmq_end end, int timeout_ms) {
    if (q == NULL || q->end != end || timeout_ms < -1) return fail(EINVAL);
    return check_open(q);
}

/* Of a side with many ends one at a time works on the queue: from here until leave. */
static int enter(struct shmq *q, int timeout_ms) {
    if (q->locked) return 0;
    q->locked = sidelock_take(q, timeout_ms) == 0;
    return q->locked ? catch_up(q) : -1;
}

static __attribute__((noinline)) int await_slowly(struct shmq *q, uint64_t need, int timeout_ms) {
    q->until_ns = 0;
    if (q->many && enter(q, timeout_ms) != 0) return leave(q, -1);
    if (ring_available(&q->ring) >= need) return 0;
    if (ring_look_paced(&q->ring) != 0) return leave(q, shmq_damaged(q));
    if (q->ring.streams) doorbell_lighten(q);
    if (ring_available(&q->ring) >= need || doorbell_wait(q, need, timeout_ms) == 0) return 0;
    return leave(q, -1);
}

/* Until `need` bytes are available. */
FAST int await(struct shmq *q, uint64_t need, int timeout_ms) {
    return __builtin_expect(ring_available(&q->ring) >= need && !q->many, 1) ? 0 : await_slowly(q, need, timeout_ms);
}

/* After the cursor has moved: counts the message and tells the other end. */
FAST int moved(struct shmq *q) {
    shared_count(&q->own->messages);
    return leave(q, doorbell_ring(q));
}

FAST int await_space(struct shmq *q, size_t length, int timeout_ms) {
    if (length > q->ring.max_message) return leave(q, fail(EMSGSIZE));
    return await(q, ring_record_bytes(&q->ring, length), timeout_ms);
}

/* The next message, or the one that is held. Its length is read once, here. */
FAST const void *await_message(struct shmq *q, size_t *length, int timeout_ms) {
    if (q->held != 0) return *length = q->held_length, ring_payload(&q->ring);
    if (await(q, RECORD_ALIGN, timeout_ms) != 0) return NULL;
    const void *message = ring_read(&q->ring, length);
    return message != NULL ? message : ((void)leave(q, shmq_damaged(q)), NULL);
}

FAST int release(struct shmq *q, uint64_t bytes) {
    ring_advance(&q->ring, bytes);
    q->held = 0;
    return moved(q);
}

int shmq_send(shmq *q, const void *message, size_t length, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return -1;
    if (__builtin_expect(message == NULL, 0) && length > 0) return fail(EINVAL);
    if (q->held != 0) return fail(EBUSY);
    if (await_space(q, length, timeout_ms) != 0) return -1;
    shared_copy_in(ring_payload(&q->ring), message, length);
    ring_publish(&q->ring, message, length);
    return moved(q);
}

ssize_t shmq_recv(shmq *q, void *buffer, size_t size, int timeout_ms) {
    if (check(q, SHMQ_CONSUMER, timeout_ms) != 0) return -1;
    if (__builtin_expect(buffer == NULL, 0) && size > 0) return fail(EINVAL);
    size_t length;
    const void *message = await_message(q, &length, timeout_ms);
    if (message == NULL) return -1;
    if (length > size) return leave(q, fail(EMSGSIZE));
    shared_copy_out(buffer, message, length);
    if (q->fault != 0 || !ring_is_intact(&q->ring, buffer, length)) return leave(q, shmq_damaged(q));
    (void)release(q, ring_record_bytes(&q->ring, length)); /* it is taken, whether the other end can be told or not */
    return (ssize_t)length;
}

void *shmq_reserve(shmq *q, size_t length, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return NULL;
    q->held = 0;
    if (await_space(q, length, timeout_ms) != 0) return NULL;
    q->held = ring_record_bytes(&q->ring, length);
    q->held_length = length;
    return ring_payload(&q->ring);
}

int shmq_commit(shmq *q, size_t length) {
    if (check(q, SHMQ_PRODUCER, 0) != 0) return -1;
    if (q->held == 0 || length > q->held_length) return fail(EINVAL);
    q->held = 0;
    ring_publish(&q->ring, ring_payload(&q->ring), length);
    return moved(q);
}

const void *shmq_peek(shmq *q, size_t *length, int timeout_ms) {
    if (check(q, SHMQ_CONSUMER, timeout_ms) != 0) return NULL;
    size_t bytes;
    const void *message = await_message(q, &bytes, timeout_ms);
    if (message == NULL) return NULL;
    q->held = ring_record_bytes(&q->ring, bytes);
    q->held_length = bytes;
    if (!ring_is_intact(&q->ring, message, bytes) || q->fault != 0) return (void)leave(q, shmq_damaged(q)), NULL;
    if (length != NULL) *length = bytes;
    return message;
}

int shmq_release(shmq *q) {
    if (check_open(q) != 0) return -1;
    if (q->held == 0) return fail(EINVAL);
    if (q->end == SHMQ_CONSUMER) return release(q, q->held);
    q->held = 0;
    return leave(q, 0);
}

/* One of many does not take the side's turn for it: others may hold that for as long as they wait themselves. */
static int drain_beside_others(struct shmq *q, int timeout_ms) {
    const uint64_t sent = shared_load(q->ring.own_word); /* relaxed: our own side's */
    const int64_t until_ns = doorbell_deadline(q, timeout_ms);
    for (;;) {
        const int gone = life_of_peer(q); /* first, for what it took it took before it went */
        const uint64_t head = shared_load_acquire(q->ring.peer_word); /* R2, as in ring_look */
        if (q->fault != 0 || (int64_t)(shared_load(q->ring.own_word) - head) < 0) return shmq_damaged(q);
        if ((int64_t)(head - sent) >= 0) return 0;
        if (gone != 0) return life_report(q, gone), fail(gone);
        if (os_now() >= until_ns) return fail(timeout_ms == 0 ? EAGAIN : ETIMEDOUT);
        if (os_nap(5 * OS_MS) != 0) return -1;
    }
}

int shmq_drain(shmq *q, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return -1;
    q->until_ns = 0;
    return q->many ? drain_beside_others(q, timeout_ms) : await(q, q->ring.capacity, timeout_ms);
}

/* ---- The rest ------------------------------------------------------------------------------ */

int shmq_stat(shmq *q, struct shmq_stat *stat) {
    if (stat == NULL) return fail(EINVAL);
    if (check_open(q) != 0) return -1;
    /* Words that others move meanwhile, or anything at all if they lie: passed on as they are. */
    if (!q->many && ring_look(&q->ring) != 0) return shmq_damaged(q);
    const struct end_page *producer = q->region.end[SHMQ_PRODUCER];
    const struct end_page *consumer = q->region.end[SHMQ_CONSUMER];
    const uint64_t head = shared_load(&consumer->cursor);
    const uint64_t used = shared_load(&producer->cursor) - head;
    *stat = (struct shmq_stat){
        .capacity = q->ring.capacity,
        .max_message = q->ring.max_message,
        .used = used < q->ring.capacity ? used : q->ring.capacity,
        .sent = shared_load(&producer->messages),
        .received = shared_load(&consumer->messages),
        .sleeps = shared_load(&q->own->sleeps),
        .rings = shared_load(&q->own->rings),
        .producers = life_count(q, SHMQ_PRODUCER),
        .consumers = life_count(q, SHMQ_CONSUMER),
        .notify = q->region.header.notify,
        .flags = q->region.header.flags,
    };
    return check_open(q);
}

int shmq_fd(shmq *q) {
    if (check_open(q) != 0) return -1;
    return q->bells.notifier->pollable && !q->many ? q->bells.fd[MINE] : fail(ENOTSUP);
}

int shmq_arm(shmq *q) {
    if (shmq_fd(q) < 0) return -1;
    const uint64_t space = ring_record_bytes(&q->ring, q->ring.max_message);
    return q->held != 0 ? 1 : doorbell_arm(q, q->end == SHMQ_PRODUCER ? space : RECORD_ALIGN);
}
