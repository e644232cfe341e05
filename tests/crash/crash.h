/* What the programs that kill, interleave and harm processes share: a process, the victim, runs one operation under
 * ptrace, and is stopped at each moment that others could tell from the one before. Then something happens to it.
 *
 *     scene.c    what is done (operation, state, side …), and which words name it
 *     actor.c    processes that do one thing at a time when they are told to
 *     trace.c    the victim under ptrace: its moments, and how it gets to one of them
 *     traces.c   what a trial must not leave behind
 *     jobs.c     several trials at a time
 *     command.c  how a program is called, and how it ends
 *
 * What others can tell changes by a store to the object, which is seen by comparing it after each instruction; and by a
 * system call. So these are the distinct moments: after each instruction that changed the object, after each system call,
 * asleep inside one, and after the last instruction. To be killed anywhere else is the same as at the moment before. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "notifiers.h"
#include "shmq.h"

/* ---- scene.c ---- */

enum operation { CREATE, ATTACH, SEND, RECV, RESERVE, PEEK, DRAIN, CLOSE, LAST, UNLINK, OPERATIONS };
enum state { EMPTY, FULL, WRAPPING, ASLEEP, RINGING, STATES }; /* ringing: the other end is asleep */

struct scene {
    const struct notifier_row *notifier;
    enum operation operation;
    enum state state;
    enum shmq_end side; /* the victim's */
    bool many, file;
};

extern const char *const OPERATION_NAMES[OPERATIONS], *const STATE_NAMES[STATES];

/* The number of this word, or -1. */
int word_of(const char *const *names, int count, const char *word);
bool scene_makes_sense(const struct scene *scene);
const char *scene_side(const struct scene *scene);

/* A moment: so many system calls are done, and so many instructions since; or, asleep, in the call that follows. */
struct point {
    uint32_t calls, steps;
    bool asleep;
    uintptr_t at; /* the instruction that is next: to notice when another run went another way; 0: any */
};

enum { POINT_JITTER = 512 }; /* steps by which two runs may differ */

enum fate { KILLED, STOPPED };

/* What happens to the victim; and, of a pair, then to the end that takes its place. */
struct trial {
    enum fate fate;
    bool pair;
    struct point first, second;
};

/* "3.17", "3.0z" (asleep), "stop:3.17", "3.17+12.4". */
struct trial_text {
    char text[64];
};
struct trial_text trial_print(const struct trial *trial);
bool trial_parse(const char *text, struct trial *trial);

/* ---- actor.c ---- */

enum { LETTER = 200, LETTERS = 19, MORE = 40 }; /* bytes of a message; how many fit; more than that */

enum deed { OPEN, FIND, MAKE, GIVE, TAKE, GIVE_IN_PLACE, TAKE_IN_PLACE, WAIT_DRAINED, LOOK, SHUT, REMOVE, RESCUE };

/* What an actor shall do. It opens an end that it creates if it must (OPEN), that is there (FIND), that is not (MAKE).
 * Messages are given, with the numbers from `number` on, or taken, until that fails or `count` are done. */
struct request {
    enum deed deed;
    enum shmq_end end;
    uint32_t number, count;
    int timeout_ms;
    unsigned flags;
    bool traced; /* stop before it begins */
};

struct reply {
    int error; /* 0: all went well; else of the call that failed */
    uint32_t done;
    bool torn;     /* what was taken last is no message, */
    size_t length; /* and so long */
    uint32_t numbers[MORE];
    uint64_t instance; /* of the queue that was opened */
    struct shmq_stat stat;
    int64_t took_ms;
};

struct actor {
    const char *who;
    pid_t pid;
    int fd;   /* what we say and hear it by */
    int desk; /* its own end of that */
};

/* A process that ends with this one. */
struct actor actor_new(const char *who, const struct scene *scene, const char *name);
void actor_begin(const struct actor *actor, const struct request *request);
/* Milliseconds of a clock that stands still while this process, and so perhaps everybody, waits for a processor: for
 * limits on others, asked again and again meanwhile. */
int64_t fair_now_ms(void);
/* Waits for the reply so long at most, by that clock; false: it has not come. */
bool actor_end(const struct actor *actor, int limit_ms, struct reply *reply);
/* Where it is, if that is for too long: its state, time of processor, system call and what it waits for in the kernel. */
struct actor_place {
    char text[300];
} actor_place(const struct actor *actor);

/* Where the traced part of an actor begins and ends. */
void actor_perform(const struct request *request, struct reply *reply);
void actor_performed(void);

/* ---- trace.c ---- */

/* A process that runs under our hands. */
struct trace {
    pid_t pid;
    int desk; /* the actor's */
    struct point now;
    uint64_t instructions; /* so far */
    bool done;             /* it has reached actor_performed, and done what it was told */
    bool astray;           /* this run went another way than the one in which the point was noted */
    void (*wake)(void *);  /* who falls asleep is woken so, once; NULL: it should not */
    void *argument;
};

/* 0, or why not. */
int trace_is_allowed(void);
/* Tells an actor to do something traced, and takes hold of it before it begins: somewhere before, or where it does. */
void trace_seize(struct trace *trace, const struct actor *actor, const struct request *request);
void trace_begin(struct trace *trace, const struct actor *actor, const struct request *request);
/* One instruction. What it was: */
enum step { PLAIN, CALLED, SLEEPS };
enum step trace_step(struct trace *trace);
void trace_to(struct trace *trace, const struct point *point);

/* The beginning of a system call, before anything of it is done, or its end. */
struct edge {
    bool is_end;
    long call; /* SYS_…; these two at the beginning alone */
    uint64_t argument[6];
};
struct edge trace_to_edge(const struct trace *trace);
/* Is this call the actor's, who hears what to do, or says what it has done? */
bool trace_is_desk(const struct trace *trace, const struct edge *edge);
/* A word of its memory. */
uint64_t trace_read(const struct trace *trace, uint64_t address);
void trace_kill(struct trace *trace);
/* Lets go of it, wherever it is. */
void trace_release(const struct trace *trace);
/* By SIGSTOP, and lets go of it; SIGCONT makes it go on. */
void trace_stop(struct trace *trace);

/* ---- jobs.c ---- */

enum { POINTS_MOST = 1 << 18 };
enum verdict { RUNNING, GOOD, BAD, HUNG, INTERRUPTED };

/* What came of a trial, or of a rehearsal, in memory that processes share. */
struct result {
    enum verdict verdict;
    volatile uint64_t pulse; /* counts on while the trial goes on */
    bool astray;
    bool late;       /* a wake-up took half a slice and more */
    char name[1024]; /* of the queue */
    char why[512];
    uint64_t instances[16]; /* of the queues that the name meant */
    /* Of a rehearsal. */
    uint64_t instructions;
    uint32_t points;
    struct point *point; /* room for POINTS_MOST */
};

/* Ends the process of a trial, with what came of it. Each program has its own. */
__attribute__((noreturn, format(printf, 2, 3))) void trial_ends(enum verdict verdict, const char *format, ...);

enum { JOBS = 10 }; /* on one core: most of what they do is to wait */

/* A trial in a process of its own, with processes of its own. */
struct job {
    uint32_t number;
    pid_t pid;        /* 0: none */
    int64_t since_ms; /* by the fair clock: when it last had a pulse, */
    uint64_t pulse;   /* this one */
    struct result *result;
};

extern volatile sig_atomic_t jobs_interrupted; /* by this signal */

/* Once, for the whole program. What is drawn follows from the seed. */
void jobs_prepare(uint64_t seed);
/* One that is free, or NULL. */
struct job *job_free(void);
/* Clears the result but for the room in it, gives the queue of this trial a name (file: of a regular file), and forks.
 * True in the child, for whom trial_ends is the end. */
bool job_start(struct job *job, bool file);
/* In the child: it goes on. Whoever does not for a minute hangs. */
void job_pulse(void);
/* Until one has ended, which is returned, with its verdict and without what it left; NULL: none was running. */
struct job *job_await(void);
/* This process, and those that it will start: a step is two switches between tracer and victim, and on one core they
 * take a third of the time. */
void keep_to_one_core(void);

/* What is drawn from now on follows from this. */
void draw_from(uint64_t seed);
uint64_t draw(void);
/* Drawn: one in so many is true; of 0 none. */
bool one_in(uint32_t count);

/* ---- command.c ---- */

enum { DONE, FAILED, USAGE }; /* exit statuses */

/* How a program is called. */
struct command {
    const char *name, *help;
    bool (*flag)(const char *name);                       /* false: it is none */
    const char *(*option)(const char *name, char *value); /* what is wrong with it, or NULL */
};

/* How this program was called. */
extern const char *command_program;

/* Reads the arguments; ends the program if help is wanted, or if one is wrong. */
void command_read(const struct command *command, int argc, char **argv);
/* A seed for who is given none. */
uint64_t command_seed(void);
/* Tells the seed, and gets ready for children; false: they cannot be traced here, and a line SKIP says so. */
bool command_begin(uint64_t seed, bool traces);
/* What is going on, on a terminal, now and then; and takes that line away. */
__attribute__((format(printf, 1, 2))) void command_show(const char *format, ...);
void command_clear(void);
__attribute__((noreturn)) void command_refuse(const struct command *command, const char *what, const char *why);
/* The last line of a run, if something was bad, and the exit status. */
int command_end(uint64_t bad, const char *reproduce);

/* What arguments say. */
bool is_notifier(const char *name);
bool parse_number(const char *text, uint64_t most, uint64_t *number);

/* ---- traces.c ---- */

/* Notes what the name means now, and returns its instance; 0: nothing. */
uint64_t traces_note(struct result *result);
bool traces_life_cycle_held(void);
/* What is left of names and locks: in words, or NULL. */
const char *traces_left(const struct result *result);
const char *traces_locked(void);
/* Removes it all. */
void traces_sweep(struct result *result);
