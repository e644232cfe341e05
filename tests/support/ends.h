/* What the tests do with the ends of a queue, and with what lies behind them. What fails, fails the test. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "shmq.h"

/* ---- Coming and going ---------------------------------------------------------------------- */

/* Of the queues that enter makes; they have the notifier that the test is at. */
enum { CAPACITY = 4096, LONGEST = CAPACITY / 4 };

shmq *enter(const char *name, enum shmq_end end, unsigned flags);
shmq *enter_as(const char *name, enum shmq_end end, const struct shmq_attr *attr);
void leave(shmq *q);
/* If it is open; it becomes NULL. */
void close_end(shmq **q);
void remove_queue(const char *name);

/* Neither end can be opened so, and nothing is lost by trying. */
void check_refused(const char *name, int oflag, const struct shmq_attr *attr, int error);

/* ---- Messages ------------------------------------------------------------------------------ */

/* Messages that are numbers; both wait for ever. */
void put_number(shmq *producer, int number);
void take_number(shmq *consumer, int wanted);
/* 0 if there was a message. */
int recv_error(shmq *consumer, int timeout_ms);

/* Sends messages of this length until one is refused, and says why. */
int fill(shmq *producer, size_t length);

/* One message of a byte through this end. */
int pass_one(shmq *q, int timeout_ms);

/* One message, or room for one, held as long as the lock of its side is; and given back. */
void hold(shmq *q);
void let_go(shmq *q);

/* Of two threads that wait for the notifier's signal the kernel wakes either, and the other's wait is cut short as if by
 * a handler. */
bool was_cut_short(void);

/* These bytes follow from length and seed. */
void write_pattern(unsigned char *message, size_t length, unsigned seed);

/* ---- The object ---------------------------------------------------------------------------- */

bool exists(const char *name);
int open_object(const char *name);
/* A file of somebody else's making, 0640. */
void make_file(const char *name, const char *text);

uint64_t word_at(int fd, int page, size_t offset);
void set_word(int fd, int page, size_t offset, uint64_t word);
uint64_t any_garbage(void);

/* The consumer was rung and has not gone to sleep again since, of a queue with the notifier sem. */
bool is_rung(const char *name);

/* Until that end sleeps. */
void await_asleep(const char *name, enum shmq_end end);
/* Stops that end, which is process pid: in its sleep, not on its way into it or out of it. */
void stop_asleep(const char *name, enum shmq_end end, pid_t pid);

/* Those with names of the notifier that the test is at. */
void remove_doorbells(const char *name, uint64_t instance);

/* ---- The process --------------------------------------------------------------------------- */

void nap_ms(long ms);

/* Skips the test where no checksums are built. */
void need_checksums(void);

/* Skips the test if we are not root; and lets other users into its directory. */
void require_root(void);
/* The rest of this process is a user without rights. */
void become(uid_t user);
/* A child that ends as skipped, skips the test. */
void join_or_skip(pid_t child);

/* From here on this process sees its own, small file system at `directory`. */
void mount_small(const char *directory, const char *options);

/* A handler with these flags runs every 5 ms from now on, and counts: while the caller looks, or while it waits. */
timer_t start_ticking(int flags);
extern volatile sig_atomic_t ticks;
