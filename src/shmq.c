/* The public interface: checks arguments and puts the parts together. See shmq.h for what each
 * function promises. */
#include "os.h"

#include "shmq.h"

#include "doorbell.h"
#include "guard.h"
#include "lease.h"
#include "life.h"

/* ---- Opening and closing ------------------------------------------------------------------- */

/* Opens the doorbells of a region that was just mapped. */
static int open_bells(struct shmq *q, enum shmq_end end) {
    const struct region *region = &q->region;
    const bool produces = end == SHMQ_PRODUCER;
    struct end_page *const peer = region->end[produces ? SHMQ_CONSUMER : SHMQ_PRODUCER];
    q->end = end;
    q->own = region->end[end];
    q->peer = peer;
    q->bells = (struct bells){
        .notifier = notifier_of(region->header.notify),
        .produces = produces,
        .directory = region->directory,
        .object = region->object,
        .instance = region->header.instance,
        .meeting = region->meeting,
        .word = {&q->own->bell, &peer->bell},
    };
    if (bells_open(&q->bells) == 0) return 0;
    return errno == ENOENT ? fail(ENOTSUP) : region_fail(); /* no /proc, no /dev/shm */
}

/* What remains then: takes up the ring and begins a life. */
static int take_up(struct shmq *q) {
    const struct region *region = &q->region;
    const struct ring_memory memory = {
        .tail = &region->end[SHMQ_PRODUCER]->cursor,
        .head = &region->end[SHMQ_CONSUMER]->cursor,
        .bytes = region->ring,
        .capacity = region->header.capacity,
        .max_message = region->header.max_message,
        .salt = (uint32_t)region->header.instance,
    };
    if (ring_attach(&q->ring, q->end == SHMQ_PRODUCER, &memory) != 0) return shmq_damaged(q);
    doorbell_attach(q);
    life_begin(q);
    return doorbell_announce(q);
}

static struct shmq *new_handle(void) {
    struct shmq *q = os_allocate_memory(alignof(struct shmq), sizeof *q);
    if (q != NULL) *q = (struct shmq){.region = {.directory = -1, .object = -1}};
    return q;
}

/* Everything of shmq_open that takes or gives a descriptor. */
static int open_guarded(struct shmq *q, const char *name, enum shmq_end end, int oflag, const struct shmq_attr *attr,
                        int64_t until_ns) {
    if (region_open(&q->region, name, end, oflag, attr, until_ns) != 0) return -1;
    int result = open_bells(q, end);
    lease_drop(q->region.object, LEASE_LIFE_CYCLE);
    if (result == 0) result = take_up(q);
    if (result == 0) {
        guard_add(q);
        return 0;
    }
    int error = errno;
    bells_close(&q->bells);
    /* An end that closed meanwhile may have left the unlinking to us. */
    lease_drop(q->region.object, region_role(end));
    (void)region_retire(&q->region, true, until_ns);
    region_close(&q->region);
    return fail(error);
}

int shmq_open(shmq **handle, const char *name, enum shmq_end end, int oflag, const struct shmq_attr *attr) {
    static const struct shmq_attr defaults;
    if (handle == NULL) return fail(EINVAL);
    *handle = NULL;
    if (end != SHMQ_PRODUCER && end != SHMQ_CONSUMER) return fail(EINVAL);
    struct shmq *q = new_handle();
    if (q == NULL) return -1;
    const int64_t until_ns = region_deadline();
    guard_lock();
    int result = open_guarded(q, name, end, oflag, attr == NULL ? &defaults : attr, until_ns);
    guard_unlock();
    if (result == 0)
        *handle = q;
    else
        os_free_memory(q);
    return result;
}

int shmq_attach_memory(struct shmq **handle, const struct region *region, enum shmq_end end) {
    *handle = NULL;
    struct shmq *q = new_handle();
    if (q == NULL) return -1;
    q->region = *region;
    if (open_bells(q, end) != 0 || take_up(q) != 0) {
        bells_close(&q->bells);
        os_free_memory(q);
        return -1;
    }
    guard_lock();
    guard_add(q);
    guard_unlock();
    *handle = q;
    return 0;
}

int shmq_close(shmq *q) {
    if (q == NULL || q->fault == EINVAL) return fail(EINVAL);
    const bool proper = q->fault == 0;
    if (proper) {
        life_end(q);
        (void)doorbell_announce(q); /* who cannot be rung finds out by a slice */
    }
    const int64_t until_ns = region_deadline();
    guard_lock();
    guard_remove(q);
    bells_close(&q->bells);
    lease_drop(q->region.object, region_role(q->end));
    int result = proper ? region_retire(&q->region, false, until_ns) : 0;
    region_close(&q->region);
    guard_unlock();
    os_free_memory(q);
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
static int check_open(const struct shmq *q) {
    if (q == NULL) return fail(EINVAL);
    return q->fault == 0 ? 0 : fail(q->fault);
}

/* The same for a call that one end alone may make. */
static int check(const struct shmq *q, enum shmq_end end, int timeout_ms) {
    if (q == NULL || q->end != end || timeout_ms < -1) return fail(EINVAL);
    return check_open(q);
}

/* Until `need` bytes are available. */
static int await(struct shmq *q, uint64_t need, int timeout_ms) {
    if (__builtin_expect(ring_available(&q->ring) >= need, 1)) return 0;
    if (ring_look_paced(&q->ring) != 0) return shmq_damaged(q);
    return ring_available(&q->ring) >= need ? 0 : doorbell_wait(q, need, timeout_ms);
}

/* After the cursor has moved: counts the message and tells the other end. */
static int moved(struct shmq *q) {
    shared_store(&q->own->messages, ++q->messages); /* relaxed: statistics */
    return doorbell_ring(q);
}

static int await_space(struct shmq *q, size_t length, int timeout_ms) {
    if (length > q->ring.max_message) return fail(EMSGSIZE);
    return await(q, ring_record_bytes(length), timeout_ms);
}

/* The next message, held until it is released. Its length is read once, here. */
static const void *await_message(struct shmq *q, int timeout_ms) {
    if (q->held != 0) return (const unsigned char *)ring_at(&q->ring) + RECORD_HEADER;
    if (await(q, RECORD_HEADER, timeout_ms) != 0) return NULL;
    const void *message = ring_read(&q->ring, &q->held_length);
    if (message == NULL)
        (void)shmq_damaged(q);
    else
        q->held = ring_record_bytes(q->held_length);
    return message;
}

static int release(struct shmq *q) {
    ring_advance(&q->ring, q->held);
    q->held = 0;
    return moved(q);
}

int shmq_send(shmq *q, const void *message, size_t length, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return -1;
    if (message == NULL && length > 0) return fail(EINVAL);
    if (q->held != 0) return fail(EBUSY);
    if (await_space(q, length, timeout_ms) != 0) return -1;
    shared_copy_in((unsigned char *)ring_at(&q->ring) + RECORD_HEADER, message, length);
    ring_publish(&q->ring, length);
    return moved(q);
}

ssize_t shmq_recv(shmq *q, void *buffer, size_t size, int timeout_ms) {
    if (check(q, SHMQ_CONSUMER, timeout_ms) != 0) return -1;
    if (buffer == NULL && size > 0) return fail(EINVAL);
    const bool peeked = q->held != 0;
    const void *message = await_message(q, timeout_ms);
    if (message == NULL) return -1;
    const size_t length = q->held_length;
    if (length > size) {
        if (!peeked) q->held = 0;
        return fail(EMSGSIZE);
    }
    shared_copy_out(buffer, message, length);
    return release(q) == 0 ? (ssize_t)length : -1;
}

void *shmq_reserve(shmq *q, size_t length, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return NULL;
    q->held = 0;
    if (await_space(q, length, timeout_ms) != 0) return NULL;
    q->held = ring_record_bytes(length);
    q->held_length = length;
    return (unsigned char *)ring_at(&q->ring) + RECORD_HEADER;
}

int shmq_commit(shmq *q, size_t length) {
    if (check(q, SHMQ_PRODUCER, 0) != 0) return -1;
    if (q->held == 0 || length > q->held_length) return fail(EINVAL);
    q->held = 0;
    ring_publish(&q->ring, length);
    return moved(q);
}

const void *shmq_peek(shmq *q, size_t *length, int timeout_ms) {
    if (check(q, SHMQ_CONSUMER, timeout_ms) != 0) return NULL;
    const void *message = await_message(q, timeout_ms);
    if (message != NULL && length != NULL) *length = q->held_length;
    return message;
}

int shmq_release(shmq *q) {
    if (check_open(q) != 0) return -1;
    if (q->held == 0) return fail(EINVAL);
    if (q->end == SHMQ_CONSUMER) return release(q);
    q->held = 0;
    return 0;
}

int shmq_drain(shmq *q, int timeout_ms) {
    if (check(q, SHMQ_PRODUCER, timeout_ms) != 0) return -1;
    return await(q, q->ring.capacity, timeout_ms);
}

/* ---- The rest ------------------------------------------------------------------------------ */

int shmq_stat(shmq *q, struct shmq_stat *stat) {
    if (stat == NULL) return fail(EINVAL);
    if (check_open(q) != 0) return -1;
    /* A look, for what is used; what the other end says of itself is passed on as it is. */
    if (ring_look(&q->ring) != 0) return shmq_damaged(q);
    const bool produces = q->end == SHMQ_PRODUCER;
    const uint64_t theirs = shared_load(&q->peer->messages); /* relaxed: statistics */
    const uint64_t available = ring_available(&q->ring);
    *stat = (struct shmq_stat){
        .capacity = q->ring.capacity,
        .max_message = q->ring.max_message,
        .used = produces ? q->ring.capacity - available : available,
        .sent = produces ? q->messages : theirs,
        .received = produces ? theirs : q->messages,
        .sleeps = q->sleeps,
        .rings = q->rings,
        .producers = life_count(q, SHMQ_PRODUCER),
        .consumers = life_count(q, SHMQ_CONSUMER),
        .notify = q->region.header.notify,
        .flags = q->region.header.flags,
    };
    return 0;
}

int shmq_fd(shmq *q) {
    if (check_open(q) != 0) return -1;
    return q->bells.notifier->pollable ? q->bells.fd[MINE] : fail(ENOTSUP);
}

int shmq_arm(shmq *q) {
    if (shmq_fd(q) < 0) return -1;
    const uint64_t space = ring_record_bytes(q->ring.max_message);
    return q->held != 0 ? 1 : doorbell_arm(q, q->end == SHMQ_PRODUCER ? space : RECORD_HEADER);
}

int shmq_guard_sigbus(void) { return fail(ENOTSUP); }
