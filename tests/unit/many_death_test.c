/* Deaths among many: four producers and three consumers, of which one is killed and replaced every few milliseconds.
 * Every acknowledged message is received exactly once, in its producer's order; nobody hangs.
 *
 * For every notifier and arrangement one line for reports:
 *     deaths of many: WHO notifier=NAME kills=N sent=N again=N lost=N worst_stall_ms=N
 * The short form takes seconds; with SHMQ_LONG in the environment every notifier that survives deaths gets 30 s. */
#include "check.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "notifiers.h"

enum {
    PRODUCERS = 4,
    CONSUMERS = 3,
    ENDS = PRODUCERS + CONSUMERS,
    MOST = 1 << 24,  /* messages of a producer */
    HUNG_MS = 10000, /* without progress */
    KILL_EVERY_MS = 50,
    GROUP = 34567
};

/* Where the ends live. */
enum place { HERE, PID_NAMESPACES, TWO_USERS };

struct storm {
    const char *name;
    struct shmq_attr attr;
    enum place place;
    bool zero_copy;      /* the consumers; the producers do both */
    unsigned swap;       /* which of two users comes first */
    check_gate in[ENDS]; /* of the present one of each */
    check_gate all_in;   /* for the first time */
    _Atomic bool over;
    _Atomic uint32_t sent[PRODUCERS]; /* acknowledged: the number of the next message */
    _Atomic uint32_t last[PRODUCERS]; /* zero copy: of the last message, one more; under the consumers' lock */
    _Atomic uint32_t again, received; /* messages that came twice, because their taker was killed; all that came */
    _Atomic uint32_t consumers_killed;
    /* By producer and number, a bit each. */
    _Atomic uint64_t perhaps[PRODUCERS][MOST / 64]; /* its sender was killed in the middle of it */
    _Atomic uint64_t taken[PRODUCERS][MOST / 64];
};

static bool bit_of(const _Atomic uint64_t *bits, uint32_t number) {
    return (atomic_load(&bits[number / 64]) >> number % 64 & 1) != 0;
}

/* Returns what it was. */
static bool set_bit(_Atomic uint64_t *bits, uint32_t number) {
    return (atomic_fetch_or(&bits[number / 64], (uint64_t)1 << number % 64) >> number % 64 & 1) != 0;
}

/* ---- The ends ------------------------------------------------------------------------------ */

struct letter {
    uint32_t producer, number;
    unsigned char body[120];
};

static size_t write_letter(struct letter *letter, uint32_t producer, uint32_t number) {
    const size_t body = (number * 2654435761u >> 16) % sizeof letter->body;
    letter->producer = producer;
    letter->number = number;
    memset(letter->body, (int)(producer * 64 + number % 61), body);
    return 8 + body;
}

/* Now and then one sits on the lock for a while, so that some die there. */
static void dawdle(uint32_t number) {
    const struct timespec nap = {.tv_nsec = 1000000};
    if (number % 1024 == 0) nanosleep(&nap, NULL);
}

static int post(shmq *q, uint32_t producer, uint32_t number) {
    struct letter letter;
    if (number % 3 != 0) return shmq_send(q, &letter, write_letter(&letter, producer, number), -1);
    struct letter *room = shmq_reserve(q, sizeof letter, -1);
    if (room == NULL) return -1;
    dawdle(number / 3);
    return shmq_commit(q, write_letter(room, producer, number));
}

static shmq *enter_storm(struct storm *storm, unsigned end) {
    shmq *q = enter_as(storm->name, end < PRODUCERS ? SHMQ_PRODUCER : SHMQ_CONSUMER, &storm->attr);
    check_pass(&storm->in[end]);
    check_wait(&storm->all_in, 1);
    return q;
}

static void produce(struct storm *storm, uint32_t me) {
    shmq *q = enter_storm(storm, me);
    for (uint32_t number = storm->sent[me]; !storm->over && number < MOST; number++) {
        CHECK(post(q, me, number) == 0);
        storm->sent[me] = number + 1;
    }
    CHECK(shmq_close(q) == 0);
}

static void check_letter(const struct letter *letter, size_t length) {
    struct letter wanted;
    CHECK(length >= 8 && letter->producer < PRODUCERS && letter->number < MOST);
    CHECK_EQUAL(length, write_letter(&wanted, letter->producer, letter->number));
    CHECK(memcmp(letter, &wanted, length) == 0);
}

/* While it is peeked at, no other consumer is at work: so this is the order of the ring itself. */
static void note_in_order(struct storm *storm, uint32_t producer, uint32_t number) {
    const uint32_t next = storm->last[producer];
    set_bit(storm->taken[producer], number);
    if (number + 1 == next) {
        atomic_fetch_add(&storm->again, 1);
        return;
    }
    if (number < next) check_fail(__FILE__, __LINE__, "message %u of %u came after %u", number, producer, next - 1);
    for (uint32_t skipped = next; skipped < number; skipped++)
        if (!bit_of(storm->perhaps[producer], skipped))
            check_fail(__FILE__, __LINE__, "message %u of %u is lost", skipped, producer);
    storm->last[producer] = number + 1;
}

static bool take_by_peek(struct storm *storm, shmq *q) {
    size_t length;
    const struct letter *letter = shmq_peek(q, &length, -1);
    if (letter == NULL) return false;
    check_letter(letter, length);
    note_in_order(storm, letter->producer, letter->number);
    dawdle(atomic_fetch_add(&storm->received, 1));
    CHECK(shmq_release(q) == 0);
    return true;
}

static bool take_by_recv(struct storm *storm, shmq *q, int64_t *last) {
    struct letter letter;
    const ssize_t length = shmq_recv(q, &letter, sizeof letter, -1);
    if (length < 0) return false;
    check_letter(&letter, (size_t)length);
    CHECK(letter.number > last[letter.producer]);
    last[letter.producer] = letter.number;
    if (set_bit(storm->taken[letter.producer], letter.number))
        check_fail(__FILE__, __LINE__, "message %u of %u came twice", letter.number, letter.producer);
    atomic_fetch_add(&storm->received, 1);
    return true;
}

static void consume(struct storm *storm, unsigned end) {
    int64_t last[PRODUCERS] = {-1, -1, -1, -1};
    shmq *q = enter_storm(storm, end);
    while (storm->zero_copy ? take_by_peek(storm, q) : take_by_recv(storm, q, last))
        continue;
    CHECK_EQUAL(errno, EPIPE);
    CHECK(shmq_close(q) == 0);
}

/* ---- Their processes ----------------------------------------------------------------------- */

/* Users that differ in all but a group. */
static void become_member(uid_t user) {
    const gid_t group = GROUP;
    CHECK(setgroups(1, &group) == 0);
    CHECK(setresgid(group, group, group) == 0);
    CHECK(setresuid(user, user, user) == 0);
}

/* As fork, into a PID namespace of its own. A bare clone would do it at once, and copy a lock that a thread of a sanitizer
 * holds. */
static pid_t fork_into_namespace(void) {
    const int home = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    CHECK(home >= 0);
    if (unshare(CLONE_NEWPID) != 0) check_skip("no PID namespaces here: %s", strerrorname_np(errno));
    const pid_t child = fork();
    CHECK(setns(home, CLONE_NEWPID) == 0 || child == 0); /* who was born there cannot leave */
    CHECK(close(home) == 0);
    return child;
}

static pid_t start(struct storm *storm, unsigned end) {
    storm->in[end] = 0;
    fflush(NULL);
    const pid_t child = storm->place == PID_NAMESPACES ? fork_into_namespace() : fork();
    CHECK(child >= 0);
    if (child > 0) return child;
    if (storm->place == TWO_USERS) become_member(20001 + (end + storm->swap) % 2);
    if (end < PRODUCERS)
        produce(storm, end);
    else
        consume(storm, end);
    _exit(0); /* leak checkers cannot work in a namespace of one's own */
}

static void kill_one(struct storm *storm, pid_t pids[ENDS], unsigned end) {
    check_kill(pids[end]);
    if (end >= PRODUCERS) {
        storm->consumers_killed++;
    } else { /* its last message: sent or not, who knows */
        set_bit(storm->perhaps[end], storm->sent[end]);
        storm->sent[end]++;
    }
    pids[end] = start(storm, end);
}

/* Is another of its side in? Whoever is left without is told of a death, and on a busy machine replacements take long. */
static bool has_fellow(const struct storm *storm, unsigned end) {
    bool has = false;
    for (unsigned other = 0; other < ENDS; other++)
        has |= other != end && (other < PRODUCERS) == (end < PRODUCERS) && storm->in[other] > 0;
    return has;
}

/* Kills and replaces for so long, and until enough has come and died; returns how often. */
static unsigned rage(struct storm *storm, pid_t pids[ENDS], int64_t duration_ms, int64_t *worst_ms) {
    const struct timespec nap = {.tv_nsec = 5000000};
    const int64_t start_ms = check_now_ms();
    int64_t killed_ms = start_ms, moved_ms = start_ms;
    const uint32_t enough = (uint32_t)check_scaled(100);
    unsigned kills = 0;
    for (uint32_t seen = 0;; nanosleep(&nap, NULL)) {
        const int64_t now_ms = check_now_ms();
        if (now_ms - start_ms >= duration_ms && seen >= enough && kills >= 3) break;
        const uint32_t received = storm->received;
        if (received != seen) moved_ms = now_ms;
        seen = received;
        if (now_ms - moved_ms > *worst_ms) *worst_ms = now_ms - moved_ms;
        if (*worst_ms > check_late(HUNG_MS))
            check_fail(__FILE__, __LINE__, "nothing was received for %d ms", (int)*worst_ms);
        const unsigned end = (unsigned)check_below(ENDS);
        if (now_ms - killed_ms < KILL_EVERY_MS || !has_fellow(storm, end)) continue;
        killed_ms = now_ms;
        kill_one(storm, pids, end);
        kills++;
    }
    for (unsigned end = 0; end < ENDS; end++)
        check_wait(&storm->in[end], 1); /* who comes too late waits for the next session */
    return kills;
}

static uint32_t count_lost(const struct storm *storm) {
    uint32_t lost = 0;
    for (uint32_t producer = 0; producer < PRODUCERS; producer++)
        for (uint32_t number = 0; number < storm->sent[producer]; number++)
            lost += !bit_of(storm->taken[producer], number) && !bit_of(storm->perhaps[producer], number);
    return lost;
}

static const char *const PLACES[] = {"one user", "PID namespaces", "two users"};

static void rage_at(const struct notifier_row *row, enum place place, bool zero_copy, unsigned swap,
                    int64_t duration_ms) {
    struct storm *storm = check_shared(sizeof *storm);
    int64_t worst_ms = 0;
    pid_t pids[ENDS];
    storm->name = check_name(row->name);
    storm->attr = (struct shmq_attr){4096, 200, row->kind, SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS,
                                     place == TWO_USERS ? 0660 : 0};
    storm->place = place;
    storm->zero_copy = zero_copy;
    storm->swap = swap;
    check_note("notifier %s, %s, %s", row->name, PLACES[place], zero_copy ? "peek" : "recv");
    notifier_now = row;
    for (unsigned at = 0; at < ENDS; at++) {
        const unsigned end = swap == 0 ? at : ENDS - 1 - at; /* who creates the queue */
        pids[end] = start(storm, end);
        check_wait(&storm->in[end], 1);
    }
    check_pass(&storm->all_in);
    const unsigned kills = rage(storm, pids, duration_ms, &worst_ms);
    storm->over = true;
    for (unsigned end = 0; end < ENDS; end++)
        check_join(pids[end]);
    const uint32_t lost = count_lost(storm);
    printf("deaths of many: %s%s %s notifier=%s kills=%u received=%u again=%u lost=%u worst_stall_ms=%d\n",
           PLACES[place], swap != 0 ? " (swapped)" : "", zero_copy ? "peek" : "recv", row->name, kills, storm->received,
           storm->again, lost, (int)worst_ms);
    CHECK(lost <= (zero_copy ? 0 : storm->consumers_killed)); /* inside recv: one each, at most */
    CHECK(storm->again <= (zero_copy ? storm->consumers_killed : 0));
    CHECK(shmq_unlink(storm->name) == 0);
}

static bool is_long(void) { return getenv("SHMQ_LONG") != NULL; }

/* How long a storm rages: so many milliseconds; under a slow tool a third, which is at least four kills and the same for
 * all such tools, because deaths cannot be hurried. */
static int64_t storm_ms(int ms) {
    enum { LONG_MS = 30000, SLOW_TIMES = 3 };
    return is_long() ? LONG_MS : check_tool() > CHECK_ASAN ? ms / SLOW_TIMES : ms;
}

/* ---- Storms -------------------------------------------------------------------------------- */

static void rage_here(bool zero_copy) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        if (!NOTIFIERS[row].survives || !notifier_works_here(&NOTIFIERS[row])) continue;
        const bool shortly = NOTIFIERS[row].kind == SHMQ_NOTIFY_SEM || NOTIFIERS[row].kind == SHMQ_NOTIFY_FIFO;
        if (is_long() || shortly) rage_at(&NOTIFIERS[row], HERE, zero_copy, 0, storm_ms(3000));
    }
}

TEST(while_one_of_many_is_killed_every_moment_all_is_received_exactly_once) { rage_here(true); }

TEST(while_one_of_many_is_killed_every_moment_recv_loses_nothing_but_what_died_in_it) { rage_here(false); }

/* Ends that cannot name each other by numbers; sem, named, fifo, lock and spin do not care. */
static bool needs_no_numbers(const struct notifier_row *row) {
    return row->kind != SHMQ_NOTIFY_COND && row->kind != SHMQ_NOTIFY_SIGNAL;
}

static void check_namespaces(void) {
    const pid_t child = fork_into_namespace();
    CHECK(child >= 0);
    if (child == 0) _exit(0);
    check_join(child);
}

TEST(the_same_with_each_end_in_a_pid_namespace_of_its_own) {
    check_namespaces();
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (needs_no_numbers(&NOTIFIERS[row])) rage_at(&NOTIFIERS[row], PID_NAMESPACES, true, 0, storm_ms(1000));
}

static void stand_aside(void *argument) {
    const gid_t group = GROUP;
    (void)argument;
    if (setgroups(1, &group) != 0 || setresgid(group, group, group) != 0 || setresuid(20001, 20001, 20001) != 0)
        check_skip("cannot become other users: %s", strerrorname_np(errno));
}

static void check_users(void) {
    int status = 0;
    const pid_t child = check_spawn(stand_aside, NULL);
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) check_skip("cannot become other users: in a sandbox, or not root");
}

static void rage_as_two_users(unsigned swap) {
    check_users();
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (needs_no_numbers(&NOTIFIERS[row])) rage_at(&NOTIFIERS[row], TWO_USERS, true, swap, storm_ms(700));
}

TEST(the_same_with_two_users_of_one_group) { rage_as_two_users(0); }

TEST(the_same_with_two_users_when_the_other_one_comes_first) { rage_as_two_users(1); }

int main(int argc, char **argv) { return check_main(argc, argv); }
