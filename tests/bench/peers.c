/* The table of peers, and the signals that all of them meet. To add a peer: one file with its rows, and a
 * line here. */
#include "peer.h"

#include <string.h>

static const struct peer *const families[] = {peers_shmq,  peers_pipe,  peers_unix, peers_mq,      peers_textbook,
                                              peers_mutex, peers_boost, peers_zmq,  peers_nanomsg, peers_qb,
                                              peers_ck,    peers_limit, peers_raw,  peers_brought};

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
