/* The checksum that SHMQ_CHECKSUM puts before each payload: XXH3, if its header was there when this was
 * compiled (Debian: libxxhash-dev). The only thing here that is not libc's, and no library: it is
 * compiled in. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if __has_include(<xxhash.h>)
#define XXH_INLINE_ALL
#include <xxhash.h>
enum { CHECKSUM_BUILT = 1 };
static inline uint64_t checksum(const void *bytes, size_t length, uint64_t seed) {
    return XXH3_64bits_withSeed(bytes, length, seed);
}
#else
enum { CHECKSUM_BUILT = 0 };
static inline uint64_t checksum(const void *bytes, size_t length, uint64_t seed) {
    return (uintptr_t)bytes ^ length ^ seed; /* never asked */
}
#endif
