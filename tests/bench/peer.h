/* What the benchmark compares: a peer is one way to move messages from a process to another.
 *
 * A lane is one direction of a peer: one process sends, one receives. Its life:
 *
 *     make            once, in the process that then forks the two: what must exist before
 *     open            in each of the two, its own end; in either order
 *     send, receive   there
 *     close           in each of the two
 *     forget          in the maker: drops its descriptors and removes every name. From when both
 *                     ends are open; before, if all is called off. Again is harmless
 *
 * So a maker that forgets as soon as it may leaves nothing behind, whoever is killed afterwards.
 *
 * Functions return 0 (receive: a length), or -1 with errno, which lane_why() says in words. A peer
 * that this machine or this build does not have fails make or open with ENOTSUP. They keep nothing
 * outside their lane, print nothing and do not exit. Two things are for the process to prepare,
 * before it has threads: SIGPIPE ignored, and SIGURG blocked for shmq/signal. */
#ifndef PEER_H
#define PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum peer_end { PEER_PRODUCER, PEER_CONSUMER };

struct peer;

struct lane {
    const struct peer *peer;
    char name[64];  /* unguessable; a peer whose objects have names takes it for them */
    char why[128];  /* the last failure, where errno alone does not tell; or empty */
    int fds[2];     /* the peer's own: indexed by enum peer_end, -1 if not open here */
    void *state;    /* the peer's own: a handle, or shared memory */
    uint32_t count; /* the peer's own */
};

struct peer {
    const char *name;
    size_t largest; /* bytes of a message; 0: whatever is asked here */
    bool single;    /* holds one message: the next may be sent only when it is received */
    unsigned kind;  /* the peer's own: which of its family */
    int (*make)(struct lane *lane);
    int (*open)(struct lane *lane, enum peer_end end);
    int (*send)(struct lane *lane, const void *message, size_t length);
    /* size is the length that was sent: a pipe knows no borders. Time-outs as in shmq.h. */
    ssize_t (*receive)(struct lane *lane, void *buffer, size_t size, int timeout_ms);
    void (*close)(struct lane *lane);
    void (*forget)(struct lane *lane);
};

/* The rows of one file each; the last has no name. */
extern const struct peer peers_shmq[], peers_pipe[], peers_unix[], peers_raw[];

/* The peers in the order in which they are shown; NULL after the last. */
const struct peer *peer_at(size_t index);
/* NULL if there is none of that name. */
const struct peer *peer_named(const char *name);

/* A lane that is not made yet. name must be unguessable, and no longer than lane.name. */
void lane_init(struct lane *lane, const struct peer *peer, const char *name);
const char *lane_why(const struct lane *lane, int error);

/* For the peers that are a pair of descriptors: nothing to do before a fork but to make them. */
int lane_open_fd(struct lane *lane, enum peer_end end);
void lane_close_fds(struct lane *lane);
/* Until fd is readable: 0. A time-out for ever leaves the waiting to the read itself. */
int lane_wait_fd(int fd, int timeout_ms);

#endif
