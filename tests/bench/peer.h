/* What the benchmark and the scoreboard compare: a peer is one way to move messages from a process to another.
 *
 * A lane is one direction of a peer: one process sends, one receives. Its life:
 *
 *     make            once, in the process that then forks the two: what must exist before
 *     open            in each of the two, its own end; in either order. A producer may wait there for its consumer
 *     send, receive   there
 *     close           in each of the two; and in a maker that lives on, which thereby lets go of its own part
 *     forget          in the maker: drops its descriptors and removes every name. From when both
 *                     ends are open; before, if all is called off. Again is harmless
 *
 * So a maker that forgets as soon as it may leaves nothing behind, whoever is killed afterwards.
 *
 * Functions return 0 (receive: a length), or -1 with errno, which lane_why() says in words. A peer
 * that this machine or this build does not have fails make or open with ENOTSUP. They keep nothing
 * outside their lane, print nothing and do not exit. Which signals they want blocked or ignored is for the process to
 * prepare: peers_prepare_signals. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

enum peer_end { PEER_PRODUCER, PEER_CONSUMER };

struct peer;

/* Bytes of a shared object that hold something now. */
struct spot {
    char path[96];
    off_t at;
    size_t bytes;
};
enum { PEER_SPOTS = 12 };

struct lane {
    const struct peer *peer;
    char name[64];  /* unguessable; a peer whose objects have names takes it for them */
    char why[128];  /* the last failure, where errno alone does not tell; or empty */
    int fds[2];     /* the peer's own: indexed by enum peer_end, -1 if not open here */
    void *state;    /* the peer's own: a handle, or shared memory */
    uint32_t count; /* the peer's own */
    size_t longest; /* bytes of the longest message that will be sent: some peers must know before */
    /* To be set before make and open. */
    size_t capacity; /* bytes that should fit, or about so many; 0: what users get by default */
    bool careful;    /* with all that the peer has against damage, as somebody takes it who expects some */
    bool many;       /* more than one end may open each side: for peers that allow it */
};

struct peer {
    const char *name;
    size_t largest; /* bytes of a message; 0: whatever is asked here */
    bool single;    /* holds one message: the next may be sent only when it is received */
    bool named;     /* open creates, or attaches by name: who comes first is all the same, and others may come later */
    bool many;      /* any number of processes may send and receive, each message goes to one */
    bool busy;      /* burns a core while it waits */
    bool bound;     /* not for use, but to show what this machine can do */
    unsigned kind;  /* the peer's own: which of its family */
    int (*make)(struct lane *lane);
    int (*open)(struct lane *lane, enum peer_end end);
    int (*send)(struct lane *lane, const void *message, size_t length);
    /* Publishes what send has held back, before anybody waits for an answer; NULL: it holds nothing back. */
    void (*flush)(struct lane *lane);
    /* size is the length that was sent: a pipe knows no borders. The buffer has room for the longest message. Time-outs
     * as in shmq.h. */
    ssize_t (*receive)(struct lane *lane, void *buffer, size_t size, int timeout_ms);
    void (*close)(struct lane *lane);
    void (*forget)(struct lane *lane);
    /* Where its shared objects lie and what of them is in use: header, cursors, unread messages. Returns how many, 0 if
     * they are not to be found. NULL: a peer that keeps all of it in the kernel. */
    size_t (*spots)(const struct lane *lane, struct spot spots[PEER_SPOTS]);
};

/* The rows of one file each; the last has no name. */
extern const struct peer peers_shmq[], peers_pipe[], peers_unix[], peers_mq[], peers_textbook[], peers_mutex[],
    peers_boost[], peers_zmq[], peers_nanomsg[], peers_qb[], peers_ck[], peers_limit[], peers_raw[];

/* Rows that a program brings along, shown last; there need not be any. */
extern const struct peer peers_brought[] __attribute__((weak));

/* The peers in the order in which they are shown; NULL after the last. */
const struct peer *peer_at(size_t index);
/* NULL if there is none of that name. */
const struct peer *peer_named(const char *name);

/* To be called first, without threads. Blocks what peers want blocked, and what a parent waits for: Ctrl-C reaches the
 * children too, and it is the parent that ends them. */
void peers_prepare_signals(void);
/* What a parent waits for: Ctrl-C and the like, and a child's end. */
void peers_watched_signals(sigset_t *set);

/* A lane that is not made yet. name must be unguessable, and no longer than lane.name. */
void lane_init(struct lane *lane, const struct peer *peer, const char *name, size_t longest);
const char *lane_why(const struct lane *lane, int error);

/* ---- For adapters: lane.c ---- */

/* What is missing here, in words; -1 with ENOTSUP. */
int lane_lacks(struct lane *lane, const char *what);
/* The capacity for peers without a default of their own, shmq's: a power of two, and several messages. */
size_t lane_room(const struct lane *lane);

/* For the peers that are a pair of descriptors: nothing to do before a fork but to make them. */
int lane_open_fd(struct lane *lane, enum peer_end end);
void lane_close_fds(struct lane *lane);
/* Until fd is readable: 0. A time-out for ever leaves the waiting to the read itself. */
int lane_wait_fd(int fd, int timeout_ms);

/* Says that time is up: -1, with the errno of that time-out. */
int lane_late(int timeout_ms);
/* When a time-out that has begun now will be over; nothing of one for ever, for which nobody has to read a clock. */
struct timespec lane_deadline(clockid_t clock, int timeout_ms);

/* For those who wait by looking: lane_look is called between two looks, and is -1 with errno when the time is up. */
struct looking {
    int timeout_ms;
    uint32_t looks;
    int64_t until_ms; /* of a time-out that is neither 0 nor for ever; 0: not known yet */
};
int lane_look(struct looking *looking);

/* The object /dev/shm/NAME with so many bytes, mapped: created and formatted by whoever comes first, under a lock that
 * dies with its holder. Its first word, an int, says that it is formatted. NULL with errno if it fails. */
typedef void formatter(const struct lane *lane, void *object);
void *lane_share(const struct lane *lane, size_t bytes, formatter *format);
/* Removes its name. */
void lane_unshare(struct lane *lane);
/* Its first bytes, for somebody who has not opened it; false if there are none. */
bool lane_peek(const struct lane *lane, void *bytes, size_t count);
struct spot lane_spot(const struct lane *lane, size_t at, size_t bytes);

#ifdef __cplusplus
}
#endif
