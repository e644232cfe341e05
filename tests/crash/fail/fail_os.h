/* Put before every source of the core as fail_test compiles it (-include, see BUILD): each call of os.h and notify_os.h
 * asks first whether it shall fail. Who asks is known by the name of the function around it, so whatever is called
 * outside those two files, by tests too, goes through.
 *
 * What sleeps or tells the time does so in a time of its own: see fail.h. */
#pragma once

/* Before their names mean something else. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Does the call that this function of os.h makes fail now? Sets errno then. */
bool fail_now(const char *caller);
/* Is it to fail by doing less? */
bool fail_is_short(void);

/* One that fails may also do half of it. */
#define fail_short(name, fd, bytes_at, bytes, offset) (fail_is_short() ? name(fd, bytes_at, (bytes) / 2, offset) : -1)

#define FAIL_OR(failure, name, ...) (fail_now(__func__) ? failure : name(__VA_ARGS__))

/* Those that answer -1. */
#define openat(...)            FAIL_OR(-1, openat, __VA_ARGS__)
#define linkat(...)            FAIL_OR(-1, linkat, __VA_ARGS__)
#define unlinkat(...)          (fail_now(__func__) ? fail_unlinkat(__VA_ARGS__) : unlinkat(__VA_ARGS__))
#define mkfifoat(...)          FAIL_OR(-1, mkfifoat, __VA_ARGS__)
#define stat(...)              FAIL_OR(-1, stat, __VA_ARGS__)
#define fstat(...)             FAIL_OR(-1, fstat, __VA_ARGS__)
#define fstatat(...)           FAIL_OR(-1, fstatat, __VA_ARGS__)
#define fstatvfs(...)          FAIL_OR(-1, fstatvfs, __VA_ARGS__)
#define fchmod(...)            FAIL_OR(-1, fchmod, __VA_ARGS__)
#define chmod(...)             FAIL_OR(-1, chmod, __VA_ARGS__)
#define chown(...)             FAIL_OR(-1, chown, __VA_ARGS__)
#define pread(...)             (fail_now(__func__) ? fail_short(pread, __VA_ARGS__) : pread(__VA_ARGS__))
#define pwrite(...)            (fail_now(__func__) ? fail_short(pwrite, __VA_ARGS__) : pwrite(__VA_ARGS__))
#define read(...)              FAIL_OR(-1, read, __VA_ARGS__)
#define write(...)             FAIL_OR(-1, write, __VA_ARGS__)
#define madvise(...)           FAIL_OR(-1, madvise, __VA_ARGS__)
#define getrandom(...)         FAIL_OR(-1, fail_getrandom, __VA_ARGS__)
#define sigaction(...)         FAIL_OR(-1, sigaction, __VA_ARGS__)
#define sem_trywait(...)       FAIL_OR(-1, sem_trywait, __VA_ARGS__)
#define sem_post(...)          FAIL_OR(-1, sem_post, __VA_ARGS__)
#define syscall(number, ...)   FAIL_OR(-1, fail_syscall, number, __VA_ARGS__)
#define fcntl(fd, how, lock)   (fail_now(fail_lock_caller(__func__, lock)) ? -1 : fail_fcntl(fd, how, lock))
#define nanosleep(...)         FAIL_OR(-1, fail_nanosleep, __VA_ARGS__)
#define ppoll(...)             FAIL_OR(-1, fail_ppoll, __VA_ARGS__)
#define sigtimedwait(...)      FAIL_OR(-1, fail_sigtimedwait, __VA_ARGS__)
#define sem_clockwait(...)     FAIL_OR(-1, fail_sem_clockwait, __VA_ARGS__)
#define sched_yield()          FAIL_OR(-1, fail_sched_yield, 0)
#define clock_gettime(id, now) FAIL_OR(-1, fail_clock_gettime, id, now)
#define geteuid()              (fail_now(__func__) ? (uid_t) - 1 : geteuid())

/* A close that fails closes all the same: close(2). Not only called: a notifier has a member of that name. */
#define close fail_close

/* So has open, with one argument. */
#define FAIL_OPEN_1(bells)           open(bells)
#define FAIL_OPEN_2(path, flags)     FAIL_OR(-1, open, path, flags)
#define FAIL_OPEN(one, two, it, ...) it
#define open(...)                    FAIL_OPEN(__VA_ARGS__, FAIL_OPEN_2, FAIL_OPEN_1, )(__VA_ARGS__)

/* Those that answer otherwise. */
#define mmap(...)                   FAIL_OR(MAP_FAILED, mmap, __VA_ARGS__)
#define aligned_alloc(...)          FAIL_OR(NULL, aligned_alloc, __VA_ARGS__)
#define sem_open(...)               FAIL_OR(SEM_FAILED, sem_open, __VA_ARGS__)
#define posix_fallocate(...)        FAIL_OR(errno, posix_fallocate, __VA_ARGS__)
#define pthread_mutex_init(...)     FAIL_OR(errno, pthread_mutex_init, __VA_ARGS__)
#define pthread_cond_init(...)      FAIL_OR(errno, pthread_cond_init, __VA_ARGS__)
#define pthread_mutex_lock(mutex)   fail_mutex_lock(fail_now(__func__) ? errno : 0, mutex)
#define pthread_mutex_consistent    fail_mutex_consistent
#define pthread_cond_clockwait(...) fail_cond_clockwait(__func__, __VA_ARGS__)

/* What stands in the place of libc's functions, when they do not fail. */
ssize_t fail_getrandom(void *to, size_t bytes, unsigned flags);
long fail_syscall(long number, ...);
const char *fail_lock_caller(const char *caller, const struct flock *lock);
int fail_fcntl(int fd, int how, struct flock *lock);
int fail_nanosleep(const struct timespec *duration, struct timespec *left);
int fail_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *left, const sigset_t *mask);
int fail_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *left);
int fail_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until);
int fail_sched_yield(int unused);
int fail_clock_gettime(clockid_t clock, struct timespec *now);
int fail_close(int fd);
int fail_unlinkat(int directory, const char *name, int flags);
int fail_mutex_lock(int error, pthread_mutex_t *mutex);
int fail_mutex_consistent(pthread_mutex_t *mutex);
int fail_cond_clockwait(const char *caller, pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                        const struct timespec *until);
