/* What is special of each notifier: the doorbells with names, who may ring whom, what a dead or
 * hostile peer can do with the notifier's own words, and what waiting costs. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"

enum {
    NOTICE_MS = 2000, /* by a slice of 200 ms: ten times that */
    AT_ONCE_MS = 50,  /* most times: a quarter of a slice, and less than the longest naps of some */
    STRANGER = 12345  /* another user */
};

static shmq *enter_with_mode(const char *name, enum shmq_end end, mode_t mode) {
    return enter_as(name, end, &(struct shmq_attr){.capacity = CAPACITY, .notify = notifier_now->kind, .mode = mode});
}

static uint64_t instance_of(const shmq *q) { return q->region.header.instance; }

/* Its doorbells have names, while the queue exists. */
static int all_doorbells(void) { return notifier_now->prefix == NULL ? 0 : 2; }

static struct stat status_at(const char *path) {
    struct stat status;
    CHECK(lstat(path, &status) == 0);
    return status;
}

/* ---- A peer in a process of its own -------------------------------------------------------- */

enum deed { SLEEP, TAKE, LIE }; /* waits for what never comes; takes a message; does nothing */

struct peer {
    const char *name;
    enum shmq_end end;
    enum deed deed;
    check_gate ready, woken, go;
    int error;        /* how its wait ended */
    int64_t woken_ms; /* and when */
    pid_t pid;
};

static void be_peer(void *argument) {
    struct peer *peer = argument;
    shmq *q = enter(peer->name, peer->end, 0);
    if (peer->end == SHMQ_PRODUCER && peer->deed != LIE) fill(q, LONGEST);
    check_pass(&peer->ready);
    if (peer->deed != LIE) {
        static char message[LONGEST];
        const bool done = peer->end == SHMQ_PRODUCER ? shmq_send(q, message, sizeof message, -1) == 0
                                                     : shmq_recv(q, message, sizeof message, -1) >= 0;
        peer->error = done ? 0 : errno;
        peer->woken_ms = check_now_ms();
        check_pass(&peer->woken);
    }
    check_wait(&peer->go, 1);
    leave(q);
}

static struct peer *call(const char *name, enum shmq_end end, enum deed deed) {
    struct peer *peer = check_shared(sizeof *peer);
    *peer = (struct peer){.name = name, .end = end, .deed = deed};
    peer->pid = check_spawn(be_peer, peer);
    check_wait(&peer->ready, 1);
    return peer;
}

static void dismiss(struct peer *peer) {
    check_pass(&peer->go);
    check_join(peer->pid);
}

/* A message wakes a sleeping consumer, in so many milliseconds. */
static int64_t wake_by_message(const char *name) {
    struct peer *consumer = call(name, SHMQ_CONSUMER, TAKE);
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    await_asleep(name, SHMQ_CONSUMER);
    const int64_t start = check_now_ms();
    put_number(producer, 1);
    check_wait(&consumer->woken, 1);
    CHECK_EQUAL(consumer->error, 0);
    dismiss(consumer);
    leave(producer);
    return consumer->woken_ms - start;
}

/* ---- Doorbells with names ------------------------------------------------------------------ */

TEST_NOTIFIERS_EVERYWHERE(doorbells_have_names_as_long_as_the_queue_has_one) {
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    const uint64_t instance = instance_of(producer);
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    put_number(producer, 1);
    take_number(consumer, 1);
    leave(producer);
    leave(consumer);
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    producer = enter(name, SHMQ_PRODUCER, 0);
    consumer = enter(name, SHMQ_CONSUMER, 0);
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    remove_queue(name);
    CHECK_EQUAL(notifier_doorbells(name, instance), 0);
    put_number(producer, 2); /* those that are in go on */
    take_number(consumer, 2);
    leave(producer);
    CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
    leave(consumer);
    CHECK_EQUAL(notifier_doorbells(name, instance), 0);
}

TEST_NOTIFIERS_EVERYWHERE(doorbells_go_with_an_ephemeral_queue) {
    const int descriptors = check_descriptors(), mappings = check_mappings();
    for (int last = SHMQ_PRODUCER; last <= SHMQ_CONSUMER; last++) {
        shmq *ends[] = {enter(name, SHMQ_PRODUCER, SHMQ_EPHEMERAL), enter(name, SHMQ_CONSUMER, SHMQ_EPHEMERAL)};
        const uint64_t instance = instance_of(ends[0]);
        leave(ends[1 - last]);
        CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
        leave(ends[last]);
        CHECK_EQUAL(notifier_doorbells(name, instance), 0);
        CHECK_FAILS(shmq_unlink(name), ENOENT);
    }
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

static void check_rights(const char *name) {
    static const mode_t umasks[] = {0, 022, 077, 0777}, modes[] = {0600, 0660, 0606, 0666};
    for (int row = 0; row < 16 && notifier_now->prefix != NULL; row++) {
        check_note("%s, umask 0%o, mode 0%o", notifier_now->name, umasks[row / 4], modes[row % 4]);
        const mode_t before = umask(umasks[row / 4]);
        shmq *q = enter_with_mode(name, SHMQ_PRODUCER, modes[row % 4]);
        (void)umask(before);
        const struct stat queue = status_at(check_path(name));
        for (int items = 0; items <= 1; items++) {
            const struct stat bell = status_at(notifier_path(name, instance_of(q), items != 0));
            CHECK_EQUAL(bell.st_mode & 07777, modes[row % 4]);
            CHECK_EQUAL(bell.st_uid, queue.st_uid);
            CHECK_EQUAL(bell.st_gid, queue.st_gid);
        }
        leave(q);
        remove_queue(name);
    }
}

static void check_rights_of_a_stranger(void *argument) {
    become(STRANGER);
    check_rights(argument);
}

TEST_NOTIFIERS_EVERYWHERE(doorbells_have_exactly_the_rights_of_their_queue_whatever_the_umask) { check_rights(name); }

TEST_NOTIFIERS_EVERYWHERE(doorbells_of_another_user_have_exactly_the_rights_of_their_queue) {
    require_root();
    union {
        const char *name;
        void *argument;
    } queue = {name};
    join_or_skip(check_spawn(check_rights_of_a_stranger, queue.argument));
}

static void talk_as_stranger(void *argument) {
    const char *name = argument;
    become(STRANGER);
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0);
    take_number(consumer, 1);
    CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
    leave(consumer);
}

/* Root's queue of 0666, and another user at its other end. */
TEST_NOTIFIERS_EVERYWHERE(two_users_share_a_queue_whose_mode_says_so) {
    require_root();
    if (notifier_now->kind == SHMQ_NOTIFY_SIGNAL) return; /* they may not signal each other */
    union {
        const char *name;
        void *argument;
    } queue = {name};
    shmq *producer = enter_with_mode(name, SHMQ_PRODUCER, 0666);
    pid_t child = check_spawn(talk_as_stranger, queue.argument);
    await_asleep(name, SHMQ_CONSUMER);
    put_number(producer, 1);
    CHECK(shmq_drain(producer, -1) == 0);
    leave(producer);
    join_or_skip(child);
    remove_queue(name);
}

static void refuse_stranger(void *argument) {
    const struct shmq_attr attr = {.mode = 0666};
    const char *name = argument;
    shmq *q;
    become(STRANGER);
    CHECK_FAILS(shmq_open(&q, name, SHMQ_CONSUMER, 0, &attr), ENOTSUP);
}

TEST(users_that_may_not_signal_each_other_are_not_supported_by_signal) {
    require_root();
    union {
        const char *name;
        void *argument;
    } queue = {check_name("q")};
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_SIGNAL];
    if (!notifier_works_here(notifier_now)) check_skip("no pidfd");
    shmq *producer = enter_with_mode(queue.name, SHMQ_PRODUCER, 0666);
    join_or_skip(check_spawn(refuse_stranger, queue.argument));
    CHECK_EQUAL(recv_error(producer, 0), EINVAL);
    leave(producer);
    remove_queue(queue.name);
}

TEST_NOTIFIERS_EVERYWHERE(doorbells_outlive_everybody_and_are_found_again) {
    struct peer *producer = call(name, SHMQ_PRODUCER, LIE);
    struct peer *consumer = call(name, SHMQ_CONSUMER, LIE);
    check_kill(producer->pid);
    check_kill(consumer->pid);
    shmq *q = enter(name, SHMQ_CONSUMER, 0);
    const uint64_t instance = instance_of(q);
    CHECK_EQUAL(recv_error(q, -1), EOWNERDEAD); /* from now on that is no news */
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    const bool named = all_doorbells() > 0;
    const ino_t before = named ? status_at(notifier_path(name, instance, true)).st_ino : 0;
    leave(q);
    CHECK(wake_by_message(name) < check_late(NOTICE_MS));
    CHECK_EQUAL(named ? status_at(notifier_path(name, instance, true)).st_ino : 0, before);
    remove_queue(name);
    CHECK_EQUAL(notifier_doorbells(name, instance), 0);
}

/* The ends ring different doorbells then: a slice finds out. */
TEST_NOTIFIERS_EVERYWHERE(doorbells_that_somebody_removed_are_made_again_and_nothing_stops) {
    struct peer *consumer = call(name, SHMQ_CONSUMER, TAKE);
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    const uint64_t instance = instance_of(producer);
    await_asleep(name, SHMQ_CONSUMER);
    remove_doorbells(name, instance);
    leave(producer); /* the consumer sleeps on: it had not heard of this producer */
    check_wait(&consumer->woken, 1);
    CHECK_EQUAL(consumer->error, EPIPE);
    dismiss(consumer);
    consumer = call(name, SHMQ_CONSUMER, TAKE);
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    remove_doorbells(name, instance);
    producer = enter(name, SHMQ_PRODUCER, 0);
    CHECK_EQUAL(notifier_doorbells(name, instance), all_doorbells());
    await_asleep(name, SHMQ_CONSUMER);
    const int64_t start = check_now_ms();
    put_number(producer, 1);
    check_wait(&consumer->woken, 1);
    CHECK_EQUAL(consumer->error, 0);
    CHECK(consumer->woken_ms - start < check_late(NOTICE_MS));
    dismiss(consumer);
    leave(producer);
    remove_queue(name);
    CHECK_EQUAL(notifier_doorbells(name, instance), 0);
}

/* ---- Names that are taken ------------------------------------------------------------------ */

static void squat_file(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    CHECK(fd >= 0 && write(fd, "mine", 4) == 4 && close(fd) == 0);
}

static void squat_large_file(const char *path) {
    squat_file(path);
    CHECK(truncate(path, 8192) == 0);
}

static void squat_empty_file(const char *path) {
    squat_file(path);
    CHECK(truncate(path, 0) == 0);
}

static void squat_directory(const char *path) { CHECK(mkdir(path, 0750) == 0); }

static void squat_dangling_link(const char *path) { CHECK(symlink("./nothing", path) == 0); }

static void squat_link(const char *path) { CHECK(symlink("/dev/null", path) == 0); }

static void squat_fifo(const char *path) { CHECK(mkfifo(path, 0640) == 0); }

static void give_away(const char *path) { CHECK(lchown(path, STRANGER, STRANGER) == 0); }

static const struct squatter {
    const char *what;
    void (*squat)(const char *path);
    bool foreign;
} SQUATTERS[] = {
    {"a file", squat_file, false},
    {"an empty file", squat_empty_file, false},
    {"a large file", squat_large_file, false},
    {"a directory", squat_directory, false},
    {"a link to nothing", squat_dangling_link, false},
    {"a link to a device", squat_link, false},
    {"a fifo", squat_fifo, false},
    {"a stranger's file", squat_large_file, true},
    {"a stranger's fifo", squat_fifo, true},
    {"a stranger's directory", squat_directory, true},
};

/* Of the type and the user that the notifier itself would make. */
static bool is_like_ours(const struct squatter *squatter) {
    const bool fifo = squatter->squat == squat_fifo;
    const bool file =
        squatter->squat == squat_file || squatter->squat == squat_empty_file || squatter->squat == squat_large_file;
    return !squatter->foreign && (notifier_now->kind == SHMQ_NOTIFY_FIFO ? fifo : file);
}

static bool is_the_same(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_size == b->st_size && a->st_uid == b->st_uid &&
           a->st_gid == b->st_gid && a->st_nlink == b->st_nlink;
}

static void try_squatter(const char *name, uint64_t instance, const struct squatter *squatter, bool items) {
    char path[4096];
    snprintf(path, sizeof path, "%s", notifier_path(name, instance, items));
    check_note("%s, %s: %s", notifier_now->name, items ? "items" : "space", squatter->what);
    CHECK(unlink(path) == 0);
    squatter->squat(path);
    if (squatter->foreign) give_away(path);
    const struct stat before = status_at(path);
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        const int descriptors = check_descriptors(), mappings = check_mappings();
        shmq *q = (shmq *)(void *)&q;
        errno = 0;
        CHECK(shmq_open(&q, name, (enum shmq_end)end, O_CREAT, NULL) == -1);
        const int error = errno;
        if (!notifier_open_says(error)) check_fail(__FILE__, __LINE__, "refused with errno %s", strerrorname_np(error));
        CHECK(q == NULL);
        CHECK_EQUAL(check_descriptors(), descriptors);
        CHECK_EQUAL(check_mappings(), mappings);
    }
    const struct stat after = status_at(path);
    CHECK(is_the_same(&before, &after));
    CHECK(remove(path) == 0);
    leave(enter(name, SHMQ_PRODUCER, 0)); /* and the queue is none the worse */
}

/* Tries all squatters that are, or are not, of the right type and user. */
static void try_squatters(const char *name, bool like_ours) {
    if (notifier_now->prefix == NULL) return;
    shmq *q = enter(name, SHMQ_PRODUCER, 0);
    const uint64_t instance = instance_of(q);
    leave(q);
    for (size_t row = 0; row < sizeof SQUATTERS / sizeof SQUATTERS[0]; row++)
        for (int items = 0; items <= 1; items++)
            if (is_like_ours(&SQUATTERS[row]) == like_ours && (!SQUATTERS[row].foreign || geteuid() == 0))
                try_squatter(name, instance, &SQUATTERS[row], items != 0);
    remove_queue(name);
    CHECK_EQUAL(notifier_doorbells(name, instance), 0);
}

TEST_NOTIFIERS_EVERYWHERE(something_else_under_a_doorbells_name_is_refused_and_untouched) {
    try_squatters(name, false);
}

/* libc maps it and uses what it finds: of a file too short for a semaphore, nothing (SIGBUS). */
TEST_NOTIFIERS_EVERYWHERE(a_file_of_another_size_is_no_semaphore_and_untouched) {
    if (notifier_now->kind == SHMQ_NOTIFY_NAMED) try_squatters(name, true);
}

/* ---- Two at once --------------------------------------------------------------------------- */

/* Only those whose doorbells have names can do it wrong. */
static int meetings_wanted(void) { return check_scaled(notifier_now->prefix != NULL ? 1000 : 20); }

struct meetings {
    const char *name;
    check_gate gate;
    int late;
};

static void meet(struct meetings *meetings, enum shmq_end end) {
    for (int round = 0; round < meetings_wanted(); round++) {
        check_meet(&meetings->gate, 2);
        shmq *q = enter(meetings->name, end, 0);
        check_meet(&meetings->gate, 2);
        if (end == SHMQ_PRODUCER) {
            await_asleep(meetings->name, region_other(end));
            const int64_t start = check_now_ms();
            put_number(q, round);
            CHECK(shmq_drain(q, -1) == 0);
            meetings->late += check_now_ms() - start > check_late(100);
        } else {
            take_number(q, round);
        }
        const uint64_t instance = instance_of(q);
        check_meet(&meetings->gate, 2);
        leave(q);
        if (end == SHMQ_PRODUCER) remove_doorbells(meetings->name, instance);
    }
}

static void meet_as_producer(void *meetings) { meet(meetings, SHMQ_PRODUCER); }

/* Both find no doorbells and make them; if each had its own, every ring would be lost. */
TEST_NOTIFIERS_EVERYWHERE(two_that_make_the_doorbells_at_once_use_the_same) {
    struct meetings *meetings = check_shared(sizeof *meetings);
    meetings->name = name;
    leave(enter(name, SHMQ_PRODUCER, 0));
    pid_t child = check_spawn(meet_as_producer, meetings);
    meet(meetings, SHMQ_CONSUMER);
    check_join(child);
    CHECK(meetings->late <= meetings_wanted() / 10);
    remove_queue(name);
}

/* ---- Who can use which --------------------------------------------------------------------- */

static void block_urgent(int how) {
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    CHECK(sigprocmask(how, &urgent, NULL) == 0);
}

TEST_NOTIFIERS_EVERYWHERE(only_signal_needs_a_blocked_sigurg) {
    const struct shmq_attr attr = {.capacity = CAPACITY, .notify = notifier_now->kind};
    block_urgent(SIG_UNBLOCK);
    if (notifier_now->kind == SHMQ_NOTIFY_SIGNAL) {
        check_refused(name, O_CREAT, &attr, ENOTSUP);
        CHECK_FAILS(shmq_unlink(name), ENOENT);
        block_urgent(SIG_BLOCK);
        leave(enter(name, SHMQ_PRODUCER, 0));
        block_urgent(SIG_UNBLOCK);
        check_refused(name, O_CREAT, &attr, ENOTSUP);
        check_refused(name, 0, &attr, ENOTSUP);
    } else {
        leave(enter(name, SHMQ_PRODUCER, 0));
    }
    block_urgent(SIG_BLOCK);
    leave(enter(name, SHMQ_CONSUMER, 0));
    remove_queue(name);
}

/* In a PID namespace of its own: the ends cannot name each other there. */
static void visit_from_another_space(void *argument) {
    struct peer *peer = argument;
    const bool by_number = notifier_now->kind == SHMQ_NOTIFY_SIGNAL || notifier_now->kind == SHMQ_NOTIFY_COND;
    shmq *q;
    if (by_number) {
        CHECK_FAILS(shmq_open(&q, peer->name, SHMQ_CONSUMER, 0, NULL), ENOTSUP);
        CHECK_FAILS(shmq_open(&q, peer->name, SHMQ_CONSUMER, O_CREAT, NULL), ENOTSUP);
    } else {
        CHECK(shmq_open(&q, peer->name, SHMQ_CONSUMER, 0, NULL) == 0);
        take_number(q, 1);
        leave(q);
    }
    check_pass(&peer->ready);
    check_wait(&peer->go, 1);
    leave(enter(peer->name, SHMQ_CONSUMER, 0)); /* the peer has gone: nobody there to name */
    _exit(0);                                   /* leak checkers cannot work here */
}

static void call_from_another_space(void *argument) {
    if (unshare(geteuid() == 0 ? CLONE_NEWPID : CLONE_NEWPID | CLONE_NEWUSER) != 0)
        check_skip("no PID namespaces here");
    check_join(check_spawn(visit_from_another_space, argument));
    _exit(0);
}

TEST_NOTIFIERS(an_end_in_another_pid_namespace_is_refused_where_numbers_name_the_ends) {
    struct peer *peer = check_shared(sizeof *peer);
    peer->name = name;
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    put_number(producer, 1);
    const uint64_t lives = shared_load(&producer->peer->life[0]);
    pid_t child = check_spawn(call_from_another_space, peer);
    int status = 0;
    while (atomic_load(&peer->ready) == 0 && waitpid(child, &status, WNOHANG) == 0)
        sched_yield();
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) check_skip("no PID namespaces here");
    if (notifier_now->kind == SHMQ_NOTIFY_SIGNAL || notifier_now->kind == SHMQ_NOTIFY_COND)
        CHECK_EQUAL(shared_load(&producer->peer->life[0]), lives); /* it never was there */
    leave(producer);
    check_pass(&peer->go);
    check_join(child);
    remove_queue(name);
}

TEST_NOTIFIERS_EVERYWHERE(a_queue_for_another_libc_is_no_queue_here) {
    const struct shmq_attr attr = {.capacity = CAPACITY, .notify = notifier_now->kind};
    leave(enter(name, SHMQ_PRODUCER, 0));
    const off_t at = (off_t)offsetof(struct header, fingerprint);
    const bool keeps_types = notifier_now->trusts;
    uint64_t right = 0;
    int fd = open_object(name);
    CHECK(pread(fd, &right, sizeof right, at) == sizeof right);
    CHECK_EQUAL(right != 0, keeps_types);
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t wrong = right ^ (uint64_t)1 << bit;
        CHECK(pwrite(fd, &wrong, sizeof wrong, at) == sizeof wrong);
        check_refused(name, 0, &attr, EPROTO);
        check_refused(name, O_CREAT, &attr, EPROTO);
    }
    CHECK(pwrite(fd, &right, sizeof right, at) == sizeof right);
    CHECK(close(fd) == 0);
    leave(enter(name, SHMQ_CONSUMER, 0));
    remove_queue(name);
}

/* ---- Rings out of nowhere ------------------------------------------------------------------ */

TEST_NOTIFIERS(a_signal_from_elsewhere_costs_a_look_and_no_more) {
    shmq *consumer = enter(name, SHMQ_CONSUMER, 0), *producer = enter(name, SHMQ_PRODUCER, 0);
    const int64_t start = check_now_ms();
    CHECK(kill(getpid(), SIGURG) == 0);
    CHECK_EQUAL(recv_error(consumer, 300), ETIMEDOUT);
    CHECK(check_now_ms() - start >= 299);
    CHECK(kill(getpid(), SIGURG) == 0);
    put_number(producer, 1);
    take_number(consumer, 1);
    leave(producer);
    leave(consumer);
    remove_queue(name);
}

/* All that an end writes, but for its cursor and its life. */
static void scribble(int fd, int page) {
    static const size_t words[] = {offsetof(struct end_page, ticket), offsetof(struct end_page, want),
                                   offsetof(struct end_page, light),  offsetof(struct end_page, end_seen),
                                   offsetof(struct end_page, bell),   offsetof(struct end_page, messages),
                                   offsetof(struct end_page, sleeps), offsetof(struct end_page, rings)};
    for (size_t word = 0; word < sizeof words / sizeof words[0]; word++)
        set_word(fd, page, words[word], any_garbage());
    if (notifier_now->trusts) return;
    set_word(fd, PAGE_MEETING, offsetof(struct meeting, items), any_garbage());
    set_word(fd, PAGE_MEETING, offsetof(struct meeting, space), any_garbage());
}

TEST_NOTIFIERS_EVERYWHERE(garbage_in_the_words_of_the_doorbells_harms_no_message_and_no_time_out) {
    shmq *producer = enter(name, SHMQ_PRODUCER, 0), *consumer = enter(name, SHMQ_CONSUMER, 0);
    int fd = open_object(name);
    for (int round = 0; round < check_scaled(500); round++) {
        scribble(fd, PAGE_CONSUMER);
        put_number(producer, round);
        scribble(fd, PAGE_PRODUCER);
        take_number(consumer, round);
    }
    for (int round = 0; round < 5; round++) {
        const int64_t start = check_now_ms();
        scribble(fd, PAGE_CONSUMER);
        scribble(fd, PAGE_PRODUCER);
        CHECK_EQUAL(recv_error(consumer, 20), ETIMEDOUT);
        put_number(producer, round);
        CHECK_FAILS(shmq_drain(producer, 20), ETIMEDOUT);
        CHECK(check_now_ms() - start >= 39 && check_now_ms() - start < check_late(400));
        take_number(consumer, round);
    }
    CHECK(close(fd) == 0);
    leave(consumer);
    leave(producer);
    remove_queue(name);
}

/* ---- Woken at once ------------------------------------------------------------------------- */

enum wake { BY_RING, BY_CLOSE, BY_DEATH };

/* A sleeper without time-out is woken by us; how long that took. */
static int64_t wake_sleeper(const char *name, enum shmq_end end, enum wake wake) {
    struct peer *sleeper = call(name, end, TAKE);
    struct peer *dying = wake == BY_DEATH ? call(name, region_other(end), LIE) : NULL;
    shmq *q = wake == BY_DEATH ? NULL : enter(name, region_other(end), 0);
    /* It slept before we came: now it sleeps as one who has a peer. By naps, as lock without one, it
     * would sleep long by now. */
    char message[LONGEST];
    nap_ms(notifier_now->kind == SHMQ_NOTIFY_LOCK ? 150 : 10);
    if (q != NULL) await_asleep(name, end);
    const int64_t start = check_now_ms();
    if (wake == BY_DEATH) check_kill(dying->pid);
    if (wake == BY_CLOSE) leave(q);
    if (wake == BY_RING && end == SHMQ_CONSUMER) put_number(q, 1);
    while (wake == BY_RING && end == SHMQ_PRODUCER && atomic_load(&sleeper->woken) == 0 &&
           shmq_recv(q, message, sizeof message, 0) >= 0)
        continue;
    check_wait(&sleeper->woken, 1);
    CHECK_EQUAL(sleeper->error, wake == BY_RING ? 0 : wake == BY_CLOSE ? EPIPE : EOWNERDEAD);
    const int64_t took_ms = sleeper->woken_ms - start;
    dismiss(sleeper);
    if (wake == BY_RING) leave(q);
    remove_queue(name);
    return took_ms;
}

TEST_NOTIFIERS(a_sleeper_without_time_out_is_woken_by_a_ring_a_close_and_a_death) {
    static const char *const wakes[] = {"ring", "close", "death"};
    enum { ENOUGH = 8 }; /* to judge how soon they mostly are */
    for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        for (int wake = BY_RING; wake <= BY_DEATH; wake++) {
            if (wake == BY_DEATH && !notifier_now->survives) continue;
            const bool at_once = wake != BY_DEATH || notifier_now->notices;
            const int rounds = check_scaled(at_once ? ENOUGH : 2);
            int in_time = 0;
            check_note("%s, end %d, by %s", notifier_now->name, end, wakes[wake]);
            for (int round = 0; round < rounds; round++) {
                const int64_t took_ms = wake_sleeper(name, (enum shmq_end)end, (enum wake)wake);
                CHECK(took_ms < check_late(NOTICE_MS));
                in_time += took_ms < check_late(AT_ONCE_MS);
            }
            if (at_once && rounds == ENOUGH) CHECK(in_time > rounds / 2);
        }
}

static void wait_while_handlers_run(void *argument) {
    struct peer *peer = argument;
    int number = 0;
    shmq *q = enter(peer->name, SHMQ_CONSUMER, 0);
    (void)start_ticking(0);
    check_pass(&peer->ready);
    peer->error = shmq_recv(q, &number, sizeof number, -1) == sizeof number ? 0 : errno;
    CHECK_EQUAL(peer->error, notifier_now->tells_signals ? EINTR : 0);
    leave(q);
}

TEST_NOTIFIERS(a_handler_ends_a_wait_without_time_out_only_where_that_can_be_told) {
    struct peer *peer = check_shared(sizeof *peer);
    *peer = (struct peer){.name = name, .end = SHMQ_CONSUMER};
    shmq *producer = enter(name, SHMQ_PRODUCER, 0);
    pid_t child = check_spawn(wait_while_handlers_run, peer);
    check_wait(&peer->ready, 1);
    if (!notifier_now->tells_signals) { /* else nothing but a handler ends it */
        nap_ms(60);
        put_number(producer, 1);
    }
    check_join(child);
    leave(producer);
    remove_queue(name);
}

/* ---- Gates --------------------------------------------------------------------------------- */

static off_t gate_byte(enum shmq_end holder, uint64_t gate) {
    return (off_t)(((uint64_t)1 << 52) + 2 * gate + (holder == SHMQ_PRODUCER ? 0 : 1));
}

/* As another open file description sees it. */
static bool gate_is_closed(int fd, enum shmq_end holder, uint64_t gate) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = gate_byte(holder, gate), .l_len = 1};
    CHECK(fcntl(fd, F_OFD_GETLK, &lock) == 0);
    return lock.l_type != F_UNLCK;
}

static void use_lock(void) {
    notifier_now = &NOTIFIERS[SHMQ_NOTIFY_LOCK];
    check_note("notifier %s", notifier_now->name);
}

TEST(gates_are_numbered_and_never_used_twice) {
    enum { LIVES = 50 };
    const char *name = check_name("q");
    uint64_t gates[2] = {0, 0};
    use_lock();
    leave(enter(name, SHMQ_PRODUCER, 0));
    int fd = open_object(name);
    for (int life = 0; life < LIVES; life++) {
        if (life % 3 == 0) check_kill(call(name, (enum shmq_end)(life % 2), LIE)->pid);
        shmq *q[] = {enter(name, SHMQ_PRODUCER, 0), enter(name, SHMQ_CONSUMER, 0)};
        CHECK_EQUAL(recv_error(q[1], 1), ETIMEDOUT); /* its ticket is odd for a while */
        put_number(q[0], life);
        take_number(q[1], life);
        for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
            const uint64_t gate = shared_load(&q[end]->own->bell);
            CHECK(gate > gates[end]);
            CHECK(gate_is_closed(fd, (enum shmq_end)end, gate));
            for (uint64_t old = 1; old < gate; old++)
                CHECK(!gate_is_closed(fd, (enum shmq_end)end, old));
            gates[end] = gate;
        }
        leave(q[life % 2]);
        leave(q[1 - life % 2]);
        for (int end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
            CHECK(!gate_is_closed(fd, (enum shmq_end)end, gates[end]));
    }
    CHECK(close(fd) == 0);
    remove_queue(name);
}

static void stream_to_hostage(void *argument) {
    shmq *producer = enter(argument, SHMQ_PRODUCER, 0);
    for (int number = 0; number < 300; number++) {
        if (number % 4 == 0) usleep((useconds_t)check_below(500));
        put_number(producer, number);
    }
    CHECK(shmq_drain(producer, -1) == 0);
    leave(producer);
}

/* Somebody else holds the gates that come next, of both ends, and lets go of them in the end. */
TEST(a_gate_held_hostage_delays_and_loses_nothing) {
    union {
        const char *name;
        void *argument;
    } queue = {check_name("q")};
    use_lock();
    (void)alarm(60); /* who waits at a gate held against it hangs */
    leave(enter(queue.name, SHMQ_CONSUMER, 0));
    struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = gate_byte(SHMQ_PRODUCER, 3), .l_len = 9};
    int fd = open(check_path(queue.name), O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_OFD_SETLK, &all) == 0);
    const int64_t start = check_now_ms();
    shmq *consumer = enter(queue.name, SHMQ_CONSUMER, 0);
    pid_t child = check_spawn(stream_to_hostage, queue.argument);
    for (int number = 0; number < 200; number++)
        take_number(consumer, number);
    all.l_type = F_UNLCK;
    CHECK(fcntl(fd, F_OFD_SETLK, &all) == 0);
    for (int number = 200; number < 300; number++)
        take_number(consumer, number);
    CHECK_EQUAL(recv_error(consumer, -1), EPIPE);
    CHECK(check_now_ms() - start < 60000);
    check_join(child);
    leave(consumer);
    CHECK(close(fd) == 0);
    CHECK(wake_by_message(queue.name) < check_late(NOTICE_MS));
    remove_queue(queue.name);
}

/* ---- What waiting costs -------------------------------------------------------------------- */

enum { IDLE_MS = 2000, PARTS = 10, COST_US = 10000 };

/* A sleeper in a process of its own, measured. */
struct idler {
    struct peer peer;
    bool has_company;
    const struct notifier_row *row;
    int64_t start_us, cpu_us, worst_part_us; /* processor time */
};

static void idle(void *argument) {
    struct idler *idler = argument;
    char message[LONGEST] = "";
    notifier_now = idler->row;
    shmq *q = enter(idler->peer.name, idler->peer.end, 0);
    if (idler->peer.end == SHMQ_PRODUCER) fill(q, LONGEST);
    if (idler->peer.end == SHMQ_CONSUMER && idler->has_company) take_number(q, 0); /* rung once already */
    const int64_t start = check_now_ms();
    const bool done = idler->peer.end == SHMQ_PRODUCER ? shmq_send(q, message, sizeof message, -1) == 0
                                                       : shmq_recv(q, message, sizeof message, -1) >= 0;
    CHECK(done && check_now_ms() - start >= IDLE_MS);
    leave(q);
}

/* Adds what it used since it was last asked. */
static void measure(struct idler *idler) {
    struct timespec used;
    clockid_t clock;
    CHECK(clock_getcpuclockid(idler->peer.pid, &clock) == 0 && clock_gettime(clock, &used) == 0);
    const int64_t part_us = (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000 - idler->start_us - idler->cpu_us;
    idler->cpu_us += part_us;
    if (part_us > idler->worst_part_us) idler->worst_part_us = part_us;
}

static void measure_all(struct idler *idlers, int count) {
    const struct timespec part = {.tv_nsec = (IDLE_MS + 100) / PARTS * 1000000};
    for (int parts = 0; parts <= PARTS; parts++) {
        if (parts > 0) nanosleep(&part, NULL);
        for (struct idler *idler = idlers; idler < idlers + count; idler++) {
            if (idler->peer.pid == 0) continue;
            measure(idler);
            if (parts > 0) continue;
            idler->start_us = idler->cpu_us;
            idler->cpu_us = idler->worst_part_us = 0;
        }
    }
}

/* What it waits for comes at last, from us. Its dearest part does not count: a virtual machine's host that takes the
 * processor away for milliseconds lets whoever was on it just then pay for them. */
static void end_idling(struct idler *idler, shmq *company) {
    char message[LONGEST];
    notifier_now = idler->row;
    check_note("notifier %s", idler->row->name);
    shmq *q = company != NULL ? company : enter(idler->peer.name, region_other(idler->peer.end), 0);
    if (idler->peer.end == SHMQ_CONSUMER)
        put_number(q, 1);
    else
        CHECK(shmq_recv(q, message, sizeof message, -1) >= 0);
    check_join(idler->peer.pid);
    leave(q);
    remove_queue(idler->peer.name);
    printf("        %s, %s, peer %s: %lld us of processor time in %d ms, %lld of them in the dearest tenth\n",
           idler->row->name, idler->peer.end == SHMQ_PRODUCER ? "producer" : "consumer",
           idler->has_company ? "there" : "absent", (long long)idler->cpu_us, IDLE_MS, (long long)idler->worst_part_us);
    CHECK(idler->cpu_us - idler->worst_part_us <= check_late(COST_US));
}

TEST(who_sleeps_for_ever_costs_next_to_no_processor_time) {
    enum { MOST = 4 * NOTIFIERS_COUNT };
    struct idler *idlers = check_shared(MOST * sizeof *idlers);
    shmq *company[MOST] = {NULL};
    for (int at = 0; at < MOST; at++) {
        struct idler *idler = &idlers[at];
        char suffix[16];
        snprintf(suffix, sizeof suffix, "%d", at);
        *idler =
            (struct idler){.peer = {.name = check_name(suffix), .end = at % 2 == 0 ? SHMQ_PRODUCER : SHMQ_CONSUMER},
                           .has_company = at / 2 % 2 == 0,
                           .row = &NOTIFIERS[at / 4]};
        if (!idler->row->sleeps || !notifier_works_here(idler->row)) continue;
        notifier_now = idler->row;
        check_note("notifier %s", idler->row->name);
        if (idler->has_company) company[at] = enter(idler->peer.name, region_other(idler->peer.end), 0);
        idler->peer.pid = check_spawn(idle, idler);
        if (!idler->has_company || idler->peer.end == SHMQ_PRODUCER) continue;
        await_asleep(idler->peer.name, SHMQ_CONSUMER);
        put_number(company[at], 0);
    }
    measure_all(idlers, MOST);
    for (int at = 0; at < MOST; at++)
        if (idlers[at].peer.pid != 0) end_idling(&idlers[at], company[at]);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
