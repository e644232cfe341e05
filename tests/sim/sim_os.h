/* What os.h and notify_os.h are in the simulator: the same names, and each call is one of the simulated system's
 * (os.c). What region.c and guard.c alone call is not here: world.c stands for them. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define OS_MS INT64_C(1000000)

static inline int fail(int error) {
    errno = error;
    return -1;
}

/* Descriptors: whose they are follows from who uses them. */
enum { SIM_OBJECT = 100 }; /* the queue's own; each actor has one of this number */

int sim_open(const char *name, const struct place *place);
int sim_reopen(int path, int flags, const struct place *place);
void sim_close(int fd);
int sim_stat(int fd, struct stat *status);
int sim_stat_name(const char *name, struct stat *status);
ssize_t sim_read_fifo(int fd, const struct place *place);
ssize_t sim_write_fifo(int fd, const struct place *place);
int sim_poll(int fd, int64_t until_ns, const struct place *place);

int sim_lock(int64_t byte, int64_t bytes, short type, bool wait, const struct place *place);
int sim_lock_held(int64_t byte, int64_t bytes, const struct place *place);

int64_t sim_now(void);
int sim_nap(int64_t duration_ns, const struct place *place);
int sim_membarrier(int command, const struct place *place);
void sim_yield(const struct place *place);
int sim_futex_wait(const void *word, uint32_t expected, int64_t until_ns, const struct place *place);
int sim_futex_wake(const void *word, int sleepers, const struct place *place);

sem_t *sim_sem_open(const char *name);
int sim_sem_try(sem_t *sem, const struct place *place);
int sim_sem_wait(sem_t *sem, int64_t until_ns, const struct place *place);
int sim_sem_post(sem_t *sem, const struct place *place);
int sim_mutex_lock(pthread_mutex_t *mutex, const struct place *place);
void sim_mutex_unlock(pthread_mutex_t *mutex, const struct place *place);
int sim_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns, const struct place *place);
int sim_cond_signal(pthread_cond_t *cond, const struct place *place);

pid_t sim_process(void);
uint32_t sim_process_space(void);
int sim_pidfd_open(pid_t process, const struct place *place);
int sim_pidfd_signal(int pidfd, const struct place *place);
int sim_signal_wait(int64_t until_ns, const struct place *place);

#define os_lock(fd, byte, bytes, type)        ((void)(fd), sim_lock((byte), (bytes), (type), false, HERE))
#define os_lock_wait(fd, byte, type)          ((void)(fd), sim_lock((byte), 1, (type), true, HERE))
#define os_lock_held(fd, byte, bytes)         ((void)(fd), sim_lock_held((byte), (bytes), HERE))
#define os_now()                              sim_now()
#define os_nap(duration_ns)                   sim_nap((duration_ns), HERE)
#define os_membarrier(command)                sim_membarrier((command), HERE)
#define os_yield()                            sim_yield(HERE)
#define os_futex_wait(word, expected, until)  sim_futex_wait((word), (expected), (until), HERE)
#define os_futex_wake(word, sleepers)         sim_futex_wake((word), (sleepers), HERE)
#define os_close(fd)                          sim_close(fd)
#define os_stat(fd, status)                   sim_stat((fd), (status))
#define os_stat_name(directory, name, status) ((void)(directory), sim_stat_name((name), (status)))
#define os_unlink(directory, name)            ((void)(directory), (void)(name), 0)
#define os_user()                             ((uid_t)0)

/* Doorbells with names are there from the beginning. */
#define os_open_directory(path)              ((void)(path), fail(ENOENT))
#define os_open_unnamed(directory)           ((void)(directory), fail(ENOENT))
#define os_link(fd, directory, name)         ((void)(fd), (void)(directory), (void)(name), fail(EEXIST))
#define os_write(fd, from, bytes, offset)    ((void)(fd), (void)(from), (void)(bytes), (void)(offset), fail(EIO))
#define os_make_fifo(directory, name)        ((void)(directory), (void)(name), fail(EEXIST))
#define os_open_path(directory, name)        ((void)(directory), sim_open((name), HERE))
#define os_reopen(path, flags)               sim_reopen((path), (flags), HERE)
#define os_set_path_owner(path, user, group) ((void)(path), (void)(user), (void)(group), 0)
#define os_set_path_mode(path, mode)         ((void)(path), (void)(mode), 0)
#define os_read_fifo(fd, to, bytes)          ((void)(to), (void)(bytes), sim_read_fifo((fd), HERE))
#define os_write_fifo(fd)                    sim_write_fifo((fd), HERE)
#define os_poll(fd, until)                   sim_poll((fd), (until), HERE)

#define os_libc_version()                "simulated"
#define os_sem_format(sem)               ((void)(sem), 0)
#define os_sem_open(name)                sim_sem_open(name)
#define os_sem_close(sem)                ((void)(sem))
#define os_sem_try(sem)                  sim_sem_try((sem), HERE)
#define os_sem_wait(sem, until)          sim_sem_wait((sem), (until), HERE)
#define os_sem_post(sem)                 sim_sem_post((sem), HERE)
#define os_mutex_format(mutex)           ((void)(mutex), 0)
#define os_mutex_lock(mutex)             sim_mutex_lock((mutex), HERE)
#define os_mutex_repair(mutex)           ((void)(mutex), 0)
#define os_mutex_unlock(mutex)           sim_mutex_unlock((mutex), HERE)
#define os_cond_format(cond)             ((void)(cond), 0)
#define os_cond_wait(cond, mutex, until) sim_cond_wait((cond), (mutex), (until), HERE)
#define os_cond_signal(cond)             sim_cond_signal((cond), HERE)

#define os_process()                   sim_process()
#define os_process_space()             sim_process_space()
#define os_signal_is_blocked(number)   ((void)(number), true)
#define os_signal_wait(number, until)  ((void)(number), sim_signal_wait((until), HERE))
#define os_pidfd_open(process)         sim_pidfd_open((process), HERE)
#define os_pidfd_signal(pidfd, number) ((void)(number), sim_pidfd_signal((pidfd), HERE))
