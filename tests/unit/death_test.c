/* Deaths: either end is killed at any moment, and the other goes on. Nothing is lost, repeated or
 * hung; the survivor is told; the next end takes up where the dead one left. The cond notifier
 * promises that without deaths only: there, trials that hang are counted, not failed.
 *
 * For every notifier and victim one line for reports:
 *     deaths: notifier=NAME victim=END trials=N hung=N worst_notice_ms=N
 * There are 200 trials each; of those that may hang only 40, unless SHMQ_LONG is in the environment:
 * each of these takes the watchdog two seconds. */
#include "check.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"
#include "stream.h"

enum {
    NOTICE_MS = 2000,    /* a death is noticed by a slice of 200 ms: ten times that */
    AT_ONCE_MS = 50,     /* on average, by those that are told by the kernel; by slices it is 70 */
    HUNG_MS = 2000,      /* without progress, where hanging is counted */
    PATIENCE_MS = 30000, /* … and where it is a failure */
    LAST_MESSAGES = 1000,
    DEATHS = 200,
    DEATHS_SHORT = 40,
    QUEUES = 10
};

enum death { STREAMING, IDLE, ASLEEP, NONE };

/* One queue. One end is killed, again and again; the trial's process is the other end and
 * survives. */
struct trial {
    const char *name;
    char file[32]; /* the name, if it is a file's */
    enum shmq_end victim;
    unsigned notify;
    struct stream stream;
    int first, rounds; /* the deaths are of three kinds in turn */
    int last_messages; /* of the last victim, which is not killed */
    /* What happens. */
    enum death death; /* of the present victim */
    check_gate ready; /* victims so far */
    /* Producer: acknowledged; consumer: taken and, with recv, not yet known to the survivor. */
    _Atomic uint64_t next;
    _Atomic uint64_t progress; /* anything that the survivor has got done */
    int64_t dies_ms;
    int64_t worst_ms, total_ms; /* from a death until the survivor was told */
    pid_t pid;                  /* the victim's */
    /* The watchdog's. */
    pid_t survivor;
    uint64_t seen;
    int64_t since_ms;
    bool done, hung;
};

/* ---- The victim ---------------------------------------------------------------------------- */

/* The kernel kills this process within three milliseconds, wherever it is then. */
static void die_soon(struct trial *trial) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec moment = {.it_value = {0}};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &moment.it_value) == 0);
    const int64_t ns = moment.it_value.tv_nsec + 1 + (int64_t)check_below(3000000);
    moment.it_value.tv_sec += ns / 1000000000;
    moment.it_value.tv_nsec = ns % 1000000000;
    trial->dies_ms = (int64_t)moment.it_value.tv_sec * 1000 + moment.it_value.tv_nsec / 1000000;
    CHECK(timer_settime(timer, TIMER_ABSTIME, &moment, NULL) == 0);
}

static shmq *enter_trial(const struct trial *trial, enum shmq_end end) {
    const struct shmq_attr attr = {
        .capacity = 4096, .max_message = trial->stream.longest, .notify = trial->notify, .flags = SHMQ_EPHEMERAL};
    return enter_as(trial->name, end, &attr);
}

static void produce_until_killed(shmq *producer, struct trial *trial) {
    for (int count = 0; trial->death != NONE || count < trial->last_messages; count++) {
        CHECK(stream_send(producer, &trial->stream, trial->next));
        trial->next++; /* acknowledged */
    }
}

/* A consumer killed inside recv may have taken one message that it could not note; with peek, it
 * may have noted one that it could not release. The first message shows which. */
static void find_place(shmq *consumer, struct trial *trial) {
    const struct stream *stream = &trial->stream;
    const uint64_t low = trial->next - (stream->zero_copy && trial->next > 0 ? 1 : 0);
    size_t length;
    const unsigned char *message = stream_next(consumer, stream, &length);
    CHECK(message != NULL);
    const bool first = stream_is(stream, low, message, length);
    if (!first && !stream_is(stream, low + 1, message, length))
        check_fail(__FILE__, __LINE__, "neither message %llu nor the next one", (unsigned long long)low);
    trial->next = first ? low + 1 : low + 2;
    if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
}

static void consume_until_killed(shmq *consumer, struct trial *trial) {
    const struct stream *stream = &trial->stream;
    size_t length;
    find_place(consumer, trial);
    for (const unsigned char *message; (message = stream_next(consumer, stream, &length)) != NULL;) {
        if (!stream_is(stream, trial->next, message, length))
            check_fail(__FILE__, __LINE__, "not message %llu", (unsigned long long)trial->next);
        trial->next++;
        if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
    }
    CHECK_EQUAL(errno, EPIPE);
}

static void be_victim(void *argument) {
    struct trial *trial = argument;
    shmq *q = enter_trial(trial, trial->victim);
    check_pass(&trial->ready);
    if (trial->death == STREAMING || trial->death == IDLE) die_soon(trial);
    while (trial->death == IDLE)
        pause();
    if (trial->victim == SHMQ_PRODUCER)
        produce_until_killed(q, trial);
    else
        consume_until_killed(q, trial);
    CHECK(shmq_close(q) == 0);
}

/* ---- The survivor -------------------------------------------------------------------------- */

static void call_victim(struct trial *trial, int round) {
    static const enum death deaths[] = {STREAMING, IDLE, ASLEEP};
    trial->death = round == trial->rounds ? NONE : deaths[(trial->first + round) % 3];
    trial->pid = check_spawn(be_victim, trial);
    check_wait(&trial->ready, (uint32_t)round + 1);
    trial->progress++;
}

/* Kills it once it sleeps and the ring has nothing more for it. */
static void kill_asleep(const shmq *survivor, struct trial *trial) {
    while (atomic_load(&survivor->peer->ticket) % 2 == 0)
        sched_yield();
    trial->dies_ms = check_now_ms();
    CHECK(kill(trial->pid, SIGKILL) == 0);
}

/* The survivor has just been told that the victim died. */
static void check_notice(struct trial *trial) {
    const int64_t took_ms = check_now_ms() - trial->dies_ms;
    int status = 0;
    CHECK(waitpid(trial->pid, &status, 0) == trial->pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        check_fail(__FILE__, __LINE__, "the victim ended with wait status 0x%x", status);
    CHECK(took_ms < check_late(NOTICE_MS));
    if (took_ms > trial->worst_ms) trial->worst_ms = took_ms;
    trial->total_ms += took_ms;
}

static void outlive_producers(struct trial *trial) {
    shmq *consumer = enter_trial(trial, SHMQ_CONSUMER);
    uint64_t taken = 0;
    for (int round = 0; round <= trial->rounds; round++) {
        call_victim(trial, round);
        if (trial->death == ASLEEP) kill_asleep(consumer, trial);
        for (; stream_take(consumer, &trial->stream, taken); trial->progress++)
            taken++;
        CHECK_EQUAL(errno, trial->death == NONE ? EPIPE : EOWNERDEAD);
        /* All that was acknowledged has come; and perhaps one that was sent and not yet noted. */
        CHECK(taken - trial->next <= (trial->death == NONE ? 0 : 1));
        trial->next = taken;
        if (trial->death != NONE) check_notice(trial);
    }
    check_join(trial->pid);
    CHECK(shmq_close(consumer) == 0);
}

static void outlive_consumers(struct trial *trial) {
    shmq *producer = enter_trial(trial, SHMQ_PRODUCER);
    uint64_t sent = 0;
    for (int round = 0; round < trial->rounds; round++) {
        call_victim(trial, round);
        if (trial->death == ASLEEP) kill_asleep(producer, trial);
        for (; stream_send(producer, &trial->stream, sent); trial->progress++)
            sent++;
        CHECK_EQUAL(errno, EOWNERDEAD);
        check_notice(trial);
    }
    call_victim(trial, trial->rounds);
    for (int last = 0; last < trial->last_messages; last++, trial->progress++)
        CHECK(stream_send(producer, &trial->stream, sent++));
    CHECK(shmq_close(producer) == 0);
    check_join(trial->pid);
    CHECK_EQUAL(trial->next, sent); /* the last consumer took everything that was ever sent */
}

static void run_trial(void *argument) {
    struct trial *trial = argument;
    struct stat status;
    if (trial->victim == SHMQ_PRODUCER)
        outlive_producers(trial);
    else
        outlive_consumers(trial);
    CHECK(lstat(check_path(trial->name), &status) != 0 && errno == ENOENT);
}

/* ---- The watchdog -------------------------------------------------------------------------- */

/* Ends both processes of a trial in which nothing goes on any more. */
static void end_hung(struct trial *trial) {
    if (trial->pid != 0) (void)kill(trial->pid, SIGKILL);
    check_kill(trial->survivor);
    if (shmq_unlink(trial->name) != 0) CHECK_EQUAL(errno, ENOENT);
    trial->done = trial->hung = true;
}

/* Looks after a trial that has begun. */
static void watch(struct trial *trial, int64_t patience_ms) {
    int status = 0;
    const pid_t ended = waitpid(trial->survivor, &status, WNOHANG);
    CHECK(ended >= 0);
    if (ended > 0) {
        if (status != 0) check_fail(__FILE__, __LINE__, "a survivor ended with wait status 0x%x", status);
        trial->done = true;
        return;
    }
    const uint64_t progress = trial->progress + trial->next;
    if (progress != trial->seen) trial->since_ms = check_now_ms();
    trial->seen = progress;
    if (check_now_ms() - trial->since_ms > patience_ms) end_hung(trial);
}

/* All of them, so many at once. */
static void run_trials(struct trial *trials, int count, int at_once, int64_t patience_ms) {
    const struct timespec nap = {.tv_nsec = 2000000};
    for (int done = 0; done < count; nanosleep(&nap, NULL)) {
        int running = 0;
        done = 0;
        for (int at = 0; at < count; at++) {
            struct trial *trial = &trials[at];
            if (!trial->done && trial->survivor == 0 && running < at_once) {
                trial->since_ms = check_now_ms();
                trial->survivor = check_spawn(run_trial, trial);
            }
            if (!trial->done && trial->survivor != 0) watch(trial, patience_ms);
            running += !trial->done && trial->survivor != 0;
            done += trial->done;
        }
    }
}

/* ---- Two hundred deaths -------------------------------------------------------------------- */

static const char *const VICTIMS[] = {"producer", "consumer"};

static struct trial *new_trials(const struct notifier_row *row, enum shmq_end victim, int count) {
    struct trial *trials = check_shared((size_t)count * sizeof *trials);
    for (int at = 0; at < count; at++) {
        struct trial *trial = &trials[at];
        *trial = (struct trial){
            .victim = victim,
            .notify = row->kind,
            .stream = {check_random(), STREAM_UNIQUE, 512, at / 2 % 2 == 1},
            .first = at,
            .last_messages = check_scaled(LAST_MESSAGES),
        };
        snprintf(trial->file, sizeof trial->file, "./%s%d", row->name, at);
        trial->name = at % 2 == 0 ? check_name(trial->file + 2) : trial->file;
    }
    return trials;
}

/* What came of them, in one line. */
static void report(const struct notifier_row *row, enum shmq_end victim, const struct trial *trials, int count,
                   int deaths) {
    int hung = 0;
    int64_t worst_ms = 0, total_ms = 0;
    for (int at = 0; at < count; at++) {
        hung += trials[at].hung;
        total_ms += trials[at].total_ms;
        if (trials[at].worst_ms > worst_ms) worst_ms = trials[at].worst_ms;
    }
    printf("deaths: notifier=%s victim=%s trials=%d hung=%d worst_notice_ms=%lld\n", row->name, VICTIMS[victim], deaths,
           hung, (long long)worst_ms);
    if (row->survives) CHECK_EQUAL(hung, 0);
    if (row->notices) CHECK(total_ms / deaths < check_late(AT_ONCE_MS));
}

/* Where a death may hang the queue, each gets one of its own, and all sleep at once. Those that
 * burn a core: not all at once. */
static void kill_ends(const struct notifier_row *row, enum shmq_end victim) {
    const int wanted = check_scaled(row->survives || getenv("SHMQ_LONG") != NULL ? DEATHS : DEATHS_SHORT);
    const int at_once = !row->survives ? DEATHS_SHORT : row->sleeps ? QUEUES : 2;
    const int queues = !row->survives || wanted < at_once ? wanted : at_once;
    const int deaths = wanted / queues * queues;
    check_note("notifier %s, victim %s", row->name, VICTIMS[victim]);
    struct trial *trials = new_trials(row, victim, queues);
    for (int at = 0; at < queues; at++)
        trials[at].rounds = deaths / queues;
    run_trials(trials, queues, at_once, check_late(row->survives ? PATIENCE_MS : HUNG_MS));
    report(row, victim, trials, queues, deaths);
}

static void kill_each(enum shmq_end victim) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (notifier_works_here(&NOTIFIERS[row])) kill_ends(&NOTIFIERS[row], victim);
}

TEST(a_producer_killed_at_any_moment_loses_nothing_and_the_consumer_is_told) { kill_each(SHMQ_PRODUCER); }

TEST(a_consumer_killed_at_any_moment_loses_nothing_and_the_producer_is_told) { kill_each(SHMQ_CONSUMER); }

/* So it is the deaths that hang, and neither the trial nor the notifier as such. */
TEST(without_deaths_even_a_notifier_that_does_not_survive_them_never_hangs) {
    enum { TRIALS = 20, MESSAGES = 100000 };
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        for (int victim = SHMQ_PRODUCER; victim <= SHMQ_CONSUMER; victim++) {
            if (NOTIFIERS[row].survives) continue;
            struct trial *trials = new_trials(&NOTIFIERS[row], (enum shmq_end)victim, TRIALS);
            check_note("notifier %s, no death", NOTIFIERS[row].name);
            for (int at = 0; at < TRIALS; at++)
                trials[at].last_messages = check_scaled(MESSAGES);
            run_trials(trials, TRIALS, 4, check_late(PATIENCE_MS));
            for (int at = 0; at < TRIALS; at++)
                CHECK(!trials[at].hung);
        }
}

int main(int argc, char **argv) { return check_main(argc, argv); }
