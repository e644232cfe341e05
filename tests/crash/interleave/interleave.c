/* The program: which schedules, several at a time. A schedule is played, and what was seen of it tells which others begin in
 * the same way: with a preemption, a death, or another one that goes on, at some later place. Each is played once. */
#include "interleave.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"

enum {
    SHOWN = 3,           /* failures of one plot */
    OUTCOMES_MOST = 4096 /* of one plot */
};

static const char HELP[] =
    "Usage: interleave [OPTION]…\n"
    "Two or three processes open, close and unlink one queue, and stop at every system call: plays all schedules with "
    "up\n"
    "to two preemptions, with and without a death, and looks whether shmq.h explains all that was seen.\n"
    "  --notifier NAME   this one only (default: all)\n"
    "  --file            queues that are regular files\n"
    "  --plot 'A B C'    this one only: what each process does, a letter each. P C opens the producer's or consumer's\n"
    "                    end, or creates; p c opens only what is there; X Y only creates; . closes, u unlinks, s "
    "sends,\n"
    "                    r receives. 'P.:C u' has somebody open and close before; 'many' and 'ephemeral' may follow\n"
    "  --schedule TEXT   this schedule only: 'A5 B3 xA B*' is five stops of A, three of B, A dies, B to its end\n"
    "  --processes N     plots of so many only: 2 or 3\n"
    "  --preemptions N   so many at most (default 2)\n"
    "  --deaths N        so many at most, 0 or 1 (default 1)\n"
    "  --short           some of it: what bazel test runs\n"
    "  --seed N          what is drawn follows from it (default: random; printed first)\n"
    "  --outcomes        prints each outcome when it is first seen, with its schedule\n"
    "  --list            the plots, without playing them\n"
    "Exit status: 0 all went well, 1 not, 2 wrong arguments, 130 interrupted.\n";

static struct options {
    const char *notifier, *schedule;
    bool has_plot, file, is_short, outcomes, list;
    struct plot plot;
    uint64_t processes, preemptions, deaths, seed;
} options = {.preemptions = 2, .deaths = 1};

static struct record *records; /* by the number of their job; and so: */
static struct schedule schedules[JOBS];

/* Those that wait: the last one that came is the next, so that there are never many. */
static struct schedule *waiting;
static size_t waiting_count, waiting_room;

/* One plot with one notifier. */
struct tally {
    const struct plot *plot;
    const struct notifier_row *notifier;
    uint32_t one_in[4]; /* how many of the schedules with so many preemptions and deaths, together, are played */
    bool is_whole;      /* of those without a death all */
    uint64_t schedules, deaths, bad, hung, astray, slow;
    uint32_t outcomes;
    uint64_t outcome[OUTCOMES_MOST]; /* their hashes */
};

static struct {
    uint64_t plots, schedules, deaths, outcomes, bad, hung, astray, slow;
    char reproduce[4096];
} total;

/* FNV-1a, and a last stir so that its remainders can be drawn. */
static uint64_t hash(uint64_t start, const char *text) {
    uint64_t z = 0xcbf29ce484222325u ^ start;
    for (; *text != '\0'; text++)
        z = (z ^ (unsigned char)*text) * 0x100000001b3u;
    return (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u >> 16;
}

/* ---- Schedules that begin like one that was played ----------------------------------------- */

/* Does not depend on the order in which schedules end. */
static bool is_drawn(const struct tally *tally, const struct schedule *schedule) {
    const uint32_t weight = schedule->preemptions + schedule->deaths;
    const uint32_t count = tally->one_in[weight < 3 ? weight : 3];
    if (tally->is_whole && schedule->deaths == 0) return true;
    return count == 1 || hash(options.seed, schedule_print(schedule).text) % count == 0;
}

static void push(const struct tally *tally, const struct schedule *schedule) {
    if (schedule->preemptions > options.preemptions || schedule->deaths > options.deaths) return;
    if (!is_drawn(tally, schedule)) return;
    if (waiting_count == waiting_room) {
        waiting_room = 2 * waiting_room + 64;
        waiting = realloc(waiting, waiting_room * sizeof *waiting);
        if (waiting == NULL) abort();
    }
    waiting[waiting_count++] = *schedule;
}

static void add(struct schedule *schedule, uint32_t who, bool dies, uint32_t steps) {
    if (schedule->turns == TURNS_MOST) abort(); /* a record has no more than that, and one is always cut off first */
    schedule->turn[schedule->turns++] = (struct turn){.who = (uint8_t)who, .dies = dies, .steps = (uint16_t)steps};
    schedule->deaths += dies;
}

/* The first turns as they were. */
static struct schedule beginning(const struct schedule *like, const struct record *record, uint32_t turns) {
    struct schedule schedule = {.preemptions = like->preemptions, .deaths = like->deaths};
    for (uint32_t at = 0; at < turns; at++) {
        const struct taken_turn *taken = &record->taken[at];
        schedule.turn[schedule.turns++] = taken->turn;
        if (taken->stop == NAPS || taken->stop == FINISHED) schedule.turn[at].steps = TO_THE_END;
    }
    return schedule;
}

/* The process that is at work is preempted after so many of its steps, by each of the others. */
static void preempt(const struct tally *tally, const struct schedule *until, const struct taken_turn *taken,
                    uint32_t steps) {
    for (uint32_t who = 0; who < CAST; who++) {
        if ((taken->others & 1u << who) == 0) continue;
        struct schedule schedule = *until;
        add(&schedule, taken->turn.who, false, steps);
        add(&schedule, who, false, TO_THE_END);
        schedule.preemptions++;
        push(tally, &schedule);
    }
}

static bool asks_at(const struct taken_turn *taken, uint32_t step) {
    return (taken->asks[step / 64] >> step % 64 & 1) != 0;
}

/* Since the last step of `who`, and before this step of this turn, has anybody asked who lives? Else it could just as well
 * have died right after that step. */
static bool has_been_asked(const struct record *record, uint32_t at, uint32_t step, uint32_t who) {
    for (;;) {
        while (step-- > 0)
            if (asks_at(&record->taken[at], step)) return true;
        if (at-- == 0 || record->taken[at].turn.who == who) return false;
        step = record->taken[at].turn.steps;
    }
}

/* At this step each of the living dies. If it is not the one at work that dies, that goes on. Between two moments at which
 * it could be told all are the same; the last one of them is played: before somebody asks, or before it would go on itself. Or
 * the first one, right after its own last step. */
static void kill_each(const struct tally *tally, const struct schedule *until, const struct record *record, uint32_t at,
                      uint32_t step) {
    const struct taken_turn *taken = &record->taken[at], *before = at == 0 ? NULL : taken - 1;
    const uint32_t worker = taken->turn.who;
    for (uint32_t who = 0; who < CAST; who++) {
        const bool is_mid_turn = who == worker && step > 0;
        const bool has_just_ended = step == 0 && before != NULL && before->turn.who == who && before->stop != AT_CALL;
        const bool is_last_moment = (who == worker || asks_at(taken, step)) && has_been_asked(record, at, step, who);
        if (!is_mid_turn && (taken->alive & 1u << who) == 0) continue;
        if (!is_mid_turn && !has_just_ended && !is_last_moment) continue;
        struct schedule schedule = *until;
        if (step > 0) add(&schedule, worker, false, step);
        add(&schedule, who, true, 0);
        if (who != worker) add(&schedule, worker, false, TO_THE_END);
        push(tally, &schedule);
    }
}

/* When all have ended, those who still have an end die. */
static void kill_at_end(const struct tally *tally, const struct schedule *like, const struct record *record) {
    for (uint32_t who = 0; who < CAST; who++) {
        if ((record->living & 1u << who) == 0) continue;
        struct schedule schedule = beginning(like, record, record->turns);
        add(&schedule, who, true, 0);
        push(tally, &schedule);
    }
}

/* Everything that differs from a schedule only after its own last turn, which had no end given, began. */
static void branch(const struct tally *tally, const struct schedule *like, const struct record *record) {
    for (uint32_t at = like->turns - 1; at < record->turns; at++) {
        const struct taken_turn *taken = &record->taken[at];
        const struct schedule until = beginning(like, record, at);
        for (uint32_t steps = 0; !taken->turn.dies && steps < taken->turn.steps; steps++) {
            if (steps > 0) preempt(tally, &until, taken, steps);
            kill_each(tally, &until, record, at, steps);
        }
        if (at + 1 == record->turns) break;
        for (uint32_t who = 0; who < CAST; who++) {
            if (who == taken[1].turn.who || (taken->next & 1u << who) == 0) continue;
            struct schedule schedule = beginning(like, record, at + 1);
            add(&schedule, who, false, TO_THE_END);
            push(tally, &schedule);
        }
    }
    kill_at_end(tally, like, record);
}

static void push_first(const struct tally *tally) {
    for (uint32_t who = 0; who < CAST; who++) {
        struct schedule schedule = {.turns = 0};
        if (tally->plot->part[who] == NULL) continue;
        add(&schedule, who, false, TO_THE_END);
        push(tally, &schedule);
    }
}

/* ---- What came of one ---------------------------------------------------------------------- */

static void print_plot(const struct tally *tally) {
    printf("notifier=%s plot='%s'%s", tally->notifier->name, plot_print(tally->plot).text,
           options.file ? " place=file" : "");
}

static void show_progress(const struct tally *tally) {
    command_show("%s %s: %llu schedules", tally->notifier->name, plot_print(tally->plot).text,
                 (unsigned long long)tally->schedules);
}

/* All turns that it had. */
static struct schedule_text played(const struct job *job) {
    const struct record *record = &records[job->number];
    const struct schedule *told = &schedules[job->number], all = beginning(told, record, record->turns);
    return schedule_print(job->result->verdict == GOOD || all.turns > told->turns ? &all : told);
}

static void note_outcome(struct tally *tally, const struct job *job) {
    const char *text = records[job->number].outcome;
    const uint64_t it = hash(0, text);
    for (uint32_t at = 0; at < tally->outcomes; at++)
        if (tally->outcome[at] == it) return;
    if (tally->outcomes == OUTCOMES_MOST) return;
    tally->outcome[tally->outcomes++] = it;
    if (!options.outcomes) return;
    command_clear();
    printf("outcome: %s (%s)\n", text, played(job).text);
}

static void show_failure(const struct tally *tally, const struct job *job) {
    const struct result *result = job->result;
    const struct schedule_text schedule = played(job);
    command_clear();
    printf("%s: ", result->verdict == HUNG ? "HUNG" : "BAD");
    print_plot(tally);
    printf(" schedule='%s': %s\n    %s\n", schedule.text, result->why, records[job->number].story);
    if (total.reproduce[0] != '\0') return;
    snprintf(total.reproduce, sizeof total.reproduce, "%s --notifier %s%s --plot '%s' --schedule '%s'", command_program,
             tally->notifier->name, options.file ? " --file" : "", plot_print(tally->plot).text, schedule.text);
}

static void count(struct tally *tally, const struct job *job) {
    enum { TRIES = 3 };
    const struct result *result = job->result;
    const struct record *record = &records[job->number];
    if (result->verdict == INTERRUPTED) return;
    if (record->slow && ++schedules[job->number].tries < TRIES) {
        tally->slow++;
        return push(tally, &schedules[job->number]); /* once more */
    }
    tally->schedules++;
    tally->deaths += schedules[job->number].deaths > 0;
    tally->astray += result->astray;
    tally->hung += result->verdict == HUNG;
    tally->bad += result->verdict != GOOD;
    show_progress(tally);
    if (result->verdict != GOOD && tally->bad <= SHOWN) show_failure(tally, job);
    if (result->verdict != GOOD) return;
    note_outcome(tally, job);
    if (options.schedule == NULL && !result->astray) branch(tally, &schedules[job->number], record);
}

/* ---- Plots --------------------------------------------------------------------------------- */

static void start(const struct tally *tally, struct job *job) {
    memset(&records[job->number], 0, sizeof records[job->number]);
    schedules[job->number] = waiting[--waiting_count];
    if (!job_start(job, options.file)) return;
    weave(tally->plot, tally->notifier, &schedules[job->number], job->result, &records[job->number]);
}

static void play_all(struct tally *tally) {
    for (;;) {
        struct job *job;
        while (waiting_count > 0 && !jobs_interrupted && (job = job_free()) != NULL)
            start(tally, job);
        job = job_await();
        if (job == NULL) break;
        count(tally, job);
    }
    waiting_count = 0;
}

static void add_up(const struct tally *tally) {
    total.plots++;
    total.schedules += tally->schedules;
    total.deaths += tally->deaths;
    total.outcomes += tally->outcomes;
    total.bad += tally->bad;
    total.hung += tally->hung;
    total.astray += tally->astray;
    total.slow += tally->slow;
}

static uint32_t processes_of(const struct plot *plot) { return plot->part[2] == NULL ? 2 : 3; }

static bool has_messages(const struct plot *plot) { return strchr(plot->part[0], 's') != NULL; }

/* All, or of the default notifier much, and of the others a little. Who closes while the other end asks who is there is
 * seen with two preemptions alone, and where somebody receives. */
static void set_measure(struct tally *tally) {
    static const uint32_t all[] = {1, 1, 1, 1}, most[] = {1, 2, 20, 60}, some[] = {1, 8, 150, 300},
                          few[] = {1, 50, 300, 600};
    const bool is_small = processes_of(tally->plot) == 2, is_default = tally->notifier->kind == SHMQ_NOTIFY_SEM;
    const uint32_t *measure = !is_default || options.file ? few : is_small ? most : some;
    memcpy(tally->one_in, options.is_short ? measure : all, sizeof all);
    tally->is_whole = measure == most && has_messages(tally->plot);
}

static void play_plot(const struct plot *plot, const struct notifier_row *notifier) {
    static struct tally tally;
    tally = (struct tally){.plot = plot, .notifier = notifier};
    notifier_now = notifier;
    set_measure(&tally);
    if (options.schedule == NULL)
        push_first(&tally);
    else {
        struct schedule schedule;
        (void)schedule_parse(options.schedule, &schedule);
        push(&tally, &schedule);
    }
    play_all(&tally);
    command_clear();
    printf("interleave: ");
    print_plot(&tally);
    printf(" schedules=%llu deaths=%llu outcomes=%u bad=%llu\n", (unsigned long long)tally.schedules,
           (unsigned long long)tally.deaths, tally.outcomes, (unsigned long long)tally.bad);
    add_up(&tally);
}

static void play_plots(const struct notifier_row *notifier) {
    if (options.has_plot) return play_plot(&options.plot, notifier);
    for (uint32_t at = 0; at < PLOTS_COUNT && !jobs_interrupted; at++)
        if (options.processes == 0 || options.processes == processes_of(&PLOTS[at])) play_plot(&PLOTS[at], notifier);
}

static int list(void) {
    for (uint32_t at = 0; at < PLOTS_COUNT; at++)
        printf("%s\n", plot_print(&PLOTS[at]).text);
    return DONE;
}

/* A regular file makes a difference to the queue, and to a doorbell beside it. */
static bool differs_with_files(const struct notifier_row *row) {
    return row->kind == SHMQ_NOTIFY_SEM || row->kind == SHMQ_NOTIFY_FIFO;
}

static void play_notifiers(void) {
    for (size_t row = 0; row < NOTIFIERS_COUNT && !jobs_interrupted; row++) {
        if (options.notifier != NULL && strcmp(options.notifier, NOTIFIERS[row].name) != 0) continue;
        if (options.is_short && options.file && !differs_with_files(&NOTIFIERS[row])) continue;
        if (notifier_works_here(&NOTIFIERS[row]))
            play_plots(&NOTIFIERS[row]);
        else
            printf("SKIP: the notifier %s does not work here\n", NOTIFIERS[row].name);
    }
}

static int run(void) {
    const int64_t start_ms = check_now_ms();
    play_notifiers();
    if (options.is_short && !options.file) {
        options.file = true;
        play_notifiers();
    }
    printf("total: plots=%llu schedules=%llu deaths=%llu outcomes=%llu bad=%llu hung=%llu astray=%llu slow=%llu "
           "seconds=%.1f\n",
           (unsigned long long)total.plots, (unsigned long long)total.schedules, (unsigned long long)total.deaths,
           (unsigned long long)total.outcomes, (unsigned long long)total.bad, (unsigned long long)total.hung,
           (unsigned long long)total.astray, (unsigned long long)total.slow,
           (double)(check_now_ms() - start_ms) / 1000);
    return command_end(total.bad, total.reproduce);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

static bool parse_flag(const char *name) {
    if (strcmp(name, "--file") == 0) return options.file = true;
    if (strcmp(name, "--short") == 0) return options.is_short = true;
    if (strcmp(name, "--outcomes") == 0) return options.outcomes = true;
    if (strcmp(name, "--list") == 0) return options.list = true;
    return false;
}

/* What is wrong with it, or NULL. */
static const char *parse_option(const char *name, char *value) {
    static const char NO_NUMBER[] = "that is no such number";
    struct schedule schedule;
    if (strcmp(name, "--notifier") == 0)
        return options.notifier = value, is_notifier(value) ? NULL : "there is no such thing";
    if (strcmp(name, "--plot") == 0)
        return options.has_plot = plot_parse(value, &options.plot), options.has_plot ? NULL : "that is no plot";
    if (strcmp(name, "--schedule") == 0)
        return options.schedule = value, schedule_parse(value, &schedule) ? NULL : "that is no schedule";
    if (strcmp(name, "--processes") == 0) {
        const bool is_one = parse_number(value, CAST, &options.processes) && options.processes >= 2;
        return is_one ? NULL : NO_NUMBER;
    }
    if (strcmp(name, "--preemptions") == 0) return parse_number(value, 9, &options.preemptions) ? NULL : NO_NUMBER;
    if (strcmp(name, "--deaths") == 0) return parse_number(value, 1, &options.deaths) ? NULL : NO_NUMBER;
    if (strcmp(name, "--seed") == 0) return parse_number(value, UINT64_MAX, &options.seed) ? NULL : NO_NUMBER;
    return "there is no such option";
}

static const struct command COMMAND = {"interleave", HELP, parse_flag, parse_option};

int main(int argc, char **argv) {
    options.seed = command_seed();
    command_read(&COMMAND, argc, argv);
    if (options.schedule != NULL && !options.has_plot) command_refuse(&COMMAND, "--schedule", "of which plot?");
    if (options.list) return list();
    if (!command_begin(options.seed, true)) return DONE;
    keep_to_one_core();
    records = check_shared(JOBS * sizeof *records);
    return run();
}
