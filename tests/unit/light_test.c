/* Ends that stream leave the barrier of each ring to whoever goes to sleep: doorbell.h. Whether that is right is the
 * simulator's to say (tests/sim); here is whether it is done, and what becomes of it where membarrier(2) is denied. */
#include "check.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ends.h"
#include "layout.h"
#include "notifiers.h"

enum { LETTER = 1000, NAP_MS = 200 };

static shmq *enter_wide(const char *name, enum shmq_end end, unsigned flags) {
    const struct shmq_attr attr = {.capacity = 1 << 16, .notify = notifier_now->kind, .flags = flags};
    return enter_as(name, end, &attr);
}

/* A lap of the ring and a message more, so that each end has had a look that brought much. */
static void stream(shmq *producer, shmq *consumer) {
    char letter[LETTER];
    CHECK_EQUAL(fill(producer, LETTER), EAGAIN);
    while (shmq_recv(consumer, letter, sizeof letter, 0) == LETTER) {
    }
    CHECK_EQUAL(errno, EAGAIN);
    CHECK_EQUAL(fill(producer, LETTER), EAGAIN);
    while (shmq_recv(consumer, letter, sizeof letter, 0) == LETTER) {
    }
}

static uint64_t light(int object, int page) { return word_at(object, page, offsetof(struct end_page, light)); }

static void take_one(void *name) {
    shmq *consumer = enter_wide(name, SHMQ_CONSUMER, 0);
    take_number(consumer, 1);
    leave(consumer);
}

TEST_NOTIFIERS(who_streams_rings_lightly_until_it_has_to_ring) {
    shmq *producer = enter_wide(name, SHMQ_PRODUCER, 0), *consumer = enter_wide(name, SHMQ_CONSUMER, 0);
    const int object = open_object(name);
    CHECK_EQUAL(light(object, PAGE_PRODUCER) + light(object, PAGE_CONSUMER), 0);
    stream(producer, consumer);
    CHECK_EQUAL(light(object, PAGE_PRODUCER), 1);
    CHECK_EQUAL(light(object, PAGE_CONSUMER), 1);
    leave(consumer);
    pid_t child = check_spawn(take_one, (void *)(uintptr_t)name);
    await_asleep(name, SHMQ_CONSUMER);
    put_number(producer, 1);
    if (notifier_now->sleeps) CHECK_EQUAL(light(object, PAGE_PRODUCER), 0);
    check_join(child);
    CHECK(close(object) == 0);
    leave(producer);
    remove_queue(name);
}

TEST(an_end_of_a_side_with_many_makes_its_own_barriers) {
    const char *name = check_name("many");
    shmq *producer = enter_wide(name, SHMQ_PRODUCER, SHMQ_MANY_PRODUCERS);
    shmq *consumer = enter_wide(name, SHMQ_CONSUMER, SHMQ_MANY_PRODUCERS);
    const int object = open_object(name);
    stream(producer, consumer);
    CHECK_EQUAL(light(object, PAGE_PRODUCER), 0);
    CHECK_EQUAL(light(object, PAGE_CONSUMER), 1);
    CHECK(close(object) == 0);
    leave(consumer);
    leave(producer);
    remove_queue(name);
}

/* ---- Without membarrier -------------------------------------------------------------------- */

/* As in a sandbox: from now on it is EPERM in this process. */
static void deny_membarrier(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void stream_denied(void *name) {
    deny_membarrier();
    shmq *producer = enter_wide(name, SHMQ_PRODUCER, 0), *consumer = enter_wide(name, SHMQ_CONSUMER, 0);
    const int object = open_object(name);
    stream(producer, consumer);
    CHECK_EQUAL(light(object, PAGE_PRODUCER) + light(object, PAGE_CONSUMER), 0);
    CHECK(close(object) == 0);
    leave(consumer);
    leave(producer);
}

TEST(who_may_not_use_membarrier_makes_its_own_barriers) {
    const char *name = check_name("denied");
    check_join(check_spawn(stream_denied, (void *)(uintptr_t)name));
    remove_queue(name);
}

struct meeting_place {
    const char *name;
    check_gate light;
};

/* Waits in vain, while the producer rings lightly and nobody can make it a barrier. */
static void sleep_denied(void *argument) {
    struct meeting_place *place = argument;
    struct shmq_stat before, after;
    char letter[LETTER];
    deny_membarrier();
    shmq *consumer = enter_wide(place->name, SHMQ_CONSUMER, 0);
    check_pass(&place->light);
    check_wait(&place->light, 2);
    CHECK(shmq_stat(consumer, &before) == 0);
    CHECK_FAILS(shmq_recv(consumer, letter, sizeof letter, NAP_MS), ETIMEDOUT);
    CHECK(shmq_stat(consumer, &after) == 0);
    CHECK(after.sleeps - before.sleeps <= 20); /* some nap for longer and longer */
    CHECK(shmq_fd(consumer) < 0 || shmq_arm(consumer) == 0);
    leave(consumer);
}

TEST_NOTIFIERS(who_cannot_make_the_barrier_for_its_peer_sleeps_all_the_same) {
    struct meeting_place *place = check_shared(sizeof *place);
    if (!notifier_now->sleeps) return;
    place->name = name;
    shmq *producer = enter_wide(name, SHMQ_PRODUCER, 0), *consumer = enter_wide(name, SHMQ_CONSUMER, 0);
    stream(producer, consumer);
    leave(consumer);
    pid_t child = check_spawn(sleep_denied, place);
    check_wait(&place->light, 1);
    const int object = open_object(name);
    set_word(object, PAGE_PRODUCER, offsetof(struct end_page, light), 1); /* it may have rung for who came */
    check_pass(&place->light);
    check_join(child);
    CHECK(close(object) == 0);
    leave(producer);
    remove_queue(name);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
