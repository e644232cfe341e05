/* Who attaches believes nothing of what stands under the name: whatever object of whatever length it is, shmq_open
 * fails with an errno of shmq.h and takes nothing, or gives an end of a queue whose sizes are those of the object, and
 * whose calls touch nothing outside it.
 *
 *     1 byte   bit 0 our end; bit 1 what follows is a sound header, and patches to it; else the object's own bytes;
 *              bit 2 the end that attaches has mode 0666; bits 3-4 it is 0, 1 ours, 2 a stranger's, 3 one that may not
 *              be read; bits 5-7 its type, see TYPES
 *     patches: 1 byte the notifier, 1 byte flags, 1 byte capacity, 4096 << (it % 5); 1 byte how many; of each
 *              1 byte: below 16 that 32-bit word of the header, else words of the pages: see place_of; number
 *     number   how much longer the object is than it should be, or else how long
 *     then up to 16 operations: 1 byte what, and a number as length
 *
 * It stays below a tenth of the speed of an empty target because each input sets up pages and clears them: 40 KiB. */
#include "support.h"

#include <fcntl.h>
#include <string.h>

enum {
    PAGE = 4096,
    GIVEN = PAGE_RING * PAGE + 2048,
    LARGEST = PAGE_RING * PAGE + (PAGE << 4),
    MAX_OPERATIONS = 16,
    SLEEPS = 8
};
static const mode_t TYPES[8] = {S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFREG, S_IFLNK, S_IFIFO, S_IFDIR};

static struct bytes input;
static jmp_buf killed;
static union {
    struct header header;
    unsigned char bytes[GIVEN]; /* the rest is zero */
} object __attribute__((aligned(4096)));

static void sound_header(void) {
    const unsigned notify = take_byte(&input) % 7;
    const unsigned flags = take_byte(&input) & 15;
    const uint64_t capacity = (uint64_t)PAGE << take_byte(&input) % 5;
    const struct notifier *notifier = notifier_of(notify);
    object.header = (struct header){
        .magic = SHMQ_MAGIC,
        .abi = SHMQ_ABI,
        .page_size = PAGE,
        .object_size = PAGE_RING * PAGE + capacity,
        .capacity = capacity,
        .max_message = capacity / 4,
        .instance = 0x1234567,
        .notify = notify,
        .flags = flags,
        .fingerprint = notify_fingerprint(notifier->keeps),
    };
}

static unsigned char *place_of(uint8_t where) {
    static const uint16_t offsets[] = {0x000, 0x080, 0x088, 0x100, 0x180, 0x200, 0x280, 0x288, 0x480};
    enum { WORDS = sizeof offsets / sizeof offsets[0] };
    if (where < 16) return object.bytes + 4 * where;
    where -= 16;
    if (where < WORDS) return object.bytes + PAGE_PRODUCER * PAGE + offsets[where];
    where -= WORDS;
    if (where < WORDS) return object.bytes + PAGE_CONSUMER * PAGE + offsets[where];
    where -= WORDS;
    if (where < 32) return object.bytes + PAGE_MEETING * PAGE + 8 * where;
    return object.bytes + PAGE_RING * PAGE + 8 * (where - 32);
}

/* Returns how many bytes of it matter. */
static size_t patched(void) {
    sound_header();
    for (unsigned count = take_byte(&input) % 16; count > 0; count--) {
        const uint8_t where = take_byte(&input);
        const uint64_t number = take_number(&input);
        memcpy(place_of(where), &number, where < 16 ? sizeof(uint32_t) : sizeof number);
    }
    return GIVEN;
}

/* As the header promises to be read: by other words than region.c's. */
static void check_accepted(const shmq *q, size_t size) {
    const struct header *header = &q->region.header;
    fuzz_assert(memcmp(header, &object.header, sizeof *header) == 0, "the header is the object's");
    fuzz_assert(header->magic == SHMQ_MAGIC && header->abi == SHMQ_ABI, "a queue of this ABI is accepted");
    fuzz_assert(size == 4 * PAGE + header->capacity && header->object_size == size,
                "a queue of its own size is accepted");
    fuzz_assert(header->max_message >= 1 && header->max_message + q->ring.before <= header->capacity,
                "a queue in which the longest message fits is accepted");
    fuzz_assert(header->flags < 16 && header->notify < 7, "flags and notifiers that there are, are accepted");
}

static void act(shmq *q, uint8_t what, size_t length) {
    static unsigned char buffer[LARGEST];
    struct shmq_stat stat;
    const void *shown;
    unsigned char *room;
    switch (what % 8) {
    case 0: fuzz_check_errno(shmq_send(q, buffer, length < LARGEST ? length : LARGEST, 0), "send"); break;
    case 1: fuzz_check_errno((int)shmq_recv(q, buffer, sizeof buffer, 0), "recv"); break;
    case 2:
        room = shmq_reserve(q, length, 0);
        if (room != NULL) memset(room, 1, length);
        fuzz_check_errno(shmq_commit(q, length), "commit");
        break;
    case 3:
        shown = shmq_peek(q, &length, 0);
        if (shown != NULL) memcpy(buffer, shown, length);
        break;
    case 4: fuzz_check_errno(shmq_release(q), "release"); break;
    case 5: fuzz_check_errno(shmq_drain(q, 0), "drain"); break;
    case 6: fuzz_check_errno(shmq_stat(q, &stat), "stat"); break;
    default: fuzz_check_errno(shmq_arm(q), "arm"); break;
    }
    (*fuzz_operations)++;
}

static void use(shmq *q) {
    for (int count = 0; count < MAX_OPERATIONS && input.left > 0; count++) {
        const uint8_t what = take_byte(&input);
        act(q, what, (size_t)take_number(&input));
    }
    fuzz_check_errno(shmq_close(q), "close");
}

static void attach(uint8_t kind, size_t size) {
    shmq *q;
    const struct shmq_attr attr = {.mode = (kind & 4) != 0 ? 0666 : 0};
    const unsigned names = kernel_names();
    kernel_begin(1, kind & 1);
    kernel.sleeps_allowed = SLEEPS;
    kernel.killed = &killed;
    const int result = shmq_open(&q, "/q", (enum shmq_end)(kind & 1), 0, &attr);
    fuzz_check_errno(result, "open");
    (*fuzz_operations)++;
    if (result != 0 && errno != EBADMSG && errno != ENOTSUP)
        fuzz_assert(kernel_names() == names, "nothing is created by who could not attach");
    if (result != 0) return;
    check_accepted(q, size);
    use(q);
}

/* Whoever it is that unlinks it: only what looks like a queue goes. */
static void unlink_it(bool is_marked) {
    kernel_begin(1, 0);
    const int result = shmq_unlink("/q");
    fuzz_check_errno(result, "unlink");
    if (result == 0) fuzz_assert(is_marked, "what is no queue is not touched");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    fuzz_begin();
    const uint8_t kind = take_byte(&input);
    const bool sound = (kind & 2) != 0;
    const mode_t rights = (kind & 0x18) == 0x18 ? 0 : 0600;
    memset(object.bytes, 0, sizeof object.header);
    size_t given = sound ? patched() : 0;
    const uint64_t number = take_number(&input), whole = sound ? object.header.object_size : 0;
    const size_t bytes = (size_t)(whole + number) % (2 * LARGEST);
    if (!sound) {
        given = input.left < GIVEN ? input.left : GIVEN;
        memcpy(object.bytes, input.at, given);
    }
    kernel_put("q", TYPES[kind >> 5] | rights, (kind & 0x18) == 0x10 ? KERNEL_STRANGER : KERNEL_USER, object.bytes,
               given, bytes);
    const bool is_marked = bytes >= sizeof(uint64_t) && object.header.magic == SHMQ_MAGIC;
    if (setjmp(killed) == 0)
        attach(kind, bytes);
    else
        kernel_kill(1);
    fuzz_assert(kernel_held() == 0, "who could not attach, or has closed, holds nothing");
    unlink_it(is_marked);
    if (sound) memset(object.bytes, 0, sizeof object.bytes);
    return 0;
}
