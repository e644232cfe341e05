/* The table of notifiers. See notify.h. */
#include "notify.h"

#include <stddef.h>

#include "shmq.h"

const struct notifier *notifier_of(uint32_t kind) {
    static const struct notifier *const built[SHMQ_NOTIFY_SPIN + 1] = {
        [SHMQ_NOTIFY_SEM] = &shmq_notify_sem,
        [SHMQ_NOTIFY_SPIN] = &shmq_notify_spin,
    };
    return kind <= SHMQ_NOTIFY_SPIN ? built[kind] : NULL;
}
