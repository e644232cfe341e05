/* Owns the flag that SIGINT and SIGTERM set, and makes sure that no blocking call sleeps through it. Installed by
 * startup.c, asked by whoever waits.
 *
 * A handler that only sets a flag has a gap: a signal between the look at the flag and the call that blocks is
 * forgotten until something else happens. Here the first signal starts a timer that interrupts again and again,
 * so that whatever begins to block inside the gap is interrupted a moment later: reads, writes and waits alike, at
 * no cost before. */
#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

static volatile sig_atomic_t received; /* the only global of the programs; a handler has no other way to speak */

static void on_signal(int number) {
    static const struct itimerval again = {.it_interval = {.tv_usec = 100000}, .it_value = {.tv_usec = 100000}};
    const int saved = errno;

    if (number != SIGALRM && received == 0) {
        received = number;
        setitimer(ITIMER_REAL, &again, NULL); /* a bare system call: safe in a handler */
    }
    errno = saved;
}

void stop_install(void) {
    struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: calls return EINTR */
    sigset_t alarm_only;

    received = 0;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);

    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
}

int stop_signal(void) { return (int)received; }
