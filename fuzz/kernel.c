/* See kernel.h. In order: objects and their memory; what fails and who dies; descriptors; names; reading and writing;
 * locks; mappings; time and sleep; libc's objects; the rest; what targets ask. */
#include "kernel.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>

#include "layout.h"
#include "shared.h"
#include "shmq.h"
#include "support.h"

#ifdef __clang__ /* a fuzzer is to look for ways through the core, not through this file */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum {
    PAGE = 4096,
    INODES = 64,
    NAMES = 64,
    DESCRIPTORS = 128,
    LOCKS = 256,
    MUTEXES = 8,
    SEMAPHORES = 32,
    STORES = 96,
    VIEWS = 4,   /* of one store and one end at a time */
    CLASSES = 9, /* capacities: a page, up to 1 MiB */
    SMALL = 64,  /* bytes of a file that needs no store */
    FIFO_ROOM = 65536,
    FIRST_FD = 100, /* numbers that are no standard stream's */
    FIRST_PID = 1000,
    ENDLESS = 100000, /* calls of one operation: it turns in circles */
    OWNER_DIED = 0x4000
};
static const int64_t TICK_NS = 1000, YIELD_NS = 40000000;

struct kernel kernel;

/* ---- Objects and their memory ----------------------------------------------------------------- */

/* One end's mapping of a store. */
struct view {
    unsigned char *base; /* page 0; a page that nobody may touch lies before and behind */
    bool taken, spoiled; /* spoiled: something else is mapped there by now */
    int actor, fd;
};

/* Memory for an object of up to four pages and a ring of this capacity. */
struct store {
    size_t capacity;
    int memory; /* the real kernel's descriptor */
    unsigned char *flat;
    bool used;
    struct view view[2][VIEWS];
};

struct inode {
    mode_t mode; /* 0: free */
    uid_t user;
    uint64_t number;
    unsigned links, opens;
    size_t size;
    bool truncated;
    struct store *store; /* of what is larger than SMALL */
    _Alignas(16) unsigned char small[SMALL];
    unsigned readers, writers, writers_came, filled; /* of a FIFO */
};

static struct store stores[STORES];
static struct inode inodes[INODES];
static int inodes_used; /* of this input, no more */
static uint64_t next_number;
static struct inode *recent; /* what was last asked about by descriptor: what is mapped next */
static bool any_truncated;

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

static struct inode *inode_new(mode_t mode) {
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
static void inode_put(struct inode *inode) {
    if (inode->links > 0 || inode->opens > 0 || has_views(inode)) return;
    if (inode->store != NULL) inode->store->used = false;
    if (recent == inode) recent = NULL;
    inode->store = NULL;
    inode->mode = 0;
}

static const size_t LARGEST = PAGE_RING * (size_t)PAGE + ((size_t)PAGE << (CLASSES - 1));

static unsigned char *inode_bytes(struct inode *inode) {
    if (inode->size <= SMALL && inode->store == NULL) return inode->small;
    if (inode->store == NULL) inode->store = store_new(inode->size);
    return inode->store->flat;
}

/* ---- What fails and who dies ------------------------------------------------------------------ */

/* Whoever calls or sleeps now goes no further. */
static void die(void) {
    kernel.kill_at = KERNEL_NEVER;
    if (kernel.killed != NULL) longjmp(*kernel.killed, 1);
    kernel.stopped = SIGINT;
}

static void let_others_act(void);

static uint64_t trace; /* of all steps of this input */

uint64_t kernel_take_trace(void) {
    const uint64_t taken = trace;
    trace = 0;
    return taken;
}

static void step(void) {
    const uint32_t number = kernel.steps++;
    trace = (trace ^ (uint64_t)kernel.now_ns ^ number) * 0x9e3779b97f4a7c15;
    if (kernel.act_at >= 0 && number == (uint32_t)kernel.act_at) let_others_act();
    if (kernel.kill_at >= 0 && number >= (uint32_t)kernel.kill_at) die();
}

/* Each call comes by here first: it may never return, or fail so. */
static bool fails(int error) {
    const uint32_t call = kernel.calls++;
    kernel.now_ns += TICK_NS;
    if (call > ENDLESS) fuzz_fail("an operation never ends");
    step();
    if (kernel.fail_at < 0 || call != (uint32_t)kernel.fail_at) return false;
    kernel.failed = true;
    errno = kernel.fail_error != 0 ? kernel.fail_error : error;
    return true;
}

static int deny(int error) {
    errno = error;
    return -1;
}

/* ---- Descriptors ------------------------------------------------------------------------------ */

struct description {
    struct inode *inode; /* NULL: a process */
    bool open;
    int views; /* a mapping keeps the description, and so its locks */
    int actor, flags, process;
    unsigned seen_writers;
    unsigned at; /* of a directory that is read */
};

struct lock {
    struct inode *inode; /* NULL: none */
    int fd;
    off_t start, end;
    short type;
};

/* Of each table, no more was used of this input. */
static struct description fds[DESCRIPTORS];
static struct lock locks[LOCKS];
static int fds_used, locks_used;

static struct description *description_of(int fd) {
    if (fd < FIRST_FD || fd >= FIRST_FD + DESCRIPTORS || !fds[fd - FIRST_FD].open) return NULL;
    return &fds[fd - FIRST_FD];
}

static struct inode *inode_of(int fd) {
    struct description *description = description_of(fd);
    if (description == NULL || description->inode == NULL) fuzz_fail("descriptor %d is used and not open", fd);
    return description->inode;
}

static int fd_new(struct inode *inode, int flags) {
    int at = 0;
    while (at < DESCRIPTORS && (fds[at].open || fds[at].views > 0))
        at++;
    if (at == DESCRIPTORS) return deny(EMFILE);
    if (at >= fds_used) fds_used = at + 1;
    fds[at] = (struct description){.inode = inode, .open = true, .actor = kernel.actor, .flags = flags};
    if (inode == NULL) return FIRST_FD + at;
    inode->opens++;
    const int how = flags & O_ACCMODE;
    if (!S_ISFIFO(inode->mode) || (flags & O_PATH) != 0) return FIRST_FD + at;
    fds[at].seen_writers = inode->writers == 0 ? inode->writers_came : UINT_MAX; /* as Linux: it misses who was there */
    inode->readers += how != O_WRONLY;
    inode->writers += how != O_RDONLY;
    inode->writers_came += how != O_RDONLY;
    return FIRST_FD + at;
}

/* The last of its descriptor and mappings has gone: so have its locks. */
static void description_put(struct description *description) {
    struct inode *inode = description->inode;
    if (description->open || description->views > 0 || inode == NULL) return;
    for (struct lock *lock = locks; lock < locks + locks_used; lock++)
        if (lock->inode == inode && lock->fd == (int)(description - fds)) lock->inode = NULL;
    description->inode = NULL;
    inode_put(inode);
}

static void fd_close(struct description *description) {
    struct inode *inode = description->inode;
    const int how = description->flags & O_ACCMODE;
    description->open = false;
    if (inode == NULL) return;
    inode->opens--;
    if (S_ISFIFO(inode->mode) && (description->flags & O_PATH) == 0) {
        inode->readers -= how != O_WRONLY;
        inode->writers -= how != O_RDONLY;
    }
    description_put(description);
}

int kernel_close(int fd) {
    struct description *description = description_of(fd);
    if (description == NULL) fuzz_fail("descriptor %d is closed and was not open", fd);
    (void)fails(EINTR); /* and is closed all the same */
    fd_close(description);
    return 0;
}

/* ---- Names ------------------------------------------------------------------------------------ */

struct name {
    struct inode *directory, *inode; /* NULL: none */
    char text[NAME_MAX + 1];
};

static struct name names[NAMES];
static struct inode *shm, *here; /* /dev/shm and . */

static struct name *find_name(const struct inode *directory, const char *text) {
    for (struct name *name = names; name < names + NAMES; name++)
        if (name->directory == directory && strcmp(name->text, text) == 0) return name;
    return NULL;
}

static int name_new(struct inode *directory, const char *text, struct inode *inode) {
    struct name *name = names;
    while (name < names + NAMES && name->directory != NULL)
        name++;
    if (name == names + NAMES) return deny(ENOSPC);
    name->directory = directory;
    name->inode = inode;
    (void)snprintf(name->text, sizeof name->text, "%s", text);
    inode->links++;
    return 0;
}

/* A directory by its path. NULL with errno. */
static struct inode *directory_by(const char *path, size_t length) {
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (length >= PATH_MAX) return errno = ENAMETOOLONG, NULL;
    if (length == 8 && memcmp(path, "/dev/shm", 8) == 0) return shm;
    if (length == 1 && path[0] == '.') return here;
    errno = ENOENT;
    return NULL;
}

/* /proc/self/fd/N. -1: it is another path. */
static int fd_by(const char *path) {
    int fd = -1;
    return strncmp(path, "/proc/self/fd/", 14) == 0 && sscanf(path + 14, "%d", &fd) == 1 ? fd : -1;
}

/* What a path means, from this directory if it is not absolute. NULL with errno. */
static struct inode *inode_by(struct inode *directory, const char *path) {
    const char *slash = strrchr(path, '/');
    const int fd = fd_by(path);
    if (fd >= 0) return inode_of(fd);
    struct inode *itself = directory_by(path, strlen(path));
    if (itself != NULL) return itself;
    if (slash != NULL) directory = directory_by(path, (size_t)(slash - path) + (slash == path));
    if (directory == NULL) return NULL;
    const char *text = slash == NULL ? path : slash + 1;
    const struct name *name = find_name(directory, text);
    errno = strlen(text) > NAME_MAX ? ENAMETOOLONG : ENOENT;
    return name == NULL ? NULL : name->inode;
}

static struct inode *directory_of(int fd) { return fd == AT_FDCWD ? here : inode_of(fd); }

static int open_inode(struct inode *inode, int flags) {
    const bool path = (flags & O_PATH) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;
    if (S_ISLNK(inode->mode) && (flags & O_NOFOLLOW) != 0 && !path) return deny(ELOOP);
    if (S_ISDIR(inode->mode) && writes && !path) return deny(EISDIR);
    if (!S_ISDIR(inode->mode) && (flags & O_DIRECTORY) != 0) return deny(ENOTDIR);
    if ((inode->mode & 0666) == 0 && !path) return deny(EACCES);
    return fd_new(inode, flags);
}

int kernel_openat(int directory, const char *name, int flags, ...) {
    if (fails(EMFILE)) return -1;
    struct inode *from = directory_of(directory);
    if ((flags & O_TMPFILE) == O_TMPFILE) return fd_new(inode_new(S_IFREG | 0600), flags);
    struct inode *inode = inode_by(from, name);
    return inode == NULL ? -1 : open_inode(inode, flags);
}

int kernel_open(const char *path, int flags, ...) { return kernel_openat(AT_FDCWD, path, flags); }

int kernel_linkat(int from, const char *path, int directory, const char *name, int flags) {
    (void)from;
    (void)flags;
    if (fails(ENOSPC)) return -1;
    struct inode *inode = inode_of(fd_by(path));
    const char *slash = strrchr(name, '/');
    struct inode *into = slash != NULL ? directory_by(name, (size_t)(slash - name)) : directory_of(directory);
    if (into == NULL) return -1;
    const char *text = slash != NULL ? slash + 1 : name;
    if (find_name(into, text) != NULL) return deny(EEXIST);
    return name_new(into, text, inode);
}

int kernel_unlinkat(int directory, const char *path, int flags) {
    (void)flags;
    if (fails(EACCES)) return -1;
    const char *slash = strrchr(path, '/');
    struct inode *from = slash != NULL ? directory_by(path, (size_t)(slash - path)) : directory_of(directory);
    struct name *name = from == NULL ? NULL : find_name(from, slash != NULL ? slash + 1 : path);
    if (name == NULL) return deny(ENOENT);
    name->directory = NULL;
    name->inode->links--;
    inode_put(name->inode);
    return 0;
}

int kernel_mkfifoat(int directory, const char *name, mode_t mode) {
    if (fails(ENOSPC)) return -1;
    struct inode *into = directory_of(directory);
    if (find_name(into, name) != NULL) return deny(EEXIST);
    return name_new(into, name, inode_new(S_IFIFO | mode));
}

static int describe(const struct inode *inode, struct stat *status) {
    memset(status, 0, sizeof *status);
    status->st_dev = 1;
    status->st_ino = inode->number;
    status->st_mode = inode->mode;
    status->st_uid = inode->user;
    status->st_gid = inode->user;
    status->st_nlink = inode->links;
    status->st_size = (off_t)inode->size;
    return 0;
}

int kernel_fstat(int fd, struct stat *status) {
    if (fails(ENOMEM)) return -1;
    recent = inode_of(fd);
    return describe(recent, status);
}

int kernel_fstatat(int directory, const char *name, struct stat *status, int flags) {
    (void)flags;
    if (fails(EACCES)) return -1;
    if (strncmp(name, "/proc/", 6) == 0) { /* a process; the last belongs to somebody else */
        memset(status, 0, sizeof *status);
        status->st_uid = atoi(name + 6) == FIRST_PID + KERNEL_ACTORS - 1 ? KERNEL_STRANGER : KERNEL_USER;
        return 0;
    }
    const struct inode *inode = inode_by(directory_of(directory), name);
    return inode == NULL ? -1 : describe(inode, status);
}

int kernel_stat(const char *path, struct stat *status) {
    if (strcmp(path, "/proc/self/ns/pid") != 0) return kernel_fstatat(AT_FDCWD, path, status, 0);
    if (fails(ENOENT)) return -1;
    memset(status, 0, sizeof *status);
    status->st_ino = 77;
    return 0;
}

int kernel_statx(int fd, const char *path, int flags, unsigned mask, struct statx *status) {
    (void)fd, (void)path, (void)flags;
    if (fails(ENOSYS)) return -1;
    memset(status, 0, sizeof *status);
    status->stx_mask = mask;
    status->stx_btime.tv_sec = 1;
    return 0;
}

int kernel_faccessat(int directory, const char *path, int mode, int flags) {
    (void)mode, (void)flags;
    if (fails(EACCES)) return -1;
    return strcmp(path, "/proc/self/fd") == 0 || inode_by(directory_of(directory), path) != NULL ? 0 : -1;
}

int kernel_fchmod(int fd, mode_t mode) {
    if (fails(EPERM)) return -1;
    struct inode *inode = inode_of(fd);
    inode->mode = (inode->mode & S_IFMT) | mode;
    return 0;
}

int kernel_chmod(const char *path, mode_t mode) { return kernel_fchmod(fd_by(path), mode); }

int kernel_chown(const char *path, uid_t user, gid_t group) {
    (void)path, (void)user, (void)group;
    return fails(EPERM) ? -1 : 0;
}

/* ---- Reading and writing ---------------------------------------------------------------------- */

int kernel_fstatvfs(int fd, struct statvfs *system) {
    (void)fd;
    if (fails(ENOSYS)) return -1;
    *system = (struct statvfs){.f_frsize = PAGE, .f_blocks = LARGEST / PAGE, .f_bavail = LARGEST / PAGE};
    return 0;
}

int kernel_getrlimit(int resource, struct rlimit *limit) {
    (void)resource;
    limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
    return 0;
}

int kernel_fallocate(int fd, off_t offset, off_t bytes) {
    struct inode *inode = inode_of(fd);
    if (fails(ENOSPC)) return errno;
    if ((size_t)(offset + bytes) > LARGEST) return ENOSPC;
    if ((size_t)(offset + bytes) > inode->size) inode->size = (size_t)(offset + bytes);
    return 0;
}

ssize_t kernel_pread(int fd, void *to, size_t bytes, off_t offset) {
    if (fails(EIO)) return -1;
    struct inode *inode = inode_of(fd);
    if (offset < 0) return deny(EINVAL);
    if ((size_t)offset >= inode->size) return 0;
    const size_t left = inode->size - (size_t)offset, count = bytes < left ? bytes : left;
    memcpy(to, inode_bytes(inode) + offset, count);
    return (ssize_t)count;
}

ssize_t kernel_pwrite(int fd, const void *from, size_t bytes, off_t offset) {
    if (fails(ENOSPC)) return -1;
    struct inode *inode = inode_of(fd);
    if ((size_t)offset + bytes > inode->size) inode->size = (size_t)offset + bytes;
    memcpy(inode_bytes(inode) + offset, from, bytes);
    return (ssize_t)bytes;
}

ssize_t kernel_read(int fd, void *to, size_t bytes) {
    if (fails(EINTR)) return -1;
    if (fd == KERNEL_INPUT) {
        const size_t count = bytes < kernel.input_bytes ? bytes : kernel.input_bytes;
        if (count > 0) memcpy(to, kernel.input, count);
        kernel.input += count;
        kernel.input_bytes -= count;
        return (ssize_t)count;
    }
    struct inode *fifo = inode_of(fd);
    if (fifo->filled == 0) return fifo->writers == 0 ? 0 : deny(EAGAIN);
    const size_t count = bytes < fifo->filled ? bytes : fifo->filled;
    memset(to, 0, count);
    fifo->filled -= (unsigned)count;
    return (ssize_t)count;
}

ssize_t kernel_writev(int fd, const struct iovec *parts, int count) {
    static unsigned char paper[PAGE]; /* all is read, so that what must not be shows */
    size_t bytes = 0;
    if (fails(fd == KERNEL_INPUT + 1 ? ENOSPC : EAGAIN)) return -1;
    for (int part = 0; part < count; part++) {
        const unsigned char *from = parts[part].iov_base;
        for (size_t at = 0; at < parts[part].iov_len; at += PAGE)
            memcpy(paper, from + at, parts[part].iov_len - at < PAGE ? parts[part].iov_len - at : PAGE);
        bytes += parts[part].iov_len;
    }
    kernel.output_bytes += bytes;
    return (ssize_t)bytes;
}

ssize_t kernel_write(int fd, const void *from, size_t bytes) {
    if (fd > KERNEL_INPUT) return kernel_writev(fd, &(struct iovec){(void *)(uintptr_t)from, bytes}, 1);
    if (fails(EINTR)) return -1;
    struct inode *fifo = inode_of(fd);
    if (fifo->filled + bytes > FIFO_ROOM) return deny(EAGAIN);
    fifo->filled += (unsigned)bytes;
    return (ssize_t)bytes;
}

/* ---- Directories ------------------------------------------------------------------------------ */

DIR *kernel_opendir(const char *path) {
    if (strcmp(path, "/proc") == 0) return errno = ENOENT, NULL; /* none: nobody's processes are looked into */
    const int fd = kernel_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    return fd < 0 ? NULL : (DIR *)(void *)description_of(fd);
}

DIR *kernel_fdopendir(int fd) { return (DIR *)(void *)description_of(fd); }

struct dirent *kernel_readdir(DIR *directory) {
    static struct dirent entry;
    struct description *description = (void *)directory;
    while (description->at < NAMES && names[description->at].directory != description->inode)
        description->at++;
    if (description->at == NAMES) return NULL;
    const struct name *name = &names[description->at++];
    entry.d_ino = name->inode->number;
    memcpy(entry.d_name, name->text, sizeof name->text);
    return &entry;
}

void kernel_rewinddir(DIR *directory) { ((struct description *)(void *)directory)->at = 0; }

int kernel_dirfd(DIR *directory) { return FIRST_FD + (int)((struct description *)(void *)directory - fds); }

int kernel_closedir(DIR *directory) { return kernel_close(kernel_dirfd(directory)); }

int kernel_isatty(int fd) { return fd > KERNEL_INPUT && kernel.terminal; }

/* ---- Locks ------------------------------------------------------------------------------------ */

static const struct lock *obstacle(const struct lock *wanted) {
    for (const struct lock *lock = locks; lock < locks + locks_used; lock++) {
        if (lock->inode != wanted->inode || lock->fd == wanted->fd) continue;
        const bool share = lock->type == F_RDLCK && wanted->type == F_RDLCK;
        if (!share && lock->start < wanted->end && wanted->start < lock->end) return lock;
    }
    return NULL;
}

/* What of this description's locks lies within goes; the core never locks a part of what it has locked. */
static void unlock(const struct lock *range) {
    for (struct lock *lock = locks; lock < locks + locks_used; lock++)
        if (lock->inode == range->inode && lock->fd == range->fd && lock->start >= range->start &&
            lock->end <= range->end)
            lock->inode = NULL;
}

static int lock_set(const struct lock *wanted) {
    struct lock *lock = locks;
    if (wanted->type != F_UNLCK && obstacle(wanted) != NULL) return deny(EAGAIN);
    unlock(wanted);
    if (wanted->type == F_UNLCK) return 0;
    while (lock < locks + LOCKS && lock->inode != NULL)
        lock++;
    if (lock == locks + LOCKS) return deny(ENOLCK);
    if (lock - locks >= locks_used) locks_used = (int)(lock - locks) + 1;
    *lock = *wanted;
    return 0;
}

static void sleep_until(int64_t until_ns);

int kernel_fcntl(int fd, int how, struct flock *asked) {
    const struct lock wanted = {.inode = inode_of(fd),
                                .fd = fd - FIRST_FD,
                                .start = asked->l_start,
                                .end = asked->l_len == 0 ? INT64_MAX : asked->l_start + asked->l_len,
                                .type = asked->l_type};
    recent = wanted.inode;
    if (fails(ENOLCK) && asked->l_type != F_UNLCK) return -1;
    if (how == F_OFD_GETLK) {
        const struct lock *found = obstacle(&wanted);
        asked->l_type = found == NULL ? F_UNLCK : found->type;
        return 0;
    }
    if (how != F_OFD_SETLKW || lock_set(&wanted) == 0) return how == F_OFD_SETLKW ? 0 : lock_set(&wanted);
    sleep_until(0);
    return lock_set(&wanted) == 0 ? 0 : deny(EINTR);
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

static struct sigaction on_bus;

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

/* ---- Time and sleep --------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * INT64_C(1000000000) + time->tv_nsec; }

/* Others act now; the caller looks then whether it was woken. */
static void let_others_act(void) {
    const struct kernel before = kernel;
    const int error = errno;
    struct inode *const busy_with = recent;
    if (kernel.asleep == NULL) return;
    kernel.asleep = NULL;
    before.asleep();
    const int64_t now_ns = kernel.now_ns;
    kernel = before;
    kernel.now_ns = now_ns;
    recent = busy_with;
    errno = error;
}

static void sleep_until(int64_t until_ns) {
    if (++kernel.sleeps > kernel.sleeps_allowed) die();
    if (kernel.sleeps > kernel.sleeps_allowed + 1000) fuzz_fail("a program sleeps on and hears no signal");
    if (until_ns > kernel.now_ns && until_ns != INT64_MAX) kernel.now_ns = until_ns;
}

int kernel_clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    kernel.now_ns += TICK_NS;
    *now = (struct timespec){.tv_sec = kernel.now_ns / 1000000000, .tv_nsec = kernel.now_ns % 1000000000};
    return 0;
}

int kernel_nanosleep(const struct timespec *duration, struct timespec *left) {
    (void)left;
    if (fails(EINTR)) return -1;
    let_others_act();
    sleep_until(kernel.now_ns + nanoseconds(duration));
    return 0;
}

int kernel_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left) {
    (void)clock, (void)flags, (void)left;
    if (fails(EINTR)) return EINTR;
    let_others_act();
    sleep_until(nanoseconds(until));
    return kernel.stopped != 0 ? EINTR : 0;
}

int kernel_sched_yield(void) {
    let_others_act();
    sleep_until(kernel.now_ns + YIELD_NS);
    return 0;
}

time_t kernel_time(time_t *now) {
    (void)now;
    return (time_t)(kernel.now_ns / 1000000000);
}

int kernel_poll(struct pollfd *polled, nfds_t count, int timeout_ms) {
    (void)polled;
    if (fails(EINTR)) return -1;
    if (count > 0) return (int)count; /* a stream */
    let_others_act();
    sleep_until(kernel.now_ns + timeout_ms * INT64_C(1000000));
    return 0;
}

static short fifo_events(const struct description *description) {
    const struct inode *fifo = description->inode;
    const bool left = fifo->writers == 0 && description->seen_writers != fifo->writers_came;
    return (short)((fifo->filled > 0 ? POLLIN : 0) | (left ? POLLHUP : 0));
}

int kernel_ppoll(struct pollfd *polled, nfds_t count, const struct timespec *left, const sigset_t *mask) {
    (void)count, (void)mask;
    if (fails(EINTR)) return -1;
    const struct description *description = description_of(polled->fd);
    if (description == NULL) fuzz_fail("a descriptor is polled that is not open");
    polled->revents = fifo_events(description);
    if (polled->revents == 0) {
        let_others_act();
        polled->revents = fifo_events(description);
        if (polled->revents == 0) sleep_until(kernel.now_ns + nanoseconds(left));
    } else if (kernel.sleeps++ > kernel.sleeps_allowed + 1000) {
        fuzz_fail("a sleeper turns in circles");
    }
    return polled->revents != 0;
}

static long futex(va_list arguments) {
    const _Atomic uint32_t *word = va_arg(arguments, const void *);
    const int how = va_arg(arguments, int);
    if (how == FUTEX_WAKE) return 1;
    const uint32_t expected = va_arg(arguments, uint32_t);
    const struct timespec *until = va_arg(arguments, const struct timespec *);
    if (*word != expected) return deny(EAGAIN);
    let_others_act();
    if (*word != expected) return 0;
    sleep_until(nanoseconds(until));
    return deny(kernel.stopped != 0 ? EINTR : ETIMEDOUT);
}

static bool alive[KERNEL_ACTORS], pending[KERNEL_ACTORS];

static long pidfd_open(int process) {
    const int actor = process - FIRST_PID;
    if (actor < 0 || actor >= KERNEL_ACTORS || !alive[actor]) return deny(ESRCH);
    const int fd = fd_new(NULL, 0);
    if (fd >= 0) fds[fd - FIRST_FD].process = actor;
    return fd;
}

long kernel_syscall(long number, ...) {
    va_list arguments;
    long result = -1;
    if (fails(number == SYS_futex ? EFAULT : EPERM)) return -1;
    va_start(arguments, number);
    if (number == SYS_futex)
        result = futex(arguments);
    else if (number == SYS_pidfd_open)
        result = pidfd_open(va_arg(arguments, int));
    else
        result = 0, pending[description_of(va_arg(arguments, int))->process] = true;
    va_end(arguments);
    return result;
}

int kernel_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *left) {
    (void)set, (void)info;
    if (fails(EINTR)) return -1;
    if (!pending[kernel.actor]) let_others_act();
    if (!pending[kernel.actor]) {
        sleep_until(kernel.now_ns + nanoseconds(left));
        return deny(EAGAIN);
    }
    pending[kernel.actor] = false;
    return SIGURG;
}

/* ---- libc's objects --------------------------------------------------------------------------- */

/* Words in them, where they lie; libc's own are as wide. */
static int32_t *word_of(void *object) { return object; }

static struct {
    struct inode *inode; /* NULL: free */
    int actor;
} semaphores[SEMAPHORES];

int kernel_sem_init(sem_t *sem, int shared, unsigned value) {
    (void)shared;
    *word_of(sem) = (int32_t)value;
    return fails(ENOSYS) ? -1 : 0;
}

sem_t *kernel_sem_open(const char *name, int flags) {
    char text[NAME_MAX + 1];
    (void)flags;
    (void)snprintf(text, sizeof text, "sem.%s", name + 1);
    if (fails(EMFILE)) return SEM_FAILED;
    struct name *found = find_name(shm, text);
    if (found == NULL) return errno = ENOENT, SEM_FAILED;
    for (int at = 0; at < SEMAPHORES; at++) {
        if (semaphores[at].inode != NULL) continue;
        semaphores[at].inode = found->inode;
        semaphores[at].actor = kernel.actor;
        found->inode->opens++;
        return (sem_t *)(void *)found->inode->small;
    }
    return errno = EMFILE, SEM_FAILED;
}

static void sem_put(int at) {
    semaphores[at].inode->opens--;
    inode_put(semaphores[at].inode);
    semaphores[at].inode = NULL;
}

int kernel_sem_close(sem_t *sem) {
    for (int at = 0; at < SEMAPHORES; at++) {
        const struct inode *inode = semaphores[at].inode;
        if (inode == NULL || (const void *)inode->small != sem || semaphores[at].actor != kernel.actor) continue;
        sem_put(at);
        return 0;
    }
    fuzz_fail("a semaphore is closed that is not open");
}

int kernel_sem_trywait(sem_t *sem) {
    if (*word_of(sem) == 0) return deny(EAGAIN);
    --*word_of(sem);
    return 0;
}

int kernel_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until) {
    (void)clock;
    if (fails(EINTR)) return -1;
    if (*word_of(sem) == 0) let_others_act();
    if (kernel_sem_trywait(sem) == 0) return 0;
    sleep_until(nanoseconds(until));
    return deny(kernel.stopped != 0 ? EINTR : ETIMEDOUT);
}

int kernel_sem_post(sem_t *sem) {
    if (fails(EOVERFLOW)) return -1;
    ++*word_of(sem);
    return 0;
}

/* Who has locked which; the first word is the actor plus 1, the second tells those that processes share. What nobody
 * has formatted is a process's own, and each has one thread. */
enum { SHARED_MUTEX = 0x5a5a };

static struct {
    pthread_mutex_t *mutex;
    int actor;
} mutexes[MUTEXES];

int kernel_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr) {
    (void)attr;
    memset(mutex, 0, sizeof *mutex);
    word_of(mutex)[1] = SHARED_MUTEX;
    return fails(ENOMEM) ? errno : 0;
}

static bool is_shared(pthread_mutex_t *mutex) { return word_of(mutex)[1] == SHARED_MUTEX; }

static int mutex_take(pthread_mutex_t *mutex) {
    const int result = *word_of(mutex) == OWNER_DIED ? EOWNERDEAD : 0;
    for (int at = 0; at < MUTEXES; at++) {
        if (mutexes[at].mutex != NULL) continue;
        mutexes[at].mutex = mutex;
        mutexes[at].actor = kernel.actor;
        *word_of(mutex) = kernel.actor + 1;
        return result;
    }
    fuzz_fail("this kernel has no room for so many mutexes");
}

int kernel_mutex_lock(pthread_mutex_t *mutex) {
    step();
    if (!is_shared(mutex)) return 0;
    while (*word_of(mutex) != 0 && *word_of(mutex) != OWNER_DIED) {
        if (*word_of(mutex) < 0 || *word_of(mutex) > KERNEL_ACTORS) return EINVAL; /* as far as libc notices damage */
        sleep_until(0);                                                            /* who holds it never comes back */
        if (kernel.sleeps > kernel.sleeps_allowed) return EDEADLK;
    }
    return mutex_take(mutex);
}

int kernel_mutex_consistent(pthread_mutex_t *mutex) {
    (void)mutex;
    return 0;
}

int kernel_mutex_unlock(pthread_mutex_t *mutex) {
    step();
    for (int at = 0; at < MUTEXES; at++) {
        if (mutexes[at].mutex != mutex || mutexes[at].actor != kernel.actor) continue;
        mutexes[at].mutex = NULL;
        *word_of(mutex) = 0;
        return 0;
    }
    return is_shared(mutex) ? EPERM : 0;
}

int kernel_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr) {
    (void)attr;
    memset(cond, 0, sizeof *cond);
    return fails(ENOMEM) ? errno : 0;
}

int kernel_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    const int32_t before = *word_of(cond);
    (void)clock;
    (void)kernel_mutex_unlock(mutex);
    let_others_act();
    const bool woken = *word_of(cond) != before;
    if (!woken) sleep_until(nanoseconds(until));
    const int result = kernel_mutex_lock(mutex);
    return result != 0 ? result : woken ? 0 : ETIMEDOUT;
}

int kernel_cond_signal(pthread_cond_t *cond) {
    ++*word_of(cond);
    return 0;
}

/* ---- The rest --------------------------------------------------------------------------------- */

ssize_t kernel_getrandom(void *to, size_t bytes, unsigned flags) {
    static const uint64_t odd = 0x9e3779b97f4a7c15;
    const uint64_t random = odd * ++next_number;
    (void)flags;
    if (fails(EINTR)) return -1;
    memcpy(to, &random, bytes);
    return (ssize_t)bytes;
}

uid_t kernel_geteuid(void) { return KERNEL_USER; }
pid_t kernel_getpid(void) { return FIRST_PID + kernel.actor; }

int kernel_sigmask(int how, const sigset_t *set, sigset_t *before) {
    (void)how, (void)set;
    (void)sigemptyset(before);
    return fails(EINVAL) ? errno : sigaddset(before, SIGURG);
}

static void (*fork_before)(void), (*fork_in_child)(void);

int kernel_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)) {
    (void)in_parent;
    fork_before = before;
    fork_in_child = in_child;
    return 0;
}

struct passwd *kernel_getpwuid(uid_t user) {
    static char name[] = "somebody";
    static struct passwd someone = {.pw_name = name};
    return user == KERNEL_USER ? &someone : NULL;
}

/* ---- What targets ask ------------------------------------------------------------------------- */

void kernel_begin(int actor, int end) {
    kernel.actor = actor;
    kernel.end = end;
    kernel.steps = kernel.calls = kernel.sleeps = 0;
    kernel.kill_at = kernel.act_at = kernel.fail_at = KERNEL_NEVER;
    kernel.fail_error = 0;
    kernel.failed = false;
    alive[actor] = true;
}

enum { EVERYBODY = -1 };

static bool is_of(int owner, int actor) { return actor == EVERYBODY || owner == actor; }

static void drop_views(int actor) {
    for (struct inode *inode = inodes; inode < inodes + inodes_used; inode++) {
        struct store *store = inode->mode == 0 ? NULL : inode->store;
        for (int at = 0; store != NULL && at < 2 * VIEWS; at++) {
            struct view *view = &store->view[at / VIEWS][at % VIEWS];
            if (view->taken && is_of(view->actor, actor)) view_put(view, inode);
        }
    }
}

/* The next who takes one is told. */
static void drop_mutexes(int actor) {
    for (int at = 0; at < MUTEXES; at++) {
        if (mutexes[at].mutex == NULL || !is_of(mutexes[at].actor, actor)) continue;
        *word_of(mutexes[at].mutex) = OWNER_DIED;
        mutexes[at].mutex = NULL;
    }
}

void kernel_kill(int actor) {
    drop_mutexes(actor);
    for (int at = 0; at < fds_used; at++)
        if (fds[at].open && is_of(fds[at].actor, actor)) fd_close(&fds[at]);
    for (int at = 0; at < SEMAPHORES; at++)
        if (semaphores[at].inode != NULL && is_of(semaphores[at].actor, actor)) sem_put(at);
    drop_views(actor);
    if (actor != EVERYBODY) alive[actor] = false;
}

static struct inode *directory_new(void) {
    struct inode *directory = inode_new(S_IFDIR | 0777);
    directory->links = 1;
    return directory;
}

void kernel_reset(void) {
    const struct kernel blank = {
        .now_ns = INT64_C(1000000000000), .kill_at = KERNEL_NEVER, .act_at = KERNEL_NEVER, .fail_at = KERNEL_NEVER};
    kernel_kill(EVERYBODY);
    memset(alive, 0, sizeof alive);
    for (int at = 0; at < NAMES; at++)
        names[at].directory = NULL;
    for (struct inode *inode = inodes; inode < inodes + inodes_used; inode++) {
        inode->links = inode->opens = 0;
        if (inode->mode != 0) inode_put(inode);
    }
    memset(pending, 0, sizeof pending);
    next_number = trace = 0;
    fds_used = locks_used = inodes_used = 0;
    any_truncated = false;
    kernel = blank;
    kernel.sleeps_allowed = UINT32_MAX - 2000;
    shm = directory_new();
    here = directory_new();
}

unsigned kernel_names(void) {
    unsigned count = 0;
    for (int at = 0; at < NAMES; at++)
        count += names[at].directory != NULL;
    return count;
}

unsigned kernel_held(void) {
    unsigned count = 0;
    for (int at = 0; at < fds_used; at++)
        count += fds[at].open + fds[at].views > 0;
    for (int at = 0; at < locks_used; at++)
        count += locks[at].inode != NULL;
    for (int at = 0; at < MUTEXES; at++)
        count += mutexes[at].mutex != NULL;
    for (int at = 0; at < SEMAPHORES; at++)
        count += semaphores[at].inode != NULL;
    return count;
}

/* Without a directory it is one of /dev/shm. */
static struct inode *directory_in(const char **name) {
    if (strncmp(*name, "./", 2) != 0) return shm;
    *name += 2;
    return here;
}

static struct name *find_path(const char *path) {
    const struct inode *directory = directory_in(&path);
    return find_name(directory, path);
}

void kernel_put(const char *name, mode_t mode, uid_t user, const void *bytes, size_t given, size_t size) {
    struct inode *inode = inode_new(mode);
    inode->user = user;
    inode->size = size < LARGEST ? size : LARGEST;
    if (given > 0) memcpy(inode_bytes(inode), bytes, given < inode->size ? given : inode->size);
    struct inode *directory = directory_in(&name);
    (void)name_new(directory, name, inode);
}

int kernel_new_object(void) {
    struct inode *inode = inode_new(S_IFREG | 0600);
    inode->links = 1;
    return fd_new(inode, O_RDWR);
}

int kernel_open_again(int object) { return fd_new(inode_of(object), O_RDWR); }
int kernel_open_directory(void) { return fd_new(here, O_PATH); }
void kernel_drop_links(int object) { inode_of(object)->links = 0; }

unsigned char *kernel_bytes(const char *name, size_t *size) {
    const struct name *found = find_path(name);
    if (found == NULL) return NULL;
    *size = found->inode->size;
    return inode_bytes(found->inode);
}

void kernel_truncate(const char *name, size_t size) {
    const struct name *found = find_name(shm, name);
    if (found == NULL || found->inode->store == NULL || size >= found->inode->size) return;
    memset(found->inode->store->flat + size, 0, found->inode->size - size);
    found->inode->size = size;
    found->inode->truncated = any_truncated = true;
}

void kernel_change_others(const char *path, enum kernel_change change) {
    const struct name *spared = find_path(path);
    for (struct name *name = names; name < names + NAMES; name++) {
        if (name->directory == NULL || name == spared) continue;
        struct inode *inode = name->inode;
        if (change == CHANGE_OWNER) inode->user = KERNEL_STRANGER;
        if (change == CHANGE_TYPE) inode->mode ^= S_IFIFO ^ S_IFREG;
        if (change == CHANGE_SIZE) inode->size = 1;
    }
}

void kernel_send_sigbus(void *address) {
    siginfo_t info = {.si_signo = SIGBUS, .si_code = address == NULL ? SI_USER : BUS_ADRERR};
    info.si_addr = address;
    on_bus.sa_sigaction(SIGBUS, &info, NULL);
}

void kernel_fork_child(void) {
    fork_before();
    fork_in_child();
}

#ifdef __clang__
#pragma clang attribute pop
#endif
