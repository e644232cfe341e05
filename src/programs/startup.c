/* What a program sets for its whole process before it begins: descriptors 0 to 2, and signals. Called by the mains;
 * never opens a queue. */
#include "startup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "programs.h"
#include "shmq.h"
#include "stop.h"

/* A standard stream that is closed would give its number to the next descriptor, the queue's own, and messages would
 * be written over the queue. A stand-in opened the wrong way round keeps the number and still fails with EBADF. */
static void occupy_standard_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) != -1) {
            continue;
        }
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            _exit(STATUS_FAILURE); /* there is no stream to complain on */
        }
    }
}

/* The notifier `signal` waits for SIGURG, which must be blocked before a queue is opened with it. By default the signal
 * is ignored, so nobody misses it. */
static void block_urgent(void) {
    sigset_t urgent;

    sigemptyset(&urgent);
    sigaddset(&urgent, SIGURG);
    sigprocmask(SIG_BLOCK, &urgent, NULL);
}

void startup(void) {
    block_urgent();
    occupy_standard_streams();
    signal(SIGPIPE, SIG_IGN); /* a reader that left is an error of write(2), and the queue is closed properly */
    stop_install();
    (void)shmq_guard_sigbus(); /* where it is not to be had, a truncated queue ends the program by SIGBUS */
}
