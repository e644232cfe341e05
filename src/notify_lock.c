/* lock: file locks. Each end holds a gate, a lock on one byte of the object that nobody else
 * wants; to ring is to close the next gate, tell its number, and open this one.
 *
 * A sleeper with no time-out blocks in the kernel at the gate that its peer holds, and the kernel
 * lets it through when the peer opens the gate or dies. A lock cannot be waited for with a
 * time-out, and nobody holds a gate before the peer has come: then the sleeper looks again and
 * again, with naps between. Gates are numbered and never used twice. */
#include "notify_os.h"

#include "notify.h"
#include "shared.h"

_Static_assert(sizeof(off_t) == 8, "gates lie beyond 4 GiB");

/* Far behind the bytes that exist and those of the leases; the producer's are the even ones. */
static off_t gate_byte(bool producers, uint64_t gate) {
    const uint64_t first = (uint64_t)1 << 52, gates = (uint64_t)1 << 50;
    return (off_t)(first + 2 * (gate % gates) + (producers ? 0 : 1));
}

/* Closes the next gate, tells its number, opens the one that we held. Of a side with many ends another may have gone
 * further: the word tells. Relaxed: the kernel's own locks order the number before the opening. In this order, because a
 * sleeper that finds no gate closed naps; so it does if somebody holds the next gate against us. */
static int next_gate(struct bells *bells) {
    const uint64_t held = bells->mark[THEIRS], gate = shared_load(bells->word[MINE]) + 1;
    if (os_lock(bells->object, gate_byte(bells->produces, gate), 1, F_WRLCK) == 0) {
        bells->mark[THEIRS] = gate;
        shared_store(bells->word[MINE], gate);
    }
    return os_lock(bells->object, gate_byte(bells->produces, held), 1, F_UNLCK);
}

static void lock_close(struct bells *bells) {
    (void)os_lock(bells->object, gate_byte(bells->produces, bells->mark[THEIRS]), 1, F_UNLCK);
}

/* Notes the gate to wait at: whatever is rung from now on leads beyond it. */
static void lock_reset(struct bells *bells) {
    uint64_t gate = shared_load(bells->word[THEIRS]); /* relaxed: an old one is open */
    if (gate != bells->mark[MINE]) bells->nap_ns = 0;
    bells->mark[MINE] = gate;
}

static int lock_wait(struct bells *bells, int64_t until_ns) {
    const off_t gate = gate_byte(!bells->produces, bells->mark[MINE]);
    if (shared_load(bells->word[THEIRS]) != bells->mark[MINE]) return 0; /* rung since: or it would nap */
    if (!bells->forever || os_lock_held(bells->object, gate, 1) != 1) {
        notify_nap(bells, until_ns);
        return 0;
    }
    if (os_lock_wait(bells->object, gate, F_RDLCK) == 0) return os_lock(bells->object, gate, 1, F_UNLCK);
    return errno == EINTR ? 0 : -1;
}

const struct notifier shmq_notify_lock = {
    .name = "lock",
    .open = next_gate,
    .close = lock_close,
    .reset = lock_reset,
    .wait = lock_wait,
    .ring = next_gate,
};
