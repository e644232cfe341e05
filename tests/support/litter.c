/* Tests that must not pass: each leaves queues with all the doorbells that have names, and ends otherwise. What remains
 * after check.c is litter_test.sh's to see. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "notifiers.h"

static shmq *left[2 * NOTIFIERS_COUNT];

/* Prints what is in the names of a queue's doorbells. */
static void leave_one(shmq **q, const char *name, enum shmq_notify kind) {
    const struct shmq_attr attr = {4096, 0, kind, 0, 0};
    struct header header;
    struct stat status;
    CHECK(shmq_open(q, name, SHMQ_CONSUMER, O_CREAT, &attr) == 0);
    const int fd = open(check_path(name), O_RDONLY | O_CLOEXEC);
    CHECK(fstat(fd, &status) == 0);
    CHECK(pread(fd, &header, sizeof header, 0) == sizeof header);
    CHECK(close(fd) == 0);
    printf("queue %016llx-%llx\n", (unsigned long long)header.instance, (unsigned long long)status.st_ino);
}

static void leave_all(void) {
    for (size_t at = 0; at < NOTIFIERS_COUNT; at++) {
        if (!notifier_works_here(&NOTIFIERS[at])) continue;
        leave_one(&left[2 * at], check_name(NOTIFIERS[at].name), NOTIFIERS[at].kind);
        char file[32];
        snprintf(file, sizeof file, "./%s", NOTIFIERS[at].name);
        leave_one(&left[2 * at + 1], file, NOTIFIERS[at].kind);
    }
    printf("left\n");
    fflush(NULL);
}

TEST(forgets) { leave_all(); }

TEST(fails) {
    leave_all();
    CHECK(left[0] == NULL);
}

TEST(crashes) {
    leave_all();
    abort();
}

TEST(waits) {
    leave_all();
    for (;;)
        pause();
}

int main(int argc, char **argv) { return check_main(argc, argv); }
