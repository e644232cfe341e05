/* Several trials at a time, each in a process group of its own, which ends with it, or when it hangs; and what else the
 * programs of this folder share. */
#include "crash.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "mix.h"

enum { LIMIT_MS = 60000 }; /* without a pulse */

volatile sig_atomic_t jobs_interrupted;
static struct job jobs[JOBS];
static uint64_t serial, stem, random_state;
static struct result *present; /* in the process of a trial */

static void interrupt(int number) { jobs_interrupted = number; }

void draw_from(uint64_t seed) { random_state = seed; }

uint64_t draw(void) { return random_of(&random_state); }

bool one_in(uint32_t count) {
    const uint64_t number = draw();
    return count > 0 && number % count == 0;
}

static const char *place_of_files(void) {
    const char *place = getenv("TEST_TMPDIR");
    return place == NULL ? "/tmp" : place;
}

/* Not by a process number: other runs are in other PID namespaces, and see the same /dev/shm. */
static void make_name(struct result *result, bool file) {
    snprintf(result->name, sizeof result->name, "%.900s/shmq-crash.%016" PRIx64 ".%" PRIu64,
             file ? place_of_files() : "", stem, ++serial);
    if (!file) return;
    mkdir(result->name, 0700);
    strcat(result->name, "/queue");
}

bool job_start(struct job *job, bool file) {
    job->since_ms = fair_now_ms();
    *job->result = (struct result){.point = job->result->point};
    make_name(job->result, file);
    fflush(NULL);
    job->pid = fork();
    if (job->pid < 0) abort();
    (void)setpgid(job->pid, job->pid); /* its actors are found, and ended, by their group; Ctrl-C is for us alone */
    if (job->pid > 0) return false;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    present = job->result;
    return true;
}

void job_pulse(void) { present->pulse++; }

/* Has it had no pulse for so long? */
static bool is_late(struct job *job) {
    const int64_t now_ms = fair_now_ms();
    if (job->pulse != job->result->pulse) job->since_ms = now_ms;
    job->pulse = job->result->pulse;
    return now_ms - job->since_ms > LIMIT_MS;
}

/* Ends what is left of it. */
static void end(struct job *job, int status) {
    (void)kill(-job->pid, SIGKILL);
    job->pid = 0;
    traces_sweep(job->result);
    if (job->result->verdict != RUNNING) return;
    const bool late = is_late(job);
    job->result->verdict = jobs_interrupted ? INTERRUPTED : late ? HUNG : BAD;
    snprintf(job->result->why, sizeof job->result->why, "the trial's own process ended with wait status 0x%x%s", status,
             late ? ": it hung" : "");
}

struct job *job_await(void) {
    for (bool any = true; any;) {
        int status = 0;
        const pid_t ended = waitpid(-1, &status, WNOHANG);
        any = false;
        for (struct job *job = jobs; job < jobs + JOBS; job++) {
            any |= job->pid != 0;
            if (job->pid == 0) continue;
            if (ended == job->pid) return end(job, status), job;
            if (is_late(job) || jobs_interrupted) (void)kill(job->pid, SIGKILL);
        }
        if (ended <= 0 && any) usleep(300);
    }
    return NULL;
}

struct job *job_free(void) {
    for (struct job *job = jobs; job < jobs + JOBS; job++)
        if (job->pid == 0) return job;
    return NULL;
}

void jobs_prepare(uint64_t seed) {
    sigset_t urgent;
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* what trials leave is ours to bury, at once: there are many */
    draw_from(seed);
    if (getrandom(&stem, sizeof stem, 0) != sizeof stem) abort();
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG); /* the signal notifier wants it blocked */
    sigprocmask(SIG_BLOCK, &urgent, NULL);
    const struct sigaction ends = {.sa_handler = interrupt}, nothing = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &ends, NULL);
    sigaction(SIGTERM, &ends, NULL);
    sigaction(SIGHUP, &ends, NULL);
    sigaction(SIGPIPE, &nothing, NULL);
    for (uint32_t number = 0; number < JOBS; number++) {
        jobs[number].number = number;
        jobs[number].result = check_shared(sizeof *jobs[number].result);
    }
}

void keep_to_one_core(void) {
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET((size_t)sched_getcpu(), &core);
    (void)sched_setaffinity(0, sizeof core, &core);
}
