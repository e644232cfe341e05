/* What is wrong with a queue, in words, and what to do about it. Decides only on what inspect.h has seen. */
#pragma once

#include "inspect.h"
#include "paper.h"
#include "people.h"

/* A command that helps, with the queue's name put in. */
enum remedy {
    REMEDY_NONE,
    REMEDY_REMOVE,  /* shmqctl rm NAME */
    REMEDY_DELETE,  /* rm PATH: the library would not touch it */
    REMEDY_CONSUME, /* consumer -q NAME */
    REMEDY_WAKE     /* kill -CONT PID */
};

struct finding {
    const char *code; /* for programs: docs/man/shmqctl.1 lists them */
    bool problem;     /* false: worth knowing, and nothing is wrong */
    enum remedy remedy;
    pid_t pid; /* for REMEDY_WAKE */
    char text[400];
};

enum { FINDINGS_MAX = 16 };

struct findings {
    unsigned count;
    unsigned problems;
    const char *state; /* in one word of at most nine letters */
    struct walk walk;  /* if thorough */
    struct finding list[FINDINGS_MAX];
};

/* Thorough: with the messages, who the processes are, and a wait for a life-cycle lease that is held; looks again where
 * something seems wrong that can also come from looking in the middle of things. */
void findings_of(struct findings *findings, struct inspection *found, bool thorough);

/* The command, if there is one. */
void findings_remedy(struct paper *paper, const struct finding *finding, const struct inspection *found);
