/* Any call to the system that shmq_open makes fails: then it fails in the interface's words, and
 * leaves nothing: no name, no doorbell, no descriptor, no mapping.
 *
 * The linker puts __wrap_X in the place of X (see this test's linkopts in BUILD). */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handle.h"
#include "notifiers.h"

/* ---- Calls that fail ----------------------------------------------------------------------- */

static struct {
    bool armed;
    int calls, target;       /* the call that fails, by its number */
    const char *only;        /* count these alone; NULL: all */
    const char *hit;         /* what has failed */
    void (*meanwhile)(void); /* happens at that moment */
} fault;

static uint64_t last_random; /* the instance of the last queue that was planned here */

static bool fails(const char *call, int error) {
    if (!fault.armed || (fault.only != NULL && strcmp(call, fault.only) != 0)) return false;
    if (fault.only == NULL && strcmp(call, "fstat") == 0) return false; /* has a test of its own */
    if (fault.calls++ != fault.target) return false;
    fault.armed = false;
    fault.hit = call;
    if (fault.meanwhile != NULL) fault.meanwhile();
    errno = error;
    return true;
}

/* Functions that answer `failure`, with errno, when they fail. */
#define WRAP(type, name, failure, error, declared, passed)                                                             \
    type __real_##name declared;                                                                                       \
    type __wrap_##name declared;                                                                                       \
    type __wrap_##name declared { return fails(#name, error) ? failure : __real_##name passed; }
/* … and those that answer the error itself. */
#define WRAP_ERROR(name, error, declared, passed) WRAP(int, name, error, error, declared, passed)

WRAP(int, fstat, -1, ENOMEM, (int fd, struct stat *status), (fd, status))
WRAP(int, stat, -1, ENOMEM, (const char *path, struct stat *status), (path, status))
WRAP(int, fstatat, -1, ENOMEM, (int at, const char *path, struct stat *status, int flags), (at, path, status, flags))
WRAP(int, linkat, -1, EPERM, (int from, const char *a, int to, const char *b, int flags), (from, a, to, b, flags))
WRAP(int, fchmod, -1, EPERM, (int fd, mode_t mode), (fd, mode))
WRAP(int, chmod, -1, EPERM, (const char *path, mode_t mode), (path, mode))
WRAP(int, chown, -1, EPERM, (const char *path, uid_t user, gid_t group), (path, user, group))
WRAP(int, mkfifoat, -1, ENOSPC, (int at, const char *path, mode_t mode), (at, path, mode))
WRAP(ssize_t, pread, -1, ENOMEM, (int fd, void *to, size_t bytes, off_t at), (fd, to, bytes, at))
WRAP(ssize_t, __pread_chk, -1, ENOMEM, (int fd, void *to, size_t bytes, off_t at, size_t room),
     (fd, to, bytes, at, room))
WRAP(ssize_t, pwrite, -1, ENOMEM, (int fd, const void *from, size_t bytes, off_t at), (fd, from, bytes, at))
WRAP(void *, mmap, MAP_FAILED, ENOMEM, (void *at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset))
WRAP(int, madvise, -1, ENOMEM, (void *at, size_t bytes, int advice), (at, bytes, advice))
WRAP(void *, aligned_alloc, NULL, ENOMEM, (size_t alignment, size_t bytes), (alignment, bytes))
WRAP(int, sem_init, -1, ENOMEM, (sem_t * sem, int shared, unsigned value), (sem, shared, value))
WRAP(int, __open_2, -1, EMFILE, (const char *path, int flags), (path, flags))
WRAP(int, __openat_2, -1, EMFILE, (int at, const char *path, int flags), (at, path, flags))
WRAP_ERROR(posix_fallocate, ENOMEM, (int fd, off_t at, off_t bytes), (fd, at, bytes))
WRAP_ERROR(pthread_mutex_init, ENOMEM, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attr), (mutex, attr))
WRAP_ERROR(pthread_cond_init, ENOMEM, (pthread_cond_t * cond, const pthread_condattr_t *attr), (cond, attr))
WRAP_ERROR(pthread_sigmask, EINVAL, (int how, const sigset_t *set, sigset_t *old), (how, set, old))

/* Those with a varying number of arguments take their last one whether it is there or not. */
#define LAST_ARGUMENT(type, before)                                                                                    \
    va_list arguments;                                                                                                 \
    va_start(arguments, before);                                                                                       \
    type last = va_arg(arguments, type);                                                                               \
    va_end(arguments)

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    LAST_ARGUMENT(unsigned, flags);
    return fails("open", EMFILE) ? -1 : __real_open(path, flags, last);
}

int __real_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...) {
    LAST_ARGUMENT(unsigned, flags);
    return fails("openat", EMFILE) ? -1 : __real_openat(at, path, flags, last);
}

/* To give a lock back never fails. */
int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...) {
    LAST_ARGUMENT(struct flock *, command);
    const bool locks = command == F_OFD_SETLK && last->l_type != F_UNLCK;
    return locks && fails("fcntl", ENOLCK) ? -1 : __real_fcntl(fd, command, last);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    va_list rest;
    long argument[6];
    va_start(rest, number);
    for (size_t at = 0; at < 6; at++)
        argument[at] = va_arg(rest, long);
    va_end(rest);
    if (fails("syscall", EMFILE)) return -1;
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}

sem_t *__real_sem_open(const char *name, int flags, ...);
sem_t *__wrap_sem_open(const char *name, int flags, ...);
sem_t *__wrap_sem_open(const char *name, int flags, ...) {
    return fails("sem_open", EMFILE) ? SEM_FAILED : __real_sem_open(name, flags);
}

ssize_t __real_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags) {
    if (fails("getrandom", ENOMEM)) return -1;
    const ssize_t got = __real_getrandom(to, bytes, flags);
    if (bytes == sizeof last_random) memcpy(&last_random, to, sizeof last_random);
    return got;
}

/* ---- Every call in turn -------------------------------------------------------------------- */

static int try_open(shmq **q, const char *name, enum shmq_end end) {
    const struct shmq_attr attr = {.capacity = 4096, .notify = notifier_now->kind};
    fault.calls = 0;
    fault.hit = NULL;
    fault.armed = true;
    const int result = shmq_open(q, name, end, O_CREAT, &attr);
    const int error = errno;
    fault.armed = false;
    errno = error;
    return result;
}

static int files_here(void) {
    int count = -2; /* . and .. */
    DIR *directory = opendir(".");
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    CHECK(closedir(directory) == 0);
    return count;
}

static bool is_there(const char *path) { return faccessat(AT_FDCWD, path, F_OK, 0) == 0; }

/* What must be there, or not, whenever an open has failed. */
static void check_left(const char *name, uint64_t instance, bool existed) {
    CHECK_EQUAL(is_there(check_path(name)), existed);
    CHECK_EQUAL(notifier_doorbells(name, instance), existed && notifier_now->prefix != NULL ? 2 : 0);
    if (!existed) CHECK_EQUAL(files_here(), 0);
}

/* One open with one fault. False: it was the one after the last. */
static bool open_with_fault(const char *name, enum shmq_end end, uint64_t instance, int target) {
    const int descriptors = check_descriptors(), mappings = check_mappings();
    shmq *q = (shmq *)(void *)&q;
    fault.target = target;
    const int result = try_open(&q, name, end), error = errno;
    const char *hit = fault.hit == NULL ? "nothing" : fault.hit;
    check_note("%s, %s, end %d, call %d: %s", notifier_now->name, name, end, target, hit);
    if (result == 0) {
        CHECK(shmq_close(q) == 0);
        if (instance == 0) CHECK(shmq_unlink(name) == 0);
    } else {
        CHECK(q == NULL);
        if (!notifier_open_says(error)) check_fail(__FILE__, __LINE__, "it says %s", strerrorname_np(error));
    }
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
    check_left(name, instance == 0 ? last_random : instance, instance != 0);
    return fault.hit != NULL;
}

/* All calls of a creation, or of an attachment, in turn. */
static void create_with_faults(const char *name, int least) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        int target = 0;
        while (open_with_fault(name, (enum shmq_end)end, 0, target))
            target++;
        CHECK(target >= least);
    }
}

static void attach_with_faults(const char *name, int least) {
    shmq *q;
    fault.target = -1;
    CHECK(try_open(&q, name, SHMQ_PRODUCER) == 0);
    const uint64_t instance = q->region.header.instance;
    CHECK(shmq_close(q) == 0);
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        int target = 0;
        while (open_with_fault(name, (enum shmq_end)end, instance, target))
            target++;
        CHECK(target >= least);
    }
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(a_creation_in_which_any_call_fails_leaves_nothing) { create_with_faults(name, 12); }

TEST_NOTIFIERS_EVERYWHERE(an_attachment_in_which_any_call_fails_changes_nothing) { attach_with_faults(name, 8); }

/* fstat tells which queue a doorbell belongs to: one that failed must not become part of a name. */
TEST_NOTIFIERS_EVERYWHERE(an_open_in_which_any_fstat_fails_leaves_nothing) {
    fault.only = "fstat";
    create_with_faults(name, 0);
    attach_with_faults(name, 1);
    fault.only = NULL;
}

/* ---- Somebody else came meanwhile ---------------------------------------------------------- */

static struct guest {
    const char *name;
    check_gate created, attached, go;
} *guest;

static void let_guest_in(void) {
    check_pass(&guest->created);
    check_wait(&guest->attached, 1);
}

static void be_guest(void *argument) {
    (void)argument;
    shmq *q;
    char message[8];
    check_wait(&guest->created, 1);
    CHECK(shmq_open(&q, guest->name, SHMQ_CONSUMER, 0, NULL) == 0);
    check_pass(&guest->attached);
    CHECK(shmq_recv(q, message, sizeof message, -1) == 5);
    CHECK(shmq_close(q) == 0);
    check_pass(&guest->go);
}

/* The last thing that a creator does can fail after others have seen its queue. */
TEST_NOTIFIERS_EVERYWHERE(a_creator_that_fails_leaves_the_queue_to_whoever_came_meanwhile) {
    static const struct {
        enum shmq_notify kind;
        const char *call;
    } late[] = {{SHMQ_NOTIFY_NAMED, "sem_open"},
                {SHMQ_NOTIFY_FIFO, "mkfifoat"},
                {SHMQ_NOTIFY_SIGNAL, "stat"},
                {SHMQ_NOTIFY_COND, "stat"}};
    for (size_t row = 0; row < sizeof late / sizeof late[0]; row++) {
        if (late[row].kind != notifier_now->kind) continue;
        guest = check_shared(sizeof *guest);
        guest->name = name;
        fault.only = late[row].call;
        fault.target = 0;
        pid_t child = check_spawn(be_guest, NULL);
        fault.meanwhile = let_guest_in;
        shmq *q;
        CHECK(try_open(&q, name, SHMQ_PRODUCER) == -1 && q == NULL);
        fault.meanwhile = NULL;
        fault.target = -1;
        CHECK(is_there(check_path(name)));
        CHECK(try_open(&q, name, SHMQ_PRODUCER) == 0);
        CHECK(shmq_send(q, "hello", 5, -1) == 0);
        check_wait(&guest->go, 1);
        check_join(child);
        CHECK(shmq_close(q) == 0);
        CHECK(shmq_unlink(name) == 0);
        fault.only = NULL;
    }
}

int main(int argc, char **argv) { return check_main(argc, argv); }
