/* If FUZZ_DIES_WITH_PARENT is set, this process and all that it forks die with whoever started them. AFL++'s fork server
 * outlives an afl-fuzz that was killed, and leaves behind a target that was stopped and that nobody will ever wake. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

static pid_t parent;

static void note_parent(void) { parent = getpid(); }

static void die_with_parent(void) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1); /* it has died already */
}

__attribute__((constructor)) static void begin(void) {
    if (getenv("FUZZ_DIES_WITH_PARENT") == NULL) return;
    parent = getppid();
    die_with_parent();
    if (pthread_atfork(note_parent, NULL, die_with_parent) != 0) _exit(1);
}
