/* What libc fills for its caller and MemorySanitizer does not know of. Each of these stands in the place of libc's function,
 * calls it and says which bytes have a value now: so nobody's code has to be written differently for that tool, nor is
 * anything overlooked. Part of every program that is built for a sanitizer (ci/bazel/defs.bzl), and empty but under
 * MemorySanitizer. */
#if defined __has_feature /* clang's; gcc has no MemorySanitizer */
#if __has_feature(memory_sanitizer)

#include <dlfcn.h>
#include <sanitizer/msan_interface.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* The function of this name in the libraries after us, as a pointer to a function. */
static void find(const char *name, void *function) {
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict status) {
    int (*real)(int, const char *, int, unsigned, struct statx *);
    find("statx", &real);
    const int result = real(directory, path, flags, mask, status);
    if (result == 0) __msan_unpoison(status, sizeof *status);
    return result;
}

int timer_create(clockid_t clock, struct sigevent *restrict event, timer_t *restrict timer) {
    int (*real)(clockid_t, struct sigevent *, timer_t *);
    find("timer_create", &real);
    const int result = real(clock, event, timer);
    if (result == 0) __msan_unpoison(timer, sizeof *timer);
    return result;
}

#endif
#endif
