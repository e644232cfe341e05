/* The ABI: where every shared word lies, who writes it, and what a record looks like.
 *
 * Owns the layout of the object and nothing else: no function here touches memory. Everything
 * that two builds of this library must agree on stands in this file; SHMQ_ABI changes with it.
 *
 *     page 0   header     written at creation; read once at attach, then out of reach
 *     page 1   producer   only the producer side maps it writable
 *     page 2   consumer   only the consumer side maps it writable
 *     page 3   meeting    what the notifier needs; both sides write
 *     page 4…  ring       written by the producer; both map it twice, back to back
 *
 * Words that two cores fight over lie 128 bytes apart (processors fetch cache lines in pairs). */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* "\x89_shmq\n\0" on a little-endian machine; of another byte order there is no build. */
#define SHMQ_MAGIC 0x000a716d68735f89u
#define SHMQ_ABI   3u

enum { PAGE_HEADER, PAGE_PRODUCER, PAGE_CONSUMER, PAGE_MEETING, PAGE_RING }; /* page numbers */

/* How many ends a side can have at once; a side without many has one, in slot 0. */
enum { SLOTS = 64 };

/* A word that another process reads or writes. Touch it through shared.h only. */
typedef _Atomic uint64_t shared_u64;
_Static_assert(sizeof(shared_u64) == 8, "ABI");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a futex means the low half of its word, which comes first");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "a lock hidden in an atomic would not be shared between processes");

struct header {
    uint64_t magic;       /* 0x00 SHMQ_MAGIC */
    uint32_t abi;         /* 0x08 SHMQ_ABI */
    uint32_t page_size;   /* 0x0c bytes */
    uint64_t object_size; /* 0x10 bytes: four pages and the ring */
    uint64_t capacity;    /* 0x18 bytes of the ring: a power of two, whole pages */
    uint64_t max_message; /* 0x20 bytes */
    uint64_t instance;    /* 0x28 random; its low half is not zero */
    uint32_t notify;      /* 0x30 enum shmq_notify */
    uint32_t flags;       /* 0x34 SHMQ_MANY_PRODUCERS … */
    uint64_t fingerprint; /* 0x38 of libc, where the notifier stores a type of libc's; else 0 */
};

/* Producer's and consumer's page have one shape: what one end does, the other mirrors. */
struct end_page {
    /* 0x000: moves with every message. Bytes since creation */
    alignas(128) shared_u64 cursor; /* producer: tail, published; consumer: head, released */
    /* 0x080: the doorbell's; seldom written, and read after each message */
    alignas(128) shared_u64 ticket; /* odd: asleep or about to be */
    shared_u64 want;                /* the other end's cursor that is worth waking for */
    shared_u64 light;               /* not 0: this end rings without a barrier of its own */
    /* 0x100 */
    alignas(128) shared_u64 bell; /* the notifier's; signal, cond: who we are; lock: our gate */
    /* 0x180 */
    alignas(128) shared_u64 lock; /* of a side with many: sidelock.h */
    /* 0x200: statistics */
    alignas(128) shared_u64 messages; /* sent, or received */
    shared_u64 sleeps;                /* waits that slept */
    shared_u64 rings;                 /* wake-ups given */
    /* 0x280, 0x480: who is there, by slot; written at open and close */
    alignas(128) shared_u64 life[SLOTS]; /* 0 nobody came yet, odd open, even closed properly */
    shared_u64 end_seen[SLOTS];          /* consumer: the producer lives whose end was reported */
};

/* What both sides write: here, where the semaphores of the sem notifier live. */
struct meeting {
    alignas(128) shared_u64 items; /* 0x000 rung by the producer */
    alignas(128) shared_u64 space; /* 0x080 rung by the consumer */
};

/* A record: one u64, so that it is read and written at once; with SHMQ_CHECKSUM another one, the
 * payload's checksum; the payload; padding to RECORD_ALIGN.
 *     low half   payload bytes
 *     high half  the tag: low 32 bits of (position / 8), xor the salt: the low half of the instance */
enum { RECORD_ALIGN = 8, RECORD_HEADER = 8, RECORD_CHECKED = 16 };

/* Where each field lies is tests/unit/layout_test.c's to watch. */
_Static_assert(sizeof(struct header) == 0x40 && sizeof(struct end_page) == 0x680 && sizeof(struct meeting) == 0x100,
               "ABI");

/* The bytes of the object that are leased (lease.h): the life cycle, and one for each end that is
 * open. They need not exist: leases are locks, not data. */
enum { LEASE_LIFE_CYCLE = 0, LEASE_ROLES = 64 };
