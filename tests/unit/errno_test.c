/* Every errno that shmq.h promises: from which call, when, and what it leaves behind. */
#include "check.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

enum {
    LONG_MS = 20000,  /* a time-out that must not be needed */
    NOTICE_MS = 2000, /* a death is noticed by a slice of 200 ms: ten times that */
    LENGTH = 1000,    /* four such messages fill the ring of a page, nearly */
    SOMEBODY = 65534, /* a user without any rights */
    STRANGER = 12345  /* another one */
};
static const struct shmq_attr SMALL = {.capacity = 1, .max_message = LENGTH};

struct ends {
    const char *name;
    shmq *producer, *consumer;
    int descriptors; /* of this process, before */
};

static shmq *open_end(const char *name, enum shmq_end end) {
    struct shmq_attr attr = SMALL;
    attr.notify = notifier_now->kind;
    return enter_as(name, end, &attr);
}

static struct ends open_ends(void) {
    struct ends ends = {.name = check_name("q"), .descriptors = check_descriptors()};
    ends.producer = open_end(ends.name, SHMQ_PRODUCER);
    ends.consumer = open_end(ends.name, SHMQ_CONSUMER);
    return ends;
}

static void close_ends(struct ends *ends) {
    close_end(&ends->producer);
    close_end(&ends->consumer);
    CHECK(shmq_unlink(ends->name) == 0);
}

/* ---- The waiting calls, as a table --------------------------------------------------------- */

typedef int waiting_call(shmq *q, int timeout_ms);

static int do_send(shmq *q, int timeout_ms) {
    char message[LENGTH] = "";
    return shmq_send(q, message, sizeof message, timeout_ms);
}

static int do_reserve(shmq *q, int timeout_ms) { return shmq_reserve(q, LENGTH, timeout_ms) == NULL ? -1 : 0; }

static int do_drain(shmq *q, int timeout_ms) { return shmq_drain(q, timeout_ms); }

static int do_recv(shmq *q, int timeout_ms) {
    char message[LENGTH];
    return (int)shmq_recv(q, message, sizeof message, timeout_ms);
}

static int do_peek(shmq *q, int timeout_ms) { return shmq_peek(q, NULL, timeout_ms) == NULL ? -1 : 0; }

static const struct waiting_row {
    const char *name;
    enum shmq_end end;
    waiting_call *call;
} WAITING[] = {
    {"send", SHMQ_PRODUCER, do_send}, {"reserve", SHMQ_PRODUCER, do_reserve}, {"drain", SHMQ_PRODUCER, do_drain},
    {"recv", SHMQ_CONSUMER, do_recv}, {"peek", SHMQ_CONSUMER, do_peek},
};
enum { WAITING_COUNT = sizeof WAITING / sizeof WAITING[0] };

/* A pair of ends and one of the calls on one of them, which has to wait: the ring is full, or
 * empty. */
typedef void waiting_body(const struct waiting_row *row, struct ends *ends, shmq *q);

static void for_every_waiting_call(waiting_body *body) {
    for (size_t row = 0; row < WAITING_COUNT; row++) {
        struct ends ends = open_ends();
        check_note("%s, %s", notifier_now->name, WAITING[row].name);
        if (WAITING[row].end == SHMQ_PRODUCER) fill(ends.producer, LENGTH);
        body(&WAITING[row], &ends, WAITING[row].end == SHMQ_PRODUCER ? ends.producer : ends.consumer);
        close_ends(&ends);
    }
}

/* ---- EAGAIN, ETIMEDOUT, EINTR -------------------------------------------------------------- */

static void times_out(const struct waiting_row *row, struct ends *ends, shmq *q) {
    (void)ends;
    CHECK_FAILS(row->call(q, 0), EAGAIN);
    CHECK_FAILS(row->call(q, 1), ETIMEDOUT);
    CHECK_FAILS(row->call(q, 0), EAGAIN);
}

TEST_NOTIFIERS(who_cannot_go_on_is_told_eagain_or_etimedout) { for_every_waiting_call(times_out); }

/* Those that cannot tell that a handler ran go on. */
static void is_interrupted(const struct waiting_row *row, struct ends *ends, shmq *q) {
    struct shmq_stat before, after;
    CHECK(shmq_stat(ends->producer, &before) == 0);
    ticks = 0;
    if (notifier_now->tells_signals) {
        CHECK_FAILS(row->call(q, LONG_MS), EINTR);
        CHECK_FAILS(row->call(q, -1), EINTR);
    } else {
        const int64_t start = check_now_ms();
        CHECK_FAILS(row->call(q, 100), ETIMEDOUT);
        CHECK(check_now_ms() - start >= 99);
    }
    CHECK(ticks > 0);
    CHECK(shmq_stat(ends->producer, &after) == 0);
    CHECK_EQUAL(before.used, after.used); /* and nothing has happened */
    CHECK_EQUAL(before.sent, after.sent);
    CHECK_EQUAL(before.received, after.received);
    CHECK_FAILS(row->call(q, 0), EAGAIN);
}

TEST_NOTIFIERS(a_signal_handler_interrupts_every_wait) {
    timer_t timer = start_ticking(0);
    for_every_waiting_call(is_interrupted);
    CHECK(timer_delete(timer) == 0);
}

TEST_NOTIFIERS(a_signal_handler_that_restarts_calls_interrupts_every_wait_too) {
    timer_t timer = start_ticking(SA_RESTART);
    for_every_waiting_call(is_interrupted);
    CHECK(timer_delete(timer) == 0);
}

/* ---- EINVAL: arguments --------------------------------------------------------------------- */

TEST(calls_without_a_handle_are_invalid) {
    char message[8] = "";
    size_t length;
    struct shmq_stat stat;
    CHECK_FAILS(shmq_send(NULL, message, 1, 0), EINVAL);
    CHECK_FAILS(shmq_recv(NULL, message, 1, 0), EINVAL);
    CHECK_FAILS(shmq_reserve(NULL, 1, 0), EINVAL);
    CHECK_FAILS(shmq_commit(NULL, 1), EINVAL);
    CHECK_FAILS(shmq_peek(NULL, &length, 0), EINVAL);
    CHECK_FAILS(shmq_release(NULL), EINVAL);
    CHECK_FAILS(shmq_drain(NULL, 0), EINVAL);
    CHECK_FAILS(shmq_stat(NULL, &stat), EINVAL);
    CHECK_FAILS(shmq_fd(NULL), EINVAL);
    CHECK_FAILS(shmq_arm(NULL), EINVAL);
    CHECK_FAILS(shmq_close(NULL), EINVAL);
    CHECK_FAILS(shmq_unlink(NULL), EINVAL);
    CHECK_FAILS(shmq_open(NULL, check_name("q"), SHMQ_PRODUCER, O_CREAT, NULL), EINVAL);
    CHECK_FAILS(shmq_unlink(check_name("q")), ENOENT);
}

TEST(calls_on_the_wrong_end_are_invalid) {
    struct ends ends = open_ends();
    char message[8] = "";
    for (int sent = 0; sent < 2; sent++) {
        CHECK_FAILS(shmq_recv(ends.producer, message, sizeof message, 0), EINVAL);
        CHECK_FAILS(shmq_peek(ends.producer, NULL, 0), EINVAL);
        CHECK_FAILS(shmq_send(ends.consumer, message, 1, 0), EINVAL);
        CHECK_FAILS(shmq_reserve(ends.consumer, 1, 0), EINVAL);
        CHECK_FAILS(shmq_commit(ends.consumer, 0), EINVAL);
        CHECK_FAILS(shmq_drain(ends.consumer, 0), EINVAL);
        if (sent == 0) { /* … and no less when they would succeed on the right one */
            CHECK(shmq_send(ends.producer, message, 1, 0) == 0);
            CHECK(shmq_peek(ends.consumer, NULL, 0) != NULL);
        }
    }
    CHECK(shmq_recv(ends.consumer, message, sizeof message, 0) == 1);
    close_ends(&ends);
}

TEST(messages_without_memory_are_invalid) {
    struct ends ends = open_ends();
    CHECK_FAILS(shmq_send(ends.producer, NULL, 1, 0), EINVAL);
    CHECK_FAILS(shmq_recv(ends.consumer, NULL, 1, 0), EINVAL);
    CHECK_FAILS(shmq_stat(ends.producer, NULL), EINVAL);
    CHECK_FAILS(shmq_stat(ends.consumer, NULL), EINVAL);
    CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
    CHECK_FAILS(shmq_recv(ends.consumer, NULL, 1, 0), EINVAL);
    CHECK(do_recv(ends.consumer, 0) == 1);
    close_ends(&ends);
}

TEST(negative_time_outs_other_than_for_ever_are_invalid) {
    static const int timeouts_ms[] = {-2, -1000, INT_MIN};
    for (size_t end = 0; end < sizeof timeouts_ms / sizeof timeouts_ms[0]; end++)
        for (size_t row = 0; row < WAITING_COUNT; row++) {
            struct ends ends = open_ends(); /* none of these calls would have to wait here */
            check_note("%s, timeout %d", WAITING[row].name, timeouts_ms[end]);
            const bool produces = WAITING[row].end == SHMQ_PRODUCER;
            if (!produces) CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
            shmq *q = produces ? ends.producer : ends.consumer;
            CHECK_FAILS(WAITING[row].call(q, timeouts_ms[end]), EINVAL);
            CHECK(WAITING[row].call(q, INT_MAX) >= 0);
            close_ends(&ends);
        }
}

/* ---- What open and unlink answer to names -------------------------------------------------- */

/* What the names below mean, in the test's own directory. */
static void make_things(void) {
    shmq *q;
    CHECK(shmq_open(&q, "./queue", SHMQ_PRODUCER, O_CREAT | O_EXCL, &SMALL) == 0);
    CHECK(shmq_close(q) == 0);
    make_file("./empty", "");
    make_file("./text", "This is no queue, and longer than the header of one; some more words.");
    CHECK(mkdir("./directory", 0700) == 0);
    CHECK(symlink("queue", "./link") == 0);
    CHECK(symlink("nothing", "./dangling") == 0);
    CHECK(mkfifo("./fifo", 0600) == 0);
}

static void remove_things(void) {
    static const char *const files[] = {"./empty", "./text", "./link", "./dangling", "./fifo"};
    for (size_t at = 0; at < sizeof files / sizeof files[0]; at++)
        CHECK(unlink(files[at]) == 0);
    CHECK(rmdir("./directory") == 0);
    CHECK(shmq_unlink("./queue") == 0);
}

/* error: of opening with oflag 0, O_CREAT, O_CREAT | O_EXCL, and of unlinking; 0 where that
 * would succeed. */
static const struct name_row {
    const char *name;
    int attach, create, create_new, unlink;
} NAMES[] = {
    {NULL, EINVAL, EINVAL, EINVAL, EINVAL},
    {"", EINVAL, EINVAL, EINVAL, EINVAL},
    {"queue", EINVAL, EINVAL, EINVAL, EINVAL},
    {".", EINVAL, EINVAL, EINVAL, EINVAL},
    {"/", EINVAL, EINVAL, EINVAL, EINVAL},
    {"/.", EINVAL, EINVAL, EINVAL, EINVAL},
    {"/..", EINVAL, EINVAL, EINVAL, EINVAL},
    {"./", EINVAL, EINVAL, EINVAL, EINVAL},
    {"./..", EINVAL, EINVAL, EINVAL, EINVAL},
    {"./directory/", EINVAL, EINVAL, EINVAL, EINVAL},
    {"./missing", ENOENT, 0, 0, ENOENT},
    {"./missing/q", ENOENT, ENOENT, ENOENT, ENOENT},
    {"./text/q", ENOENT, ENOENT, ENOENT, ENOENT},
    {"./queue", 0, 0, EEXIST, 0},
    {"./text", EPROTO, EPROTO, EEXIST, EPROTO},
    {"./empty", EPROTO, EPROTO, EEXIST, EPROTO},
    {"./directory", EPROTO, EPROTO, EEXIST, EPROTO},
    {"./fifo", EPROTO, EPROTO, EEXIST, EPROTO},
    {"/dev/null", EPROTO, EPROTO, EEXIST, EPROTO},
    {"./link", ELOOP, ELOOP, EEXIST, ELOOP},
    {"./dangling", ELOOP, ELOOP, EEXIST, ELOOP},
};

static void check_open_fails(const char *name, int oflag, int error) {
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER && error != 0; end++) {
        shmq *q = (shmq *)(void *)&q; /* anything: it must become NULL */
        const int descriptors = check_descriptors();
        CHECK_FAILS(shmq_open(&q, name, (enum shmq_end)end, oflag, &SMALL), error);
        CHECK(q == NULL);
        CHECK_EQUAL(check_descriptors(), descriptors);
    }
}

TEST(every_name_that_is_no_queue_has_its_errno) {
    make_things();
    for (size_t row = 0; row < sizeof NAMES / sizeof NAMES[0]; row++) {
        const struct name_row *name = &NAMES[row];
        check_note("name %s", name->name == NULL ? "NULL" : name->name);
        check_open_fails(name->name, 0, name->attach);
        check_open_fails(name->name, O_CREAT, name->create);
        check_open_fails(name->name, O_CREAT | O_EXCL, name->create_new);
        if (name->unlink != 0) CHECK_FAILS(shmq_unlink(name->name), name->unlink);
    }
    remove_things(); /* so all are still there */
}

TEST(a_name_may_have_255_bytes_and_a_path_less_than_4096) {
    char name[6000];
    shmq *q;
    memset(name, 'q', sizeof name);
    memcpy(name, "./", 2);
    name[2 + 255] = '\0';
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, &SMALL) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
    static const size_t lengths[] = {2 + 256, 4095, 4096, 4999};
    for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++) {
        memset(name + 2, 'q', sizeof name - 2);
        name[lengths[row]] = '\0';
        check_note("length %zu", lengths[row]);
        check_open_fails(name, O_CREAT, ENAMETOOLONG);
        check_open_fails(name, 0, ENAMETOOLONG);
        check_open_fails(name + 1, O_CREAT, ENAMETOOLONG); /* a shared-memory object */
        CHECK_FAILS(shmq_unlink(name), ENAMETOOLONG);
        memcpy(name + lengths[row], "/q", 3); /* in a directory of that length */
        check_open_fails(name, O_CREAT, ENAMETOOLONG);
        CHECK_FAILS(shmq_unlink(name), ENAMETOOLONG);
    }
}

/* ---- What open answers to its other arguments ---------------------------------------------- */

TEST(flags_of_open_other_than_creat_and_excl_are_invalid) {
    static const int oflags[] = {
        O_EXCL, O_RDWR, O_WRONLY, O_CREAT | O_TRUNC, O_CREAT | O_RDWR, O_CREAT | O_EXCL | O_NONBLOCK, O_CLOEXEC, -1};
    const char *name = check_name("q");
    for (size_t row = 0; row < sizeof oflags / sizeof oflags[0]; row++) {
        check_note("oflag 0%o", (unsigned)oflags[row]);
        check_open_fails(name, oflags[row], EINVAL);
    }
    CHECK_FAILS(shmq_unlink(name), ENOENT);
}

TEST(ends_other_than_producer_and_consumer_are_invalid) {
    static const int ends[] = {-1, 2, 3, INT_MAX};
    const char *name = check_name("q");
    for (size_t row = 0; row < sizeof ends / sizeof ends[0]; row++) {
        shmq *q = (shmq *)(void *)&q;
        CHECK_FAILS(shmq_open(&q, name, (enum shmq_end)ends[row], O_CREAT, NULL), EINVAL);
        CHECK(q == NULL);
    }
    CHECK_FAILS(shmq_unlink(name), ENOENT);
}

TEST(modes_that_read_without_writing_or_do_more_are_invalid) {
    static const mode_t modes[] = {0640, 0620, 0604, 0602,  0400,  0200,  0700,   0610,
                                   0661, 0777, 0001, 01600, 02600, 04600, 010600, (mode_t)-1};
    const char *name = check_name("q");
    shmq *q;
    for (int exists = 0; exists < 2; exists++) {
        for (size_t row = 0; row < sizeof modes / sizeof modes[0]; row++) {
            const struct shmq_attr attr = {.capacity = 1, .mode = modes[row]};
            check_note("mode 0%o, exists %d", modes[row], exists);
            CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &attr), EINVAL);
            CHECK(q == NULL);
        }
        if (!exists) {
            CHECK_FAILS(shmq_unlink(name), ENOENT);
            leave(open_end(name, SHMQ_PRODUCER));
        }
    }
    CHECK(shmq_unlink(name) == 0);
}

TEST(modes_in_pairs_are_given_exactly_whatever_the_umask) {
    static const mode_t modes[][2] = {{0, 0600}, {0600, 0600}, {0660, 0660}, {0606, 0606}, {0666, 0666}};
    static const mode_t umasks[] = {0, 0022, 0077, 0777};
    for (size_t row = 0; row < sizeof modes / sizeof modes[0]; row++)
        for (size_t mask = 0; mask < sizeof umasks / sizeof umasks[0]; mask++) {
            const struct shmq_attr attr = {.capacity = 1, .mode = modes[row][0]};
            const char *name = check_name("q");
            struct stat status;
            shmq *q;
            check_note("mode 0%o, umask 0%o", modes[row][0], umasks[mask]);
            mode_t before = umask(umasks[mask]);
            CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &attr) == 0);
            (void)umask(before);
            CHECK(stat(check_path(name), &status) == 0);
            CHECK_EQUAL(status.st_mode & 07777, modes[row][1]);
            CHECK(shmq_close(q) == 0);
            CHECK(shmq_unlink(name) == 0);
        }
}

TEST(unknown_notifiers_and_flags_are_invalid) {
    static const struct shmq_attr attrs[] = {
        {.notify = SHMQ_NOTIFY_SPIN + 1},
        {.notify = 255},
        {.notify = UINT_MAX},
        {.flags = 16},
        {.flags = UINT_MAX},
        {.flags = 1u << 31},
        {.flags = SHMQ_EPHEMERAL | 1u << 8},
    };
    const char *name = check_name("q");
    for (size_t row = 0; row < sizeof attrs / sizeof attrs[0]; row++) {
        shmq *q;
        check_note("row %zu", row);
        CHECK_FAILS(shmq_open(&q, name, SHMQ_CONSUMER, O_CREAT, &attrs[row]), EINVAL);
        CHECK(q == NULL);
        CHECK_FAILS(shmq_unlink(name), ENOENT);
    }
}

/* ---- ENOTSUP ------------------------------------------------------------------------------- */

/* Every flag of this ABI is built; a queue with another one is of a later version. */
TEST(every_flag_is_built_and_a_queue_with_another_one_is_no_queue_here) {
    static const struct {
        uint64_t word; /* notify and flags, as they stand in the header */
        int error;
    } rows[] = {
        {(uint64_t)SHMQ_MANY_PRODUCERS << 32, 0}, {(uint64_t)SHMQ_MANY_CONSUMERS << 32, 0},
        {(uint64_t)SHMQ_CHECKSUM << 32, 0},       {(uint64_t)2 * SHMQ_CHECKSUM << 32, EPROTO},
        {SHMQ_NOTIFY_SPIN + 1, EPROTO},
    };
    const char *name = check_name("q");
    leave(open_end(name, SHMQ_PRODUCER));
    int fd = open_object(name);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        check_note("row %zu", row);
        set_word(fd, PAGE_HEADER, 0x30, rows[row].word);
        if (rows[row].error == 0)
            leave(open_end(name, SHMQ_PRODUCER));
        else
            check_open_fails(name, 0, rows[row].error);
    }
    CHECK(close(fd) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(the_guard_can_be_asked_for_again_and_does_no_harm) {
    struct ends ends = open_ends();
    CHECK(shmq_guard_sigbus() == 0);
    CHECK(shmq_guard_sigbus() == 0);
    CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
    CHECK(do_recv(ends.consumer, 0) == 1);
    close_ends(&ends);
}

TEST(a_file_system_without_unnamed_files_is_not_supported) {
    if (geteuid() != 0) check_skip("not root, whom /proc would let create if it could");
    check_open_fails("/proc/shmq-test", O_CREAT, ENOTSUP);
    check_open_fails("/proc/shmq-test", O_CREAT | O_EXCL, ENOTSUP);
    check_open_fails("/proc/shmq-test", 0, ENOENT);
}

/* ---- EBUSY --------------------------------------------------------------------------------- */

TEST(an_end_that_is_taken_is_busy) {
    struct ends ends = open_ends();
    check_open_fails(ends.name, 0, EBUSY);
    check_open_fails(ends.name, O_CREAT, EBUSY);
    close_end(&ends.producer);
    ends.producer = open_end(ends.name, SHMQ_PRODUCER);
    close_ends(&ends);
}

TEST(a_reservation_keeps_send_busy) {
    struct ends ends = open_ends();
    CHECK(shmq_reserve(ends.producer, 1, 0) != NULL);
    CHECK_FAILS(shmq_send(ends.producer, "x", 1, 0), EBUSY);
    CHECK(shmq_release(ends.producer) == 0);
    CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
    close_ends(&ends);
}

/* Takes the life-cycle lease as a process would that was stopped while it opens (F_RDLCK) or
 * unlinks (F_WRLCK). */
static int hold_life_cycle(const char *name, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    int fd = open_object(name);
    CHECK(fcntl(fd, F_OFD_SETLK, &lock) == 0);
    return fd;
}

/* Not before a second has passed, and not for ever. */
static void check_patience(int64_t start) {
    CHECK(check_now_ms() - start >= 999);
    CHECK(check_now_ms() - start < check_late(10000));
}

TEST(a_life_cycle_that_is_held_for_a_second_is_busy) {
    const char *name = check_name("q");
    shmq *q = open_end(name, SHMQ_PRODUCER);
    int holder = hold_life_cycle(name, F_WRLCK);
    shmq *other = (shmq *)(void *)&other;
    int64_t start = check_now_ms();
    CHECK_FAILS(shmq_open(&other, name, SHMQ_CONSUMER, 0, NULL), EBUSY);
    check_patience(start);
    CHECK(other == NULL);
    CHECK(close(holder) == 0);
    holder = hold_life_cycle(name, F_RDLCK);
    start = check_now_ms();
    CHECK_FAILS(shmq_unlink(name), EBUSY);
    check_patience(start);
    CHECK(close(holder) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(close_tells_that_it_could_not_unlink_an_ephemeral_queue) {
    const struct shmq_attr attr = {.capacity = 1, .flags = SHMQ_EPHEMERAL};
    const char *name = check_name("q");
    shmq *q;
    CHECK(shmq_open(&q, name, SHMQ_CONSUMER, O_CREAT, &attr) == 0);
    int holder = hold_life_cycle(name, F_RDLCK);
    const int64_t start = check_now_ms();
    CHECK_FAILS(shmq_close(q), EBUSY); /* and is freed: the leak checker looks */
    check_patience(start);
    CHECK(close(holder) == 0);
    CHECK(shmq_open(&q, name, SHMQ_CONSUMER, 0, NULL) == 0); /* still there, and the end is free */
    CHECK(shmq_close(q) == 0);
    CHECK_FAILS(shmq_unlink(name), ENOENT);
}

/* ---- EACCES, EPERM ------------------------------------------------------------------------- */

static const char *create_queue(const char *name, mode_t mode, unsigned flags, uid_t owner) {
    const struct shmq_attr attr = {.capacity = 1, .mode = mode, .flags = flags};
    shmq *q;
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, &attr) == 0);
    CHECK(shmq_close(q) == 0);
    if (chown(check_path(name), owner, owner) != 0) check_skip("cannot give a file away here");
    return name;
}

/* No more rights than the mode bits give, whoever we are: root does without its capabilities. */
static void drop_capabilities(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    CHECK(syscall(SYS_capset, &header, none) == 0);
}

static void visit_what_is_closed(void *argument) {
    const char *name = argument;
    drop_capabilities();
    check_open_fails(name, 0, EACCES);
    check_open_fails(name, O_CREAT, EACCES);
    CHECK_FAILS(shmq_unlink(name), EACCES);
    check_open_fails("./closed/new", O_CREAT, EACCES);
    check_open_fails("./closed/new", O_CREAT | O_EXCL, EACCES);
    check_open_fails("./closed/new", 0, ENOENT);
    CHECK_FAILS(shmq_unlink("./closed/q"), EACCES);
    shmq *q;
    CHECK(shmq_open(&q, "./closed/q", SHMQ_CONSUMER, 0, NULL) == 0);
    CHECK_FAILS(shmq_close(q), EACCES); /* ephemeral, drained, and not ours to unlink */
}

TEST(what_the_mode_bits_forbid_is_eacces) {
    const struct shmq_attr ephemeral = {.capacity = 1, .flags = SHMQ_EPHEMERAL};
    const char *name = check_name("q");
    shmq *q;
    leave(open_end(name, SHMQ_PRODUCER));
    CHECK(chmod(check_path(name), 0) == 0);
    CHECK(mkdir("./closed", 0700) == 0);
    CHECK(shmq_open(&q, "./closed/q", SHMQ_PRODUCER, O_CREAT, &ephemeral) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(chmod("./closed", 0500) == 0);
    check_join(check_spawn(visit_what_is_closed, (void *)(uintptr_t)name));
    CHECK(chmod("./closed", 0700) == 0);
    CHECK(shmq_unlink("./closed/q") == 0);
    CHECK(rmdir("./closed") == 0);
    CHECK(chmod(check_path(name), 0600) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_queue_of_someone_else_is_welcome_only_if_the_caller_says_so) {
    static const struct {
        mode_t mode;
        int error;
    } rows[] = {{0, EACCES}, {0600, EACCES}, {0660, 0}, {0606, 0}, {0666, 0}};
    require_root();
    const char *name = create_queue(check_name("q"), 0666, 0, STRANGER);
    for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        const struct shmq_attr attr = {.mode = rows[row].mode};
        shmq *q;
        check_note("mode 0%o", rows[row].mode);
        if (rows[row].error != 0) {
            CHECK_FAILS(shmq_open(&q, name, SHMQ_CONSUMER, 0, &attr), rows[row].error);
        } else {
            CHECK(shmq_open(&q, name, SHMQ_CONSUMER, 0, &attr) == 0);
            CHECK(shmq_close(q) == 0);
        }
    }
    check_open_fails(name, 0, EACCES);
    check_open_fails(name, O_CREAT, EACCES);
    CHECK(shmq_unlink(name) == 0);
}

static void visit_as_somebody(void *argument) {
    const char *const *names = argument;
    shmq *q;
    become(SOMEBODY);
    check_open_fails(names[0], 0, EACCES); /* 0600 */
    check_open_fails(names[0], O_CREAT, EACCES);
    CHECK_FAILS(shmq_unlink(names[0]), EACCES);
    CHECK(shmq_open(&q, names[1], SHMQ_CONSUMER, 0, NULL) == 0); /* root's, and 0666 */
    CHECK(shmq_close(q) == 0);
    CHECK_FAILS(shmq_unlink(names[1]), EPERM); /* /dev/shm is sticky */
    CHECK_FAILS(shmq_unlink("./closed/q"), EACCES);
    check_open_fails("./closed/new", O_CREAT, EACCES);
    CHECK(shmq_open(&q, names[2], SHMQ_CONSUMER, 0, NULL) == 0);
    CHECK_FAILS(shmq_close(q), EPERM); /* ephemeral, drained, and not ours to unlink */
    CHECK(shmq_open(&q, names[2], SHMQ_CONSUMER, 0, NULL) == 0);
    CHECK_FAILS(shmq_close(q), EPERM);
}

TEST(a_user_without_rights_is_told_eacces_or_eperm) {
    require_root();
    CHECK(mkdir("./closed", 0755) == 0);
    const char *names[] = {check_name("ours"), check_name("everybodys"), check_name("ephemeral"), "./closed/q"};
    static const mode_t modes[] = {0600, 0666, 0666, 0666};
    for (size_t at = 0; at < 4; at++)
        (void)create_queue(names[at], modes[at], at == 2 ? SHMQ_EPHEMERAL : 0, 0);
    join_or_skip(check_spawn(visit_as_somebody, names));
    for (size_t at = 0; at < 4; at++)
        CHECK(shmq_unlink(names[at]) == 0);
    CHECK(rmdir("./closed") == 0);
}

/* ---- ENOSPC, ENOMEM, EMFILE ---------------------------------------------------------------- */

static uint64_t free_blocks(void) {
    struct statvfs status;
    CHECK(statvfs("./small", &status) == 0);
    return status.f_bfree;
}

TEST(a_full_file_system_is_told_at_once_and_nothing_stays) {
    static const size_t capacities[] = {0,                 /* the default: 1 MiB */
                                        (size_t)256 << 10, /* all but four pages */
                                        (size_t)1 << 24,
                                        (size_t)1 << 32,
                                        (size_t)1 << 40,
                                        (size_t)1 << 50,
                                        (size_t)1 << 60,
                                        (size_t)1 << 61};
    CHECK(mkdir("./small", 0777) == 0);
    mount_small("./small", "size=256k,mode=0777");
    const uint64_t before = free_blocks();
    shmq *q;
    for (size_t row = 0; row < sizeof capacities / sizeof capacities[0]; row++) {
        const struct shmq_attr attr = {.capacity = capacities[row]};
        check_note("capacity %zu", capacities[row]);
        CHECK_FAILS(shmq_open(&q, "./small/q", SHMQ_PRODUCER, O_CREAT, &attr), ENOSPC);
        CHECK(q == NULL);
        CHECK_EQUAL(free_blocks(), before);
        CHECK_FAILS(shmq_unlink("./small/q"), ENOENT);
    }
    CHECK(shmq_open(&q, "./small/q", SHMQ_PRODUCER, O_CREAT, &SMALL) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink("./small/q") == 0);
    CHECK(umount("./small") == 0);
    CHECK(rmdir("./small") == 0);
}

/* Else it would be SIGBUS, later and in the middle of a message. */
TEST(a_file_system_that_fills_up_later_takes_no_space_from_a_queue) {
    const struct shmq_attr attr = {.capacity = (size_t)64 << 10, .max_message = LENGTH};
    static const char block[4096];
    struct ends ends = {.name = "./small/q"};
    CHECK(mkdir("./small", 0777) == 0);
    mount_small("./small", "size=256k,mode=0777");
    CHECK(shmq_open(&ends.producer, ends.name, SHMQ_PRODUCER, O_CREAT, &attr) == 0);
    int fd = open("./small/rest", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        ;
    CHECK_EQUAL(errno, ENOSPC);
    CHECK_EQUAL(free_blocks(), 0);
    CHECK(shmq_open(&ends.consumer, ends.name, SHMQ_CONSUMER, 0, NULL) == 0);
    fill(ends.producer, LENGTH);
    while (do_recv(ends.consumer, 0) >= 0)
        ;
    CHECK_EQUAL(errno, EAGAIN);
    CHECK(close(fd) == 0);
    CHECK(unlink("./small/rest") == 0);
    close_ends(&ends);
    CHECK(umount("./small") == 0);
    CHECK(rmdir("./small") == 0);
}

/* … and not by a SIGXFSZ. */
TEST(a_process_with_a_limit_on_file_sizes_is_told_enospc) {
    struct rlimit limit, low;
    const char *name = check_name("q");
    shmq *q;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    low = limit;
    low.rlim_cur = 1 << 16;
    CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
    const struct shmq_attr attr = {.capacity = 1 << 16};
    CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &attr), ENOSPC);
    CHECK(q == NULL);
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &SMALL) == 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_process_without_free_descriptors_is_told_emfile) {
    struct rlimit limit, few;
    const char *name = check_name("q");
    const int descriptors = check_descriptors();
    shmq *q = NULL;
    int refused = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    few = limit;
    for (few.rlim_cur = 3; q == NULL && few.rlim_cur < 1000; few.rlim_cur++) {
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        if (shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &SMALL) == 0) break;
        CHECK_EQUAL(errno, EMFILE);
        CHECK(q == NULL);
        refused++;
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(refused >= 2); /* for the directory, and for the object */
    CHECK(shmq_close(q) == 0);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK(shmq_unlink(name) == 0);
}

static size_t address_space_bytes(void) {
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL && fscanf(file, "%zu", &pages) == 1);
    CHECK(fclose(file) == 0);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

TEST(a_process_without_address_space_is_told_enomem) {
    const struct shmq_attr large = {.capacity = (size_t)32 << 20}; /* mapped twice */
    const char *name = check_name("q");
    struct rlimit limit, tight;
    shmq *q;
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &large) == 0);
    CHECK(shmq_close(q) == 0);
    const int descriptors = check_descriptors();
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    tight = limit;
    tight.rlim_cur = address_space_bytes() + ((size_t)48 << 20);
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, 0, NULL), ENOMEM);
    CHECK(q == NULL);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), 0);
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, 0, NULL) == 0); /* the end is free */
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- EMSGSIZE ------------------------------------------------------------------------------ */

TEST(messages_longer_than_the_limit_or_the_buffer_are_emsgsize) {
    struct ends ends = open_ends();
    char message[LENGTH + 1] = "";
    CHECK_FAILS(shmq_send(ends.producer, message, LENGTH + 1, -1), EMSGSIZE);
    CHECK_FAILS(shmq_reserve(ends.producer, LENGTH + 1, -1), EMSGSIZE);
    CHECK(shmq_send(ends.producer, message, LENGTH, 0) == 0);
    CHECK_FAILS(shmq_recv(ends.consumer, message, LENGTH - 1, -1), EMSGSIZE);
    CHECK(shmq_recv(ends.consumer, message, LENGTH, 0) == LENGTH);
    close_ends(&ends);
}

/* ---- EBADMSG ------------------------------------------------------------------------------- */

TEST(an_object_whose_cursors_are_impossible_cannot_be_opened) {
    const char *name = check_name("q");
    leave(open_end(name, SHMQ_PRODUCER));
    int fd = open_object(name);
    static const uint64_t tails[] = {4, UINT64_MAX - 7, (uint64_t)1 << 40};
    for (size_t row = 0; row < sizeof tails / sizeof tails[0]; row++) {
        set_word(fd, PAGE_PRODUCER, 0, tails[row]);
        check_open_fails(name, 0, EBADMSG);
        check_open_fails(name, O_CREAT, EBADMSG);
    }
    set_word(fd, PAGE_PRODUCER, 0, 0);
    struct ends ends = {name, open_end(name, SHMQ_PRODUCER), open_end(name, SHMQ_CONSUMER), 0};
    CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
    CHECK(do_recv(ends.consumer, 0) == 1);
    CHECK(close(fd) == 0);
    close_ends(&ends);
}

/* Who has seen EBADMSG closes as if its process had died, and the other end is told so. */
TEST_NOTIFIERS(a_producer_that_was_lied_to_closes_as_if_it_had_died) {
    struct ends ends = open_ends();
    int fd = open_object(ends.name);
    CHECK(shmq_send(ends.producer, "before", 6, 0) == 0);
    set_word(fd, PAGE_CONSUMER, 0, 4);
    fill(ends.producer, LENGTH);
    CHECK_FAILS(do_send(ends.producer, -1), EBADMSG);
    set_word(fd, PAGE_CONSUMER, 0, 0);
    CHECK_FAILS(do_send(ends.producer, 0), EBADMSG);
    CHECK_FAILS(do_drain(ends.producer, -1), EBADMSG);
    close_end(&ends.producer);
    CHECK_EQUAL(word_at(fd, PAGE_PRODUCER, 0x280) % 2, 1);
    CHECK(do_recv(ends.consumer, 0) == 6);
    while (do_recv(ends.consumer, 0) >= 0) /* what was sent before is delivered */
        ;
    CHECK_FAILS(do_recv(ends.consumer, -1), EOWNERDEAD);
    CHECK(close(fd) == 0);
    close_ends(&ends);
}

TEST_NOTIFIERS(a_consumer_that_was_lied_to_closes_as_if_it_had_died) {
    struct ends ends = open_ends();
    int fd = open_object(ends.name);
    fill(ends.producer, LENGTH);
    set_word(fd, PAGE_RING, 0, 0); /* the first record's header */
    CHECK_FAILS(do_recv(ends.consumer, -1), EBADMSG);
    CHECK_FAILS(do_peek(ends.consumer, -1), EBADMSG);
    CHECK_FAILS(shmq_release(ends.consumer), EBADMSG);
    close_end(&ends.consumer);
    CHECK_EQUAL(word_at(fd, PAGE_CONSUMER, 0x280) % 2, 1);
    CHECK_FAILS(do_send(ends.producer, -1), EOWNERDEAD);
    CHECK_FAILS(do_drain(ends.producer, -1), EOWNERDEAD);
    CHECK(close(fd) == 0);
    close_ends(&ends);
}

/* ---- EPIPE, EOWNERDEAD --------------------------------------------------------------------- */

/* How a peer in a process of its own goes: after `messages` sent or taken, once `go` says so or
 * at once. */
struct peer {
    const char *name;
    enum shmq_end end;
    int messages;
    bool dies;
    bool waits_until_we_sleep;
    check_gate ready;
};

static void be_peer(void *argument) {
    struct peer *peer = argument;
    char message[LENGTH] = "";
    shmq *q = open_end(peer->name, peer->end);
    for (int count = 0; count < peer->messages; count++) {
        if (peer->end == SHMQ_PRODUCER)
            CHECK(shmq_send(q, message, 1, -1) == 0);
        else
            CHECK(shmq_recv(q, message, sizeof message, -1) >= 0);
    }
    check_pass(&peer->ready);
    while (peer->waits_until_we_sleep && shared_load_acquire(&q->peer->ticket) % 2 == 0)
        sched_yield();
    if (peer->dies) raise(SIGKILL);
    CHECK(shmq_close(q) == 0);
}

static struct peer *new_peer(const char *name, enum shmq_end end, int messages, bool dies) {
    struct peer *peer = check_shared(sizeof *peer);
    *peer = (struct peer){.name = name, .end = end, .messages = messages, .dies = dies};
    return peer;
}

static void reap(pid_t child, bool dies) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(dies ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The peer has come, has done its work, and has gone. */
static void come_and_go(const char *name, enum shmq_end end, int messages, bool dies) {
    check_note("%s %s", end == SHMQ_PRODUCER ? "producer" : "consumer", dies ? "died" : "closed");
    reap(check_spawn(be_peer, new_peer(name, end, messages, dies)), dies);
}

static int error_of(bool dies) { return dies ? EOWNERDEAD : EPIPE; }

static void producer_goes(bool dies) {
    const char *name = check_name("q");
    shmq *consumer = open_end(name, SHMQ_CONSUMER);
    CHECK_FAILS(do_recv(consumer, 0), EAGAIN); /* nobody has come yet */
    come_and_go(name, SHMQ_PRODUCER, 2, dies);
    CHECK(do_recv(consumer, 0) == 1); /* data first */
    CHECK(do_peek(consumer, -1) == 0);
    CHECK(do_recv(consumer, 0) == 1);
    for (int time = 0; time < 3; time++) { /* again and again */
        CHECK_FAILS(do_recv(consumer, 0), error_of(dies));
        CHECK_FAILS(do_peek(consumer, 50), error_of(dies));
        CHECK_FAILS(do_recv(consumer, -1), error_of(dies));
    }
    come_and_go(name, SHMQ_PRODUCER, 1, !dies); /* another session, another end */
    CHECK(do_recv(consumer, 0) == 1);
    CHECK_FAILS(do_recv(consumer, 0), error_of(!dies));
    shmq *producer = open_end(name, SHMQ_PRODUCER);
    CHECK_FAILS(do_recv(consumer, 0), EAGAIN); /* and a third producer lives */
    CHECK(shmq_close(producer) == 0);
    CHECK_FAILS(do_recv(consumer, -1), EPIPE);
    CHECK(shmq_close(consumer) == 0);
    consumer = open_end(name, SHMQ_CONSUMER);
    CHECK_FAILS(do_recv(consumer, 0), EAGAIN); /* all ends have been reported: wait for the next */
    CHECK_FAILS(do_recv(consumer, 1), ETIMEDOUT);
    CHECK(shmq_close(consumer) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS(a_producer_that_closed_is_epipe_once_all_is_received) { producer_goes(false); }

TEST_NOTIFIERS(a_producer_that_died_is_eownerdead_once_all_is_received) { producer_goes(true); }

TEST_NOTIFIERS(an_end_that_was_not_reported_is_told_to_a_later_consumer) {
    for (int dies = 0; dies < 2; dies++) {
        come_and_go(name, SHMQ_PRODUCER, 1, dies);
        shmq *consumer = open_end(name, SHMQ_CONSUMER);
        CHECK(do_recv(consumer, 0) == 1); /* takes it, and closes before it asks for more */
        CHECK(shmq_close(consumer) == 0);
        consumer = open_end(name, SHMQ_CONSUMER);
        CHECK_FAILS(do_recv(consumer, 0), error_of(dies));
        CHECK(shmq_close(consumer) == 0);
        CHECK(shmq_unlink(name) == 0);
    }
}

static void consumer_goes(bool dies) {
    const char *name = check_name("q");
    shmq *producer = open_end(name, SHMQ_PRODUCER);
    CHECK(do_send(producer, 0) == 0);
    CHECK_FAILS(do_drain(producer, 0), EAGAIN); /* nobody has come yet */
    come_and_go(name, SHMQ_CONSUMER, 1, dies);
    CHECK(do_drain(producer, -1) == 0); /* it took all */
    CHECK(do_send(producer, -1) == 0);  /* there is space: nothing is reported */
    fill(producer, LENGTH);
    for (int time = 0; time < 3; time++) {
        CHECK_FAILS(do_send(producer, 0), error_of(dies));
        CHECK_FAILS(do_reserve(producer, 50), error_of(dies));
        CHECK_FAILS(do_drain(producer, 0), error_of(dies));
        CHECK_FAILS(do_send(producer, -1), error_of(dies));
        CHECK_FAILS(do_drain(producer, -1), error_of(dies));
    }
    CHECK(shmq_send(producer, "x", 1, 0) == 0); /* what still fits is sent */
    come_and_go(name, SHMQ_CONSUMER, 1, !dies);
    CHECK_FAILS(do_drain(producer, -1), error_of(!dies));
    CHECK(do_send(producer, 0) == 0); /* it made space for one */
    shmq *consumer = open_end(name, SHMQ_CONSUMER);
    CHECK_FAILS(do_send(producer, 0), EAGAIN); /* a third consumer lives */
    while (do_recv(consumer, 0) >= 0)
        ;
    CHECK(do_drain(producer, -1) == 0);
    CHECK(shmq_close(consumer) == 0);
    CHECK(do_drain(producer, -1) == 0); /* it left after all was received */
    fill(producer, LENGTH);
    CHECK(shmq_close(producer) == 0);
    producer = open_end(name, SHMQ_PRODUCER);
    CHECK_FAILS(do_send(producer, 0), EAGAIN); /* who left before we came is no news */
    CHECK_FAILS(do_drain(producer, 1), ETIMEDOUT);
    CHECK(shmq_close(producer) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS(a_consumer_that_closed_is_epipe_when_there_is_no_space) { consumer_goes(false); }

TEST_NOTIFIERS(a_consumer_that_died_is_eownerdead_when_there_is_no_space) { consumer_goes(true); }

/* The peer goes while we wait. Closing rings; a death is found by a look every slice. */
static int64_t goes_while_we_wait(const struct waiting_row *row, bool dies) {
    const char *name = check_name("q");
    const enum shmq_end peers = row->end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER;
    struct peer *peer = new_peer(name, peers, 0, dies);
    peer->waits_until_we_sleep = true;
    check_note("%s, %s, the peer %s", notifier_now->name, row->name, dies ? "dies" : "closes");
    shmq *q = open_end(name, row->end);
    if (row->end == SHMQ_PRODUCER) fill(q, LENGTH);
    pid_t child = check_spawn(be_peer, peer);
    check_wait(&peer->ready, 1);
    const int64_t start = check_now_ms();
    CHECK_FAILS(row->call(q, LONG_MS), error_of(dies));
    const int64_t took_ms = check_now_ms() - start;
    CHECK(took_ms < check_late(NOTICE_MS));
    reap(child, dies);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
    return took_ms;
}

TEST_NOTIFIERS(a_peer_that_dies_while_we_wait_is_noticed) {
    for (size_t row = 0; row < WAITING_COUNT; row++)
        (void)goes_while_we_wait(&WAITING[row], true);
}

/* If closing woke nobody, each of these would cost a slice. */
TEST_NOTIFIERS(a_peer_that_closes_while_we_wait_wakes_us) {
    enum { SLICE_MS = 200 };
    const int rounds = check_scaled(4);
    int64_t took_ms = 0;
    for (int round = 0; round < rounds; round++)
        for (size_t row = 0; row < WAITING_COUNT; row++)
            took_ms += goes_while_we_wait(&WAITING[row], false);
    CHECK(took_ms < check_late(rounds * WAITING_COUNT * SLICE_MS / 2));
}

/* One session after the other: open, send one message, close at once. */
static int sessions_wanted(void) { return check_scaled(notifier_now->kind == SHMQ_NOTIFY_SEM ? 10000 : 1000); }

struct sessions {
    const char *name;
    check_gate next;
};

static void hold_sessions(void *argument) {
    struct sessions *sessions = argument;
    for (int session = 0; session < sessions_wanted(); session++) {
        shmq *q = open_end(sessions->name, SHMQ_PRODUCER);
        for (uint64_t pause = check_below(4000); pause > 0; pause--)
            shared_pause();
        CHECK(shmq_send(q, &session, sizeof session, -1) == 0);
        CHECK(shmq_close(q) == 0);
        check_meet(&sessions->next, 2);
    }
}

static int poll_until_news(shmq *q, void *message, size_t size, int timeout_ms) {
    ssize_t length = 0;
    while ((length = shmq_recv(q, message, size, timeout_ms)) < 0 && errno == EAGAIN)
        ;
    return (int)length;
}

/* However closely the end follows: both may happen between two looks of the consumer. */
TEST_NOTIFIERS(no_end_of_a_producer_overtakes_its_last_message) {
    struct sessions *sessions = check_shared(sizeof *sessions);
    sessions->name = check_name("q");
    shmq *q = open_end(sessions->name, SHMQ_CONSUMER);
    pid_t child = check_spawn(hold_sessions, sessions);
    for (int session = 0; session < sessions_wanted(); session++) {
        int number = -1;
        check_note("session %d", session);
        /* Its life has begun: from now on nothing is told of the one before. */
        while (shared_load_acquire(&q->peer->life[0]) < 2 * (uint64_t)session + 1)
            sched_yield();
        const int timeout_ms = session % 8 == 0 ? LONG_MS : 0;
        CHECK(poll_until_news(q, &number, sizeof number, timeout_ms) == sizeof number);
        CHECK_EQUAL(number, session);
        CHECK_FAILS(poll_until_news(q, &number, sizeof number, 0), EPIPE);
        check_meet(&sessions->next, 2);
    }
    check_join(child);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(sessions->name) == 0);
}

/* ---- EPIPE: unlinked, and nobody there ----------------------------------------------------- */

struct unlinker {
    const char *name;
    enum shmq_end sleeper;
};

static void unlink_once_it_sleeps(void *argument) {
    const struct unlinker *unlinker = argument;
    await_asleep(unlinker->name, unlinker->sleeper);
    CHECK(shmq_unlink(unlinker->name) == 0);
}

TEST_NOTIFIERS(who_waits_alone_in_a_queue_that_gets_unlinked_is_told_epipe) {
    for (size_t row = 0; row < WAITING_COUNT; row++) {
        const bool produces = WAITING[row].end == SHMQ_PRODUCER;
        struct unlinker unlinker = {name, WAITING[row].end};
        check_note("%s, %s", notifier_now->name, WAITING[row].name);
        shmq *q = open_end(name, WAITING[row].end);
        if (produces) fill(q, LENGTH);
        CHECK_FAILS(WAITING[row].call(q, 0), EAGAIN);
        pid_t child = check_spawn(unlink_once_it_sleeps, &unlinker);
        const int64_t start = check_now_ms();
        CHECK_FAILS(WAITING[row].call(q, LONG_MS), EPIPE);
        CHECK(check_now_ms() - start < check_late(NOTICE_MS));
        CHECK_FAILS(WAITING[row].call(q, 0), EPIPE); /* and whoever polls, at once */
        CHECK_FAILS(WAITING[row].call(q, -1), EPIPE);
        check_join(child);
        CHECK(shmq_close(q) == 0);
    }
}

static void goes_on_unlinked(const struct waiting_row *row, struct ends *ends, shmq *q) {
    CHECK(shmq_unlink(ends->name) == 0);
    CHECK_FAILS(row->call(q, 0), EAGAIN); /* the peer lives, and could still help */
    CHECK_FAILS(row->call(q, 1), ETIMEDOUT);
    if (row->end == SHMQ_CONSUMER)
        CHECK(shmq_send(ends->producer, "x", 1, 0) == 0);
    else
        while (do_recv(ends->consumer, 0) >= 0)
            ;
    CHECK(row->call(q, 0) >= 0);
    leave(open_end(ends->name, SHMQ_PRODUCER)); /* for the caller to unlink */
}

TEST_NOTIFIERS(ends_that_are_together_in_an_unlinked_queue_go_on) { for_every_waiting_call(goes_on_unlinked); }

TEST_NOTIFIERS(messages_in_an_unlinked_queue_are_delivered_before_epipe) {
    struct ends ends = open_ends();
    CHECK(shmq_send(ends.producer, "x", 1, 0) == 0);
    CHECK(shmq_unlink(ends.name) == 0);
    close_end(&ends.producer);
    CHECK(do_recv(ends.consumer, -1) == 1);
    CHECK_FAILS(do_recv(ends.consumer, -1), EPIPE);
    close_end(&ends.consumer);
}

/* ---- EINVAL: inherited by fork ------------------------------------------------------------- */

static void use_inherited(void *argument) {
    struct ends *ends = argument;
    char message[LENGTH] = "";
    struct shmq_stat stat;
    for (int timeout_ms = -1; timeout_ms <= 1; timeout_ms++) {
        CHECK_FAILS(shmq_send(ends->producer, message, 1, timeout_ms), EINVAL);
        CHECK_FAILS(shmq_reserve(ends->producer, 1, timeout_ms), EINVAL);
        CHECK_FAILS(shmq_drain(ends->producer, timeout_ms), EINVAL);
        CHECK_FAILS(shmq_recv(ends->consumer, message, sizeof message, timeout_ms), EINVAL);
        CHECK_FAILS(shmq_peek(ends->consumer, NULL, timeout_ms), EINVAL);
    }
    CHECK_FAILS(shmq_commit(ends->producer, 1), EINVAL);
    shmq *const both[] = {ends->producer, ends->consumer};
    for (size_t end = 0; end < 2; end++) {
        CHECK_FAILS(shmq_release(both[end]), EINVAL);
        CHECK_FAILS(shmq_stat(both[end], &stat), EINVAL);
        CHECK_FAILS(shmq_close(both[end]), EINVAL);
        CHECK_FAILS(shmq_close(both[end]), EINVAL);
    }
    if (notifier_now->kind != SHMQ_NOTIFY_NAMED) /* libc's own mappings are inherited, and harmless */
        CHECK_EQUAL(check_mappings(), 0);
    CHECK_EQUAL(check_descriptors(), ends->descriptors); /* none of the parent's is left */
    shmq *own = open_end("./own", SHMQ_PRODUCER);        /* what it opens itself is its own */
    CHECK(do_send(own, 0) == 0);
    CHECK(shmq_close(own) == 0);
    CHECK(shmq_unlink("./own") == 0);
}

TEST_NOTIFIERS(inherited_handles_are_invalid_and_the_parents_ends_unaffected) {
    struct ends ends = open_ends();
    CHECK(shmq_send(ends.producer, "one", 3, 0) == 0);
    CHECK(shmq_peek(ends.consumer, NULL, 0) != NULL);
    CHECK(shmq_reserve(ends.producer, 3, 0) != NULL);
    check_join(check_spawn(use_inherited, &ends));
    check_open_fails(ends.name, 0, EBUSY); /* the child has dropped no lease */
    CHECK(shmq_commit(ends.producer, 3) == 0);
    CHECK(shmq_release(ends.consumer) == 0);
    CHECK(do_recv(ends.consumer, 0) == 3);
    CHECK_FAILS(do_recv(ends.consumer, 0), EAGAIN);
    CHECK(do_drain(ends.producer, 0) == 0);
    close_ends(&ends);
}

static void ask_inherited_for_fd(void *argument) {
    const struct ends *ends = argument;
    CHECK_FAILS(shmq_fd(ends->consumer), EINVAL);
    CHECK_FAILS(shmq_arm(ends->consumer), EINVAL);
}

TEST_NOTIFIERS(fd_and_arm_of_an_inherited_handle_are_invalid) {
    struct ends ends = open_ends();
    check_join(check_spawn(ask_inherited_for_fd, &ends));
    close_ends(&ends);
}

struct family {
    const char *name;
    enum shmq_end end;
    check_gate born;
    pid_t grandchild;
};

static void outlive(void *argument) {
    struct family *family = argument;
    check_pass(&family->born);
    for (;;)
        pause(); /* until killed */
}

static void open_and_fork(void *argument) {
    struct family *family = argument;
    shmq *q = open_end(family->name, family->end);
    if (family->end == SHMQ_PRODUCER) CHECK(shmq_send(q, "x", 1, 0) == 0);
    family->grandchild = check_spawn(outlive, family);
    outlive(family);
}

/* The leases belong to the process that opened, and die with it, though its child still lives. */
static void dies_with_a_child(enum shmq_end end) {
    const char *name = check_name("q");
    struct family *family = check_shared(sizeof *family);
    *family = (struct family){.name = name, .end = end};
    check_note("%s", end == SHMQ_PRODUCER ? "producer" : "consumer");
    shmq *q = open_end(name, end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER);
    pid_t parent = check_spawn(open_and_fork, family);
    check_wait(&family->born, 2);
    if (end == SHMQ_CONSUMER) {
        fill(q, LENGTH);
        CHECK_FAILS(do_send(q, 0), EAGAIN);
    } else {
        CHECK(do_recv(q, 0) == 1);
        CHECK_FAILS(do_recv(q, 0), EAGAIN);
    }
    check_kill(parent);
    CHECK(kill(family->grandchild, 0) == 0);
    CHECK_FAILS(end == SHMQ_PRODUCER ? do_recv(q, 0) : do_send(q, 0), EOWNERDEAD);
    shmq *next = open_end(name, end); /* and the end is free */
    CHECK(kill(family->grandchild, 0) == 0);
    check_kill(family->grandchild); /* which is ours now */
    CHECK(shmq_close(next) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST_NOTIFIERS(a_child_does_not_keep_its_dead_parents_end_alive) {
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    dies_with_a_child(SHMQ_PRODUCER);
    dies_with_a_child(SHMQ_CONSUMER);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
