/* What notifiers alone call of the system: the other half of os.h, under the same rules. */
#pragma once
#include "os.h"
#ifndef SHMQ_OS_H

#include <gnu/libc-version.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>

/* For fingerprints. */
static inline const char *os_libc_version(void) { return gnu_get_libc_version(); }

static inline pid_t os_process(void) { return getpid(); }

/* The number of this process's PID namespace; 0 if there is no /proc to tell. */
static inline uint32_t os_process_space(void) {
    struct stat status;
    return stat("/proc/self/ns/pid", &status) == 0 ? (uint32_t)status.st_ino : 0;
}

/* What is left until then. */
static inline struct timespec os_left(int64_t until_ns) {
    int64_t left_ns = until_ns - os_now();
    return os_timespec(left_ns > 0 ? left_ns : 0);
}

/* POSIX semaphores. */
static inline int os_sem_format(sem_t *sem) { return sem_init(sem, 1, 0); }

/* Follows no link. NULL with errno. */
static inline sem_t *os_sem_open(const char *name) {
    sem_t *sem = sem_open(name, 0);
    return sem == SEM_FAILED ? NULL : sem;
}

static inline void os_sem_close(sem_t *sem) { (void)sem_close(sem); }

static inline int os_sem_try(sem_t *sem) { return sem_trywait(sem); }

static inline int os_sem_wait(sem_t *sem, int64_t until_ns) {
    struct timespec until = os_timespec(until_ns);
    return sem_clockwait(sem, CLOCK_MONOTONIC, &until);
}

static inline int os_sem_post(sem_t *sem) { return sem_post(sem); }

/* Mutexes and condition variables; these return the error. libc's attributes hold no resource,
 * and setting them fails for unknown values only. */
static inline int os_mutex_format(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attr;
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    return pthread_mutex_init(mutex, &attr);
}

static inline int os_cond_format(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    return pthread_cond_init(cond, &attr);
}

static inline int os_mutex_lock(pthread_mutex_t *mutex) { return pthread_mutex_lock(mutex); }

static inline int os_mutex_repair(pthread_mutex_t *mutex) { return pthread_mutex_consistent(mutex); }

static inline void os_mutex_unlock(pthread_mutex_t *mutex) { (void)pthread_mutex_unlock(mutex); }

static inline int os_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns) {
    struct timespec until = os_timespec(until_ns);
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &until);
}

static inline int os_cond_signal(pthread_cond_t *cond) { return pthread_cond_signal(cond); }

/* FIFOs. First a descriptor that only stands for what is there, and follows no link; then the
 * same object opened for use. */
static inline int os_make_fifo(int directory, const char *name) { return mkfifoat(directory, name, 0600); }

static inline int os_open_path(int directory, const char *name) {
    return openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
}

static inline int os_reopen(int path, int flags) {
    return open(os_self_path(path).text, flags | O_NONBLOCK | O_CLOEXEC);
}

static inline int os_set_path_owner(int path, uid_t user, gid_t group) {
    return chown(os_self_path(path).text, user, group);
}

static inline int os_set_path_mode(int path, mode_t mode) { return chmod(os_self_path(path).text, mode); }

static inline ssize_t os_read_fifo(int fd, void *to, size_t bytes) { return read(fd, to, bytes); }

static inline ssize_t os_write_fifo(int fd) { return write(fd, "", 1); }

/* Until fd is readable: its events; 0: time ran out. */
static inline int os_poll(int fd, int64_t until_ns) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    struct timespec left = os_left(until_ns);
    return ppoll(&polled, 1, &left, NULL) < 0 ? -1 : polled.revents;
}

/* Signals. */
static inline bool os_signal_is_blocked(int number) {
    sigset_t blocked;
    return pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, number) == 1;
}

static inline int os_signal_wait(int number, int64_t until_ns) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, number);
    struct timespec left = os_left(until_ns);
    return sigtimedwait(&set, NULL, &left);
}

static inline int os_pidfd_open(pid_t process) { return (int)syscall(SYS_pidfd_open, process, 0); }

static inline int os_pidfd_signal(int pidfd, int number) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

/* os_lock that waits for the byte to be free, for ever. */
static inline int os_lock_wait(int fd, off_t byte, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLKW, &lock);
}

#endif
