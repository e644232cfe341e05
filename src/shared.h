/* The only place that touches shared words and ring bytes.
 *
 * Thin inline functions over C11 atomics and memcpy; each names what it does to SHARED_HOOK,
 * which costs nothing when off. A test that defines SHARED_HOOK gets control before every access
 * to shared memory, with its kind and address (so that a hostile peer, or another schedule, can
 * act there). The simulator replaces this whole file by defining SHMQ_SHARED_H. Which order a
 * caller needs, and why, is said where it calls. */
#pragma once

/* What every message passes. Compilers find some of it too long to repeat it wherever it is used, but for a small
 * message the calls are a good part of what it costs. */
#define FAST static inline __attribute__((always_inline))

#ifdef SHMQ_SHARED_H
#include SHMQ_SHARED_H
#else

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "layout.h"

enum shared_access { SHARED_LOAD, SHARED_STORE, SHARED_UPDATE, SHARED_BARRIER, SHARED_PAUSE };

#ifndef SHARED_HOOK
#define SHARED_HOOK(access, address, bytes) ((void)0)
#endif

static inline uint64_t shared_load(const shared_u64 *word) {
    SHARED_HOOK(SHARED_LOAD, word, sizeof *word);
    return atomic_load_explicit(word, memory_order_relaxed);
}

static inline uint64_t shared_load_acquire(const shared_u64 *word) {
    SHARED_HOOK(SHARED_LOAD, word, sizeof *word);
    return atomic_load_explicit(word, memory_order_acquire);
}

static inline void shared_store(shared_u64 *word, uint64_t value) {
    SHARED_HOOK(SHARED_STORE, word, sizeof *word);
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static inline void shared_store_release(shared_u64 *word, uint64_t value) {
    SHARED_HOOK(SHARED_STORE, word, sizeof *word);
    atomic_store_explicit(word, value, memory_order_release);
}

/* Orders everything before it against everything after it, stores against later loads included. */
static inline void shared_barrier(void) {
    SHARED_HOOK(SHARED_BARRIER, NULL, 0);
#if defined(__x86_64__)
    /* As good a barrier as the mfence that clang makes of the line below, in half the time. Not at the top of the stack
     * itself, where what was just pushed would have to be waited for. */
    __asm__ __volatile__("lock orq $0, -8(%%rsp)" ::: "memory", "cc");
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Half of a barrier: keeps the compiler in order. os_membarrier, in another thread, is the other half. */
static inline void shared_barrier_light(void) {
    SHARED_HOOK(SHARED_BARRIER, NULL, 0);
    atomic_signal_fence(memory_order_seq_cst);
}

/* Compare and swap, acquire; may fail without a reason. */
static inline bool shared_swap(shared_u64 *word, uint64_t expected, uint64_t desired) {
    SHARED_HOOK(SHARED_UPDATE, word, sizeof *word);
    return atomic_compare_exchange_weak_explicit(word, &expected, desired, memory_order_acquire, memory_order_relaxed);
}

static inline uint64_t shared_exchange_release(shared_u64 *word, uint64_t desired) {
    SHARED_HOOK(SHARED_UPDATE, word, sizeof *word);
    return atomic_exchange_explicit(word, desired, memory_order_release);
}

/* A statistic, of our own side: of two at once one may be lost. */
static inline void shared_count(shared_u64 *word) { shared_store(word, shared_load(word) + 1); }

/* What is copied next is still with the other core. So each copy asks for as many lines of the ring as it takes itself,
 * this far ahead; of very many at once the processor does so without being asked. */
enum { SHARED_AHEAD = 1024, SHARED_WHOLE = 8192, SHARED_LINE = 64 };

/* For a line that is to be written. The compiler's own asks for one to read, unless it builds for new processors only;
 * on older ones this does nothing. */
static inline void shared_prefetch_to_write(const char *line) {
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" ::"m"(*line));
#else
    __builtin_prefetch(line, 1);
#endif
}

FAST void shared_copy(void *to, const void *from, size_t bytes) {
    if (bytes == 8) /* without a call */
        memcpy(to, from, 8);
    else if (bytes > 0)
        memcpy(to, from, bytes);
}

static inline void shared_copy_in(void *ring, const void *from, size_t bytes) {
    SHARED_HOOK(SHARED_STORE, ring, bytes);
    for (size_t line = 0; line < bytes && bytes < SHARED_WHOLE; line += SHARED_LINE)
        shared_prefetch_to_write((const char *)ring + SHARED_AHEAD + line);
    shared_copy(ring, from, bytes);
}

static inline void shared_copy_out(void *to, const void *ring, size_t bytes) {
    SHARED_HOOK(SHARED_LOAD, ring, bytes);
    for (size_t line = 0; line < bytes && bytes < SHARED_WHOLE; line += SHARED_LINE)
        __builtin_prefetch((const char *)ring + SHARED_AHEAD + line);
    shared_copy(to, ring, bytes);
}

/* One turn of a spin: tells the processor, and the simulator, that nothing is going on here. */
static inline void shared_pause(void) {
    SHARED_HOOK(SHARED_PAUSE, NULL, 0);
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
