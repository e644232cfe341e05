/* The table of peers, and what several of them share. To add a peer: one file with its rows, and a
 * line here. */
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct peer *const families[] = {peers_shmq, peers_pipe, peers_unix, peers_raw, peers_brought};

const struct peer *peer_at(size_t index) {
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct peer *peer = families[family]; peer != NULL && peer->name != NULL; peer++)
            if (index-- == 0) return peer;
    return NULL;
}

const struct peer *peer_named(const char *name) {
    const struct peer *peer;
    for (size_t index = 0; (peer = peer_at(index)) != NULL; index++)
        if (strcmp(peer->name, name) == 0) return peer;
    return NULL;
}

void peers_watched_signals(sigset_t *set) {
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
    (void)sigaddset(set, SIGCHLD);
}

void peers_prepare_signals(void) {
    sigset_t set;
    peers_watched_signals(&set);
    (void)sigaddset(&set, SIGURG); /* shmq/signal takes it while it waits */
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL); /* whoever starts us may ignore it, and then there is none */
}

void lane_init(struct lane *lane, const struct peer *peer, const char *name) {
    *lane = (struct lane){.peer = peer, .fds = {-1, -1}};
    (void)snprintf(lane->name, sizeof lane->name, "%s", name);
}

const char *lane_why(const struct lane *lane, int error) { return lane->why[0] != '\0' ? lane->why : strerror(error); }

static void close_fd(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

/* The other end must be closed here, or its death would go unnoticed. */
int lane_open_fd(struct lane *lane, enum peer_end end) {
    close_fd(&lane->fds[end == PEER_PRODUCER ? PEER_CONSUMER : PEER_PRODUCER]);
    if (lane->fds[end] >= 0) return 0;
    (void)snprintf(lane->why, sizeof lane->why, "who comes later cannot inherit it");
    errno = EBADF;
    return -1;
}

void lane_close_fds(struct lane *lane) {
    close_fd(&lane->fds[PEER_PRODUCER]);
    close_fd(&lane->fds[PEER_CONSUMER]);
}

int lane_wait_fd(int fd, int timeout_ms) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int count = timeout_ms < 0 ? 1 : poll(&ready, 1, timeout_ms);
    if (count == 0) errno = timeout_ms == 0 ? EAGAIN : ETIMEDOUT;
    return count > 0 ? 0 : -1;
}
