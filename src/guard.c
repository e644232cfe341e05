/* See guard.h.
 *
 * An open-file-description lock lives as long as any copy of its descriptor, so a forked child
 * would keep its parent's leases alive after the parent's death. The child therefore closes its
 * copies at once. It never unlocks: that would drop the parent's lease. Its handles answer
 * EINVAL from then on. */
#include "os.h"

#include "guard.h"

#include <pthread.h>
#include <string.h>

#include "lease.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct shmq *_Atomic first; /* a handler may look at any time */
static bool registered;            /* for os_membarrier of others */

static void after_fork_in_child(void) {
    for (struct shmq *q = first; q != NULL; q = q->next) {
        if (!q->open) continue;
        region_disown(&q->region);
        bells_disown(&q->bells);
        q->fault = EINVAL;
    }
    guard_unlock();
}

/* Once, and before any lease is held: in a process with threads to register takes milliseconds. */
static void prepare(void) {
    (void)pthread_atfork(guard_lock, guard_unlock, after_fork_in_child);
    registered = os_membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

void guard_lock(void) {
    (void)pthread_once(&once, prepare);
    (void)pthread_mutex_lock(&lock);
}

void guard_unlock(void) { (void)pthread_mutex_unlock(&lock); }

struct shmq *guard_new(void) {
    struct shmq *q = first;
    while (q != NULL && q->open)
        q = q->next;
    const bool known = q != NULL;
    if (!known) q = os_allocate_memory(alignof(struct shmq), sizeof *q);
    if (q == NULL) return NULL;
    memset(q, 0, offsetof(struct shmq, next)); /* not next: a handler may follow it just now */
    q->region.directory = q->region.object = -1;
    q->lightens = registered;
    q->open = true;
    if (known) return q;
    q->next = first;
    first = q;
    return q;
}

void guard_free(struct shmq *q) { q->open = false; }

/* ---- SIGBUS -------------------------------------------------------------------------------- */

static struct sigaction handler_before;
static bool installed;

/* Somebody has truncated an object that is in use: puts zeros in its place, private ones, and marks
 * the handle. Whoever was touching it goes on and finds the mark. A handle that was inherited by fork has no object any
 * more, and its place may be anything. */
static bool cover(const unsigned char *address) {
    for (struct shmq *q = first; q != NULL; q = q->next) {
        const struct region *region = &q->region;
        if (region->object < 0 || (uintptr_t)address - (uintptr_t)region->base >= region->mapped_bytes) continue;
        q->fault = EBADMSG;
        if (os_blank(region->base, region->mapped_bytes, PROT_READ | PROT_WRITE) == MAP_FAILED) return false;
        lease_drop(region->object, 0, 0); /* all locks, as if we had died: others may go on, or find what we found */
        return true;
    }
    return false;
}

static void on_sigbus(int number, siginfo_t *info, void *context) {
    int error = errno;
    if (info->si_code == BUS_ADRERR && cover(info->si_addr))
        errno = error;
    else if ((handler_before.sa_flags & SA_SIGINFO) != 0)
        handler_before.sa_sigaction(number, info, context);
    else if (handler_before.sa_handler != SIG_DFL && handler_before.sa_handler != SIG_IGN)
        handler_before.sa_handler(number);
    else if (info->si_code > 0 || handler_before.sa_handler == SIG_DFL) { /* not one that was sent, and ignored */
        (void)os_handle_signal(number, &handler_before, NULL);
        (void)os_raise(number); /* ends the process when we return */
    }
}

int shmq_guard_sigbus(void) {
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    guard_lock();
    /* What was there is noted first: a fault in another thread may come at once. */
    installed = installed ||
                (os_handle_signal(SIGBUS, NULL, &handler_before) == 0 && os_handle_signal(SIGBUS, &action, NULL) == 0);
    guard_unlock();
    return installed ? 0 : -1;
}
