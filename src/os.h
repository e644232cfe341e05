/* The only place that calls what blocks, locks, maps, names or tells the time.
 *
 * Thin inline functions with the kernel's own meaning: -1 and errno. Every call is a libc function
 * by its own name, so a test makes any of them fail by compiling with `-include` of a header that
 * puts a macro in its place; the simulator replaces this whole file by defining SHMQ_OS_H. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_TMPFILE, OFD locks; so this header comes before any of the system's */
#endif
#ifdef SHMQ_OS_H
#include SHMQ_OS_H
#else

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* -1, with errno. */
static inline int fail(int error) {
    errno = error;
    return -1;
}

/* Names and objects. Every descriptor is close-on-exec. */
static inline int os_open_directory(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

static inline int os_open_existing(int directory, const char *name) {
    return openat(directory, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static inline int os_open_unnamed(int directory) {
    return openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

/* What a descriptor stands for, as a path. */
struct os_path {
    char text[32];
};

static inline struct os_path os_self_path(int fd) {
    struct os_path path;
    (void)snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", fd);
    return path;
}

/* Gives an unnamed object its name; EEXIST if the name is taken. */
static inline int os_link(int fd, int directory, const char *name) {
    return linkat(AT_FDCWD, os_self_path(fd).text, directory, name, AT_SYMLINK_FOLLOW);
}

static inline int os_unlink(int directory, const char *name) { return unlinkat(directory, name, 0); }

static inline int os_stat(int fd, struct stat *status) { return fstat(fd, status); }

static inline int os_stat_name(int directory, const char *name, struct stat *status) {
    return fstatat(directory, name, status, AT_SYMLINK_NOFOLLOW);
}

static inline int os_set_mode(int fd, mode_t mode) { return fchmod(fd, mode); }

static inline int os_allocate(int fd, off_t offset, off_t bytes) {
    errno = posix_fallocate(fd, offset, bytes);
    return errno == 0 ? 0 : -1;
}

/* Bytes that a file may still take here: what the file system has free, where it has a limit and says so, and what this
 * process may make a file (beyond which the kernel would send SIGXFSZ). */
static inline uint64_t os_room(int fd) {
    struct rlimit limit = {.rlim_cur = RLIM_INFINITY};
    struct statvfs system;
    (void)getrlimit(RLIMIT_FSIZE, &limit); /* fails for an unknown resource only */
    if (fstatvfs(fd, &system) != 0 || system.f_blocks == 0) return limit.rlim_cur;
    uint64_t room = (uint64_t)system.f_bavail * system.f_frsize;
    return room < limit.rlim_cur ? room : limit.rlim_cur;
}

static inline ssize_t os_read(int fd, void *to, size_t bytes, off_t offset) { return pread(fd, to, bytes, offset); }

/* All of it, or -1. ENOSPC: some did not fit. */
static inline int os_write(int fd, const void *from, size_t bytes, off_t offset) {
    const ssize_t put = pwrite(fd, from, bytes, offset);
    if (put < 0) return -1;
    return put == (ssize_t)bytes ? 0 : fail(ENOSPC);
}

/* Leaves errno alone. Linux always gives the descriptor back; there is nothing to repeat. */
static inline void os_close(int fd) {
    int error = errno;
    if (fd >= 0) (void)close(fd);
    errno = error;
}

/* Bytes of an object (0: all that follow), locked for this open file description. type: F_RDLCK, F_WRLCK, F_UNLCK.
 * EAGAIN: taken. */
static inline int os_lock(int fd, off_t byte, off_t bytes, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = bytes};
    while (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        if (errno != EINTR || type != F_UNLCK) return -1; /* what is to be opened must be */
    return 0;
}

/* 1 if another open file description holds one of the bytes, 0 if none. */
static inline int os_lock_held(int fd, off_t byte, off_t bytes) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = bytes};
    while (fcntl(fd, F_OFD_GETLK, &lock) != 0)
        if (errno != EINTR) return -1;
    return lock.l_type != F_UNLCK;
}

/* Memory. */
/* Zeros of our own: anywhere, or in the place of what is there. */
static inline void *os_blank(void *at, size_t bytes, int protection) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (at == NULL ? 0 : MAP_FIXED);
    return mmap(at, bytes, protection, flags, -1, 0);
}

static inline int os_map(void *at, size_t bytes, int protection, int fd, size_t offset) {
    return mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED ? -1 : 0;
}

static inline void os_unmap(void *at, size_t bytes) { (void)munmap(at, bytes); /* fails for wrong arguments only */ }

static inline int os_advise(void *at, size_t bytes, int advice) { return madvise(at, bytes, advice); }

static inline void *os_allocate_memory(size_t alignment, size_t bytes) { return aligned_alloc(alignment, bytes); }

/* Waiting. Times are nanoseconds of CLOCK_MONOTONIC. */
#define OS_MS INT64_C(1000000)

static inline int64_t os_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* fails for an unknown clock only */
    return (int64_t)now.tv_sec * 1000 * OS_MS + now.tv_nsec;
}

static inline struct timespec os_timespec(int64_t time_ns) {
    return (struct timespec){.tv_sec = (time_t)(time_ns / (1000 * OS_MS)), .tv_nsec = (long)(time_ns % (1000 * OS_MS))};
}

/* EINTR: cut short by a signal handler. */
static inline int os_nap(int64_t duration_ns) {
    struct timespec duration = os_timespec(duration_ns);
    return nanosleep(&duration, NULL);
}

/* Lets others run on this core. */
static inline void os_yield(void) { (void)sched_yield(); }

/* The futex call takes the kernel's long; a C library with a larger time_t needs another call. */
_Static_assert(sizeof(time_t) == sizeof(long), "futex");

/* Sleeps while *word is `expected`, until `until_ns`. EAGAIN: it is not; ETIMEDOUT; EINTR: a
 * signal handler ran. */
static inline int os_futex_wait(const void *word, uint32_t expected, int64_t until_ns) {
    struct timespec until = os_timespec(until_ns);
    return (int)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, NULL, FUTEX_BITSET_MATCH_ANY);
}

static inline int os_futex_wake(const void *word, int sleepers) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, sleepers, NULL, NULL, 0);
}

/* A barrier in all threads of all processes that have registered for it. ENOSYS, EINVAL, EPERM: an old kernel, a sandbox. */
static inline int os_membarrier(int command) { return (int)syscall(SYS_membarrier, command, 0, 0); }

/* The rest. */
static inline int os_random(void *to, size_t bytes) { return getrandom(to, bytes, 0) == (ssize_t)bytes ? 0 : -1; }

static inline size_t os_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static inline int os_handle_signal(int number, const struct sigaction *action, struct sigaction *before) {
    return sigaction(number, action, before);
}

static inline int os_raise(int number) { return raise(number); }

static inline uid_t os_user(void) { return geteuid(); }

#endif
