/* What a trial must not leave behind: names, and locks on the object. */
#include "crash.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "layout.h"

static int object = -1; /* what the name meant last */

/* The header of what the name means: a descriptor of it, or -1. */
static int open_named(const struct result *result, struct header *header) {
    *header = (struct header){.magic = 0};
    const int fd = open(check_path(result->name), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header) header->magic = 0;
    return fd;
}

/* False: there were too many. */
static bool note_instance(struct result *result, uint64_t instance) {
    size_t at = 0;
    const size_t room = sizeof result->instances / sizeof result->instances[0];
    while (at < room && result->instances[at] != 0 && result->instances[at] != instance)
        at++;
    if (at < room) result->instances[at] = instance;
    return at < room;
}

uint64_t traces_note(struct result *result) {
    struct header header;
    const int fd = open_named(result, &header);
    if (fd < 0) return 0;
    if (header.magic != SHMQ_MAGIC) trial_ends(BAD, "a half-built queue has a name");
    if (object >= 0) close(object);
    object = fd;
    if (!note_instance(result, header.instance)) trial_ends(BAD, "too many queues");
    return header.instance;
}

const char *traces_locked(void) {
    static char text[64];
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (object < 0 || fcntl(object, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return NULL;
    snprintf(text, sizeof text, "a lock on byte %lld of the object", (long long)lock.l_start);
    return text;
}

bool traces_life_cycle_held(void) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LEASE_LIFE_CYCLE, .l_len = 1};
    return object >= 0 && fcntl(object, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* The directory of a queue that is a file; NULL: it is none. */
static const char *directory_of(const struct result *result) {
    static char directory[sizeof result->name];
    const char *slash = strrchr(result->name, '/');
    if (slash == result->name) return NULL;
    snprintf(directory, sizeof directory, "%.*s", (int)(slash - result->name), result->name);
    return directory;
}

/* The first file there, but the queue itself; with `remove` all of them are removed. */
static const char *find_beside(const char *path, bool remove) {
    static char found[2048];
    const char *result = NULL;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (remove) (void)unlinkat(dirfd(directory), entry->d_name, 0);
        snprintf(found, sizeof found, "%s/%s", path, entry->d_name);
        result = found;
    }
    if (directory != NULL) closedir(directory);
    return result;
}

/* The first doorbell that is left of any of the queues, or NULL. */
static const char *find_doorbell(const struct result *result) {
    for (size_t at = 0; notifier_now->prefix != NULL && result->instances[at] != 0; at++)
        for (int items = 0; items <= 1; items++) {
            const char *path = notifier_path(result->name, result->instances[at], items != 0);
            if (access(path, F_OK) == 0) return path;
        }
    return NULL;
}

const char *traces_left(const struct result *result) {
    struct stat status;
    const char *path = check_path(result->name);
    if (lstat(path, &status) == 0) return path;
    const char *beside = directory_of(result) == NULL ? NULL : find_beside(directory_of(result), false);
    return beside != NULL ? beside : find_doorbell(result);
}

void traces_sweep(struct result *result) {
    struct header header;
    const int fd = open_named(result, &header); /* perhaps nobody has noted it yet */
    if (fd >= 0) close(fd);
    if (header.magic == SHMQ_MAGIC) (void)note_instance(result, header.instance);
    for (const char *path; (path = find_doorbell(result)) != NULL && unlink(path) == 0;)
        continue;
    (void)unlink(check_path(result->name));
    if (directory_of(result) == NULL) return;
    (void)find_beside(directory_of(result), true);
    (void)rmdir(directory_of(result));
}
