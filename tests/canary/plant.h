/* Forced into every file of the canary, which is the stress program and the core compiled once more: at the word of
 * SHMQ_PLANT in the environment one fault appears in them, for one tool to find. Without it nothing is different.
 *
 *     overflow       the buffers of the ends are a byte short
 *     release        whatever was published with release is published relaxed
 *     shift          at each access to shared memory, a shift by more bits than there are
 *     uninitialised  there, a branch on a byte that nobody wrote
 *     leak           there, a few blocks that nobody frees */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

enum plant { NOTHING, OVERFLOW, RELEASE, SHIFT, UNINITIALISED, LEAK };

enum plant plant_now(void);
void plant_at(size_t bytes);

static inline void *plant_malloc(size_t bytes) { return malloc(bytes - (plant_now() == OVERFLOW)); }

#define malloc(bytes)                       plant_malloc(bytes)
#define memory_order_release                (plant_now() == RELEASE ? memory_order_relaxed : memory_order_release)
#define SHARED_HOOK(access, address, bytes) plant_at(bytes)
