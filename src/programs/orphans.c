/* See orphans.h. A doorbell is made after its queue has its name and removed before it loses it: so doorbells are
 * listed first, then the queues, and whose queue is not among these has none. */
#include "orphans.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "people.h"

/* The inode of its queue, from a name such as sem.shmq.<16 digits>-<inode>.items; 0: this is no doorbell. */
static uint64_t queue_of(const char *name) {
    static const char digits[] = "0123456789abcdef";
    const char *at = strncmp(name, "sem.shmq.", 9) == 0 ? name + 9 : strncmp(name, ".shmq.", 6) == 0 ? name + 6 : NULL;
    const char *inode;
    size_t length;

    if (at == NULL || strspn(at, digits) != 16 || at[16] != '-') return 0;
    inode = at + 17;
    length = strspn(inode, digits);
    if (length == 0 || length > 16) return 0;
    if (strcmp(inode + length, ".items") != 0 && strcmp(inode + length, ".space") != 0) return 0;
    return strtoull(inode, NULL, 16);
}

static bool next_name(DIR *directory, const char **name, uint64_t *inode) {
    const struct dirent *entry = readdir(directory);

    if (entry == NULL) return false;
    *name = entry->d_name;
    *inode = entry->d_ino;
    return true;
}

static void list_doorbells(struct orphans *orphans, DIR *directory) {
    const char *name;
    uint64_t inode;

    while (next_name(directory, &name, &inode)) {
        if (queue_of(name) == 0) continue;
        if (orphans->count == sizeof orphans->list / sizeof orphans->list[0]) {
            orphans->more++;
            continue;
        }
        orphans->list[orphans->count] = (struct orphan){.age_s = 0};
        (void)snprintf(orphans->list[orphans->count++].name, sizeof orphans->list[0].name, "%s", name);
    }
}

/* Strikes out what has a queue. */
static void strike_out(struct orphans *orphans, uint64_t queue) {
    unsigned kept = 0;

    for (unsigned i = 0; i < orphans->count; i++)
        if (queue_of(orphans->list[i].name) != queue) orphans->list[kept++] = orphans->list[i];
    orphans->count = kept;
}

/* False: somebody has it open. Root alone sees every process; others cannot be sure of what others may open. */
static bool is_unused(struct orphan *orphan, const struct stat *status) {
    enum { LOOKS = 2 }; /* for it is about removing: processes come and go while /proc is read */
    struct people people;

    for (int look = 0; look < LOOKS; look++) {
        people_find(&people, status);
        if (people.count > 0) return false;
        if (people.hidden_own || (people.hidden && (status->st_uid != geteuid() || (status->st_mode & 077) != 0))) {
            orphan->unsure = true;
        }
    }
    return true;
}

static void look_at_each(struct orphans *orphans, int directory) {
    const time_t now = time(NULL);
    unsigned kept = 0;

    if (directory < 0) return;
    for (unsigned i = 0; i < orphans->count; i++) {
        struct orphan *orphan = &orphans->list[i];
        struct stat status;

        if (fstatat(directory, orphan->name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue; /* gone with its queue */
        orphan->age_s = now > status.st_mtime ? (uint64_t)(now - status.st_mtime) : 0;
        if (is_unused(orphan, &status)) orphans->list[kept++] = *orphan;
    }
    orphans->count = kept;
}

int orphans_find(struct orphans *orphans, const char *path) {
    DIR *directory = opendir(path);
    const char *name;
    uint64_t inode;

    *orphans = (struct orphans){.count = 0};
    if (directory == NULL) return -1;
    (void)snprintf(orphans->directory, sizeof orphans->directory, "%s", path);
    list_doorbells(orphans, directory);
    if (orphans->count > 0) {
        rewinddir(directory);
        while (next_name(directory, &name, &inode))
            if (queue_of(name) == 0) strike_out(orphans, inode);
        look_at_each(orphans, dirfd(directory));
    }
    closedir(directory);
    return 0;
}

int orphans_remove(const struct orphans *orphans, const struct orphan *orphan) {
    const int directory = open(orphans->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int result = -1;

    if (directory < 0) return -1;
    if (orphan->unsure)
        errno = EBUSY;
    else
        result = unlinkat(directory, orphan->name, 0);
    close(directory);
    return result;
}
