/* What stands between the core and libc. See fail.h and fail_os.h. */
#include "fail.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>

#include "check.h"

#undef close

enum {
    TICK_NS = 100000,    /* each call takes so long */
    YIELD_NS = 40000000, /* the others' turn */
    STORM = 50,          /* signals that come one upon the other: then they are over */
    ENDLESS = 100000     /* calls of one operation: it turns in circles */
};

struct fail_log fail_log;
static struct {
    const struct fail_way *way;
    uint32_t at;
    bool always;
} plan;
void (*fail_asleep)(void), (*fail_meanwhile)(void);
uint64_t fail_instance;

static bool armed;
static uint32_t calls, storm;
static int64_t now_ns = INT64_C(1000000000000);
static bool owner_died; /* of a mutex, as we said */

void fail_arm(const struct fail_way *way, uint32_t at, bool always) {
    plan.way = way;
    plan.at = at;
    plan.always = always;
    fail_log.calls = calls = storm = 0;
    armed = true;
}

void fail_disarm(void) { armed = false; }

int64_t fail_time_ns(void) { return now_ns; }

/* Others act: without faults. */
static void let_act(void (**whom)(void)) {
    void (*const body)(void) = *whom;
    const bool was_armed = armed;
    const int error = errno;
    *whom = NULL;
    if (body == NULL) return;
    armed = false;
    body();
    armed = was_armed;
    errno = error;
}

static bool is_due(const struct fail_way *first) {
    const struct fail_way *way = plan.way;
    const uint32_t call = fail_log.calls++;
    if (call < FAIL_RECORDED) fail_log.recorded[call] = first;
    if (way == NULL || call < plan.at) return false;
    const bool is_it = strcmp(first->call, way->call) == 0;
    if (call == plan.at && !is_it)
        check_fail(__FILE__, __LINE__, "call %u was to be %s and is %s", call, way->call, first->call);
    if (call > plan.at && !(plan.always && is_it)) return false;
    return way->error != EINTR || storm++ < STORM;
}

/* os_cond_wait does it itself, without the mutex. */
static bool sleeps(const char *caller) {
    static const char *const sleepers[] = {"os_futex_wait", "os_lock_wait",   "os_nap",  "os_poll",
                                           "os_sem_wait",   "os_signal_wait", "os_yield"};
    for (size_t at = 0; at < sizeof sleepers / sizeof sleepers[0]; at++)
        if (strcmp(sleepers[at], caller) == 0) return true;
    return false;
}

bool fail_now(const char *caller) {
    if (strncmp(caller, "os_", 3) != 0) return false;
    if (sleeps(caller)) let_act(&fail_asleep);
    const struct fail_way *first = fail_first_way(caller);
    if (first == NULL) check_fail(__FILE__, __LINE__, "%s is not in ways.c", caller);
    now_ns += TICK_NS;
    if (calls++ > ENDLESS) check_fail(__FILE__, __LINE__, "it turns in circles");
    if (!armed || !is_due(first)) return false;
    let_act(&fail_meanwhile);
    errno = plan.way->error;
    return true;
}

/* ---- Time ---------------------------------------------------------------------------------- */

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * INT64_C(1000000000) + time->tv_nsec; }

static const struct timespec NO_TIME;

/* Time is up. Returns -1. */
static int expire(int64_t until_ns, int error) {
    if (until_ns > now_ns) now_ns = until_ns;
    errno = error;
    return -1;
}

int fail_clock_gettime(clockid_t clock, struct timespec *now) {
    (void)clock;
    *now = (struct timespec){.tv_sec = now_ns / 1000000000, .tv_nsec = now_ns % 1000000000};
    return 0;
}

int fail_nanosleep(const struct timespec *duration, struct timespec *left) {
    (void)left;
    now_ns += nanoseconds(duration);
    return 0;
}

int fail_sched_yield(int unused) {
    (void)unused;
    now_ns += YIELD_NS;
    return 0;
}

int fail_ppoll(struct pollfd *fds, nfds_t count, const struct timespec *left, const sigset_t *mask) {
    const int events = (ppoll)(fds, count, &NO_TIME, mask);
    if (events == 0) (void)expire(now_ns + nanoseconds(left), 0);
    return events;
}

int fail_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *left) {
    const int number = (sigtimedwait)(set, info, &NO_TIME);
    return number >= 0 ? number : expire(now_ns + nanoseconds(left), errno);
}

int fail_sem_clockwait(sem_t *sem, clockid_t clock, const struct timespec *until) {
    (void)clock;
    return (sem_trywait)(sem) == 0 ? 0 : expire(nanoseconds(until), ETIMEDOUT);
}

/* ---- Locks --------------------------------------------------------------------------------- */

const char *fail_lock_caller(const char *caller, const struct flock *lock) {
    return strcmp(caller, "os_lock") == 0 && lock->l_type == F_UNLCK ? "os_lock (to unlock)" : caller;
}

/* Whoever would sleep for ever is woken by a signal. */
int fail_fcntl(int fd, int how, struct flock *lock) {
    if (how != F_OFD_SETLKW) return (fcntl)(fd, how, lock);
    return (fcntl)(fd, F_OFD_SETLK, lock) == 0 ? 0 : expire(now_ns + YIELD_NS, EINTR);
}

/* In one thread nobody else holds it. Of a mutex whose owner died we have it. */
int fail_mutex_lock(int error, pthread_mutex_t *mutex) {
    owner_died = error == EOWNERDEAD;
    if (error != 0 && !owner_died) return error;
    if (pthread_mutex_trylock(mutex) != 0) check_fail(__FILE__, __LINE__, "somebody has left a mutex locked");
    return error;
}

int fail_mutex_consistent(pthread_mutex_t *mutex) {
    (void)fail_now("os_mutex_repair");
    (void)mutex;
    if (!owner_died) check_fail(__FILE__, __LINE__, "a mutex is repaired whose owner has not died");
    return 0;
}

int fail_cond_clockwait(const char *caller, pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock,
                        const struct timespec *until) {
    (void)cond;
    (void)clock;
    (void)pthread_mutex_unlock(mutex);
    let_act(&fail_asleep);
    (void)fail_mutex_lock(0, mutex);
    if (fail_now(caller)) return owner_died = errno == EOWNERDEAD, errno;
    (void)expire(nanoseconds(until), ETIMEDOUT);
    return errno;
}

/* ---- The rest ------------------------------------------------------------------------------ */

int fail_close(int fd) {
    const int result = close(fd);
    if (result != 0) check_fail(__FILE__, __LINE__, "descriptor %d is closed, and was not open", fd);
    return fail_now("os_close") ? -1 : result;
}

bool fail_is_short(void) { return plan.way->error == SHORT; }

/* One that fails. Not there: then somebody else has removed it. */
int fail_unlinkat(int directory, const char *name, int flags) {
    const int error = errno;
    if (error == ENOENT) (void)(unlinkat)(directory, name, flags);
    errno = error;
    return -1;
}

ssize_t fail_getrandom(void *to, size_t bytes, unsigned flags) {
    const ssize_t got = (getrandom)(to, bytes, flags);
    if (bytes == sizeof fail_instance) memcpy(&fail_instance, to, bytes);
    return got;
}

static long futex(va_list arguments) {
    const void *word = va_arg(arguments, const void *);
    const int how = va_arg(arguments, int);
    if (how == FUTEX_WAKE) return (syscall)(SYS_futex, word, how, va_arg(arguments, int), NULL, NULL, 0);
    const uint32_t expected = va_arg(arguments, uint32_t);
    const struct timespec *until = va_arg(arguments, const struct timespec *);
    const long result = (syscall)(SYS_futex, word, how, expected, &NO_TIME, NULL, FUTEX_BITSET_MATCH_ANY);
    return result != 0 && errno == ETIMEDOUT ? expire(nanoseconds(until), ETIMEDOUT) : result;
}

long fail_syscall(long number, ...) {
    long result;
    va_list arguments;
    va_start(arguments, number);
    if (number == SYS_futex) {
        result = futex(arguments);
    } else {
        const int first = va_arg(arguments, int), second = va_arg(arguments, int);
        result = (syscall)(number, first, second, NULL, 0);
    }
    va_end(arguments);
    return result;
}
