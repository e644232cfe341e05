/* What runs out for real. */
#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "check.h"

enum { PAGE = 4096, SPACE_PAGES = 64, INODES = 32 };

/* ---- Limits of the process ----------------------------------------------------------------- */

static struct rlimit before;
static enum __rlimit_resource limited;

static void limit_to(enum __rlimit_resource resource, rlim_t most) {
    limited = resource;
    CHECK(getrlimit(resource, &before) == 0);
    const struct rlimit low = {most, before.rlim_max};
    CHECK(setrlimit(resource, &low) == 0);
}

static void end_limit(void) { CHECK(setrlimit(limited, &before) == 0); }

static void leave_descriptors(uint32_t amount) {
    const int lowest = dup(0); /* the lowest free number */
    CHECK(lowest >= 0 && close(lowest) == 0);
    limit_to(RLIMIT_NOFILE, (rlim_t)lowest + amount);
}

static void leave_memory(uint32_t amount) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1);
    CHECK(fclose(file) == 0);
    limit_to(RLIMIT_AS, (rlim_t)(pages + amount) * PAGE);
}

/* Whoever writes beyond it dies of SIGXFSZ. */
static void leave_file_size(uint32_t amount) { limit_to(RLIMIT_FSIZE, (rlim_t)amount * PAGE); }

/* ---- A full file system -------------------------------------------------------------------- */

static struct statvfs space(void) {
    struct statvfs status;
    CHECK(statvfs("/dev/shm", &status) == 0 && status.f_blocks <= SPACE_PAGES); /* never the real one */
    return status;
}

void short_begin(void) {
    char options[64];
    snprintf(options, sizeof options, "size=%d,nr_inodes=%d", SPACE_PAGES * PAGE, INODES);
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0 ||
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("small", "/dev/shm", "tmpfs", 0, options) != 0)
        check_skip("cannot mount a file system here: %s", strerrorname_np(errno));
    (void)space();
}

static const char BALLAST[] = "/dev/shm/ballast";

static void leave_space(uint32_t amount) {
    const int fd = openat(AT_FDCWD, BALLAST, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    const fsblkcnt_t free_pages = space().f_bfree;
    if (free_pages > amount) CHECK(posix_fallocate(fd, 0, (off_t)(free_pages - amount) * PAGE) == 0);
    CHECK(close(fd) == 0);
}

static void end_space(void) { CHECK(unlink(BALLAST) == 0); }

static const char *ballast_of(uint32_t number) {
    static char path[64];
    snprintf(path, sizeof path, "%s.%u", BALLAST, number);
    return path;
}

static void leave_inodes(uint32_t amount) {
    for (uint32_t number = 0; space().f_ffree > amount; number++)
        CHECK(mknod(ballast_of(number), S_IFREG | 0600, 0) == 0);
}

static void end_inodes(void) {
    for (uint32_t number = 0; unlink(ballast_of(number)) == 0; number++)
        continue;
}

const struct shortage SHORTAGES_OF[SHORTAGES] = {
    {"descriptors", EMFILE, leave_descriptors, end_limit}, {"memory", ENOMEM, leave_memory, end_limit},
    {"file_size", ENOSPC, leave_file_size, end_limit},     {"space", ENOSPC, leave_space, end_space},
    {"inodes", ENOSPC, leave_inodes, end_inodes},
};
