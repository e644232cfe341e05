/* Doorbells whose queue is gone: files that the notifiers named and fifo keep beside a queue, left behind when somebody
 * removes or renames the queue by other means than shmq_unlink. Their names end in the inode of their queue. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct orphan {
    char name[256]; /* in the directory */
    uint64_t age_s; /* since it was last used or changed */
    bool unsure;    /* there are processes that we cannot look into, and they may have it open */
};

struct orphans {
    char directory[4096];
    unsigned count;
    unsigned more; /* that found no place in the list */
    struct orphan list[64];
};

/* Looks in a directory. What a process has open is not in the list, for its queue may be elsewhere (a regular file,
 * with the notifier named), and live ends may use it. -1 with errno. */
int orphans_find(struct orphans *orphans, const char *directory);

/* Removes one. -1 with errno: EBUSY, somebody whom we cannot see may use it; or what unlink(2) says. */
int orphans_remove(const struct orphans *orphans, const struct orphan *orphan);
