/* The program: which scenes, which of their moments, and several trials at a time. */
#include "kill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"

enum {
    SHOWN = 3,    /* failures of one scene */
    LATE_MOST = 8 /* of a scene, trials that are played again */
};

static const char HELP[] =
    "Usage: kill [OPTION]…\n"
    "Kills a process at every moment of every operation on a queue, and looks whether the others can go on.\n"
    "  --notifier NAME   this one only; so the next three:\n"
    "  --operation NAME  create attach send recv reserve peek drain close last unlink\n"
    "  --state NAME      empty full wrapping asleep ringing\n"
    "  --side NAME       producer consumer\n"
    "  --many            queues with many ends a side\n"
    "  --file            queues that are regular files\n"
    "  --at POINT        this trial only: 3.17 is after three system calls and 17 instructions, 3.0z asleep in the\n"
    "                    next call, stop:3.17 stopped, 3.17+9.0 the end that comes next is killed too\n"
    "  --all-instructions  after each instruction, not only at moments that others can tell apart\n"
    "  --every N         after every Nth instruction too\n"
    "  --pairs N         kills the end that comes next, too, at each of its moments, after one in N moments of the\n"
    "                    first (default 8)\n"
    "  --short           some of it: what bazel test runs\n"
    "  --seed N          what is drawn follows from it (default: random; printed first)\n"
    "  --list            the scenes, without playing them\n"
    "Exit status: 0 all went well, 1 not, 2 wrong arguments, 130 interrupted.\n";

static struct options {
    const char *notifier, *at;
    int operation, state, side; /* -1: any */
    bool many, file, is_short, list;
    uint32_t every, pairs;
    uint64_t seed;
} options = {.operation = -1, .state = -1, .side = -1, .pairs = 8};

/* How much of it: one in so many, drawn; 0 none. */
struct measure {
    uint32_t scenes, kills, stops, firsts, seconds;
};

static struct trial trials[JOBS]; /* by the number of its job */

/* Of all. */
static struct {
    uint64_t scenes, trials, bad, hung, astray, cond_trials, cond_hung, cond_bad;
    char reproduce[4096];
} total;

/* A process that plays, or rehearses. */
static void start(struct job *job, const struct scene *scene, const struct trial *trial, struct result *result,
                  bool rehearses) {
    job->result = result;
    trials[job->number] = *trial;
    if (!job_start(job, scene->file)) return;
    if (rehearses)
        play_rehearse(scene, trial, options.every, result);
    else
        play(scene, trial, result);
}

/* ---- A scene ------------------------------------------------------------------------------- */

struct tally {
    const struct scene *scene;
    uint64_t instructions;
    uint32_t moments, trials, bad, hung, late, planned;
    struct trial late_ones[LATE_MOST];
};

static void print_scene(FILE *to, const struct scene *scene) {
    fprintf(to, "notifier=%s operation=%s state=%s side=%s%s%s", scene->notifier->name,
            OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state], scene_side(scene),
            scene->many ? " ends=many" : "", scene->file ? " place=file" : "");
}

/* Of the whole scene, if trial is NULL. */
static void note_reproduction(const struct scene *scene, const struct trial *trial) {
    char every[32] = "";
    if (total.reproduce[0] != '\0') return;
    if (options.every > 0) snprintf(every, sizeof every, " --every %u", options.every);
    snprintf(total.reproduce, sizeof total.reproduce,
             "%s --seed %llu --notifier %s --operation %s --state %s --side %s%s%s%s%s%s", command_program,
             (unsigned long long)options.seed, scene->notifier->name, OPERATION_NAMES[scene->operation],
             STATE_NAMES[scene->state], scene->side == SHMQ_PRODUCER ? "producer" : "consumer",
             scene->many ? " --many" : "", scene->file ? " --file" : "", every, trial == NULL ? "" : " --at ",
             trial == NULL ? "" : trial_print(trial).text);
}

static void show_progress(const struct tally *tally) {
    command_show("%s %s %s %s: %u of %u", tally->scene->notifier->name, OPERATION_NAMES[tally->scene->operation],
                 STATE_NAMES[tally->scene->state], scene_side(tally->scene), tally->trials, tally->planned);
}

static void count(struct tally *tally, const struct job *job) {
    const struct result *result = job->result;
    if (result->verdict == INTERRUPTED) return;
    tally->trials++;
    total.astray += result->astray;
    if (result->late && tally->late++ < LATE_MOST) tally->late_ones[tally->late - 1] = trials[job->number];
    tally->hung += result->verdict == HUNG;
    tally->bad += result->verdict == BAD || result->verdict == HUNG;
    show_progress(tally);
    if (result->verdict == GOOD || tally->bad > SHOWN || !tally->scene->notifier->survives) return;
    command_clear();
    printf("%s: ", result->verdict == HUNG ? "HUNG" : "BAD");
    print_scene(stdout, tally->scene);
    printf(" at=%s: %s\n", trial_print(&trials[job->number]).text, result->why);
    note_reproduction(tally->scene, &trials[job->number]);
}

static void run_trial(struct tally *tally, const struct trial *trial) {
    if (jobs_interrupted) return;
    struct job *job = job_free();
    while (job == NULL) {
        count(tally, job_await());
        job = job_free();
    }
    start(job, tally->scene, trial, job->result, false);
}

static void finish_trials(struct tally *tally) {
    for (const struct job *job; (job = job_await()) != NULL;)
        count(tally, job);
}

/* The moments of a scene, or of the end that comes in the place of its victim; NULL: even that went wrong. */
static const struct result *rehearse(struct tally *tally, const struct trial *trial) {
    static struct result *result;
    finish_trials(tally);
    if (jobs_interrupted) return NULL;
    if (result == NULL) {
        result = check_shared(sizeof *result);
        result->point = check_shared(POINTS_MOST * sizeof *result->point);
    }
    struct job *const job = job_free();
    struct result *const before = job->result;
    start(job, tally->scene, trial, result, true);
    (void)job_await();
    if (result->verdict != GOOD) count(tally, job);
    job->result = before;
    return result->verdict == GOOD ? result : NULL;
}

/* The end that comes in the place of one that was killed is killed too. */
static void run_pairs(struct tally *tally, const struct point *point, uint32_t points, const struct measure *measure) {
    for (uint32_t first = 0; first < points; first++) {
        struct trial trial = {.pair = true, .first = point[first]};
        if (!one_in(measure->firsts)) continue;
        const struct result *moments = rehearse(tally, &trial);
        for (uint32_t second = 0; moments != NULL && second < moments->points; second++) {
            trial.second = moments->point[second];
            if (one_in(measure->seconds)) run_trial(tally, &trial);
        }
    }
}

static void run_points(struct tally *tally, const struct measure *measure) {
    const struct result *moments = rehearse(tally, &(struct trial){.fate = KILLED});
    if (moments == NULL) return;
    const uint32_t points = moments->points;
    struct point *point = calloc(points, sizeof *point); /* the next rehearsal needs the place */
    if (point == NULL) abort();
    memcpy(point, moments->point, points * sizeof *point);
    tally->instructions = moments->instructions;
    tally->moments = points;
    for (uint32_t at = 0; at < points; at++) {
        tally->planned = 2 * points;
        if (one_in(measure->kills)) run_trial(tally, &(struct trial){.fate = KILLED, .first = point[at]});
        if (one_in(measure->stops)) run_trial(tally, &(struct trial){.fate = STOPPED, .first = point[at]});
    }
    if (tally->scene->operation != UNLINK) run_pairs(tally, point, points, measure);
    free(point);
}

/* Takes the point for the moment nearest to it, so that a step more or less does not matter. */
static void find_moment(const struct result *moments, struct point *point) {
    const struct point *nearest = point;
    int64_t least = POINT_JITTER + 1;
    for (uint32_t at = 0; at < moments->points; at++) {
        const struct point *near = &moments->point[at];
        const int64_t apart = llabs((int64_t)near->steps - point->steps);
        if (near->calls != point->calls || near->asleep != point->asleep || apart >= least) continue;
        nearest = near;
        least = apart;
    }
    *point = *nearest;
}

/* The trial that --at names. */
static void run_one(struct tally *tally, const struct trial *named) {
    struct trial trial = *named;
    const struct result *moments = rehearse(tally, &(struct trial){.fate = KILLED});
    if (moments != NULL) find_moment(moments, &trial.first);
    if (trial.pair && (moments = rehearse(tally, &trial)) != NULL) find_moment(moments, &trial.second);
    run_trial(tally, &trial);
}

/* Once more, and nothing else meanwhile. */
static bool is_late_again(struct tally *tally, const struct trial *trial) {
    const uint32_t before = tally->late;
    run_trial(tally, trial);
    finish_trials(tally);
    return tally->late > before;
}

/* One that is late may be so because the machine is busy; who is so each time has lost a ring, and a slice makes up for it. */
static void check_wake_ups(struct tally *tally) {
    enum { TRIES = 6 };
    const uint32_t late = tally->late < LATE_MOST ? tally->late : LATE_MOST;
    for (uint32_t at = 0; at < late && tally->scene->notifier->survives; at++) {
        const struct trial *trial = &tally->late_ones[at];
        int tries = 0;
        while (tries < TRIES && is_late_again(tally, trial))
            tries++;
        if (tries < TRIES || jobs_interrupted) continue;
        tally->bad++;
        printf("BAD: ");
        print_scene(stdout, tally->scene);
        printf(" at=%s: a wake-up came late %d times of %d: a ring is lost\n", trial_print(trial).text, 1 + tries,
               1 + TRIES);
        note_reproduction(tally->scene, trial);
        return;
    }
}

static void run_scene(const struct scene *scene, const struct measure *measure) {
    struct tally tally = {.scene = scene};
    struct trial trial;
    notifier_now = scene->notifier;
    if (options.at != NULL && trial_parse(options.at, &trial))
        run_one(&tally, &trial);
    else
        run_points(&tally, measure);
    finish_trials(&tally);
    command_clear();
    check_wake_ups(&tally);
    printf("kill: ");
    print_scene(stdout, scene);
    printf(" instructions=%llu moments=%u trials=%u bad=%u\n", (unsigned long long)tally.instructions, tally.moments,
           tally.trials, tally.bad);
    total.scenes++;
    total.trials += tally.trials;
    if (scene->notifier->survives) {
        total.bad += tally.bad;
        total.hung += tally.hung;
        return;
    }
    total.cond_trials += tally.trials;
    total.cond_hung += tally.hung;
    total.cond_bad += tally.bad - tally.hung;
}

/* ---- All scenes ---------------------------------------------------------------------------- */

static bool is_wanted(const struct scene *scene) {
    if (!scene_makes_sense(scene)) return false;
    if (options.notifier != NULL && strcmp(options.notifier, scene->notifier->name) != 0) return false;
    if (options.operation >= 0 && scene->operation != (enum operation)options.operation) return false;
    if (options.state >= 0 && scene->state != (enum state)options.state) return false;
    return options.side < 0 || scene->side == (enum shmq_end)options.side;
}

/* The default notifier as a whole, and who sleeps there is stopped everywhere: that is where rings get lost; of the others
 * something. */
static struct measure measure_of(const struct scene *scene) {
    static const struct measure most = {1, 1, 16, 32, 6}, sleeps = {1, 1, 1, 32, 6}, some = {20, 3, 16, 32, 10};
    if (!options.is_short) return (struct measure){1, 1, 1, options.pairs, 1};
    if (scene->notifier->kind != SHMQ_NOTIFY_SEM || scene->many || scene->file) return some;
    return scene->state == ASLEEP ? sleeps : most;
}

static void run_scenes(const struct notifier_row *row) {
    struct scene scene = {.notifier = row, .many = options.many, .file = options.file};
    for (int operation = 0; operation < OPERATIONS; operation++)
        for (int state = 0; state < STATES; state++)
            for (int side = SHMQ_PRODUCER; side <= SHMQ_CONSUMER && !jobs_interrupted; side++) {
                scene.operation = (enum operation)operation;
                scene.state = (enum state)state;
                scene.side = (enum shmq_end)side;
                const struct measure measure = measure_of(&scene);
                if (!is_wanted(&scene) || !one_in(measure.scenes)) continue;
                if (!options.list) {
                    run_scene(&scene, &measure);
                    continue;
                }
                print_scene(stdout, &scene);
                printf("\n");
            }
}

static void run_notifiers(void) {
    for (size_t row = 0; row < NOTIFIERS_COUNT && !jobs_interrupted; row++) {
        if (options.notifier != NULL && strcmp(options.notifier, NOTIFIERS[row].name) != 0) continue;
        if (notifier_works_here(&NOTIFIERS[row]))
            run_scenes(&NOTIFIERS[row]);
        else
            printf("SKIP: the notifier %s does not work here\n", NOTIFIERS[row].name);
    }
}

static int run(void) {
    const int64_t start_ms = check_now_ms();
    run_notifiers();
    if (options.is_short && !options.many && !options.file) {
        options.many = true;
        run_notifiers();
        options.many = false;
        options.file = true;
        run_notifiers();
    }
    if (options.list) return DONE;
    if (total.cond_trials > 0)
        printf("cond: %llu hung of %llu, %llu went wrong in another way\n", (unsigned long long)total.cond_hung,
               (unsigned long long)total.cond_trials, (unsigned long long)total.cond_bad);
    printf("total: scenes=%llu trials=%llu bad=%llu hung=%llu astray=%llu seconds=%.1f\n",
           (unsigned long long)total.scenes, (unsigned long long)total.trials, (unsigned long long)total.bad,
           (unsigned long long)total.hung, (unsigned long long)total.astray,
           (double)(check_now_ms() - start_ms) / 1000);
    return command_end(total.bad, total.reproduce);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

static bool parse_flag(const char *name) {
    if (strcmp(name, "--many") == 0) return options.many = true;
    if (strcmp(name, "--file") == 0) return options.file = true;
    if (strcmp(name, "--short") == 0) return options.is_short = true;
    if (strcmp(name, "--list") == 0) return options.list = true;
    if (strcmp(name, "--all-instructions") != 0) return false;
    options.every = 1;
    return true;
}

/* What is wrong with it, or NULL. */
static const char *parse_option(const char *name, char *value) {
    static const char *const SIDES[] = {"producer", "consumer"};
    static const char UNKNOWN[] = "there is no such thing";
    struct trial trial;
    uint64_t number = 0;
    if (strcmp(name, "--notifier") == 0) return options.notifier = value, is_notifier(value) ? NULL : UNKNOWN;
    if (strcmp(name, "--operation") == 0)
        return (options.operation = word_of(OPERATION_NAMES, OPERATIONS, value)) >= 0 ? NULL : UNKNOWN;
    if (strcmp(name, "--state") == 0)
        return (options.state = word_of(STATE_NAMES, STATES, value)) >= 0 ? NULL : UNKNOWN;
    if (strcmp(name, "--side") == 0) return (options.side = word_of(SIDES, 2, value)) >= 0 ? NULL : UNKNOWN;
    if (strcmp(name, "--at") == 0) return options.at = value, trial_parse(value, &trial) ? NULL : "that is no point";
    if (strcmp(name, "--seed") == 0) return parse_number(value, UINT64_MAX, &options.seed) ? NULL : "that is no number";
    const bool is_every = strcmp(name, "--every") == 0;
    if (!is_every && strcmp(name, "--pairs") != 0) return "there is no such option";
    const bool fits = parse_number(value, UINT32_MAX, &number) && number > 0;
    *(is_every ? &options.every : &options.pairs) = (uint32_t)number;
    return fits ? NULL : "that is no such number";
}

static const struct command COMMAND = {"kill", HELP, parse_flag, parse_option};

int main(int argc, char **argv) {
    options.seed = command_seed();
    command_read(&COMMAND, argc, argv);
    if (!command_begin(options.seed, true)) return DONE;
    keep_to_one_core();
    return run();
}
