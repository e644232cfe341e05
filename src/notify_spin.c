/* spin: no notifier at all. The waiter looks and looks, and burns a core; nobody is ever rung.
 * Here to be measured, and for those who have a core to give. */
#include "os.h"

#include "notify.h"

static int spin_wait(struct bells *bells, int64_t until_ns) {
    (void)bells;
    (void)until_ns;
    os_yield();
    return 0;
}

const struct notifier shmq_notify_spin = {
    .name = "spin",
    .polls = true,
    .wait = spin_wait,
};
