/* See kernel_inside.h. Here: descriptors, names, what is read and written by them, and their locks. */
#include "kernel_inside.h"

#include <limits.h>
#include <string.h>

#include "support.h"

#ifdef __clang__ /* a fuzzer is to look for ways through the core, not through this file */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum { FIFO_ROOM = 65536 };

/* ---- Descriptors ------------------------------------------------------------------------------ */

/* Of each table, no more was used of this input. */
struct description fds[DESCRIPTORS];
struct lock locks[LOCKS];
int fds_used, locks_used;

struct description *description_of(int fd) {
    if (fd < FIRST_FD || fd >= FIRST_FD + DESCRIPTORS || !fds[fd - FIRST_FD].open) return NULL;
    return &fds[fd - FIRST_FD];
}

struct inode *inode_of(int fd) {
    struct description *description = description_of(fd);
    if (description == NULL || description->inode == NULL) fuzz_fail("descriptor %d is used and not open", fd);
    return description->inode;
}

int fd_new(struct inode *inode, int flags) {
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
void description_put(struct description *description) {
    struct inode *inode = description->inode;
    if (description->open || description->views > 0 || inode == NULL) return;
    for (struct lock *lock = locks; lock < locks + locks_used; lock++)
        if (lock->inode == inode && lock->fd == (int)(description - fds)) lock->inode = NULL;
    description->inode = NULL;
    inode_put(inode);
}

void fd_close(struct description *description) {
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

struct name names[NAMES];
struct inode *shm, *here; /* /dev/shm and . */

struct name *find_name(const struct inode *directory, const char *text) {
    for (struct name *name = names; name < names + NAMES; name++)
        if (name->directory == directory && strcmp(name->text, text) == 0) return name;
    return NULL;
}

int name_new(struct inode *directory, const char *text, struct inode *inode) {
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

#ifdef __clang__
#pragma clang attribute pop
#endif
