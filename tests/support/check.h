/* What all tests share: a test is a sentence, a seed comes first, the reproducing command comes last.
 *
 *     TEST(send_into_full_ring_times_out) { … CHECK(shmq_send(…) == -1); CHECK_ERRNO(ETIMEDOUT); … }
 *     int main(int argc, char **argv) { return check_main(argc, argv); }
 *
 * `NAME_test [--seed N] [TEST…]` runs all tests, or those named. Each runs in a process and process group of its own, under
 * an alarm, with a working directory of its own that is removed. What it leaves in /dev/shm under check_name() fails it,
 * and is removed with its doorbells; so it is when the test fails, and when the program is interrupted. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef void check_body(void);

struct check_test {
    const char *name;
    check_body *body;
    struct check_test *next;
};

void check_register(struct check_test *test);

#define TEST(sentence)                                                                                                 \
    static void sentence(void);                                                                                        \
    __attribute__((constructor)) static void register_##sentence(void) {                                               \
        static struct check_test test = {#sentence, sentence, NULL};                                                   \
        check_register(&test);                                                                                         \
    }                                                                                                                  \
    static void sentence(void)

/* The same test with a shared-memory object and with a regular file: `name` is the queue's. */
#define TEST_EVERYWHERE(sentence)                                                                                      \
    static void sentence##_at(const char *name);                                                                       \
    TEST(sentence) {                                                                                                   \
        sentence##_at(check_name("q"));                                                                                \
        sentence##_at("./q");                                                                                          \
    }                                                                                                                  \
    static void sentence##_at(const char *name)

/* Ends the test with a message; never returns. */
__attribute__((noreturn, format(printf, 3, 4))) void check_fail(const char *file, int line, const char *format, ...);
/* What a failure from now on adds to its message: the row of a table, the parameters of a round. */
__attribute__((format(printf, 1, 2))) void check_note(const char *format, ...);

/* Ends the test as skipped, with this exit status. */
enum { CHECK_SKIPPED = 77 };
__attribute__((noreturn, format(printf, 1, 2))) void check_skip(const char *format, ...);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if (!(condition)) check_fail(__FILE__, __LINE__, "%s (errno %d)", #condition, errno);                          \
    } while (0)

#define CHECK_IS_POINTER(expression)                                                                                   \
    (__builtin_types_compatible_p(__typeof__(expression), void *) ||                                                   \
     __builtin_types_compatible_p(__typeof__(expression), const void *))

/* expression fails with -1 (a pointer: NULL) and this errno. */
#define CHECK_FAILS(expression, wanted)                                                                                \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long long check_result = (long long)(expression);                                                              \
        int check_error = errno;                                                                                       \
        if (check_result != (CHECK_IS_POINTER(expression) ? 0 : -1) || check_error != (wanted))                        \
            check_fail(__FILE__, __LINE__, "%s gave %lld with errno %s, not %s", #expression, check_result,            \
                       strerrorname_np(check_error), #wanted);                                                         \
    } while (0)

#define CHECK_EQUAL(a, b)                                                                                              \
    do {                                                                                                               \
        unsigned long long check_a = (unsigned long long)(a), check_b = (unsigned long long)(b);                       \
        if (check_a != check_b) check_fail(__FILE__, __LINE__, "%s = %llu, %s = %llu", #a, check_a, #b, check_b);      \
    } while (0)

/* Random numbers from the printed seed. */
uint64_t check_random(void);
uint64_t check_below(uint64_t bound);

/* A queue name of this test alone: "/shmq-test.<random>.<suffix>". Valid until the test ends. */
const char *check_name(const char *suffix);

/* For a test that takes away a queue's name or header by other means than shmq_unlink: the end of the test looks for the
 * doorbells of this object too. Those of queues that it left as they were it finds by itself. */
void check_doorbells(int object);

/* Where a queue of this name lies in the file system. Valid until the next call. */
const char *check_path(const char *name);

/* Zeroed memory that this process shares with the children that it spawns from now on. */
void *check_shared(size_t bytes);

/* How processes of one test meet: a counter in check_shared memory. */
typedef _Atomic uint32_t check_gate;
/* Counts one more. */
void check_pass(check_gate *gate);
/* Until so many have passed; a minute in vain fails the test. */
void check_wait(check_gate *gate, uint32_t count);
/* Until all are here, who then go on together; they may meet again. */
void check_meet(check_gate *gate, uint32_t all);

/* Runs body in a child process; 0 is success. The child fails the test when it fails, at check_join. */
pid_t check_spawn(void (*body)(void *), void *argument);
/* Waits for a child that must exit 0. */
void check_join(pid_t child);
/* Kills with SIGKILL and reaps; a child that had failed by then fails the test. */
void check_kill(pid_t child);

/* Milliseconds of CLOCK_MONOTONIC, and of this process's own processor time. */
int64_t check_now_ms(void);
int64_t check_cpu_ms(void);

/* What the test runs under, as ci/bazel/defs.bzl names it (VARIANTS). The tools make code 2 to 50 times slower. So a test
 * writes its figures as they are without one, and passes them through these:
 *     check_scaled  how often it does something, and how much it wants to have seen of it; never less than 1
 *     check_late    milliseconds that something must not take, or must be given; not what it takes at least
 * Under a slow tool a limit may then be too long to catch what it is for, such as a slice for a lost wake-up: that is what
 * the test without a tool is for. check_tool() is asked only where a tool cannot do what is tested; say what and why. */
enum check_tool { CHECK_PLAIN, CHECK_ASAN, CHECK_TSAN, CHECK_MSAN, CHECK_VALGRIND };
enum check_tool check_tool(void);
int check_scaled(int count);
int check_late(int ms);

/* Under MemorySanitizer: fails if one of these bytes was stored by us and never given a value. Memory that others see
 * must not have any: it would show them what our stack or heap held before. Else nothing. */
void check_initialized(const void *memory, size_t bytes);

/* How many descriptors and mappings this process has now: for tests of leaks. */
int check_descriptors(void);
int check_mappings(void);

int check_main(int argc, char **argv);
