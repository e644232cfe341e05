/* The two measuring processes and the parent that watches them. The parent takes no part: it
 * forgets the lanes as soon as both ends are open, so that nothing stays even if all are killed;
 * then it sleeps until they are done, time is up or somebody presses Ctrl-C. */
#include "pair.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };

struct board {
    _Atomic uint32_t opened, go, done; /* of the two: opened their ends; go on; are done */
    _Atomic uint32_t complained;       /* the first one writes outcome and complaint */
    enum outcome outcome;
    char complaint[160];
    int64_t probe_ns[2], played_ns;
    pid_t pids[2];
    _Atomic int64_t sleeps;
    _Atomic uint32_t probed;             /* how often they have probed */
    _Alignas(128) _Atomic uint32_t turn; /* of the probes: it is process turn % 2's */
    _Alignas(128) int64_t samples[];
};

int64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t *pair_column(const struct pair *pair, uint32_t column) {
    return pair->board->samples + (size_t)column * pair->rounds;
}

int64_t pair_probe(const struct pair *pair, int when) { return pair->board->probe_ns[when]; }

int64_t pair_played_ns(const struct pair *pair) { return pair->board->played_ns; }

int64_t pair_sleeps(const struct pair *pair) { return pair->board->sleeps; }

const char *pair_complaint(const struct pair *pair) { return pair->board->complaint; }

static size_t board_size(const struct pair *pair) {
    return sizeof(struct board) + sizeof(int64_t) * pair->rounds * pair->columns;
}

/* Keeps the first complaint of the three; returns its outcome. */
__attribute__((format(printf, 3, 4))) static enum outcome complain(const struct pair *pair, enum outcome outcome,
                                                                   const char *format, ...) {
    struct board *board = pair->board;
    if (atomic_exchange(&board->complained, 1) != 0) return board->outcome;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(board->complaint, sizeof board->complaint, format, arguments);
    va_end(arguments);
    board->outcome = outcome;
    return outcome;
}

/* A peer could not make or open a lane. */
static enum outcome complain_of_peer(const struct pair *pair, const struct lane *lane) {
    int error = errno;
    return complain(pair, error == ENOTSUP ? NOT_HERE : FAILED, "%s", lane_why(lane, error));
}

static void complain_of_play(const struct pair *pair, int who) {
    const int error = errno;
    if (error == ENOTSUP)
        (void)complain(pair, NOT_HERE, "it is not for this");
    else
        (void)complain(pair, FAILED, "%s process: %s", who == 0 ? "first" : "second", strerror(error));
}

static void nap(void) {
    const struct timespec millisecond = {.tv_nsec = 1000000};
    (void)nanosleep(&millisecond, NULL);
}

/* Hyperthreads of one core share what is measured here: the second process takes another core. */
static bool same_core(int a, int b) {
    char siblings[2][64];
    for (int i = 0; i < 2; i++) {
        char path[80];
        (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                       i == 0 ? a : b);
        FILE *file = fopen(path, "re");
        bool read = file != NULL && fgets(siblings[i], sizeof siblings[i], file) != NULL;
        if (file != NULL) (void)fclose(file);
        if (!read) return false;
    }
    return strcmp(siblings[0], siblings[1]) == 0;
}

static void choose_cores(struct pair *pair) {
    cpu_set_t allowed;
    pair->core_count = 0;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    for (int core = 0; core < CPU_SETSIZE && pair->core_count < 2; core++)
        if (CPU_ISSET((size_t)core, &allowed) && (pair->core_count == 0 || !same_core(pair->cores[0], core)))
            pair->cores[pair->core_count++] = core;
}

static void pin(const struct pair *pair, int who) {
    cpu_set_t set;
    if (pair->core_count < 2) return;
    CPU_ZERO(&set);
    CPU_SET((size_t)pair->cores[who], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
}

void pair_await(const _Atomic uint32_t *turn, uint32_t mine) {
    struct looking looking = {.timeout_ms = -1};
    while (*turn != mine)
        (void)lane_look(&looking);
}

void pair_await_asleep(const struct pair *pair, int who) {
    char path[32], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pair->board->pids[who]);
    for (const char *state = NULL; state == NULL || state[2] != 'S';) {
        const int file = open(path, O_RDONLY | O_CLOEXEC);
        const ssize_t got = file < 0 ? 0 : read(file, line, sizeof line - 1);
        if (file >= 0) (void)close(file);
        if (got <= 0) return; /* it is gone, or there is no /proc */
        line[got] = '\0';
        state = strrchr(line, ')');
        if (state == NULL) return;
    }
}

/* The two move one word in turns. The best of several times, because somebody else may run meanwhile. */
static void probe(struct board *board, int who, int when) {
    enum { TRIPS = 200, TIMES = 11, TURNS = 2 * TRIPS };
    int64_t best = INT64_MAX;
    const uint32_t probed = board->probed;
    uint32_t turn = (uint32_t)(TURNS * TIMES) * probed + (uint32_t)who;
    for (int i = 0; i < TIMES; i++) {
        const int64_t start = now_ns();
        for (int trip = 0; trip < TRIPS; trip++, turn += 2) {
            pair_await(&board->turn, turn);
            atomic_store_explicit(&board->turn, turn + 1, memory_order_release);
        }
        const int64_t spent = now_ns() - start;
        if (i > 0 && spent < best) best = spent; /* the first one has waited for the other process */
    }
    if (who == 1) return pair_await(&board->probed, probed + 1);
    board->probe_ns[when] = best / TRIPS;
    board->probed = probed + 1;
}

/* Probes until the host has put the two cores where they are to be, or for long enough. A core that sleeps now and then
 * is moved the sooner. */
static void settle(const struct pair *pair, int who) {
    const struct board *board = pair->board;
    const int64_t *wanted = pair->placement_ns, *found = &board->probe_ns[0];
    enum { TRIES = 200 };
    for (int i = 0; i < TRIES; i++) {
        probe(pair->board, who, 0);
        if (wanted[1] == 0 || (*found >= wanted[0] && *found <= wanted[1])) return;
        nap();
    }
}

static enum outcome open_ends(struct pair *pair, int who) {
    for (int i = 0; i < pair->lane_count; i++) {
        struct lane *lane = &pair->lanes[i];
        if (lane->peer->open(lane, i == who ? PEER_PRODUCER : PEER_CONSUMER) != 0) return complain_of_peer(pair, lane);
    }
    return MEASURED;
}

/* How often this process had to wait. */
static int64_t sleeps_so_far(void) {
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

/* What one of the two does with open ends. */
static int perform(struct pair *pair, int who, part *play) {
    struct board *board = pair->board;
    pair->message = calloc(1, pair->bytes);
    if (pair->message == NULL) return -1;
    board->pids[who] = getpid();
    atomic_fetch_add(&board->opened, 1);
    while (atomic_load(&board->go) == 0)
        nap();
    settle(pair, who);
    const int64_t slept = sleeps_so_far(), began = now_ns();
    if (play(pair, who) != 0) return -1;
    if (who == 0) board->played_ns = now_ns() - began;
    board->sleeps += sleeps_so_far() - slept;
    atomic_fetch_add(&board->done, 1);
    while (atomic_load(&board->done) < 2)
        nap();
    probe(board, who, 1);
    return 0;
}

/* One of the two, from fork to exit. Neither closes before both are done. */
_Noreturn static void measure(struct pair *pair, int who, pid_t parent, part *play) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before it could be said */
        _exit(1);
    if (open_ends(pair, who) != MEASURED) _exit(1);
    pin(pair, who); /* after that: threads that a peer has of its own run where they like */
    if (perform(pair, who, play) != 0) {
        complain_of_play(pair, who);
        _exit(1);
    }
    for (int i = 0; i < pair->lane_count; i++)
        pair->peer->close(&pair->lanes[i]);
    _exit(0);
}

static void forget_lanes(struct pair *pair) {
    for (int i = 0; i < pair->lane_count; i++)
        pair->peer->forget(&pair->lanes[i]);
}

/* Reaps those of the two that have ended. */
static enum outcome reap(const struct pair *pair, pid_t children[2]) {
    for (int i = 0; i < 2; i++) {
        int status;
        if (children[i] <= 0 || waitpid(children[i], &status, WNOHANG) != children[i]) continue;
        children[i] = 0;
        if (WIFSIGNALED(status)) return complain(pair, FAILED, "a process was killed: %s", strsignal(WTERMSIG(status)));
        if (WEXITSTATUS(status) != 0) return complain(pair, FAILED, "a process exited with %d", WEXITSTATUS(status));
    }
    return MEASURED;
}

static enum outcome watch(struct pair *pair, pid_t children[2]) {
    struct board *board = pair->board;
    int64_t until = now_ns() + (int64_t)(pair->limit_s * 1e9);
    sigset_t set;
    enum outcome outcome = MEASURED;
    peers_watched_signals(&set);
    while (outcome == MEASURED && (children[0] > 0 || children[1] > 0)) {
        bool going = atomic_load(&board->go) != 0;
        if (!going && atomic_load(&board->opened) == 2) {
            if (!pair->keeps_names) forget_lanes(pair);
            atomic_store(&board->go, 1);
            going = true;
        }
        int64_t rest = until - now_ns();
        if (rest <= 0) return complain(pair, HUNG, "not done in %g s", pair->limit_s);
        if (!going && rest > 1000000) /* looks often while they open */
            rest = 1000000;
        struct timespec time = {.tv_sec = rest / 1000000000, .tv_nsec = rest % 1000000000};
        int signal = sigtimedwait(&set, NULL, &time);
        if (signal > 0 && signal != SIGCHLD) {
            pair->signal = signal;
            return complain(pair, INTERRUPTED, "%s", strsignal(signal));
        }
        outcome = reap(pair, children);
    }
    return outcome;
}

static void name_lanes(struct pair *pair) {
    for (int i = 0; i < 2; i++) {
        uint64_t random = 0;
        char name[sizeof pair->lanes[i].name];
        if (getrandom(&random, sizeof random, 0) != sizeof random) random = (uint64_t)now_ns() * (uint64_t)getpid();
        (void)snprintf(name, sizeof name, "%s-%016llx", pair->stem, (unsigned long long)random);
        lane_init(&pair->lanes[i], pair->peer, name, pair->bytes);
        pair->lanes[i].capacity = pair->capacity;
        pair->lanes[i].careful = pair->careful;
        pair->lanes[i].many = pair->ends > 1;
    }
}

/* Bytes that programs can have without harm to others. */
static uint64_t free_bytes(void) {
    char line[128];
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL && sscanf(line, "MemAvailable: %llu", &kib) != 1) /* NOLINT */
        ;
    (void)fclose(file);
    return kib * 1024;
}

static enum outcome make_lanes(struct pair *pair) {
    const uint64_t wanted = (uint64_t)pair->lane_count * lane_room(&pair->lanes[0]);
    if (pair->peer->largest > 0 && pair->bytes > pair->peer->largest)
        return complain(pair, NOT_HERE, "no message of it has so many bytes");
    if (pair->ends > 1 && !pair->peer->many) return complain(pair, NOT_HERE, "each of its sides has one end");
    if (pair->capacity > 0 && wanted > free_bytes() / 4)
        return complain(pair, NOT_HERE, "a ring of %llu MiB is more than a quarter of the free memory",
                        (unsigned long long)wanted >> 20);
    for (int i = 0; i < pair->lane_count; i++)
        if (pair->peer->make(&pair->lanes[i]) != 0) return complain_of_peer(pair, &pair->lanes[i]);
    return MEASURED;
}

static enum outcome start(struct pair *pair, part *play, pid_t children[2]) {
    pid_t parent = getpid();
    for (int who = 0; who < 2; who++) {
        children[who] = fork();
        if (children[who] < 0) return complain(pair, FAILED, "fork: %s", strerror(errno));
        if (children[who] == 0) measure(pair, who, parent, play);
    }
    return MEASURED;
}

/* Zeroed memory of ours and of those that we fork. */
static void *share(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) return memory;
    perror("bench: memory");
    exit(1);
}

enum outcome pair_run(struct pair *pair, part *play) {
    pid_t children[2] = {0, 0};
    pair->board = share(board_size(pair));
    choose_cores(pair);
    name_lanes(pair);
    pair->shared = share(lane_room(&pair->lanes[0]) + PAGE);
    enum outcome outcome = make_lanes(pair);
    if (outcome == MEASURED) outcome = start(pair, play, children);
    if (outcome == MEASURED) outcome = watch(pair, children);
    for (int i = 0; i < 2; i++)
        if (children[i] > 0) {
            (void)kill(children[i], SIGKILL);
            (void)waitpid(children[i], NULL, 0);
        }
    forget_lanes(pair);
    return outcome;
}

void pair_free(struct pair *pair) {
    (void)munmap(pair->board, board_size(pair));
    (void)munmap(pair->shared, lane_room(&pair->lanes[0]) + PAGE);
}
