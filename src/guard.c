/* See guard.h.
 *
 * An open-file-description lock lives as long as any copy of its descriptor, so a forked child
 * would keep its parent's leases alive after the parent's death. The child therefore closes its
 * copies at once. It never unlocks: that would drop the parent's lease. Its handles answer
 * EINVAL from then on. */
#include "os.h"

#include "guard.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct shmq *first;

static void before_fork(void) { (void)pthread_mutex_lock(&lock); }

static void after_fork(void) { (void)pthread_mutex_unlock(&lock); }

static void after_fork_in_child(void) {
    for (struct shmq *q = first; q != NULL; q = q->next) {
        region_disown(&q->region);
        bells_disown(&q->bells);
        q->fault = EINVAL;
    }
    after_fork();
}

static void watch_forks(void) { (void)pthread_atfork(before_fork, after_fork, after_fork_in_child); }

void guard_lock(void) {
    (void)pthread_once(&once, watch_forks);
    (void)pthread_mutex_lock(&lock);
}

void guard_unlock(void) { (void)pthread_mutex_unlock(&lock); }

void guard_add(struct shmq *q) {
    q->next = first;
    first = q;
}

void guard_remove(struct shmq *q) {
    struct shmq **link = &first;
    while (*link != q)
        link = &(*link)->next;
    *link = q->next;
}
