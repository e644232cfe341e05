/* The programs as functions. Tests and fuzzers call these, any number of times in one process (one
 * at a time: the parsing of arguments is getopt's, which has static state); producer.c, consumer.c and
 * shmqctl.c do nothing else.
 * They install no handler and change nothing process-wide: startup.h does that, for the mains. A caller whose
 * streams may lose their reader ignores SIGPIPE itself. */
#pragma once

#define PROGRAMS_VERSION "0.1.0"

/* Open descriptors, not FILEs: a message counts as written when write(2) says so, and reading must be interruptible. */
struct streams {
    int in, out, err;
};

enum status {
    STATUS_DONE = 0,
    STATUS_FAILURE = 1,
    STATUS_USAGE = 2,
    STATUS_TIMEOUT = 3,
    STATUS_PEER = 4,    /* the other end died, or left before everything was taken */
    STATUS_DAMAGE = 5,  /* the shared region does not make sense or is gone */
    STATUS_SIGNAL = 128 /* plus the signal's number, after an orderly end */
};

int producer_run(int argc, char **argv, const struct streams *io);
int consumer_run(int argc, char **argv, const struct streams *io);
int shmqctl_run(int argc, char **argv, const struct streams *io);
