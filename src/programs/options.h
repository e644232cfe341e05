/* The command lines of both programs. What an option means to people stands in help.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "programs.h"
#include "shmq.h"

struct options {
    const char *queue;
    struct shmq_attr attr;
    int timeout_ms; /* for each wait; -1: for ever */
    char separator; /* between messages on standard input and output */
    bool verbose;
    bool no_wait;      /* producer */
    bool follow;       /* consumer */
    uint64_t count;    /* consumer: ends after so many; 0: no limit */
    int first_message; /* producer: index in argv; argc if there is none */
};

enum { OPTIONS_GO_ON = -1 };

/* Reads the command line and says what is wrong with it, or answers --help and --version. Returns OPTIONS_GO_ON, or the
 * status to exit with. Moves options in argv before other arguments, as getopt does. */
int options_parse(struct options *options, enum shmq_end end, int argc, char **argv, const struct streams *io);

/* What -n calls a notifier (enum shmq_notify). */
const char *options_notifier(unsigned kind);
