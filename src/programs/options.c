/* Reads command lines. Called by producer_run.c and consumer_run.c; opens nothing. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "narration.h"
#include "stream.h"

enum { OPTION_KEEP = 256, OPTION_MANY, OPTION_CHECKSUM, OPTION_COUNT, OPTION_FOLLOW, OPTION_NO_WAIT };

static const char short_options[] = ":q:n:c:m:t:0vhV";

static const struct option long_options[] = {
    {"queue", required_argument, NULL, 'q'},
    {"notify", required_argument, NULL, 'n'},
    {"capacity", required_argument, NULL, 'c'},
    {"mode", required_argument, NULL, 'm'},
    {"timeout", required_argument, NULL, 't'},
    {"null", no_argument, NULL, '0'},
    {"keep", no_argument, NULL, OPTION_KEEP},
    {"many", no_argument, NULL, OPTION_MANY},
    {"checksum", no_argument, NULL, OPTION_CHECKSUM},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"follow", no_argument, NULL, OPTION_FOLLOW},
    {"no-wait", no_argument, NULL, OPTION_NO_WAIT},
    {NULL, 0, NULL, 0},
};

/* Digits and nothing before them: strtoull alone would also take blanks and signs. Returns what follows, or NULL. */
static const char *parse_digits(const char *text, int base, uint64_t *value) {
    char *rest;

    if (*text < '0' || *text > '9') {
        return NULL;
    }
    errno = 0;
    *value = strtoull(text, &rest, base);
    return errno == 0 ? rest : NULL;
}

static bool parse_number(const char *text, int base, uint64_t max, uint64_t *value) {
    const char *rest = parse_digits(text, base, value);

    return rest != NULL && *rest == '\0' && *value <= max;
}

static bool parse_size(const char *text, size_t *size) {
    static const char units[] = {'\0', 'K', 'M', 'G'};
    uint64_t value = 0;
    const char *rest = parse_digits(text, 10, &value);
    const char *unit = rest != NULL ? memchr(units, *rest, sizeof units) : NULL;
    unsigned shift;

    if (unit == NULL || (*unit != '\0' && rest[1] != '\0')) {
        return false;
    }
    shift = 10 * (unsigned)(unit - units);
    *size = (size_t)value << shift;
    return value > 0 && *size >> shift == value;
}

/* Reading and writing come in pairs, since both ends do both; the core would only say EINVAL. */
static bool parse_mode(const char *text, mode_t *mode) {
    uint64_t value;

    if (!parse_number(text, 8, 0666, &value) || value == 0) {
        return false;
    }
    *mode = (mode_t)value;
    return (value & 0111) == 0 && (value & 0444) >> 1 == (value & 0222);
}

static const char *const notifiers[] = {
    [SHMQ_NOTIFY_SEM] = "sem",   [SHMQ_NOTIFY_NAMED] = "named",   [SHMQ_NOTIFY_COND] = "cond",
    [SHMQ_NOTIFY_FIFO] = "fifo", [SHMQ_NOTIFY_SIGNAL] = "signal", [SHMQ_NOTIFY_LOCK] = "lock",
    [SHMQ_NOTIFY_SPIN] = "spin",
};

enum { NOTIFIERS = sizeof notifiers / sizeof notifiers[0] };

const char *options_notifier(unsigned kind) { return kind < NOTIFIERS ? notifiers[kind] : "an unknown notifier"; }

static bool parse_notify(const char *text, unsigned *notify) {
    for (unsigned i = 0; i < NOTIFIERS; i++) {
        if (strcmp(text, notifiers[i]) == 0) {
            *notify = i;
            return true;
        }
    }
    return false;
}

static bool parse_timeout(const char *text, int *timeout_ms) {
    uint64_t value;

    if (!parse_number(text, 10, INT_MAX, &value)) {
        return false;
    }
    *timeout_ms = (int)value;
    return true;
}

/* Takes one option. False: its value is not what rule() says. */
static bool take(struct options *options, enum shmq_end end, int option, const char *value) {
    switch (option) {
    case 'q': options->queue = value; return strchr(value, '/') != NULL;
    case 'n': return parse_notify(value, &options->attr.notify);
    case 'c': return parse_size(value, &options->attr.capacity);
    case 'm': return parse_mode(value, &options->attr.mode);
    case 't': return parse_timeout(value, &options->timeout_ms);
    case '0': options->separator = '\0'; return true;
    case 'v': options->verbose = true; return true;
    case OPTION_KEEP: options->attr.flags &= ~(unsigned)SHMQ_EPHEMERAL; return true;
    case OPTION_MANY: options->attr.flags |= SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS; return true;
    case OPTION_CHECKSUM: options->attr.flags |= SHMQ_CHECKSUM; return true;
    case OPTION_COUNT:
        return end == SHMQ_CONSUMER && parse_number(value, 10, UINT64_MAX, &options->count) && options->count > 0;
    case OPTION_FOLLOW: options->follow = true; return end == SHMQ_CONSUMER;
    default: /* OPTION_NO_WAIT */ options->no_wait = true; return end == SHMQ_PRODUCER;
    }
}

static const char *rule(int option) {
    switch (option) {
    case 'q': return "NAME needs a slash: /name, or a path such as ./name";
    case 'n': return "KIND is sem, named, cond, fifo, signal, lock or spin";
    case 'c': return "SIZE is a number of bytes, or one with K, M or G: 4096, 64K, 1M";
    case 'm': return "OCTAL gives reading and writing together: 0600, 0660 or 0666";
    case 't': return "MS is a number of milliseconds, at most 2147483647";
    case OPTION_COUNT: return "consumer's --count N is a number of messages, at least 1";
    case OPTION_FOLLOW: return "only consumer has this option";
    default: /* OPTION_NO_WAIT */ return "only producer has this option";
    }
}

/* For an option that getopt rejected: a letter if it was one, else the word it stood in. */
static const char *rejected_option(char **argv, char letter[3]) {
    if (optopt <= 0 || optopt > CHAR_MAX) {
        return argv[optind - 1];
    }
    letter[0] = '-';
    letter[1] = (char)optopt;
    letter[2] = '\0';
    return letter;
}

static int usage(const struct streams *io, const char *program, const char *what, const char *why) {
    narrate(io->err, program, "%s: %s", what, why);
    help_usage(io->err, program);
    return STATUS_USAGE;
}

static int answer(const struct streams *io, const char *program, int option) {
    int failed = option == 'h' ? help_print(io->out, program) : help_version(io->out, program);

    if (failed) {
        narrate(io->err, program, "cannot write standard output: %s", strerror(errno));
        return STATUS_FAILURE;
    }
    return STATUS_DONE;
}

int options_parse(struct options *options, enum shmq_end end, int argc, char **argv, const struct streams *io) {
    const char *const program = end == SHMQ_PRODUCER ? "producer" : "consumer";
    char letter[3];
    int option;

    *options =
        (struct options){.queue = "/shmq", .attr = {.flags = SHMQ_EPHEMERAL}, .timeout_ms = -1, .separator = '\n'};
    optind = 0; /* forget an earlier command line */
    opterr = 0;
    while ((option = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (option == 'h' || option == 'V') {
            return answer(io, program, option);
        }
        if (option == ':' || option == '?') {
            return usage(io, program, rejected_option(argv, letter),
                         option == ':' ? "needs a value" : "no such option");
        }
        if (!take(options, end, option, optarg)) {
            return usage(io, program, argv[optind - 1], rule(option));
        }
    }
    options->first_message = optind;
    if (end == SHMQ_CONSUMER && optind < argc) {
        return usage(io, program, argv[optind], "consumer takes no messages");
    }
    return OPTIONS_GO_ON;
}
