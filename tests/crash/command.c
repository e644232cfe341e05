/* How the programs of this folder are called, and how they end. */
#include "crash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "check.h"

bool is_notifier(const char *name) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (strcmp(NOTIFIERS[row].name, name) == 0) return true;
    return false;
}

bool parse_number(const char *text, uint64_t most, uint64_t *number) {
    char *rest;
    errno = 0;
    *number = strtoull(text, &rest, 10);
    return errno == 0 && rest != text && *rest == '\0' && text[0] != '-' && *number <= most;
}

void command_refuse(const struct command *command, const char *what, const char *why) {
    fprintf(stderr, "%s: %s: %s\n%s --help tells more.\n", command->name, what, why, command->name);
    exit(USAGE);
}

const char *command_program;

void command_read(const struct command *command, int argc, char **argv) {
    command_program = argv[0];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int at = 1; at < argc; at++)
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
            exit(fputs(command->help, stdout) < 0 ? FAILED : DONE);
    for (int at = 1; at < argc; at++) {
        if (command->flag(argv[at])) continue;
        if (strncmp(argv[at], "--", 2) != 0 || at + 1 == argc) command_refuse(command, argv[at], "what is that?");
        const char *wrong = command->option(argv[at], argv[at + 1]);
        if (wrong != NULL) command_refuse(command, argv[at], wrong);
        at++;
    }
}

uint64_t command_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) abort();
    return seed;
}

bool command_begin(uint64_t seed, bool traces) {
    printf("seed %llu\n", (unsigned long long)seed);
    const int error = traces ? trace_is_allowed() : 0;
    if (error != 0) printf("SKIP: ptrace is forbidden here: %s\n", strerrorname_np(error));
    if (error == 0) jobs_prepare(seed);
    return error == 0;
}

/* ---- Progress ------------------------------------------------------------------------------ */

void command_show(const char *format, ...) {
    enum { BETWEEN_MS = 200 };
    static int64_t shown_ms;
    const int64_t now_ms = check_now_ms();
    va_list arguments;
    if (!isatty(STDERR_FILENO) || now_ms - shown_ms < BETWEEN_MS) return;
    shown_ms = now_ms;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

void command_clear(void) {
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

int command_end(uint64_t bad, const char *reproduce) {
    if (reproduce[0] != '\0') printf("to reproduce: %s\n", reproduce);
    if (jobs_interrupted) return 128 + jobs_interrupted;
    return bad == 0 ? DONE : FAILED;
}
