/* How many instructions a call takes, which no other program on the machine changes: the processor traps after each. */
#include "measures.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static volatile int64_t trapped;

static void on_trap(int signal) {
    (void)signal;
    trapped = trapped + 1;
}

/* From the next instruction on, until it is called again. Other processors have nothing of the kind for everybody. */
static void trap(bool each) {
#if defined(__x86_64__)
    const uint64_t flag = each ? 0x100 : 0; /* not into the red zone */
    __asm__ __volatile__("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\torq %0, (%%rsp)\n\tpopfq\n\t"
                         "lea 128(%%rsp), %%rsp"
                         :
                         : "r"(flag)
                         : "memory", "cc");
#else
    (void)each;
#endif
}

/* With what beginning and ending take themselves. */
static int64_t count(ssize_t *result, struct pair *pair, struct lane *lane, bool sends) {
    trapped = 0;
    trap(true);
    if (lane == NULL)
        ;
    else if (sends)
        *result = lane->peer->send(lane, pair->message, pair->bytes);
    else
        *result = lane->peer->receive(lane, pair->message, pair->bytes, -1);
    trap(false);
    return trapped;
}

/* A few are sent, then received: neither end waits in a call, and most of them find out nothing new of the other end.
 * Of what goes through the kernel this would say little. */
int instructions(struct pair *pair, int who) {
    enum { FEW = 8 };
    _Atomic uint32_t *turn = pair->shared;
    struct lane *lane = &pair->lanes[0];
    const struct sigaction action = {.sa_handler = on_trap, .sa_flags = SA_RESTART};
    if ((pair->peer->spots == NULL && !pair->peer->bound) || pair->peer->single ||
        sigaction(SIGTRAP, &action, NULL) != 0)
        return errno = ENOTSUP, -1;
    ssize_t result = 0;
    const int64_t itself = count(&result, pair, NULL, true);
    if (itself == 0) return errno = ENOTSUP, -1;
    for (uint32_t i = 0; i < pair->rounds; i++) {
        if (i % FEW == 0) pair_await(turn, 2 * (i / FEW) + (uint32_t)who);
        memcpy(pair->message, &i, who == 0 ? sizeof i : 0);
        pair_column(pair, (uint32_t)who)[i] = count(&result, pair, lane, who == 0) - itself;
        if (result < 0) return -1;
        if (memcmp(pair->message, &i, sizeof i) != 0) return errno = EPROTO, -1;
        if (i % FEW < FEW - 1 && i + 1 < pair->rounds) continue;
        if (who == 0 && lane->peer->flush != NULL) lane->peer->flush(lane);
        *turn = *turn + 1;
    }
    return 0;
}
