/* The table of notifiers, and what several of them need. See notify.h. */
#include "notify_os.h"

#include "notify.h"

#include "lease.h"
#include "shared.h"
#include "shmq.h"

const struct notifier *notifier_of(uint32_t kind) {
    static const struct notifier *const built[] = {
        /* in the order of enum shmq_notify */
        &shmq_notify_sem,    &shmq_notify_named, &shmq_notify_cond, &shmq_notify_fifo,
        &shmq_notify_signal, &shmq_notify_lock,  &shmq_notify_spin,
    };
    return kind <= SHMQ_NOTIFY_SPIN ? built[kind] : NULL;
}

int bells_open(struct bells *bells) {
    for (int at = 0; at < FDS; at++)
        bells->fd[at] = -1;
    return bells->notifier->open == NULL ? 0 : bells->notifier->open(bells);
}

void bells_close(struct bells *bells) {
    if (bells->notifier->close != NULL) bells->notifier->close(bells);
    bells_disown(bells);
}

void bells_disown(struct bells *bells) {
    for (int at = 0; at < FDS; at++) {
        os_close(bells->fd[at]);
        bells->fd[at] = -1;
    }
}

int notify_name(char name[NOTIFY_NAME_MAX], const char *prefix, const struct bells *queue, bool items) {
    struct stat status;
    if (os_stat(queue->object, &status) != 0) return -1;
    (void)snprintf(name, NOTIFY_NAME_MAX, "%s%016llx-%llx.%s", prefix, (unsigned long long)queue->instance,
                   (unsigned long long)status.st_ino, items ? "items" : "space");
    return 0;
}

void notify_remove(int directory, const char *prefix, const struct bells *queue) {
    char name[NOTIFY_NAME_MAX];
    for (int items = 0; items <= 1; items++)
        if (notify_name(name, prefix, queue, items != 0) == 0) (void)os_unlink(directory, name);
}

bool notify_has_peer(const struct bells *bells) {
    return lease_held(bells->object, LEASE_ROLES + (bells->produces ? SLOTS : 0), SLOTS);
}

int notify_vet(const struct bells *bells, const struct stat *found, mode_t type) {
    struct stat queue;
    if (os_stat(bells->object, &queue) != 0) return -1;
    const bool ours = found->st_uid == os_user() || found->st_uid == 0;
    const bool group = (queue.st_mode & 060) != 0 && found->st_gid == queue.st_gid;
    const bool welcome = ours || found->st_uid == queue.st_uid || group || (queue.st_mode & 06) != 0;
    return welcome && (found->st_mode & S_IFMT) == type ? 0 : fail(EACCES);
}

int notify_give_rights(const struct bells *bells, int fd) {
    struct stat queue;
    if (os_stat(bells->object, &queue) != 0) return -1;
    if (os_set_path_owner(fd, queue.st_uid, queue.st_gid) != 0) /* root may */
        (void)os_set_path_owner(fd, (uid_t)-1, queue.st_gid);   /* a member may; else others' rights */
    return os_set_path_mode(fd, queue.st_mode & 0666);
}

/* A PID namespace and a process in it, in one word. */
int notify_introduce(struct bells *bells) {
    uint32_t space = os_process_space();
    if (space == 0) return fail(ENOTSUP);
    bells->mark[MINE] = (uint64_t)space << 32 | (uint32_t)os_process();
    /* Of a side with many ends the first speaks for all: one may be waiting to be rung by its word just now. */
    const bool beside = lease_held(bells->object, LEASE_ROLES + (bells->produces ? 0 : SLOTS), SLOTS);
    uint64_t ours = shared_load(bells->word[MINE]); /* relaxed, here and below: ordered by N1 where it matters */
    if (beside && ours != 0 && ours >> 32 != space) return fail(ENOTSUP);
    if (!beside || ours == 0) shared_store(bells->word[MINE], bells->mark[MINE]);
    /* N1: pairs with itself in the other end. Of two that come at once one at least sees the other's word. */
    shared_barrier();
    uint64_t theirs = shared_load(bells->word[THEIRS]);
    return theirs != 0 && theirs >> 32 != space && notify_has_peer(bells) ? fail(ENOTSUP) : 0;
}

void notify_nap(struct bells *bells, int64_t until_ns) {
    static const int64_t longest_ns = 64 * OS_MS;
    if (bells->nap_ns < longest_ns) bells->nap_ns = bells->nap_ns == 0 ? OS_MS : 2 * bells->nap_ns;
    int64_t left_ns = until_ns - os_now();
    if (left_ns > 0) os_nap(left_ns < bells->nap_ns ? left_ns : bells->nap_ns);
}

uint64_t notify_fingerprint(size_t type_bytes) {
    if (type_bytes == 0) return 0;
    uint64_t hash = 0xcbf29ce484222325u ^ type_bytes; /* FNV-1a */
    for (const char *at = os_libc_version(); *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
    return hash;
}
