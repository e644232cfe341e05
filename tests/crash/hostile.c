/* The program: which trials, several at a time. See hostile.h. */
#include "hostile.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "checksum.h"

enum {
    DONE,
    FAILED,
    USAGE,
    WORKERS = 6,       /* on one core: most of what they do is to wait */
    LIMIT_MS = 60000,  /* of a whole trial */
    PROGRESS_MS = 200, /* between two progress lines */
    SHOWN = 10         /* failures */
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
    "  --short           some of it: what bazel test runs\n"
    "  --seed N          what is drawn follows from it (default: random; printed first)\n"
    "Exit status: 0 all went well, 1 not, 2 wrong arguments, 130 interrupted.\n";

static struct options {
    const char *notifier;
    int operation, state, side; /* -1: any */
    bool many, checked, is_short, one_storm, at_point, has_blow;
    struct trial point;
    struct blow blow;
    uint64_t storm, trials, storms, seed;
} options = {.operation = -1, .state = -1, .side = -1, .trials = 60, .storms = 40};

static const char *program;
static volatile sig_atomic_t interrupted;

/* Of all workers, in memory that they share. */
static struct total {
    _Atomic uint64_t turn, scenes, blows, harms, storms, bystanders, bad, hung;
    _Atomic bool is_told;
    char reproduce[4096];
} *total;

static void interrupt(int number) { interrupted = number; }

static uint64_t random_state;
static uint64_t draw(void) /* splitmix64 */
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

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

/* ---- One trial ----------------------------------------------------------------------------- */

typedef void body(const struct assault *plan, struct result *result);

/* Not by a process number: other tests are in other PID namespaces, and see the same /dev/shm. */
static void make_name(struct result *result) {
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) abort();
    snprintf(result->name, sizeof result->name, "/shmq-hostile.%016" PRIx64, random);
}

static void sweep(const struct result *result) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) { /* a header may have claimed any */
        notifier_now = &NOTIFIERS[row];
        traces_sweep(result);
    }
    char other[sizeof result->name + 8]; /* the bystander's */
    snprintf(other, sizeof other, "%s.other", check_path(result->name));
    (void)unlink(other);
}

/* Runs it in a process group of its own, which ends with it, or when it hangs. */
static void run(body *perform, const struct assault *assault, struct result *result) {
    struct point *const point = result->point;
    int status = 0;
    memset(result, 0, sizeof *result);
    result->point = point;
    make_name(result);
    fflush(NULL);
    const int64_t until_ms = check_now_ms() + LIMIT_MS;
    const pid_t pid = fork();
    if (pid < 0) abort();
    (void)setpgid(pid, pid);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        perform(assault, result);
    }
    while (waitpid(pid, &status, WNOHANG) != pid) {
        if (interrupted || check_now_ms() > until_ms) (void)kill(pid, SIGKILL);
        usleep(200);
    }
    (void)kill(-pid, SIGKILL);
    sweep(result);
    if (result->verdict != RUNNING) return;
    result->verdict = interrupted ? INTERRUPTED : check_now_ms() > until_ms ? HUNG : BAD;
    snprintf(result->why, sizeof result->why, "the trial's own process ended with wait status 0x%x", status);
}

static void print_scene(FILE *to, const struct assault *assault) {
    const struct scene *scene = &assault->scene;
    fprintf(to, "notifier=%s operation=%s state=%s side=%s%s%s", scene->notifier->name,
            OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state], scene_side(scene),
            scene->many ? " ends=many" : "", assault->checked ? " checksums" : "");
}

static void note_reproduction(const struct assault *assault) {
    const struct scene *scene = &assault->scene;
    char which[256];
    if (assault->storms)
        snprintf(which, sizeof which, "--storm %" PRIu64, assault->seed);
    else
        snprintf(which, sizeof which, "--at %s --blow %s", trial_print(&(struct trial){.first = assault->point}).text,
                 blow_print(&assault->blow).text);
    if (atomic_exchange(&total->is_told, true)) return;
    snprintf(total->reproduce, sizeof total->reproduce, "%s --notifier %s --operation %s --state %s --side %s%s%s %s",
             program, scene->notifier->name, OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state],
             scene->side == SHMQ_PRODUCER ? "producer" : "consumer", scene->many ? " --many" : "",
             assault->checked ? " --checksum" : "", which);
}

/* How it went. */
static void count(const struct assault *assault, const struct result *result, const char *what) {
    if (result->verdict == GOOD || result->verdict == INTERRUPTED) return;
    const uint64_t bad = atomic_fetch_add(&total->bad, 1);
    if (result->verdict == HUNG) total->hung++;
    if (bad >= SHOWN) return;
    printf("%s: ", result->verdict == HUNG ? "HUNG" : "BAD");
    print_scene(stdout, assault);
    printf(" %s: %s\n", what, result->why);
    note_reproduction(assault);
}

/* ---- Many trials --------------------------------------------------------------------------- */

static void strike(const struct assault *at_once, struct result *result) {
    char what[256];
    snprintf(what, sizeof what, "at=%s blow=%s", trial_print(&(struct trial){.first = at_once->point}).text,
             blow_print(&at_once->blow).text);
    run(assault, at_once, result);
    count(at_once, result, what);
    total->blows += at_once->blow.harm == WRITE;
    total->harms += at_once->blow.harm != WRITE;
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
static void strike_often(const struct assault *scene, struct result *rehearsal, struct result *result) {
    const bool is_cond = scene->scene.notifier->kind == SHMQ_NOTIFY_COND; /* its mutex is libc's: no garbage there */
    run(assault_rehearse, scene, rehearsal);
    count(scene, rehearsal, "rehearsal");
    total->scenes++;
    for (uint64_t trial = 0; rehearsal->points > 0 && trial < options.trials && !interrupted; trial++) {
        struct assault now = *scene;
        now.point = options.at_point ? options.point.first : draw_point(rehearsal);
        now.blow = options.has_blow ? options.blow : blow_draw(draw, is_cond, is_cond);
        strike(&now, result);
    }
}

static void storm_often(const struct assault *kind, struct result *result) {
    for (uint64_t trial = 0; trial < options.storms && !interrupted; trial++) {
        char what[64];
        struct assault now = *kind;
        now.seed = options.one_storm ? options.storm : draw();
        snprintf(what, sizeof what, "storm=%" PRIu64, now.seed);
        run(assault, &now, result);
        count(&now, result, what);
        total->storms++;
    }
}

/* Once for each notifier whose doorbells have names. */
static void mind_bystander(const struct assault *kind, struct result *result) {
    if (kind->scene.notifier->prefix == NULL || kind->scene.many || kind->checked) return;
    run(assault_bystander, kind, result);
    count(kind, result, "bystander");
    total->bystanders++;
}

/* ---- All of them --------------------------------------------------------------------------- */

static bool is_wanted(const struct assault *unit) {
    const struct scene *scene = &unit->scene;
    if ((options.many && !scene->many) || (options.checked && !unit->checked)) return false;
    if (unit->checked && !CHECKSUM_BUILT) return false;
    if (options.notifier != NULL && strcmp(options.notifier, scene->notifier->name) != 0) return false;
    if (!notifier_works_here(scene->notifier)) return false;
    if (unit->storms) return !options.at_point && !options.has_blow;
    if (options.one_storm || !scene_makes_sense(scene) || check_tool() != CHECK_PLAIN)
        return false;                                                     /* BUILD says why */
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

__attribute__((noreturn)) static void work(void) {
    struct result *rehearsal = check_shared(sizeof *rehearsal), *result = check_shared(sizeof *result);
    rehearsal->point = check_shared(POINTS_MOST * sizeof *rehearsal->point);
    for (uint64_t number; !interrupted && (number = total->turn++) < UNITS;) {
        enum { SHORT_ONE_IN = 16 };
        const struct assault unit = unit_of(number);
        random_state = options.seed + number * 0xd1342543de82ef95u; /* whoever does it */
        if (!is_wanted(&unit)) continue;
        if (unit.storms) {
            mind_bystander(&unit, result);
            storm_often(&unit, result);
        } else if (!options.is_short || draw() % SHORT_ONE_IN == 0) {
            strike_often(&unit, rehearsal, result);
        }
    }
    fflush(NULL);
    _exit(0);
}

static void show_progress(void) {
    fprintf(stderr, "\r\033[K%" PRIu64 " storms, %" PRIu64 " blows in %" PRIu64 " scenes, %" PRIu64 " bad",
            total->storms, total->blows + total->harms, total->scenes, total->bad);
}

static int run_all(void) {
    const bool at_terminal = isatty(STDERR_FILENO) != 0;
    const int64_t start_ms = check_now_ms();
    pid_t workers[WORKERS];
    for (int at = 0; at < WORKERS; at++)
        if ((workers[at] = fork()) == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            work();
        }
    for (int left = WORKERS; left > 0;) {
        left -= waitpid(-1, NULL, WNOHANG) > 0;
        if (at_terminal) show_progress();
        for (int at = 0; interrupted && at < WORKERS; at++)
            (void)kill(workers[at], SIGTERM);
        usleep(PROGRESS_MS * 1000);
    }
    if (at_terminal) fprintf(stderr, "\r\033[K");
    printf("total: storms=%" PRIu64 " scenes=%" PRIu64 " blows=%" PRIu64 " harms=%" PRIu64 " bystanders=%" PRIu64
           " taken=%" PRIu64 " torn=%" PRIu64 " refused=%" PRIu64 " bad=%" PRIu64 " hung=%" PRIu64 " seconds=%.1f\n",
           total->storms, total->scenes, total->blows, total->harms, total->bystanders, outcome->taken, outcome->torn,
           outcome->refused, total->bad, total->hung, (double)(check_now_ms() - start_ms) / 1000);
    if (total->is_told) printf("to reproduce: %s\n", total->reproduce);
    if (interrupted) return 128 + interrupted;
    return total->bad == 0 ? DONE : FAILED;
}

/* ---- Arguments ----------------------------------------------------------------------------- */

static int usage(const char *what, const char *why) {
    fprintf(stderr, "hostile: %s: %s\nhostile --help tells more.\n", what, why);
    return USAGE;
}

static bool parse_number(const char *text, uint64_t *number) {
    char *rest;
    errno = 0;
    *number = strtoull(text, &rest, 10);
    return errno == 0 && rest != text && *rest == '\0' && text[0] != '-';
}

static bool is_notifier(const char *name) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (strcmp(NOTIFIERS[row].name, name) == 0) return true;
    return false;
}

static bool parse_flag(const char *name) {
    if (strcmp(name, "--many") == 0) return options.many = true;
    if (strcmp(name, "--checksum") == 0) return options.checked = true;
    if (strcmp(name, "--short") != 0) return false;
    options.trials = 20;
    options.storms = 4;
    return options.is_short = true;
}

/* False: that makes no sense. */
static bool parse_option(const char *name, const char *value) {
    static const char *const SIDES[] = {"producer", "consumer"};
    if (strcmp(name, "--notifier") == 0) return is_notifier(options.notifier = value);
    if (strcmp(name, "--operation") == 0) return (options.operation = word_of(OPERATION_NAMES, OPERATIONS, value)) >= 0;
    if (strcmp(name, "--state") == 0) return (options.state = word_of(STATE_NAMES, STATES, value)) >= 0;
    if (strcmp(name, "--side") == 0) return (options.side = word_of(SIDES, 2, value)) >= 0;
    if (strcmp(name, "--at") == 0) return options.at_point = trial_parse(value, &options.point);
    if (strcmp(name, "--blow") == 0) return options.has_blow = blow_parse(value, &options.blow);
    if (strcmp(name, "--storm") == 0) return options.one_storm = parse_number(value, &options.storm);
    if (strcmp(name, "--trials") == 0) return parse_number(value, &options.trials);
    if (strcmp(name, "--storms") == 0) return parse_number(value, &options.storms);
    return strcmp(name, "--seed") == 0 && parse_number(value, &options.seed);
}

/* DONE: go on. */
static int parse(int argc, char **argv) {
    for (int at = 1; at < argc; at++) {
        if (parse_flag(argv[at])) continue;
        if (strncmp(argv[at], "--", 2) != 0 || at + 1 == argc) return usage(argv[at], "what is that?");
        if (!parse_option(argv[at], argv[at + 1])) return usage(argv[at], "that makes no sense");
        at++;
    }
    if (options.at_point && options.has_blow) options.trials = 1;
    if (options.one_storm) options.storms = 1;
    return DONE;
}

static void prepare(void) {
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG); /* the signal notifier wants it blocked */
    sigprocmask(SIG_BLOCK, &urgent, NULL);
    const struct sigaction ends = {.sa_handler = interrupt}, nothing = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &ends, NULL);
    sigaction(SIGTERM, &ends, NULL);
    sigaction(SIGHUP, &ends, NULL);
    sigaction(SIGPIPE, &nothing, NULL);
    signal(SIGBUS, SIG_DFL); /* a sanitizer's */
    total = check_shared(sizeof *total);
    outcome = check_shared(sizeof *outcome);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed) abort();
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) return fputs(HELP, stdout) < 0;
    const int result = parse(argc, argv);
    if (result != DONE) return result;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %" PRIu64 "\n", options.seed);
    const int error = trace_is_allowed();
    if (error != 0 && check_tool() == CHECK_PLAIN) {
        printf("SKIP: ptrace is forbidden here: %s\n", strerrorname_np(error));
        return DONE;
    }
    prepare();
    return run_all();
}
