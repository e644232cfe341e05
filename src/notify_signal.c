/* signal: SIGURG, waited for with sigtimedwait, sent through a pidfd.
 *
 * Here to show why this is seldom used: what it demands of its host process. SIGURG must be
 * blocked, in every thread that could take it; threads of one process that wait at the same time
 * can take each other's ring, and then wait a slice too long; and the ends must be in one PID
 * namespace and of users who may signal each other. SIGURG, because by default it is ignored: one
 * that goes astray harms nobody.
 *
 * Each end stores its namespace and process number in its page. The pidfd makes sure that the
 * number still means the process that we looked at: a number alone may be someone else's by now. */
#include "notify_os.h"

#include "notify.h"
#include "shared.h"

static int signal_check(void) {
    int self = os_pidfd_open(os_process());
    if (self < 0) return errno == ENOSYS || errno == EPERM ? fail(ENOTSUP) : -1;
    os_close(self);
    return os_signal_is_blocked(SIGURG) ? 0 : fail(ENOTSUP);
}

/* The process that a peer's word names, if it is one of our namespace; else 0. */
static pid_t process_of(const struct bells *bells, uint64_t word) {
    bool visible = word >> 32 == bells->mark[MINE] >> 32 && (int32_t)word > 0;
    return visible ? (pid_t)(int32_t)word : 0;
}

static int signal_open(struct bells *bells) {
    if (notify_introduce(bells) != 0) return -1;
    pid_t peer = process_of(bells, shared_load(bells->word[THEIRS])); /* relaxed: a hint */
    char path[32];
    struct stat process;
    (void)snprintf(path, sizeof path, "/proc/%d", (int)peer);
    bool stranger = peer != 0 && os_stat_name(AT_FDCWD, path, &process) == 0 && process.st_uid != os_user();
    return stranger && notify_has_peer(bells) ? fail(ENOTSUP) : 0; /* one of us may not ring */
}

/* Of many ends of a side the one that waits is rung. */
static void signal_reset(struct bells *bells) { shared_store(bells->word[MINE], bells->mark[MINE]); }

/* What is pending stays, which costs one look: it may be meant for another thread of ours. */
static int signal_wait(struct bells *bells, int64_t until_ns) {
    (void)bells;
    return os_signal_wait(SIGURG, until_ns) >= 0 || errno == EAGAIN ? 0 : -1;
}

/* A peer that cannot be reached finds out by a slice. */
static int signal_ring(struct bells *bells) {
    const uint64_t word = shared_load(bells->word[THEIRS]); /* relaxed: asked again */
    const pid_t peer = process_of(bells, word);
    int pidfd = peer == 0 ? -1 : os_pidfd_open(peer);
    /* It still holds its lease and says the same: so this is its process, and not a later one with
     * its number. */
    if (pidfd >= 0 && notify_has_peer(bells) && shared_load(bells->word[THEIRS]) == word)
        (void)os_pidfd_signal(pidfd, SIGURG);
    os_close(pidfd);
    return 0;
}

const struct notifier shmq_notify_signal = {
    .name = "signal",
    .check = signal_check,
    .open = signal_open,
    .reset = signal_reset,
    .wait = signal_wait,
    .ring = signal_ring,
};
