/* What a round must not leave behind, and what a failed one should: evidence. */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "layout.h"

static const char OBJECTS[] = "/dev/shm";

/* ---- Names --------------------------------------------------------------------------------- */

void traces_note_instance(struct round *round) {
    uint64_t instance = 0;
    const int fd = open(check_path(round->name), O_RDONLY | O_CLOEXEC);
    const bool known =
        fd >= 0 && pread(fd, &instance, sizeof instance, offsetof(struct header, instance)) == sizeof instance;
    if (fd >= 0) close(fd);
    for (size_t at = 0; known && at < INSTANCES; at++) {
        uint64_t there = 0;
        if (atomic_compare_exchange_strong(&round->instances[at], &there, instance) || there == instance) return;
    }
}

static bool is_ours(const struct round *round, uint64_t instance) {
    for (size_t at = 0; at < INSTANCES && get(&round->instances[at]) != 0; at++)
        if (get(&round->instances[at]) == instance) return true;
    return false;
}

/* A doorbell of one of the round's queues; beside a queue that is a file they are all ours. */
static bool is_doorbell(const struct round *round, const char *name) {
    uint64_t instance;
    return (sscanf(name, ".shmq.%16" SCNx64, &instance) == 1 || sscanf(name, "sem.shmq.%16" SCNx64, &instance) == 1) &&
           is_ours(round, instance);
}

static bool is_dots(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* The first of the round's names in a directory, which with `remove` are removed; NULL: none. */
static const char *find_names(const struct round *round, const char *path, bool all, bool remove) {
    static char found[1024];
    const char *result = NULL;
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        const char *name = entry->d_name;
        const bool ours = all ? !is_dots(name) : is_doorbell(round, name) || strcmp(name, round->name + 1) == 0;
        if (!ours) continue;
        if (remove) (void)unlinkat(dirfd(directory), name, 0);
        if (result == NULL) snprintf(found, sizeof found, "%s/%s", path, name);
        result = found;
    }
    if (directory != NULL) closedir(directory);
    return result;
}

const char *traces_left(const struct round *round) {
    const char *left = find_names(round, round->directory, true, false);
    return left != NULL ? left : find_names(round, OBJECTS, false, false);
}

void traces_sweep(struct round *round) {
    traces_note_instance(round);
    (void)find_names(round, round->directory, true, true);
    (void)find_names(round, OBJECTS, false, true);
    rmdir(round->directory);
}

int traces_mappings(const struct round *round) {
    int count = 0;
    char line[8192];
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, round->directory) != NULL || strstr(line, " /dev/shm/") != NULL;
    if (maps != NULL) fclose(maps);
    return count;
}

/* ---- Evidence ------------------------------------------------------------------------------ */

static void copy_file(const char *from, const char *directory, const char *name) {
    char path[2048], block[65536];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    const int in = open(from, O_RDONLY | O_CLOEXEC);
    const int out = in < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (ssize_t got; out >= 0 && (got = read(in, block, sizeof block)) > 0;)
        if (write(out, block, (size_t)got) != got) break;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
}

/* The first line of a file of /proc. */
static void first_line(const char *task, const char *what, char line[128]) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", task, what);
    line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    if (fgets(line, 128, file) != NULL) line[strcspn(line, "\n")] = '\0';
    fclose(file);
}

static void keep_task(const char *task, pid_t pid, const char *thread, const char *directory) {
    static const char *const WHAT[] = {"stack", "wchan", "syscall", "status", "stat"};
    char path[512], name[512], wchan[128], syscall[128];
    first_line(task, "wchan", wchan);
    first_line(task, "syscall", syscall);
    fprintf(stderr, "  process %d thread %s: in %s, system call %s\n", (int)pid, thread, wchan, syscall);
    for (size_t at = 0; directory != NULL && at < sizeof WHAT / sizeof WHAT[0]; at++) {
        snprintf(path, sizeof path, "%s/%s", task, WHAT[at]);
        snprintf(name, sizeof name, "%d.%s.%s", (int)pid, thread, WHAT[at]);
        copy_file(path, directory, name);
    }
}

static void keep_process(pid_t pid, const char *directory) {
    char path[64], task[384];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *entry; tasks != NULL && (entry = readdir(tasks)) != NULL;) {
        if (is_dots(entry->d_name)) continue;
        snprintf(task, sizeof task, "%s/%s", path, entry->d_name);
        keep_task(task, pid, entry->d_name, directory);
    }
    if (tasks != NULL) closedir(tasks);
}

static void keep_words(const struct round *round, const char *directory, const char *reason) {
    char path[2048];
    snprintf(path, sizeof path, "%s/scenario", directory);
    FILE *file = fopen(path, "we");
    if (file == NULL) return;
    fprintf(file, "%s\nround %u: ", reason, round->number);
    scenario_print(file, &round->s);
    fprintf(file, "\n");
    for (unsigned end = 0; end < ENDS; end++) {
        const struct own *own = &round->own[end];
        fprintf(file, "end %u: in=%llu leaving=%llu sent=%llu taken=%llu interrupted=%llu\n", end,
                (unsigned long long)get(&own->in), (unsigned long long)get(&own->leaving),
                (unsigned long long)get(&own->sent), (unsigned long long)get(&own->taken),
                (unsigned long long)get(&own->interrupted));
    }
    fclose(file);
    snprintf(path, sizeof path, "%s/command", directory);
    if ((file = fopen(path, "we")) == NULL) return;
    stress_reproduce(file, round->seed, round->number, round->threads);
    fclose(file);
}

void traces_keep(const struct round *round, const char *parent, const char *reason, const pid_t *pids, int count) {
    char directory[1024];
    if (parent != NULL) {
        snprintf(directory, sizeof directory, "%s/%llu-%u", parent, (unsigned long long)round->seed, round->number);
        mkdir(parent, 0700);
        if (mkdir(directory, 0700) != 0 && errno != EEXIST) parent = NULL;
    }
    for (int at = 0; at < count; at++)
        keep_process(pids[at], parent == NULL ? NULL : directory);
    if (parent == NULL) return;
    copy_file(check_path(round->name), directory, "queue");
    keep_words(round, directory, reason);
    fprintf(stderr, "evidence: %s\n", directory);
}
