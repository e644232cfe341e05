/* Attaching to what is not a queue, not whole, or not where one may create: always refused, with
 * the right errno, no descriptor or mapping lost, and what was found left as it was. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "ends.h"
#include "layout.h"
#include "notifiers.h"
#include "shmq.h"

enum { PAGES = 4 * 4096, OBJECT = PAGES + CAPACITY };
static const struct shmq_attr SMALL = {.capacity = CAPACITY};

static void check_no_queue(const char *name, int error) {
    check_refused(name, 0, &SMALL, error);
    check_refused(name, O_CREAT, &SMALL, error);
    check_refused(name, O_CREAT | O_EXCL, &SMALL, EEXIST);
}

static void make_queue(const char *name) {
    const struct shmq_attr attr = {.capacity = CAPACITY, .notify = notifier_now->kind};
    shmq *q;
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, &attr) == 0);
    CHECK(shmq_close(q) == 0);
}

static void check_works(const char *name) {
    shmq *producer, *consumer;
    char byte = 0;
    CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, 0, NULL) == 0);
    CHECK(shmq_open(&consumer, name, SHMQ_CONSUMER, 0, NULL) == 0);
    CHECK(shmq_send(producer, "x", 1, 0) == 0);
    CHECK(shmq_recv(consumer, &byte, 1, 0) == 1 && byte == 'x');
    CHECK(shmq_close(producer) == 0);
    CHECK(shmq_close(consumer) == 0);
}

/* Still there, unchanged; and then removed. */
static void check_untouched(const char *name, const char *text, unsigned links) {
    char now[100] = "";
    struct stat status;
    int fd = open_object(name);
    CHECK(fstat(fd, &status) == 0);
    CHECK_EQUAL(status.st_size, strlen(text));
    CHECK_EQUAL(status.st_mode & 07777, 0640);
    CHECK_EQUAL(status.st_nlink, links);
    CHECK(read(fd, now, sizeof now) == (ssize_t)strlen(text) && strcmp(now, text) == 0);
    CHECK(close(fd) == 0);
    CHECK(unlink(check_path(name)) == 0);
}

/* ---- The header ---------------------------------------------------------------------------- */

/* What attaching to a queue with this header must say; only one field is wrong. 0: it is another
 * sound queue. */
static int verdict(const struct header *header, const struct header *sound) {
    if (header->magic != sound->magic || header->abi != sound->abi || header->page_size != sound->page_size ||
        header->object_size != sound->object_size || header->capacity != sound->capacity ||
        header->notify > SHMQ_NOTIFY_SPIN)
        return EPROTO;
    const size_t before = (header->flags & SHMQ_CHECKSUM) != 0 ? RECORD_CHECKED : RECORD_HEADER;
    if (header->max_message == 0 || header->max_message > CAPACITY - before) return EPROTO;
    if ((uint32_t)header->instance == 0) return EPROTO;
    if (header->flags > 15) return EPROTO;
    /* A fingerprint is zero, or that of its notifier, and no two have the same. */
    const uint64_t fingerprint = header->notify == sound->notify ? sound->fingerprint : 0;
    const bool other = header->notify != sound->notify;
    return header->fingerprint != fingerprint || (other && NOTIFIERS[header->notify].trusts) ? EPROTO : 0;
}

/* The doorbells that an open has made for a header which is not the queue's own. */
static void remove_doorbells_of(const char *name, const struct header *header) {
    const struct notifier_row *before = notifier_now;
    notifier_now = &NOTIFIERS[header->notify];
    remove_doorbells(name, header->instance);
    notifier_now = before;
}

static void try_header(const char *name, int fd, const struct header *header, const struct header *sound) {
    int error = verdict(header, sound);
    if (error == 0 && !notifier_works_here(&NOTIFIERS[header->notify])) error = ENOTSUP;
    CHECK(pwrite(fd, header, sizeof *header, 0) == sizeof *header);
    if (error != 0) {
        check_refused(name, 0, NULL, error);
        check_refused(name, O_CREAT, &SMALL, error);
        return;
    }
    shmq *q; /* not closed by a consumer: that might unlink it */
    CHECK(shmq_open(&q, name, SHMQ_PRODUCER, 0, NULL) == 0);
    CHECK(shmq_close(q) == 0);
    remove_doorbells_of(name, header);
}

static const struct field {
    const char *name;
    size_t at, bytes;
} fields[] = {
#define FIELD(name) {#name, offsetof(struct header, name), sizeof((struct header *)0)->name}
    FIELD(magic),       FIELD(abi),      FIELD(page_size), FIELD(object_size), FIELD(capacity),
    FIELD(max_message), FIELD(instance), FIELD(notify),    FIELD(flags),       FIELD(fingerprint),
#undef FIELD
};

static void try_value(const char *name, int fd, const struct field *field, uint64_t value, const struct header *sound) {
    struct header header = *sound;
    check_note("%s, %s = 0x%llx", notifier_now->name, field->name, (unsigned long long)value);
    memcpy((char *)&header + field->at, &value, field->bytes); /* little-endian, as the magic is */
    try_header(name, fd, &header, sound);
}

static void try_field(const char *name, int fd, const struct field *field, const struct header *sound) {
    uint64_t right = 0;
    memcpy(&right, (const char *)sound + field->at, field->bytes);
    const uint64_t odd[] = {0,         1,         7,          CAPACITY - 7, INT32_MAX,
                            1u << 31,  INT64_MAX, UINT32_MAX, UINT64_MAX,   (uint64_t)1 << 63,
                            right + 1, right - 1, 2 * right,  right / 2,    ~right};
    for (size_t at = 0; at < sizeof odd / sizeof odd[0]; at++)
        try_value(name, fd, field, odd[at], sound);
    for (unsigned bit = 0; bit < 8 * field->bytes; bit++)
        try_value(name, fd, field, right ^ (uint64_t)1 << bit, sound);
    for (int count = 0; count < 20; count++)
        try_value(name, fd, field, check_random(), sound);
}

TEST_NOTIFIERS_EVERYWHERE(a_queue_with_any_wrong_word_in_its_header_is_refused) {
    struct header sound;
    make_queue(name);
    int fd = open_object(name);
    CHECK(pread(fd, &sound, sizeof sound, 0) == sizeof sound);
    for (size_t at = 0; at < sizeof fields / sizeof fields[0]; at++)
        try_field(name, fd, &fields[at], &sound);
    CHECK(pwrite(fd, &sound, sizeof sound, 0) == sizeof sound);
    check_works(name);
    CHECK(close(fd) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* Lies that agree with each other: sizes that fit the object, and are no queue's nevertheless. */
TEST_EVERYWHERE(a_header_that_agrees_with_itself_must_still_be_a_queues) {
    static const struct {
        uint32_t page_size;
        uint64_t capacity, object_size;
    } lies[] = {
        {4096, 0, PAGES},
        {4096, 2048, PAGES + 2048},          /* less than a page */
        {4096, 3 * 4096, PAGES + 3 * 4096},  /* not a power of two */
        {8192, 8192, 5 * 8192},              /* pages of another machine */
        {2048, 4096, 4 * 2048 + 4096},       /* … */
        {0, 4096, 4096},                     /* … */
        {4096, 8192, OBJECT},                /* beyond the object */
        {4096, 4096, OBJECT + 4096},         /* more object than ring */
        {4096, (uint64_t)1 << 63, OBJECT},   /* overflows when doubled */
        {4096, 0 - (uint64_t)4096, 3 * 4096} /* overflows in the sum */
    };
    struct header sound;
    make_queue(name);
    int fd = open_object(name);
    CHECK(pread(fd, &sound, sizeof sound, 0) == sizeof sound);
    for (size_t at = 0; at < sizeof lies / sizeof lies[0]; at++) {
        struct header header = sound;
        check_note("lie %zu", at);
        header.page_size = lies[at].page_size;
        header.capacity = lies[at].capacity;
        header.object_size = lies[at].object_size;
        CHECK(pwrite(fd, &header, sizeof header, 0) == sizeof header);
        CHECK(ftruncate(fd, (off_t)lies[at].object_size) == 0);
        check_no_queue(name, EPROTO);
    }
    CHECK(close(fd) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_queue_too_large_for_the_address_space_is_refused) {
    if (check_tool() == CHECK_VALGRIND) check_skip("valgrind's own mmap says EINVAL here, the kernel's ENOMEM");
    const char *name = check_name("q");
    make_queue(name);
    int fd = open_object(name);
    struct header header;
    CHECK(pread(fd, &header, sizeof header, 0) == sizeof header);
    header.capacity = (uint64_t)1 << 61;
    header.object_size = PAGES + header.capacity;
    CHECK(pwrite(fd, &header, sizeof header, 0) == sizeof header);
    CHECK(ftruncate(fd, (off_t)header.object_size) == 0); /* all holes: takes no memory */
    check_refused(name, 0, NULL, ENOMEM);
    CHECK(close(fd) == 0);
    CHECK(shmq_unlink(name) == 0);
}

TEST_EVERYWHERE(a_queue_that_was_truncated_or_grown_is_refused) {
    static const off_t sizes[] = {0,     1,         8,          63,         64,         4096,       2 * 4096, PAGES - 1,
                                  PAGES, PAGES + 1, OBJECT - 1, OBJECT + 1, OBJECT + 8, 2 * OBJECT, 1 << 30};
    for (size_t at = 0; at < sizeof sizes / sizeof sizes[0]; at++) {
        check_note("%lld bytes", (long long)sizes[at]);
        make_queue(name);
        CHECK(truncate(check_path(name), sizes[at]) == 0);
        check_no_queue(name, EPROTO);
        if (sizes[at] < 8) CHECK_FAILS(shmq_unlink(name), EPROTO); /* nothing says that it was a queue */
        CHECK(unlink(check_path(name)) == 0);
    }
}

TEST_NOTIFIERS_EVERYWHERE(cursors_that_make_no_sense_are_refused) {
    static const struct {
        uint64_t tail, head;
    } rows[] = {{4, 0},
                {0, 8},
                {CAPACITY + 8, 0},
                {8, 16},
                {UINT64_MAX, 0},
                {9, 1},
                {1, 1},
                {0, 1},
                {(uint64_t)1 << 63, 0},
                {16, 12},
                {8, 0 - (uint64_t)CAPACITY}};
    make_queue(name);
    int fd = open_object(name);
    for (size_t at = 0; at < sizeof rows / sizeof rows[0]; at++) {
        check_note("row %zu", at);
        CHECK(pwrite(fd, &rows[at].tail, 8, PAGE_PRODUCER * 4096) == 8);
        CHECK(pwrite(fd, &rows[at].head, 8, PAGE_CONSUMER * 4096) == 8);
        check_refused(name, 0, NULL, EBADMSG);
        check_refused(name, O_CREAT, &SMALL, EBADMSG);
    }
    CHECK(close(fd) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- Other things under the name ----------------------------------------------------------- */

TEST_EVERYWHERE(a_file_that_is_no_queue_is_refused_and_untouched) {
    static const char *const texts[] = {"", "x", "not a queue, but somebody's only copy", "\x89_shmq\n"};
    for (size_t at = 0; at < sizeof texts / sizeof texts[0]; at++) {
        make_file(name, texts[at]);
        check_no_queue(name, EPROTO);
        CHECK_FAILS(shmq_unlink(name), EPROTO);
        check_untouched(name, texts[at], 1);
    }
}

TEST_EVERYWHERE(a_symbolic_link_is_refused_and_its_target_untouched) {
    const char *target = "./target";
    char cwd[4000], absolute[4096];
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    snprintf(absolute, sizeof absolute, "%s/target", cwd);
    CHECK(symlink(absolute, check_path(name)) == 0);
    check_refused(name, 0, NULL, ELOOP); /* dangling: nothing is created at its end */
    check_refused(name, O_CREAT, &SMALL, ELOOP);
    check_refused(name, O_CREAT | O_EXCL, &SMALL, EEXIST);
    CHECK(access(target, F_OK) != 0);
    make_file(target, "not yours");
    check_no_queue(name, ELOOP);
    CHECK_FAILS(shmq_unlink(name), ELOOP);
    check_untouched(target, "not yours", 1);
    make_queue(target);
    check_no_queue(name, ELOOP);
    CHECK_FAILS(shmq_unlink(name), ELOOP);
    check_works(target);
    CHECK(shmq_unlink(target) == 0);
    CHECK(unlink(check_path(name)) == 0);
}

TEST_EVERYWHERE(a_hard_link_to_a_foreign_file_is_refused_and_the_file_untouched) {
    char other[4096];
    snprintf(other, sizeof other, "%s.other", name);
    make_file(other, "under two names");
    char other_path[4096];
    snprintf(other_path, sizeof other_path, "%s", check_path(other));
    CHECK(link(other_path, check_path(name)) == 0);
    check_no_queue(name, EPROTO);
    CHECK_FAILS(shmq_unlink(name), EPROTO);
    check_untouched(name, "under two names", 2);
    check_untouched(other, "under two names", 1);
}

TEST_EVERYWHERE(a_hard_link_to_a_queue_is_the_same_queue) {
    char other[4096], path[4096], byte = 0;
    shmq *producer, *second, *consumer;
    snprintf(other, sizeof other, "%s.other", name);
    make_queue(name);
    snprintf(path, sizeof path, "%s", check_path(name));
    CHECK(link(path, check_path(other)) == 0);
    CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, 0, NULL) == 0);
    CHECK_FAILS(shmq_open(&second, other, SHMQ_PRODUCER, 0, NULL), EBUSY);
    CHECK(shmq_open(&consumer, other, SHMQ_CONSUMER, O_CREAT, NULL) == 0);
    CHECK(shmq_send(producer, "y", 1, 0) == 0);
    CHECK(shmq_recv(consumer, &byte, 1, 0) == 1 && byte == 'y');
    CHECK(shmq_unlink(name) == 0);
    CHECK_FAILS(shmq_recv(consumer, &byte, 1, 0), EAGAIN); /* the other name is left */
    CHECK(shmq_close(producer) == 0);
    CHECK(shmq_close(consumer) == 0);
    check_works(other);
    CHECK(shmq_unlink(other) == 0);
}

static void make_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[4096];
    char *slash;
    snprintf(directory, sizeof directory, "%s", path);
    slash = strrchr(directory, '/');
    /* Only so long names fit an address: bind where it stands. */
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", slash + 1);
    *slash = '\0';
    int here = open(".", O_PATH | O_CLOEXEC);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(chdir(directory) == 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(fchdir(here) == 0 && close(here) == 0 && close(fd) == 0);
}

TEST_EVERYWHERE(a_directory_a_fifo_and_a_socket_are_refused) {
    CHECK(mkdir(check_path(name), 0700) == 0);
    check_no_queue(name, EPROTO);
    CHECK_FAILS(shmq_unlink(name), EPROTO);
    CHECK(rmdir(check_path(name)) == 0);
    CHECK(mkfifo(check_path(name), 0600) == 0);
    check_no_queue(name, EPROTO); /* at once, though nobody is at its other end */
    CHECK_FAILS(shmq_unlink(name), EPROTO);
    CHECK(unlink(check_path(name)) == 0);
    make_socket(check_path(name));
    check_no_queue(name, EPROTO);
    CHECK_FAILS(shmq_unlink(name), EPROTO);
    CHECK(unlink(check_path(name)) == 0);
}

TEST(a_device_is_refused) { check_no_queue("/dev/null", EPROTO); }

/* ---- Names --------------------------------------------------------------------------------- */

TEST(strange_names_are_names) {
    static const char *const names[] = {"a b", " ",  "gr\xc3\xbcn", "a\nb",     "\n", ".hidden",
                                        "...", "-n", "%s%n",        "\xff\xfe", "*",  "q'\"\\$(false)"};
    char cwd[3000], path[4096];
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++) {
        check_note("name %zu", at);
        snprintf(path, sizeof path, "./%s", names[at]);
        make_queue(path);
        snprintf(path, sizeof path, "/%s//./%s", cwd, names[at]); /* the same, said otherwise */
        check_works(path);
        CHECK(shmq_unlink(path) == 0);
        CHECK(access(names[at], F_OK) != 0);
        const char *object = check_name(names[at]);
        make_queue(object);
        check_works(object);
        CHECK(shmq_unlink(object) == 0);
    }
}

TEST(a_shared_memory_object_may_have_a_name_of_255_bytes) {
    char suffix[256];
    const size_t prefix = strlen(check_name("")) - 1;
    memset(suffix, 'q', sizeof suffix);
    suffix[255 - prefix] = '\0';
    make_queue(check_name(suffix));
    CHECK(shmq_unlink(check_name(suffix)) == 0);
}

/* ---- Where there is no room ---------------------------------------------------------------- */

static uint64_t free_bytes(const char *directory) {
    struct statvfs status;
    CHECK(statvfs(directory, &status) == 0);
    return (uint64_t)status.f_bfree * status.f_frsize;
}

/* In a file system of 1 MiB that somebody has half filled. */
static void try_full(const char *name, const char *directory, const char *ballast) {
    static const size_t capacities[] = {512 << 10, 1 << 20, 1 << 30, (size_t)1 << 45};
    char block[4096] = {1};
    make_file(ballast, "");
    int fd = open_object(ballast);
    for (int count = 0; count < 128; count++)
        CHECK(write(fd, block, sizeof block) == sizeof block);
    CHECK(close(fd) == 0);
    const uint64_t room = free_bytes(directory);
    const int64_t start = check_now_ms();
    for (size_t at = 0; at < sizeof capacities / sizeof capacities[0]; at++) {
        const struct shmq_attr attr = {.capacity = capacities[at]};
        check_note("%s, capacity %zu", directory, capacities[at]);
        check_refused(name, O_CREAT, &attr, ENOSPC);
        CHECK_EQUAL(free_bytes(directory), room);
        check_refused(name, 0, NULL, ENOENT);
    }
    CHECK(check_now_ms() - start < check_late(10000));
    make_queue(name);
    check_works(name);
    CHECK(shmq_unlink(name) == 0);
    CHECK(unlink(check_path(ballast)) == 0);
}

TEST(a_full_dev_shm_is_told_at_once_and_a_smaller_queue_still_fits) {
    mount_small("/dev/shm", "size=1m");
    try_full(check_name("q"), "/dev/shm", check_name("ballast"));
}

TEST(a_full_file_system_is_told_at_once_and_a_smaller_queue_still_fits) {
    CHECK(mkdir("small", 0700) == 0);
    mount_small("small", "size=1m");
    try_full("./small/q", "small", "./small/ballast");
    CHECK(umount("small") == 0);
    CHECK(rmdir("small") == 0);
}

TEST(what_cannot_fit_does_not_fill_the_file_system_first) {
    CHECK(mkdir("small", 0700) == 0);
    mount_small("small", "size=64m");
    const uint64_t room = free_bytes("small");
    struct rusage before, after;
    CHECK(getrusage(RUSAGE_SELF, &before) == 0);
    const struct shmq_attr attr = {.capacity = 64 << 20};
    const int times = check_scaled(50);
    for (int count = 0; count < times; count++)
        check_refused("./small/q", O_CREAT, &attr, ENOSPC);
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    /* To allocate and free 64 MiB takes 20 ms and more, and it was refused to both ends. */
    const int64_t system_ms = (after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
                              (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000;
    CHECK(system_ms < check_late(10 * times));
    CHECK_EQUAL(free_bytes("small"), room);
    CHECK(umount("small") == 0);
    CHECK(rmdir("small") == 0);
}

struct crowd {
    check_gate gate;
    _Atomic uint32_t refused;
};

/* Opens together with another process, and again for as long as that says that there is no room. */
static void open_in_a_crowd(struct crowd *crowd, enum shmq_end end) {
    const struct shmq_attr attr = {.capacity = 32 << 20, .flags = SHMQ_EPHEMERAL};
    shmq *q = NULL;
    check_meet(&crowd->gate, 2);
    while (shmq_open(&q, "./small/q", end, O_CREAT, &attr) != 0) {
        CHECK_EQUAL(errno, ENOSPC);
        atomic_fetch_add(&crowd->refused, 1);
    }
    check_meet(&crowd->gate, 2);
    CHECK(shmq_close(q) == 0);
}

static void produce_in_a_crowd(void *argument) { open_in_a_crowd(argument, SHMQ_PRODUCER); }

/* Two that build at the same time can fill a file system that has room for one queue; neither need
 * fail, and then one does only if the other gets no processor for as long as it is waited for. */
TEST(both_ends_may_come_at_once_though_there_is_room_for_one_queue_only) {
    enum { ROUNDS = 20, REFUSED_MOST = 4 }; /* without trying again: about one in each round */
    CHECK(mkdir("small", 0700) == 0);
    mount_small("small", "size=48m");
    struct crowd *crowd = check_shared(sizeof *crowd);
    for (int round = 0; round < check_scaled(ROUNDS); round++) {
        check_note("round %d", round);
        pid_t producer = check_spawn(produce_in_a_crowd, crowd);
        open_in_a_crowd(crowd, SHMQ_CONSUMER);
        check_join(producer);
        CHECK_FAILS(shmq_unlink("./small/q"), ENOENT);
    }
    CHECK(crowd->refused <= REFUSED_MOST);
    CHECK(umount("small") == 0);
    CHECK(rmdir("small") == 0);
}

TEST_EVERYWHERE(a_queue_takes_all_its_space_when_it_is_created) {
    struct stat status;
    make_queue(name);
    CHECK(stat(check_path(name), &status) == 0);
    CHECK_EQUAL(status.st_size, OBJECT);
    CHECK(status.st_blocks * 512 >= OBJECT); /* else a later write could meet a full file system */
    CHECK(shmq_unlink(name) == 0);
}

TEST(a_read_only_file_system_is_eacces) {
    CHECK(mkdir("small", 0700) == 0);
    mount_small("small", "size=1m");
    make_queue("./small/old");
    CHECK(mount("small", "small", "tmpfs", MS_REMOUNT | MS_RDONLY, "size=1m") == 0);
    check_refused("./small/new", O_CREAT, &SMALL, EACCES);
    check_refused("./small/new", 0, NULL, ENOENT);
    check_refused("./small/old", 0, NULL, EACCES);
    CHECK_FAILS(shmq_unlink("./small/old"), EACCES);
    CHECK(umount("small") == 0);
    CHECK(rmdir("small") == 0);
}

TEST(a_directory_without_unnamed_files_cannot_hold_a_queue) {
    check_refused("/proc/q", O_CREAT, &SMALL, ENOTSUP);
    check_refused("/proc/q", 0, NULL, ENOENT);
}

TEST_EVERYWHERE(a_file_size_limit_that_is_too_small_is_told_and_sends_no_signal) {
    struct rlimit unlimited, limit;
    CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR); /* whoever gets it dies */
    CHECK(getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
    static const rlim_t limits[] = {0, 1, 4096, PAGES, OBJECT - 1};
    for (size_t at = 0; at < sizeof limits / sizeof limits[0]; at++) {
        check_note("limit %llu", (unsigned long long)limits[at]);
        limit = (struct rlimit){limits[at], unlimited.rlim_max};
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        check_refused(name, O_CREAT, &SMALL, ENOSPC);
    }
    limit.rlim_cur = OBJECT;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    make_queue(name);
    CHECK(setrlimit(RLIMIT_FSIZE, &unlimited) == 0);
    CHECK(shmq_unlink(name) == 0);
}

/* ---- Descriptors --------------------------------------------------------------------------- */

/* How many more descriptors this open needs than are there; at each number below, EMFILE. */
static int starve(const char *name, int oflag) {
    const struct shmq_attr attr = {.capacity = CAPACITY, .notify = notifier_now->kind};
    struct rlimit all, few;
    shmq *q = NULL;
    int lowest = dup(0); /* the lowest free number */
    CHECK(lowest >= 0 && close(lowest) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &all) == 0);
    int spare = 0;
    for (;; spare++) {
        const int descriptors = check_descriptors(), mappings = check_mappings();
        few = (struct rlimit){(rlim_t)(lowest + spare), all.rlim_max};
        CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
        const int error = shmq_open(&q, name, SHMQ_PRODUCER, oflag, &attr) == 0 ? 0 : errno;
        CHECK(setrlimit(RLIMIT_NOFILE, &all) == 0);
        if (error == 0) break;
        CHECK_EQUAL(error, EMFILE);
        CHECK_EQUAL(check_descriptors(), descriptors);
        CHECK_EQUAL(check_mappings(), mappings);
    }
    CHECK(shmq_close(q) == 0);
    return spare;
}

TEST_NOTIFIERS_EVERYWHERE(without_free_descriptors_nothing_is_opened_and_none_is_lost) {
    /* The directory and the object; then what the notifier needs, some of it for a moment only. */
    static const int more[NOTIFIERS_COUNT][2] = {
        [SHMQ_NOTIFY_NAMED] = {2, 1}, [SHMQ_NOTIFY_FIFO] = {3, 3}, [SHMQ_NOTIFY_SIGNAL] = {0, 1}};
    CHECK_EQUAL(starve(name, O_CREAT), 2 + more[notifier_now->kind][0]);
    CHECK_EQUAL(starve(name, O_CREAT), 2 + more[notifier_now->kind][1]);
    CHECK_EQUAL(starve(name, 0), 2 + more[notifier_now->kind][1]);
    CHECK(shmq_unlink(name) == 0);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
