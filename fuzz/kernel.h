/* A kernel in memory, for fuzz targets: names, objects, descriptors, locks, mappings, semaphores and time, for a few
 * processes that all live in this one thread. What seam.h puts in the place of libc's functions ends here; a call costs
 * nanoseconds, nothing is left on the machine, and what happens follows from the bytes alone.
 *
 * It does what Linux does where the core can tell, and no more: a lock of an open file description goes with its
 * descriptor; a mapping goes on when its name is gone; a process that is killed leaves what it has stored, and nothing
 * else. Nobody sleeps: who would, lets `asleep` act, and then its time is up.
 *
 * Objects are memory of the real kernel's, mapped once for all runs: each end gets a view of its own, with the ring
 * twice in a row, read-only where the core may not write, and pages that nobody may touch around it. */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { KERNEL_ACTORS = 16, KERNEL_NEVER = -1, KERNEL_USER = 1000, KERNEL_STRANGER = 1001, KERNEL_INPUT = 512 };

extern struct kernel {
    int actor;               /* who calls now; a number below KERNEL_ACTORS */
    int end;                 /* enum shmq_end that it maps, if it maps one */
    int64_t now_ns;          /* of the monotonic clock */
    uint32_t sleeps_allowed; /* of one operation: who sleeps once more is killed, or else stopped by a signal */

    /* Counted from kernel_begin: calls, and accesses to shared memory. */
    uint32_t steps, calls, sleeps;
    int32_t kill_at; /* the step that never returns */
    int32_t act_at;  /* the step before which `asleep` acts, as if this process had been stopped there */
    int32_t fail_at; /* the call that fails, */
    int fail_error;  /* so; 0: as it is likely to */
    bool failed;     /* it was reached */
    jmp_buf *killed; /* where it goes on; NULL: nobody is killed */

    void (*asleep)(void); /* somebody sleeps: others act */
    void (*meanwhile)(int access, const void *address,
                      size_t bytes); /* before an access, of whoever is not that itself */
    int stopped;                     /* the signal that told a program to stop; 0 */
    bool terminal;                   /* of streams */

    /* Standard input of whoever reads KERNEL_INPUT, and all that was written to the two after it. */
    const uint8_t *input;
    size_t input_bytes, output_bytes;
} kernel;

/* A machine just switched on. What was left from before is gone. */
void kernel_reset(void);

/* A number that differs if anybody did anything else, or at another time, since then or since it was last asked. */
uint64_t kernel_take_trace(void);

/* The next operation: of this actor. */
void kernel_begin(int actor, int end);

/* All that it has open, mapped and locked goes, as if it had died at this moment. */
void kernel_kill(int actor);

/* How many names, and how many descriptors, mappings and mutexes that somebody holds, there are. */
unsigned kernel_names(void);
unsigned kernel_held(void);

/* An object of so many bytes that begin with these, under a name of /dev/shm ("q"; "./q" is one of the current
 * directory, here and below); of another type (S_IFREG …) if asked. */
void kernel_put(const char *name, mode_t mode, uid_t user, const void *bytes, size_t given, size_t size);

/* An object without any bytes or name, but with a link, open for this actor; and one more description of it. */
int kernel_new_object(void);
int kernel_open_again(int object);
int kernel_open_directory(void);
void kernel_drop_links(int object);

/* Bytes of the object by that name that can be written as another process would; *size of them. NULL: none. */
unsigned char *kernel_bytes(const char *name, size_t *size);

/* The object by that name is cut to so many bytes: who touches what is gone, gets SIGBUS. */
void kernel_truncate(const char *name, size_t size);

/* The object by any other name than this one becomes somebody else's; or another type; or of another size. */
enum kernel_change { CHANGE_OWNER, CHANGE_TYPE, CHANGE_SIZE };
void kernel_change_others(const char *name, enum kernel_change change);

/* A SIGBUS that is no queue's: for this address, or sent by somebody (NULL). */
void kernel_send_sigbus(void *address);

/* What fork calls in the child, of whoever asked to be told. */
void kernel_fork_child(void);
