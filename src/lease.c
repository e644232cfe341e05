/* See lease.h. */
#include "os.h"

#include "lease.h"

int lease_take(int fd, int byte, short type) {
    if (os_lock(fd, byte, 1, type) == 0) return 0;
    if (errno == EAGAIN || errno == EACCES) return fail(EBUSY);
    const bool no_locks = errno == EINVAL || errno == ENOLCK || errno == EOPNOTSUPP; /* this file system */
    return no_locks ? fail(ENOTSUP) : -1;
}

int lease_take_until(int fd, int byte, short type, int64_t until_ns) {
    int64_t nap_ns = OS_MS / 20;
    while (lease_take(fd, byte, type) != 0) {
        if (errno != EBUSY || os_now() >= until_ns) return -1; /* errno from lease_take: os_now leaves it alone */
        os_nap(nap_ns);
        if (nap_ns < 5 * OS_MS) nap_ns *= 2;
    }
    return 0;
}

void lease_drop(int fd, int byte, int bytes) {
    int error = errno;
    if (fd >= 0) (void)os_lock(fd, byte, bytes, F_UNLCK);
    errno = error;
}

bool lease_held(int fd, int byte, int bytes) { return fd < 0 || os_lock_held(fd, byte, bytes) != 0; }
