/* sim: runs the shipped core under the simulator. `ci/sim --help` tells how; engine.h, memory.h and plot.h what. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mix.h"
#include "plot.h"

struct wish {
    enum driver_kind kind;
    const char *replay;
    long bound, kills, quirks, messages;
    bool deeper; /* the bound is to be added to the plot's */
    bool uncut;
    double seconds;
    uint64_t seed;
};

static double cpu_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* How this plot differs from what it is by default, for the command that repeats it. */
static const char *options_of(const struct wish *wish) {
    static char text[128];
    size_t length = 0;
    text[0] = '\0';
    if (wish->kills >= 0) length += (size_t)snprintf(text, sizeof text, " --kills %ld", wish->kills);
    if (wish->quirks >= 0)
        length += (size_t)snprintf(text + length, sizeof text - length, " --quirks %ld", wish->quirks);
    if (wish->messages >= 0) (void)snprintf(text + length, sizeof text - length, " --messages %ld", wish->messages);
    return text;
}

/* Shows the run that has just failed once more, step by step; last, the command that repeats it. */
static int tell_failure(const struct plot *plot, struct driver *driver, const struct wish *wish, uint64_t executions) {
    driver->again = driver->trace = true;
    (void)engine_run(plot_script(plot), driver);
    printf("FAILED: %s\n%s: failed after %llu executions", engine.message, plot->name, (unsigned long long)executions);
    if (driver->kind == DRIVE_RANDOM) printf("; its seed is %llu", (unsigned long long)driver->seed);
    printf("\nto see it again: sim %s%s --replay ", plot->name, options_of(wish));
    engine_print_choices(stdout);
    printf("\n");
    return 1;
}

static int explore(const struct plot *plot, const struct script *script, const struct wish *wish) {
    struct driver driver = {.kind = DRIVE_EXHAUSTIVE, .bound = plot->bound, .uncut = wish->uncut};
    if (wish->bound >= 0) driver.bound = (unsigned)wish->bound + (wish->deeper ? plot->bound : 0);
    const double begin = cpu_seconds();
    uint64_t executions = 0, steps = 0;
    bool whole = true;
    engine_restart();
    do {
        executions++;
        if (!engine_run(script, &driver)) return tell_failure(plot, &driver, wish, executions);
        steps += engine.steps;
        whole = wish->seconds == 0 || executions % 256 != 0 || cpu_seconds() - begin < wish->seconds;
    } while (whole && engine_next());
    const double seconds = cpu_seconds() - begin;
    printf("%s: %llu executions, %llu states, %llu ends, %llu steps each; %s up to bound %u%s; %.1f s of processor\n",
           plot->name, (unsigned long long)executions, (unsigned long long)engine_states(),
           (unsigned long long)engine_ends(), (unsigned long long)(steps / executions), whole ? "all" : "NOT ALL",
           driver.bound, engine_was_bounded() ? "" : ", and so all there are", seconds);
    return 0;
}

static int roam(const struct plot *plot, const struct script *script, const struct wish *wish) {
    const double begin = cpu_seconds();
    uint64_t executions = 0, steps = 0, seed = wish->seed;
    double seconds;
    printf("%s: first seed %llu\n", plot->name, (unsigned long long)seed);
    do {
        for (unsigned batch = 0; batch < 256; batch++, seed = mix(seed + 1)) {
            struct driver driver = {.kind = DRIVE_RANDOM, .seed = seed};
            executions++;
            if (!engine_run(script, &driver)) return tell_failure(plot, &driver, wish, executions);
            steps += engine.steps;
        }
        seconds = cpu_seconds() - begin;
    } while (seconds < (wish->seconds == 0 ? 10 : wish->seconds));
    printf("%s: %llu executions, %llu steps each; %.0f executions a second of processor\n", plot->name,
           (unsigned long long)executions, (unsigned long long)(steps / executions), (double)executions / seconds);
    return 0;
}

static int replay(const struct script *script, const struct wish *wish) {
    struct driver driver = {.kind = DRIVE_RANDOM, .trace = true};
    char *end;
    driver.seed = strtoull(wish->replay, &end, 10);
    if (*end != '\0' && !engine_parse_choices(wish->replay, &driver))
        return (void)fprintf(stderr, "sim: not a seed and not choices: %s\n", wish->replay), 2;
    const bool right = engine_run(script, &driver);
    printf("%s%s\n", right ? "nothing is wrong with it" : "FAILED: ", right ? "" : engine.message);
    return !right;
}

static int play(const struct plot *wanted, const struct wish *wish) {
    struct plot plot = *wanted;
    if (wish->kills >= 0 && plot.kills > 0) plot.kills = (unsigned)wish->kills;
    if (wish->quirks >= 0) plot.quirks = (unsigned)wish->quirks;
    if (wish->messages >= 0) plot.messages = (unsigned)wish->messages;
    if (plot.messages > MESSAGES_MOST) return (void)fprintf(stderr, "sim: at most %d messages\n", MESSAGES_MOST), 2;
    if (wish->bound + (wish->deeper ? (long)plot.bound : 0) > BOUND_MOST)
        return (void)fprintf(stderr, "sim: the bound is at most %d\n", BOUND_MOST), 2;
    const struct script *script = plot_script(&plot);
    if (wish->replay != NULL) return replay(script, wish);
    return wish->kind == DRIVE_RANDOM ? roam(&plot, script, wish) : explore(&plot, script, wish);
}

static const struct plot *find_plot(const char *name) {
    for (const struct plot *plot = plots; plot->name != NULL; plot++)
        if (strcmp(plot->name, name) == 0) return plot;
    return NULL;
}

static int list_plots(void) {
    for (const struct plot *plot = plots; plot->name != NULL; plot++)
        printf("%-12s %s\n", plot->name, plot->what);
    return 0;
}

static long number_of(const char *text) {
    char *end;
    const long number = strtol(text, &end, 10);
    if (end != text && *end == '\0' && number >= 0) return number;
    (void)fprintf(stderr, "sim: not a number: %s: see --help\n", text);
    exit(2);
}

/* Bazel may share a test out among several processes (shard_count); each says so by touching a file. */
struct shard {
    int index, total;
};

static struct shard bazels_shard(void) {
    const char *index = getenv("TEST_SHARD_INDEX"), *total = getenv("TEST_TOTAL_SHARDS");
    const char *status = getenv("TEST_SHARD_STATUS_FILE");
    if (index == NULL || total == NULL || atoi(total) < 1) return (struct shard){.index = 0, .total = 1};
    FILE *touched = status != NULL ? fopen(status, "we") : NULL;
    if (touched != NULL) (void)fclose(touched);
    return (struct shard){.index = atoi(index), .total = atoi(total)};
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"exhaustive", no_argument, NULL, 'x'},
        {"random", no_argument, NULL, 'r'},
        {"replay", required_argument, NULL, 'a'},
        {"bound", required_argument, NULL, 'b'},
        {"kills", required_argument, NULL, 'k'},
        {"quirks", required_argument, NULL, 'q'},
        {"messages", required_argument, NULL, 'm'},
        {"uncut", no_argument, NULL, 'u'},
        {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'e'},
        {"list", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct wish wish = {DRIVE_EXHAUSTIVE, NULL, -1, -1, -1, -1, false, false, 0, mix((uint64_t)time(NULL))};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'x': wish.kind = DRIVE_EXHAUSTIVE; break;
        case 'r': wish.kind = DRIVE_RANDOM; break;
        case 'a': wish.replay = optarg; break;
        case 'b':
            wish.deeper = optarg[0] == '+';
            wish.bound = number_of(optarg + wish.deeper);
            break;
        case 'k': wish.kills = number_of(optarg); break;
        case 'q': wish.quirks = number_of(optarg); break;
        case 'u': wish.uncut = true; break;
        case 'm': wish.messages = number_of(optarg); break;
        case 's': wish.seconds = (double)number_of(optarg); break;
        case 'e': wish.seed = strtoull(optarg, NULL, 10); break;
        case 'l': return list_plots();
        default: return (void)fputs("sim: ci/sim --help tells more\n", stderr), 2;
        }
    }
    if (wish.replay != NULL && argc - optind != 1) return (void)fputs("sim: --replay is of one plot\n", stderr), 2;
    int failed = 0;
    const struct shard shard = bazels_shard();
    for (int at = optind; at < argc; at++) {
        const struct plot *plot = find_plot(argv[at]);
        if (plot == NULL) return (void)fprintf(stderr, "sim: no plot is called %s: see --list\n", argv[at]), 2;
        failed |= play(plot, &wish);
    }
    for (const struct plot *plot = plots; optind == argc && plot->name != NULL; plot++)
        if ((plot - plots) % shard.total == shard.index) failed |= play(plot, &wish);
    return failed;
}
