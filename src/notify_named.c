/* named: two POSIX named semaphores, /shmq.<instance>-<inode>.items and .space, waited for with
 * sem_clockwait and rung with sem_post: the textbook's own pairing with mmap.
 *
 * The textbook makes them with sem_open(O_CREAT), which leaves debris when it is killed inside,
 * and a moment in which their rights are wrong. Here they are made like the queue: as a finished
 * image without a name, to which linkat gives one. libc keeps its own types in there and trusts
 * them, so this is for processes that trust each other. */
#include "notify_os.h"

#include "notify.h"

#include <string.h>

/* libc's file for the semaphore /NAME is sem.NAME in this directory. */
#define DIRECTORY "/dev/shm/"
static const char PREFIX[] = DIRECTORY "sem.shmq.";

/* Makes a semaphore without a name, gives it the queue's rights, and then the name. */
static int make(const struct bells *bells, const char *name) {
    sem_t image;
    memset(&image, 0, sizeof image); /* what lies between its fields too */
    int directory = os_open_directory(DIRECTORY);
    int fd = directory < 0 ? -1 : os_open_unnamed(directory);
    os_close(directory);
    bool made = fd >= 0 && os_sem_format(&image) == 0 && notify_give_rights(bells, fd) == 0 &&
                os_write(fd, &image, sizeof image, 0) == 0 &&
                (os_link(fd, AT_FDCWD, name) == 0 || errno == EEXIST); /* EEXIST: our peer was faster */
    os_close(fd);
    return made ? 0 : -1;
}

/* Opens one doorbell, made if it is not there. */
static sem_t *open_bell(const struct bells *bells, enum bell bell) {
    char name[NOTIFY_NAME_MAX];
    struct stat found;
    if (notify_name(name, PREFIX, bells, notify_is_items(bells, bell)) != 0) return NULL;
    int result = os_stat_name(AT_FDCWD, name, &found);
    if (result != 0 && errno == ENOENT && make(bells, name) == 0) result = os_stat_name(AT_FDCWD, name, &found);
    /* In a sticky directory only its owner replaces what we have looked at. */
    if (result != 0 || notify_vet(bells, &found, S_IFREG) != 0) return NULL;
    if (found.st_size != sizeof(sem_t)) return (void)fail(EACCES), NULL;
    char *libc_name = name + sizeof DIRECTORY - 1 + sizeof "sem" - 1;
    *libc_name = '/';
    return os_sem_open(libc_name);
}

static int named_open(struct bells *bells) {
    bells->at[MINE] = open_bell(bells, MINE);
    bells->at[THEIRS] = bells->at[MINE] == NULL ? NULL : open_bell(bells, THEIRS);
    return bells->at[THEIRS] == NULL ? -1 : 0;
}

static void named_close(struct bells *bells) {
    for (enum bell bell = MINE; bell <= THEIRS; bell++)
        if (bells->at[bell] != NULL) os_sem_close(bells->at[bell]);
}

/* Wherever the queue stands, they stand there. */
static void named_remove(const struct bells *queue) { notify_remove(AT_FDCWD, PREFIX, queue); }

/* A sleeper is rung once, so no more than that is left. */
static void named_reset(struct bells *bells) { (void)os_sem_try(bells->at[MINE]); }

static int named_wait(struct bells *bells, int64_t until_ns) {
    return os_sem_wait(bells->at[MINE], until_ns) == 0 || errno == ETIMEDOUT ? 0 : -1;
}

static int named_ring(struct bells *bells) {
    return os_sem_post(bells->at[THEIRS]) == 0 || errno == EOVERFLOW ? 0 : -1;
}

const struct notifier shmq_notify_named = {
    .name = "named",
    .keeps = sizeof(sem_t),
    .open = named_open,
    .close = named_close,
    .remove = named_remove,
    .reset = named_reset,
    .wait = named_wait,
    .ring = named_ring,
};
