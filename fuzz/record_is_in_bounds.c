/* The record reader believes nothing: whatever lengths, tags, checksums and cursors stand in shared memory, at whatever
 * boundary, it says that the record makes no sense or gives one that lies whole within what is published.
 *
 *     1 byte   capacity: 16 << (it % 9)
 *     1 byte   bit 0 checksums; bits 3 and 4: below
 *     number   max_message less 1 (modulo what fits); numbers as take_number() in support.h reads them
 *     number   salt
 *     number   where the reader stands; with bit 3 so many words of 8 bytes before 2^64, with bit 4 before 2^32
 *     number   what the writer's cursor says beyond that
 *     then for each record: 1 byte how it is made, and what that needs:
 *       0 a number as length, the right tag   1 a word as header   2 a number that is added to the right header
 *       3 a number as checksum                4 the other cursor moves by a number
 *       5 a right record of so many bytes, sealed and published as the producer does
 */
#include "support.h"

#include <string.h>

enum { LARGEST = 4096, MAX_RECORDS = 32 };

struct scene {
    struct ring ring;
    shared_u64 own, peer;
    unsigned char *bytes;
};

/* What a reader may touch: from its cursor on what it believes is published, and nothing else. */
static void read_one(struct scene *scene) {
    size_t length = 0;
    struct ring *ring = &scene->ring;
    const uint64_t available = ring_available(ring);
    fuzz_assert(available <= ring->capacity, "no cursor passes what it may own");
    if (available < RECORD_ALIGN) return;
    const unsigned char *payload = ring_read(ring, &length);
    (*fuzz_operations)++;
    if (payload == NULL) return;
    fuzz_assert(length <= ring->max_message, "a message is never longer than max_message");
    fuzz_assert(ring->before + length <= available, "a message lies within what is published");
    const uint64_t offset = ring->own & (ring->capacity - 1);
    fuzz_assert(payload == scene->bytes + offset + ring->before, "a record begins at its position");
    fuzz_assert(payload + length <= scene->bytes + 2 * ring->capacity, "a message lies within the ring");
    uint64_t header;
    memcpy(&header, scene->bytes + offset, sizeof header);
    const uint32_t tag = (uint32_t)(ring->own >> 3) ^ ring->salt;
    fuzz_assert(header == ((uint64_t)tag << 32 | length), "a record has the tag of its position");
    if (!ring_is_intact(ring, payload, length)) return;
    if (ring_record_bytes(ring, length) <= available) ring_advance(ring, ring_record_bytes(ring, length));
}

/* As the producer does, in what is free. */
static void write_one(struct scene *scene, size_t length) {
    struct ring writer = scene->ring;
    writer.own = scene->peer;
    writer.own_word = &scene->peer;
    if (length > writer.max_message) return;
    if (ring_record_bytes(&writer, length) > writer.capacity - ring_available(&scene->ring)) return;
    memset(ring_payload(&writer), (int)length, length);
    ring_publish(&writer, ring_payload(&writer), length);
    fuzz_assert(ring_look(&scene->ring) == 0, "what a producer publishes makes sense");
}

static void make_record(struct scene *scene, struct bytes *input) {
    const uint8_t how = take_byte(input) % 6;
    const uint64_t number = how == 1 ? take_word(input, 8) : take_number(input);
    uint64_t *at = ring_at(&scene->ring);
    switch (how) {
    case 0: *at = ring_header(&scene->ring, (uint32_t)number); break;
    case 1: *at = number; break;
    case 2: *at = ring_header(&scene->ring, 8) + number; break;
    case 3: at[1] = number; break;
    case 4: scene->peer += number; break;
    default: write_one(scene, (size_t)number); break;
    }
}

static unsigned char memory[2 * LARGEST] __attribute__((aligned(16)));

static void begin(struct scene *scene, struct bytes *input) {
    const uint64_t capacity = (uint64_t)16 << take_byte(input) % 9;
    const uint8_t how = take_byte(input);
    const uint32_t before = (how & 1) != 0 ? RECORD_CHECKED : RECORD_HEADER;
    scene->bytes = memory + sizeof memory - 2 * capacity;
    fuzz_allow(memory, sizeof memory);
    fuzz_forbid(memory, sizeof memory - 2 * capacity);
    memset(scene->bytes, 0, 2 * capacity);
    const uint64_t max_message = capacity == before ? 0 : take_number(input) % (capacity - before) + 1;
    const uint32_t salt = (uint32_t)take_number(input) | 1;
    uint64_t start = take_number(input);
    if ((how & 8) != 0) start = 0 - 8 * start;
    if ((how & 16) != 0) start = ((uint64_t)1 << 32) - 8 * start;
    scene->own = start;
    scene->peer = start + take_number(input);
    scene->ring = (struct ring){.own = start,
                                .peer = start,
                                .bytes = scene->bytes,
                                .capacity = capacity,
                                .max_message = max_message,
                                .salt = salt,
                                .before = before,
                                .own_word = &scene->own,
                                .peer_word = &scene->peer};
}

/* Both ways of looking. -1: it makes no sense, and an end would go no further. */
static int look(struct scene *scene, bool paced) {
    const uint64_t before = scene->ring.peer, says = scene->peer;
    const int result = paced ? ring_look_paced(&scene->ring) : ring_look(&scene->ring);
    if (result == 0) fuzz_assert((int64_t)(scene->ring.peer - before) >= 0, "no cursor moves back");
    if (result == 0) fuzz_assert(scene->ring.peer == says && says % RECORD_ALIGN == 0, "a cursor is a multiple of 8");
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes input = {data, size};
    struct scene scene;
    kernel_begin(0, 0);
    begin(&scene, &input);
    if (ring_catch_up(&scene.ring) != 0) return 0;
    for (int record = 0; record < MAX_RECORDS && input.left > 0; record++) {
        make_record(&scene, &input);
        if (look(&scene, record % 2 != 0) != 0) break;
        read_one(&scene);
    }
    return 0;
}
