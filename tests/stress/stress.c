/* The program: rounds until time is up or one fails. */
#include "stress.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"

enum { DONE, FAILED, USAGE, DEFAULT_ROUNDS = 10, TRIES = 100 };

static const char HELP[] = "Usage: stress [OPTION]…\n"
                           "Many ends of one queue under kills, stops, signals and whatever else a scenario draws, in "
                           "rounds of about a second;\n"
                           "proves that every message arrives exactly once and that nothing is left behind.\n"
                           "  --seed N          the scenarios follow from it (default: random; printed first)\n"
                           "  --first N         the number of the first round (0)\n"
                           "  --rounds N        how many (10, unless --seconds is given)\n"
                           "  --seconds N       begin no round after so long\n"
                           "  --threads         the ends are threads on one mapping: for thread and memory sanitizers\n"
                           "  --notifier NAME   the same as --scenario notifier=NAME\n"
                           "  --scenario 'KEY=VALUE …'   pin these; keys as every round's line shows them\n"
                           "  --tied            end with the process that started this one\n"
                           "  --evidence DIRECTORY       where to keep what tells of a failure\n"
                           "SHMQ_STRESS_STEM in the environment: what the names of queues and directories start with.\n"
                           "Exit status: 0 all is proven, 1 a failure, 2 wrong arguments, 130 interrupted.\n";

struct options {
    uint64_t seed, first, rounds;
    double seconds; /* 0: no limit */
    bool threads;
    const char *evidence;
};

volatile int stress_interrupted;
static const char *program;
static char pins[1024];

static void interrupt(int number) { stress_interrupted = number; }
static void nothing(int number) { (void)number; }

static int usage(const char *what, const char *why) {
    fprintf(stderr, "stress: %s: %s\nstress --help tells more.\n", what, why);
    return USAGE;
}

void stress_reproduce(FILE *to, uint64_t seed, uint32_t number, bool threads) {
    fprintf(to, "%s --seed %llu --first %u --rounds 1%s", program, (unsigned long long)seed, number,
            threads ? " --threads" : "");
    fprintf(to, pins[0] == '\0' ? "%s\n" : " --scenario '%s'\n", pins);
}

static const char *pin(const char *key, const char *value) {
    const size_t length = strlen(pins);
    const int more = snprintf(pins + length, sizeof pins - length, "%s%s%s", length == 0 ? "" : " ", key, value);
    return more >= (int)(sizeof pins - length) ? "too long" : scenario_pin(pins + length);
}

/* ---- Arguments ----------------------------------------------------------------------------- */

static bool parse_number(const char *text, uint64_t most, uint64_t *number) {
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && text[0] != '-' && *number <= most;
}

static const char *parse_option(struct options *options, int option, const char *value) {
    static const char NO_NUMBER[] = "that is no such number";
    char *end;
    switch (option) {
    case 's': return parse_number(value, UINT64_MAX, &options->seed) ? NULL : NO_NUMBER;
    case 'f': return parse_number(value, UINT32_MAX, &options->first) ? NULL : NO_NUMBER;
    case 'r': return parse_number(value, UINT32_MAX, &options->rounds) ? NULL : NO_NUMBER;
    case 'n': return pin("notifier=", value);
    case 'p': return pin("", value);
    case 'e': return options->evidence = value, NULL;
    case 't': return options->threads = true, NULL;
    case 'T': return prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 ? NULL : "cannot";
    default: break;
    }
    options->seconds = strtod(value, &end);
    return end != value && *end == '\0' && options->seconds > 0 ? NULL : NO_NUMBER;
}

/* DONE: go on. */
static int parse(struct options *options, int argc, char **argv) {
    static const struct option NAMES[] = {
        {"seed", required_argument, NULL, 's'},     {"first", required_argument, NULL, 'f'},
        {"rounds", required_argument, NULL, 'r'},   {"seconds", required_argument, NULL, 'S'},
        {"threads", no_argument, NULL, 't'},        {"notifier", required_argument, NULL, 'n'},
        {"scenario", required_argument, NULL, 'p'}, {"evidence", required_argument, NULL, 'e'},
        {"tied", no_argument, NULL, 'T'},           {NULL, 0, NULL, 0},
    };
    int option, at = 0;
    opterr = 0; /* we say it ourselves */
    while ((option = getopt_long(argc, argv, "", NAMES, &at)) != -1) {
        if (option == '?') return usage(argv[optind - 1], "what is that?");
        const char *wrong = parse_option(options, option, optarg);
        if (wrong != NULL) return usage(NAMES[at].name, wrong);
    }
    if (optind < argc) return usage(argv[optind], "what is that?");
    if (options->rounds == 0) options->rounds = options->seconds > 0 ? UINT32_MAX : DEFAULT_ROUNDS;
    struct scenario s;
    const char *wrong = scenario_draw(&s, options->seed, 0, 0, options->threads);
    return wrong == NULL ? DONE : usage("--scenario", wrong);
}

/* ---- Rounds -------------------------------------------------------------------------------- */

static void print_outcome(const struct outcome *o) {
    printf("messages=%llu bytes=%llu seconds=%.2f kills=%llu stops=%llu signals=%llu interrupted=%llu again=%llu "
           "lost=%llu memory_kib=%llu\n",
           (unsigned long long)o->messages, (unsigned long long)o->bytes, o->seconds, (unsigned long long)o->kills,
           (unsigned long long)o->stops, (unsigned long long)o->signals, (unsigned long long)o->interrupted,
           (unsigned long long)o->again, (unsigned long long)o->lost, (unsigned long long)o->memory_kib);
}

static void add_up(struct outcome *total, const struct outcome *o) {
    total->messages += o->messages;
    total->bytes += o->bytes;
    total->seconds += o->seconds;
    total->kills += o->kills;
    total->stops += o->stops;
    total->signals += o->signals;
    total->interrupted += o->interrupted;
    total->again += o->again;
    total->lost += o->lost;
    if (o->memory_kib > total->memory_kib) total->memory_kib = o->memory_kib;
}

/* Draws until it can run here. What is wrong, or NULL. */
static const char *choose(struct round *round) {
    const char *wrong = NULL, *missing = "";
    for (unsigned again = 0; again < TRIES && wrong == NULL && missing != NULL; again++) {
        wrong = scenario_draw(&round->s, round->seed, round->number, again, round->threads);
        missing = wrong == NULL ? scenario_missing(&round->s) : NULL;
        if (missing != NULL) printf("round %u: SKIP: %s\n", round->number, missing);
    }
    return wrong != NULL ? wrong : missing;
}

static void name(struct round *round) {
    uint64_t random = 0;
    const char *parent = getenv("TEST_TMPDIR"), *stem = getenv("SHMQ_STRESS_STEM");
    if (parent == NULL) parent = getenv("TMPDIR");
    if (stem == NULL) stem = "shmq-stress";
    if (getrandom(&random, sizeof random, 0) != sizeof random) abort();
    snprintf(round->directory, sizeof round->directory, "%s/%s.%016llx", parent == NULL ? "/tmp" : parent, stem,
             (unsigned long long)random);
    if (round->s.place == A_FILE)
        snprintf(round->name, sizeof round->name, "%s/queue", round->directory);
    else
        snprintf(round->name, sizeof round->name, "/%s.%016llx", stem, (unsigned long long)random);
}

static int run_one(const struct options *options, uint32_t number, struct outcome *total) {
    struct outcome outcome;
    struct round *round = check_shared(sizeof *round);
    round->seed = options->seed;
    round->number = number;
    round->threads = options->threads;
    const char *wrong = choose(round);
    if (wrong != NULL) {
        munmap(round, sizeof *round);
        return usage("no scenario fits", wrong);
    }
    name(round);
    printf("round %u: ", number);
    scenario_print(stdout, &round->s);
    printf(": ");
    fflush(stdout);
    round_run(round, options->evidence, &outcome);
    print_outcome(&outcome);
    add_up(total, &outcome);
    const bool failed = outcome.failure[0] != '\0';
    if (failed) printf("FAILED round %u: %s\n", number, outcome.failure);
    munmap(round, sizeof *round);
    return failed ? FAILED : DONE;
}

static int run(const struct options *options) {
    const int64_t start_ms = check_now_ms();
    struct outcome total = {.failure = ""};
    uint64_t done = 0;
    int result = DONE;
    while (done < options->rounds && result == DONE && stress_interrupted == 0) {
        if (options->seconds > 0 && (double)(check_now_ms() - start_ms) >= options->seconds * 1000) break;
        result = run_one(options, (uint32_t)(options->first + done), &total);
        done += stress_interrupted == 0;
    }
    if (result == USAGE) return result;
    printf("total: rounds=%llu failed=%d ", (unsigned long long)done, result == FAILED);
    print_outcome(&total);
    if (result == FAILED) {
        printf("to reproduce: ");
        stress_reproduce(stdout, options->seed, (uint32_t)(options->first + done - 1), options->threads);
    }
    return stress_interrupted == 0 ? result : 128 + stress_interrupted;
}

static void prepare_signals(void) {
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG); /* the signal notifier wants it blocked */
    sigprocmask(SIG_BLOCK, &urgent, NULL);
    const struct sigaction ends = {.sa_handler = interrupt}, disturbs = {.sa_handler = nothing}; /* no SA_RESTART */
    sigaction(SIGINT, &ends, NULL);
    sigaction(SIGTERM, &ends, NULL);
    sigaction(SIGHUP, &ends, NULL);
    sigaction(SIGUSR1, &disturbs, NULL);
}

int main(int argc, char **argv) {
    struct options options = {.evidence = getenv("TEST_UNDECLARED_OUTPUTS_DIR")};
    program = argv[0];
    if (getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed) abort();
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) return fputs(HELP, stdout) < 0;
    const int result = parse(&options, argc, argv);
    if (result != DONE) return result;
    setvbuf(stdout, NULL, _IOLBF, 0);
    prepare_signals();
    printf("seed %llu\n", (unsigned long long)options.seed);
    return run(&options);
}
