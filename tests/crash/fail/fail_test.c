/* Fail everywhere: in every operation every call to the system fails, once, and from then on always, in every way that the
 * kernel has; and what can run out runs out. Then the operation must say so in the words of shmq.h, and leave nothing
 * behind; no message is lost or comes twice; and once nothing fails any more all goes well, by the same handle or, if that
 * is damaged, by a new one. See fail.h.
 *
 * In a row of the same call, as of the leases of 64 slots, the first and the last fail, and of those between whom the seed
 * draws. Under a sanitizer it draws all, but of each way to fail at least two. With SHMQ_LONG in the environment nothing is
 * left out. */
#include "fail.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static bool is_long(void) { return getenv("SHMQ_LONG") != NULL; }

static bool draws_all(void) { return check_tool() != CHECK_PLAIN && !is_long(); }

static bool is_drawn(void) {
    enum { RARITY = 15 };
    return check_below(RARITY) == 0;
}

/* ---- All trials of a scene ----------------------------------------------------------------- */

/* The number of a process that asks for itself is right. */
static bool is_impossible(const struct scene *scene, const struct fail_way *way) {
    return scene->operation <= ATTACH && strcmp(way->call, "os_pidfd_open") == 0 &&
           (way->error == EINVAL || way->error == ESRCH);
}

/* In a row of the same call: neither the first nor the last. */
static bool is_between(const struct fail_way *const *calls, uint32_t at, uint32_t count) {
    return at > 0 && at + 1 < count && calls[at - 1] == calls[at] && calls[at] == calls[at + 1];
}

static void play_ways(const struct scene *scene, struct trial *trial, const struct fail_way *first, bool all,
                      int calm) {
    enum { AT_LEAST = 2 };
    const struct fail_way *const end = FAIL_WAYS + FAIL_WAYS_COUNT;
    for (trial->way = first; trial->way < end && trial->way->call == first->call && first->error != 0; trial->way++)
        for (int mode = 0; mode <= 1; mode++) {
            _Atomic uint32_t *met = &counts->met[trial->way - FAIL_WAYS];
            if (is_impossible(scene, trial->way)) continue;
            if (!all && *met >= AT_LEAST && !is_drawn()) continue;
            ++*met;
            trial->always = mode != 0;
            (void)play(scene, trial, calm);
        }
}

static void play_faults(const struct scene *scene) {
    static const struct fail_way *calls[FAIL_RECORDED];
    struct trial trial = {.way = NULL};
    (void)play(scene, &trial, 0); /* handles are allocated here, and from now on used again */
    const int calm = play(scene, &trial, 0);
    const uint32_t count = fail_log.calls;
    if (count > FAIL_RECORDED) check_fail(__FILE__, __LINE__, "%u calls", count);
    memcpy(calls, fail_log.recorded, sizeof calls);
    for (trial.at = 0; trial.at < count; trial.at++)
        play_ways(scene, &trial, calls[trial.at], is_long() || !(draws_all() || is_between(calls, trial.at, count)),
                  calm);
}

/* From nothing up to what suffices. */
static void play_shortages(const struct scene *scene) {
    enum { ENOUGH = 40 };
    const int calm = play(scene, &(struct trial){.way = NULL}, 0);
    struct trial trial = {.way = NULL};
    for (size_t kind = 0; kind < SHORTAGES; kind++) {
        trial.shortage = &SHORTAGES_OF[kind];
        /* A sanitizer's own memory would run out. */
        if (trial.shortage->error == ENOMEM && check_tool() != CHECK_PLAIN) continue;
        for (trial.amount = 0; play(scene, &trial, calm) != calm; trial.amount++)
            if (trial.amount == ENOUGH) check_fail(__FILE__, __LINE__, "it is never enough");
        if (scene->operation == CREATE && trial.amount == 0) check_fail(__FILE__, __LINE__, "it is never short");
    }
}

static void for_each_scene(enum operation operation, const char *name, void (*body)(const struct scene *scene)) {
    enum { HANGS_SECONDS = 200 };
    for (int state = 0; state < STATES; state++)
        for (int side = SHMQ_PRODUCER; side <= SHMQ_CONSUMER; side++)
            for (int many = 0; many <= 1; many++) {
                const struct scene scene = {operation, (enum state)state, (enum shmq_end)side, many != 0, name};
                if (!scene_makes_sense(&scene)) continue;
                alarm(HANGS_SECONDS);
                body(&scene);
                counts->scenes++;
            }
}

static void end_test(void) {
    if (play_wrongs() > 0) check_fail(__FILE__, __LINE__, "%u trials went wrong", play_wrongs());
}

/* ---- Whatever fails ------------------------------------------------------------------------ */

static enum operation operation_now;

static void play_operation(const char *name) { for_each_scene(operation_now, name, play_faults); }

static void fail_in(enum operation operation) {
    operation_now = operation;
    notifier_for_each(play_operation, true);
    end_test();
}

TEST(whatever_fails_when_a_queue_is_created_nothing_is_left) { fail_in(CREATE); }

TEST(whatever_fails_when_an_end_is_opened_the_others_go_on) { fail_in(ATTACH); }

TEST(whatever_fails_in_send_no_message_is_lost) { fail_in(SEND); }

TEST(whatever_fails_in_recv_no_message_is_lost) { fail_in(RECV); }

TEST(whatever_fails_in_reserve_no_message_is_lost) { fail_in(RESERVE); }

TEST(whatever_fails_in_commit_no_message_is_lost) { fail_in(COMMIT); }

TEST(whatever_fails_in_peek_no_message_is_lost) { fail_in(PEEK); }

TEST(whatever_fails_in_release_no_message_is_lost) { fail_in(RELEASE); }

TEST(whatever_fails_in_drain_no_message_is_lost) { fail_in(DRAIN); }

TEST(whatever_fails_in_stat_and_fd_and_arm_the_handle_stays) {
    fail_in(STAT);
    fail_in(FD);
    fail_in(ARM);
}

TEST(whatever_fails_in_close_the_end_is_closed) { fail_in(CLOSE); }

TEST(whatever_fails_in_the_last_close_is_told) { fail_in(LAST); }

TEST(whatever_fails_in_unlink_it_can_be_done_again) { fail_in(UNLINK); }

/* The first handle of a process; later ones are used again. */
TEST(without_memory_for_a_handle_nothing_is_opened) {
    const struct fail_way *way = fail_first_way("os_allocate_memory");
    const char *name = check_name("q");
    shmq *q = (shmq *)(void *)&q;
    fail_arm(way, 2, false); /* after os_now and os_membarrier */
    CHECK_FAILS(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, NULL), ENOMEM);
    fail_disarm();
    CHECK(q == NULL);
    counts->met[way - FAIL_WAYS]++;
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, NULL) == 0);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_guard_that_cannot_be_installed_says_so_and_can_be_later) {
    const struct fail_way *way = fail_first_way("os_handle_signal");
    /* After os_membarrier the first of its two calls; then, without that, the second. */
    for (uint32_t time = 0; time < 2; time++) {
        fail_arm(way, 1, false);
        CHECK_FAILS(shmq_guard_sigbus(), EINVAL);
        fail_disarm();
        counts->met[way - FAIL_WAYS]++;
    }
    CHECK(shmq_guard_sigbus() == 0);
}

/* Once in a process: so each way needs one of its own. */
static void register_in_vain(void *argument) {
    const struct fail_way *way = argument;
    const char *name = check_name("q");
    shmq *q;
    fail_arm(way, 1, false);
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT, NULL) == 0);
    fail_disarm();
    counts->met[way - FAIL_WAYS]++;
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(who_may_not_have_barriers_made_for_it_opens_all_the_same) {
    for (const struct fail_way *way = fail_first_way("os_membarrier"); strcmp(way->call, "os_membarrier") == 0; way++)
        check_join(check_spawn(register_in_vain, (void *)(uintptr_t)way));
}

/* ---- Somebody else came meanwhile ---------------------------------------------------------- */

static struct guest {
    const char *name;
    check_gate created, attached, sent;
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
    check_wait(&guest->sent, 1);
    CHECK(shmq_recv(q, message, sizeof message, 0) == 5);
    CHECK(shmq_close(q) == 0);
}

static int create(shmq **q, const char *name) {
    const struct shmq_attr attr = {.capacity = 4096, .notify = notifier_now->kind};
    return shmq_open(q, name, SHMQ_PRODUCER, O_CREAT, &attr);
}

static void fail_while_guest_comes(const char *name, uint32_t at, const struct fail_way *way) {
    shmq *q;
    guest = check_shared(sizeof *guest);
    guest->name = name;
    const pid_t child = check_spawn(be_guest, NULL);
    fail_meanwhile = let_guest_in;
    fail_arm(way, at, false);
    const bool failed = create(&q, name) != 0;
    fail_disarm();
    check_note("%s, call %u: %s %s", notifier_now->name, at, way->call, fail_word_of(way->error));
    CHECK(faccessat(AT_FDCWD, check_path(name), F_OK, 0) == 0);
    if (failed) CHECK(create(&q, name) == 0);
    CHECK(shmq_send(q, "hello", 5, 0) == 0);
    check_pass(&guest->sent);
    check_join(child);
    CHECK(shmq_close(q) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* What a creator does last can fail after others have seen its queue. */
TEST_NOTIFIERS_EVERYWHERE(a_creator_that_fails_leaves_the_queue_to_whoever_came_meanwhile) {
    shmq *q;
    for (int calm = 0; calm < 2; calm++) {
        fail_arm(NULL, 0, false);
        CHECK(create(&q, name) == 0);
        fail_disarm();
        CHECK(shmq_close(q) == 0);
        CHECK(shmq_unlink(name) == 0);
    }
    const struct fail_log log = fail_log;
    uint32_t at = 0;
    while (strcmp(log.recorded[at]->call, "os_link") != 0 || log.recorded[at + 1] == log.recorded[at])
        at++;
    for (at++; at < log.calls; at++)
        for (const struct fail_way *way = log.recorded[at];
             way < FAIL_WAYS + FAIL_WAYS_COUNT && way->call == log.recorded[at]->call && way->error != 0; way++)
            if (!way->harmless && (!draws_all() || is_drawn())) fail_while_guest_comes(name, at, way);
}

/* ---- Exhausted for real -------------------------------------------------------------------- */

static void run_short(const char *name) {
    char file[64];
    snprintf(file, sizeof file, "/dev/shm/files/%s", notifier_now->name);
    for (int operation = 0; operation < OPERATIONS; operation++) {
        for_each_scene((enum operation)operation, name, play_shortages);
        for_each_scene((enum operation)operation, file, play_shortages);
    }
}

TEST(whatever_has_run_out_is_told_and_nothing_is_left) {
    short_begin();
    CHECK(mkdir("/dev/shm/files", 0700) == 0);
    notifier_for_each(run_short, false);
    end_test();
}

/* ---- The tables ---------------------------------------------------------------------------- */

static char *sources; /* of os.h and notify_os.h */

/* A new call there is a new line in ways.c. */
TEST(each_call_of_the_core_has_its_ways_to_fail) {
    static const char START[] = "static inline ";
    int calls = 0;
    if (sources == NULL) check_skip("run it where src/os.h is");
    for (char *line = strtok(sources, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *end = strncmp(line, START, sizeof START - 1) == 0 ? strchr(line, '(') : NULL;
        if (end == NULL) continue;
        *end = '\0';
        const char *name = strpbrk(strrchr(line, ' '), "abcdefghijklmnopqrstuvwxyz"); /* after a star */
        if (strncmp(name, "os_", 3) != 0) continue;
        if (fail_first_way(name) == NULL) check_fail(__FILE__, __LINE__, "%s has no line in ways.c", name);
        calls++;
    }
    CHECK(calls > 50);
}

static size_t count_calls(void) {
    size_t calls = 1;
    for (size_t way = 1; way < FAIL_WAYS_COUNT; way++)
        calls += FAIL_WAYS[way].call != FAIL_WAYS[way - 1].call && strcmp(FAIL_WAYS[way].call, FAIL_WAYS[way - 1].call);
    return calls;
}

/* The last test; alone it has nothing to say. */
TEST(each_way_to_fail_was_met) {
    uint32_t ways = 0, unmet = 0;
    if (counts->trials == 0) check_skip("it counts what the other tests have met");
    for (size_t at = 0; at < FAIL_WAYS_COUNT; at++) {
        const struct fail_way *way = &FAIL_WAYS[at];
        ways += way->error != 0;
        if (way->error == 0 || counts->met[at] > 0) continue;
        fprintf(stderr, "not met: %s %s\n", way->call, fail_word_of(way->error));
        unmet++;
    }
    printf("total: calls=%zu ways=%u operations=%d scenes=%u trials=%u failed=%u wrong=%u\n", count_calls(), ways,
           OPERATIONS, counts->scenes, counts->trials, counts->failed, counts->wrong);
    CHECK_EQUAL(unmet, 0);
}

/* ---- main ---------------------------------------------------------------------------------- */

/* The tests run elsewhere. */
static void read_sources(void) {
    static const char *const paths[] = {"src/os.h", "src/notify_os.h"};
    enum { MOST = 1 << 16 };
    static char text[2 * MOST];
    size_t length = 0;
    for (int at = 0; at < 2; at++) {
        FILE *file = fopen(paths[at], "re");
        if (file == NULL) return;
        length += fread(text + length, 1, MOST - 1, file);
        (void)fclose(file);
    }
    sources = text;
}

int main(int argc, char **argv) {
    counts = check_shared(sizeof *counts);
    read_sources();
    return check_main(argc, argv);
}
