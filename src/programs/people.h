/* Which processes use an object, as far as /proc shows them to us: everybody's to root, only their own to others. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "layout.h"
#include "shmq.h"

enum { PEOPLE_MAX = 3 * SLOTS };

struct person {
    pid_t pid;
    char command[32]; /* what it calls itself: not to be printed as it is */
    int lease;        /* the first byte of the object that it has leased, see layout.h; -1: none */
};

struct people {
    unsigned count;
    bool hidden;     /* there are processes that we may not look into */
    bool hidden_own; /* even of our own, or we are root */
    struct person list[PEOPLE_MAX];
};

/* Who has it open; of an object that is only mapped, such as a semaphore, who has it mapped. Ourselves excepted. */
void people_find(struct people *people, const struct stat *object);

/* Who holds the lease of an end's slot; NULL: not seen. */
const struct person *people_at(const struct people *people, enum shmq_end end, unsigned slot);

/* Who holds the life-cycle lease; NULL: not seen. */
const struct person *people_opening(const struct people *people);
