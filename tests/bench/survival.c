/* One cell of the scoreboard: many trials of one column with one peer, side by side. scoreboard.py calls it for each. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trial.h"

enum {
    DONE,
    FAILED,
    USAGE,
    MOST = 1000000,
    AT_ONCE = 32,         /* they mostly sleep */
    AT_ONCE_STREAMS = 16, /* if both ends are at work until the kill */
    AT_ONCE_BUSY = 2      /* if they burn cores */
};
static const uint32_t LIMIT_S = 10;

struct options {
    struct order order;
    uint32_t first, trials;
    uint32_t steps; /* of a call that nobody interrupts */
    double limit_s;
};

struct counts {
    uint32_t of[VERDICTS];
    int64_t worst_ms;
};

static const char *program;
static int interrupted; /* by this signal */

static void usage(FILE *to) {
    (void)fprintf(to, "Usage: survival COLUMN PEER [--seed N] [--first N] [--trials N] [--limit SECONDS]\n"
                      "       survival --list | --columns | --help\n"
                      "Tries so often what becomes of two processes, and counts. Each trial has a /dev/shm of its own\n"
                      "(namespaces: as root, or where users may have them).\n\nColumns:\n");
    for (const struct column *column = columns; column->name != NULL; column++)
        (void)fprintf(to, "  %-14s %s (%u times)\n", column->name, column->about, column->trials);
    (void)fprintf(to, "\n"
                      "  --seed N         the trials follow from it (default: random; printed first)\n"
                      "  --first N        the number of the first trial (0); the first instruction (1)\n"
                      "  --trials N       how many; of the instructions at most so many, evenly spread\n"
                      "  --limit SECONDS  who does nothing for so long hangs (10; after an instruction 3)\n"
                      "  --list           the names of the peers, one a line\n"
                      "  --columns        those of the columns, and how often each is tried\n\n"
                      "Exit status: 0 all is well; 1 a trial failed, and the line below it repeats it;\n"
                      "2 usage; 128+N signal N.\n");
}

/* ---- Arguments ----------------------------------------------------------------------------- */

_Noreturn static void wrong(const char *what, const char *word) {
    (void)fprintf(stderr, "survival: %s: %s\n", what, word);
    usage(stderr);
    exit(USAGE);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most) {
    char *rest;
    errno = 0;
    const uint64_t value = strtoull(text, &rest, 10);
    if (errno != 0 || rest == text || *rest != '\0' || text[0] == '-' || value < least || value > most)
        wrong("not a number, or out of range", text);
    return value;
}

static double seconds(const char *text) {
    char *rest;
    const double value = strtod(text, &rest);
    if (rest == text || *rest != '\0' || !(value >= 0.1 && value <= 600)) wrong("not so many seconds", text);
    return value;
}

_Noreturn static void list_peers(void) {
    const struct peer *peer;
    for (size_t i = 0; (peer = peer_at(i)) != NULL; i++)
        if (!peer->bound) puts(peer->name);
    exit(DONE);
}

_Noreturn static void list_columns(void) {
    for (const struct column *column = columns; column->name != NULL; column++)
        printf("%s %u\n", column->name, column->trials);
    exit(DONE);
}

static const struct column *column_named(const char *name) {
    for (const struct column *column = columns; column->name != NULL; column++)
        if (strcmp(column->name, name) == 0) return column;
    wrong("no such column", name);
}

static void parse_options(int argc, char **argv, struct options *options) {
    static const struct option names[] = {
        {"seed", required_argument, NULL, 's'},   {"first", required_argument, NULL, 'f'},
        {"trials", required_argument, NULL, 't'}, {"limit", required_argument, NULL, 'l'},
        {"list", no_argument, NULL, 'L'},         {"columns", no_argument, NULL, 'C'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "h", names, NULL)) != -1;) {
        switch (option) {
        case 's': options->order.seed = number(optarg, 0, UINT64_MAX); break;
        case 'f': options->first = (uint32_t)number(optarg, 0, MOST); break;
        case 't': options->trials = (uint32_t)number(optarg, 1, MOST); break;
        case 'l': options->limit_s = seconds(optarg); break;
        case 'L': list_peers();
        case 'C': list_columns();
        case 'h': usage(stdout); exit(DONE);
        default: usage(stderr); exit(USAGE);
        }
    }
}

static double default_limit_s(const struct column *column) { return column->limit_s > 0 ? column->limit_s : LIMIT_S; }

static void parse(int argc, char **argv, struct options *options) {
    *options = (struct options){.limit_s = 0};
    if (getrandom(&options->order.seed, 4, 0) != 4) options->order.seed = (uint64_t)getpid();
    parse_options(argc, argv, options);
    if (argc - optind != 2) wrong("wanted", "one column and one peer");
    options->order.column = column_named(argv[optind]);
    options->order.peer = peer_named(argv[optind + 1]);
    if (options->order.peer == NULL) wrong("no such peer", argv[optind + 1]);
    const struct column *column = options->order.column;
    if (options->limit_s == 0) options->limit_s = default_limit_s(column);
    options->order.limit_ms = (int64_t)(options->limit_s * 1000);
    if (options->trials == 0) options->trials = column->trials;
    if (options->first == 0 && column->steps) options->first = 1;
}

/* ---- Trials -------------------------------------------------------------------------------- */

/* What is killed after an instruction is so at some of them, from the first to the last. */
static uint32_t number_of(const struct options *options, uint32_t trial) {
    if (!options->order.column->steps) return options->first + trial;
    if (options->steps == 0) return TO_THE_END;
    return options->first + (uint32_t)((uint64_t)trial * (options->steps - options->first + 1) / options->trials);
}

static void print_failure(const struct options *options, uint32_t number, const struct outcome *outcome) {
    const struct order *order = &options->order;
    printf("FAILED %s %s ", order->column->name, order->peer->name);
    if (number == TO_THE_END)
        printf("before its call");
    else if (order->column->steps)
        printf("instruction %u of %u, before %s", number, options->steps, outcome->where);
    else
        printf("trial %u", number);
    printf(": %s: %s\n  to reproduce: %s %s %s --seed %llu --first %u --trials 1", verdict_words[outcome->verdict],
           outcome->why, program, order->column->name, order->peer->name, (unsigned long long)order->seed,
           number == TO_THE_END ? options->first : number);
    if (options->limit_s != default_limit_s(order->column)) printf(" --limit %g", options->limit_s);
    putchar('\n');
}

_Noreturn static void judge(const struct options *options, uint32_t trial, pid_t parent, struct outcome *outcomes) {
    struct order order = options->order;
    order.number = number_of(options, trial);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    (void)alarm(30 + 10 * (unsigned)options->limit_s); /* a peer may hang the judge, too */
    /* A peer whose cursors are damaged writes anywhere. */
    (void)madvise(outcomes, options->trials * sizeof *outcomes, MADV_DONTFORK);
    trial_run(&order, &outcomes[trial]);
    _exit(0);
}

/* The trials that run, by process. */
struct crew {
    pid_t pids[AT_ONCE];
    uint32_t trials[AT_ONCE];
};

static void start(const struct options *options, uint32_t trial, struct crew *crew, struct outcome *outcomes) {
    const pid_t parent = getpid();
    uint32_t seat = 0;
    while (crew->pids[seat] != 0)
        seat++;
    (void)fflush(NULL);
    const pid_t child = fork();
    if (child == 0) judge(options, trial, parent, outcomes);
    if (child < 0) perror("survival: fork"), exit(FAILED);
    crew->pids[seat] = child;
    crew->trials[seat] = trial;
}

/* Counts the trials that are over; returns how many. */
static uint32_t reap(const struct options *options, struct crew *crew, struct outcome *outcomes,
                     struct counts *counts) {
    uint32_t over = 0;
    int status;
    for (uint32_t seat = 0; seat < AT_ONCE; seat++) {
        const uint32_t trial = crew->trials[seat];
        struct outcome *outcome = &outcomes[trial];
        if (crew->pids[seat] == 0 || waitpid(crew->pids[seat], &status, WNOHANG) != crew->pids[seat]) continue;
        crew->pids[seat] = 0;
        over++;
        if (WIFSIGNALED(status)) {
            outcome->verdict = WTERMSIG(status) == SIGALRM ? HANG : CRASH;
            (void)snprintf(outcome->why, sizeof outcome->why, "make, close or forget: SIG%s",
                           sigabbrev_np(WTERMSIG(status)));
        }
        counts->of[outcome->verdict]++;
        if (outcome->ms > counts->worst_ms) counts->worst_ms = outcome->ms;
        const uint32_t number = number_of(options, trial);
        if (outcome->verdict != ABSENT && (number != TO_THE_END || outcome->steps == 0) &&
            (options->order.column->fine >> outcome->verdict & 1) == 0)
            print_failure(options, number, outcome);
    }
    return over;
}

static void wait_for_one(void) {
    const struct timespec time = {.tv_nsec = 100000000}; /* the last one's signal may stand for two */
    sigset_t set;
    peers_watched_signals(&set);
    const int signal = sigtimedwait(&set, NULL, &time);
    if (signal > 0 && signal != SIGCHLD) interrupted = signal;
}

static void run(const struct options *options, struct outcome *outcomes, struct counts *counts) {
    const struct order *order = &options->order;
    const uint32_t most = order->peer->busy ? AT_ONCE_BUSY : order->column->steps ? AT_ONCE : AT_ONCE_STREAMS;
    struct crew crew = {.pids = {0}};
    uint32_t begun = 0, over = 0;
    while (over < options->trials && interrupted == 0 && counts->of[ABSENT] == 0) {
        while (begun < options->trials && begun - over < most)
            start(options, begun++, &crew, outcomes);
        wait_for_one();
        over += reap(options, &crew, outcomes, counts);
    }
    for (uint32_t seat = 0; seat < AT_ONCE; seat++) /* and the ends die with their judges */
        if (crew.pids[seat] != 0 && kill(crew.pids[seat], SIGKILL) == 0) (void)waitpid(crew.pids[seat], NULL, 0);
}

/* One call that is not interrupted tells how many instructions there are. Who fails before it gets there has failed in one
 * of the trials. */
static void count_steps(struct options *options, struct outcome *outcomes, struct counts *counts) {
    enum { TRIES = 8 }; /* a peer that fails in all of them is not worth the wait for more */
    struct options one = *options;
    one.trials = 1;
    for (int tries = 0; tries < TRIES && options->trials > 0; tries++, options->trials--) {
        const struct counts before = *counts;
        run(&one, outcomes, counts);
        if (interrupted != 0 || counts->of[ABSENT] != 0) return;
        if (outcomes->steps == 0) continue;
        *counts = before;
        options->steps = outcomes->steps > options->first ? outcomes->steps : options->first;
        const uint32_t points = options->steps - options->first + 1;
        if (options->trials > points) options->trials = points;
        return;
    }
    options->trials = 0;
}

/* What a copy takes depends on its addresses: at the same ones the same instruction is found again. Where that is denied,
 * a few instructions beside it. */
static void fix_addresses(char **argv) {
    const int now = personality(UINT32_MAX);
    if (now == -1 || (now & ADDR_NO_RANDOMIZE) != 0 || personality((unsigned)now | ADDR_NO_RANDOMIZE) == -1) return;
    (void)execv("/proc/self/exe", argv);
}

static int print_total(const struct options *options, const struct counts *counts) {
    const struct order *order = &options->order;
    uint32_t trials = 0;
    bool fine = true;
    for (enum verdict verdict = WELL; verdict < ABSENT; verdict++)
        trials += counts->of[verdict];
    printf("total: column=%s peer=%s trials=%u", order->column->name, order->peer->name, trials);
    for (enum verdict verdict = WELL; verdict < ABSENT; verdict++) {
        printf(" %s=%u", verdict_words[verdict], counts->of[verdict]);
        fine = fine && (counts->of[verdict] == 0 || (order->column->fine >> verdict & 1) != 0);
    }
    if (order->column->steps) printf(" steps=%u", options->steps);
    printf(" worst_ms=%lld\n", (long long)counts->worst_ms);
    return fine ? DONE : FAILED;
}

static int print_absent(const struct options *options, const char *why) {
    printf("absent: column=%s peer=%s: %s\n", options->order.column->name, options->order.peer->name, why);
    return DONE;
}

static const char *why_absent(const struct outcome *outcomes) {
    while (outcomes->verdict != ABSENT)
        outcomes++;
    return outcomes->why;
}

int main(int argc, char **argv) {
    struct options options;
    struct counts counts = {.of = {0}};
    program = argv[0];
    parse(argc, argv, &options);
    if (!options.order.column->suits(options.order.peer)) return print_absent(&options, options.order.column->unsuited);
    if (options.order.column->steps) fix_addresses(argv);
    peers_prepare_signals();
    struct outcome *outcomes =
        mmap(NULL, options.trials * sizeof *outcomes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcomes == MAP_FAILED) return perror("survival: memory"), FAILED;
    printf("seed %llu\n", (unsigned long long)options.order.seed);
    if (options.order.column->steps) count_steps(&options, outcomes, &counts);
    if (counts.of[ABSENT] == 0) run(&options, outcomes, &counts);
    const int status = interrupted != 0         ? 128 + interrupted
                       : counts.of[ABSENT] != 0 ? print_absent(&options, why_absent(outcomes))
                                                : print_total(&options, &counts);
    return fflush(stdout) == 0 ? status : FAILED;
}
