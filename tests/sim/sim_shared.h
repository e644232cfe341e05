/* What shared.h is in the simulator: the same names, and each access is one of the memory model's (memory.h), at the
 * line that makes it. Statistics are no scheduling points: nobody's steps depend on them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "memory.h"

#define shared_load(word)                    memory_load((word), RELAXED, HERE)
#define shared_load_acquire(word)            memory_load((word), ACQUIRE, HERE)
#define shared_store(word, value)            memory_store((word), (value), RELAXED, HERE)
#define shared_store_release(word, value)    memory_store((word), (value), RELEASE, HERE)
#define shared_barrier()                     memory_fence(SHARED_BARRIER_ORDER, HERE)
#define shared_barrier_light()               ((void)0)
#define shared_swap(word, expected, desired) memory_swap((word), (expected), (desired), SHARED_SWAP_ORDER, HERE)
#define shared_exchange_release(word, value) memory_exchange((word), (value), SHARED_EXCHANGE_ORDER, HERE)
#define shared_count(word)                   ((void)(word))
#define shared_copy_in(ring, from, bytes)    memory_copy_in((ring), (from), (bytes), HERE)
#define shared_copy_out(to, ring, bytes)     memory_copy_out((to), (ring), (bytes), HERE)
#define shared_pause()                       memory_pause()

/* Weaker ones are planted here, to see that they are caught. */
#ifndef SHARED_BARRIER_ORDER
#define SHARED_BARRIER_ORDER SEQ_CST
#endif
#ifndef SHARED_SWAP_ORDER
#define SHARED_SWAP_ORDER ACQUIRE
#endif
#ifndef SHARED_EXCHANGE_ORDER
#define SHARED_EXCHANGE_ORDER RELEASE
#endif
