/* Tests that must not pass: each leaves queues with all the doorbells that have names, and ends otherwise. What remains
 * after check.c is litter_test.sh's to see. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "notifiers.h"

static shmq *left[2 * NOTIFIERS_COUNT];

/* Prints the inode of a queue, which is in the names of its doorbells; those must be there, or nothing is proved. */
static void leave_one(shmq **q, const char *name, enum shmq_notify kind) {
    const struct shmq_attr attr = {4096, 0, kind, 0, 0};
    struct stat status;
    CHECK(shmq_open(q, name, SHMQ_CONSUMER, O_CREAT, &attr) == 0);
    CHECK(stat(check_path(name), &status) == 0);
    printf("inode %llx\n", (unsigned long long)status.st_ino);
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
