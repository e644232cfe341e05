/* See kernel_inside.h. Here: objects, their memory, and who maps it. */
#include "kernel_inside.h"

#include <string.h>

#include "shared.h"
#include "support.h"

#ifdef __clang__ /* a fuzzer is to look for ways through the core, not through this file */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum { STORES = 96, INODES = 64 };

/* ---- Objects and their memory ----------------------------------------------------------------- */

static struct store stores[STORES];
struct inode inodes[INODES];
int inodes_used; /* of this input, no more */
uint64_t next_number;
struct inode *recent; /* what was last asked about by descriptor: what is mapped next */
bool any_truncated;

static size_t views_bytes(size_t capacity) { return PAGE_RING * (size_t)PAGE + 2 * capacity; }

static void map_real(void *at, size_t bytes, int protection, int memory, size_t offset) {
    void *got = (mmap)(at, bytes, protection, MAP_SHARED | MAP_FIXED, memory, (off_t)offset);
    if (got == MAP_FAILED) fuzz_fail("the machine gives no memory for this kernel's objects");
}

/* What an end sees, as region.c lays it out. */
static void view_map(const struct store *store, struct view *view, int end) {
    const size_t ring = PAGE_RING * (size_t)PAGE, bytes = views_bytes(store->capacity);
    const int own = end == SHMQ_PRODUCER ? PAGE_PRODUCER : PAGE_CONSUMER;
    const int both = PROT_READ | PROT_WRITE, ring_protection = end == SHMQ_PRODUCER ? both : PROT_READ;
    unsigned char *base = (mmap)(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) fuzz_fail("the machine gives no addresses for this kernel's mappings");
    view->base = base += PAGE;
    view->spoiled = false;
    for (int page = PAGE_PRODUCER; page <= PAGE_CONSUMER; page++)
        map_real(base + page * PAGE, PAGE, page == own ? both : PROT_READ, store->memory, (size_t)page * PAGE);
    map_real(base + PAGE_MEETING * PAGE, PAGE, both, store->memory, (size_t)PAGE_MEETING * PAGE);
    map_real(base + ring, store->capacity, ring_protection, store->memory, ring);
    map_real(base + ring + store->capacity, store->capacity, ring_protection, store->memory, ring);
}

/* Zeros again, all of it, and not before it is needed: whoever wrote there by mistake meanwhile is not heard of. */
static void clear(const struct store *store, size_t bytes) {
    enum { MUCH = 128 << 10 }; /* of which most was never touched: the real kernel knows what was */
    if (bytes < MUCH)
        memset(store->flat, 0, bytes);
    else if ((fallocate)(store->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) != 0)
        fuzz_fail("fallocate: %m");
}

static struct store *store_new(size_t size) {
    size_t capacity = PAGE;
    struct store *store = stores;
    while (PAGE_RING * (size_t)PAGE + capacity < size)
        capacity *= 2;
    while (store < stores + STORES && store->capacity != 0 && (store->used || store->capacity != capacity))
        store++;
    if (store == stores + STORES) fuzz_fail("this kernel has no room for so many objects");
    const size_t bytes = PAGE_RING * (size_t)PAGE + capacity;
    if (store->capacity == 0) {
        store->capacity = capacity;
        store->memory = memfd_create("fuzz", MFD_CLOEXEC);
        if (store->memory < 0 || ftruncate(store->memory, (off_t)bytes) != 0) fuzz_fail("memfd_create: %m");
        store->flat = (mmap)(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, store->memory, 0);
        if (store->flat == MAP_FAILED) fuzz_fail("mmap: %m");
    } else {
        clear(store, bytes);
    }
    store->used = true;
    return store;
}

struct inode *inode_new(mode_t mode) {
    for (struct inode *inode = inodes; inode < inodes + INODES; inode++) {
        if (inode->mode != 0) continue;
        memset(inode, 0, sizeof *inode);
        if (inode - inodes >= inodes_used) inodes_used = (int)(inode - inodes) + 1;
        inode->mode = mode;
        inode->user = KERNEL_USER;
        inode->number = ++next_number;
        return inode;
    }
    fuzz_fail("this kernel has no room for so many files");
}

static bool has_views(const struct inode *inode) {
    for (int at = 0; inode->store != NULL && at < 2 * VIEWS; at++)
        if (inode->store->view[at / VIEWS][at % VIEWS].taken) return true;
    return false;
}

/* Nobody has it any more: it goes. */
void inode_put(struct inode *inode) {
    if (inode->links > 0 || inode->opens > 0 || has_views(inode)) return;
    if (inode->store != NULL) inode->store->used = false;
    if (recent == inode) recent = NULL;
    inode->store = NULL;
    inode->mode = 0;
}

unsigned char *inode_bytes(struct inode *inode) {
    if (inode->size <= SMALL && inode->store == NULL) return inode->small;
    if (inode->store == NULL) inode->store = store_new(inode->size);
    return inode->store->flat;
}

/* ---- Mappings --------------------------------------------------------------------------------- */

static struct view *view_at(const void *at, struct inode **of) {
    for (struct inode *inode = inodes; inode < inodes + inodes_used; inode++) {
        for (int index = 0; inode->mode != 0 && inode->store != NULL && index < 2 * VIEWS; index++) {
            struct view *view = &inode->store->view[index / VIEWS][index % VIEWS];
            const uintptr_t offset = (uintptr_t)at - (uintptr_t)view->base;
            if (!view->taken || offset >= views_bytes(inode->store->capacity)) continue;
            *of = inode;
            return view;
        }
    }
    return NULL;
}

/* The whole place of an end in the object that it was last busy with. */
static void *take_view(size_t bytes) {
    if (recent == NULL || recent->size <= SMALL) return errno = ENOMEM, MAP_FAILED;
    (void)inode_bytes(recent);
    struct store *store = recent->store;
    if (bytes != views_bytes(store->capacity)) return errno = ENOMEM, MAP_FAILED;
    for (int index = 0; index < VIEWS; index++) {
        struct view *view = &store->view[kernel.end][index];
        if (view->taken) continue;
        if (view->base == NULL) view_map(store, view, kernel.end);
        *view = (struct view){.base = view->base, .taken = true, .actor = kernel.actor, .fd = -1};
        return view->base;
    }
    errno = ENOMEM;
    return MAP_FAILED;
}

/* A part of it, which is there already: it has to be asked for as it should be. */
static void *map_part(unsigned char *at, size_t bytes, int protection, int fd, size_t offset) {
    struct inode *inode = NULL;
    struct view *view = view_at(at, &inode);
    if (view == NULL || inode != inode_of(fd)) fuzz_fail("a mapping is put where no place was taken for it");
    const size_t ring = PAGE_RING * (size_t)PAGE, place = (size_t)(at - view->base);
    const size_t second = place >= ring + inode->store->capacity ? inode->store->capacity : 0;
    if (place - second != offset || offset + bytes > inode->size) fuzz_fail("a page of the object is mapped elsewhere");
    const size_t peer = (size_t)PAGE * (kernel.end == SHMQ_PRODUCER ? PAGE_CONSUMER : PAGE_PRODUCER);
    const bool peers = offset == peer && bytes == PAGE;
    if ((protection & PROT_WRITE) != 0 && (peers || (offset >= ring && kernel.end == SHMQ_CONSUMER)))
        fuzz_fail("an end may write what is the other end's");
    if (view->fd < 0) fds[view->fd = fd - FIRST_FD].views++;
    return at;
}

void *kernel_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    struct inode *inode = NULL;
    if (fails(ENOMEM)) return MAP_FAILED;
    if (at == NULL) return take_view(bytes);
    if (fd >= 0) return map_part(at, bytes, protection, fd, (size_t)offset);
    struct view *view = view_at(at, &inode);
    if (view == NULL || at != view->base || bytes != views_bytes(inode->store->capacity))
        fuzz_fail("what is not the queue's is covered by zeros");
    view->spoiled = true;
    return (mmap)(at, bytes, protection, flags, -1, 0);
}

static void view_put(struct view *view, struct inode *inode) {
    view->taken = false;
    if (view->spoiled) {
        (void)(munmap)(view->base - PAGE, views_bytes(inode->store->capacity) + 2 * PAGE);
        view->base = NULL;
    }
    if (view->fd >= 0) {
        fds[view->fd].views--;
        description_put(&fds[view->fd]);
    }
    inode_put(inode);
}

void drop_views(int actor) {
    for (struct inode *inode = inodes; inode < inodes + inodes_used; inode++) {
        struct store *store = inode->mode == 0 ? NULL : inode->store;
        for (int at = 0; store != NULL && at < 2 * VIEWS; at++) {
            struct view *view = &store->view[at / VIEWS][at % VIEWS];
            if (view->taken && is_of(view->actor, actor)) view_put(view, inode);
        }
    }
}

int kernel_munmap(void *at, size_t bytes) {
    struct inode *inode = NULL;
    struct view *view = view_at(at, &inode);
    step();
    if (view == NULL || at != view->base || bytes != views_bytes(inode->store->capacity))
        fuzz_fail("what is not mapped is unmapped");
    view_put(view, inode);
    return 0;
}

int kernel_madvise(void *at, size_t bytes, int advice) {
    (void)at, (void)bytes, (void)advice;
    return fails(ENOMEM) ? -1 : 0;
}

void *kernel_aligned_alloc(size_t alignment, size_t bytes) {
    if (fails(ENOMEM)) return NULL;
    void *memory = (aligned_alloc)(alignment, bytes);
    if (memory != NULL) fuzz_note_handle(memory);
    return memory;
}

/* ---- SIGBUS, and each access ------------------------------------------------------------------ */

struct sigaction on_bus;

/* Somebody is about to touch these bytes: are they still there? */
static void fault(const unsigned char *address, size_t bytes) {
    struct inode *inode = NULL;
    struct view *view = view_at(address, &inode);
    if (view == NULL || view->spoiled || !inode->truncated) return;
    size_t offset = (size_t)(address - view->base);
    if (offset >= PAGE_RING * (size_t)PAGE + inode->store->capacity) offset -= inode->store->capacity;
    if (offset + bytes <= (inode->size + PAGE - 1) / PAGE * PAGE) return;
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_ADRERR};
    info.si_addr = (void *)(uintptr_t)address;
    if (on_bus.sa_sigaction == NULL) fuzz_fail("nobody guards against SIGBUS");
    on_bus.sa_sigaction(SIGBUS, &info, NULL);
    if (!view->spoiled) fuzz_fail("SIGBUS ends the process");
}

void fuzz_hook(int access, const void *address, size_t bytes) {
    if (access == SHARED_PAUSE) return;
    step();
    if (kernel.meanwhile != NULL) kernel.meanwhile(access, address, bytes);
    if (any_truncated && address != NULL) fault(address, bytes);
}

int kernel_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    (void)number;
    if (fails(EINVAL)) return -1;
    if (before != NULL) *before = on_bus;
    if (action != NULL) on_bus = *action;
    return 0;
}

int kernel_raise(int number) { fuzz_fail("signal %d is raised", number); }

#ifdef __clang__
#pragma clang attribute pop
#endif
