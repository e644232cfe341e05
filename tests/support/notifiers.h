/* The notifiers, as tests see them: whoever runs for each of them loops over this table, and a new
 * notifier joins all tests by its line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "shmq.h"

struct notifier_row {
    const char *name;
    enum shmq_notify kind;
    bool sleeps;        /* while it waits; false: burns a core */
    bool survives;      /* the death of either end */
    bool notices;       /* a death at once; false: within a slice of 200 ms */
    bool tells_signals; /* a signal handler that ran while waiting is EINTR */
    bool trusts;        /* what libc keeps in shared memory: no garbage there, please */
    const char *prefix; /* of its doorbells' names; without a slash, beside the queue; NULL: none */
};

enum { NOTIFIERS_COUNT = SHMQ_NOTIFY_SPIN + 1 };
extern const struct notifier_row NOTIFIERS[NOTIFIERS_COUNT];

/* Whether this process can use it at all (the signal notifier needs pidfds, which valgrind lacks). */
bool notifier_works_here(const struct notifier_row *row);

/* The one that the running test is at: sem, or what notifier_for_each says. */
extern const struct notifier_row *notifier_now;

/* Calls body for each that works here, with a queue's name: of a shared-memory object and, where
 * everywhere, of a regular file too. */
void notifier_for_each(void (*body)(const char *name), bool everywhere);

/* The same test with every notifier; `name` is the queue's. */
#define TEST_NOTIFIERS(sentence)            TEST_NOTIFIERS_(sentence, false)
#define TEST_NOTIFIERS_EVERYWHERE(sentence) TEST_NOTIFIERS_(sentence, true)
#define TEST_NOTIFIERS_(sentence, everywhere)                                                                          \
    static void sentence##_at(const char *name);                                                                       \
    TEST(sentence) { notifier_for_each(sentence##_at, everywhere); }                                                   \
    static void sentence##_at(__attribute__((unused)) const char *name)

/* Where a doorbell of that queue lies in the file system, if it does: what else than the instance is
 * in its name is the notifier's business. Valid until the next call. */
const char *notifier_path(const char *queue, uint64_t instance, bool items);

/* Is this one of the errors that shmq.h promises of shmq_open? */
bool notifier_open_says(int error);

/* How many doorbells with names that queue has: 0, 1 or 2. */
int notifier_doorbells(const char *queue, uint64_t instance);
