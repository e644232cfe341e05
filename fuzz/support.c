/* See support.h. */
#include "support.h"

#include <stdarg.h>
#include <string.h>

#include "fuzz.h"
#include "guard.h"
#include "lease.h"

#ifndef __has_feature
#define __has_feature(feature) 0 /* gcc: it defines a macro for what it has */
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes)   ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

static uint64_t operations; /* unless counts.c shares the count */
uint64_t *fuzz_operations = &operations;

/* ---- Bytes ------------------------------------------------------------------------------------ */

uint64_t take_word(struct bytes *bytes, unsigned width) {
    uint64_t word = 0;
    for (unsigned at = 0; at < width; at++)
        word |= (uint64_t)take_byte(bytes) << 8 * at;
    return word;
}

uint64_t take_number(struct bytes *bytes) {
    static const uint64_t boundaries[31] = {
        255,
        256,
        1023,
        1024,
        4079,
        4080,
        4081,
        4087,
        4088,
        4089,
        4096,
        4104,
        8192,
        65536,
        INT32_MAX,
        (uint64_t)INT32_MAX + 1,
        UINT32_MAX - 7,
        UINT32_MAX - 6,
        UINT32_MAX,
        (uint64_t)UINT32_MAX + 1,
        (uint64_t)UINT32_MAX + 9,
        INT64_MAX - 7,
        INT64_MAX,
        (uint64_t)1 << 63,
        UINT64_MAX - 4095,
        UINT64_MAX - 31,
        UINT64_MAX - 15,
        UINT64_MAX - 7,
        UINT64_MAX - 6,
        UINT64_MAX - 1,
        UINT64_MAX,
    };
    const uint8_t byte = take_byte(bytes);
    if (byte < 0xe0) return byte;
    return byte == 0xff ? take_word(bytes, 8) : boundaries[byte - 0xe0];
}

struct bytes take_part(struct bytes *bytes, size_t count) {
    const struct bytes part = {bytes->at, count < bytes->left ? count : bytes->left};
    bytes->at += part.left;
    bytes->left -= part.left;
    return part;
}

/* ---- Promises --------------------------------------------------------------------------------- */

void fuzz_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)fputs("BROKEN: ", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputs("\n", stderr);
    va_end(arguments);
    abort();
}

bool fuzz_is_documented(int error) {
    static const int documented[] = {EAGAIN,       ETIMEDOUT, EINTR,  EPIPE,  EOWNERDEAD, EMSGSIZE, EBADMSG, EBUSY,
                                     EPROTO,       ENOTSUP,   EEXIST, ENOENT, EACCES,     ELOOP,    ENOSPC,  EIO,
                                     ENAMETOOLONG, EPERM,     EMFILE, ENFILE, ENOMEM,     EINVAL};
    for (size_t at = 0; at < sizeof documented / sizeof documented[0]; at++)
        if (documented[at] == error) return true;
    return false;
}

void fuzz_check_errno(int result, const char *function) {
    if (result < 0 && !fuzz_is_documented(errno)) fuzz_fail("%s: errno %d is not in shmq.h", function, errno);
}

/* ---- Handles ---------------------------------------------------------------------------------- */

enum { HANDLES = 32 };
static shmq *handles[HANDLES];
static unsigned handles_count;

void fuzz_note_handle(void *handle) {
    if (handles_count == HANDLES) fuzz_fail("there are more handles than ends: closed ones are not used again");
    handles[handles_count++] = handle;
}

void fuzz_forget(shmq *q) {
    q->region.object = q->region.directory = -1;
    q->open = false;
}

void fuzz_forget_others(shmq *const known[], unsigned count) {
    for (unsigned at = 0; at < handles_count; at++) {
        bool is_known = false;
        for (unsigned one = 0; one < count; one++)
            is_known |= known[one] == handles[at];
        if (handles[at]->open && !is_known) fuzz_forget(handles[at]);
    }
}

/* So that each input finds as many as any other. */
static void make_handles(void) {
    guard_lock();
    for (int at = 0; at < HANDLES - 1; at++)
        if (guard_new() == NULL) fuzz_fail("no memory for handles");
    guard_unlock();
}

uint64_t fuzz_outcome(void) { return kernel_take_trace(); }

void fuzz_begin(void) {
    errno = 0;
    kernel_reset();
    if (handles_count == 0) {
        make_handles();
        kernel_reset(); /* what is asked only once is no part of the first input */
    }
    fuzz_forget_others(NULL, 0);
}

void fuzz_forbid(const void *at, size_t bytes) { ASAN_POISON_MEMORY_REGION(at, bytes); }
void fuzz_allow(const void *at, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(at, bytes); }

/* ---- The stage -------------------------------------------------------------------------------- */

enum { PAGE = 4096, RING_BYTES = 2 * STAGE_LARGEST };

static struct {
    unsigned char *ring_end; /* what lies here, nobody may touch */
    unsigned char *pages;
} ground;

static void lay_ground(void) {
    const size_t bytes = (PAGE_RING + 1) * (size_t)PAGE + RING_BYTES + PAGE;
    unsigned char *at = (mmap)(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at + PAGE, (PAGE_RING - 1) * (size_t)PAGE, PROT_READ | PROT_WRITE) != 0 ||
        mprotect(at + (PAGE_RING + 1) * (size_t)PAGE, RING_BYTES, PROT_READ | PROT_WRITE) != 0)
        fuzz_fail("the machine gives no memory for a stage");
    ground.pages = at;
    ground.ring_end = at + bytes - PAGE;
}

void stage_set(struct stage *stage, size_t capacity, size_t max_message, unsigned notify, unsigned flags,
               uint64_t start) {
    if (ground.pages == NULL) lay_ground();
    memset(ground.pages + PAGE, 0, (PAGE_RING - 1) * (size_t)PAGE);
    fuzz_allow(ground.ring_end - RING_BYTES, RING_BYTES);
    memset(ground.ring_end - 2 * capacity, 0, 2 * capacity);
    fuzz_forbid(ground.ring_end - RING_BYTES, RING_BYTES - 2 * capacity);
    stage->region = (struct region){
        .header = {.capacity = capacity, .notify = notify, .flags = flags, .instance = 0x0123456789abcdef},
        .end = {(void *)(ground.pages + PAGE_PRODUCER * PAGE), (void *)(ground.pages + PAGE_CONSUMER * PAGE)},
        .meeting = (void *)(ground.pages + PAGE_MEETING * PAGE),
        .ring = ground.ring_end - 2 * capacity,
    };
    const size_t most = capacity - region_record_header(&stage->region.header);
    stage->region.header.max_message = max_message == 0 || max_message > most ? most : max_message;
    for (int end = 0; end <= 1; end++) {
        stage->page[end] = stage->region.end[end];
        stage->page[end]->cursor = start;
    }
    const struct notifier *notifier = notifier_of(notify);
    if (notifier->format != NULL) (void)notifier->format(stage->region.meeting);
    stage->object = kernel_new_object();
}

static int take_slot(struct region *region) {
    for (region->slot = 0; region->slot < region_slots(&region->header, region->role); region->slot++)
        if (lease_take(region->object, region_own_lease(region), F_WRLCK) == 0) return 0;
    return -1;
}

shmq *stage_open(struct stage *stage, enum shmq_end end) {
    guard_lock();
    shmq *q = guard_new();
    guard_unlock();
    q->region = stage->region;
    q->region.role = end;
    q->region.object = kernel_open_again(stage->object);
    q->region.directory = kernel_open_directory();
    if (take_slot(&q->region) == 0) {
        if (shmq_begin(q) == 0 && q->fault == 0) return q;
        bells_close(&q->bells);
    }
    region_close(&q->region);
    guard_lock();
    guard_free(q);
    guard_unlock();
    return NULL;
}

void stage_allow_all(const struct stage *stage) { fuzz_allow(stage->region.ring, 2 * stage->region.header.capacity); }

void stage_allow(const struct stage *stage, uint64_t from, uint64_t used) {
    const uint64_t capacity = stage->region.header.capacity, start = from & (capacity - 1);
    fuzz_forbid(stage->region.ring, 2 * capacity);
    fuzz_allow(stage->region.ring + start, used);
    if (start + used > capacity) fuzz_allow(stage->region.ring, start + used - capacity);
}

#ifdef __clang__
#pragma clang attribute pop
#endif
