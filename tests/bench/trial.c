/* The judge of a trial: its place, its ends, and what came of them. */
#include "trial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "mix.h"

enum { SHORTEST = 16, SMALL_RING = 8192, LARGE_RING = 65536, EXCUSED_MS = 500, TICK_NS = 2000000 };

const char *const verdict_words[VERDICTS] = {"well",   "no_space", "error", "litter",
                                             "silent", "hang",     "crash", "absent"};
static const char *const END_WORDS[] = {"producer", "consumer"};
static const char SHM[] = "/dev/shm";

uint64_t trial_draw(struct trial *trial, uint64_t bound) { return random_of(&trial->state) % bound; }

void trial_nap(int64_t us) {
    const struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)nanosleep(&time, NULL);
}

void trial_judge(struct trial *trial, enum verdict verdict, const char *format, ...) {
    if (verdict <= trial->outcome->verdict) return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(trial->outcome->why, sizeof trial->outcome->why, format, arguments);
    va_end(arguments);
    trial->outcome->verdict = verdict;
}

/* ---- A place of its own -------------------------------------------------------------------- */

static int write_line(const char *path, const char *line) {
    const int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return -1;
    const bool written = write(file, line, strlen(line)) == (ssize_t)strlen(line);
    return close(file) == 0 && written ? 0 : -1;
}

/* Namespaces: by right, or as the owner of a new user namespace, in which we stay who we are. */
static int leave_the_world(void) {
    const int spaces = CLONE_NEWNS | CLONE_NEWIPC;
    char users[64], groups[64];
    (void)snprintf(users, sizeof users, "%u %u 1", geteuid(), geteuid());
    (void)snprintf(groups, sizeof groups, "%u %u 1", getegid(), getegid());
    if (unshare(spaces) == 0) return 0;
    if (unshare(spaces | CLONE_NEWUSER) != 0) return -1;
    return write_line("/proc/self/setgroups", "deny") == 0 && write_line("/proc/self/uid_map", users) == 0 &&
                   write_line("/proc/self/gid_map", groups) == 0
               ? 0
               : -1;
}

static int enter_place(size_t bytes) {
    char options[64];
    (void)snprintf(options, sizeof options, "size=%zu,mode=1777", bytes);
    if (leave_the_world() != 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) return -1;
    return mount("trial", SHM, "tmpfs", MS_NOSUID | MS_NODEV, options);
}

/* The first name that is there, or NULL. */
static const char *find_litter(void) {
    static char name[NAME_MAX + 1];
    DIR *directory = opendir(SHM);
    const char *found = NULL;
    for (struct dirent *entry; directory != NULL && found == NULL && (entry = readdir(directory)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) found = strcpy(name, entry->d_name);
    if (directory != NULL) (void)closedir(directory);
    return found;
}

/* ---- The ends ------------------------------------------------------------------------------ */

bool trial_make(struct trial *trial) {
    struct lane *lane = &trial->lane;
    if (trial->peer->make(lane) == 0) return true;
    const int error = errno;
    trial_judge(trial,
                error == ENOTSUP  ? ABSENT
                : error == ENOSPC ? NO_SPACE
                                  : TOLD,
                "make: %s", lane_why(lane, error));
    return false;
}

void trial_event(struct trial *trial) { trial->until_ms = check_now_ms() + trial->limit_ms; }

void trial_start(struct trial *trial, enum peer_end end, body *does) {
    const pid_t judge = getpid();
    struct side *side = &trial->board->sides[end];
    *side = (struct side){.verdict = WELL};
    trial_event(trial);
    const pid_t child = fork();
    if (child < 0) trial_judge(trial, CRASH, "fork: %s", strerror(errno));
    trial->pids[end] = child > 0 ? child : 0;
    if (child != 0) return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != judge) _exit(1); /* it died before that could be said */
    end_run(trial, end, does);
}

void trial_let_go(struct trial *trial) {
    const uint32_t all = trial->pids[PEER_PRODUCER] != 0 && trial->pids[PEER_CONSUMER] != 0 ? 2 : 1;
    while (trial->board->here < all)
        trial_nap(50);
    trial->board->go = 1;
    trial->peer->close(&trial->lane);
}

static void note_end(struct trial *trial, enum peer_end end, int status) {
    const struct side *side = &trial->board->sides[end];
    trial->pids[end] = 0;
    if (WIFSIGNALED(status))
        trial_judge(trial, CRASH, "the %s died of SIG%s", END_WORDS[end], sigabbrev_np(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        trial_judge(trial, CRASH, "the %s exited with %d", END_WORDS[end], WEXITSTATUS(status));
    else if (!side->ended)
        trial_judge(trial, side->verdict < VERDICTS ? side->verdict : CRASH, "the %s: %.*s", END_WORDS[end],
                    (int)sizeof side->why, side->why); /* whatever a damaged peer has written there */
}

static void reap(struct trial *trial) {
    int status;
    for (enum peer_end end = PEER_PRODUCER; end <= PEER_CONSUMER; end++)
        if (trial->pids[end] != 0 && waitpid(trial->pids[end], &status, WNOHANG) == trial->pids[end])
            note_end(trial, end, status);
}

/* An end that could not come is missed by the other, which may wait for ever: that is not its fault. */
static bool is_excused(const struct trial *trial) {
    return trial->board->sides[PEER_PRODUCER].refused != 0 || trial->board->sides[PEER_CONSUMER].refused != 0;
}

static void judge_late(struct trial *trial, enum peer_end end) {
    const int told = trial->board->sides[end].told;
    const long long sent = trial->board->sent, taken = trial->board->taken;
    if (trial->pids[end] == 0 || is_excused(trial)) return;
    if (told != 0 && trial->stubborn)
        trial_judge(trial, TOLD, "the %s is told %s for good, after %lld messages sent, %lld received", END_WORDS[end],
                    strerrorname_np(told), sent, taken);
    else
        trial_judge(trial, HANG, "the %s hangs, after %lld messages sent, %lld received", END_WORDS[end], sent, taken);
}

bool trial_look(struct trial *trial) {
    const struct timespec time = {.tv_nsec = TICK_NS};
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    reap(trial);
    if (trial->outcome->verdict >= SILENT) return false;
    const int64_t now_ms = check_now_ms();
    if (is_excused(trial) && trial->until_ms > now_ms + EXCUSED_MS) trial->until_ms = now_ms + EXCUSED_MS;
    if (now_ms > trial->until_ms) {
        judge_late(trial, PEER_PRODUCER);
        judge_late(trial, PEER_CONSUMER);
        return false;
    }
    (void)sigtimedwait(&set, NULL, &time);
    return true;
}

bool side_opened(const struct side *side) { return side->opened != 0; }
bool side_rests(const struct side *side) { return side->rests != 0; }

static bool is_so(const struct trial *trial, condition *holds) {
    for (enum peer_end end = PEER_PRODUCER; end <= PEER_CONSUMER; end++)
        if (trial->pids[end] != 0 && !holds(&trial->board->sides[end])) return false;
    return true;
}

bool trial_await(struct trial *trial, condition *holds) {
    while (!is_so(trial, holds))
        if (!trial_look(trial)) return false;
    return true;
}

void trial_kill(struct trial *trial, enum peer_end end) {
    int status;
    if (trial->pids[end] == 0) return;
    (void)kill(trial->pids[end], SIGKILL);
    do /* who is traced may have stopped just before */
        if (waitpid(trial->pids[end], &status, 0) != trial->pids[end]) return;
    while (WIFSTOPPED(status));
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        trial->pids[end] = 0;
    else
        note_end(trial, end, status); /* it was faster */
}

static bool nobody(const struct side *side) {
    (void)side;
    return false;
}

void trial_finish(struct trial *trial) {
    const struct board *board = trial->board;
    (void)trial_await(trial, nobody);
    trial_kill(trial, PEER_PRODUCER);
    trial_kill(trial, PEER_CONSUMER);
    if (board->sides[PEER_CONSUMER].ended)
        trial_judge(trial, board->sides[PEER_PRODUCER].verdict == TOLD ? TOLD : SILENT,
                    "the consumer heard the end of the stream after %lld messages of %lld", (long long)board->taken,
                    (long long)board->sent);
}

/* ---- All of it ----------------------------------------------------------------------------- */

static struct board *new_board(void) {
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) return NULL;
    board->last = board->doubt = NEVER;
    return board;
}

/* What ends and their stream are like. */
static void plan(struct trial *trial) {
    const size_t largest = trial->peer->largest > 0 ? trial->peer->largest : LONGEST;
    const size_t bytes = SHORTEST + trial_draw(trial, LONGEST - SHORTEST + 1);
    const uint64_t slow = trial_draw(trial, 3);
    trial->stream = (struct stream){.seed = trial_draw(trial, UINT64_MAX)};
    trial->stream.shortest = trial->stream.longest = bytes < largest ? bytes : largest;
    lane_init(&trial->lane, trial->peer, "shmq-survival", trial->stream.longest); /* in a /dev/shm of its own */
    trial->lane.careful = true;
    trial->lane.capacity = trial_draw(trial, 2) == 0 ? SMALL_RING : LARGE_RING;
    if (slow < 2) trial->slow[slow] = true;
    for (enum peer_end end = PEER_PRODUCER; end <= PEER_CONSUMER; end++)
        trial->delay_us[end] = trial_draw(trial, 2) == 0 ? 0 : (uint32_t)trial_draw(trial, 200);
}

static size_t room(struct trial *trial) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!trial->column->small) return (size_t)16 << 20;
    trial->lane.capacity = LARGE_RING;
    return page * (1 + trial_draw(trial, LARGE_RING / page - 1));
}

static void look_for_litter(struct trial *trial) {
    if (trial->column->damages || trial->outcome->verdict > NO_SPACE) return;
    trial->peer->forget(&trial->lane);
    const char *litter = find_litter();
    if (litter != NULL) trial_judge(trial, LITTER, "%s/%s is left behind", SHM, litter);
}

void trial_run(const struct order *order, struct outcome *outcome) {
    const int64_t start_ms = check_now_ms();
    struct trial trial = {.peer = order->peer,
                          .column = order->column,
                          .state = mix(order->seed ^ mix(order->column->steps ? 0 : order->number + 1)),
                          .most_steps = order->number,
                          .limit_ms = order->limit_ms,
                          .board = new_board(),
                          .outcome = outcome};
    *outcome = (struct outcome){.verdict = WELL};
    plan(&trial);
    if (trial.board == NULL || enter_place(room(&trial)) != 0) {
        trial_judge(&trial, ABSENT, "no namespaces here: %s", strerror(errno));
        return;
    }
    trial.column->act(&trial);
    look_for_litter(&trial);
    outcome->ms = check_now_ms() - start_ms;
}
