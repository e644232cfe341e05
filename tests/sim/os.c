/* The simulated system: what sim_os.h names. As little as the core can tell of Linux: locks of bytes that their
 * holder's death drops, futexes, FIFOs, semaphores, one mutex with conditions, signals, a clock that moves when all
 * sleep.
 *
 * Locks and the mutex order memory, as the kernel's do and as the core says that it relies on. Nothing else does:
 * whoever was woken has seen nothing by that alone. */
#include "sim_os.h"

#include <string.h>

#include "layout.h"
#include "memory.h"
#include "world.h"

enum { LOCKS_MOST = 96, FDS_MOST = 48, FIRST_FD = 200, FIRST_PROCESS = 1000, FUTEXES_MOST = 4 };

struct lock {
    int64_t byte;
    uint32_t holders; /* a bit an actor */
    bool exclusive;
    uint64_t id;
    struct view view;
};

struct fifo {
    bool full; /* holds a byte at least */
    unsigned writers, openings;
    uint64_t id;
};

struct fd {
    bool used, reads, writes;
    unsigned actor, fifo, version;
};

static struct {
    unsigned locks;
    struct lock lock[LOCKS_MOST];
    unsigned fds;
    struct fd fd[FDS_MOST];
    struct fifo fifo[2];
    unsigned futexes;
    struct {
        const void *word;
        int32_t floor; /* the newest store that a waker had seen */
        uint64_t id;
    } futex[FUTEXES_MOST];
    struct {
        unsigned count;
        uint64_t id;
    } sem[2];
    struct {
        unsigned holder; /* ACTORS_MOST: nobody */
        uint64_t id;
        struct view view;
    } mutex;
    struct {
        bool pending;
        uint64_t id;
    } signal[ACTORS_MOST];
} sys;

void world_begin_os(void) {
    sys.locks = sys.fds = sys.futexes = 0;
    memset(&sys.fifo, 0, sizeof sys.fifo);
    memset(&sys.sem, 0, sizeof sys.sem);
    memset(&sys.mutex, 0, sizeof sys.mutex);
    memset(&sys.signal, 0, sizeof sys.signal);
    sys.mutex.holder = ACTORS_MOST;
}

/* Each call begins so. */
static void call(const struct place *place, unsigned kind) {
    engine_self()->turns = 0;
    engine_self()->looked = false;
    engine_point(place, kind);
}

#define TELL(...)                                                                                                      \
    do                                                                                                                 \
        if (engine.trace) engine_tell(place, __VA_ARGS__);                                                             \
    while (0)

/* ---- Locks ----------------------------------------------------------------------------------------------------- */

static struct lock *lock_of(int64_t byte) {
    for (unsigned at = sys.locks; at-- > 0;)
        if (sys.lock[at].byte == byte) return &sys.lock[at];
    if (sys.locks == LOCKS_MOST) engine_fail("more than %d locks", LOCKS_MOST);
    struct lock *lock = &sys.lock[sys.locks++];
    memset(lock, 0, sizeof *lock);
    lock->byte = byte;
    return lock;
}

static void drop(struct lock *lock, unsigned actor) {
    lock->holders &= ~(1u << actor);
    memory_give(&lock->view, actor);
    engine_wake(lock, ACTORS_MOST);
}

int sim_lock(int64_t byte, int64_t bytes, short type, bool wait, const struct place *place) {
    if (byte == LEASE_LIFE_CYCLE || bytes != 1) return 0; /* nobody unlinks here */
    const uint32_t own = 1u << engine.current;
    struct lock *lock = lock_of(byte);
    if (type == F_UNLCK && (lock->holders & own) == 0) return 0;
    call(place, EFFECT | WITNESS);
    engine_touch(&lock->id, (uint64_t)type);
    if (type == F_UNLCK) {
        TELL("unlocks byte %llx", (unsigned long long)byte);
        drop(lock, engine.current);
        return 0;
    }
    while ((lock->holders & ~own) != 0 && (lock->exclusive || type == F_WRLCK)) {
        TELL("byte %llx is locked%s", (unsigned long long)byte, wait ? ": sleeps" : "");
        if (!wait) return fail(EAGAIN);
        (void)engine_sleep(lock, INT64_MAX, SLEEP_WAIT);
        engine_touch(&lock->id, 1);
    }
    TELL("locks byte %llx", (unsigned long long)byte);
    lock->holders |= own;
    lock->exclusive = type == F_WRLCK;
    memory_take(&lock->view);
    return 0;
}

int sim_lock_held(int64_t byte, int64_t bytes, const struct place *place) {
    if (bytes == 1 && world_is_empty_slot(byte)) return 0;
    call(place, WITNESS);
    bool held = false;
    for (unsigned at = 0; at < sys.locks; at++) {
        struct lock *lock = &sys.lock[at];
        if (lock->byte < byte || lock->byte >= byte + bytes) continue;
        engine_learn(lock->id);
        if ((lock->holders & ~(1u << engine.current)) != 0)
            held = true;
        else
            memory_take(&lock->view);
    }
    TELL("byte %llx: %s", (unsigned long long)byte, held ? "somebody holds it" : "nobody holds it");
    return held;
}

bool world_holds(unsigned actor, int64_t byte) { return (lock_of(byte)->holders & 1u << actor) != 0; }

bool world_is_held(int64_t byte, int64_t bytes) {
    for (unsigned at = 0; at < sys.locks; at++)
        if (sys.lock[at].byte >= byte && sys.lock[at].byte < byte + bytes && sys.lock[at].holders != 0) return true;
    return false;
}

/* ---- FIFOs ----------------------------------------------------------------------------------------------------- */

static struct fd *fd_of(int number) { return &sys.fd[number - FIRST_FD]; }

static struct fifo *fifo_of(int number) { return &sys.fifo[fd_of(number)->fifo]; }

static bool is_space(const char *name) { return strstr(name, ".space") != NULL; }

int sim_open(const char *name, const struct place *place) {
    (void)place;
    if (sys.fds == FDS_MOST) engine_fail("more than %d descriptors", FDS_MOST);
    sys.fd[sys.fds] = (struct fd){.used = true, .actor = engine.current, .fifo = is_space(name)};
    return FIRST_FD + (int)sys.fds++;
}

int sim_reopen(int path, int flags, const struct place *place) {
    call(place, EFFECT);
    struct fifo *fifo = fifo_of(path);
    const bool writes = (flags & (O_WRONLY | O_RDWR)) != 0, reads = (flags & O_WRONLY) == 0;
    engine_touch(&fifo->id, (uint64_t)flags);
    const int number = sim_open(fd_of(path)->fifo != 0 ? ".space" : ".items", place);
    struct fd *fd = fd_of(number);
    fd->reads = reads;
    fd->writes = writes;
    fd->version = fifo->writers == 0 ? fifo->openings : 0;
    fifo->writers += writes;
    fifo->openings += writes;
    TELL("opens the FIFO %s to %s", fd->fifo != 0 ? "space" : "items", writes ? "write" : "read");
    return number;
}

static void close_fd(struct fd *fd) {
    struct fifo *fifo = &sys.fifo[fd->fifo];
    fd->used = false;
    if (fd->writes && --fifo->writers == 0) engine_wake(fifo, ACTORS_MOST);
}

void sim_close(int number) {
    if (number < FIRST_FD || number >= FIRST_PROCESS) return;
    struct fd *fd = fd_of(number);
    if (!fd->reads && !fd->writes) return;
    call(HERE, EFFECT);
    engine_touch(&sys.fifo[fd->fifo].id, 1);
    close_fd(fd);
}

int sim_stat(int number, struct stat *status) {
    *status =
        (struct stat){.st_ino = 1, .st_nlink = 1, .st_mode = number == SIM_OBJECT ? S_IFREG | 0600 : S_IFIFO | 0600};
    return 0;
}

int sim_stat_name(const char *name, struct stat *status) {
    (void)name;
    *status = (struct stat){.st_ino = 2, .st_nlink = 1, .st_mode = S_IFREG | 0600, .st_size = sizeof(sem_t)};
    return 0;
}

ssize_t sim_read_fifo(int number, const struct place *place) {
    struct fifo *fifo = fifo_of(number);
    call(place, EFFECT);
    engine_touch(&fifo->id, 2);
    TELL("empties its FIFO%s", fifo->full ? "" : ", which is empty");
    fifo->full = false;
    return 0;
}

ssize_t sim_write_fifo(int number, const struct place *place) {
    struct fifo *fifo = fifo_of(number);
    call(place, EFFECT);
    engine_touch(&fifo->id, 3);
    TELL("writes to the FIFO %s", fifo == &sys.fifo[0] ? "items" : "space");
    fifo->full = true;
    engine_wake(fifo, ACTORS_MOST);
    return 1;
}

int sim_poll(int number, int64_t until_ns, const struct place *place) {
    struct fifo *fifo = fifo_of(number);
    call(place, WITNESS);
    for (bool waited = false;; waited = true) {
        engine_touch(&fifo->id, 4);
        const int events =
            (fifo->full ? POLLIN : 0) | (fifo->writers == 0 && fd_of(number)->version != fifo->openings ? POLLHUP : 0);
        TELL("polls its FIFO: %s%s%s", (events & POLLIN) != 0 ? "rung " : "", (events & POLLHUP) != 0 ? "left" : "",
             events == 0 ? "sleeps" : "");
        if (events != 0 || (waited && engine_self()->timed_out) || until_ns <= engine.now_ns) return events;
        (void)engine_sleep(fifo, until_ns, SLEEP_WAIT);
    }
}

/* ---- Time ------------------------------------------------------------------------------------------------------ */

int64_t sim_now(void) {
    engine_self()->turns = 0;
    engine_self()->looked = false;
    engine_learn((uint64_t)engine.now_ns);
    return engine.now_ns;
}

int sim_nap(int64_t duration_ns, const struct place *place) {
    call(place, QUIET);
    TELL("naps");
    (void)engine_sleep(NULL, engine.now_ns + duration_ns, SLEEP_NAP);
    return 0;
}

void sim_yield(const struct place *place) {
    call(place, QUIET);
    TELL("yields");
    (void)engine_sleep(NULL, engine.now_ns + OS_MS, SLEEP_YIELD);
}

int sim_membarrier(int command, const struct place *place) {
    if (command == MEMBARRIER_CMD_GLOBAL_EXPEDITED) memory_fence_everywhere(place);
    return 0;
}

/* ---- Futexes --------------------------------------------------------------------------------------------------- */

static unsigned futex_of(const void *word) {
    for (unsigned at = 0; at < sys.futexes; at++)
        if (sys.futex[at].word == word) return at;
    if (sys.futexes == FUTEXES_MOST) engine_fail("more than %d futexes", FUTEXES_MOST);
    sys.futex[sys.futexes].word = word;
    sys.futex[sys.futexes].floor = 0;
    sys.futex[sys.futexes].id = 0;
    return sys.futexes++;
}

/* The kernel promises no more than this of its look at the word: whoever calls wake after that finds the sleeper, and
 * what was stored before a wake that came first is seen. */
int sim_futex_wait(const void *word, uint32_t expected, int64_t until_ns, const struct place *place) {
    call(place, QUIET);
    const unsigned futex = futex_of(word);
    engine_touch(&sys.futex[futex].id, 1);
    if ((uint32_t)memory_peek(word, sys.futex[futex].floor, place) != expected) return fail(EAGAIN);
    if (until_ns <= engine.now_ns) return fail(ETIMEDOUT);
    TELL("sleeps");
    const bool woken = engine_sleep(word, until_ns, SLEEP_WAIT);
    TELL("%s", woken ? "is woken" : "has slept long enough");
    return woken ? 0 : fail(ETIMEDOUT);
}

int sim_futex_wake(const void *word, int sleepers, const struct place *place) {
    call(place, EFFECT);
    const unsigned futex = futex_of(word);
    const int32_t seen = memory_latest_seen(word);
    if (seen > sys.futex[futex].floor) sys.futex[futex].floor = seen;
    engine_touch(&sys.futex[futex].id, 2);
    TELL("wakes %d", sleepers);
    engine_wake(word, (unsigned)sleepers);
    return 0;
}

/* ---- Semaphores, mutex, conditions ------------------------------------------------------------------------------ */

static unsigned sem_number(const sem_t *sem) { return (const void *)sem == &sys.sem[1]; }

sem_t *sim_sem_open(const char *name) { return (void *)&sys.sem[is_space(name)]; }

int sim_sem_try(sem_t *sem, const struct place *place) {
    const unsigned at = sem_number(sem);
    call(place, EFFECT);
    engine_touch(&sys.sem[at].id, 1);
    TELL("tries a semaphore of %u", sys.sem[at].count);
    if (sys.sem[at].count == 0) return fail(EAGAIN);
    sys.sem[at].count--;
    return 0;
}

int sim_sem_wait(sem_t *sem, int64_t until_ns, const struct place *place) {
    const unsigned at = sem_number(sem);
    call(place, EFFECT);
    for (;;) {
        engine_touch(&sys.sem[at].id, 2);
        TELL("waits for a semaphore of %u", sys.sem[at].count);
        if (sys.sem[at].count > 0) break;
        if (until_ns <= engine.now_ns) return fail(ETIMEDOUT);
        (void)engine_sleep(sem, until_ns, SLEEP_WAIT);
    }
    sys.sem[at].count--;
    return 0;
}

int sim_sem_post(sem_t *sem, const struct place *place) {
    const unsigned at = sem_number(sem);
    call(place, EFFECT);
    engine_touch(&sys.sem[at].id, 3);
    sys.sem[at].count++;
    TELL("posts a semaphore: %u", sys.sem[at].count);
    engine_wake(sem, 1);
    return 0;
}

static void lock_mutex(const struct place *place) {
    while (sys.mutex.holder != ACTORS_MOST) {
        TELL("sleeps at the mutex");
        (void)engine_sleep(&sys.mutex, INT64_MAX, SLEEP_WAIT);
    }
    engine_touch(&sys.mutex.id, 1);
    memory_take(&sys.mutex.view);
    sys.mutex.holder = engine.current;
    TELL("locks the mutex");
}

static void unlock_mutex(void) {
    engine_touch(&sys.mutex.id, 2);
    memory_give(&sys.mutex.view, engine.current);
    sys.mutex.holder = ACTORS_MOST;
    engine_wake(&sys.mutex, 1);
}

int sim_mutex_lock(pthread_mutex_t *mutex, const struct place *place) {
    (void)mutex;
    call(place, EFFECT);
    lock_mutex(place);
    return 0;
}

void sim_mutex_unlock(pthread_mutex_t *mutex, const struct place *place) {
    (void)mutex;
    call(place, EFFECT);
    TELL("unlocks the mutex");
    unlock_mutex();
}

int sim_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t until_ns, const struct place *place) {
    (void)mutex;
    call(place, EFFECT);
    if (until_ns <= engine.now_ns) return ETIMEDOUT;
    unlock_mutex();
    TELL("sleeps on a condition");
    const bool woken = engine_sleep(cond, until_ns, SLEEP_WAIT);
    lock_mutex(place);
    return woken ? 0 : ETIMEDOUT;
}

int sim_cond_signal(pthread_cond_t *cond, const struct place *place) {
    call(place, EFFECT);
    engine_touch(&sys.mutex.id, 3);
    TELL("signals a condition");
    engine_wake(cond, 1);
    return 0;
}

/* ---- Processes and signals ------------------------------------------------------------------------------------- */

pid_t sim_process(void) { return FIRST_PROCESS + (pid_t)engine.current; }

uint32_t sim_process_space(void) { return world_process_space(); }

int sim_pidfd_open(pid_t process, const struct place *place) {
    call(place, WITNESS);
    const unsigned at = (unsigned)(process - FIRST_PROCESS);
    const bool lives = at < ACTORS_MOST && (engine.actor[at].state == READY || engine.actor[at].state == ASLEEP);
    engine_learn(lives);
    return lives ? (int)process : fail(ESRCH);
}

int sim_pidfd_signal(int pidfd, const struct place *place) {
    const unsigned at = (unsigned)(pidfd - FIRST_PROCESS);
    call(place, EFFECT);
    engine_touch(&sys.signal[at].id, 1);
    TELL("sends a signal to %s", engine.actor[at].name);
    sys.signal[at].pending = true;
    engine_wake(&sys.signal[at], 1);
    return 0;
}

int sim_signal_wait(int64_t until_ns, const struct place *place) {
    const unsigned at = engine.current;
    call(place, EFFECT);
    for (;;) {
        engine_touch(&sys.signal[at].id, 2);
        TELL("waits for a signal: %s", sys.signal[at].pending ? "there is one" : "sleeps");
        if (sys.signal[at].pending) break;
        if (until_ns <= engine.now_ns) return fail(EAGAIN);
        (void)engine_sleep(&sys.signal[at], until_ns, SLEEP_WAIT);
    }
    sys.signal[at].pending = false;
    return SIGURG;
}

/* ---- Death ----------------------------------------------------------------------------------------------------- */

/* What the kernel does for the dead. Whatever he had stored is there for whoever finds his lock free. */
void world_bury(unsigned actor) {
    const unsigned current = engine.current;
    for (unsigned at = 0; at < sys.locks; at++) {
        struct lock *lock = &sys.lock[at];
        if ((lock->holders & 1u << actor) == 0) continue;
        engine_mark(&lock->id, engine_hash(lock->id, engine.actor[actor].history));
        drop(lock, actor);
    }
    for (unsigned at = 0; at < sys.fds; at++) {
        struct fd *fd = &sys.fd[at];
        if (!fd->used || fd->actor != actor || (!fd->reads && !fd->writes)) continue;
        engine_mark(&sys.fifo[fd->fifo].id, engine_hash(sys.fifo[fd->fifo].id, engine.actor[actor].history));
        close_fd(fd);
    }
    engine.current = current;
}
