/* See check.h. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "layout.h"
#include "mix.h"

#if defined __has_feature /* clang's; gcc has no MemorySanitizer */
#if __has_feature(memory_sanitizer)
#define CHECK_SEES_UNINITIALIZED 1
#include <sanitizer/msan_interface.h>
#endif
#endif
#ifndef CHECK_SEES_UNINITIALIZED
#define CHECK_SEES_UNINITIALIZED 0
#endif

enum { LIMIT_SECONDS = 240, EXIT_FAILED = 1 };

static struct check_test *first_test;
static struct check_test **last_test = &first_test;
static uint64_t seed;
static uint64_t state;
static char prefix[64]; /* of all queue names of the running test, without the slash */
static const char *program = "test";
static const char *running = "";
static char note[256]; /* see check_note */

void check_register(struct check_test *test) {
    *last_test = test;
    last_test = &test->next;
}

void check_fail(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s:%d: %s: ", file, line, running);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, note[0] == '\0' ? "%s\n" : " (%s)\n", note);
    va_end(arguments);
    fflush(NULL);
    _exit(EXIT_FAILED);
}

void check_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(note, sizeof note, format, arguments);
    va_end(arguments);
}

void check_skip(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("skipped %s: ", running);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    fflush(NULL);
    _exit(CHECK_SKIPPED);
}

uint64_t check_random(void) { return random_of(&state); }

uint64_t check_below(uint64_t bound) { return check_random() % bound; }

const char *check_name(const char *suffix) {
    char name[256];
    snprintf(name, sizeof name, "/%s.%s", prefix, suffix);
    char *copy = strdup(name);
    if (copy == NULL) check_fail(__FILE__, __LINE__, "no memory");
    struct kept {
        struct kept *next;
        char *name;
    };
    static struct kept *kept; /* reachable, so that leak checkers do not blame the test */
    struct kept *keep = malloc(sizeof *keep);
    if (keep == NULL) check_fail(__FILE__, __LINE__, "no memory");
    *keep = (struct kept){kept, copy};
    kept = keep;
    return copy;
}

const char *check_path(const char *name) {
    static char path[4096];
    const bool object = name[0] == '/' && strchr(name + 1, '/') == NULL;
    snprintf(path, sizeof path, "%s%s", object ? "/dev/shm" : "", name);
    return path;
}

void *check_shared(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) check_fail(__FILE__, __LINE__, "mmap: %s", strerror(errno));
    return memory;
}

void check_pass(check_gate *gate) {
    atomic_fetch_add(gate, 1);
    syscall(SYS_futex, gate, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void check_wait(check_gate *gate, uint32_t count) {
    enum { LOOKS = 20000, LIMIT_MS = 60000 }; /* who is released by a look starts at once */
    const int64_t until = check_now_ms() + LIMIT_MS;
    uint32_t passed;
    for (int look = 0; (int32_t)((passed = atomic_load(gate)) - count) < 0; look++) {
        if (look < LOOKS) continue;
        if (check_now_ms() > until) check_fail(__FILE__, __LINE__, "waited a minute for another process");
        const struct timespec slice = {.tv_sec = 1};
        syscall(SYS_futex, gate, FUTEX_WAIT, passed, &slice, NULL, 0);
    }
}

void check_meet(check_gate *gate, uint32_t all) {
    const uint32_t arrival = atomic_fetch_add(gate, 1);
    if (arrival % all == all - 1) syscall(SYS_futex, gate, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    check_wait(gate, arrival - arrival % all + all);
}

pid_t check_spawn(void (*body)(void *), void *argument) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) check_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (child != 0) return child;
    state ^= (uint64_t)getpid() << 32; /* its own numbers */
    body(argument);
    fflush(NULL);
    exit(0); /* with the sanitizers' last checks */
}

void check_join(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child) check_fail(__FILE__, __LINE__, "waitpid: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        check_fail(__FILE__, __LINE__, "a child process ended with wait status 0x%x", status);
}

void check_kill(pid_t child) {
    int status = 0;
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child)
        check_fail(__FILE__, __LINE__, "cannot kill a child: %s", strerror(errno));
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        check_fail(__FILE__, __LINE__, "a child that was to be killed had failed with status %d", WEXITSTATUS(status));
}

static int64_t milliseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * 1000 + time->tv_nsec / 1000000;
}

int64_t check_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return milliseconds(&now);
}

int64_t check_cpu_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return milliseconds(&now);
}

/* ---- Slow tools ---------------------------------------------------------------------------- */

/* By enum check_tool. asan does everything as without a tool: it is fast, and finds most. The others were measured with
 * tests that stream (ring_test, two_process_test) and that open and close (life_cycle_test): tsan 3 to 6 times slower,
 * msan 2 to 4 times, valgrind 20 to 60 times, since it runs one thread at a time besides. `fewer` keeps most tests under
 * half a minute (what it cannot make fewer are processes: life_cycle_test and many_test take longer under valgrind).
 * `later` is less, for what waits is not all computing; it leaves room for a machine that does other things too. */
static const struct {
    const char *name;
    int fewer, later;
} TOOLS[] = {{"", 1, 1}, {"asan", 1, 1}, {"tsan", 5, 2}, {"msan", 4, 2}, {"valgrind", 40, 10}};

enum check_tool check_tool(void) {
    const char *name = getenv("SHMQ_TEST_VARIANT");
    for (size_t tool = CHECK_ASAN; name != NULL && tool < sizeof TOOLS / sizeof TOOLS[0]; tool++)
        if (strcmp(name, TOOLS[tool].name) == 0) return (enum check_tool)tool;
    return CHECK_PLAIN;
}

int check_scaled(int count) {
    const int fewer = TOOLS[check_tool()].fewer;
    return (count + fewer - 1) / fewer;
}

int check_late(int ms) { return ms * TOOLS[check_tool()].later; }

void check_initialized(const void *memory, size_t bytes) {
#if CHECK_SEES_UNINITIALIZED
    const ssize_t at = (ssize_t)__msan_test_shadow(memory, bytes);
    if (at < 0) return;
    __msan_print_shadow((const char *)memory + at, 8);
    check_fail(__FILE__, __LINE__, "byte %zd of %zu was stored without a value", at, bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

/* ---- Leaks --------------------------------------------------------------------------------- */

int check_descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL) closedir(directory);
    return count;
}

int check_mappings(void) {
    int count = 0;
    char line[4096 + 256];
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        /* The creator of a queue sees it without its name, as "/dev/shm/#17 (deleted)". */
        count += strstr(line, prefix) != NULL || strstr(line, " /dev/shm/") != NULL;
    if (maps != NULL) fclose(maps);
    return count;
}

/* ---- Running ------------------------------------------------------------------------------- */

enum { MOST_DOORBELLS = 4096 };

/* Queues whose doorbells the end of the test looks for: those that it left, and those of check_doorbells. */
static struct doorbells {
    _Atomic uint32_t count;
    struct {
        uint64_t instance, inode;
    } of[MOST_DOORBELLS];
} *doorbells;

void check_doorbells(int object) {
    struct stat status;
    struct header header;
    if (pread(object, &header, sizeof header, 0) != sizeof header || fstat(object, &status) != 0) return;
    const uint32_t at = atomic_fetch_add(&doorbells->count, 1);
    if (at >= MOST_DOORBELLS) {
        atomic_store(&doorbells->count, MOST_DOORBELLS);
        check_fail(__FILE__, __LINE__, "too many queues");
    }
    doorbells->of[at].instance = header.instance;
    doorbells->of[at].inode = status.st_ino;
}

/* Removes one of the files that a test left. */
static void remove_left(int directory, const char *name) {
    const int object = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (object >= 0) {
        check_doorbells(object);
        close(object);
    }
    if (unlinkat(directory, name, 0) != 0) unlinkat(directory, name, AT_REMOVEDIR);
}

/* Reports and removes what the test left in /dev/shm under its own prefix. */
static bool no_objects_left(void) {
    bool clean = true;
    DIR *directory = opendir("/dev/shm");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0) continue;
        fprintf(stderr, "%s left /dev/shm/%s behind\n", running, entry->d_name);
        remove_left(dirfd(directory), entry->d_name);
        clean = false;
    }
    if (directory != NULL) closedir(directory);
    return clean;
}

/* The same for doorbells there, whose names say nothing of the test. */
static bool no_doorbells_left(void) {
    bool clean = true;
    DIR *directory = opendir("/dev/shm");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        for (uint32_t at = 0; at < atomic_load(&doorbells->count); at++) {
            char part[64];
            snprintf(part, sizeof part, "shmq.%016llx-%llx.", (unsigned long long)doorbells->of[at].instance,
                     (unsigned long long)doorbells->of[at].inode);
            if (strstr(entry->d_name, part) == NULL || unlinkat(dirfd(directory), entry->d_name, 0) != 0) continue;
            fprintf(stderr, "%s left /dev/shm/%s behind\n", running, entry->d_name);
            clean = false;
        }
    if (directory != NULL) closedir(directory);
    return clean;
}

/* Whoever interrupts us wants nothing left either: the test ends, and we after it. */
static volatile sig_atomic_t interrupted;
static volatile pid_t body;

static void interrupt(int number) {
    interrupted = number;
    if (body > 0) (void)kill(-body, SIGKILL);
}

static void handle_interrupts(void (*handler)(int)) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    for (size_t at = 0; at < sizeof numbers / sizeof numbers[0]; at++)
        sigaction(numbers[at], &action, NULL);
}

static void run_body(const struct check_test *test, const char *directory) {
    setpgid(0, 0); /* a failed test's children are found, and ended, by their group */
    handle_interrupts(SIG_DFL);
    alarm(LIMIT_SECONDS);
    if (chdir(directory) != 0) check_fail(__FILE__, __LINE__, "chdir %s: %s", directory, strerror(errno));
    test->body();
    fflush(NULL);
    exit(0);
}

/* Removes the directory of a test; false if a file was left in it. */
static bool remove_directory(const char *path) {
    bool clean = true;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        fprintf(stderr, "%s left the file %s behind\n", running, entry->d_name);
        remove_left(dirfd(directory), entry->d_name);
        clean = false;
    }
    if (directory != NULL) closedir(directory);
    rmdir(path);
    return clean;
}

static int run(const struct check_test *test) {
    running = test->name;
    state = seed;
    for (const char *letter = test->name; *letter != '\0'; letter++)
        state = state * 31 + (unsigned char)*letter;
    uint64_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random) abort();
    snprintf(prefix, sizeof prefix, "shmq-test.%016llx", (unsigned long long)random);
    const char *parent = getenv("TEST_TMPDIR");
    char directory[4096];
    snprintf(directory, sizeof directory, "%s/%s", parent == NULL ? "/tmp" : parent, prefix);
    if (mkdir(directory, 0700) != 0) {
        fprintf(stderr, "mkdir %s: %s\n", directory, strerror(errno));
        return EXIT_FAILED;
    }
    fflush(NULL);
    const int64_t start = check_now_ms();
    atomic_store(&doorbells->count, 0);
    pid_t child = fork();
    if (child == 0) run_body(test, directory);
    (void)setpgid(child, child); /* whichever of us is first */
    body = child;
    if (interrupted != 0) interrupt(interrupted);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) abort();
    body = 0;
    (void)kill(-child, SIGKILL); /* children that a failed test left */
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: ended by signal %d (%s)%s\n", running, WTERMSIG(status), strsignal(WTERMSIG(status)),
                WTERMSIG(status) == SIGALRM ? ": it hung" : "");
    const bool no_objects = no_objects_left(), no_files = remove_directory(directory);
    if (!no_doorbells_left() || !no_objects || !no_files) result = result == 0 ? EXIT_FAILED : result;
    const char *word = result == 0 ? "ok" : result == CHECK_SKIPPED ? "skipped" : "FAILED";
    printf("%-7s %s (%lld ms)\n", word, test->name, (long long)(check_now_ms() - start));
    fflush(NULL);
    return result;
}

static bool wanted(const char *name, char **names, int count) {
    for (int at = 0; at < count; at++)
        if (strcmp(name, names[at]) == 0) return true;
    return count == 0;
}

/* The signal notifier asks for it, of every thread. */
static void block_urgent_signals(void) {
    sigset_t urgent;
    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    sigprocmask(SIG_BLOCK, &urgent, NULL);
}

int check_main(int argc, char **argv) {
    program = argv[0];
    int names = 1;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) abort();
    if (argc > 2 && strcmp(argv[1], "--seed") == 0) {
        seed = strtoull(argv[2], NULL, 10);
        names = 3;
    }
    printf("seed %llu\n", (unsigned long long)seed);
    block_urgent_signals();
    handle_interrupts(interrupt);
    doorbells = check_shared(sizeof *doorbells);
    int ran = 0, skipped = 0;
    const char *failed = NULL;
    for (struct check_test *test = first_test; test != NULL; test = test->next) {
        if (!wanted(test->name, argv + names, argc - names)) continue;
        int result = run(test);
        ran++;
        skipped += result == CHECK_SKIPPED;
        if (result != 0 && result != CHECK_SKIPPED && failed == NULL) failed = test->name;
        if (interrupted != 0) return 128 + interrupted;
    }
    if (ran == 0) {
        fprintf(stderr, "no such test\n");
        return 2;
    }
    if (failed != NULL) {
        printf("to reproduce: %s --seed %llu %s\n", program, (unsigned long long)seed, failed);
        return 1;
    }
    if (skipped == ran) printf("SKIP: every test of %s was skipped, see above\n", program);
    return 0;
}
