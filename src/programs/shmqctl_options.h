/* The command line of shmqctl, and what it says about its use. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "programs.h"

enum shmqctl_command { SHMQCTL_LS, SHMQCTL_STAT, SHMQCTL_CHECK, SHMQCTL_RM };

struct shmqctl_options {
    enum shmqctl_command command;
    bool json;
    bool force;       /* rm */
    bool orphans;     /* rm */
    int64_t every_ns; /* stat: --watch; 0: once */
    int count;        /* of names, or directories */
    char **names;
};

/* As options_parse. */
int shmqctl_options_parse(struct shmqctl_options *options, int argc, char **argv, const struct streams *io);
