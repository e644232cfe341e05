/* Serves queues, a timer and signals from one epoll loop: what shmq_fd and shmq_arm are for.
 *
 *     event_loop QUEUE...          for example: event_loop /left /right
 *
 * Prints what it receives, and once a second how much that was. Ends when every producer is done,
 * or with Ctrl-C. Start the producers before or after, one a queue: producer -n fifo -q /left */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "shmq.h"

enum { QUEUES_MOST = 16, TIMER = QUEUES_MOST, SIGNALS, EVENTS }; /* what an event is about */
enum { BATCH = 64 }; /* messages from one queue before the others get their turn */

static struct source {
    const char *name; /* NULL ends the list */
    shmq *queue;      /* NULL: done with */
    unsigned long received;
} sources[QUEUES_MOST + 1];

static int failed(const char *what) {
    fprintf(stderr, "event_loop: %s: %s\n", what, strerror(errno));
    return -1;
}

static int watch(int epoll, int fd, unsigned about) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = about}; /* level-triggered */
    return fd < 0 ? -1 : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Opens a queue, which is made if its producer has not come yet. If it has, and made it with
 * another notifier, shmq_fd answers ENOTSUP. */
static int source_open(struct source *source, const char *name, int epoll) {
    struct shmq_attr attr = {.notify = SHMQ_NOTIFY_FIFO, .flags = SHMQ_EPHEMERAL};
    source->name = name;
    if (shmq_open(&source->queue, name, SHMQ_CONSUMER, O_CREAT, &attr) != 0) return failed(name);
    int result = watch(epoll, shmq_fd(source->queue), (unsigned)(source - sources));
    return result == 0 ? 0 : failed(name);
}

/* Once the other end has gone, the descriptor stays readable, and a loop that kept it would spin.
 * shmq_close closes it, and a descriptor that is closed is in no epoll any more. (Who wants to wait
 * for the next producer opens the queue anew.) */
static void source_close(struct source *source) {
    if (source->queue != NULL && shmq_close(source->queue) != 0) (void)failed(source->name);
    source->queue = NULL;
}

/* Takes what is there, a batch at most. 0: wait, the descriptor becomes readable when there is
 * something to do; 1: come again without waiting; -1: failed. */
static int source_serve(struct source *source) {
    static char message[256 << 10]; /* the most that a queue of the default size takes */
    for (int turn = 0; turn < BATCH; turn++) {
        ssize_t length = shmq_recv(source->queue, message, sizeof message, 0);
        if (length >= 0) {
            source->received++;
            printf("%s: ", source->name);
            fwrite(message, 1, (size_t)length, stdout);
            putchar('\n');
        } else if (errno == EAGAIN) { /* nothing is there; and now nothing comes unnoticed */
            int armed = shmq_arm(source->queue);
            if (armed != 1) return armed == 0 ? 0 : failed(source->name);
        } else if (errno == EPIPE || errno == EOWNERDEAD) { /* and all that was sent is received */
            const char *how = errno == EPIPE ? "is done" : "died";
            fprintf(stderr, "event_loop: %s: the producer %s\n", source->name, how);
            source_close(source);
            return 0;
        } else {
            return failed(source->name); /* EMSGSIZE, EBADMSG */
        }
    }
    return 1;
}

static void tick(int timer) {
    char expirations[sizeof(uint64_t)];
    if (read(timer, expirations, sizeof expirations) < 0) return; /* it was a false alarm */
    fputs("event_loop: tick:", stderr);
    for (const struct source *source = sources; source->name != NULL; source++)
        fprintf(stderr, " %s %lu", source->name, source->received);
    fputc('\n', stderr);
}

static int loop(int epoll, int timer) {
    for (;;) {
        bool more = false, open = false;
        /* Every queue that is open is armed before every wait. */
        for (struct source *source = sources; source->name != NULL; source++) {
            int served = source->queue == NULL ? 0 : source_serve(source);
            if (served < 0) return -1;
            more |= served > 0;
            open |= source->queue != NULL;
        }
        if (fflush(stdout) != 0) return failed("standard output");
        if (!open) return 0;
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, more ? 0 : -1);
        if (count < 0 && errno != EINTR) return failed("epoll_wait");
        for (int i = 0; i < count; i++) { /* a queue's has done its work by waking us */
            if (events[i].data.u32 == SIGNALS) return 0;
            if (events[i].data.u32 == TIMER) tick(timer);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 2 || argc - 1 > QUEUES_MOST) return fputs("Usage: event_loop QUEUE...\n", stderr), 2;
    sigset_t stop; /* from now on these end the loop, not the process: queues are closed properly */
    sigemptyset(&stop);
    sigaddset(&stop, SIGINT);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    signal(SIGPIPE, SIG_IGN); /* our reader may go: then fflush fails */

    const struct itimerspec every_second = {.it_interval = {1, 0}, .it_value = {1, 0}};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int signals = signalfd(-1, &stop, SFD_CLOEXEC);
    int result = watch(epoll, timer, TIMER) != 0 || watch(epoll, signals, SIGNALS) != 0 ||
                 timerfd_settime(timer, 0, &every_second, NULL) != 0;
    if (result != 0) (void)failed("epoll");
    for (int i = 1; i < argc && result == 0; i++)
        result = source_open(&sources[i - 1], argv[i], epoll);
    if (result == 0) result = loop(epoll, timer);
    for (struct source *source = sources; source->name != NULL; source++)
        source_close(source);
    return result == 0 ? 0 : 1; /* which closes the other descriptors */
}
