/* An end's call, instruction by instruction: the judge traces it, and stops where it is to die.
 *
 * The end has stopped itself shortly before; the call begins with the first instruction of the peer's own function, and is
 * over with the one that returns from it. What the kernel does is one step: a system call, or its code that reads the
 * clock. Only the thread that calls is traced; all the others run. */
#include "trial.h"

#include <dlfcn.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "check.h"
#include "traced.h"

/* ---- Before it ----------------------------------------------------------------------------- */

/* Of those that burn a core the other never sleeps: then nothing has moved for so long. */
bool steps_await_rest(struct trial *trial, enum peer_end end) {
    enum { ASLEEP = 3, STILL = 15 }; /* looks */
    const struct board *board = trial->board;
    const pid_t other = trial->pids[PEER_PRODUCER + PEER_CONSUMER - end];
    int64_t before = NEVER;
    for (int still = 0, asleep = 0; asleep < ASLEEP && still < STILL;) {
        if (!trial_look(trial)) return false;
        const int64_t now = board->sent + board->taken;
        still = board->sides[end].rests != 0 && now == before ? still + 1 : 0;
        asleep = still > 0 && traced_state(other) == 'S' ? asleep + 1 : 0;
        before = now;
    }
    trial->board->resume = 1;
    return true;
}

/* ---- Steps --------------------------------------------------------------------------------- */

/* A step is two switches between judge and end: on one core they take a third of the time. */
static void share_core(pid_t pid) {
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET((size_t)sched_getcpu(), &core);
    (void)sched_setaffinity(0, sizeof core, &core);
    (void)sched_setaffinity(pid, sizeof core, &core);
}

/* By which signal it stops; 0: it does not, for as long as makes a hang. */
static int await_stop(const struct trial *trial, pid_t pid) {
    const struct timespec time = {.tv_nsec = 100000000};
    const int64_t until_ms = check_now_ms() + trial->limit_ms;
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    do {
        siginfo_t news = {.si_pid = 0};
        (void)sigtimedwait(&set, NULL, &time);
        if (waitid(P_PID, (id_t)pid, &news, WSTOPPED | WNOHANG | __WALL) == 0 && news.si_pid == pid)
            return news.si_status;
    } while (check_now_ms() < until_ms);
    return 0;
}

/* A signal that is not ours goes where it was going. False: it does not stop again. */
static bool make_step(const struct trial *trial, pid_t pid, int *signal) {
    const long passed = *signal == SIGTRAP || *signal == SIGSTOP ? 0 : *signal;
    if (passed == 0 && traced_is_kernels(traced_place(pid).at)) return traced_return(pid) == 0;
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, (void *)passed) != 0) return false; /* NOLINT: a number */
    *signal = await_stop(trial, pid);
    return *signal != 0;
}

static void note_where(struct outcome *outcome, uintptr_t at) {
    Dl_info info;
    if (dladdr((void *)at, &info) == 0) return; /* NOLINT: it was forked from us */
    const char *slash = strrchr(info.dli_fname, '/');
    const bool named = info.dli_sname != NULL;
    (void)snprintf(outcome->where, sizeof outcome->where, "%.40s+0x%zx",
                   named           ? info.dli_sname
                   : slash != NULL ? slash + 1
                                   : info.dli_fname,
                   at - (uintptr_t)(named ? info.dli_saddr : info.dli_fbase));
}

/* False: it does not get so far, nor to the end. */
static bool make_steps(struct trial *trial, pid_t pid, uintptr_t begin) {
    struct outcome *outcome = trial->outcome;
    int signal = await_stop(trial, pid);
    bool stopped = signal != 0;
    uint64_t back = 0;
    while (stopped && traced_place(pid).at != begin)
        stopped = make_step(trial, pid, &signal);
    const uintptr_t frame = stopped ? traced_place(pid).stack : 0;
    if (!stopped || traced_read(pid, frame, &back) != 0) return false;
    struct traced_place place = {.stack = frame};
    while (outcome->steps < trial->most_steps && (place.at != back || place.stack <= frame)) {
        outcome->steps++;
        if (!make_step(trial, pid, &signal)) return false;
        place = traced_place(pid);
    }
    note_where(outcome, place.at);
    return true;
}

void steps_make(struct trial *trial, enum peer_end end) {
    const struct peer *peer = trial->peer;
    const uintptr_t begin = end == PEER_PRODUCER ? (uintptr_t)peer->send : (uintptr_t)peer->receive;
    cpu_set_t cores;
    (void)sched_getaffinity(0, sizeof cores, &cores);
    share_core(trial->pids[end]);
    if (!make_steps(trial, trial->pids[end], begin))
        trial_judge(trial, HANG, "the call stands still at instruction %u", trial->outcome->steps);
    (void)sched_setaffinity(0, sizeof cores, &cores);
}
