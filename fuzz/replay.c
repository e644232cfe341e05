/* Replays files through a fuzz target, without an engine: what `bazel test` does with a target's corpus and regressions,
 * and what a finding is looked at with.
 *
 *     NAME FILE…
 *
 * Each file is named before it runs and has a line that begins with "ok" afterwards. All run in one child process, so that
 * whatever one ends with, a crash, a sanitizer's report, a leak or a hang, the last line is the command that repeats it.
 * They run once more in the reverse order: what an input does must not depend on what ran before. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "counts.h"

enum { PATIENCE_S = 60 }; /* for one file, under any tool */

/* Of LeakSanitizer, if it is there: so that a leak is known to be of this file. */
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

struct input {
    unsigned char *bytes; /* as long as it is, so that a sanitizer sees what reads beyond */
    size_t size;
};

__attribute__((noreturn)) static void give_up(const char *what, const char *path) {
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    exit(2);
}

static struct input read_file(const char *path) {
    FILE *file = fopen(path, "re");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) give_up("open", path);
    const long size = ftell(file);
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0) give_up("read", path);
    struct input input = {malloc((size_t)size), (size_t)size};
    if (input.bytes == NULL && size > 0) give_up("read", path);
    if (fread(input.bytes, 1, input.size, file) != input.size) give_up("read", path);
    fclose(file);
    return input;
}

/* What came of it. */
static uint64_t run(const char *path) {
    struct input input = read_file(path);
    alarm(PATIENCE_S);
    LLVMFuzzerTestOneInput(input.bytes, input.size);
    alarm(0);
    free(input.bytes);
    return fuzz_outcome == NULL ? 0 : fuzz_outcome();
}

static uint64_t replay(const char *path) {
    printf("try    %s\n", path);
    fflush(stdout);
    const uint64_t outcome = run(path);
    if (__lsan_do_recoverable_leak_check != NULL && __lsan_do_recoverable_leak_check() != 0) abort();
    printf("ok     %s\n", path);
    fflush(stdout);
    return outcome;
}

/* The child: notes in `at` which file it is at. */
static void replay_all(int argc, char **argv, volatile int *at) {
    if (LLVMFuzzerInitialize != NULL) LLVMFuzzerInitialize(&argc, &argv);
    uint64_t *outcomes = calloc((size_t)argc, sizeof *outcomes);
    if (outcomes == NULL) give_up("calloc", "");
    for (*at = 1; *at < argc; ++*at)
        outcomes[*at] = replay(argv[*at]);
    while (--*at > 0) {
        if (run(argv[*at]) == outcomes[*at]) continue;
        fprintf(stderr, "%s does something else after other inputs than before\n", argv[*at]);
        exit(1);
    }
    *at = argc;
    free(outcomes);
    printf("files: %d, operations: %" PRIu64 "\n", argc - 1, operations_done());
}

static void tell_end(int status) {
    if (status == 0)
        fprintf(stderr, "FAILED: the program ended early\n");
    else if (WIFEXITED(status))
        fprintf(stderr, "FAILED: exit status %d\n", WEXITSTATUS(status));
    else if (WTERMSIG(status) == SIGALRM)
        fprintf(stderr, "FAILED: not done after %d s\n", PATIENCE_S);
    else
        fprintf(stderr, "FAILED: signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
}

/* As one types it: the sanitizers' variants are started by a script beside the plain program. */
static void tell_command(const char *program, const char *file) {
    const char *tool = getenv("SHMQ_TEST_VARIANT"), *slash = strrchr(program, '/');
    char name[NAME_MAX + 1];
    snprintf(name, sizeof name, "%s%s%s", slash == NULL ? program : slash + 1, tool == NULL ? "" : "_",
             tool == NULL ? "" : tool);
    fprintf(stderr, "to reproduce: bazel build //fuzz:%s && bazel-bin/fuzz/%s %s\n", name, name, file);
}

int main(int argc, char **argv) {
    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        fprintf(stderr, "usage: %s FILE…    runs each once; the last line is what repeats a failure\n", argv[0]);
        return 2;
    }
    volatile int *at = mmap(NULL, sizeof *at, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) give_up("mmap", "");
    const pid_t child = fork();
    if (child < 0) give_up("fork", argv[0]);
    if (child == 0) {
        replay_all(argc, argv, at);
        return 0;
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) give_up("wait for", argv[0]);
    if (status == 0 && *at == argc) _exit(0); /* what is told at exit, the child told */
    tell_end(status);
    tell_command(argv[0], argv[*at < argc ? *at : argc - 1]);
    _exit(1);
}
