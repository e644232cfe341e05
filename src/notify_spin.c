/* spin: no notifier at all. The waiter looks and looks, and burns a core; nobody is ever rung.
 * Here to be measured, and for those who have a core to give. */
#include "os.h"

#include "notify.h"

static void spin_reset(struct bells *bells) { (void)bells; }

static int spin_wait(struct bells *bells, int64_t until_ns) {
    (void)bells;
    (void)until_ns;
    os_yield();
    return 0;
}

static int spin_ring(struct bells *bells) {
    (void)bells;
    return 0;
}

const struct notifier shmq_notify_spin = {
    .name = "spin",
    .fewest_looks = 1000, /* between two questions whether the peer lives: under a millisecond */
    .most_looks = 1000,
    .reset = spin_reset,
    .wait = spin_wait,
    .ring = spin_ring,
};
