/* The texts of --help and --version. Called by options.c; the manual pages in docs/man say the same at length. */
#include "help.h"

#include <stdio.h>
#include <string.h>

#include "programs.h"
#include "stream.h"

static const char producer_synopsis[] = "Usage: producer [OPTION]... [MESSAGE]...\n";

static const char consumer_synopsis[] = "Usage: consumer [OPTION]...\n";

static const char producer_purpose[] =
    "Sends each MESSAGE through a queue in shared memory or, with none, each line of\n"
    "standard input; then waits until the consumer has taken everything.\n"
    "Start either program first.\n";

static const char consumer_purpose[] = "Writes each message from a queue in shared memory, and a newline after it, to\n"
                                       "standard output. Ends when the producer has closed and nothing is left.\n"
                                       "Start either program first.\n";

static const char producer_options[] = "\n"
                                       "      --no-wait        end as soon as everything is in the queue\n";

static const char consumer_options[] = "\n"
                                       "      --count N        end after N messages\n"
                                       "      --follow         when a producer has ended, wait for the next one\n";

static const char common_options[] = "  -q, --queue NAME     /name in shared memory or, as ./name, a regular file,\n"
                                     "                       which outlives a restart of the machine [/shmq]\n"
                                     "  -t, --timeout MS     longest wait for the other end, each time, in\n"
                                     "                       milliseconds; 0 does not wait [for ever]\n"
                                     "  -0, --null           messages end with a NUL byte, not a newline\n"
                                     "      --keep           leave the queue there; else the last program to end\n"
                                     "                       removes it, if everything in it was taken\n"
                                     "  -v, --verbose        say on standard error what happens to each message\n"
                                     "  -h, --help           print this and exit\n"
                                     "  -V, --version        print the version and exit\n"
                                     "\n"
                                     "Only whoever comes first, and so creates the queue, decides these:\n"
                                     "  -c, --capacity SIZE  room for messages, in bytes or with K, M or G, rounded\n"
                                     "                       up to a power of two of pages; one message may take a\n"
                                     "                       quarter of it [1M]\n"
                                     "  -n, --notify KIND    how a waiting end is woken, see below [sem]\n"
                                     "      --many           up to 64 producers and 64 consumers at a time; each\n"
                                     "                       message goes to one consumer\n"
                                     "      --checksum       a checksum with each message: one that was damaged is\n"
                                     "                       never delivered\n"
                                     "  -m, --mode OCTAL     who may open it: 0600, 0660 or 0666; more than 0600 also\n"
                                     "                       accepts a queue that another user has created [0600]\n"
                                     "\n"
                                     "Notifiers:\n"
                                     "  sem     a semaphore on a futex: if in doubt, this one\n"
                                     "  named   POSIX named semaphores, if both ends trust each other\n"
                                     "  cond    a mutex and a condition variable, if both ends trust each other, are\n"
                                     "          in one PID namespace and not killed: one's death can hang the other\n"
                                     "  fifo    a FIFO: for programs that wait in poll, select or epoll as well\n"
                                     "  signal  SIGURG: for both ends of one user in one PID namespace\n"
                                     "  lock    file locks: to compare; waits with a time-out, as here, only nap\n"
                                     "  spin    none, looks again and again: if there is a core to burn\n"
                                     "\n"
                                     "Exit status: 0 done, 1 failure, 2 wrong usage, 3 time ran out, 4 the other end\n"
                                     "died or left early, 5 the shared region is damaged, 128+N stopped by signal N\n";

static const char producer_end[] = "(after SIGINT and SIGTERM the queue is closed properly).\n"
                                   "\n"
                                   "Examples:\n"
                                   "  producer 'hello, world'\n"
                                   "  seq 1000000 | producer -q /numbers -c 16M\n"
                                   "  find . -print0 | producer -0\n";

static const char consumer_end[] = "(after SIGINT and SIGTERM the queue is closed properly; 141 says that the\n"
                                   "reader of standard output has gone). A message leaves the queue only once it is\n"
                                   "written.\n"
                                   "\n"
                                   "Examples:\n"
                                   "  consumer\n"
                                   "  consumer -q /numbers | sha256sum\n"
                                   "  consumer --follow >> log\n";

static struct iovec text(const char *string) { return stream_part(string, strlen(string)); }

int help_print(int fd, const char *program) {
    const int producer = strcmp(program, "producer") == 0;
    struct iovec parts[] = {
        text(producer ? producer_synopsis : consumer_synopsis), text(producer ? producer_purpose : consumer_purpose),
        text(producer ? producer_options : consumer_options),   text(common_options),
        text(producer ? producer_end : consumer_end),
    };

    return stream_write_parts(fd, parts, sizeof parts / sizeof parts[0]);
}

int help_version(int fd, const char *program) {
    struct iovec parts[] = {text(program), text(" (shmq) " PROGRAMS_VERSION "\n")};

    return stream_write_parts(fd, parts, sizeof parts / sizeof parts[0]);
}

void help_usage(int fd, const char *program) {
    const int producer = strcmp(program, "producer") == 0;
    struct iovec parts[] = {text(producer ? producer_synopsis : consumer_synopsis), text("Try '"), text(program),
                            text(" --help'.\n")};

    (void)stream_write_parts(fd, parts, sizeof parts / sizeof parts[0]);
}
