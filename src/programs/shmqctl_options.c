/* See shmqctl_options.h. Opens nothing. */
#include "shmqctl_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "narration.h"
#include "options.h"
#include "stream.h"

enum { OPTION_JSON = 256, OPTION_WATCH, OPTION_FORCE, OPTION_ORPHANS };

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"watch", optional_argument, NULL, OPTION_WATCH},
    {"force", no_argument, NULL, OPTION_FORCE},
    {"orphans", no_argument, NULL, OPTION_ORPHANS},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char synopsis[] = "Usage: shmqctl ls [--json] [DIR]\n"
                               "       shmqctl stat [--json] [--watch [SECONDS]] NAME\n"
                               "       shmqctl check [--json] NAME\n"
                               "       shmqctl rm [--force] NAME...\n"
                               "       shmqctl rm --orphans [DIR]\n";

static const char text[] = "Looks at shmq queues and disturbs none: it takes no part in them, changes\n"
                           "nothing and opens them for reading only.\n"
                           "\n"
                           "  ls       every queue in DIR [/dev/shm], and doorbells that were left behind\n"
                           "  stat     all about one queue\n"
                           "  check    what is wrong with a queue, message by message, and what to do\n"
                           "  rm       remove queues that nobody uses; what waits in them is lost\n"
                           "\n"
                           "NAME is /name in shared memory, or a path such as ./name.\n"
                           "\n"
                           "      --json             for programs; the keys are in shmqctl(1)\n"
                           "      --watch [SECONDS]  again and again, with rates, until Ctrl-C [1]: a\n"
                           "                         screen on a terminal, elsewhere a line each time\n"
                           "      --force            also a queue in use: those who have it open go on, and\n"
                           "                         whoever comes gets a new one\n"
                           "      --orphans          doorbells in DIR [/dev/shm] whose queue is gone\n"
                           "  -h, --help             print this and exit\n"
                           "  -V, --version          print the version and exit\n"
                           "\n"
                           "ls shows: P, C producers and consumers that are there; SENT messages since\n"
                           "creation; WAIT messages not yet taken; FULL how much of the room they take;\n"
                           "FLAGS p many producers, c many consumers, e ephemeral, x checksums; AGE since\n"
                           "creation. STATE is in use; sending (no consumer is there), receiving (no\n"
                           "producer is), idle (nobody is), left (nobody is, and messages wait); or\n"
                           "damaged, truncated or foreign, as said below the line.\n"
                           "\n"
                           "Exit status: 0 fine; 1 something is wrong or not there (check: a problem was\n"
                           "found); 2 wrong usage.\n"
                           "\n"
                           "Examples:\n"
                           "  shmqctl ls\n"
                           "  shmqctl stat --watch /shmq\n"
                           "  shmqctl check /shmq || shmqctl rm /shmq\n";

static int usage(const struct streams *io, const char *what, const char *why) {
    static const char hint[] = "Try 'shmqctl --help'.\n";

    narrate(io->err, "shmqctl", "%s%s%s", what, *what == '\0' ? "" : ": ", why);
    (void)stream_write(io->err, synopsis, sizeof synopsis - 1);
    (void)stream_write(io->err, hint, sizeof hint - 1);
    return STATUS_USAGE;
}

static int answer(const struct streams *io, int option) {
    const int failed = option == 'V' ? help_version(io->out, "shmqctl")
                                     : stream_write(io->out, synopsis, sizeof synopsis - 1) != 0 ||
                                           stream_write(io->out, text, sizeof text - 1) != 0;

    if (!failed) return STATUS_DONE;
    narrate(io->err, "shmqctl", "cannot write standard output: %s", strerror(errno));
    return STATUS_FAILURE;
}

/* A name has a slash. */
static bool is_number(const char *word) {
    return strchr("0123456789.", word[0]) != NULL && word[0] != '\0' && strchr(word, '/') == NULL;
}

static bool parse_seconds(const char *value, int64_t *every_ns) {
    char *rest;
    const double seconds = strtod(value, &rest);

    if (!is_number(value) || *rest != '\0' || !(seconds >= 0.001 && seconds <= 86400)) return false;
    *every_ns = (int64_t)(seconds * 1e9);
    return true;
}

/* --watch, --watch=SECONDS, and --watch SECONDS: a number has no slash, and a name has. */
static bool take_watch(struct shmqctl_options *options, int argc, char **argv) {
    options->every_ns = 1000000000;
    if (optarg != NULL) return parse_seconds(optarg, &options->every_ns);
    if (optind >= argc || !is_number(argv[optind])) return true;
    return parse_seconds(argv[optind++], &options->every_ns);
}

static bool find_command(const char *word, enum shmqctl_command *command) {
    static const char *const words[] = {"ls", "stat", "check", "rm"};

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i]) != 0) continue;
        *command = (enum shmqctl_command)i;
        return true;
    }
    return false;
}

/* Do the arguments suit the command? NULL: yes. */
static const char *misfit(const struct shmqctl_options *options) {
    const bool directory = options->command == SHMQCTL_LS || options->orphans;

    if (options->every_ns != 0 && options->command != SHMQCTL_STAT) return "only stat can --watch";
    if ((options->force || options->orphans) && options->command != SHMQCTL_RM)
        return "--force and --orphans are for rm";
    if (options->json && options->command == SHMQCTL_RM) return "rm has no --json";
    if (directory) return options->count <= 1 ? NULL : "one DIR at most";
    if (options->count == 0) return "which queue? Give its NAME";
    if (options->count > 1 && options->command != SHMQCTL_RM) return "one NAME at a time";
    for (int i = 0; i < options->count; i++)
        if (strchr(options->names[i], '/') == NULL) return "NAME needs a slash: /name, or a path such as ./name";
    return NULL;
}

int shmqctl_options_parse(struct shmqctl_options *options, int argc, char **argv, const struct streams *io) {
    const char *wrong;
    int option;

    *options = (struct shmqctl_options){.command = SHMQCTL_LS};
    optind = 0; /* forget an earlier command line */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hV", long_options, NULL)) != -1) {
        switch (option) {
        case 'h':
        case 'V': return answer(io, option);
        case OPTION_JSON: options->json = true; break;
        case OPTION_FORCE: options->force = true; break;
        case OPTION_ORPHANS: options->orphans = true; break;
        case OPTION_WATCH:
            if (take_watch(options, argc, argv)) break;
            return usage(io, "--watch", "SECONDS is a number from 0.001 to 86400");
        default: return usage(io, argv[optind - 1], "no such option");
        }
    }
    if (optind >= argc) return usage(io, "", "ls, stat, check or rm?");
    if (!find_command(argv[optind], &options->command)) return usage(io, argv[optind], "no such command");
    options->names = argv + optind + 1;
    options->count = argc - optind - 1;
    wrong = misfit(options);
    return wrong == NULL ? OPTIONS_GO_ON : usage(io, argv[optind], wrong);
}
