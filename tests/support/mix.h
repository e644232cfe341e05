/* Random numbers that follow from others (splitmix64): for whatever is drawn from a seed and must be the same again. */
#pragma once

#include <stdint.h>

static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The next random number of this state. */
static inline uint64_t random_of(uint64_t *state) { return mix(*state += 0x9e3779b97f4a7c15u); }
