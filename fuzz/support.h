/* What fuzz targets share: the reader of their bytes, what a broken promise looks like, and the stage: a queue of any
 * capacity between pages that nobody may touch. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handle.h"
#include "kernel.h"

/* Counts the queue operations done, of all inputs. */
extern uint64_t *fuzz_operations;

/* ---- Bytes ------------------------------------------------------------------------------------ */

/* What an input still holds; behind its end all is zero. */
struct bytes {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct bytes *bytes) {
    if (bytes->left == 0) return 0;
    bytes->left--;
    return *bytes->at++;
}

/* Little-endian. */
uint64_t take_word(struct bytes *bytes, unsigned width);

/* A number that is likely to matter: a byte below 0xe0 stands for itself; 0xe0 + n for the nth boundary of BOUNDARIES
 * (support.c); 0xff is followed by a word. */
uint64_t take_number(struct bytes *bytes);

/* The next so many bytes, fewer if there are not so many. */
struct bytes take_part(struct bytes *bytes, size_t count);

/* ---- Promises --------------------------------------------------------------------------------- */

/* Says what is broken, and aborts. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A promise of shmq.h, in words. */
#define fuzz_assert(holds, promise) ((holds) ? (void)0 : fuzz_fail("%s:%d: %s", __FILE__, __LINE__, promise))

/* Whether shmq.h names this errno for any function. */
bool fuzz_is_documented(int error);

/* The same for each function that failed. */
void fuzz_check_errno(int result, const char *function);

/* ---- Handles ---------------------------------------------------------------------------------- */

/* Before each input: an empty machine, and no handle open. */
void fuzz_begin(void);

/* The process of this handle has died: it is nobody's any more. Of NULL: every open one but these. */
void fuzz_forget(shmq *q);
void fuzz_forget_others(shmq *const known[], unsigned count);

/* A new one was made. */
void fuzz_note_handle(void *handle);

/* Memory that nobody may touch, as far as an address sanitizer is there to see it. Whole words of 8 bytes. */
void fuzz_forbid(const void *at, size_t bytes);
void fuzz_allow(const void *at, size_t bytes);

/* ---- The stage -------------------------------------------------------------------------------- */

enum { STAGE_LARGEST = 8192 }; /* bytes of a ring */

/* A queue in this process's memory, with leases and doorbells of the kernel's. What its ring's 2 x capacity bytes do
 * not hold, nobody may touch; a sanitizer sees it, and behind the ring the processor. */
struct stage {
    struct region region; /* for all ends; its object is the stage's own description */
    int object;
    struct end_page *page[2];
};

/* `start`: where both cursors begin. max_message 0: the most. */
void stage_set(struct stage *stage, size_t capacity, size_t max_message, unsigned notify, unsigned flags,
               uint64_t start);

/* A new end, of kernel.actor; takes the first free slot. NULL with errno, as shmq_open. */
shmq *stage_open(struct stage *stage, enum shmq_end end);

/* Of the ring's bytes only these may be touched from now on: `used` from position `from` on. */
void stage_allow(const struct stage *stage, uint64_t from, uint64_t used);
void stage_allow_all(const struct stage *stage);
