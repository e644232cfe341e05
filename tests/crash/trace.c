/* A process under ptrace: the victim of kill, everybody of interleave. It was forked from this process, so its code lies
 * where ours does, and what instruction comes next is read here. */
#include "crash.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "traced.h"

enum {
    HANGS_MS = 5000, /* in one system call */
    ASLEEP_MS = 3    /* so long in the kernel is not just slow */
};

static void nap_a_moment(void) {
    const struct timespec nap = {.tv_nsec = 500000};
    nanosleep(&nap, NULL);
}

static long peek(const struct trace *trace, size_t field) {
    return ptrace(PTRACE_PEEKUSER, trace->pid, (void *)field, NULL);
}

static void note_place(struct trace *trace) {
    trace->now.at = traced_place(trace->pid).at;
    trace->done |= trace->now.at == (uintptr_t)actor_performed;
}

static bool is_call(uintptr_t at) {
    unsigned char code[2];
    memcpy(code, (const void *)at, sizeof code);
    return code[0] == 0x0f && code[1] == 0x05;
}

static void check_stop(const struct trace *trace, int status) {
    if (!WIFSTOPPED(status))
        trial_ends(BAD, "the traced process %d ended by itself: wait status 0x%x", trace->pid, status);
    if ((WSTOPSIG(status) & 0x7f) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
        trial_ends(BAD, "the traced process was hit by signal %d (%s)", WSTOPSIG(status), strsignal(WSTOPSIG(status)));
}

static void wake_up(struct trace *trace) {
    if (trace->wake != NULL) trace->wake(trace->argument);
    trace->wake = NULL;
}

/* Until it stops: true; or has fallen asleep in the kernel and nobody has woken it: false. */
static bool stops(struct trace *trace, bool wakes) {
    int status;
    const int64_t start_ms = fair_now_ms();
    for (int looks = 0, sleeps = 0;; looks++) {
        const pid_t stopped = waitpid(trace->pid, &status, WNOHANG | __WALL);
        if (stopped == trace->pid) break;
        if (stopped < 0) trial_ends(BAD, "waitpid: %s", strerror(errno));
        if (looks < 20)
            sched_yield();
        else
            nap_a_moment();
        if (looks < 20) continue;
        sleeps = traced_state(trace->pid) == 'S' ? sleeps + 1 : 0;
        if (trace->wake != NULL && sleeps > 1 && fair_now_ms() - start_ms > ASLEEP_MS) {
            if (!wakes) return false;
            wake_up(trace);
        }
        if (fair_now_ms() - start_ms > HANGS_MS) trial_ends(HUNG, "the victim hangs in a system call");
    }
    check_stop(trace, status);
    return true;
}

static void let_run(const struct trace *trace, int how) {
    if (ptrace((enum __ptrace_request)how, trace->pid, NULL, NULL) != 0) trial_ends(BAD, "ptrace: %s", strerror(errno));
}

static void run_to_stop(const struct trace *trace, int how) {
    int status;
    let_run(trace, how);
    if (waitpid(trace->pid, &status, __WALL) != trace->pid) trial_ends(BAD, "waitpid: %s", strerror(errno));
    check_stop(trace, status);
}

/* One instruction, that is no system call; or all that is the kernel's. */
static void step_over(struct trace *trace) {
    if (!traced_is_kernels(trace->now.at))
        run_to_stop(trace, PTRACE_SINGLESTEP);
    else if (traced_return(trace->pid) != 0)
        trial_ends(BAD, "the kernel's code does not return: %s", strerror(errno));
    note_place(trace);
}

enum step trace_step(struct trace *trace) {
    trace->instructions++;
    job_pulse();
    if (!is_call(trace->now.at)) {
        step_over(trace);
        trace->now.steps++;
        return PLAIN;
    }
    if (trace->now.asleep)
        wake_up(trace);
    else
        let_run(trace, PTRACE_SINGLESTEP);
    if (!stops(trace, trace->now.asleep)) {
        trace->now.asleep = true;
        return SLEEPS;
    }
    note_place(trace);
    trace->now.asleep = false;
    trace->now.calls++;
    trace->now.steps = 0;
    return CALLED;
}

/* Is it about to tell that it is done? */
static bool is_reply(const struct trace *trace) {
    return peek(trace, offsetof(struct user_regs_struct, orig_rax)) == SYS_write &&
           peek(trace, offsetof(struct user_regs_struct, rdi)) == trace->desk;
}

/* To the end of the next system call, at the system's own speed. */
static void run_to_call_end(struct trace *trace) {
    job_pulse();
    let_run(trace, PTRACE_SYSCALL);
    (void)stops(trace, true);
    if (is_reply(trace)) {
        trace->done = true;
        return;
    }
    let_run(trace, PTRACE_SYSCALL);
    (void)stops(trace, true);
    trace->now.calls++;
}

/* The clock that processes read without the kernel is read again and again when it ticks meanwhile, and numbers in names
 * have more or fewer digits: the instruction decides then. */
static bool is_there(const struct trace *trace, const struct point *point) {
    const uint32_t steps = trace->now.steps, about = point->at == 0 ? 0 : POINT_JITTER;
    if (steps + about < point->steps || (point->asleep && !is_call(trace->now.at))) return false;
    return steps >= point->steps + about || point->at == 0 || trace->now.at == point->at;
}

void trace_to(struct trace *trace, const struct point *point) {
    const bool asleep = point->asleep;
    while (!trace->done && trace->now.calls < point->calls)
        run_to_call_end(trace);
    note_place(trace);
    while (!trace->done && trace->now.calls == point->calls && !is_there(trace, point))
        (void)trace_step(trace);
    if (asleep && !trace->done && trace->now.calls == point->calls) (void)trace_step(trace);
    if (point->at == 0) return;
    trace->astray |= trace->now.at != point->at || trace->now.calls != point->calls || trace->now.asleep != asleep;
}

void trace_seize(struct trace *trace, const struct actor *actor, const struct request *request) {
    int status;
    const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD;
    trace->pid = actor->pid;
    trace->desk = actor->desk;
    if (ptrace(PTRACE_SEIZE, trace->pid, NULL, options) != 0) trial_ends(BAD, "ptrace: %s", strerror(errno));
    actor_begin(actor, request);
    if (waitpid(trace->pid, &status, __WALL) != trace->pid) trial_ends(BAD, "waitpid: %s", strerror(errno));
    check_stop(trace, status); /* by its own SIGSTOP, which is not delivered */
}

void trace_begin(struct trace *trace, const struct actor *actor, const struct request *request) {
    trace_seize(trace, actor, request);
    for (note_place(trace); trace->now.at != (uintptr_t)actor_perform;)
        step_over(trace);
    trace->now = (struct point){.at = trace->now.at};
}

struct edge trace_to_edge(const struct trace *trace) {
    struct __ptrace_syscall_info info;
    job_pulse();
    run_to_stop(trace, PTRACE_SYSCALL);
    if (ptrace(PTRACE_GET_SYSCALL_INFO, trace->pid, (void *)sizeof info, &info) <= 0)
        trial_ends(BAD, "ptrace: %s", strerror(errno));
    struct edge edge = {.is_end = info.op != PTRACE_SYSCALL_INFO_ENTRY, .call = (long)info.entry.nr};
    if (!edge.is_end) memcpy(edge.argument, info.entry.args, sizeof edge.argument);
    return edge;
}

bool trace_is_desk(const struct trace *trace, const struct edge *edge) {
    return (edge->call == SYS_read || edge->call == SYS_write) && (int)edge->argument[0] == trace->desk;
}

uint64_t trace_read(const struct trace *trace, uint64_t address) {
    uint64_t word;
    if (traced_read(trace->pid, (uintptr_t)address, &word) != 0) trial_ends(BAD, "ptrace: %s", strerror(errno));
    return word;
}

void trace_kill(struct trace *trace) {
    int status = 0;
    (void)kill(trace->pid, SIGKILL);
    while (waitpid(trace->pid, &status, __WALL) == trace->pid && !WIFSIGNALED(status) && !WIFEXITED(status))
        continue;
}

/* Is the end of its step told already, and not yet heard? Nobody would catch it once we are gone. */
static bool has_news(const struct trace *trace) {
    siginfo_t news;
    struct __ptrace_peeksiginfo_args first = {.nr = 1};
    return ptrace(PTRACE_PEEKSIGINFO, trace->pid, &first, &news) > 0;
}

void trace_release(const struct trace *trace) {
    int status = 0;
    if (trace->now.asleep) {
        (void)ptrace(PTRACE_INTERRUPT, trace->pid, NULL, NULL);
        (void)waitpid(trace->pid, &status, __WALL);
        check_stop(trace, status);
        if (has_news(trace)) {
            let_run(trace, PTRACE_CONT);
            (void)waitpid(trace->pid, &status, __WALL);
            check_stop(trace, status);
        }
    }
    if (ptrace(PTRACE_DETACH, trace->pid, NULL, NULL) != 0) trial_ends(BAD, "ptrace: %s", strerror(errno));
}

void trace_stop(struct trace *trace) {
    int status = 0;
    (void)kill(trace->pid, SIGSTOP);
    if (trace->now.asleep) (void)waitpid(trace->pid, &status, __WALL);
    if (ptrace(PTRACE_DETACH, trace->pid, NULL, trace->now.asleep ? (void *)SIGSTOP : NULL) != 0)
        trial_ends(BAD, "ptrace: %s", strerror(errno));
    if (waitpid(trace->pid, &status, WUNTRACED) != trace->pid || !WIFSTOPPED(status))
        trial_ends(BAD, "the victim does not stop: wait status 0x%x", status);
}

int trace_is_allowed(void) {
    const pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    if (child < 0) return errno;
    const int error = ptrace(PTRACE_SEIZE, child, NULL, (void *)PTRACE_O_EXITKILL) == 0 ? 0 : errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, __WALL);
    return error;
}
