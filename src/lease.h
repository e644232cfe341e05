/* Leases: open-file-description locks on single bytes of the object (LEASE_… in layout.h).
 *
 * The kernel drops them when their holder dies, however it dies, and answers who holds one in
 * any PID namespace. They are taken and dropped explicitly: closing a descriptor alone would not
 * drop them while a mapping lives. A descriptor below 0 stands for memory without an object
 * (tests): its leases are always held. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Never waits. EBUSY: another holder is in the way. */
int lease_take(int fd, int byte, short type);

/* Tries until `until_ns` (CLOCK_MONOTONIC), then EBUSY. */
int lease_take_until(int fd, int byte, short type, int64_t until_ns);

/* Drops these bytes, of 0 all that follow: then whatever else is locked there too. Leaves errno alone. */
void lease_drop(int fd, int byte, int bytes);

/* Does anyone else hold one of these bytes? When the kernel cannot tell: yes, for nobody is
 * declared dead without proof. */
bool lease_held(int fd, int byte, int bytes);
