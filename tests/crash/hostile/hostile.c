/* The program: which trials. See hostile.h. */
#include "hostile.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"
#include "checksum.h"

enum {
    SHOWN = 10 /* failures */
};

static const char HELP[] =
    "Usage: hostile [OPTION]…\n"
    "A third process writes what it likes into a queue, or damages it; the two ends must come to no harm.\n"
    "  --notifier NAME   this one only; so the next three:\n"
    "  --operation NAME  create attach send recv reserve peek drain close last unlink\n"
    "  --state NAME      empty full wrapping asleep ringing\n"
    "  --side NAME       producer consumer: the victim's\n"
    "  --many            only queues with many ends a side\n"
    "  --checksum        only queues with checksums\n"
    "  --at POINT --blow BLOW  this trial only: 3.17 is after three system calls and 17 instructions of the victim,\n"
    "                    0x1000=0x5 stores 5 in the word there, 0x1000/4+0x1 adds 1 to four bytes, truncate@0x0+0x0 …\n"
    "  --storm N         this storm only: what is written while both ends stream follows from N\n"
    "  --trials N        so many single blows a scene (default 60)\n"
    "  --storms N        so many storms of each kind (default 40)\n"
    "  --bystander       only whether another queue, whose doorbells are claimed, keeps them\n"
    "  --short           some of it: what bazel test runs\n"
    "  --seed N          what is drawn follows from it (default: random; printed first)\n"
    "Exit status: 0 all went well, 1 not, 2 wrong arguments, 130 interrupted.\n";

static struct options {
    const char *notifier;
    int operation, state, side; /* -1: any */
    bool many, checked, is_short, one_storm, at_point, has_blow, bystander;
    struct trial point;
    struct blow blow;
    uint64_t storm, trials, storms, seed;
} options = {.operation = -1, .state = -1, .side = -1, .trials = 60, .storms = 40};

/* What a job is at: its body is assault, assault_rehearse or assault_bystander. */
struct attempt {
    struct assault assault;
    void (*body)(const struct assault *, struct result *);
};

static struct attempt attempts[JOBS]; /* by the number of its job */

/* Of all. */
static struct {
    uint64_t scenes, blows, harms, storms, bystanders, bad, hung;
    char reproduce[4096];
} total;

/* ---- Memory -------------------------------------------------------------------------------- */

/* A region lies between two pages that nobody may touch: who reads or writes beyond it is hit by a signal. */
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    const size_t guard = 4096;
    if (at != NULL || protection != PROT_NONE) return __real_mmap(at, bytes, protection, flags, fd, offset);
    char *reserved = __real_mmap(NULL, bytes + 2 * guard, PROT_NONE, flags, fd, offset);
    return reserved == MAP_FAILED ? MAP_FAILED : reserved + guard;
}

/* ---- What came of one ---------------------------------------------------------------------- */

/* The words that choose it. */
static struct attempt_text {
    char text[160];
} attempt_print(const struct attempt *attempt) {
    struct attempt_text print;
    const struct assault *what = &attempt->assault;
    if (attempt->body == assault_bystander)
        snprintf(print.text, sizeof print.text, "--bystander");
    else if (attempt->body == assault_rehearse)
        snprintf(print.text, sizeof print.text, "--storms 0 --trials 0");
    else if (what->storms)
        snprintf(print.text, sizeof print.text, "--storm %" PRIu64, what->seed);
    else
        snprintf(print.text, sizeof print.text, "--at %s --blow %s",
                 trial_print(&(struct trial){.first = what->point}).text, blow_print(&what->blow).text);
    return print;
}

static void show_progress(void) {
    command_show("%" PRIu64 " storms, %" PRIu64 " blows in %" PRIu64 " scenes, %" PRIu64 " bad", total.storms,
                 total.blows + total.harms, total.scenes, total.bad);
}

static void show_failure(const struct attempt *attempt, const struct result *result) {
    const struct scene *scene = &attempt->assault.scene;
    const struct attempt_text which = attempt_print(attempt);
    command_clear();
    printf("%s: notifier=%s operation=%s state=%s side=%s%s%s %s: %s\n", result->verdict == HUNG ? "HUNG" : "BAD",
           scene->notifier->name, OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state], scene_side(scene),
           scene->many ? " ends=many" : "", attempt->assault.checked ? " checksums" : "", which.text, result->why);
    if (total.reproduce[0] != '\0') return;
    snprintf(total.reproduce, sizeof total.reproduce,
             "%s --seed %" PRIu64 " --notifier %s --operation %s --state %s --side %s%s%s %s", command_program,
             options.seed, scene->notifier->name, OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state],
             scene->side == SHMQ_PRODUCER ? "producer" : "consumer", scene->many ? " --many" : "",
             attempt->assault.checked ? " --checksum" : "", which.text);
}

/* A hostile header may have claimed doorbells of any notifier; and some names are our own. */
static void sweep(struct result *result) {
    char beside[sizeof result->name + 8]; /* the bystander's; what was to replace the queue */
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        notifier_now = &NOTIFIERS[row];
        traces_sweep(result);
    }
    snprintf(beside, sizeof beside, "%s.other", check_path(result->name));
    (void)unlink(beside);
    snprintf(beside, sizeof beside, "%s.new", check_path(result->name));
    (void)unlink(beside);
}

static void count(const struct job *job) {
    const struct attempt *attempt = &attempts[job->number];
    const struct assault *what = &attempt->assault;
    const struct result *result = job->result;
    sweep(job->result);
    if (result->verdict == INTERRUPTED) return;
    const bool strikes = attempt->body == assault && !what->storms;
    total.scenes += attempt->body == assault_rehearse;
    total.bystanders += attempt->body == assault_bystander;
    total.storms += attempt->body == assault && what->storms;
    total.blows += strikes && what->blow.harm == WRITE;
    total.harms += strikes && what->blow.harm != WRITE;
    total.hung += result->verdict == HUNG;
    total.bad += result->verdict != GOOD;
    show_progress();
    if (result->verdict != GOOD && total.bad <= SHOWN) show_failure(attempt, result);
}

/* ---- Many trials --------------------------------------------------------------------------- */

static struct job *await_free_job(void) {
    struct job *job;
    while ((job = job_free()) == NULL)
        count(job_await());
    return job;
}

/* Storms may have all cores; who goes step by step needs one. */
static void start(struct job *job, const struct attempt *attempt) {
    attempts[job->number] = *attempt;
    if (!job_start(job, false)) return;
    if (!attempt->assault.storms) keep_to_one_core();
    attempt->body(&attempts[job->number].assault, job->result);
}

/* The moments of a scene, while trials of the one before go on. Until the next time. */
static const struct result *rehearse(const struct assault *scene) {
    static struct result *result;
    struct job *const job = await_free_job();
    struct result *const before = job->result;
    if (result == NULL) {
        result = check_shared(sizeof *result);
        result->point = check_shared(POINTS_MOST * sizeof *result->point);
    }
    job->result = result;
    start(job, &(struct attempt){*scene, assault_rehearse});
    for (const struct job *ended = NULL; ended != job;)
        count(ended = job_await());
    job->result = before;
    return result;
}

/* One of the victim's moments; often one beside a system call. */
static struct point draw_point(const struct result *rehearsal) {
    struct point point = rehearsal->point[draw() % rehearsal->points];
    const bool beside = draw() % 4 == 0;
    for (int tries = 0; beside && tries < 100 && point.steps > 3 && !point.asleep; tries++)
        point = rehearsal->point[draw() % rehearsal->points];
    return point;
}

/* All moments of a scene, all words: so many of them. */
static void strike_often(const struct assault *scene) {
    const bool is_cond = scene->scene.notifier->kind == SHMQ_NOTIFY_COND; /* its mutex is libc's: no garbage there */
    const struct result *rehearsal = rehearse(scene);
    for (uint64_t trial = 0; rehearsal->points > 0 && trial < options.trials && !jobs_interrupted; trial++) {
        struct attempt now = {*scene, assault};
        now.assault.point = options.at_point ? options.point.first : draw_point(rehearsal);
        now.assault.blow = options.has_blow ? options.blow : blow_draw(is_cond, is_cond);
        start(await_free_job(), &now);
    }
}

static void storm_often(const struct assault *kind) {
    for (uint64_t trial = 0; trial < options.storms && !jobs_interrupted; trial++) {
        struct attempt now = {*kind, assault};
        now.assault.seed = options.one_storm ? options.storm : draw();
        start(await_free_job(), &now);
    }
}

/* Once for each notifier whose doorbells have names. */
static void mind_bystander(const struct assault *kind) {
    if (kind->scene.notifier->prefix == NULL || kind->scene.many || kind->checked || options.one_storm) return;
    start(await_free_job(), &(struct attempt){*kind, assault_bystander});
}

/* ---- All of them --------------------------------------------------------------------------- */

static bool is_wanted(const struct assault *unit) {
    const struct scene *scene = &unit->scene;
    const bool is_one = options.one_storm || (options.at_point && options.has_blow);
    if ((options.many || is_one) && scene->many != options.many) return false;
    if ((options.checked || is_one) && unit->checked != options.checked) return false;
    if (unit->checked && !CHECKSUM_BUILT) return false;
    if (options.notifier != NULL && strcmp(options.notifier, scene->notifier->name) != 0) return false;
    if (!notifier_works_here(scene->notifier)) return false;
    if (unit->storms) return !options.at_point && !options.has_blow;
    if (options.one_storm || options.bystander || !scene_makes_sense(scene)) return false;
    if (check_tool() != CHECK_PLAIN) return false;                        /* BUILD says why */
    if (scene->operation == UNLINK && scene->state == FULL) return false; /* nobody is there to fill it */
    if (options.operation >= 0 && scene->operation != (enum operation)options.operation) return false;
    if (options.state >= 0 && scene->state != (enum state)options.state) return false;
    return options.side < 0 || scene->side == (enum shmq_end)options.side;
}

enum { KINDS = NOTIFIERS_COUNT * 4, UNITS = KINDS * (1 + (int)OPERATIONS * (int)STATES * 2) };

/* The units of work, by number: storms of each kind of queue first, then scene by scene. */
static struct assault unit_of(uint64_t number) {
    const uint64_t kind = number % KINDS, scene = number / KINDS;
    struct assault unit = {.scene = {.notifier = &NOTIFIERS[kind / 4], .many = kind % 2 == 1, .operation = SEND},
                           .checked = kind / 2 % 2 == 1,
                           .storms = scene == 0};
    if (scene == 0) return unit;
    unit.scene.operation = (enum operation)((scene - 1) / 2 / STATES);
    unit.scene.state = (enum state)((scene - 1) / 2 % STATES);
    unit.scene.side = (enum shmq_end)((scene - 1) % 2);
    return unit;
}

static void play_unit(uint64_t number) {
    enum { SHORT_ONE_IN = 16 };
    const struct assault unit = unit_of(number);
    if (!is_wanted(&unit)) return;
    draw_from(options.seed + number * 0xd1342543de82ef95u); /* whichever others are wanted */
    if (unit.storms) {
        mind_bystander(&unit);
        storm_often(&unit);
    } else if (!options.is_short || one_in(SHORT_ONE_IN)) {
        strike_often(&unit);
    }
}

static int run(void) {
    const int64_t start_ms = check_now_ms();
    for (uint64_t number = 0; number < UNITS && !jobs_interrupted; number++)
        play_unit(number);
    for (const struct job *job; (job = job_await()) != NULL;)
        count(job);
    command_clear();
    printf("total: storms=%" PRIu64 " scenes=%" PRIu64 " blows=%" PRIu64 " harms=%" PRIu64 " bystanders=%" PRIu64
           " taken=%" PRIu64 " torn=%" PRIu64 " refused=%" PRIu64 " bad=%" PRIu64 " hung=%" PRIu64 " seconds=%.1f\n",
           total.storms, total.scenes, total.blows, total.harms, total.bystanders, outcome->taken, outcome->torn,
           outcome->refused, total.bad, total.hung, (double)(check_now_ms() - start_ms) / 1000);
    return command_end(total.bad, total.reproduce);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

static bool parse_flag(const char *name) {
    if (strcmp(name, "--many") == 0) return options.many = true;
    if (strcmp(name, "--checksum") == 0) return options.checked = true;
    if (strcmp(name, "--bystander") == 0) return options.bystander = true;
    if (strcmp(name, "--short") != 0) return false;
    options.trials = 20;
    options.storms = 4;
    return options.is_short = true;
}

/* False: that makes no sense. */
static bool takes(const char *name, const char *value) {
    static const char *const SIDES[] = {"producer", "consumer"};
    if (strcmp(name, "--notifier") == 0) return is_notifier(options.notifier = value);
    if (strcmp(name, "--operation") == 0) return (options.operation = word_of(OPERATION_NAMES, OPERATIONS, value)) >= 0;
    if (strcmp(name, "--state") == 0) return (options.state = word_of(STATE_NAMES, STATES, value)) >= 0;
    if (strcmp(name, "--side") == 0) return (options.side = word_of(SIDES, 2, value)) >= 0;
    if (strcmp(name, "--at") == 0) return options.at_point = trial_parse(value, &options.point);
    if (strcmp(name, "--blow") == 0) return options.has_blow = blow_parse(value, &options.blow);
    if (strcmp(name, "--storm") == 0) return options.one_storm = parse_number(value, UINT64_MAX, &options.storm);
    if (strcmp(name, "--trials") == 0) return parse_number(value, UINT64_MAX, &options.trials);
    if (strcmp(name, "--storms") == 0) return parse_number(value, UINT64_MAX, &options.storms);
    return strcmp(name, "--seed") == 0 && parse_number(value, UINT64_MAX, &options.seed);
}

static const char *parse_option(const char *name, char *value) {
    return takes(name, value) ? NULL : "that makes no sense";
}

static const struct command COMMAND = {"hostile", HELP, parse_flag, parse_option};

int main(int argc, char **argv) {
    options.seed = command_seed();
    command_read(&COMMAND, argc, argv);
    if (options.at_point && options.has_blow) options.trials = 1;
    if (options.one_storm) options.storms = 1;
    if (options.bystander) options.storms = 0;
    if (!command_begin(options.seed, check_tool() == CHECK_PLAIN)) return DONE;
    outcome = check_shared(sizeof *outcome);
    signal(SIGBUS, SIG_DFL); /* a sanitizer's */
    return run();
}
