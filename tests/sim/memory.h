/* The memory model: at least as weak as C11's relaxed, acquire, release and seq_cst fences.
 *
 * A location is a word of 8 bytes and all that was ever stored there in this run, in modification order. Each actor
 * has a view: for each location the oldest store that it may still see. A load returns any store that is not older,
 * as the driver chooses; a store takes any place in the order that is not older, and does not part a
 * read-modify-write from what that read. A store carries the view of whoever made it (release), or of his last
 * release fence, and of what it replaced if it is a read-modify-write (release sequences, as in C++20: without the
 * plain stores of the same actor that C11 still had); an acquire load, or a later acquire fence, takes it over.
 * seq_cst fences hand on one global view. So nothing is ordered by the order of execution. But every machine ends by
 * showing what was stored: an actor reads the same old value at most OLD_READS times in a row, and none at all that
 * was old when all slept and time had to pass.
 *
 * Left out: loads that return what is stored only later ("load buffering", which C11 allows between relaxed accesses).
 * seq_cst loads and stores: the core has none. A membarrier that reaches some earlier than others: it is one moment.
 *
 * Payload words are plain: a read that is not ordered after the latest write, or a write that is not ordered after all
 * reads and writes before it, ends the run as a data race. That also stands for load buffering on the ring: a reader
 * who gives its words back without release races with the next writer.
 *
 * All words lie in memory_bytes, and their values in the histories alone; but plain words are mirrored there, so that
 * what somebody peeks at can be read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"

enum order { RELAXED, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST };
enum { LOCATIONS_MOST = 64, MEMORY_BYTES = 3 << 12, OLD_READS = 2 };

/* What somebody has seen: a clock for each actor, then the time of a store for each location. */
struct view {
    int32_t time[LOCATIONS_MOST];
};

extern _Alignas(4096) unsigned char memory_bytes[MEMORY_BYTES];

/* Forgets all locations: another script follows. */
void memory_clear(void);
/* Words that no actor ever stores to: loads of them return 0 and nobody can tell. */
void memory_constant(const void *from, size_t bytes);
/* Plain words, and where they appear a second time. */
void memory_plain(const void *from, size_t bytes, bool twice);
/* The names of words, for traces; and whether none but the current actor stores to one while he lives. */
void memory_describe(const char *(*name_of)(const void *word), bool (*is_own)(const void *word));

/* All words are 0, or what memory_set says after this; each run begins so. */
void memory_begin(void);
void memory_set(const void *word, uint64_t value);

/* The accesses of the current actor. */
uint64_t memory_load(const void *word, enum order order, const struct place *place);
void memory_store(const void *word, uint64_t value, enum order order, const struct place *place);
/* May fail for no reason, while quirks are left. A failure is a relaxed load. */
bool memory_swap(const void *word, uint64_t expected, uint64_t desired, enum order order, const struct place *place);
uint64_t memory_exchange(const void *word, uint64_t desired, enum order order, const struct place *place);
uint64_t memory_add(const void *word, uint64_t value, enum order order, const struct place *place);
void memory_fence(enum order order, const struct place *place);
/* membarrier(2): a seq_cst fence of everybody, wherever he is; who is dead or over had one when he left his core. */
void memory_fence_everywhere(const struct place *place);
void memory_copy_in(void *ring, const void *from, size_t bytes, const struct place *place);
void memory_copy_out(void *to, const void *ring, size_t bytes, const struct place *place);
void memory_pause(void);
/* Time passes: what is stored by now is seen from now on. That orders nothing else. */
void memory_settle(void);

/* Objects outside of memory that order what happens around them: a lock gives away what its holder had seen. */
void memory_give(struct view *object, unsigned actor);
void memory_take(const struct view *object);

/* The system's own look at a word on behalf of the current actor: any value that is not older than `floor`, a store
 * that memory_latest_seen() told. No scheduling point. */
uint64_t memory_peek(const void *word, int32_t floor, const struct place *place);
int32_t memory_latest_seen(const void *word);

/* For oracles: the last store in modification order, and who made it (ACTORS_MOST: nobody). */
uint64_t memory_newest(const void *word);
unsigned memory_newest_writer(const void *word);
