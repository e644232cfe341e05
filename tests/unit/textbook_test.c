/* The classic mistakes of textbook samples of shared memory and semaphores, one test each: here
 * they do no harm. What each promise means in every case is tested elsewhere; these are short. */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends.h"
#include "layout.h"
#include "notifiers.h"
#include "shmq.h"

static shmq *enter_ephemeral(const char *name, enum shmq_end end) { return enter(name, end, SHMQ_EPHEMERAL); }

/* The sample: strcpy(shared, argv[1]), whatever its length. */
TEST_NOTIFIERS(overflow_by_strcpy) {
    shmq *producer = enter_ephemeral(name, SHMQ_PRODUCER), *consumer = enter_ephemeral(name, SHMQ_CONSUMER);
    char text[8192], got[4096];
    memset(text, 'A', sizeof text);
    text[sizeof text - 1] = '\0';
    CHECK_FAILS(shmq_send(producer, text, sizeof text, 0), EMSGSIZE);
    CHECK_FAILS(shmq_reserve(producer, sizeof text, 0), EMSGSIZE);
    CHECK(shmq_send(producer, text, 1000, 0) == 0);
    memset(got, '?', sizeof got);
    CHECK_FAILS(shmq_recv(consumer, got, 999, 0), EMSGSIZE);
    CHECK(got[0] == '?');
    CHECK_EQUAL(shmq_recv(consumer, got, sizeof got, 0), 1000);
    CHECK(memcmp(got, text, 1000) == 0 && got[1000] == '?'); /* exactly, and no terminator needed */
    leave(producer);
    leave(consumer);
}

/* The sample: no result of shm_open, ftruncate, mmap or sem_open is looked at. */
TEST(unchecked_calls) {
    shmq *q = (shmq *)(void *)&q;
    CHECK_FAILS(shmq_open(&q, check_name("nobody"), SHMQ_CONSUMER, 0, NULL), ENOENT);
    /* Whoever does not look goes on with a NULL that every call refuses. */
    CHECK(q == NULL);
    CHECK_FAILS(shmq_send(q, "x", 1, 0), EINVAL);
    CHECK_FAILS(shmq_recv(q, NULL, 0, 0), EINVAL);
    CHECK_FAILS(shmq_reserve(q, 1, 0), EINVAL);
    CHECK_FAILS(shmq_commit(q, 1), EINVAL);
    CHECK_FAILS(shmq_peek(q, NULL, 0), EINVAL);
    CHECK_FAILS(shmq_release(q), EINVAL);
    CHECK_FAILS(shmq_drain(q, 0), EINVAL);
    CHECK_FAILS(shmq_close(q), EINVAL);
}

struct visit {
    const char *name;
    check_gate inside;
};

static void send_hello(void *argument) {
    struct visit *visit = argument;
    shmq *producer = enter_ephemeral(visit->name, SHMQ_PRODUCER);
    CHECK(shmq_send(producer, "hello", 6, -1) == 0);
    check_pass(&visit->inside);
    leave(producer);
}

static void check_hello(shmq *consumer) {
    char text[16] = "";
    CHECK_EQUAL(shmq_recv(consumer, text, sizeof text, -1), 6);
    CHECK(strcmp(text, "hello") == 0);
}

/* The sample: the consumer opens what only the producer creates. */
TEST_NOTIFIERS(consumer_must_not_start_first) {
    struct visit *visit = check_shared(sizeof *visit);
    visit->name = name;
    for (int consumer_first = 0; consumer_first <= 1; consumer_first++) {
        shmq *consumer = consumer_first ? enter_ephemeral(visit->name, SHMQ_CONSUMER) : NULL;
        pid_t producer = check_spawn(send_hello, visit);
        check_wait(&visit->inside, (uint32_t)consumer_first + 1);
        if (!consumer_first) consumer = enter_ephemeral(visit->name, SHMQ_CONSUMER);
        check_hello(consumer);
        check_join(producer);
        CHECK_FAILS(shmq_recv(consumer, NULL, 0, -1), EPIPE);
        leave(consumer);
        CHECK(!exists(visit->name));
    }
}

struct observer {
    const char *name;
    check_gate started, stop;
    uint64_t looks, seen;
};

/* Whenever the name is there, all that it stands for is there: size, mode and header. */
static void observe(void *argument) {
    struct observer *observer = argument;
    check_pass(&observer->started);
    for (; atomic_load(&observer->stop) == 0; observer->looks++) {
        struct header header = {.magic = 0};
        struct stat status;
        int fd = open(check_path(observer->name), O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        observer->seen++;
        CHECK(fstat(fd, &status) == 0);
        CHECK_EQUAL(status.st_size, 5 * 4096);
        CHECK_EQUAL(status.st_mode, S_IFREG | 0600);
        CHECK(pread(fd, &header, sizeof header, 0) == sizeof header);
        CHECK(header.magic == SHMQ_MAGIC && header.object_size == 5 * 4096);
        CHECK(close(fd) == 0);
    }
}

/* The sample: shm_open with O_CREAT first, ftruncate next; who opens in between maps nothing. */
TEST_EVERYWHERE(race_between_creating_and_sizing) {
    struct observer *observer = check_shared(sizeof *observer);
    observer->name = name;
    pid_t child = check_spawn(observe, observer);
    check_wait(&observer->started, 1);
    for (int round = 0; round < check_scaled(1000); round++) {
        leave(enter_ephemeral(name, SHMQ_CONSUMER));
        CHECK(!exists(name));
    }
    /* On a busy machine, go on until the two have met often enough. */
    for (int64_t until = check_now_ms() + 20000; observer->seen < 20 && check_now_ms() < until;)
        leave(enter_ephemeral(name, SHMQ_CONSUMER));
    check_pass(&observer->stop);
    check_join(child);
    printf("        %llu looks, %llu at a queue\n", (unsigned long long)observer->looks,
           (unsigned long long)observer->seen);
    CHECK(observer->seen >= 20);
}

/* The sample: the producer sleeps two seconds before it unlinks, and hopes. */
TEST_NOTIFIERS(sleep_before_unlink) {
    shmq *producer = enter_ephemeral(name, SHMQ_PRODUCER), *consumer = enter_ephemeral(name, SHMQ_CONSUMER);
    CHECK(shmq_send(producer, "hello", 6, 0) == 0);
    CHECK_FAILS(shmq_drain(producer, 0), EAGAIN); /* known, not hoped for */
    const int64_t start = check_now_ms();
    leave(producer); /* may go at once: the message and the queue wait for the consumer */
    check_hello(consumer);
    leave(consumer);
    CHECK(!exists(name));
    CHECK(check_now_ms() - start < check_late(1000)); /* a tenth of a millisecond */
}

static void sleep_for_ever(void *argument) {
    struct visit *visit = argument;
    shmq *consumer = enter_ephemeral(visit->name, SHMQ_CONSUMER);
    check_pass(&visit->inside);
    (void)shmq_recv(consumer, NULL, 0, -1);
    check_fail(__FILE__, __LINE__, "was to be killed asleep");
}

/* The sample: a semaphore that was posted and not waited for says "there is a message" to the next
 * run, which then reads an old one. */
TEST_EVERYWHERE(stale_semaphore_count_after_a_crash) {
    struct visit *visit = check_shared(sizeof *visit);
    visit->name = name;
    pid_t child = check_spawn(sleep_for_ever, visit);
    check_wait(&visit->inside, 1);
    stop_asleep(name, SHMQ_CONSUMER, child);
    shmq *producer = enter_ephemeral(name, SHMQ_PRODUCER);
    for (int round = 0; round < 2; round++)
        CHECK(shmq_send(producer, "hello", 6, 0) == 0);
    check_kill(child);
    CHECK(is_rung(name)); /* posted, and nobody is left who would take it */
    shmq *consumer = enter_ephemeral(name, SHMQ_CONSUMER);
    check_hello(consumer);
    check_hello(consumer);
    CHECK_FAILS(shmq_recv(consumer, NULL, 0, 0), EAGAIN); /* the cursors are the truth */
    const int64_t start = check_now_ms(), cpu = check_cpu_ms();
    CHECK_FAILS(shmq_recv(consumer, NULL, 0, 300), ETIMEDOUT);
    CHECK(check_now_ms() - start >= 300 && check_cpu_ms() - cpu < check_late(100));
    leave(consumer);
    leave(producer);
}

static mode_t mode_of(const char *name) {
    struct stat status;
    CHECK(stat(check_path(name), &status) == 0);
    return status.st_mode & 07777;
}

/* The sample: 0666, which the umask then makes 0644 or not. */
TEST_EVERYWHERE(mode_0666) {
    static const mode_t umasks[] = {0, 022, 077, 0777}, modes[] = {0, 0600, 0660, 0666};
    for (int row = 0; row < 16; row++) {
        const struct shmq_attr attr = {.capacity = 4096, .mode = modes[row % 4]};
        shmq *q;
        umask(umasks[row / 4]);
        CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, &attr) == 0);
        CHECK_EQUAL(mode_of(name), attr.mode == 0 ? 0600 : attr.mode); /* and others only if asked */
        CHECK(shmq_close(q) == 0);
        CHECK(shmq_unlink(name) == 0);
    }
    umask(022);
}

static void die_inside(void *argument) {
    struct visit *visit = argument;
    shmq *producer = enter_ephemeral(visit->name, SHMQ_PRODUCER);
    CHECK(shmq_send(producer, "hello", 6, 0) == 0);
    check_pass(&visit->inside);
    for (;;)
        pause();
}

/* The sample: whatever a crash leaves in /dev/shm stays there until someone finds it. Here the next
 * to use the name takes up what is there and clears it away. */
TEST_NOTIFIERS_EVERYWHERE(objects_left_behind) {
    struct visit *visit = check_shared(sizeof *visit);
    visit->name = name;
    pid_t child = check_spawn(die_inside, visit);
    check_wait(&visit->inside, 1);
    check_kill(child);
    CHECK(exists(name)); /* for it holds a message */
    shmq *consumer = enter_ephemeral(name, SHMQ_CONSUMER);
    check_hello(consumer);
    CHECK_FAILS(shmq_recv(consumer, NULL, 0, -1), EOWNERDEAD);
    leave(consumer);
    CHECK(!exists(name));
}

int main(int argc, char **argv) { return check_main(argc, argv); }
