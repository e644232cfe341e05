/* See ends.h. */
#include "ends.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "checksum.h"
#include "handle.h"
#include "notifiers.h"

enum { HANG_MS = 60000 };

/* ---- Coming and going ---------------------------------------------------------------------- */

shmq *enter_as(const char *name, enum shmq_end end, const struct shmq_attr *attr) {
    shmq *q;
    CHECK(shmq_open(&q, name, end, O_CREAT, attr) == 0);
    return q;
}

shmq *enter(const char *name, enum shmq_end end, unsigned flags) {
    return enter_as(name, end, &(struct shmq_attr){CAPACITY, LONGEST, notifier_now->kind, flags, 0});
}

void leave(shmq *q) { CHECK(shmq_close(q) == 0); }

void close_end(shmq **q) {
    if (*q != NULL) leave(*q);
    *q = NULL;
}

void remove_queue(const char *name) { CHECK(shmq_unlink(name) == 0); }

void check_refused(const char *name, int oflag, const struct shmq_attr *attr, int error) {
    const int descriptors = check_descriptors(), mappings = check_mappings();
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        shmq *q = (shmq *)(void *)&q; /* anything: it must become NULL */
        CHECK_FAILS(shmq_open(&q, name, (enum shmq_end)end, oflag, attr), error);
        CHECK(q == NULL);
    }
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

/* ---- Messages ------------------------------------------------------------------------------ */

void put_number(shmq *producer, int number) { CHECK(shmq_send(producer, &number, sizeof number, -1) == 0); }

void take_number(shmq *consumer, int wanted) {
    int number = -1;
    CHECK(shmq_recv(consumer, &number, sizeof number, -1) == sizeof number);
    CHECK_EQUAL(number, wanted);
}

int recv_error(shmq *consumer, int timeout_ms) {
    int number;
    return shmq_recv(consumer, &number, sizeof number, timeout_ms) == -1 ? errno : 0;
}

int fill(shmq *producer, size_t length) {
    static const char message[LONGEST];
    CHECK(length <= sizeof message);
    while (shmq_send(producer, message, length, 0) == 0)
        continue;
    return errno;
}

int pass_one(shmq *q, int timeout_ms) {
    char byte = 'x';
    if (q->end == SHMQ_PRODUCER) return shmq_send(q, &byte, 1, timeout_ms);
    return shmq_recv(q, &byte, 1, timeout_ms) < 0 ? -1 : 0;
}

void hold(shmq *q) { CHECK((q->end == SHMQ_PRODUCER ? shmq_reserve(q, 8, -1) : shmq_peek(q, NULL, -1)) != NULL); }

void let_go(shmq *q) { CHECK((q->end == SHMQ_PRODUCER ? shmq_commit(q, 8) : shmq_release(q)) == 0); }

bool was_cut_short(void) { return errno == EINTR && notifier_now->kind == SHMQ_NOTIFY_SIGNAL; }

void write_pattern(unsigned char *message, size_t length, unsigned seed) {
    for (size_t at = 0; at < length; at++)
        message[at] = (unsigned char)(at * 7 + seed + length);
}

/* ---- The object ---------------------------------------------------------------------------- */

bool exists(const char *name) {
    struct stat status;
    return lstat(check_path(name), &status) == 0;
}

int open_object(const char *name) {
    const int fd = open(check_path(name), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    CHECK(fd >= 0);
    return fd;
}

void make_file(const char *name, const char *text) {
    const int fd = open(check_path(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(close(fd) == 0);
}

static off_t offset_in(int page, size_t offset) { return page * (off_t)getpagesize() + (off_t)offset; }

uint64_t word_at(int fd, int page, size_t offset) {
    uint64_t word = 0;
    CHECK(pread(fd, &word, sizeof word, offset_in(page, offset)) == sizeof word);
    return word;
}

void set_word(int fd, int page, size_t offset, uint64_t word) {
    CHECK(pwrite(fd, &word, sizeof word, offset_in(page, offset)) == sizeof word);
}

uint64_t any_garbage(void) {
    static const uint64_t extremes[] = {0, 1, 2, UINT64_MAX, UINT64_MAX - 1, (uint64_t)1 << 63};
    return check_below(2) == 0 ? check_random() : extremes[check_below(6)];
}

bool is_rung(const char *name) {
    const int fd = open_object(name);
    const uint64_t word = word_at(fd, PAGE_MEETING, offsetof(struct meeting, items));
    CHECK(close(fd) == 0);
    return word != 0;
}

static bool is_asleep(int fd, enum shmq_end end) {
    const int page = end == SHMQ_PRODUCER ? PAGE_PRODUCER : PAGE_CONSUMER;
    return word_at(fd, page, offsetof(struct end_page, ticket)) % 2 == 1;
}

void await_asleep(const char *name, enum shmq_end end) {
    const int64_t until = check_now_ms() + HANG_MS;
    const int fd = open_object(name);
    while (!is_asleep(fd, end)) {
        CHECK(check_now_ms() < until);
        sched_yield();
    }
    CHECK(close(fd) == 0);
}

void stop_asleep(const char *name, enum shmq_end end, pid_t pid) {
    int status;
    const int fd = open_object(name);
    for (bool stopped = false; !stopped;) {
        await_asleep(name, end);
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        stopped = is_asleep(fd, end);
        if (!stopped) CHECK(kill(pid, SIGCONT) == 0);
    }
    CHECK(close(fd) == 0);
}

void remove_doorbells(const char *name, uint64_t instance) {
    for (int items = 0; notifier_now->prefix != NULL && items <= 1; items++)
        CHECK(unlink(notifier_path(name, instance, items != 0)) == 0);
}

/* ---- The process --------------------------------------------------------------------------- */

void nap_ms(long ms) { usleep((useconds_t)ms * 1000); }

void need_checksums(void) {
    if (!CHECKSUM_BUILT) check_skip("xxhash.h is missing: no checksums are built");
}

void require_root(void) {
    if (geteuid() != 0) check_skip("not root: cannot become another user");
    CHECK(chmod(".", 0777) == 0);
}

void become(uid_t user) {
    if (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)
        check_skip("cannot become another user here");
}

void join_or_skip(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == CHECK_SKIPPED) check_skip("cannot become another user here");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void mount_small(const char *directory, const char *options) {
    const int spaces = geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER;
    if (unshare(spaces) != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("small", directory, "tmpfs", 0, options) != 0)
        check_skip("cannot mount a file system here: %s", strerror(errno));
}

volatile sig_atomic_t ticks;

static void tick(int signal_number) {
    (void)signal_number;
    ticks++;
}

timer_t start_ticking(int flags) {
    const struct sigaction action = {.sa_handler = tick, .sa_flags = flags};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const struct itimerspec often = {{0, 5000000}, {0, 5000000}};
    timer_t timer;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &often, NULL) == 0);
    return timer;
}
