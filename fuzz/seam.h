/* Put before every source of the core and of the programs as fuzz targets compile them (-include): each access to
 * shared memory goes by fuzz_hook, and each call to the system goes to the kernel of kernel.c, which lives in this
 * process's memory. libc's functions that ask no system stay as they are. In parentheses a name means libc's own:
  * (mmap)(…). */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

/* Before their names mean something else. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <pwd.h>

/* Before each access; `access` is one of enum shared_access, which shared.h declares later. */
void fuzz_hook(int access, const void *address, size_t bytes);
#define SHARED_HOOK(access, address, bytes) fuzz_hook((int)(access), (address), (bytes))

/* Names and descriptors. open and close are also members of structures: so these are names without arguments. */
int kernel_open(const char *path, int flags, ...);
int kernel_openat(int directory, const char *name, int flags, ...);
int kernel_close(int fd);
int kernel_linkat(int from, const char *path, int directory, const char *name, int flags);
int kernel_unlinkat(int directory, const char *name, int flags);
int kernel_mkfifoat(int directory, const char *name, mode_t mode);
int kernel_stat(const char *path, struct stat *status);
int kernel_fstat(int fd, struct stat *status);
int kernel_fstatat(int directory, const char *name, struct stat *status, int flags);
int kernel_statx(int fd, const char *path, int flags, unsigned mask, struct statx *status);
int kernel_faccessat(int directory, const char *path, int mode, int flags);
int kernel_fstatvfs(int fd, struct statvfs *system);
int kernel_getrlimit(int resource, struct rlimit *limit);
int kernel_fchmod(int fd, mode_t mode);
int kernel_chmod(const char *path, mode_t mode);
int kernel_chown(const char *path, uid_t user, gid_t group);
int kernel_fallocate(int fd, off_t offset, off_t bytes);
ssize_t kernel_pread(int fd, void *to, size_t bytes, off_t offset);
ssize_t kernel_pwrite(int fd, const void *from, size_t bytes, off_t offset);
ssize_t kernel_read(int fd, void *to, size_t bytes);
ssize_t kernel_write(int fd, const void *from, size_t bytes);
ssize_t kernel_writev(int fd, const struct iovec *parts, int count);
int kernel_fcntl(int fd, int how, struct flock *lock);
DIR *kernel_opendir(const char *path);
DIR *kernel_fdopendir(int fd);
struct dirent *kernel_readdir(DIR *directory);
void kernel_rewinddir(DIR *directory);
int kernel_closedir(DIR *directory);
int kernel_dirfd(DIR *directory);
int kernel_isatty(int fd);
#define open              kernel_open
#define close             kernel_close
#define openat(...)       kernel_openat(__VA_ARGS__)
#define linkat(...)       kernel_linkat(__VA_ARGS__)
#define unlinkat(...)     kernel_unlinkat(__VA_ARGS__)
#define mkfifoat(...)     kernel_mkfifoat(__VA_ARGS__)
#define stat(...)         kernel_stat(__VA_ARGS__)
#define lstat(...)        kernel_stat(__VA_ARGS__)
#define fstat(...)        kernel_fstat(__VA_ARGS__)
#define fstatat(...)      kernel_fstatat(__VA_ARGS__)
#define statx(...)        kernel_statx(__VA_ARGS__)
#define access(path, how) kernel_faccessat(AT_FDCWD, path, how, 0)
#define faccessat(...)    kernel_faccessat(__VA_ARGS__)
#define fstatvfs(...)     kernel_fstatvfs(__VA_ARGS__)
#define getrlimit(...)    kernel_getrlimit(__VA_ARGS__)
#define fchmod(...)       kernel_fchmod(__VA_ARGS__)
#define chmod(...)        kernel_chmod(__VA_ARGS__)
#define chown(...)        kernel_chown(__VA_ARGS__)
#define posix_fallocate   kernel_fallocate
#define pread(...)        kernel_pread(__VA_ARGS__)
#define pwrite(...)       kernel_pwrite(__VA_ARGS__)
#define read(...)         kernel_read(__VA_ARGS__)
#define write(...)        kernel_write(__VA_ARGS__)
#define writev(...)       kernel_writev(__VA_ARGS__)
#define fcntl(...)        kernel_fcntl(__VA_ARGS__)
#define opendir(...)      kernel_opendir(__VA_ARGS__)
#define fdopendir(...)    kernel_fdopendir(__VA_ARGS__)
#define readdir(...)      kernel_readdir(__VA_ARGS__)
#define rewinddir(...)    kernel_rewinddir(__VA_ARGS__)
#define closedir(...)     kernel_closedir(__VA_ARGS__)
#define dirfd(...)        kernel_dirfd(__VA_ARGS__)
#define isatty(...)       kernel_isatty(__VA_ARGS__)

/* Memory. */
void *kernel_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int kernel_munmap(void *at, size_t bytes);
int kernel_madvise(void *at, size_t bytes, int advice);
void *kernel_aligned_alloc(size_t alignment, size_t bytes);
#define mmap(...)          kernel_mmap(__VA_ARGS__)
#define munmap(...)        kernel_munmap(__VA_ARGS__)
#define madvise(...)       kernel_madvise(__VA_ARGS__)
#define aligned_alloc(...) kernel_aligned_alloc(__VA_ARGS__)

/* Time, and who sleeps. */
int kernel_clock_gettime(clockid_t clock, struct timespec *now);
int kernel_nanosleep(const struct timespec *duration, struct timespec *left);
int kernel_clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *left);
int kernel_sched_yield(void);
time_t kernel_time(time_t *now);
int kernel_poll(struct pollfd *polled, nfds_t count, int timeout_ms);
int kernel_ppoll(struct pollfd *polled, nfds_t count, const struct timespec *left, const sigset_t *mask);
long kernel_syscall(long number, ...);
#define clock_gettime(...)   kernel_clock_gettime(__VA_ARGS__)
#define nanosleep(...)       kernel_nanosleep(__VA_ARGS__)
#define clock_nanosleep(...) kernel_clock_nanosleep(__VA_ARGS__)
#define sched_yield()        kernel_sched_yield()
#define time(...)            kernel_time(__VA_ARGS__)
#define poll(...)            kernel_poll(__VA_ARGS__)
#define ppoll(...)           kernel_ppoll(__VA_ARGS__)
#define syscall(...)         kernel_syscall(__VA_ARGS__)

/* libc's own objects. */
int kernel_sem_init(sem_t *sem, int shared, unsigned value);
sem_t *kernel_sem_open(const char *name, int flags);
int kernel_sem_close(sem_t *sem);
int kernel_sem_trywait(sem_t *sem);
int kernel_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until);
int kernel_sem_post(sem_t *sem);
int kernel_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int kernel_mutex_lock(pthread_mutex_t *mutex);
int kernel_mutex_consistent(pthread_mutex_t *mutex);
int kernel_mutex_unlock(pthread_mutex_t *mutex);
int kernel_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
int kernel_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until);
int kernel_cond_signal(pthread_cond_t *cond);
#define sem_init(...)                 kernel_sem_init(__VA_ARGS__)
#define sem_open(...)                 kernel_sem_open(__VA_ARGS__)
#define sem_close(...)                kernel_sem_close(__VA_ARGS__)
#define sem_trywait(...)              kernel_sem_trywait(__VA_ARGS__)
#define sem_clockwait(...)            kernel_sem_clockwait(__VA_ARGS__)
#define sem_post(...)                 kernel_sem_post(__VA_ARGS__)
#define pthread_mutex_init(...)       kernel_mutex_init(__VA_ARGS__)
#define pthread_mutex_lock(...)       kernel_mutex_lock(__VA_ARGS__)
#define pthread_mutex_consistent(...) kernel_mutex_consistent(__VA_ARGS__)
#define pthread_mutex_unlock(...)     kernel_mutex_unlock(__VA_ARGS__)
#define pthread_cond_init(...)        kernel_cond_init(__VA_ARGS__)
#define pthread_cond_clockwait(...)   kernel_cond_clockwait(__VA_ARGS__)
#define pthread_cond_signal(...)      kernel_cond_signal(__VA_ARGS__)

/* The rest. */
ssize_t kernel_getrandom(void *to, size_t bytes, unsigned flags);
uid_t kernel_geteuid(void);
pid_t kernel_getpid(void);
int kernel_sigaction(int number, const struct sigaction *action, struct sigaction *before);
int kernel_raise(int number);
int kernel_sigmask(int how, const sigset_t *set, sigset_t *before);
int kernel_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *left);
int kernel_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void));
struct passwd *kernel_getpwuid(uid_t user);
#define getrandom(...)       kernel_getrandom(__VA_ARGS__)
#define geteuid()            kernel_geteuid()
#define getpid()             kernel_getpid()
#define sigaction(...)       kernel_sigaction(__VA_ARGS__)
#define raise(...)           kernel_raise(__VA_ARGS__)
#define pthread_sigmask(...) kernel_sigmask(__VA_ARGS__)
#define sigtimedwait(...)    kernel_sigtimedwait(__VA_ARGS__)
#define pthread_atfork(...)  kernel_atfork(__VA_ARGS__)
#define getpwuid(...)        kernel_getpwuid(__VA_ARGS__)
