/* The supervisor of a round: starts the ends, kills, stops and signals them, sees to it that they get on, and when all
 * have ended balances the account and looks for what was left. */
#include "stress.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* A ring that is lost costs the rest of a slice of 200 ms; no nap of anybody is half as long as STALLED_MS. */
enum { TICK_NS = 2000000, HUNG_MS = 20000, STALLED_MS = 150, STALLED_TICKS = 30 };

/* One end's process, and then those that replace it; all threads are one process in the first seat. */
struct seat {
    pid_t pid; /* 0: none */
    bool stopped, done;
    int64_t at_ms; /* stopped: goes on then; none: is replaced then */
};

struct show {
    struct round *round;
    struct outcome *outcome;
    const char *evidence;
    struct seat seats[ENDS];
    unsigned kills[2]; /* of busy ends, by enum shmq_end */
    unsigned asleep;   /* ticks for which nothing moved and nobody ran */
    uint64_t random, progress;
    int64_t start_ms, moved_ms, kill_ms, stop_ms, signal_ms;
};

static uint64_t chance(struct show *show, uint64_t bound) { return random_of(&show->random) % bound; }

/* The first failure counts; what follows is its consequence. */
__attribute__((format(printf, 2, 3))) static void blame(struct show *show, const char *format, ...) {
    va_list arguments;
    if (show->outcome->failure[0] != '\0') return;
    va_start(arguments, format);
    vsnprintf(show->outcome->failure, sizeof show->outcome->failure, format, arguments);
    va_end(arguments);
}

static bool has_failed(const struct show *show) { return show->outcome->failure[0] != '\0' || stress_interrupted != 0; }

static bool is_end(const struct round *round, unsigned end) {
    return end < PRODUCERS ? end < round->s.producers : end - PRODUCERS < round->s.consumers;
}

static bool is_seat(const struct round *round, unsigned end) { return round->threads ? end == 0 : is_end(round, end); }

/* ---- Processes ----------------------------------------------------------------------------- */

static void be_child(struct round *round, unsigned end, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    /* Ctrl-C is for the supervisor, who ends all. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    check_note("round %u", round->number);
    if (round->threads) CHECK(chdir(round->directory) == 0);
    const int descriptors = check_descriptors();
    if (round->threads)
        ends_run_threads(round);
    else
        end_run(round, end);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(traces_mappings(round), 0);
    fflush(NULL);
    /* With the last checks of a sanitizer; which do not expect to be disturbed. */
    if (round->s.kill == 0 && round->s.stop == 0 && round->s.signals == 0) exit(0);
    _exit(0);
}

static void start(struct show *show, unsigned end) {
    const pid_t parent = getpid();
    put(&show->round->own[end].in, 0);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) be_child(show->round, end, parent);
    if (child < 0) blame(show, "fork: %s", strerror(errno));
    show->seats[end] = (struct seat){.pid = child < 0 ? 0 : child};
}

/* Of the round the most that one of its processes had; the supervisor is left out, whose most is that of all rounds. */
static void note_usage(struct show *show, const struct rusage *usage) {
    const uint64_t kib = (uint64_t)usage->ru_maxrss;
    if (kib > show->outcome->memory_kib) show->outcome->memory_kib = kib;
}

/* Everybody who has ended by himself. */
static void reap(struct show *show) {
    struct rusage usage;
    int status;
    for (unsigned end = 0; end < ENDS; end++) {
        struct seat *seat = &show->seats[end];
        if (seat->pid == 0 || wait4(seat->pid, &status, WNOHANG, &usage) != seat->pid) continue;
        note_usage(show, &usage);
        if (WIFSIGNALED(status))
            blame(show, "process %d, end %u, died of signal %d", (int)seat->pid, end, WTERMSIG(status));
        else if (WEXITSTATUS(status) != 0)
            blame(show, "process %d, end %u, failed with exit status %d, see above", (int)seat->pid, end,
                  WEXITSTATUS(status));
        else if (get(&show->round->over) == 0)
            blame(show, "process %d, end %u, ended before it was told to", (int)seat->pid, end);
        *seat = (struct seat){.done = true};
    }
}

static void end_process(struct show *show, struct seat *seat) {
    struct rusage usage;
    int status;
    kill(seat->pid, SIGKILL);
    if (wait4(seat->pid, &status, 0, &usage) == seat->pid) note_usage(show, &usage);
    *seat = (struct seat){0};
}

/* ---- Mischief ------------------------------------------------------------------------------ */

/* Somebody who runs, or NULL. */
static struct seat *anybody(struct show *show) {
    struct seat *seat = &show->seats[chance(show, ENDS)];
    return seat->pid != 0 && !seat->stopped ? seat : NULL;
}

static void kill_somebody(struct show *show, int64_t now_ms) {
    struct seat *seat = &show->seats[chance(show, ENDS)]; /* one that is stopped, too */
    const unsigned end = (unsigned)(seat - show->seats);
    if (show->round->s.kill == 0 || now_ms < show->kill_ms || seat->pid == 0) return;
    end_process(show, seat);
    const bool busy = get(&show->round->own[end].busy) != 0;
    put(&show->round->own[end].busy, 0);
    if (end < PRODUCERS && busy) account_kill(show->round, end);
    show->kills[end < PRODUCERS ? SHMQ_PRODUCER : SHMQ_CONSUMER] += busy;
    show->outcome->kills++;
    put(&show->round->own[end].in, 0);
    /* Later than a slice, too: so that others take over its lock, and not its successor in the same slot. */
    seat->at_ms = now_ms + (int64_t)chance(show, chance(show, 3) == 0 ? 500 : 20);
    show->kill_ms = now_ms + (int64_t)chance(show, 2 * show->round->s.kill) + 1;
}

static void stop_somebody(struct show *show, int64_t now_ms) {
    struct seat *seat = anybody(show);
    if (show->round->s.stop == 0 || now_ms < show->stop_ms || seat == NULL) return;
    kill(seat->pid, SIGSTOP);
    seat->stopped = true;
    seat->at_ms = now_ms + 1 + (int64_t)chance(show, chance(show, 8) == 0 ? 300 : 40); /* or longer than a slice */
    show->outcome->stops++;
    show->stop_ms = now_ms + (int64_t)chance(show, 2 * show->round->s.stop) + 1;
}

static void signal_all_over(struct show *show, int64_t now_ms) {
    if (show->round->s.signals == 0 || now_ms < show->signal_ms) return;
    for (uint64_t burst = 1 + chance(show, 8); burst > 0; burst--) {
        const struct seat *seat = anybody(show);
        if (seat == NULL) continue;
        kill(seat->pid, SIGUSR1);
        show->outcome->signals++;
    }
    show->signal_ms = now_ms + (int64_t)chance(show, 2 * show->round->s.signals) + 1;
}

/* Lets the stopped go on, and replaces the dead. */
static void repair(struct show *show, int64_t now_ms) {
    for (unsigned end = 0; end < ENDS; end++) {
        struct seat *seat = &show->seats[end];
        if (!is_seat(show->round, end) || seat->done || now_ms < seat->at_ms) continue;
        if (seat->stopped) kill(seat->pid, SIGCONT);
        seat->stopped = false;
        if (seat->pid == 0) start(show, end);
    }
}

/* ---- The course of a round ----------------------------------------------------------------- */

/* Of one thread: 'S' sleeps, 'R' runs or would if there were a core for it. */
static bool sleeps(pid_t pid) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    const char *bracket = fgets(line, sizeof line, file) == NULL ? NULL : strrchr(line, ')');
    fclose(file);
    return bracket != NULL && bracket[1] == ' ' && bracket[2] == 'S';
}

/* While all are there and nobody is disturbed, a ring that is not empty has a consumer to wake, and one that is not
 * full a producer. So all of them cannot sleep: however slow the machine is, if they do, a ring was lost. */
static bool is_calm(const struct show *show) {
    const struct scenario *s = &show->round->s;
    const bool naps = s->notifier == SHMQ_NOTIFY_LOCK && (s->timeouts != FOREVER || s->many != 0);
    return !show->round->threads && s->kill == 0 && s->stop == 0 && s->detour == 0 && !naps;
}

static void watch_sleepers(struct show *show, bool moved, int64_t now_ms) {
    bool asleep = !moved && is_calm(show) && get(&show->round->over) == 0;
    for (unsigned end = 0; end < ENDS && asleep; end++) {
        const struct own *own = &show->round->own[end];
        if (is_end(show->round, end))
            asleep = get(&own->in) != 0 && get(&own->sent) < MOST && sleeps(show->seats[end].pid);
    }
    show->asleep = asleep ? show->asleep + 1 : 0;
    if (show->asleep >= STALLED_TICKS && now_ms - show->moved_ms >= STALLED_MS)
        blame(show, "stalled: all ends slept for %d ms, so a ring was lost", (int)(now_ms - show->moved_ms));
}

static void watch(struct show *show, int64_t now_ms) {
    const int64_t hung_ms = check_late(HUNG_MS);
    uint64_t progress = show->outcome->kills;
    for (unsigned end = 0; end < ENDS; end++) {
        const struct own *own = &show->round->own[end];
        progress += get(&own->turns) + get(&own->in) + get(&own->leaving) + show->seats[end].done;
    }
    const bool moved = progress != show->progress;
    if (moved) show->moved_ms = now_ms;
    show->progress = progress;
    watch_sleepers(show, moved, now_ms);
    if (now_ms - show->moved_ms > hung_ms) blame(show, "hung: no progress for %d s", (int)(hung_ms / 1000));
}

static bool all(const struct show *show, bool (*has)(const struct show *show, unsigned end), unsigned from,
                unsigned to) {
    for (unsigned end = from; end < to; end++)
        if (!has(show, end)) return false;
    return true;
}

static bool has_come(const struct show *show, unsigned end) {
    return !is_end(show->round, end) || get(&show->round->own[end].in) != 0;
}

static bool has_ended(const struct show *show, unsigned end) {
    return !is_seat(show->round, end) || show->seats[end].done;
}

static void tick(struct show *show) {
    const struct timespec time = {.tv_sec = 0, .tv_nsec = TICK_NS};
    struct round *round = show->round;
    nanosleep(&time, NULL);
    const int64_t now_ms = check_now_ms();
    const bool time_is_up = now_ms - show->start_ms > round->s.ms;
    reap(show);
    watch(show, now_ms);
    if (!time_is_up) kill_somebody(show, now_ms);
    stop_somebody(show, now_ms);
    signal_all_over(show, now_ms);
    repair(show, now_ms);
    /* Nobody is replaced any more: who came too late would not be told of the end. */
    if (time_is_up && all(show, has_come, 0, ENDS)) put(&round->over, 1);
    if (!round->threads && all(show, has_ended, 0, PRODUCERS)) put(&round->silence, 1);
}

/* What the queue itself says, once nobody is there any more; then it is unlinked. */
static void look_at_queue(struct show *show) {
    const struct round *round = show->round;
    struct shmq_stat stat[2];
    shmq *q[2] = {NULL, NULL};
    uint64_t taken = 0;
    const uint64_t sent = account_sent(round);
    for (unsigned end = PRODUCERS; end < ENDS; end++)
        taken += get(&round->own[end].taken);
    for (int end = 0; end < 2; end++)
        if (shmq_open(&q[end], round->name, (enum shmq_end)end, 0, NULL) != 0)
            blame(show, "cannot open the queue afterwards: %s", strerrorname_np(errno));
    for (int end = 0; end < 2; end++)
        if (q[end] != NULL && shmq_stat(q[end], &stat[end]) != 0) blame(show, "shmq_stat: %s", strerrorname_np(errno));
    for (int end = 0; end < 2 && !has_failed(show); end++) {
        const struct shmq_stat *says = &stat[end];
        const uint64_t least_sent = sent - show->kills[SHMQ_PRODUCER], may_differ = show->kills[SHMQ_CONSUMER];
        if (says->producers != 1 || says->consumers != 1 || says->used != 0 || says->sent > sent ||
            says->sent < least_sent || says->received > taken + may_differ || says->received + may_differ < taken)
            blame(show,
                  "end %d says %u producers, %u consumers, %llu bytes, %llu sent, %llu received, not %llu and %llu",
                  end, says->producers, says->consumers, (unsigned long long)says->used, (unsigned long long)says->sent,
                  (unsigned long long)says->received, (unsigned long long)sent, (unsigned long long)taken);
    }
    const bool forgets = round->s.ephemeral != 0; /* then it is here only because somebody was stopped in close */
    for (int end = 0; end < 2; end++)
        if (q[end] != NULL && shmq_close(q[end]) != 0) blame(show, "shmq_close: %s", strerrorname_np(errno));
    if (shmq_unlink(round->name) != 0 && !(forgets && errno == ENOENT))
        blame(show, "shmq_unlink: %s", strerrorname_np(errno));
}

static void settle(struct show *show) {
    struct round *round = show->round;
    struct outcome *outcome = show->outcome;
    const char *wrong = account_balance(round, show->kills, &outcome->lost);
    if (wrong != NULL) blame(show, "%s", wrong);
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) blame(show, "a child process is left");
    if (!round->threads && (round->s.ephemeral == 0 || get(&round->left_busy) != 0)) look_at_queue(show);
    const char *left = traces_left(round);
    if (left != NULL) blame(show, "%s is left behind", left);
}

static void give_up(struct show *show) {
    pid_t pids[ENDS];
    int count = 0;
    for (unsigned end = 0; end < ENDS; end++)
        if (show->seats[end].pid != 0) pids[count++] = show->seats[end].pid;
    if (stress_interrupted == 0) traces_keep(show->round, show->evidence, show->outcome->failure, pids, count);
    for (unsigned end = 0; end < ENDS; end++)
        if (show->seats[end].pid != 0) end_process(show, &show->seats[end]);
}

static void count(struct show *show) {
    struct outcome *outcome = show->outcome;
    for (unsigned end = 0; end < ENDS; end++) {
        outcome->messages += get(&show->round->own[end].taken);
        outcome->bytes += get(&show->round->own[end].bytes);
        outcome->interrupted += get(&show->round->own[end].interrupted);
    }
    outcome->again = get(&show->round->again);
    outcome->seconds = (double)(check_now_ms() - show->start_ms) / 1000;
}

void round_run(struct round *round, const char *evidence, struct outcome *outcome) {
    const int descriptors = check_descriptors();
    const int64_t now_ms = check_now_ms();
    *outcome = (struct outcome){.failure = ""};
    struct show show = {.round = round, .outcome = outcome, .evidence = evidence, .start_ms = now_ms};
    show.moved_ms = show.kill_ms = show.stop_ms = show.signal_ms = now_ms;
    show.random = mix(round->seed ^ round->number);
    if (mkdir(round->directory, 0700) != 0) blame(&show, "mkdir %s: %s", round->directory, strerror(errno));
    for (unsigned end = 0; end < ENDS; end++) /* in any order */
        show.seats[end].at_ms = chance(&show, 2) == 0 ? 0 : now_ms + (int64_t)chance(&show, 20);
    while (!has_failed(&show) && !all(&show, has_ended, 0, ENDS))
        tick(&show);
    if (!has_failed(&show)) settle(&show);
    if (has_failed(&show)) give_up(&show);
    count(&show);
    traces_sweep(round);
    if (!has_failed(&show) && check_descriptors() != descriptors) blame(&show, "the supervisor lost a descriptor");
    if (!has_failed(&show) && traces_mappings(round) != 0) blame(&show, "the supervisor still maps a queue");
}
