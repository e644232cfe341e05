/* See region.h. In order: names and errors; the header; mapping; creating; finding; unlinking; all of it by name. */
#include "os.h"

#include "region.h"

#include <string.h>

#include "checksum.h"
#include "lease.h"
#include "notify.h"

enum {
    DEFAULT_CAPACITY = 1 << 20,
    DEFAULT_MODE = 0600,
    ANY_OWNER = 077,               /* bits of a mode: who gives any of them expects other users */
    LIFE_CYCLE_PATIENCE_MS = 1000, /* then EBUSY: a stopped holder stalls nobody for ever */
    ALLOCATE_STEP = 256 << 10,     /* bytes at a time: quicker than any timer that interrupts it */
    TRIES = 8
};
static const unsigned FLAGS_KNOWN = SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS | SHMQ_EPHEMERAL | SHMQ_CHECKSUM;
static const unsigned FLAGS_MISSING = CHECKSUM_BUILT ? 0 : SHMQ_CHECKSUM;

int region_fail(void) {
    const int error = errno;
    if (error == ENOTDIR) return fail(ENOENT);
    if (error == EROFS) return fail(EACCES);
    if (error == EDQUOT || error == EFBIG) return fail(ENOSPC);
    if (error == ETXTBSY || error == EISDIR || error == ENXIO) return fail(EPROTO); /* a program that runs; no file */
    if (error == ENODEV || error == ENOLCK || error == ENOSYS) return fail(ENOTSUP);
    return error == EAGAIN ? fail(EBUSY) : -1; /* somebody's lease on the file */
}

/* Splits the path into an open directory and a name in it. */
static int resolve(struct region *region, const char *path) {
    const char *slash = path == NULL ? NULL : strrchr(path, '/');
    if (slash == NULL) return fail(EINVAL);
    const char *name = slash + 1;
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return fail(EINVAL);
    const size_t name_length = strlen(name), directory_length = (size_t)(name - path);
    char directory[PATH_MAX];
    if (name_length > NAME_MAX || directory_length >= sizeof directory) return fail(ENAMETOOLONG);
    memcpy(region->name, name, name_length + 1);
    memcpy(directory, path, directory_length);
    directory[directory_length] = '\0';
    region->directory = os_open_directory(slash == path ? "/dev/shm" : directory);
    return region->directory < 0 ? -1 : 0;
}

/* ---- The header ---------------------------------------------------------------------------- */

static bool header_is_sound(const struct header *header, uint64_t object_size) {
    const struct notifier *notifier = notifier_of(header->notify);
    return header->magic == SHMQ_MAGIC && header->abi == SHMQ_ABI && header->page_size == os_page_size() &&
           header->capacity >= header->page_size && header->capacity <= SIZE_MAX / 4 &&
           (header->capacity & (header->capacity - 1)) == 0 && header->object_size == object_size &&
           object_size == PAGE_RING * (uint64_t)header->page_size + header->capacity && header->max_message > 0 &&
           header->max_message <= header->capacity - region_record_header(header) &&
           header->max_message <= UINT32_MAX && (uint32_t)header->instance != 0 &&
           (header->flags & ~FLAGS_KNOWN) == 0 && notifier != NULL &&
           header->fingerprint == notify_fingerprint(notifier->keeps);
}

/* Whether this build and this process can serve such a queue. */
static int supported(const struct header *header) {
    const struct notifier *notifier = notifier_of(header->notify);
    if ((header->flags & FLAGS_MISSING) != 0) return fail(ENOTSUP);
    return notifier->check == NULL ? 0 : notifier->check();
}

/* Fills in the header of a queue to be created. */
static int plan(struct header *header, const struct shmq_attr *attr) {
    const struct notifier *notifier = notifier_of(attr->notify);
    uint64_t page = os_page_size();
    uint64_t wanted = attr->capacity == 0 ? DEFAULT_CAPACITY : attr->capacity;
    uint64_t capacity = page;
    while (capacity < wanted && capacity <= SIZE_MAX / 8)
        capacity *= 2;
    if (capacity < wanted || notifier == NULL) return fail(EINVAL);
    uint64_t quarter = capacity / 4 < UINT32_MAX ? capacity / 4 : UINT32_MAX;
    *header = (struct header){
        .magic = SHMQ_MAGIC,
        .abi = SHMQ_ABI,
        .page_size = (uint32_t)page,
        .object_size = PAGE_RING * page + capacity,
        .capacity = capacity,
        .max_message = attr->max_message == 0 ? quarter : attr->max_message,
        .notify = attr->notify,
        .flags = attr->flags,
        .fingerprint = notify_fingerprint(notifier->keeps),
    };
    while ((uint32_t)header->instance == 0)
        if (os_random(&header->instance, sizeof header->instance) != 0 && errno != EINTR) return -1;
    return header_is_sound(header, header->object_size) ? supported(header) : fail(EINVAL);
}

/* Opens what the name means now and reads its header; EPROTO if it is no queue of any version.
 * With pread: an object that was truncated cannot fault there. */
static int open_existing(struct region *region, mode_t mode, struct stat *status) {
    if (os_stat_name(region->directory, region->name, status) != 0) return -1;
    if (!S_ISREG(status->st_mode) && !S_ISLNK(status->st_mode))
        return fail(EPROTO);                                            /* to open a device would be to use it */
    region->object = os_open_existing(region->directory, region->name); /* ELOOP: a link */
    if (region->object < 0 || os_stat(region->object, status) != 0) return -1;
    if (status->st_uid != os_user() && status->st_uid != 0 && (mode & ANY_OWNER) == 0) return fail(EACCES);
    if (!S_ISREG(status->st_mode)) return fail(EPROTO);
    region->header = (struct header){.magic = 0};
    ssize_t got = os_read(region->object, &region->header, sizeof region->header, 0);
    if (got < 0) return -1;
    return got >= (ssize_t)sizeof(uint64_t) && region->header.magic == SHMQ_MAGIC ? 0 : fail(EPROTO);
}

/* ---- Mapping ------------------------------------------------------------------------------- */

/* Maps what our end may see; the header page stays out of reach. */
static int map(struct region *region) {
    const size_t page = region->header.page_size;
    const size_t capacity = (size_t)region->header.capacity;
    const size_t ring = PAGE_RING * page;
    const size_t bytes = ring + 2 * capacity;
    const int both = PROT_READ | PROT_WRITE;
    const bool produces = region->role == SHMQ_PRODUCER;
    const size_t peer = (produces ? PAGE_CONSUMER : PAGE_PRODUCER) * page;
    unsigned char *base = os_blank(NULL, bytes, PROT_NONE);
    if (base == MAP_FAILED) return -1;
    region->base = base;
    region->mapped_bytes = bytes;
    region->end[SHMQ_PRODUCER] = (struct end_page *)(void *)(base + PAGE_PRODUCER * page);
    region->end[SHMQ_CONSUMER] = (struct end_page *)(void *)(base + PAGE_CONSUMER * page);
    region->meeting = (struct meeting *)(void *)(base + PAGE_MEETING * page);
    region->ring = base + ring;
    const bool failed =
        os_map(base + page, ring - page, both, region->object, page) != 0 ||
        os_map(base + peer, page, PROT_READ, region->object, peer) != 0 ||
        os_map(base + ring, capacity, produces ? both : PROT_READ, region->object, ring) != 0 ||
        os_map(base + ring + capacity, capacity, produces ? both : PROT_READ, region->object, ring) != 0 ||
        os_advise(base, bytes, MADV_DONTFORK) != 0 || os_advise(base, bytes, MADV_DONTDUMP) != 0;
    return failed ? -1 : 0;
}

/* Gives back all of an object: leases, mapping, descriptor. */
static void let_go(struct region *region) {
    lease_drop(region->object, 0, 0);
    const size_t bytes = region->mapped_bytes;
    region->mapped_bytes = 0; /* first: what is mapped there next is not ours */
    if (bytes > 0) os_unmap(region->base, bytes);
    os_close(region->object);
    region->object = -1;
}

void region_close(struct region *region) {
    let_go(region);
    region_disown(region);
}

void region_disown(struct region *region) {
    os_close(region->object);
    os_close(region->directory);
    region->object = -1;
    region->directory = -1;
}

/* ---- Creating ------------------------------------------------------------------------------ */

static int allocate(int object, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
        uint64_t step = bytes - done < ALLOCATE_STEP ? bytes - done : ALLOCATE_STEP;
        if (os_allocate(object, (off_t)done, (off_t)step) == 0)
            done += step;
        else if (errno != EINTR)
            return region_fail();
    }
    return 0;
}

/* A whole queue without a name, at region->object. Space is taken here: a full file system is
 * ENOSPC now and not a SIGBUS later. */
static int build(struct region *region, mode_t mode) {
    region->object = os_open_unnamed(region->directory);
    if (region->object < 0) return errno == EISDIR ? fail(ENOTSUP) : -1;
    const struct header *header = &region->header;
    /* What cannot fit must not fill the file system before it fails: where that is as large as memory, other processes
     * would die. */
    if (header->object_size > os_room(region->object)) return fail(ENOSPC);
    if (os_set_mode(region->object, mode) != 0 || allocate(region->object, header->object_size) != 0) return -1;
    return os_write(region->object, header, sizeof *header, 0);
}

/* Takes the first free slot of our side. */
static int take_role(struct region *region) {
    for (region->slot = 0; lease_take(region->object, region_own_lease(region), F_WRLCK) != 0; region->slot++)
        if (errno != EBUSY || region->slot + 1 == region_slots(&region->header, region->role)) return -1;
    return 0;
}

/* Builds a queue and names it, last of all: its creator has its end before anyone can see it, and
 * what fails leaves nothing. EEXIST: the name is taken. */
static int create(struct region *region, const struct shmq_attr *attr) {
    if (plan(&region->header, attr) != 0 || build(region, attr->mode == 0 ? DEFAULT_MODE : attr->mode) != 0 ||
        lease_take(region->object, LEASE_LIFE_CYCLE, F_RDLCK) != 0 || take_role(region) != 0 || map(region) != 0)
        return -1;
    const struct notifier *notifier = notifier_of(region->header.notify);
    if (notifier->format != NULL && notifier->format(region->meeting) != 0) return -1;
    if (os_link(region->object, region->directory, region->name) == 0) return 0;
    /* O_TMPFILE has just worked in this directory, so what is missing is /proc. */
    return errno == ENOENT ? fail(ENOTSUP) : -1;
}

/* ---- Finding ------------------------------------------------------------------------------- */

/* Does the name still mean our object? ENOENT: no. */
static int check_name(const struct region *region) {
    struct stat ours, named;
    if (os_stat(region->object, &ours) != 0 || os_stat_name(region->directory, region->name, &named) != 0) return -1;
    return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino ? 0 : fail(ENOENT);
}

/* Opens what the name means now and takes the leases. ESTALE: it lost its name meanwhile, start
 * over. */
static int find(struct region *region, mode_t mode) {
    struct stat status;
    if (open_existing(region, mode, &status) != 0) return -1;
    if (!header_is_sound(&region->header, (uint64_t)status.st_size)) return fail(EPROTO);
    if (supported(&region->header) != 0) return -1;
    if (lease_take_until(region->object, LEASE_LIFE_CYCLE, F_RDLCK, region->until_ns) != 0) return -1;
    if (check_name(region) != 0) return errno == ENOENT ? fail(ESTALE) : -1;
    /* Last, for who holds a role may have been left the unlinking, and must not fail any more. */
    return map(region) == 0 ? take_role(region) : -1;
}

/* One try at it. ESTALE: someone else was faster, start over. */
static int open_once(struct region *region, int oflag, const struct shmq_attr *attr) {
    const bool exclusive = (oflag & O_EXCL) != 0;
    struct stat status;
    if (!exclusive && find(region, attr->mode) == 0) return 0;
    if (!exclusive && (errno != ENOENT || (oflag & O_CREAT) == 0)) return -1;
    /* Only linkat decides; but why build a large queue in vain? */
    if (exclusive && os_stat_name(region->directory, region->name, &status) == 0) return fail(EEXIST);
    if (create(region, attr) == 0) return 0;
    return errno == EEXIST && !exclusive ? fail(ESTALE) : -1;
}

static bool mode_is_valid(mode_t mode) {
    return (mode & ~(mode_t)0666) == 0 && (mode & 0444) == (mode & 0222) << 1; /* who may read may write */
}

/* After a failed try: is another worth while? Somebody was faster (ESTALE); or has taken the space, perhaps for a queue
 * that is there by now, or that failed beside ours because there was room for one. */
static bool start_over(struct region *region, int tries) {
    const int error = errno;
    const bool late = tries >= TRIES && (error == ENOSPC || os_now() >= region->until_ns);
    errno = error == ESTALE ? EBUSY : error;
    if ((error != ESTALE && error != ENOSPC) || late) return false;
    let_go(region);
    if (error == ENOSPC) os_nap((5 + (int64_t)(region->header.instance % 16)) * OS_MS); /* not all at once again */
    return true;
}

/* ---- Unlinking ----------------------------------------------------------------------------- */

bool region_unlinked(const struct region *region) {
    struct stat status;
    return region->object >= 0 && os_stat(region->object, &status) == 0 && status.st_nlink == 0;
}

/* An end's page as it is now, read without touching the mapping. */
static int read_page(const struct region *region, off_t number, struct end_page *page) {
    ssize_t got = os_read(region->object, page, sizeof *page, number * region->header.page_size);
    if (got < 0) return -1;
    return got == (ssize_t)sizeof *page ? 0 : fail(EPROTO);
}

/* 1 if there is an end of either side, besides a lease that is ours, 0 if none; -1: could not look. */
static int has_ends(const struct region *region) { return os_lock_held(region->object, LEASE_ROLES, (off_t)2 * SLOTS); }

static bool was_used(const struct end_page *page) {
    uint64_t lives = 0;
    for (int slot = 0; slot < SLOTS; slot++)
        lives |= page->life[slot];
    return lives != 0;
}

/* Why a name goes. */
enum farewell { UNLINKED, DRAINED, FAILED };

/* Under the exclusive lease: may the name go? 1 yes, 0 no, -1: could not look. Nobody moves the words now. */
static int is_over(const struct region *region, enum farewell why) {
    struct end_page producer, consumer;
    if (why == UNLINKED) return 1;
    const int ends = has_ends(region);
    if (ends != 0) return ends < 0 ? -1 : 0;
    if (read_page(region, PAGE_PRODUCER, &producer) != 0 || read_page(region, PAGE_CONSUMER, &consumer) != 0) return -1;
    if (!was_used(&producer) && !was_used(&consumer)) return why == FAILED;
    return (region->header.flags & SHMQ_EPHEMERAL) != 0 && producer.cursor == consumer.cursor && was_used(&consumer);
}

static void remove_doorbells(const struct region *region) {
    const struct notifier *notifier = notifier_of(region->header.notify);
    if (region->header.abi != SHMQ_ABI || notifier == NULL || notifier->remove == NULL) return;
    notifier->remove(
        &(struct bells){.directory = region->directory, .object = region->object, .instance = region->header.instance});
}

/* Removes the name, if it still means our object; ENOENT if not. Holds the life-cycle lease
 * exclusively meanwhile. The name goes last: whoever is killed before has unlinked nothing, and
 * the next who attaches makes the doorbells again. */
static int remove_name(struct region *region, enum farewell why) {
    if (lease_take_until(region->object, LEASE_LIFE_CYCLE, F_WRLCK, region->until_ns) != 0) return -1;
    int result = check_name(region) == 0 ? is_over(region, why) : -1;
    if (result > 0) {
        remove_doorbells(region);
        result = check_name(region) == 0 ? os_unlink(region->directory, region->name) : -1; /* however late, look */
    }
    lease_drop(region->object, LEASE_LIFE_CYCLE, 1);
    return result;
}

int region_retire(struct region *region, bool failed) {
    const bool ephemeral = (region->header.flags & SHMQ_EPHEMERAL) != 0;
    if (region->object < 0 || !(ephemeral || failed)) return 0;
    const int ends = has_ends(region); /* theirs to do: of two ends that close at once, the later sees no other */
    if (ends > 0 || (ends == 0 && remove_name(region, failed ? FAILED : DRAINED) == 0)) return 0;
    return errno == ENOENT ? 0 : region_fail(); /* gone already: just as well */
}

static int unlink_once(struct region *region) {
    struct stat status;
    /* The directory's rights decide. */
    if (open_existing(region, ANY_OWNER, &status) != 0) return -1;
    if (remove_name(region, UNLINKED) == 0) return 0;
    return errno == ENOENT ? fail(ESTALE) : -1;
}

/* ---- By name --------------------------------------------------------------------------------- */

/* Opens, or without `attr` unlinks: tries until it succeeds or is not worth while any more; waits for the life-cycle lease
 * so long. */
static int persist(struct region *region, const char *path, int oflag, const struct shmq_attr *attr) {
    if (resolve(region, path) != 0) return -1;
    int tries = 0;
    while ((attr != NULL ? open_once(region, oflag, attr) : unlink_once(region)) != 0)
        if (!start_over(region, ++tries)) return -1;
    return 0;
}

int64_t region_deadline(void) { return os_now() + LIFE_CYCLE_PATIENCE_MS * OS_MS; }

int region_open(struct region *region, const char *path, int oflag, const struct shmq_attr *attr) {
    if ((oflag & ~(O_CREAT | O_EXCL)) != 0 || oflag == O_EXCL || !mode_is_valid(attr->mode)) return fail(EINVAL);
    int result = persist(region, path, oflag, attr);
    if (result != 0) region_close(region);
    return result == 0 ? 0 : region_fail();
}

int region_unlink(const char *path, int64_t until_ns) {
    struct region region = {.directory = -1, .object = -1, .until_ns = until_ns};
    int result = persist(&region, path, 0, NULL);
    region_close(&region);
    return result == 0 ? 0 : region_fail();
}
