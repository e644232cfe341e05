/* What tests need to know of a process that they trace, instruction by instruction: where it is, what it has in memory, and
 * how to get it past the kernel's own code. x86-64 only.
 *
 * Who traces a process that was forked from it finds the same code at the same addresses. Called by the tracing thread, of
 * a process that is stopped. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct traced_place {
    uintptr_t at, stack; /* the next instruction; the stack pointer */
};

struct traced_place traced_place(pid_t pid);

/* A word of its memory; -1 with errno. */
int traced_read(pid_t pid, uintptr_t address, uint64_t *word);

/* Does that lie in the code that the kernel gives every process? What reads the clock there begins again when that has
 * ticked meanwhile, and so, step by step on a busy machine, for ever. */
bool traced_is_kernels(uintptr_t at);

/* It has just been called: lets it run until it returns, which must not take long. -1 with errno; ECANCELED: it is stopped
 * by something else, or is no more. */
int traced_return(pid_t pid);

/* What the kernel says that any process is doing: R, S, t …; ? if there is none. */
char traced_state(pid_t pid);
