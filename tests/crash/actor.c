/* A process that holds at most one end, and does what it is told, one thing at a time. */
#include "crash.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "handle.h"

enum { TURN_MS = 10 }; /* of a wait; who is given a processor twice as late as asked for has waited for that */

/* In the actor's process. */
static const struct scene *scene;
static const char *queue;
static shmq *q;
static uint64_t letter[LETTER / sizeof(uint64_t)];

/* ---- Messages ------------------------------------------------------------------------------ */

/* Each word of a message tells its number, so none is taken for another one's. */
static void write_letter(uint32_t number) {
    for (size_t at = 0; at < LETTER / sizeof letter[0]; at++)
        letter[at] = (uint64_t)number * 0x9e3779b97f4a7c15u + at;
    letter[0] = number;
}

static bool read_letter(const void *bytes, ssize_t length, uint32_t *number) {
    uint64_t got[LETTER / sizeof letter[0]];
    if (length != LETTER) return false;
    memcpy(got, bytes, LETTER);
    *number = (uint32_t)got[0];
    write_letter(*number);
    return memcmp(got, letter, LETTER) == 0;
}

/* ---- Deeds --------------------------------------------------------------------------------- */

static int open_end(const struct request *request, struct reply *reply) {
    const struct shmq_attr attr = {4096, LETTER, scene->notifier->kind, request->flags, 0};
    const int oflag = request->deed == FIND ? 0 : request->deed == MAKE ? O_CREAT | O_EXCL : O_CREAT;
    if (shmq_open(&q, queue, request->end, oflag, &attr) != 0) return -1;
    reply->instance = q->region.header.instance;
    return 0;
}

static int give(const struct request *request, struct reply *reply) {
    write_letter(request->number + reply->done);
    if (request->deed != GIVE_IN_PLACE) return shmq_send(q, letter, LETTER, request->timeout_ms);
    void *room = shmq_reserve(q, LETTER, request->timeout_ms);
    if (room == NULL) return -1;
    memcpy(room, letter, LETTER);
    return shmq_commit(q, LETTER);
}

static int take(const struct request *request, struct reply *reply) {
    char buffer[LETTER];
    size_t peeked = 0;
    const bool in_place = request->deed == TAKE_IN_PLACE;
    const void *message = in_place ? shmq_peek(q, &peeked, request->timeout_ms) : buffer;
    if (message == NULL) return -1;
    const ssize_t length = in_place ? (ssize_t)peeked : shmq_recv(q, buffer, sizeof buffer, request->timeout_ms);
    if (length < 0) return -1;
    reply->length = (size_t)length;
    reply->torn = !read_letter(message, length, &reply->numbers[reply->done]);
    return in_place ? shmq_release(q) : 0;
}

static int move(const struct request *request, struct reply *reply) {
    const bool gives = request->end == SHMQ_PRODUCER;
    for (; reply->done < request->count && !reply->torn; reply->done++)
        if ((gives ? give : take)(request, reply) != 0) return -1;
    return 0;
}

static int perform(const struct request *request, struct reply *reply) {
    switch (request->deed) {
    case OPEN:
    case FIND:
    case MAKE: return open_end(request, reply);
    case GIVE:
    case TAKE:
    case GIVE_IN_PLACE:
    case TAKE_IN_PLACE: return move(request, reply);
    case WAIT_DRAINED: return shmq_drain(q, request->timeout_ms);
    case LOOK: return shmq_stat(q, &reply->stat);
    case SHUT: return shmq_close(q);
    case REMOVE: return shmq_unlink(queue);
    case RESCUE: return open_end(request, reply) == 0 ? move(request, reply) : -1;
    }
    return -1;
}

__attribute__((noinline)) void actor_perform(const struct request *request, struct reply *reply) {
    reply->error = perform(request, reply) == 0 ? 0 : errno;
}

__attribute__((noinline)) void actor_performed(void) { __asm__ __volatile__(""); }

/* ---- The process --------------------------------------------------------------------------- */

__attribute__((noreturn)) static void act(int desk) {
    struct request request;
    while (read(desk, &request, sizeof request) == (ssize_t)sizeof request) {
        struct reply reply = {.error = 0};
        const int64_t start_ms = check_now_ms();
        if (request.traced) kill(getpid(), SIGSTOP);
        actor_perform(&request, &reply);
        actor_performed();
        reply.took_ms = check_now_ms() - start_ms;
        if (write(desk, &reply, sizeof reply) != (ssize_t)sizeof reply) break;
    }
    _exit(0);
}

struct actor actor_new(const char *who, const struct scene *of, const char *name) {
    int desk[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, desk) != 0)
        trial_ends(BAD, "socketpair: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid < 0) trial_ends(BAD, "fork: %s", strerror(errno));
    if (pid > 0) {
        close(desk[1]);
        return (struct actor){.who = who, .pid = pid, .fd = desk[0], .desk = desk[1]};
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(desk[0]);
    scene = of;
    queue = name;
    act(desk[1]);
}

void actor_begin(const struct actor *actor, const struct request *request) {
    if (write(actor->fd, request, sizeof *request) != (ssize_t)sizeof *request)
        trial_ends(BAD, "the %s is not there any more", actor->who);
}

int64_t fair_now_ms(void) {
    static int64_t sum_ms, last_ms;
    const int64_t now_ms = check_now_ms(), passed_ms = now_ms - last_ms;
    last_ms = now_ms;
    return sum_ms += passed_ms < 2 * TURN_MS ? passed_ms : 2 * TURN_MS;
}

static void first_line(pid_t pid, const char *what, char line[static 128]) {
    char path[64];
    line[0] = '\0';
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    if (fgets(line, 128, file) != NULL) line[strcspn(line, "\n")] = '\0';
    (void)fclose(file);
}

struct actor_place actor_place(const struct actor *actor) {
    struct actor_place place;
    char stat[128], call[128], channel[128], state = '?';
    unsigned long user = 0, system = 0;
    first_line(actor->pid, "stat", stat);
    first_line(actor->pid, "syscall", call);
    first_line(actor->pid, "wchan", channel);
    (void)sscanf(stat, "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user, &system);
    snprintf(place.text, sizeof place.text, "state %c, %lu+%lu ticks, in %.60s, system call %.80s", state, user, system,
             channel, call);
    return place;
}

bool actor_end(const struct actor *actor, int limit_ms, struct reply *reply) {
    struct pollfd desk = {.fd = actor->fd, .events = POLLIN};
    const int64_t until_ms = fair_now_ms() + limit_ms;
    int ready = 0;
    while (ready <= 0 && fair_now_ms() < until_ms)
        ready = poll(&desk, 1, TURN_MS);
    if (ready <= 0) return false;
    job_pulse();
    if (read(actor->fd, reply, sizeof *reply) != (ssize_t)sizeof *reply)
        trial_ends(BAD, "the %s has ended by itself", actor->who);
    return true;
}
