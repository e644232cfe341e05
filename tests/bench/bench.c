/* One measurement of one peer: reads the command line, has a pair of processes do it, and prints
 * one JSON object on one line. run.py calls it many times. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measures.h"

enum { EXIT_USAGE = 2, MAX_ROUNDS = 10000000, MAX_WAIT_MS = 600000, SURELY_S = 20, LEAST = 8, LARGEST = 64 << 20 };
enum { MAX_ENDS = 64 }; /* so many has a side of shmq */

static void usage(FILE *to) {
    (void)fprintf(to, "Usage: bench MEASURE PEER [OPTION]...\n"
                      "       bench --list | --help\n"
                      "Measures once, with two processes on two cores, and prints one line of JSON."
                      "\n\nMeasures:\n");
    for (const struct measure *measure = measures; measure->name != NULL; measure++)
        (void)fprintf(to, "  %-12s %-15s %s (%s; --rounds %u)\n", measure->name, measure->wait ? measure->wait : "",
                      measure->about, measure->unit, measure->rounds);
    (void)fprintf(to, "\n"
                      "  --rounds N       so many samples\n"
                      "  --wait HOW       of a measure that is there several times: the second column (default)\n"
                      "  --bytes N        of a message (64, or as many as the peer can carry)\n"
                      "  --capacity N     bytes of a ring (what users get by default); one that is more than a\n"
                      "                   quarter of the free memory is not made\n"
                      "  --messages N     of a sample of stream or many\n"
                      "  --ends N         producers of many, and as many consumers (1)\n"
                      "  --careful        with all that the peer has against damage: shmq, with checksums\n"
                      "  --wait-ms N      how long idle and idle_timeout wait (2000)\n"
                      "  --limit SECONDS  what takes longer hangs, and is killed\n"
                      "  --placement LEAST-MOST\n"
                      "                   begin when a cache line's round trip takes so many ns, which depends on\n"
                      "                   where the host has put the cores, or after a second or so\n"
                      "  --list           the names of the peers, one a line\n\n"
                      "SHMQ_BENCH_STEM in the environment: what names in /dev/shm start with.\n"
                      "Exit status: 0 measured; 1 not, the JSON says why; 2 usage; 128+N signal N."
                      "\n");
}

_Noreturn static void wrong(const char *what, const char *word) {
    (void)fprintf(stderr, "bench: %s: %s\n", what, word);
    usage(stderr);
    exit(EXIT_USAGE);
}

static double number(const char *text, double most) {
    char *rest;
    errno = 0;
    double value = strtod(text, &rest);
    if (errno != 0 || rest == text || *rest != '\0' || !(value > 0 && value <= most))
        wrong("not a number, or out of range", text);
    return value;
}

static void placement(char *text, int64_t ns[2]) {
    char *dash = strchr(text, '-');
    if (dash == NULL) wrong("not LEAST-MOST", text);
    *dash = '\0';
    ns[0] = (int64_t)number(text, 1e9);
    ns[1] = (int64_t)number(dash + 1, 1e9);
    if (ns[0] < 1 || ns[1] < ns[0]) wrong("less at most than at least", dash + 1);
}

static size_t size(const char *text) {
    const size_t bytes = (size_t)number(text, LARGEST);
    if (bytes < LEAST) wrong("too few bytes", text);
    return bytes;
}

/* In the time of their rounds, and a lot more: 10 microseconds a message. */
static double default_limit(const struct pair *pair, const struct measure *measure) {
    const int round_ms = measure->round_ms > 0 ? (int)measure->round_ms : pair->wait_ms;
    return (double)SURELY_S + pair->rounds * (round_ms / 1e3 + (double)pair->burst * 1e-5);
}

/* Without a wait: that of the first row of this name. */
static const struct measure *measure_named(const char *name, const char *wait) {
    for (const struct measure *measure = measures; measure->name != NULL; measure++)
        if (strcmp(measure->name, name) == 0 &&
            (wait == NULL || (measure->wait != NULL && strcmp(measure->wait, wait) == 0)))
            return measure;
    wrong("no such measure", wait != NULL ? wait : name);
}

static void list_peers(void) {
    const struct peer *peer;
    for (size_t i = 0; (peer = peer_at(i)) != NULL; i++)
        puts(peer->name);
}

static const struct option OPTIONS[] = {
    {"rounds", required_argument, NULL, 'r'},
    {"wait", required_argument, NULL, 'W'},
    {"wait-ms", required_argument, NULL, 'w'},
    {"limit", required_argument, NULL, 'l'},
    {"bytes", required_argument, NULL, 'b'},
    {"capacity", required_argument, NULL, 'c'},
    {"messages", required_argument, NULL, 'm'},
    {"ends", required_argument, NULL, 'e'},
    {"careful", no_argument, NULL, 'C'},
    {"list", no_argument, NULL, 'L'},
    {"placement", required_argument, NULL, 'p'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Fills pair from the options; returns how it is to wait, or NULL. */
static const char *parse_options(int argc, char **argv, struct pair *pair) {
    const char *wait = NULL;
    for (int option; (option = getopt_long(argc, argv, "h", OPTIONS, NULL)) != -1;) {
        switch (option) {
        case 'r': pair->rounds = (uint32_t)number(optarg, MAX_ROUNDS); break;
        case 'W': wait = optarg; break;
        case 'w': pair->wait_ms = (int)number(optarg, MAX_WAIT_MS); break;
        case 'b': pair->bytes = size(optarg); break;
        case 'c': pair->capacity = (size_t)number(optarg, 1e12); break;
        case 'm': pair->burst = (int64_t)number(optarg, 1e12); break;
        case 'e': pair->ends = (uint32_t)number(optarg, MAX_ENDS); break;
        case 'C': pair->careful = true; break;
        case 'l': pair->limit_s = number(optarg, 1e6); break;
        case 'p': placement(optarg, pair->placement_ns); break;
        case 'L': list_peers(); exit(0);
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(EXIT_USAGE);
        }
    }
    return wait;
}

/* Unless it is told: so many bytes as the peer can carry. Large ones want a ring in which several have room. */
static void choose_bytes(struct pair *pair) {
    enum { ROOM = 1 << 20, SEVERAL = 8 };
    const size_t largest = pair->peer->largest;
    if (pair->bytes == 0) pair->bytes = largest > 0 && largest < MESSAGE_BYTES ? largest : MESSAGE_BYTES;
    if (pair->capacity == 0 && pair->bytes > ROOM / SEVERAL) pair->capacity = SEVERAL * pair->bytes;
}

/* Fills pair from the command line; returns the measure. */
static const struct measure *parse(int argc, char **argv, struct pair *pair) {
    const char *wait = parse_options(argc, argv, pair);
    if (argc - optind != 2) wrong("wanted", "one measure and one peer");
    const struct measure *measure = measure_named(argv[optind], wait);
    pair->peer = peer_named(argv[optind + 1]);
    if (pair->peer == NULL) wrong("no such peer", argv[optind + 1]);
    if (pair->ends > 1 && measure->part != crowd) wrong("not of several ends", measure->name);
    if (pair->rounds == 0) pair->rounds = measure->rounds;
    if (pair->limit_s <= 0) pair->limit_s = default_limit(pair, measure);
    pair->columns = measure->columns;
    pair->lane_count = measure->one_way ? 1 : 2;
    pair->keeps_names = measure->comes_late;
    pair->spins = measure->wait != NULL && strcmp(measure->wait, "spinning") == 0;
    choose_bytes(pair);
    return measure;
}

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Sorts the samples: whoever wants their order comes before. */
static void print_figure(const struct pair *pair, const struct figure *figure) {
    int64_t *samples = pair_column(pair, figure->first);
    size_t count = (size_t)pair->rounds * figure->columns;
    qsort(samples, count, sizeof *samples, compare);
    printf("\"%s\":{\"count\":%zu,\"min\":%lld,\"p50\":%lld,\"p99\":%lld,\"p999\":%lld,\"max\":%lld}", figure->name,
           count, (long long)samples[0], (long long)samples[(count - 1) / 2],
           (long long)samples[(count - 1) * 99 / 100], (long long)samples[(count - 1) * 999 / 1000],
           (long long)samples[count - 1]);
}

/* As JSON wants it. */
static void print_string(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    putchar('"');
}

static void print_result(const struct pair *pair, const struct measure *measure, enum outcome outcome) {
    static const char *const words[] = {"measured", "not here", "failed", "hung", "interrupted"};
    printf("{\"peer\":\"%s\",\"measure\":\"%s\",\"outcome\":\"%s\",", pair->peer->name, measure->name, words[outcome]);
    if (outcome != MEASURED) {
        printf("\"reason\":");
        print_string(pair_complaint(pair));
        puts("}");
        return;
    }
    printf("\"unit\":\"%s\",\"bytes\":%zu,\"rounds\":%u,", measure->unit, pair->bytes, pair->rounds);
    printf("\"played_ms\":%lld,", (long long)pair_played_ns(pair) / 1000000);
    printf("\"probe_ns\":[%lld,%lld],\"sleeps\":%lld,", (long long)pair_probe(pair, 0), (long long)pair_probe(pair, 1),
           (long long)pair_sleeps(pair));
    printf("\"cores\":[");
    for (int i = 0; i < pair->core_count; i++)
        printf("%s%d", i > 0 ? "," : "", pair->cores[i]);
    printf("],\"figures\":{");
    for (size_t i = 0; i < 3 && measure->figures[i].name != NULL; i++) {
        printf("%s", i > 0 ? "," : "");
        print_figure(pair, &measure->figures[i]);
    }
    puts("}}");
}

int main(int argc, char **argv) {
    const char *stem = getenv("SHMQ_BENCH_STEM");
    struct pair pair = {.stem = stem != NULL ? stem : "shmq-bench", .wait_ms = 2000, .ends = 1};
    const struct measure *measure = parse(argc, argv, &pair);
    peers_prepare_signals();
    (void)alarm((unsigned)pair.limit_s + SURELY_S); /* should the watcher itself hang */
    enum outcome outcome = pair_run(&pair, measure->part);
    print_result(&pair, measure, outcome);
    pair_free(&pair);
    if (outcome == INTERRUPTED) return 128 + pair.signal;
    return outcome == MEASURED && fflush(stdout) == 0 ? 0 : 1;
}
