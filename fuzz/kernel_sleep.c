/* See kernel_inside.h. Here: time, who sleeps, and libc's objects that one sleeps on. */
#include "kernel_inside.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>

#include "support.h"

#ifdef __clang__ /* a fuzzer is to look for ways through the core, not through this file */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum { MUTEXES = 8, SEMAPHORES = 32, OWNER_DIED = 0x4000 };

/* ---- Time and sleep --------------------------------------------------------------------------- */

static const int64_t YIELD_NS = 40000000;

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * INT64_C(1000000000) + time->tv_nsec; }

/* Others act now; the caller looks then whether it was woken. */
void let_others_act(void) {
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

void sleep_until(int64_t until_ns) {
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

bool alive[KERNEL_ACTORS], pending[KERNEL_ACTORS];

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
    else if (number == SYS_membarrier)
        result = 0; /* all actors are of one thread */
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

void drop_semaphores(int actor) {
    for (int at = 0; at < SEMAPHORES; at++)
        if (semaphores[at].inode != NULL && is_of(semaphores[at].actor, actor)) sem_put(at);
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

/* The next who takes one is told. */
void drop_mutexes(int actor) {
    for (int at = 0; at < MUTEXES; at++) {
        if (mutexes[at].mutex == NULL || !is_of(mutexes[at].actor, actor)) continue;
        *word_of(mutexes[at].mutex) = OWNER_DIED;
        mutexes[at].mutex = NULL;
    }
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

unsigned libc_held(void) {
    unsigned count = 0;
    for (int at = 0; at < MUTEXES; at++)
        count += mutexes[at].mutex != NULL;
    for (int at = 0; at < SEMAPHORES; at++)
        count += semaphores[at].inode != NULL;
    return count;
}

#ifdef __clang__
#pragma clang attribute pop
#endif
