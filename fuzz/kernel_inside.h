/* What the files of the kernel in memory share: its tables, and what one does in them. Not for targets: kernel.h is. */
#pragma once

#include "kernel.h"

#include <limits.h>

#include "layout.h"
#include "shmq.h"

enum {
    PAGE = 4096,
    NAMES = 64,
    DESCRIPTORS = 128,
    LOCKS = 256,
    VIEWS = 4,      /* of one store and one end at a time */
    CLASSES = 9,    /* capacities: a page, up to 1 MiB */
    SMALL = 64,     /* bytes of a file that needs no store */
    FIRST_FD = 100, /* numbers that are no standard stream's */
    FIRST_PID = 1000,
    EVERYBODY = -1
};
static const size_t LARGEST = PAGE_RING * (size_t)PAGE + ((size_t)PAGE << (CLASSES - 1));
static const int64_t TICK_NS = 1000;

/* ---- Objects: kernel_objects.c ------------------------------------------------------------------ */

/* One end's mapping of a store. */
struct view {
    unsigned char *base; /* page 0; a page that nobody may touch lies before and behind */
    bool taken, spoiled; /* spoiled: something else is mapped there by now */
    int actor, fd;
};

/* Memory for an object of up to four pages and a ring of this capacity. */
struct store {
    size_t capacity;
    int memory; /* the real kernel's descriptor */
    unsigned char *flat;
    bool used;
    struct view view[2][VIEWS];
};

struct inode {
    mode_t mode; /* 0: free */
    uid_t user;
    uint64_t number;
    unsigned links, opens;
    size_t size;
    bool truncated;
    struct store *store; /* of what is larger than SMALL */
    _Alignas(16) unsigned char small[SMALL];
    unsigned readers, writers, writers_came, filled; /* of a FIFO */
};

extern struct inode inodes[];
extern int inodes_used; /* of this input, no more */
extern uint64_t next_number;
extern struct inode *recent; /* what was last asked about by descriptor: what is mapped next */
extern bool any_truncated;
extern struct sigaction on_bus;

struct inode *inode_new(mode_t mode);
unsigned char *inode_bytes(struct inode *inode);
void inode_put(struct inode *inode); /* if nobody has it any more, it goes */
void drop_views(int actor);          /* here and below: of an actor, or of EVERYBODY */

/* ---- Files: kernel_files.c ---------------------------------------------------------------------- */

struct description {
    struct inode *inode; /* NULL: a process */
    bool open;
    int views; /* a mapping keeps the description, and so its locks */
    int actor, flags, process;
    unsigned seen_writers;
    unsigned at; /* of a directory that is read */
};

struct lock {
    struct inode *inode; /* NULL: none */
    int fd;
    off_t start, end;
    short type;
};

struct name {
    struct inode *directory, *inode; /* NULL: none */
    char text[NAME_MAX + 1];
};

/* Of these tables, no more was used of this input than the counts say. */
extern struct description fds[DESCRIPTORS];
extern struct lock locks[LOCKS];
extern int fds_used, locks_used;
extern struct name names[NAMES];
extern struct inode *shm, *here; /* /dev/shm and . */

struct description *description_of(int fd); /* NULL: it is not open */
struct inode *inode_of(int fd);
int fd_new(struct inode *inode, int flags);
void fd_close(struct description *description);
void description_put(struct description *description); /* if descriptor and mappings have gone, its locks go */
struct name *find_name(const struct inode *directory, const char *text);
int name_new(struct inode *directory, const char *text, struct inode *inode);

/* ---- Sleep, and libc's objects: kernel_sleep.c -------------------------------------------------- */

extern bool alive[KERNEL_ACTORS], pending[KERNEL_ACTORS];

void let_others_act(void);
void sleep_until(int64_t until_ns);
void drop_semaphores(int actor);
void drop_mutexes(int actor);
unsigned libc_held(void); /* how many of them somebody has */

/* ---- What fails and who dies: kernel.c ---------------------------------------------------------- */

void step(void);       /* before each call and access: its caller may go no further */
bool fails(int error); /* each call comes by here first: it may never return, or fail so */
void die(void);
int deny(int error); /* -1, with errno */

static inline bool is_of(int owner, int actor) { return actor == EVERYBODY || owner == actor; }
