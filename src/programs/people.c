/* See people.h. Reads /proc and nothing else. */
#include "people.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A file of /proc, as a string. */
static bool read_text(int directory, const char *name, char *text, size_t size) {
    const int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got = fd < 0 ? -1 : 1;

    while (got > 0 && used + 1 < size) {
        got = read(fd, text + used, size - 1 - used);
        used += got > 0 ? (size_t)got : 0;
    }
    if (fd >= 0) close(fd);
    text[used] = '\0';
    return got >= 0;
}

/* The first byte of a line such as "lock: 1: OFDLCK  ADVISORY  WRITE -1 00:1a:5 64 64"; -1: it is another line. */
static int byte_of(char *line) {
    char *rest = NULL, *word = strtok_r(line, " \t", &rest);
    long byte = -1;

    if (word == NULL || strcmp(word, "lock:") != 0) return -1;
    for (int i = 0; i < 7 && word != NULL; i++) {
        if (i == 2 && strcmp(word, "OFDLCK") != 0) return -1;
        word = strtok_r(NULL, " \t", &rest);
    }
    if (word != NULL) byte = strtol(word, NULL, 10);
    return byte >= 0 && byte < LEASE_ROLES + 2 * SLOTS ? (int)byte : -1;
}

/* What one descriptor of a process has leased: the role, or else the life cycle. */
static int lease_of(int process, const char *number) {
    char name[64], text[8192];
    char *rest = NULL;
    int lease = -1;

    (void)snprintf(name, sizeof name, "fdinfo/%.32s", number);
    if (!read_text(process, name, text, sizeof text)) return -1;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        const int byte = byte_of(line);

        if (byte > lease) lease = byte;
    }
    return lease;
}

/* A process could not be looked into. One that has just ended does not count. */
static void note_hidden(struct people *people, int process) {
    struct stat status;

    if (errno == ENOENT || errno == ESRCH) return;
    people->hidden = true;
    if (geteuid() == 0 || fstat(process, &status) != 0 || status.st_uid == geteuid()) people->hidden_own = true;
}

static void note(struct people *people, int process, const char *pid, int lease) {
    struct person *person = &people->list[people->count];

    if (people->count == PEOPLE_MAX) return;
    *person = (struct person){.pid = (pid_t)strtol(pid, NULL, 10), .lease = lease};
    if (read_text(process, "comm", person->command, sizeof person->command)) {
        person->command[strcspn(person->command, "\n")] = '\0';
    }
    people->count++;
}

static bool find_descriptors(struct people *people, int process, const char *pid, const struct stat *object) {
    const int fds = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fds < 0 ? NULL : fdopendir(fds);
    struct dirent *entry;
    bool found = false;

    if (directory == NULL) {
        note_hidden(people, process);
        if (fds >= 0) close(fds);
        return false;
    }
    while ((entry = readdir(directory)) != NULL) {
        struct stat status;

        if (entry->d_name[0] == '.' || fstatat(fds, entry->d_name, &status, 0) != 0) continue;
        if (status.st_dev != object->st_dev || status.st_ino != object->st_ino) continue;
        note(people, process, pid, lease_of(process, entry->d_name));
        found = true;
    }
    closedir(directory);
    return found;
}

/* A line such as "7f12-7f13 rw-s 00000000 00:1a 5  /dev/shm/sem.x". */
static bool is_mapping_of(char *line, const struct stat *object) {
    char *rest = NULL, *word = strtok_r(line, " ", &rest);
    char device[32];

    (void)snprintf(device, sizeof device, "%02x:%02x", major(object->st_dev), minor(object->st_dev));
    for (int i = 0; i < 3 && word != NULL; i++)
        word = strtok_r(NULL, " ", &rest);
    if (word == NULL || strcmp(word, device) != 0) return false;
    word = strtok_r(NULL, " ", &rest);
    return word != NULL && strtoull(word, NULL, 10) == object->st_ino;
}

static void find_mappings(struct people *people, int process, const char *pid, const struct stat *object) {
    const int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    char *line = NULL;
    size_t size = 0;

    if (file == NULL) {
        people->hidden = true; /* and its descriptors were not: a process with special rights */
        if (fd >= 0) close(fd);
        return;
    }
    while (getline(&line, &size, file) > 0) {
        if (!is_mapping_of(line, object)) continue;
        note(people, process, pid, -1);
        break;
    }
    free(line);
    (void)fclose(file);
}

void people_find(struct people *people, const struct stat *object) {
    DIR *processes = opendir("/proc");
    const int all = processes == NULL ? -1 : dirfd(processes);
    struct dirent *entry;

    *people = (struct people){.hidden = all < 0, .hidden_own = all < 0};
    while (all >= 0 && (entry = readdir(processes)) != NULL) {
        const char *pid = entry->d_name;
        int process;

        if (*pid < '1' || *pid > '9' || strtol(pid, NULL, 10) == getpid()) continue;
        process = openat(all, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (process < 0) continue; /* it has ended */
        if (!find_descriptors(people, process, pid, object) && S_ISREG(object->st_mode))
            find_mappings(people, process, pid, object);
        close(process);
    }
    if (processes != NULL) closedir(processes);
}

static const struct person *holder(const struct people *people, int lease) {
    for (unsigned i = 0; i < people->count; i++)
        if (people->list[i].lease == lease) return &people->list[i];
    return NULL;
}

const struct person *people_at(const struct people *people, enum shmq_end end, unsigned slot) {
    return holder(people, LEASE_ROLES + SLOTS * (int)end + (int)slot);
}

const struct person *people_opening(const struct people *people) { return holder(people, LEASE_LIFE_CYCLE); }
