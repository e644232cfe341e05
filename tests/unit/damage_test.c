/* Damage: an object that is truncated, punched or replaced under running ends (shmq_guard_sigbus), and bytes that somebody
 * changed in the ring (SHMQ_CHECKSUM). Either all is as if nothing had happened, or the answer is EBADMSG: never a signal,
 * a hang or a wrong message. */
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

enum { PAGE = 4096, OBJECT = (PAGE_RING + 1) * PAGE, RING_AT = PAGE_RING * PAGE, LARGEST = PAGE - RECORD_CHECKED };

/* How a child ended whose body must not return: its exit status, or the negative number of its signal. */
static int fate_of(void (*body)(void *), void *argument) {
    int status = 0;
    const pid_t child = check_spawn(body, argument);
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- One handle and its object ------------------------------------------------------------- */

/* As if this process had no handler: sanitizers bring one. */
static void forget_handlers(void) { CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR); }

/* ThreadSanitizer holds a lock of its own while it does an atomic access. If that access meets the damage, the guard's
 * handler, which does one too, waits for the lock for ever. */
static void need_guard(void) {
    if (check_tool() == CHECK_TSAN) check_skip("the guard's handler cannot run under ThreadSanitizer");
}

static void install_guard(void) {
    need_guard();
    static bool installed;
    if (!installed) forget_handlers(); /* later that would be the guard's */
    CHECK(shmq_guard_sigbus() == 0);
    installed = true;
}

static int do_send(shmq *q) { return shmq_send(q, "x", 1, 0); }

static int do_recv(shmq *q) {
    char byte;
    return (int)shmq_recv(q, &byte, 1, 0);
}

static int do_commit(shmq *q) {
    void *room = shmq_reserve(q, 8, 0);
    if (room == NULL) return -1;
    memset(room, 1, 8); /* our own store meets the damage */
    return shmq_commit(q, 8);
}

static int do_peek(shmq *q) { return shmq_peek(q, NULL, 0) == NULL ? -1 : 0; }

static int do_drain(shmq *q) { return shmq_drain(q, 0); }

static const struct call {
    const char *name;
    enum shmq_end end;
    int (*make)(shmq *q);
} CALLS[] = {
    {"send", SHMQ_PRODUCER, do_send}, {"commit", SHMQ_PRODUCER, do_commit}, {"drain", SHMQ_PRODUCER, do_drain},
    {"recv", SHMQ_CONSUMER, do_recv}, {"peek", SHMQ_CONSUMER, do_peek},     {"release", SHMQ_CONSUMER, shmq_release},
    {"arm", SHMQ_CONSUMER, shmq_arm}, {"arm", SHMQ_PRODUCER, shmq_arm},
};
enum { CALLS_COUNT = sizeof CALLS / sizeof CALLS[0] };

static void check_gone(shmq *q) {
    struct shmq_stat stat;
    for (int turn = 0; turn < 2; turn++)
        for (size_t at = 0; at < CALLS_COUNT; at++)
            if (CALLS[at].end == q->end) CHECK_FAILS(CALLS[at].make(q), EBADMSG);
    CHECK_FAILS(shmq_stat(q, &stat), EBADMSG);
    CHECK_FAILS(shmq_fd(q), EBADMSG);
}

/* After so many messages the object is truncated; the first call that touches it says so, and all later ones. */
static void truncate_under(const char *name, const struct call *call, unsigned flags, int messages) {
    const int descriptors = check_descriptors(), mappings = check_mappings();
    shmq *producer = enter(name, SHMQ_PRODUCER, flags), *consumer = enter(name, SHMQ_CONSUMER, flags);
    shmq *q = call->end == SHMQ_PRODUCER ? producer : consumer;
    for (int at = 0; at < messages; at++)
        CHECK(shmq_send(producer, "x", 1, 0) == 0);
    if (call->make == shmq_release) CHECK(shmq_peek(consumer, NULL, 0) != NULL);
    CHECK(truncate(check_path(name), 0) == 0);
    CHECK_FAILS(call->make(q), EBADMSG);
    check_gone(q);
    remove_doorbells(name, q->region.header.instance);
    leave(producer);
    leave(consumer);
    CHECK(unlink(check_path(name)) == 0);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

TEST_EVERYWHERE(every_call_on_a_truncated_object_is_ebadmsg_for_good) {
    static const unsigned flags[] = {0, SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS, SHMQ_EPHEMERAL};
    install_guard();
    for (size_t at = 0; at < CALLS_COUNT; at++)
        for (unsigned row = 0; row < 3; row++)
            for (int messages = CALLS[at].make == shmq_release || CALLS[at].make == do_drain; messages < 3;
                 messages++) {
                const bool arms = CALLS[at].make == shmq_arm;
                if (arms && flags[row] != 0) continue;
                notifier_now = &NOTIFIERS[arms ? SHMQ_NOTIFY_FIFO : SHMQ_NOTIFY_SEM];
                check_note("%s, flags %u, %d messages", CALLS[at].name, flags[row], messages);
                truncate_under(name, &CALLS[at], flags[row], messages);
            }
}

struct sleeper {
    const char *name;
    check_gate open;
};

static void sleep_on(void *argument) {
    struct sleeper *sleeper = argument;
    shmq *q = enter(sleeper->name, SHMQ_CONSUMER, 0);
    check_pass(&sleeper->open);
    char byte;
    CHECK_FAILS(shmq_recv(q, &byte, 1, -1), EBADMSG);
    leave(q);
}

/* It sleeps for ever; whoever finds the damage has fallen silent, but lets go of all that it held. */
static void truncate_under_sleeper(const char *name) {
    if (notifier_now->kind == SHMQ_NOTIFY_COND) return; /* its mutex lies in what is gone */
    struct sleeper *sleeper = check_shared(sizeof *sleeper);
    sleeper->name = name;
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    const int fd = open_object(name);
    check_doorbells(fd);
    const pid_t child = check_spawn(sleep_on, sleeper);
    check_wait(&sleeper->open, 1);
    if (notifier_now->sleeps) await_asleep(name, SHMQ_CONSUMER);
    nap_ms(20); /* in the kernel now */
    CHECK(ftruncate(fd, 0) == 0);
    CHECK_FAILS(shmq_send(producer, "x", 1, 0), EBADMSG);
    check_join(child);
    remove_doorbells(name, producer->region.header.instance);
    leave(producer);
    CHECK(close(fd) == 0);
    CHECK(unlink(check_path(name)) == 0);
}

TEST(a_sleeper_on_a_truncated_object_hears_of_it) {
    install_guard();
    if (check_tool() == CHECK_VALGRIND) check_skip("valgrind itself dies of the SIGBUS at a futex");
    notifier_for_each(truncate_under_sleeper, true);
}

TEST(figures_of_a_truncated_object_are_ebadmsg) {
    struct shmq_stat stat;
    const char *name = check_name("q");
    install_guard();
    shmq *q = enter(name, SHMQ_PRODUCER, 0);
    CHECK(truncate(check_path(name), 0) == 0);
    CHECK_FAILS(shmq_stat(q, &stat), EBADMSG);
    leave(q);
    CHECK(unlink(check_path(name)) == 0);
}

TEST(what_was_peeked_at_reads_as_zeros_once_it_is_gone) {
    const char *name = check_name("q");
    size_t length;
    install_guard();
    shmq *producer = enter(name, SHMQ_PRODUCER, 0), *consumer = enter(name, SHMQ_CONSUMER, 0);
    CHECK(shmq_send(producer, "hello", 5, 0) == 0);
    const volatile char *message = shmq_peek(consumer, &length, 0);
    CHECK(truncate(check_path(name), 0) == 0);
    for (size_t at = 0; at < length; at++)
        CHECK_EQUAL(message[at], 0);
    CHECK_FAILS(shmq_release(consumer), EBADMSG);
    leave(consumer);
    leave(producer);
    CHECK(unlink(check_path(name)) == 0);
}

TEST(another_queue_of_the_same_process_goes_on) {
    const char *name = check_name("q"), *healthy = check_name("healthy");
    install_guard();
    shmq *producer = enter(healthy, SHMQ_PRODUCER, 0), *consumer = enter(healthy, SHMQ_CONSUMER, 0);
    for (int round = 0; round < 3; round++) {
        shmq *q = enter(name, SHMQ_PRODUCER, 0);
        CHECK(truncate(check_path(name), (off_t)round * PAGE) == 0);
        CHECK_FAILS(do_send(q), EBADMSG);
        CHECK(do_send(producer) == 0);
        CHECK(do_recv(consumer) == 1);
        leave(q);
        CHECK(unlink(check_path(name)) == 0);
    }
    leave(producer);
    leave(consumer);
    CHECK(shmq_unlink(healthy) == 0);
}

/* ---- SIGBUS that is none of ours ----------------------------------------------------------- */

static void use_truncated_queue(void *argument) {
    forget_handlers();
    shmq *q = enter(argument, SHMQ_PRODUCER, 0);
    CHECK(truncate(check_path(argument), 0) == 0);
    (void)do_send(q);
}

TEST_EVERYWHERE(without_the_guard_a_truncated_object_ends_the_process) {
    CHECK_EQUAL(fate_of(use_truncated_queue, (void *)(uintptr_t)name), -SIGBUS);
    CHECK(unlink(check_path(name)) == 0);
}

static void touch_truncated_file(void *at) {
    int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
    volatile char *bytes = mmap(at, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED && ftruncate(fd, 0) == 0);
    CHECK(at == NULL || bytes == at);
    bytes[0] = 1;
}

static void raise_it(void *argument) {
    (void)argument;
    raise(SIGBUS);
}

static void handle_plain(int number) { _exit(number == SIGBUS ? 41 : 1); }

static void handle_info(int number, siginfo_t *info, void *context) {
    (void)context;
    _exit(number == SIGBUS && (info->si_code == BUS_ADRERR || info->si_code == SI_TKILL) ? 42 : 1);
}

static void *ask_for_guard(void *argument) {
    CHECK(shmq_guard_sigbus() == 0);
    return argument;
}

/* Who was there before the guard, and how the process ends by a SIGBUS elsewhere. */
static const struct {
    struct sigaction before;
    int fate;
} BEFORE[] = {
    {{.sa_handler = SIG_DFL}, -SIGBUS},
    {{.sa_handler = handle_plain}, 41},
    {{.sa_sigaction = handle_info, .sa_flags = SA_SIGINFO}, 42},
};

struct stray {
    size_t before;
    void (*cause)(void *);
    const char *name;
};

/* Several threads ask, and twice; the handler in between is still the one that was there before. */
static void go_astray(void *argument) {
    const struct stray *stray = argument;
    pthread_t threads[4];
    CHECK(sigaction(SIGBUS, &BEFORE[stray->before].before, NULL) == 0);
    for (int at = 0; at < 4; at++)
        CHECK(pthread_create(&threads[at], NULL, ask_for_guard, NULL) == 0);
    for (int at = 0; at < 4; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
    CHECK(shmq_guard_sigbus() == 0);
    shmq *q = enter(stray->name, SHMQ_PRODUCER, 0); /* the guard does work */
    CHECK(truncate(check_path(stray->name), 0) == 0);
    CHECK_FAILS(do_send(q), EBADMSG);
    stray->cause(NULL);
}

static void check_stray(void (*cause)(void *)) {
    const char *name = check_name("q");
    need_guard();
    for (size_t row = 0; row < sizeof BEFORE / sizeof BEFORE[0]; row++) {
        check_note("row %zu", row);
        CHECK_EQUAL(fate_of(go_astray, &(struct stray){row, cause, name}), BEFORE[row].fate);
        CHECK(unlink(check_path(name)) == 0);
    }
}

TEST(a_sigbus_elsewhere_does_what_it_did_before_the_guard) { check_stray(touch_truncated_file); }

TEST(a_sigbus_that_somebody_sends_does_what_it_did_before_the_guard) { check_stray(raise_it); }

/* A fork's child has no region, but perhaps something else in its place. */
static void touch_in_place_of_region(void *argument) {
    shmq *q = argument;
    touch_truncated_file(q->region.base);
}

TEST(a_sigbus_where_the_parent_has_its_queue_ends_a_forked_child) {
    const char *name = check_name("q");
    if (check_tool() == CHECK_VALGRIND)
        check_skip("valgrind does not know MADV_DONTFORK: to it the child has the queue");
    install_guard();
    shmq *q = enter(name, SHMQ_PRODUCER, 0);
    CHECK_EQUAL(fate_of(touch_in_place_of_region, q), -SIGBUS);
    leave(q);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- A thousand accidents ------------------------------------------------------------------ */

enum { ROUNDS = 1000, WORKERS = 10, PATIENCE_MS = 100, HANG_MS = 5000, HARMLESS_MESSAGES = 3000 };

enum harm { TRUNCATE_ALL, TRUNCATE_SOME, REGROW, PUNCH_PAGE, PUNCH_ALL, UNLINK, REPLACE, HARMS };
static const char *const HARM_NAMES[] = {"truncate",  "truncate some", "regrow", "punch",
                                         "punch all", "unlink",        "replace"};

struct accident {
    const char *name;
    enum harm harm;
    unsigned flags;
    bool slowly; /* the producer, so that the consumer sleeps */
    bool zero_copy;
    check_gate in;
    _Atomic int received;
    _Atomic bool over;
};

static bool is_harmless(enum harm harm) { return harm == UNLINK || harm == REPLACE; }

/* Where nothing is damaged nobody gives up. */
static int patience_of(const struct accident *accident) { return is_harmless(accident->harm) ? -1 : PATIENCE_MS; }

/* After a failed call: only slow so far, on a busy machine? */
static bool is_only_slow(const struct accident *accident) { return errno == ETIMEDOUT && !accident->over; }

static size_t write_letter(unsigned char *letter, int number) {
    const size_t length = sizeof number + (size_t)number * 37 % 300;
    memset(letter, number, length);
    memcpy(letter, &number, sizeof number);
    return length;
}

/* A call has failed: with the right errno, in time. */
static void check_end(const struct accident *accident, shmq *q, int64_t start_ms) {
    const int error = errno;
    CHECK(check_now_ms() - start_ms < check_late(HANG_MS) || is_harmless(accident->harm));
    if (is_harmless(accident->harm)) CHECK_EQUAL(error, EPIPE);
    if (error != EBADMSG && error != ETIMEDOUT && error != EPIPE && error != EOWNERDEAD)
        check_fail(__FILE__, __LINE__, "errno %s", strerrorname_np(error));
    if (error == EBADMSG) CHECK_FAILS(q->end == SHMQ_PRODUCER ? do_send(q) : do_peek(q), EBADMSG);
}

static void produce(void *argument) {
    struct accident *accident = argument;
    unsigned char letter[512];
    shmq *q = enter(accident->name, SHMQ_PRODUCER, accident->flags);
    check_meet(&accident->in, 3);
    for (int number = 0; is_harmless(accident->harm) ? number < HARMLESS_MESSAGES : !accident->over; number++) {
        const int64_t start_ms = check_now_ms();
        if (shmq_send(q, letter, write_letter(letter, number), patience_of(accident)) != 0) {
            if (is_only_slow(accident) && number-- >= 0) continue;
            check_end(accident, q, start_ms);
            break;
        }
        if (accident->slowly && number % 8 == 0) usleep(300);
    }
    leave(q);
}

static ssize_t take(const struct accident *accident, shmq *q, unsigned char *letter, size_t size) {
    size_t length;
    if (!accident->zero_copy) return shmq_recv(q, letter, size, patience_of(accident));
    const void *message = shmq_peek(q, &length, patience_of(accident));
    if (message == NULL) return -1;
    CHECK(length <= size);
    memcpy(letter, message, length);
    return shmq_release(q) == 0 ? (ssize_t)length : -1; /* else it may have gone while we copied */
}

static void consume(struct accident *accident) {
    unsigned char letter[512], wanted[512];
    shmq *q = enter(accident->name, SHMQ_CONSUMER, accident->flags);
    check_meet(&accident->in, 3);
    for (int number = 0;; number++) {
        const int64_t start_ms = check_now_ms();
        const ssize_t length = take(accident, q, letter, sizeof letter);
        if (length < 0) {
            if (is_only_slow(accident) && number-- >= 0) continue;
            check_end(accident, q, start_ms);
            break;
        } else {
            CHECK_EQUAL(length, write_letter(wanted, number));
            CHECK(memcmp(letter, wanted, (size_t)length) == 0);
            accident->received = number + 1;
        }
    }
    if (is_harmless(accident->harm)) CHECK_EQUAL(accident->received, HARMLESS_MESSAGES);
    leave(q);
}

static void be_consumer(void *argument) { consume(argument); }

static void replace(const char *name) {
    char aside[128];
    snprintf(aside, sizeof aside, "%s.new", check_path(name));
    int fd = open(aside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, OBJECT) == 0 && close(fd) == 0);
    CHECK(rename(aside, check_path(name)) == 0);
}

static void punch(int fd, off_t at, off_t bytes) {
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes) == 0);
}

static void do_harm(const struct accident *accident, int fd) {
    switch (accident->harm) {
    case TRUNCATE_ALL: CHECK(ftruncate(fd, 0) == 0); break;
    case TRUNCATE_SOME: CHECK(ftruncate(fd, (off_t)check_below(OBJECT)) == 0); break;
    case REGROW:
        CHECK(ftruncate(fd, (off_t)check_below(OBJECT)) == 0);
        if (check_below(2) == 0) usleep(100);
        CHECK(ftruncate(fd, OBJECT) == 0);
        break;
    case PUNCH_PAGE:
        for (uint64_t count = 1 + check_below(4); count > 0; count--)
            punch(fd, (off_t)check_below(OBJECT - 64), (off_t)(1 + check_below(2 * PAGE)));
        break;
    case PUNCH_ALL: punch(fd, 0, OBJECT); break;
    case UNLINK: CHECK(unlink(check_path(accident->name)) == 0); break;
    default: replace(accident->name);
    }
}

/* One accident: both ends run, and then it happens. */
static void have_accident(struct accident *accident, int descriptor) {
    const pid_t consumer = check_spawn(be_consumer, accident), producer = check_spawn(produce, accident);
    const int enough = (int)check_below(accident->slowly ? 30 : 1000);
    check_meet(&accident->in, 3);
    const int64_t start_ms = check_now_ms();
    while (accident->received < enough && check_now_ms() - start_ms < 6 * check_late(HANG_MS))
        usleep(50);
    CHECK(accident->received >= enough);
    do_harm(accident, descriptor);
    if (!is_harmless(accident->harm)) usleep(2000);
    accident->over = true;
    check_join(producer);
    check_join(consumer);
}

struct worker {
    int rounds;
    bool file;
    uint64_t random;
};

/* The doorbells of a queue that may have neither name nor header any more. */
static void remove_every_doorbell(int object, uint64_t instance, bool file) {
    int directory = open(file ? "." : "/dev/shm", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(directory >= 0);
    const struct bells queue = {.directory = directory, .object = object, .instance = instance};
    for (unsigned kind = 0; notifier_of(kind) != NULL; kind++)
        if (notifier_of(kind)->remove != NULL) notifier_of(kind)->remove(&queue);
    CHECK(close(directory) == 0);
}

/* All but cond, whose mutex is not for damaged memory. */
static const enum shmq_notify ACCIDENT_KINDS[] = {SHMQ_NOTIFY_SEM,   SHMQ_NOTIFY_LOCK,   SHMQ_NOTIFY_SPIN,
                                                  SHMQ_NOTIFY_NAMED, SHMQ_NOTIFY_SIGNAL, SHMQ_NOTIFY_FIFO};

static void have_accidents(void *argument) {
    const struct worker *worker = argument;
    const size_t kinds = sizeof ACCIDENT_KINDS / sizeof ACCIDENT_KINDS[0];
    struct header header;
    struct accident *accident = check_shared(sizeof *accident);
    char file[32];
    install_guard();
    snprintf(file, sizeof file, "./q%d", (int)(worker->random % 1000000));
    const char *name = worker->file ? file : check_name(file + 2);
    for (int round = 0; round < worker->rounds; round++) {
        notifier_now = &NOTIFIERS[ACCIDENT_KINDS[(size_t)(round / HARMS) % kinds]];
        if (!notifier_works_here(notifier_now)) notifier_now = &NOTIFIERS[SHMQ_NOTIFY_SEM];
        const unsigned many = round % 3 == 0 ? SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0;
        *accident = (struct accident){.name = name,
                                      .harm = (enum harm)(round % HARMS),
                                      .flags = SHMQ_CHECKSUM | many,
                                      .slowly = check_below(2) == 0,
                                      .zero_copy = check_below(2) == 0};
        if (accident->harm != TRUNCATE_ALL && !is_harmless(accident->harm))
            accident->zero_copy = false; /* zeros without a fault: nobody could tell us who copy */
        check_note("round %d, %s, notifier %s, flags %u", round, HARM_NAMES[accident->harm], notifier_now->name,
                   accident->flags);
        leave(enter(name, SHMQ_CONSUMER, accident->flags)); /* of whom no end is told */
        int fd = open_object(name);
        check_doorbells(fd); /* the accident may take the name, or a failure the rest */
        CHECK(pread(fd, &header, sizeof header, 0) == sizeof header);
        have_accident(accident, fd);
        remove_every_doorbell(fd, header.instance, worker->file);
        CHECK(close(fd) == 0);
        if (accident->harm != UNLINK) CHECK(unlink(check_path(name)) == 0);
    }
}

TEST(a_thousand_accidents_end_in_a_right_stream_or_ebadmsg) {
    struct worker workers[WORKERS];
    pid_t pids[WORKERS];
    need_guard();
    /* Before a futex call it looks at the word for itself. Of one thread alone, who damages its own object, it can do. */
    if (check_tool() == CHECK_VALGRIND) check_skip("valgrind itself dies of the SIGBUS");
    for (int at = 0; at < WORKERS; at++) {
        workers[at] = (struct worker){check_scaled(ROUNDS / WORKERS), at % 2 == 0, check_random()};
        pids[at] = check_spawn(have_accidents, &workers[at]);
    }
    for (int at = 0; at < WORKERS; at++)
        check_join(pids[at]);
}

/* ---- Lives --------------------------------------------------------------------------------- */

/* While its lease is held, an end whose life word was damaged is there; and that it goes is heard all the same. */
static void damage_life(const char *name, enum shmq_end end, uint64_t word, bool attached_before) {
    const enum shmq_end other = region_other(end);
    const size_t life = offsetof(struct end_page, life);
    shmq *damaged = enter(name, end, 0), *told = attached_before ? enter(name, other, 0) : NULL;
    const int fd = open_object(name);
    if (told != NULL) (void)(end == SHMQ_CONSUMER ? fill(told, 1) : recv_error(told, 0)); /* it has looked */
    set_word(fd, end == SHMQ_PRODUCER ? PAGE_PRODUCER : PAGE_CONSUMER, life, word);
    if (told == NULL) told = enter(name, other, 0);
    if (end == SHMQ_CONSUMER) (void)fill(told, 1);
    for (int look = 0; look < 3; look++)
        CHECK_FAILS(pass_one(told, look), look == 0 ? EAGAIN : ETIMEDOUT);
    leave(damaged);
    CHECK_FAILS(pass_one(told, -1), EPIPE);
    CHECK(close(fd) == 0);
    leave(told);
    remove_queue(name);
}

TEST_NOTIFIERS(a_life_word_that_turned_even_is_no_end_of_a_life) {
    static const uint64_t words[] = {4, 100, 1 << 20, UINT64_MAX - 1}; /* the life is 1; 2 would be its end */
    for (size_t row = 0; row < sizeof words / sizeof words[0]; row++)
        for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
            for (int before = 0; before <= 1; before++) {
                check_note("%s, life %llu, end %d, attached before %d", notifier_now->name,
                           (unsigned long long)words[row], end, before);
                damage_life(name, (enum shmq_end)end, words[row], before != 0);
            }
}

/* ---- Checksums ----------------------------------------------------------------------------- */

static void flip(int fd, size_t at, unsigned bit) {
    unsigned char byte = 0;
    CHECK(pread(fd, &byte, 1, (off_t)(RING_AT + at)) == 1);
    byte ^= (unsigned char)(1u << bit);
    CHECK(pwrite(fd, &byte, 1, (off_t)(RING_AT + at)) == 1);
}

/* By a new consumer: the message as it was sent, or this errno; by recv or by peek. */
static void check_take(const char *name, const unsigned char *wanted, size_t length, int error, bool peeks) {
    unsigned char got[256];
    size_t seen = sizeof got;
    shmq *q = enter(name, SHMQ_CONSUMER, SHMQ_CHECKSUM);
    memset(got, 0xa5, sizeof got);
    if (error != 0) {
        if (peeks)
            CHECK_FAILS(shmq_peek(q, &seen, 0), error);
        else
            CHECK_FAILS(shmq_recv(q, got, sizeof got, 0), error);
        CHECK_FAILS(shmq_recv(q, got, sizeof got, 0), error);
        CHECK_FAILS(shmq_peek(q, NULL, 0), error);
    } else {
        const unsigned char *message = shmq_peek(q, &seen, 0);
        CHECK(message != NULL && seen == length && memcmp(message, wanted, length) == 0);
    }
    leave(q);
}

TEST(a_flipped_bit_in_a_record_is_never_delivered) {
    static const size_t lengths[] = {0, 1, 8, 13, 40};
    need_checksums();
    for (size_t row = 0; row < sizeof lengths / sizeof lengths[0]; row++) {
        const char *name = check_name("q");
        unsigned char message[64];
        const size_t length = lengths[row], bytes = RECORD_CHECKED + length;
        write_pattern(message, length, 1);
        shmq *producer = enter(name, SHMQ_PRODUCER, SHMQ_CHECKSUM);
        int fd = open_object(name);
        CHECK(shmq_send(producer, message, length, 0) == 0);
        for (size_t at = 0; at < (bytes + 7) / 8 * 8; at++)
            for (unsigned bit = 0; bit < 8; bit++) {
                check_note("length %zu, byte %zu, bit %u", length, at, bit);
                flip(fd, at, bit);
                /* Padding is nobody's; all else is noticed. */
                check_take(name, message, length, at < bytes ? EBADMSG : 0, bit % 2 == 0);
                flip(fd, at, bit);
            }
        check_take(name, message, length, 0, true); /* and nothing was taken by all that */
        CHECK(close(fd) == 0);
        leave(producer);
        CHECK(shmq_unlink(name) == 0);
    }
}

/* That is what the flag is for. */
TEST(without_checksums_a_flipped_payload_is_delivered_and_a_flipped_header_is_not) {
    const char *name = check_name("q");
    unsigned char got[64];
    shmq *producer = enter(name, SHMQ_PRODUCER, 0), *consumer = enter(name, SHMQ_CONSUMER, 0);
    int fd = open_object(name);
    CHECK(shmq_send(producer, "hello", 5, 0) == 0);
    CHECK(shmq_send(producer, "hello", 5, 0) == 0);
    flip(fd, RECORD_HEADER + 1, 2);
    CHECK_EQUAL(shmq_recv(consumer, got, sizeof got, 0), 5);
    CHECK(memcmp(got, "hallo", 5) == 0);
    flip(fd, 16 + 4, 0);
    CHECK_FAILS(shmq_recv(consumer, got, sizeof got, 0), EBADMSG);
    CHECK(close(fd) == 0);
    leave(producer);
    leave(consumer);
    CHECK(shmq_unlink(name) == 0);
}

static void pass(shmq *producer, shmq *consumer, size_t length) {
    static unsigned char message[LARGEST], got[LARGEST];
    size_t seen;
    const bool zero_copy = length % 2 == 0;
    write_pattern(message, length, 3);
    unsigned char *room = zero_copy ? shmq_reserve(producer, length, 0) : NULL;
    if (zero_copy) {
        CHECK(room != NULL);
        memcpy(room, message, length);
        CHECK(shmq_commit(producer, length) == 0);
    } else {
        CHECK(shmq_send(producer, message, length, 0) == 0);
    }
    if (length % 3 == 0) {
        const unsigned char *peeked = shmq_peek(consumer, &seen, 0);
        CHECK(peeked != NULL && seen == length && memcmp(peeked, message, length) == 0);
        CHECK(shmq_release(consumer) == 0);
    } else {
        CHECK_EQUAL(shmq_recv(consumer, got, sizeof got, 0), length);
        CHECK(memcmp(got, message, length) == 0);
    }
}

TEST_NOTIFIERS(messages_of_all_sizes_pass_with_checksums) {
    need_checksums();
    const struct shmq_attr attr = {PAGE, LARGEST, notifier_now->kind, SHMQ_CHECKSUM, 0};
    struct shmq_stat stat;
    shmq *producer, *consumer;
    CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, O_CREAT, &attr) == 0);
    CHECK(shmq_open(&consumer, name, SHMQ_CONSUMER, 0, NULL) == 0);
    for (size_t length = 0; length <= LARGEST; length++)
        pass(producer, consumer, length);
    CHECK(shmq_stat(consumer, &stat) == 0);
    CHECK_EQUAL(stat.flags, SHMQ_CHECKSUM);
    CHECK_EQUAL(stat.received, LARGEST + 1);
    CHECK_FAILS(shmq_send(producer, &stat, LARGEST + 1, 0), EMSGSIZE);
    leave(producer);
    leave(consumer);
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_checksum_takes_eight_bytes_more_of_what_fits) {
    need_checksums();
    const char *name = check_name("q");
    struct shmq_attr attr = {.capacity = PAGE, .max_message = LARGEST + 1, .flags = SHMQ_CHECKSUM};
    shmq *q;
    CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &attr), EINVAL);
    attr.flags = 0;
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, &attr) == 0);
    leave(q);
    CHECK(shmq_unlink(name) == 0);
}

/* What stood in this place a lap ago: the whole record, or its payload and checksum under the present header. */
static void replay(size_t from, unsigned flags, int error) {
    const char *name = check_name("q");
    unsigned char old[1024], payload[1024];
    const size_t before = (flags & SHMQ_CHECKSUM) != 0 ? RECORD_CHECKED : RECORD_HEADER;
    const size_t length = 1024 - before, laps = 4; /* four records a lap */
    shmq *producer = enter(name, SHMQ_PRODUCER, flags), *consumer = enter(name, SHMQ_CONSUMER, flags);
    int fd = open_object(name);
    for (size_t at = 0; at <= laps; at++) {
        memset(payload, (int)at, length);
        CHECK(shmq_send(producer, payload, length, 0) == 0);
        if (at == 0) CHECK(pread(fd, old, sizeof old, RING_AT) == sizeof old);
        if (at < laps) CHECK(shmq_recv(consumer, payload, sizeof payload, 0) == (ssize_t)length);
    }
    CHECK(pwrite(fd, old + from, sizeof old - from, (off_t)(RING_AT + from)) == (ssize_t)(sizeof old - from));
    if (error != 0) {
        CHECK_FAILS(shmq_recv(consumer, payload, sizeof payload, 0), error);
    } else {
        CHECK(shmq_recv(consumer, payload, sizeof payload, 0) == (ssize_t)length);
        CHECK_EQUAL(payload[0], 0); /* the old one */
    }
    CHECK(close(fd) == 0);
    leave(producer);
    leave(consumer);
    CHECK(shmq_unlink(name) == 0);
}

TEST(an_old_record_in_the_place_of_a_new_one_is_noticed) {
    need_checksums();
    replay(0, SHMQ_CHECKSUM, EBADMSG);
    replay(RECORD_HEADER, SHMQ_CHECKSUM, EBADMSG);
    replay(0, 0, EBADMSG);
    replay(RECORD_HEADER, 0, 0); /* not without checksums */
}

int main(int argc, char **argv) { return check_main(argc, argv); }
