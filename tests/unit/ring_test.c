/* The ring, on plain memory: against a model queue, and against an other end that lies.
 *
 * Messages are pieces of a pool of random bytes. The model knows which piece each message is,
 * and computes positions for itself. The memory is given as twice the capacity between canaries,
 * which must stay as they are. */
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "memory.h"

enum {
    OPERATIONS = 1000000, /* for each kind of start */
    ROUND = 4000,         /* then new memory, a new capacity and a new start */
    CANARY_BYTES = 64,
    CANARY = 0xa5,
    UNTOUCHED = 0x5a,
    POOL_BYTES = 1 << 17,
    QUEUE = 1 << 13 /* the most records that the largest ring holds */
};
static const uint32_t SALT = 0x9d2c5681;
static const uint64_t CAPACITIES[] = {16, 32, 64, 512, 4096, 65536};
static unsigned char pool[POOL_BYTES];

static void fill_pool(void) {
    for (size_t at = 0; at < sizeof pool; at += sizeof(uint64_t)) {
        uint64_t random = check_random();
        memcpy(pool + at, &random, sizeof random);
    }
}

/* ---- Memory, and the model ----------------------------------------------------------------- */

struct arena {
    unsigned char *memory;
    unsigned char *bytes; /* 2 x capacity */
    uint64_t capacity;
};

static struct arena arena_new(uint64_t capacity) {
    struct arena arena = {.capacity = capacity};
    arena.memory = aligned_alloc(RECORD_ALIGN, 2 * capacity + 2 * (size_t)CANARY_BYTES);
    CHECK(arena.memory != NULL);
    arena.bytes = arena.memory + CANARY_BYTES;
    memset(arena.memory, CANARY, CANARY_BYTES);
    memset(arena.bytes, 0, 2 * capacity);
    memset(arena.bytes + 2 * capacity, CANARY, CANARY_BYTES);
    return arena;
}

static void arena_check(const struct arena *arena) {
    static unsigned char canary[CANARY_BYTES];
    memset(canary, CANARY, sizeof canary);
    CHECK(memcmp(arena->memory, canary, sizeof canary) == 0);
    CHECK(memcmp(arena->bytes + 2 * arena->capacity, canary, sizeof canary) == 0);
}

struct message {
    size_t length;
    const unsigned char *content; /* in the pool */
};

struct model {
    uint64_t capacity, max_message;
    uint64_t head, tail;
    uint64_t sent, received;
    struct message queue[QUEUE];
};

static uint64_t bytes_of(uint64_t length) { return 8 + (length + 7) / 8 * 8; }

static uint64_t model_free(const struct model *model) { return model->capacity - (model->tail - model->head); }

static struct message any_message(const struct model *model) {
    const uint64_t max = model->max_message;
    uint64_t length = check_below(max + 1);
    switch (check_below(4)) {
    case 0: length = length % 9; break;
    case 1: length = max; break;
    default: break;
    }
    return (struct message){length, pool + check_below(POOL_BYTES - length)};
}

static void model_push(struct model *model, struct message message) {
    model->queue[model->sent++ % QUEUE] = message;
    model->tail += bytes_of(message.length);
}

static struct message model_first(const struct model *model) {
    CHECK(model->received < model->sent);
    return model->queue[model->received % QUEUE];
}

static void model_pop(struct model *model) {
    model->head += bytes_of(model_first(model).length);
    model->received++;
}

static bool same(struct message expected, const void *content, size_t length) {
    return length == expected.length && memcmp(content, expected.content, length) == 0;
}

/* ---- Where cursors start ------------------------------------------------------------------- */

enum start { START_ZERO, START_BELOW_2_32, START_BELOW_2_64, START_ANYWHERE };

static uint64_t start_position(enum start start, uint64_t capacity) {
    uint64_t before = 8 * (1 + check_below(2 * capacity / 8));
    switch (start) {
    case START_ZERO: return 0;
    case START_BELOW_2_32: return ((uint64_t)1 << 32) - before;
    case START_BELOW_2_64: return 0 - before;
    default: return check_random() & ~(uint64_t)7;
    }
}

/* capacity and max_message of a round, and where it starts. */
static void new_round(struct model *model, enum start start, uint64_t round) {
    uint64_t capacity = CAPACITIES[round % (sizeof CAPACITIES / sizeof CAPACITIES[0])];
    model->capacity = capacity;
    model->max_message = capacity - RECORD_HEADER;
    if (check_below(2) == 0) model->max_message = 1 + check_below(model->max_message);
    model->head = model->tail = start_position(start, capacity);
    model->sent = model->received = 0;
    check_note("capacity %llu, max_message %llu, start 0x%llx", (unsigned long long)capacity,
               (unsigned long long)model->max_message, (unsigned long long)model->head);
}

/* ---- The ring alone ------------------------------------------------------------------------ */

struct twins {
    shared_u64 tail, head;
    struct arena arena;
    struct ring producer, consumer;
};

static void twins_attach(struct twins *twins, uint64_t max_message) {
    const struct ring common = {.bytes = twins->arena.bytes,
                                .capacity = twins->arena.capacity,
                                .max_message = max_message,
                                .salt = SALT,
                                .before = RECORD_HEADER};
    twins->producer = twins->consumer = common;
    twins->producer.slack = common.capacity;
    twins->producer.own_word = &twins->tail, twins->producer.peer_word = &twins->head;
    twins->consumer.own_word = &twins->head, twins->consumer.peer_word = &twins->tail;
    twins->producer.own = twins->consumer.peer = twins->tail;
    twins->consumer.own = twins->producer.peer = twins->head;
    CHECK(ring_catch_up(&twins->producer) == 0);
    CHECK(ring_catch_up(&twins->consumer) == 0);
}

static void twins_new(struct twins *twins, uint64_t capacity, uint64_t max_message, uint64_t start) {
    twins->arena = arena_new(capacity);
    twins->head = start;
    twins->tail = start;
    twins_attach(twins, max_message);
}

/* What an end may touch is never more than what is there, and after a look it is all of it. */
static void look(struct ring *ring, uint64_t there) {
    CHECK(ring_available(ring) <= there);
    CHECK((check_below(2) == 0 ? ring_look(ring) : ring_look_paced(ring)) == 0);
    CHECK_EQUAL(ring_available(ring), there);
}

static void publish(struct twins *twins, struct model *model, struct message message) {
    unsigned char *at = twins->arena.bytes + (model->tail & (model->capacity - 1));
    CHECK(ring_at(&twins->producer) == at);
    memcpy(at + RECORD_HEADER, message.content, message.length);
    if (check_below(4) == 0) /* reserved, and then it got shorter */
        message.length = check_below(message.length + 1);
    ring_publish(&twins->producer, ring_payload(&twins->producer), message.length);
    model_push(model, message);
    CHECK_EQUAL(twins->tail, model->tail);
}

static void produce(struct twins *twins, struct model *model) {
    struct message message = any_message(model);
    const uint64_t need = bytes_of(message.length);
    if (ring_available(&twins->producer) < need || check_below(8) == 0) look(&twins->producer, model_free(model));
    if (ring_available(&twins->producer) >= need) publish(twins, model, message);
}

static void consume(struct twins *twins, struct model *model) {
    if (ring_available(&twins->consumer) < RECORD_HEADER || check_below(8) == 0)
        look(&twins->consumer, model->tail - model->head);
    if (ring_available(&twins->consumer) < RECORD_HEADER) return;
    size_t length = 0;
    const unsigned char *at = twins->arena.bytes + (model->head & (model->capacity - 1));
    const unsigned char *content = ring_read(&twins->consumer, &length);
    CHECK(content == at + RECORD_HEADER);
    CHECK(same(model_first(model), content, length));
    if (check_below(8) == 0) return; /* looked at, not taken: the next one reads it again */
    ring_advance(&twins->consumer, ring_record_bytes(&twins->consumer, length));
    model_pop(model);
    CHECK_EQUAL(twins->head, model->head);
}

static void ring_against_model(enum start start) {
    static struct model model;
    fill_pool();
    for (uint64_t round = 0; round < (uint64_t)check_scaled(OPERATIONS / ROUND); round++) {
        struct twins twins;
        new_round(&model, start, round);
        twins_new(&twins, model.capacity, model.max_message, model.head);
        uint64_t produces = 2; /* of 4: changes, so that the ring runs full and empty */
        for (int operation = 0; operation < ROUND; operation++) {
            if (check_below(64) == 0) produces = 1 + check_below(3);
            if (check_below(1024) == 0) twins_attach(&twins, model.max_message);
            if (check_below(4) < produces)
                produce(&twins, &model);
            else
                consume(&twins, &model);
            arena_check(&twins.arena);
        }
        CHECK(model.sent > 0 && model.received > 0);
        free(twins.arena.memory);
    }
}

TEST(ring_from_position_0_is_a_queue) { ring_against_model(START_ZERO); }

TEST(ring_from_just_below_2_to_the_32_is_a_queue) { ring_against_model(START_BELOW_2_32); }

TEST(ring_from_just_below_2_to_the_64_is_a_queue) { ring_against_model(START_BELOW_2_64); }

TEST(ring_from_any_position_is_a_queue) { ring_against_model(START_ANYWHERE); }

TEST(a_record_takes_its_header_and_whole_words) {
    static const uint64_t lengths[][2] = {
        {0, 8}, {1, 16}, {7, 16}, {8, 16}, {9, 24}, {56, 64}, {57, 72}, {4088, 4096}, {UINT32_MAX, 4294967304}};
    const struct ring plain = {.before = RECORD_HEADER}, checked = {.before = RECORD_CHECKED};
    for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++) {
        CHECK_EQUAL(ring_record_bytes(&plain, lengths[row][0]), lengths[row][1]);
        CHECK_EQUAL(ring_record_bytes(&checked, lengths[row][0]), lengths[row][1] + 8);
    }
}

/* One record of `length`, then one that takes the rest exactly: full. Both taken again: empty. */
static void fill_and_empty(uint64_t capacity, uint64_t start, uint64_t length) {
    struct twins twins;
    uint64_t lengths[2] = {length, 0};
    const uint64_t rest = capacity - bytes_of(length);
    const int records = rest == 0 ? 1 : 2;
    if (rest > 0) lengths[1] = rest - RECORD_HEADER;
    twins_new(&twins, capacity, capacity - RECORD_HEADER, start);
    look(&twins.consumer, 0);
    look(&twins.producer, capacity);
    for (int record = 0; record < records; record++) {
        unsigned char *at = ring_at(&twins.producer);
        memset(at + RECORD_HEADER, 'a' + record, lengths[record]);
        ring_publish(&twins.producer, ring_payload(&twins.producer), lengths[record]);
    }
    look(&twins.producer, 0);
    look(&twins.consumer, capacity);
    for (int record = 0; record < records; record++) {
        size_t read = 0;
        const unsigned char *content = ring_read(&twins.consumer, &read);
        CHECK(content != NULL);
        CHECK_EQUAL(read, lengths[record]);
        for (size_t at = 0; at < read; at++)
            CHECK(content[at] == 'a' + record);
        ring_advance(&twins.consumer, bytes_of(read));
    }
    look(&twins.consumer, 0);
    look(&twins.producer, capacity);
    arena_check(&twins.arena);
    free(twins.arena.memory);
}

TEST(ring_can_be_full_and_empty_at_every_position) {
    for (uint64_t capacity = 16; capacity <= 128; capacity *= 2) {
        const uint64_t bases[] = {0, ((uint64_t)1 << 32) - capacity, 0 - capacity};
        for (size_t base = 0; base < sizeof bases / sizeof bases[0]; base++)
            for (uint64_t offset = 0; offset < 2 * capacity; offset += RECORD_ALIGN)
                for (uint64_t length = 0; length <= capacity - RECORD_HEADER; length++)
                    fill_and_empty(capacity, bases[base] + offset, length);
    }
}

/* ---- Whole operations on plain memory ------------------------------------------------------ */

/* What two handles share when there is no object: two pages, the meeting, a ring. */
struct world {
    struct end_page page[2]; /* by enum shmq_end */
    struct meeting meeting;
    struct arena arena;
    struct region region;
    shmq *end[2];
    /* What the ends hold. */
    bool reserved, peeked;
    size_t reserved_length;
    unsigned char *reservation;
    const void *peek;
};

static void world_attach(struct world *world, enum shmq_end end) {
    CHECK(attach_memory(&world->end[end], &world->region, end) == 0);
}

static void world_new(struct world *world, uint64_t capacity, uint64_t max_message, uint64_t start, unsigned notify) {
    memset(world, 0, sizeof *world);
    world->arena = arena_new(capacity);
    world->page[SHMQ_PRODUCER].cursor = start;
    world->page[SHMQ_CONSUMER].cursor = start;
    world->region = (struct region){
        .directory = -1,
        .object = -1,
        .header = {.capacity = capacity, .max_message = max_message, .instance = SALT, .notify = notify},
        .end = {&world->page[SHMQ_PRODUCER], &world->page[SHMQ_CONSUMER]},
        .meeting = &world->meeting,
        .ring = world->arena.bytes,
    };
    world_attach(world, SHMQ_PRODUCER);
    world_attach(world, SHMQ_CONSUMER);
}

static void world_free(struct world *world) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        if (world->end[end] != NULL) CHECK(shmq_close(world->end[end]) == 0);
    arena_check(&world->arena);
    free(world->arena.memory);
}

static void do_send(struct world *world, struct model *model) {
    struct message message = any_message(model);
    shmq *q = world->end[SHMQ_PRODUCER];
    if (world->reserved) {
        CHECK_FAILS(shmq_send(q, message.content, message.length, 0), EBUSY);
    } else if (check_below(32) == 0) {
        CHECK_FAILS(shmq_send(q, pool, model->max_message + 1 + check_below(3), 0), EMSGSIZE);
    } else if (bytes_of(message.length) > model_free(model)) {
        CHECK_FAILS(shmq_send(q, message.content, message.length, 0), EAGAIN);
    } else {
        CHECK(shmq_send(q, message.content, message.length, 0) == 0);
        model_push(model, message);
    }
}

static void do_reserve(struct world *world, struct model *model) {
    const size_t length = any_message(model).length;
    shmq *q = world->end[SHMQ_PRODUCER];
    world->reserved = false;
    if (check_below(32) == 0) {
        CHECK_FAILS(shmq_reserve(q, model->max_message + 1, 0), EMSGSIZE);
    } else if (bytes_of(length) > model_free(model)) {
        CHECK_FAILS(shmq_reserve(q, length, 0), EAGAIN);
    } else {
        unsigned char *at = world->arena.bytes + (model->tail & (model->capacity - 1));
        world->reservation = shmq_reserve(q, length, 0);
        CHECK(world->reservation == at + RECORD_HEADER);
        memset(world->reservation, UNTOUCHED, length);
        world->reserved = true;
        world->reserved_length = length;
    }
}

static void do_commit(struct world *world, struct model *model) {
    shmq *q = world->end[SHMQ_PRODUCER];
    if (!world->reserved) {
        CHECK_FAILS(shmq_commit(q, 0), EINVAL);
        return;
    }
    size_t length = world->reserved_length;
    if (check_below(8) == 0) CHECK_FAILS(shmq_commit(q, length + 1 + check_below(9)), EINVAL);
    if (check_below(2) == 0) length = check_below(length + 1);
    struct message message = {length, pool + check_below(POOL_BYTES - length)};
    memcpy(world->reservation, message.content, length);
    CHECK(shmq_commit(q, length) == 0);
    world->reserved = false;
    model_push(model, message);
}

static void do_peek(struct world *world, struct model *model) {
    size_t length = 0;
    shmq *q = world->end[SHMQ_CONSUMER];
    if (model->sent == model->received) {
        CHECK_FAILS(shmq_peek(q, &length, 0), EAGAIN);
        return;
    }
    const bool tell = check_below(8) != 0;
    const void *content = shmq_peek(q, tell ? &length : NULL, 0);
    CHECK(content != NULL);
    if (tell) CHECK(same(model_first(model), content, length));
    CHECK(!world->peeked || content == world->peek);
    world->peeked = true;
    world->peek = content;
}

static void do_recv(struct world *world, struct model *model) {
    static unsigned char buffer[1 << 16];
    shmq *q = world->end[SHMQ_CONSUMER];
    if (model->sent == model->received) {
        CHECK_FAILS(shmq_recv(q, buffer, sizeof buffer, 0), EAGAIN);
        return;
    }
    struct message expected = model_first(model);
    if (expected.length > 0 && check_below(8) == 0) {
        const unsigned char unlike = expected.content[0] ^ 1;
        buffer[0] = unlike;
        CHECK_FAILS(shmq_recv(q, buffer, check_below(expected.length), 0), EMSGSIZE);
        CHECK(buffer[0] == unlike);
        return;
    }
    buffer[expected.length] = UNTOUCHED;
    CHECK_EQUAL(shmq_recv(q, buffer, expected.length + check_below(2), 0), expected.length);
    CHECK(same(expected, buffer, expected.length));
    CHECK(buffer[expected.length] == UNTOUCHED);
    model_pop(model);
    world->peeked = false;
}

static void do_drop(struct world *world, struct model *model) {
    (void)model;
    shmq *q = world->end[SHMQ_PRODUCER];
    if (world->reserved) CHECK(shmq_release(q) == 0);
    CHECK_FAILS(shmq_release(q), EINVAL);
    world->reserved = false;
}

static void do_release(struct world *world, struct model *model) {
    shmq *q = world->end[SHMQ_CONSUMER];
    if (world->peeked) {
        CHECK(shmq_release(q) == 0);
        model_pop(model);
    }
    CHECK_FAILS(shmq_release(q), EINVAL);
    world->peeked = false;
}

static void check_stat(shmq *q, const struct model *model) {
    struct shmq_stat stat;
    CHECK(shmq_stat(q, &stat) == 0);
    CHECK_EQUAL(stat.capacity, model->capacity);
    CHECK_EQUAL(stat.max_message, model->max_message);
    CHECK_EQUAL(stat.used, model->tail - model->head);
    CHECK_EQUAL(stat.sent, model->sent);
    CHECK_EQUAL(stat.received, model->received);
}

static void do_drain(struct world *world, struct model *model) {
    shmq *q = world->end[SHMQ_PRODUCER];
    if (model->sent == model->received)
        CHECK(shmq_drain(q, 0) == 0);
    else
        CHECK_FAILS(shmq_drain(q, 0), EAGAIN);
    check_stat(q, model);
}

static void do_stat(struct world *world, struct model *model) { check_stat(world->end[SHMQ_CONSUMER], model); }

/* Closes an end and opens it again: what it held is given up, what was published stays. */
static void reopen(struct world *world, enum shmq_end end) {
    CHECK(shmq_close(world->end[end]) == 0);
    world_attach(world, end);
    if (end == SHMQ_PRODUCER)
        world->reserved = false;
    else
        world->peeked = false;
}

/* Every word has one writing side: whatever an end does, the other's page stays as it is. */
static void one_operation(struct world *world, struct model *model, enum shmq_end end) {
    typedef void operation(struct world *, struct model *);
    enum { KINDS = 8 };
    static operation *const operations[2][KINDS] = {
        {do_send, do_send, do_send, do_reserve, do_reserve, do_commit, do_commit, NULL},
        {do_recv, do_recv, do_recv, do_peek, do_peek, do_peek, do_release, NULL}};
    static operation *const rare[2][2] = {{do_drop, do_drain}, {do_release, do_stat}};
    unsigned char before[sizeof(struct end_page)];
    const struct end_page *others = &world->page[region_other(end)];
    memcpy(before, others, sizeof before);
    operation *run = operations[end][check_below(KINDS)];
    if (run == NULL) run = rare[end][check_below(2)];
    run(world, model);
    CHECK(memcmp(before, others, sizeof before) == 0);
}

static void operations_against_model(enum start start) {
    static struct model model;
    static struct world world;
    fill_pool();
    for (uint64_t round = 0; round < (uint64_t)check_scaled(OPERATIONS / ROUND); round++) {
        new_round(&model, start, round);
        world_new(&world, model.capacity, model.max_message, model.head,
                  round % 2 == 0 ? SHMQ_NOTIFY_SEM : SHMQ_NOTIFY_SPIN);
        uint64_t produces = 2; /* of 4 */
        for (int turn = 0; turn < ROUND; turn++) {
            if (check_below(64) == 0) produces = 1 + check_below(3);
            if (check_below(256) == 0) reopen(&world, (enum shmq_end)check_below(2));
            one_operation(&world, &model, check_below(4) < produces ? SHMQ_PRODUCER : SHMQ_CONSUMER);
            arena_check(&world.arena);
        }
        CHECK(model.sent > 0 && model.received > 0);
        world_free(&world);
    }
}

TEST(operations_from_position_0_behave_like_a_queue) { operations_against_model(START_ZERO); }

TEST(operations_from_just_below_2_to_the_32_behave_like_a_queue) { operations_against_model(START_BELOW_2_32); }

TEST(operations_from_just_below_2_to_the_64_behave_like_a_queue) { operations_against_model(START_BELOW_2_64); }

TEST(operations_from_any_position_behave_like_a_queue) { operations_against_model(START_ANYWHERE); }

/* ---- Disbelief: cursors -------------------------------------------------------------------- */

/* The one scene of all cursor tests: capacity 64, three messages of 8 bytes (48 bytes of the
 * ring), of which the consumer has taken `taken`; each end knows where the other is. */
enum { SCENE_CAPACITY = 64, SCENE_MAX = 56, SCENE_MESSAGES = 3, SCENE_RECORD = 16 };
static const uint64_t STARTS[] = {0, 0xfffffff0u, 0xffffffffffffffe0u, 0x0123456789abcde8u};
enum { STARTS_COUNT = sizeof STARTS / sizeof STARTS[0] };

static void scene(struct world *world, uint64_t start, int taken) {
    struct shmq_stat stat;
    unsigned char buffer[8];
    world_new(world, SCENE_CAPACITY, SCENE_MAX, start, SHMQ_NOTIFY_SEM);
    for (int message = 0; message < SCENE_MESSAGES; message++)
        CHECK(shmq_send(world->end[SHMQ_PRODUCER], "message", 8, 0) == 0);
    for (int message = 0; message < taken; message++)
        CHECK(shmq_recv(world->end[SHMQ_CONSUMER], buffer, sizeof buffer, 0) == 8);
    CHECK(shmq_stat(world->end[SHMQ_PRODUCER], &stat) == 0);
    CHECK(shmq_stat(world->end[SHMQ_CONSUMER], &stat) == 0);
    CHECK_EQUAL(stat.used, (SCENE_MESSAGES - taken) * SCENE_RECORD);
}

/* Every call answers EBADMSG, whatever the region says meanwhile. */
static void check_poisoned(shmq *q, enum shmq_end end) {
    unsigned char buffer[SCENE_MAX];
    struct shmq_stat stat;
    size_t length = 7;
    memset(buffer, UNTOUCHED, sizeof buffer);
    for (int timeout_ms = -1; timeout_ms <= 1; timeout_ms++) {
        if (end == SHMQ_PRODUCER) {
            CHECK_FAILS(shmq_send(q, buffer, 1, timeout_ms), EBADMSG);
            CHECK_FAILS(shmq_reserve(q, 1, timeout_ms), EBADMSG);
            CHECK_FAILS(shmq_commit(q, 0), EBADMSG);
            CHECK_FAILS(shmq_drain(q, timeout_ms), EBADMSG);
        } else {
            CHECK_FAILS(shmq_recv(q, buffer, sizeof buffer, timeout_ms), EBADMSG);
            CHECK_FAILS(shmq_peek(q, &length, timeout_ms), EBADMSG);
        }
        CHECK_FAILS(shmq_release(q), EBADMSG);
        CHECK_FAILS(shmq_stat(q, &stat), EBADMSG);
    }
    for (size_t at = 0; at < sizeof buffer; at++)
        CHECK(buffer[at] == UNTOUCHED);
    CHECK_EQUAL(length, 7);
}

/* The handle that saw a lie stays poisoned when the truth returns (`peer`), has moved nothing
 * (`own`), and closes as if its process had died. */
static void check_aftermath(struct world *world, enum shmq_end victim, uint64_t own, uint64_t peer) {
    struct end_page *page = &world->page[victim];
    check_poisoned(world->end[victim], victim);
    world->page[region_other(victim)].cursor = peer;
    check_poisoned(world->end[victim], victim);
    CHECK_EQUAL(page->cursor, own);
    const uint64_t life = page->life[0];
    CHECK(shmq_close(world->end[victim]) == 0);
    world->end[victim] = NULL;
    CHECK_EQUAL(page->life[0], life);
    CHECK_EQUAL(life % 2, 1);
}

/* The calls that look at the other end's words. A lie is answered without waiting for the time-
 * out, which is long. */
enum { LONG_MS = 20000 };
typedef int probe(shmq *q);

static int probe_stat(shmq *q) {
    struct shmq_stat stat;
    return shmq_stat(q, &stat);
}

static int recv_untouched(shmq *q, int timeout_ms) {
    unsigned char buffer[SCENE_MAX];
    memset(buffer, UNTOUCHED, sizeof buffer);
    ssize_t result = shmq_recv(q, buffer, sizeof buffer, timeout_ms);
    const int error = errno;
    for (size_t at = 0; result < 0 && at < sizeof buffer; at++)
        CHECK(buffer[at] == UNTOUCHED);
    errno = error;
    return (int)result;
}

static int probe_recv(shmq *q) { return recv_untouched(q, 0); }

static int probe_recv_waiting(shmq *q) { return recv_untouched(q, LONG_MS); }

static int probe_peek(shmq *q) { return shmq_peek(q, NULL, 0) == NULL ? -1 : 0; }

static int probe_send(shmq *q) {
    return shmq_send(q, pool, SCENE_MAX, 0); /* more than is free as far as this end knows */
}

static int probe_send_waiting(shmq *q) { return shmq_send(q, pool, SCENE_MAX, LONG_MS); }

static int probe_reserve(shmq *q) { return shmq_reserve(q, SCENE_MAX, 0) == NULL ? -1 : 0; }

static int probe_drain(shmq *q) { return shmq_drain(q, 0); }

/* The other end's cursor suddenly stands `lie` bytes from where it was. */
static void check_lie(enum shmq_end victim, int taken, uint64_t start, uint64_t lie, probe *ask) {
    static struct world world;
    scene(&world, start, taken);
    check_note("%s, start 0x%llx, lie %lld", victim == SHMQ_PRODUCER ? "producer" : "consumer",
               (unsigned long long)start, (long long)lie);
    const uint64_t own = world.page[victim].cursor;
    const uint64_t messages = world.page[victim].messages;
    const uint64_t peer = world.page[region_other(victim)].cursor;
    world.page[region_other(victim)].cursor = peer + lie;
    CHECK_FAILS(ask(world.end[victim]), EBADMSG);
    check_aftermath(&world, victim, own, peer);
    CHECK_EQUAL(world.page[victim].messages, messages);
    world_free(&world);
}

#define BACK(bytes) (0 - (uint64_t)(bytes))
static const uint64_t LIES[] = {
    /* one word, or laps, back */
    BACK(8),
    BACK(64),
    BACK(128),
    /* misaligned */
    1,
    2,
    4,
    7,
    9,
    /* ahead of what is possible: by a word, by laps */
    72,
    128,
    /* far, where differences of 32 or 63 bits would go wrong */
    (uint64_t)1 << 31,
    BACK((uint64_t)1 << 31),
    (uint64_t)1 << 32,
    BACK((uint64_t)1 << 32),
    ((uint64_t)1 << 63) - 8,
    (uint64_t)1 << 63,
    ((uint64_t)1 << 63) + 8,
};

static void check_lies(enum shmq_end victim, int taken, probe *const *probes, size_t count) {
    for (size_t start = 0; start < STARTS_COUNT; start++)
        for (size_t lie = 0; lie < sizeof LIES / sizeof LIES[0]; lie++)
            for (size_t ask = 0; ask < count; ask++)
                check_lie(victim, taken, STARTS[start], LIES[lie], probes[ask]);
}

TEST(a_consumer_does_not_believe_an_impossible_tail) {
    static probe *const probes[] = {probe_stat, probe_recv, probe_peek, probe_recv_waiting};
    check_lies(SHMQ_CONSUMER, SCENE_MESSAGES, probes, sizeof probes / sizeof probes[0]);
}

TEST(a_producer_does_not_believe_an_impossible_head) {
    static probe *const probes[] = {probe_stat, probe_send, probe_reserve, probe_drain, probe_send_waiting};
    check_lies(SHMQ_PRODUCER, 1, probes, sizeof probes / sizeof probes[0]);
}

/* As numbers, not as distances. */
TEST(a_cursor_of_extreme_value_is_not_believed) {
    static const uint64_t extremes[] = {0, 8, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    const uint64_t start = STARTS[STARTS_COUNT - 1];
    for (size_t row = 0; row < sizeof extremes / sizeof extremes[0]; row++) {
        check_lie(SHMQ_CONSUMER, 3, start, extremes[row] - (start + 48), probe_recv);
        check_lie(SHMQ_PRODUCER, 1, start, extremes[row] - (start + 16), probe_send);
    }
}

/* What a cursor may do at all is believed, to the last byte, and nothing beyond. */
static void check_borders(enum shmq_end victim, uint64_t furthest, uint64_t used_at_furthest) {
    static struct world world;
    for (size_t start = 0; start < STARTS_COUNT; start++)
        for (uint64_t step = 0; step <= furthest; step += RECORD_ALIGN) {
            struct shmq_stat stat;
            check_note("start 0x%llx, step %llu", (unsigned long long)STARTS[start], (unsigned long long)step);
            scene(&world, STARTS[start], 1);
            world.page[region_other(victim)].cursor += step;
            CHECK(shmq_stat(world.end[victim], &stat) == 0);
            CHECK(step != furthest || stat.used == used_at_furthest);
            world_free(&world);
        }
    for (size_t start = 0; start < STARTS_COUNT; start++)
        for (uint64_t beyond = 1; beyond <= 24; beyond++)
            check_lie(victim, 1, STARTS[start], furthest + beyond, probe_stat);
}

TEST(a_tail_may_advance_until_the_ring_is_full_and_no_further) {
    check_borders(SHMQ_CONSUMER, SCENE_CAPACITY - 2 * SCENE_RECORD, SCENE_CAPACITY);
}

TEST(a_head_may_advance_until_the_ring_is_empty_and_no_further) { check_borders(SHMQ_PRODUCER, 2 * SCENE_RECORD, 0); }

TEST(a_cursor_that_moves_back_a_little_is_no_less_a_lie) {
    for (uint64_t back = 1; back <= 2 * SCENE_RECORD; back++) {
        check_lie(SHMQ_CONSUMER, 1, 4096, BACK(back), probe_stat);
        check_lie(SHMQ_PRODUCER, 3, 4096, BACK(back), probe_stat);
    }
}

TEST(a_cursor_of_random_value_is_believed_when_possible_and_else_refused) {
    static struct world world;
    for (int round = 0; round < check_scaled(50000); round++) {
        const enum shmq_end victim = (enum shmq_end)check_below(2);
        scene(&world, check_random() & ~(uint64_t)7, 1);
        const uint64_t own = world.page[victim].cursor;
        const uint64_t peer = world.page[region_other(victim)].cursor;
        const uint64_t step = check_random() >> check_below(64);
        world.page[region_other(victim)].cursor = peer + step;
        check_note("step %llu", (unsigned long long)step);
        if (step % RECORD_ALIGN == 0 && step <= 2 * SCENE_RECORD) {
            CHECK(probe_stat(world.end[victim]) == 0);
        } else {
            CHECK_FAILS(probe_stat(world.end[victim]), EBADMSG);
            check_aftermath(&world, victim, own, peer);
        }
        world.page[region_other(victim)].cursor = peer;
        world_free(&world);
    }
}

static void check_attach(enum shmq_end end, uint64_t head, uint64_t tail, int error) {
    static struct world world;
    world_new(&world, SCENE_CAPACITY, SCENE_MAX, 0, SHMQ_NOTIFY_SEM);
    CHECK(shmq_close(world.end[end]) == 0);
    const uint64_t life = world.page[end].life[0];
    world.page[SHMQ_CONSUMER].cursor = head;
    world.page[SHMQ_PRODUCER].cursor = tail;
    check_note("end %d, head 0x%llx, tail 0x%llx", end, (unsigned long long)head, (unsigned long long)tail);
    if (error == 0) {
        world_attach(&world, end);
    } else {
        world.end[end] = world.end[region_other(end)]; /* anything: it must become NULL */
        CHECK_FAILS(attach_memory(&world.end[end], &world.region, end), error);
        CHECK(world.end[end] == NULL);
        CHECK_EQUAL(world.page[end].life[0], life);
    }
    world_free(&world);
}

TEST(impossible_cursors_are_refused_when_an_end_attaches) {
    static const struct {
        uint64_t head, tail;
        int error;
    } rows[] = {
        {0, 0, 0},
        {0, 64, 0},
        {64, 64, 0},
        {BACK(8), 56, 0},
        {8, 0, EBADMSG},
        {0, 72, EBADMSG},
        {64, 0, EBADMSG},
        {1, 1, EBADMSG},
        {0, 4, EBADMSG},
        {4, 8, EBADMSG},
        {4096, 0, EBADMSG},
        {0, BACK(8), EBADMSG},
        {0, (uint64_t)1 << 32, EBADMSG},
        {(uint64_t)1 << 63, 0, EBADMSG},
        {UINT64_MAX, UINT64_MAX, EBADMSG},
    };
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        check_attach(SHMQ_PRODUCER, rows[row].head, rows[row].tail, rows[row].error);
        check_attach(SHMQ_CONSUMER, rows[row].head, rows[row].tail, rows[row].error);
    }
}

TEST(an_end_never_reads_its_own_cursor_back) {
    static const uint64_t garbage[] = {0, 1, UINT64_MAX, 4096 + 64, 4096 - 8};
    static struct world world;
    char buffer[SCENE_MAX];
    scene(&world, 4096, SCENE_MESSAGES);
    uint64_t position = world.page[SHMQ_PRODUCER].cursor;
    CHECK_EQUAL(position, world.page[SHMQ_CONSUMER].cursor);
    for (size_t at = 0; at < sizeof garbage / sizeof garbage[0]; at++) {
        check_note("cursor 0x%llx", (unsigned long long)garbage[at]);
        position += SCENE_RECORD;
        world.page[SHMQ_PRODUCER].cursor = garbage[at];
        CHECK(shmq_send(world.end[SHMQ_PRODUCER], "message", 8, 0) == 0);
        CHECK_EQUAL(world.page[SHMQ_PRODUCER].cursor, position);
        world.page[SHMQ_CONSUMER].cursor = garbage[at];
        CHECK_EQUAL(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), 8);
        CHECK(strcmp(buffer, "message") == 0);
        CHECK_EQUAL(world.page[SHMQ_CONSUMER].cursor, position);
    }
    world_free(&world);
}

/* ---- Disbelief: records -------------------------------------------------------------------- */

enum { RECORD_CAPACITY = 128, RECORD_MAX = 40 };

/* A consumer that has nothing yet stands before one record or two. */
static void record_scene(struct world *world, uint64_t start, size_t first, size_t second) {
    world_new(world, RECORD_CAPACITY, RECORD_MAX, start, SHMQ_NOTIFY_SEM);
    CHECK(shmq_send(world->end[SHMQ_PRODUCER], pool, first, 0) == 0);
    if (second > 0) CHECK(shmq_send(world->end[SHMQ_PRODUCER], pool, second, 0) == 0);
}

/* A record's first word in two halves, to write what no producer would. */
struct record {
    uint32_t length, tag;
};

static struct record *record_at(struct world *world, uint64_t position) {
    return (struct record *)(void *)(world->arena.bytes + (position & (RECORD_CAPACITY - 1)));
}

static uint32_t tag_of(uint64_t position) { return (uint32_t)(position / 8) ^ SALT; }

/* The first record's header is overwritten; every way to read it must refuse it. */
static void check_record(uint64_t start, size_t first, size_t second, uint32_t length, uint32_t tag) {
    static probe *const probes[] = {probe_recv, probe_peek, probe_recv_waiting};
    static struct world world;
    check_note("start 0x%llx, length %u, tag 0x%x", (unsigned long long)start, length, tag);
    for (size_t ask = 0; ask < sizeof probes / sizeof probes[0]; ask++) {
        record_scene(&world, start, first, second);
        struct record *record = record_at(&world, start);
        const struct record truth = *record;
        CHECK_EQUAL(truth.length, first);
        CHECK_EQUAL(truth.tag, tag_of(start));
        *record = (struct record){length, tag};
        CHECK_FAILS(probes[ask](world.end[SHMQ_CONSUMER]), EBADMSG);
        CHECK_EQUAL(world.page[SHMQ_CONSUMER].messages, 0);
        *record = truth;
        check_aftermath(&world, SHMQ_CONSUMER, start, world.page[SHMQ_PRODUCER].cursor);
        world_free(&world);
    }
}

TEST(a_record_longer_than_max_message_is_refused) {
    for (size_t at = 0; at < STARTS_COUNT; at++) /* 96 bytes are published */
        for (uint32_t length = RECORD_MAX + 1; length <= 88; length++)
            check_record(STARTS[at], RECORD_MAX, RECORD_MAX, length, tag_of(STARTS[at]));
}

TEST(a_record_longer_than_what_is_published_is_refused) {
    for (size_t at = 0; at < STARTS_COUNT; at++) /* 16 bytes are published */
        for (uint32_t length = 9; length <= RECORD_MAX; length++)
            check_record(STARTS[at], 8, 0, length, tag_of(STARTS[at]));
}

TEST(a_record_of_extreme_length_is_refused) {
    static const uint32_t lengths[] = {UINT32_MAX,  UINT32_MAX - 1, UINT32_MAX - 7, UINT32_MAX - 8,
                                       0x80000000u, 0x7fffffffu,    0x10000u,       RECORD_CAPACITY};
    for (size_t at = 0; at < STARTS_COUNT; at++)
        for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++)
            check_record(STARTS[at], 8, 0, lengths[row], tag_of(STARTS[at]));
}

TEST(a_record_with_any_bit_of_its_tag_wrong_is_refused) {
    for (size_t at = 0; at < STARTS_COUNT; at++)
        for (unsigned bit = 0; bit < 32; bit++)
            check_record(STARTS[at], 8, 8, 8, tag_of(STARTS[at]) ^ ((uint32_t)1 << bit));
}

TEST(a_record_of_another_lap_or_place_or_queue_is_refused) {
    for (size_t at = 0; at < STARTS_COUNT; at++) {
        const uint64_t start = STARTS[at];
        check_record(start, 8, 8, 8, tag_of(start - RECORD_CAPACITY));
        check_record(start, 8, 8, 8, tag_of(start + RECORD_CAPACITY));
        check_record(start, 8, 8, 8, tag_of(start + RECORD_ALIGN));
        check_record(start, 8, 8, 8, tag_of(start) ^ SALT);
        check_record(start, 8, 8, 8, tag_of(start) ^ SALT ^ (SALT + 1));
    }
}

TEST(a_record_of_zeroes_or_ones_is_refused_everywhere) {
    for (uint64_t start = 0; start < 2 * (uint64_t)RECORD_CAPACITY; start += RECORD_ALIGN) {
        check_record(start, 8, 8, 0, 0);
        check_record(start, 0, 0, 0, 0);
        check_record(start, 8, 8, UINT32_MAX, UINT32_MAX);
    }
}

TEST(a_stale_record_of_the_lap_before_is_refused) {
    char buffer[RECORD_MAX];
    static struct world world;
    world_new(&world, RECORD_CAPACITY, RECORD_MAX, 0, SHMQ_NOTIFY_SEM);
    for (int message = 0; message < RECORD_CAPACITY / SCENE_RECORD; message++) {
        CHECK(shmq_send(world.end[SHMQ_PRODUCER], "message", 8, 0) == 0);
        CHECK_EQUAL(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), 8);
    }
    world.page[SHMQ_PRODUCER].cursor += SCENE_RECORD; /* as if one more had been written */
    CHECK_FAILS(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), EBADMSG);
    check_aftermath(&world, SHMQ_CONSUMER, RECORD_CAPACITY, RECORD_CAPACITY);
    world_free(&world);
}

TEST(what_was_sound_before_the_lie_is_delivered) {
    char buffer[RECORD_MAX];
    static struct world world;
    fill_pool();
    record_scene(&world, 0, 8, 16);
    record_at(&world, SCENE_RECORD)->tag ^= 1;
    CHECK_EQUAL(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), 8);
    CHECK(memcmp(buffer, pool, 8) == 0);
    CHECK_FAILS(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), EBADMSG);
    CHECK_EQUAL(world.page[SHMQ_CONSUMER].messages, 1);
    check_aftermath(&world, SHMQ_CONSUMER, SCENE_RECORD, world.page[SHMQ_PRODUCER].cursor);
    world_free(&world);
}

/* A header that is read twice could be sound at the first look and not at the second. */
TEST(a_header_that_changes_after_peek_changes_nothing) {
    char buffer[RECORD_MAX];
    static struct world world;
    size_t length = 0;
    fill_pool();
    record_scene(&world, 0, 8, 16);
    CHECK(shmq_peek(world.end[SHMQ_CONSUMER], NULL, 0) != NULL);
    *record_at(&world, 0) = (struct record){UINT32_MAX, 0};
    CHECK(shmq_peek(world.end[SHMQ_CONSUMER], &length, 0) != NULL);
    CHECK_EQUAL(length, 8);
    CHECK_EQUAL(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), 8);
    CHECK_EQUAL(shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0), 16);
    CHECK(memcmp(buffer, pool, 16) == 0);
    world_free(&world);
}

/* What the error table says of every function, so of these two as well. */
TEST(fd_and_arm_of_a_poisoned_handle_answer_ebadmsg) {
    static struct world world;
    scene(&world, 0, SCENE_MESSAGES);
    world.page[SHMQ_PRODUCER].cursor = 4;
    CHECK_FAILS(probe_stat(world.end[SHMQ_CONSUMER]), EBADMSG);
    CHECK_FAILS(shmq_fd(world.end[SHMQ_CONSUMER]), EBADMSG);
    CHECK_FAILS(shmq_arm(world.end[SHMQ_CONSUMER]), EBADMSG);
    world_free(&world);
}

/* ---- Words that nobody needs to believe ---------------------------------------------------- */

/* All that an end writes, but for its cursor and its life. */
static void scribble(struct world *world, enum shmq_end end) {
    struct end_page *page = &world->page[end];
    page->ticket = any_garbage();
    page->want = any_garbage();
    page->end_seen[0] = any_garbage();
    page->bell = any_garbage();
    page->messages = any_garbage();
    page->sleeps = any_garbage();
    page->rings = any_garbage();
    world->meeting.items = any_garbage();
    world->meeting.space = any_garbage();
}

TEST(garbage_in_the_doorbells_harms_no_message) {
    static const unsigned notifiers[] = {SHMQ_NOTIFY_SEM, SHMQ_NOTIFY_SPIN};
    static struct model model;
    static struct world world;
    fill_pool();
    for (uint64_t round = 0; round < (check_tool() <= CHECK_ASAN ? 24 : 12); round++) { /* each capacity, with both */
        new_round(&model, START_ANYWHERE, round);
        world_new(&world, model.capacity, model.max_message, model.head, notifiers[round % 2]);
        for (int turn = 0; turn < ROUND; turn++) {
            scribble(&world, SHMQ_CONSUMER);
            do_send(&world, &model);
            scribble(&world, SHMQ_PRODUCER);
            do_recv(&world, &model);
        }
        world_free(&world);
    }
}

TEST(garbage_in_the_doorbells_costs_no_time_out) {
    static const unsigned notifiers[] = {SHMQ_NOTIFY_SEM, SHMQ_NOTIFY_SPIN};
    enum { WAIT_MS = 20, WAITS = 3 };
    static struct world world;
    unsigned char message[SCENE_MAX] = "";
    for (int round = 0; round < 2 * check_scaled(10); round++) {
        world_new(&world, SCENE_CAPACITY, SCENE_MAX, 0, notifiers[round % 2]);
        shmq *producer = world.end[SHMQ_PRODUCER], *consumer = world.end[SHMQ_CONSUMER];
        scribble(&world, SHMQ_PRODUCER);
        scribble(&world, SHMQ_CONSUMER);
        const int64_t start = check_now_ms();
        CHECK_FAILS(shmq_recv(consumer, message, sizeof message, WAIT_MS), ETIMEDOUT);
        CHECK(shmq_send(producer, message, sizeof message, WAIT_MS) == 0);
        CHECK_FAILS(shmq_send(producer, message, sizeof message, WAIT_MS), ETIMEDOUT);
        CHECK_FAILS(shmq_drain(producer, WAIT_MS), ETIMEDOUT);
        const int64_t took = check_now_ms() - start;
        CHECK(took >= WAITS * WAIT_MS - 1);
        CHECK(took < check_late(10 * WAITS * WAIT_MS));
        world_free(&world);
    }
}

/* Any byte that the producer side writes, changed at random under a consumer: it gets messages
 * of possible lengths, or EBADMSG for good; it reads nothing outside the ring (the sanitizers
 * look) and comes to an end. */
TEST(a_consumer_survives_anything_that_a_producer_can_write) {
    static struct world world;
    unsigned char buffer[RECORD_MAX];
    int refused = 0, taken = 0;
    fill_pool();
    for (int round = 0; round < check_scaled(20000); round++) {
        bool poisoned = false;
        record_scene(&world, check_random() & ~(uint64_t)7, check_below(RECORD_MAX + 1), 24);
        for (int turn = 0; turn < 8; turn++) {
            uint64_t garbage = any_garbage();
            if (check_below(4) == 0)
                world.page[SHMQ_PRODUCER].cursor += garbage >> 8 * check_below(8);
            else
                memcpy(world.arena.bytes + check_below(2 * RECORD_CAPACITY - 8), &garbage, check_below(9));
            ssize_t length = shmq_recv(world.end[SHMQ_CONSUMER], buffer, sizeof buffer, 0);
            if (length < 0 && errno == EBADMSG) poisoned = true;
            CHECK(length <= RECORD_MAX);
            CHECK(length < 0 || !poisoned);
            taken += length >= 0;
        }
        refused += poisoned;
        world_free(&world);
    }
    CHECK(refused > check_scaled(1000) && taken > check_scaled(1000));
}

/* ---- The ABI on disk ----------------------------------------------------------------------- */

static void check_words(int fd, const uint64_t (*words)[3], size_t count) {
    for (size_t row = 0; row < count; row++) {
        uint64_t word = 0;
        check_note("offset 0x%llx", (unsigned long long)words[row][0]);
        CHECK(pread(fd, &word, words[row][1], (off_t)words[row][0]) == (ssize_t)words[row][1]);
        CHECK_EQUAL(word, words[row][2]);
    }
}

/* The numbers here are the ABI's, written out: a program in another language could go by them. */
TEST(an_object_has_its_words_where_the_abi_says) {
    const struct shmq_attr attr = {.capacity = 8192, .max_message = 100};
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t capacity = page > 8192 ? page : 8192;
    char buffer[100];
    uint32_t salt = 0;
    shmq *producer, *consumer;
    CHECK(shmq_open(&producer, "./q", SHMQ_PRODUCER, O_CREAT | O_EXCL, &attr) == 0);
    CHECK(shmq_open(&consumer, "./q", SHMQ_CONSUMER, 0, &attr) == 0);
    CHECK(shmq_send(producer, "hello", 5, 0) == 0);
    CHECK(shmq_send(producer, "", 0, 0) == 0);
    CHECK_EQUAL(shmq_recv(consumer, buffer, sizeof buffer, 0), 5);
    CHECK(shmq_close(consumer) == 0);
    int fd = open("./q", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQUAL(lseek(fd, 0, SEEK_END), 4 * page + capacity);
    CHECK(pread(fd, &salt, sizeof salt, 0x28) == sizeof salt);
    CHECK(salt != 0);
    const uint64_t words[][3] = {
        /* offset, bytes, value */
        {0x00, 8, 0x000a716d68735f89},   /* magic */
        {0x08, 4, 3},                    /* version */
        {0x0c, 4, page},                 /* page size */
        {0x10, 8, 4 * page + capacity},  /* object size */
        {0x18, 8, capacity},             /* ring */
        {0x20, 8, 100},                  /* max_message */
        {0x30, 4, 0},                    /* notify */
        {0x34, 4, 0},                    /* flags */
        {page, 8, 24},                   /* tail */
        {page + 0x280, 8, 1},            /* producer's life: open */
        {page + 0x200, 8, 2},            /* sent */
        {2 * page, 8, 16},               /* head */
        {2 * page + 0x280, 8, 2},        /* consumer's life: closed */
        {2 * page + 0x200, 8, 1},        /* received */
        {4 * page, 4, 5},                /* the first record's length */
        {4 * page + 4, 4, salt},         /* … and tag */
        {4 * page + 8, 5, 0x6f6c6c6568}, /* … and payload */
        {4 * page + 16, 4, 0},           /* the second record's length */
        {4 * page + 20, 4, 2 ^ salt},    /* … and tag */
    };
    check_words(fd, words, sizeof words / sizeof words[0]);
    CHECK(close(fd) == 0);
    CHECK(shmq_close(producer) == 0);
    CHECK(shmq_unlink("./q") == 0);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
