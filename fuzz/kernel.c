/* See kernel.h. Here: what fails and who dies, the small calls, and what targets ask. */
#include "kernel_inside.h"

#include <string.h>

#include "fuzz.h"
#include "support.h"

#ifdef __clang__ /* a fuzzer is to look for ways through the core, not through this file */
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

enum { ENDLESS = 100000 }; /* calls of one operation: it turns in circles */

struct kernel kernel;

/* ---- What fails and who dies ------------------------------------------------------------------ */

/* Whoever calls or sleeps now goes no further. */
void die(void) {
    kernel.kill_at = KERNEL_NEVER;
    if (kernel.killed != NULL) longjmp(*kernel.killed, 1);
    kernel.stopped = SIGINT;
}

static uint64_t trace; /* of all steps of this input */

uint64_t kernel_take_trace(void) {
    const uint64_t taken = trace;
    trace = 0;
    return taken;
}

void step(void) {
    const uint32_t number = kernel.steps++;
    trace = (trace ^ (uint64_t)kernel.now_ns ^ number) * 0x9e3779b97f4a7c15;
    if (kernel.act_at >= 0 && number == (uint32_t)kernel.act_at) let_others_act();
    if (kernel.kill_at >= 0 && number >= (uint32_t)kernel.kill_at) die();
}

/* Each call comes by here first: it may never return, or fail so. */
bool fails(int error) {
    const uint32_t call = kernel.calls++;
    kernel.now_ns += TICK_NS;
    if (call > ENDLESS) fuzz_fail("an operation never ends");
    step();
    if (kernel.fail_at < 0 || call != (uint32_t)kernel.fail_at) return false;
    kernel.failed = true;
    errno = kernel.fail_error != 0 ? kernel.fail_error : error;
    return true;
}

int deny(int error) {
    errno = error;
    return -1;
}

/* ---- The rest --------------------------------------------------------------------------------- */

ssize_t kernel_getrandom(void *to, size_t bytes, unsigned flags) {
    static const uint64_t odd = 0x9e3779b97f4a7c15;
    const uint64_t random = odd * ++next_number;
    (void)flags;
    if (fails(EINTR)) return -1;
    memcpy(to, &random, bytes);
    return (ssize_t)bytes;
}

uid_t kernel_geteuid(void) { return KERNEL_USER; }
pid_t kernel_getpid(void) { return FIRST_PID + kernel.actor; }

int kernel_sigmask(int how, const sigset_t *set, sigset_t *before) {
    (void)how, (void)set;
    (void)sigemptyset(before);
    return fails(EINVAL) ? errno : sigaddset(before, SIGURG);
}

static void (*fork_before)(void), (*fork_in_child)(void);

int kernel_atfork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)) {
    (void)in_parent;
    fork_before = before;
    fork_in_child = in_child;
    return 0;
}

struct passwd *kernel_getpwuid(uid_t user) {
    static char name[] = "somebody";
    static struct passwd someone = {.pw_name = name};
    return user == KERNEL_USER ? &someone : NULL;
}

/* ---- What targets ask ------------------------------------------------------------------------- */

void kernel_begin(int actor, int end) {
    kernel.actor = actor;
    kernel.end = end;
    kernel.steps = kernel.calls = kernel.sleeps = 0;
    kernel.kill_at = kernel.act_at = kernel.fail_at = KERNEL_NEVER;
    kernel.fail_error = 0;
    kernel.failed = false;
    alive[actor] = true;
}

void kernel_kill(int actor) {
    drop_mutexes(actor);
    for (int at = 0; at < fds_used; at++)
        if (fds[at].open && is_of(fds[at].actor, actor)) fd_close(&fds[at]);
    drop_semaphores(actor);
    drop_views(actor);
    if (actor != EVERYBODY) alive[actor] = false;
}

static struct inode *directory_new(void) {
    struct inode *directory = inode_new(S_IFDIR | 0777);
    directory->links = 1;
    return directory;
}

void kernel_reset(void) {
    const struct kernel blank = {
        .now_ns = INT64_C(1000000000000), .kill_at = KERNEL_NEVER, .act_at = KERNEL_NEVER, .fail_at = KERNEL_NEVER};
    kernel_kill(EVERYBODY);
    memset(alive, 0, sizeof alive);
    for (int at = 0; at < NAMES; at++)
        names[at].directory = NULL;
    for (struct inode *inode = inodes; inode < inodes + inodes_used; inode++) {
        inode->links = inode->opens = 0;
        if (inode->mode != 0) inode_put(inode);
    }
    memset(pending, 0, sizeof pending);
    next_number = trace = 0;
    fds_used = locks_used = inodes_used = 0;
    any_truncated = false;
    kernel = blank;
    kernel.sleeps_allowed = UINT32_MAX - 2000;
    shm = directory_new();
    here = directory_new();
}

unsigned kernel_names(void) {
    unsigned count = 0;
    for (int at = 0; at < NAMES; at++)
        count += names[at].directory != NULL;
    return count;
}

unsigned kernel_held(void) {
    unsigned count = libc_held();
    for (int at = 0; at < fds_used; at++)
        count += fds[at].open + fds[at].views > 0;
    for (int at = 0; at < locks_used; at++)
        count += locks[at].inode != NULL;
    return count;
}

/* Without a directory it is one of /dev/shm. */
static struct inode *directory_in(const char **name) {
    if (strncmp(*name, "./", 2) != 0) return shm;
    *name += 2;
    return here;
}

static struct name *find_path(const char *path) {
    const struct inode *directory = directory_in(&path);
    return find_name(directory, path);
}

void kernel_put(const char *name, mode_t mode, uid_t user, const void *bytes, size_t given, size_t size) {
    struct inode *inode = inode_new(mode);
    inode->user = user;
    inode->size = size < LARGEST ? size : LARGEST;
    if (given > 0) memcpy(inode_bytes(inode), bytes, given < inode->size ? given : inode->size);
    struct inode *directory = directory_in(&name);
    (void)name_new(directory, name, inode);
}

int kernel_new_object(void) {
    struct inode *inode = inode_new(S_IFREG | 0600);
    inode->links = 1;
    return fd_new(inode, O_RDWR);
}

int kernel_open_again(int object) { return fd_new(inode_of(object), O_RDWR); }
int kernel_open_directory(void) { return fd_new(here, O_PATH); }
void kernel_drop_links(int object) { inode_of(object)->links = 0; }

unsigned char *kernel_bytes(const char *name, size_t *size) {
    const struct name *found = find_path(name);
    if (found == NULL) return NULL;
    *size = found->inode->size;
    return inode_bytes(found->inode);
}

void kernel_truncate(const char *name, size_t size) {
    const struct name *found = find_name(shm, name);
    if (found == NULL || found->inode->store == NULL || size >= found->inode->size) return;
    memset(found->inode->store->flat + size, 0, found->inode->size - size);
    found->inode->size = size;
    found->inode->truncated = any_truncated = true;
}

void kernel_change_others(const char *path, enum kernel_change change) {
    const struct name *spared = find_path(path);
    for (struct name *name = names; name < names + NAMES; name++) {
        if (name->directory == NULL || name == spared) continue;
        struct inode *inode = name->inode;
        if (change == CHANGE_OWNER) inode->user = KERNEL_STRANGER;
        if (change == CHANGE_TYPE) inode->mode ^= S_IFIFO ^ S_IFREG;
        if (change == CHANGE_SIZE) inode->size = 1;
    }
}

void kernel_send_sigbus(void *address) {
    siginfo_t info = {.si_signo = SIGBUS, .si_code = address == NULL ? SI_USER : BUS_ADRERR};
    info.si_addr = address;
    on_bus.sa_sigaction(SIGBUS, &info, NULL);
}

void kernel_fork_child(void) {
    fork_before();
    fork_in_child();
}

#ifdef __clang__
#pragma clang attribute pop
#endif
