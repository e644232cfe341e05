/* See inspect.h. Of the programs' files only this one and inspect_records.c, its other half, read what is shared. */
#include "inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checksum.h"
#include "lease.h"
#include "notify.h"
#include "region.h"

bool inspect_path(const char *name, char path[PATH_MAX]) {
    const bool shared = name[0] == '/' && strchr(name + 1, '/') == NULL;
    const int length = snprintf(path, PATH_MAX, "%s%s", shared ? "/dev/shm" : "", name);

    return length > 0 && length < PATH_MAX;
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int open_quietly(const char *path) {
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    const int fd = open(path, flags | O_NOATIME);

    return fd < 0 && errno == EPERM ? open(path, flags) : fd; /* not ours: its access time may move */
}

static enum inspected why_not(struct inspection *found) {
    found->error = errno;
    switch (errno) {
    case ENOENT:
    case ENOTDIR: return INSPECTED_ABSENT;
    case ELOOP: return INSPECTED_LINK;
    case EACCES:
    case EPERM: return INSPECTED_CLOSED;
    default: return INSPECTED_FAILED;
    }
}

/* When it was made: as the file system says, or else when its first page was written. */
static int64_t birth_of(const struct inspection *found) {
    struct statx more;

    if (statx(found->fd, "", AT_EMPTY_PATH, STATX_BTIME, &more) == 0 && (more.stx_mask & STATX_BTIME) != 0) {
        return more.stx_btime.tv_sec;
    }
    return found->status.st_mtime;
}

static enum inspected open_object(struct inspection *found, const char *name) {
    ssize_t got;

    if (!inspect_path(name, found->path)) {
        errno = ENAMETOOLONG;
        return why_not(found);
    }
    if (lstat(found->path, &found->status) != 0) return why_not(found);
    found->born_s = found->status.st_mtime;
    if (S_ISLNK(found->status.st_mode)) return INSPECTED_LINK;
    if (!S_ISREG(found->status.st_mode)) return INSPECTED_FOREIGN; /* to open it could be to use it */
    found->fd = open_quietly(found->path);
    if (found->fd < 0 || fstat(found->fd, &found->status) != 0) return why_not(found);
    if (!S_ISREG(found->status.st_mode)) return INSPECTED_FOREIGN;
    found->born_s = birth_of(found);
    got = pread(found->fd, &found->header, sizeof found->header, 0);
    if (got < 0) return why_not(found);
    if (got < (ssize_t)sizeof found->header) found->header_fault = HEADER_SHORT;
    return got >= (ssize_t)sizeof found->header.magic && found->header.magic == SHMQ_MAGIC ? INSPECTED_QUEUE
                                                                                           : INSPECTED_FOREIGN;
}

/* ---- The header ----------------------------------------------------------------------------- */

static bool header_is_possible(const struct header *header) {
    const unsigned known = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS | SHMQ_EPHEMERAL | SHMQ_CHECKSUM;

    return header->capacity >= header->page_size && header->capacity <= SIZE_MAX / 4 &&
           (header->capacity & (header->capacity - 1)) == 0 &&
           header->object_size == PAGE_RING * (uint64_t)header->page_size + header->capacity &&
           header->max_message > 0 && header->max_message <= header->capacity - region_record_header(header) &&
           header->max_message <= UINT32_MAX && (uint32_t)header->instance != 0 && (header->flags & ~known) == 0 &&
           notifier_of(header->notify) != NULL;
}

static enum header_fault judge(const struct inspection *found) {
    const struct header *header = &found->header;
    const struct notifier *notifier = notifier_of(header->notify);
    const uint64_t size = (uint64_t)found->status.st_size;

    if (found->header_fault == HEADER_SHORT) return HEADER_SHORT;
    if (header->abi != SHMQ_ABI) return OTHER_ABI;
    if (header->page_size != (uint64_t)sysconf(_SC_PAGESIZE)) return OTHER_PAGES;
    if (!header_is_possible(header)) return HEADER_DAMAGED;
    if (size != header->object_size) return size < header->object_size ? TOO_SHORT : TOO_LONG;
    if (header->fingerprint != notify_fingerprint(notifier->keeps)) return OTHER_LIBC;
    return CHECKSUM_BUILT == 0 && (header->flags & SHMQ_CHECKSUM) != 0 ? NO_CHECKSUMS : HEADER_FINE;
}

bool inspect_has_state(const struct inspection *found) {
    return found->what == INSPECTED_QUEUE && found->header_fault >= OTHER_LIBC;
}

/* ---- What moves ----------------------------------------------------------------------------- */

static bool read_page(const struct inspection *found, unsigned number, struct end_page *page) {
    const off_t at = (off_t)number * (off_t)found->header.page_size;
    const bool whole = pread(found->fd, page, sizeof *page, at) == (ssize_t)sizeof *page;

    atomic_thread_fence(memory_order_seq_cst); /* one after the other, as they are read here */
    return whole;
}

static void take_page(struct inspected_side *side, const struct end_page *page) {
    side->cursor = page->cursor;
    side->messages = page->messages;
    side->sleeps = page->sleeps;
    side->rings = page->rings;
    side->lock = side->many ? page->lock & 0xff : 0;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        side->life[slot] = page->life[slot];
        side->end_seen[slot] = page->end_seen[slot];
    }
}

static void ask_leases(struct inspection *found, enum shmq_end end) {
    struct inspected_side *side = &found->side[end];

    side->alive_count = 0;
    for (unsigned slot = 0; slot < side->slots; slot++) {
        side->alive[slot] = lease_held(found->fd, region_role(end) + (int)slot, 1);
        side->alive_count += side->alive[slot];
    }
}

/* Dead is who had an open life before its lease was found free, and has the same one afterwards. */
static void find_dead(struct inspected_side *side, const struct end_page *later) {
    for (unsigned slot = 0; slot < side->slots; slot++)
        side->died[slot] = side->life[slot] % 2 == 1 && !side->alive[slot] && later->life[slot] == side->life[slot];
}

/* head, tail, and head again, in this order: the true head at the moment of tail lies between the two. */
static void judge_cursors(struct inspection *found, uint64_t later_head) {
    const struct inspected_side *producer = &found->side[SHMQ_PRODUCER], *consumer = &found->side[SHMQ_CONSUMER];
    const uint64_t head = consumer->cursor, moved = later_head - head, used = producer->cursor - head;
    const uint64_t counted = producer->messages - consumer->messages;
    const uint64_t capacity = found->header.capacity;
    uint64_t most;

    found->cursors_possible = (int64_t)moved >= 0 && (int64_t)used >= 0 && used <= moved + capacity &&
                              head % RECORD_ALIGN == 0 && producer->cursor % RECORD_ALIGN == 0;
    found->used = used < capacity ? used : capacity;
    most = found->used / region_record_header(&found->header);
    found->waiting = (int64_t)counted < 0 ? 0 : counted < most ? counted : most;
    if (found->used > 0 && found->waiting == 0) found->waiting = 1;
}

static bool look(struct inspection *found) {
    struct end_page head, tail, later_head, later_tail;

    if (!read_page(found, PAGE_CONSUMER, &head) || !read_page(found, PAGE_PRODUCER, &tail) ||
        !read_page(found, PAGE_CONSUMER, &later_head))
        return false;
    take_page(&found->side[SHMQ_CONSUMER], &head);
    take_page(&found->side[SHMQ_PRODUCER], &tail);
    judge_cursors(found, later_head.cursor);
    for (enum shmq_end end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++)
        ask_leases(found, end);
    found->busy = inspect_is_busy(found);
    if (!read_page(found, PAGE_CONSUMER, &later_head) || !read_page(found, PAGE_PRODUCER, &later_tail)) return false;
    find_dead(&found->side[SHMQ_CONSUMER], &later_head);
    find_dead(&found->side[SHMQ_PRODUCER], &later_tail);
    return true;
}

/* The kernel does not promise to copy a word in one piece: what seems impossible is looked at once more. */
static bool look_well(struct inspection *found) {
    enum { TRIES = 4 };
    bool whole = false;

    for (int try = 0; try < TRIES && !(whole && found->cursors_possible); try++)
        whole = look(found);
    return whole;
}

bool inspect_has_users(const struct inspection *found) {
    return found->fd >= 0 && lease_held(found->fd, LEASE_ROLES, 2 * SLOTS);
}

bool inspect_is_busy(const struct inspection *found) { return lease_held(found->fd, LEASE_LIFE_CYCLE, 1); }

bool inspect_again(struct inspection *found) {
    struct stat named;

    if (!inspect_has_state(found) || lstat(found->path, &named) != 0 || named.st_dev != found->status.st_dev ||
        named.st_ino != found->status.st_ino || fstat(found->fd, &found->status) != 0)
        return false;
    found->header_fault = judge(found);
    return inspect_has_state(found) && look_well(found);
}

void inspect(struct inspection *found, const char *name) {
    *found = (struct inspection){.name = name, .fd = -1, .header_fault = HEADER_FINE};
    found->what = open_object(found, name);
    if (found->what != INSPECTED_QUEUE) return;
    found->header_fault = judge(found);
    if (!inspect_has_state(found)) return;
    for (enum shmq_end end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        found->side[end].slots = region_slots(&found->header, end);
        found->side[end].many = found->side[end].slots > 1;
    }
    if (!look_well(found)) found->header_fault = TOO_SHORT; /* truncated meanwhile */
}

void inspect_close(struct inspection *found) {
    if (found->fd >= 0) close(found->fd);
    found->fd = -1;
}

bool inspect_may_open(const struct inspection *found) {
    return faccessat(AT_FDCWD, found->path, R_OK | W_OK, AT_EACCESS) == 0;
}

bool inspect_header(const char *name, struct header *header) {
    struct inspection found = {.fd = -1, .header_fault = HEADER_FINE};
    const bool marked = open_object(&found, name) == INSPECTED_QUEUE && found.header_fault != HEADER_SHORT;

    *header = found.header;
    inspect_close(&found);
    return marked;
}
