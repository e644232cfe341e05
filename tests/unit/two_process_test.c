/* Two real processes: streams of checked messages in every arrangement, deaths at any moment of
 * either end, and what waiting costs.
 *
 * Length and bytes of a message follow from the stream's seed and the message's number, so the
 * one who takes it knows exactly what must come next. */
#include "check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"

/* A notifier joins all tests here by its line. */
static const struct notifier_row {
    const char *name;
    unsigned kind;
    bool sleeps; /* false: burns a core while it waits */
} NOTIFIERS[] = {
    {"sem", SHMQ_NOTIFY_SEM, true},
    {"spin", SHMQ_NOTIFY_SPIN, false},
};
enum { NOTIFIERS_COUNT = sizeof NOTIFIERS / sizeof NOTIFIERS[0] };

enum {
    MESSAGES = 1000000,
    LONGEST = 256 * 1024,
    UNIQUE = 8, /* messages of so many bytes and more are never alike */
    NOTICE_MS = 2000
};

/* ---- Streams ------------------------------------------------------------------------------- */

struct stream {
    uint64_t seed;
    size_t shortest, longest;
    bool zero_copy; /* by reserve and commit, peek and release */
};

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t origin(const struct stream *stream, uint64_t number) {
    return mix(stream->seed + (number + 1) * 0x9e3779b97f4a7c15u);
}

/* Mostly short; one in a thousand is anything up to the longest. */
static size_t length_of(const struct stream *stream, uint64_t number) {
    const uint64_t random = origin(stream, number), choice = random % 1024;
    size_t bound = choice < 512 ? 16 : choice < 960 ? 64 : choice < 1023 ? 512 : LONGEST;
    if (bound > stream->longest) bound = stream->longest;
    return stream->shortest + (size_t)(random >> 32) % (bound - stream->shortest + 1);
}

static void write_message(const struct stream *stream, uint64_t number, unsigned char *to) {
    const size_t length = length_of(stream, number);
    const uint64_t first = origin(stream, number);
    for (size_t at = 0; at < length; at += 8) {
        const uint64_t word = mix(first + at);
        memcpy(to + at, &word, length - at < 8 ? length - at : 8);
    }
}

static bool is_message(const struct stream *stream, uint64_t number, const unsigned char *bytes,
                       size_t length) {
    const uint64_t first = origin(stream, number);
    if (length != length_of(stream, number)) return false;
    for (size_t at = 0; at < length; at += 8) {
        const uint64_t word = mix(first + at);
        if (memcmp(bytes + at, &word, length - at < 8 ? length - at : 8) != 0) return false;
    }
    return true;
}

/* False, with errno, if it was not sent. */
static bool send_one(shmq *producer, const struct stream *stream, uint64_t number) {
    static unsigned char buffer[LONGEST];
    const size_t length = length_of(stream, number);
    if (!stream->zero_copy) {
        write_message(stream, number, buffer);
        return shmq_send(producer, buffer, length, -1) == 0;
    }
    const size_t spare = number % 3 == 0 ? stream->longest - length : 0;
    unsigned char *room = shmq_reserve(producer, length + (spare < 50 ? spare : 50), -1);
    if (room == NULL) return false;
    write_message(stream, number, room);
    CHECK(shmq_commit(producer, length) == 0);
    return true;
}

/* The next message as it lies in memory, or NULL with errno. With zero copy it is not released. */
static const unsigned char *next_message(shmq *consumer, const struct stream *stream,
                                         size_t *length) {
    static unsigned char buffer[LONGEST];
    if (stream->zero_copy) return shmq_peek(consumer, length, -1);
    const ssize_t got = shmq_recv(consumer, buffer, sizeof buffer, -1);
    *length = (size_t)got;
    return got < 0 ? NULL : buffer;
}

/* Takes exactly this message. False, with errno, if none came. */
static bool take_one(shmq *consumer, const struct stream *stream, uint64_t number) {
    size_t length;
    const unsigned char *message = next_message(consumer, stream, &length);
    if (message == NULL) return false;
    if (!is_message(stream, number, message, length))
        check_fail(__FILE__, __LINE__, "not message %llu, in %zu bytes", (unsigned long long)number,
                   length);
    if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
    return true;
}

/* ---- A million messages, in every arrangement ---------------------------------------------- */

struct flow {
    const char *name;
    struct shmq_attr attr;
    struct stream stream;
    enum shmq_end first; /* comes, and is at work or asleep, before the other one */
    uint64_t messages;
    check_gate first_is_in;
};

static bool exists(const char *name) {
    struct stat status;
    return lstat(check_path(name), &status) == 0;
}

static shmq *enter(struct flow *flow, enum shmq_end end) {
    shmq *q;
    if (end != flow->first) check_wait(&flow->first_is_in, 1);
    CHECK(shmq_open(&q, flow->name, end, O_CREAT, &flow->attr) == 0);
    if (end == flow->first) check_pass(&flow->first_is_in);
    return q;
}

static void produce(void *argument) {
    struct flow *flow = argument;
    const int descriptors = check_descriptors(), mappings = check_mappings();
    shmq *producer = enter(flow, SHMQ_PRODUCER);
    for (uint64_t number = 0; number < flow->messages; number++)
        if (!send_one(producer, &flow->stream, number))
            check_fail(__FILE__, __LINE__, "send: %s", strerror(errno));
    CHECK(shmq_close(producer) == 0);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

static void consume(struct flow *flow) {
    shmq *consumer = enter(flow, SHMQ_CONSUMER);
    uint64_t number = 0;
    while (take_one(consumer, &flow->stream, number))
        number++;
    CHECK_EQUAL(errno, EPIPE);
    CHECK_EQUAL(number, flow->messages);
    CHECK(shmq_close(consumer) == 0);
}

static void run_flow(struct flow wanted) {
    struct flow *flow = check_shared(sizeof *flow);
    *flow = wanted;
    const int descriptors = check_descriptors(), mappings = check_mappings();
    pid_t producer = check_spawn(produce, flow);
    consume(flow);
    check_join(producer);
    CHECK(!exists(flow->name)); /* ephemeral: both have closed it */
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

/* Every notifier, both ways to touch a message, both orders of coming. Those that burn a core get
 * fewer messages: where others want the cores too, each lap costs them a turn of the scheduler. */
static void flow_through(const char *name, size_t capacity, size_t longest) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        for (int way = 0; way < 4; way++) {
            const struct notifier_row *notifier = &NOTIFIERS[row];
            const bool zero_copy = way / 2 == 1;
            const enum shmq_end first = way % 2 == 0 ? SHMQ_CONSUMER : SHMQ_PRODUCER;
            check_note("%s, %s, %s, ring of %zu", name, notifier->name,
                       first == SHMQ_CONSUMER ? "consumer first" : "producer first", capacity);
            run_flow((struct flow){
                .name = name,
                .attr = {capacity, longest, notifier->kind, SHMQ_EPHEMERAL, 0},
                .stream = {check_random(), 0, longest, zero_copy},
                .first = first,
                .messages = notifier->sleeps   ? MESSAGES
                            : capacity < 65536 ? MESSAGES / 100
                                               : MESSAGES / 10,
            });
        }
}

TEST(a_million_messages_arrive_through_one_page_of_shared_memory) {
    flow_through(check_name("q"), 4096, 4096 - RECORD_HEADER);
}

TEST(a_million_messages_arrive_through_a_mebibyte_of_shared_memory) {
    flow_through(check_name("q"), 1 << 20, LONGEST);
}

TEST(a_million_messages_arrive_through_one_page_of_a_file) {
    flow_through("./q", 4096, 4096 - RECORD_HEADER);
}

TEST(a_million_messages_arrive_through_a_mebibyte_of_a_file) {
    flow_through("./q", 1 << 20, LONGEST);
}

/* ---- Deaths -------------------------------------------------------------------------------- */

enum death { STREAMING, IDLE, ASLEEP, NONE };

/* One end that is killed; the trial's process is the other end and survives. */
struct trial {
    const char *name;
    enum shmq_end victim;
    unsigned notify;
    struct stream stream;
    int rounds;
    enum death death; /* of the present victim */
    check_gate ready; /* victims so far */
    /* Producer: acknowledged; consumer: taken and, with recv, not yet known to the survivor. */
    _Atomic uint64_t next;
    int64_t dies_ms;
    int64_t worst_ms; /* from a death until the survivor was told */
    pid_t pid;
};

/* The kernel kills this process within three milliseconds, wherever it is then. */
static void die_soon(struct trial *trial) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec moment = {.it_value = {0}};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &moment.it_value) == 0);
    const int64_t ns = moment.it_value.tv_nsec + 1 + (int64_t)check_below(3000000);
    moment.it_value.tv_sec += ns / 1000000000;
    moment.it_value.tv_nsec = ns % 1000000000;
    trial->dies_ms = (int64_t)moment.it_value.tv_sec * 1000 + moment.it_value.tv_nsec / 1000000;
    CHECK(timer_settime(timer, TIMER_ABSTIME, &moment, NULL) == 0);
}

static shmq *enter_trial(const struct trial *trial, enum shmq_end end) {
    const struct shmq_attr attr = {.capacity = 4096,
                                   .max_message = trial->stream.longest,
                                   .notify = trial->notify,
                                   .flags = SHMQ_EPHEMERAL};
    shmq *q;
    CHECK(shmq_open(&q, trial->name, end, O_CREAT, &attr) == 0);
    return q;
}

static void produce_until_killed(shmq *producer, struct trial *trial) {
    for (int count = 0; trial->death != NONE || count < 1000; count++) {
        CHECK(send_one(producer, &trial->stream, trial->next));
        trial->next++; /* acknowledged */
    }
}

/* A consumer killed inside recv may have taken one message that it could not note; with peek, it
 * may have noted one that it could not release. The first message shows which. */
static void find_place(shmq *consumer, struct trial *trial) {
    const struct stream *stream = &trial->stream;
    const uint64_t low = trial->next - (stream->zero_copy && trial->next > 0 ? 1 : 0);
    size_t length;
    const unsigned char *message = next_message(consumer, stream, &length);
    CHECK(message != NULL);
    const bool first = is_message(stream, low, message, length);
    if (!first && !is_message(stream, low + 1, message, length))
        check_fail(__FILE__, __LINE__, "neither message %llu nor the next one",
                   (unsigned long long)low);
    trial->next = first ? low + 1 : low + 2;
    if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
}

static void consume_until_killed(shmq *consumer, struct trial *trial) {
    const struct stream *stream = &trial->stream;
    size_t length;
    find_place(consumer, trial);
    for (const unsigned char *message;
         (message = next_message(consumer, stream, &length)) != NULL;) {
        if (!is_message(stream, trial->next, message, length))
            check_fail(__FILE__, __LINE__, "not message %llu", (unsigned long long)trial->next);
        trial->next++;
        if (stream->zero_copy) CHECK(shmq_release(consumer) == 0);
    }
    CHECK_EQUAL(errno, EPIPE);
}

static void be_victim(void *argument) {
    struct trial *trial = argument;
    shmq *q = enter_trial(trial, trial->victim);
    check_pass(&trial->ready);
    if (trial->death == STREAMING || trial->death == IDLE) die_soon(trial);
    while (trial->death == IDLE)
        pause();
    if (trial->victim == SHMQ_PRODUCER)
        produce_until_killed(q, trial);
    else
        consume_until_killed(q, trial);
    CHECK(shmq_close(q) == 0);
}

static void call_victim(struct trial *trial, int round) {
    static const enum death deaths[] = {STREAMING, IDLE, ASLEEP};
    trial->death = round == trial->rounds ? NONE : deaths[round % 3];
    trial->pid = check_spawn(be_victim, trial);
    check_wait(&trial->ready, (uint32_t)round + 1);
}

/* Kills it once it sleeps and the ring has nothing more for it. */
static void kill_asleep(const shmq *survivor, struct trial *trial) {
    while (atomic_load(&survivor->peer->ticket) % 2 == 0)
        sched_yield();
    trial->dies_ms = check_now_ms();
    CHECK(kill(trial->pid, SIGKILL) == 0);
}

/* The survivor has just been told that the victim died. */
static void check_notice(struct trial *trial) {
    const int64_t took_ms = check_now_ms() - trial->dies_ms;
    int status = 0;
    CHECK(waitpid(trial->pid, &status, 0) == trial->pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        check_fail(__FILE__, __LINE__, "the victim ended with wait status 0x%x", status);
    CHECK(took_ms < NOTICE_MS);
    if (took_ms > trial->worst_ms) trial->worst_ms = took_ms;
}

static void outlive_producers(struct trial *trial) {
    shmq *consumer = enter_trial(trial, SHMQ_CONSUMER);
    uint64_t taken = 0;
    for (int round = 0; round <= trial->rounds; round++) {
        call_victim(trial, round);
        if (trial->death == ASLEEP) kill_asleep(consumer, trial);
        while (take_one(consumer, &trial->stream, taken))
            taken++;
        CHECK_EQUAL(errno, trial->death == NONE ? EPIPE : EOWNERDEAD);
        /* All that was acknowledged has come; and perhaps one that was sent and not yet noted. */
        CHECK(taken - trial->next <= (trial->death == NONE ? 0 : 1));
        trial->next = taken;
        if (trial->death != NONE) check_notice(trial);
    }
    check_join(trial->pid);
    CHECK(shmq_close(consumer) == 0);
}

static void outlive_consumers(struct trial *trial) {
    shmq *producer = enter_trial(trial, SHMQ_PRODUCER);
    uint64_t sent = 0;
    for (int round = 0; round < trial->rounds; round++) {
        call_victim(trial, round);
        if (trial->death == ASLEEP) kill_asleep(producer, trial);
        while (send_one(producer, &trial->stream, sent))
            sent++;
        CHECK_EQUAL(errno, EOWNERDEAD);
        check_notice(trial);
    }
    call_victim(trial, trial->rounds);
    for (int last = 0; last < 1000; last++)
        CHECK(send_one(producer, &trial->stream, sent++));
    CHECK(shmq_close(producer) == 0);
    check_join(trial->pid);
    CHECK_EQUAL(trial->next, sent); /* the last consumer took everything that was ever sent */
}

static void run_trial(void *argument) {
    struct trial *trial = argument;
    if (trial->victim == SHMQ_PRODUCER)
        outlive_producers(trial);
    else
        outlive_consumers(trial);
    CHECK(!exists(trial->name));
}

/* Fifty deaths in each state, on several queues at once: most of the time is spent asleep. */
static void kill_ends(enum shmq_end victim) {
    enum { QUEUES = 10, KINDS = 3 };
    static char files[QUEUES][16];
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        /* Those that burn a core: fewer, and not all at once. */
        const int queues = NOTIFIERS[row].sleeps ? QUEUES : 2;
        const int deaths = KINDS * (NOTIFIERS[row].sleeps ? 50 : 10);
        struct trial *trials = check_shared(QUEUES * sizeof *trials);
        pid_t children[QUEUES];
        int64_t worst_ms = 0;
        check_note("notifier %s", NOTIFIERS[row].name);
        for (int at = 0; at < queues; at++) {
            snprintf(files[at], sizeof files[at], "./q%d", at);
            trials[at] = (struct trial){
                .name = at % 2 == 0 ? check_name(files[at] + 2) : files[at],
                .victim = victim,
                .notify = NOTIFIERS[row].kind,
                .stream = {check_random(), UNIQUE, 512, at / 2 % 2 == 1},
                .rounds = deaths / queues,
            };
            children[at] = check_spawn(run_trial, &trials[at]);
        }
        for (int at = 0; at < queues; at++) {
            check_join(children[at]);
            worst_ms = trials[at].worst_ms > worst_ms ? trials[at].worst_ms : worst_ms;
        }
        printf("        %s: %d deaths, told after %lld ms at worst\n", NOTIFIERS[row].name, deaths,
               (long long)worst_ms);
    }
}

TEST(a_producer_killed_at_any_moment_loses_nothing_and_the_consumer_is_told) {
    kill_ends(SHMQ_PRODUCER);
}

TEST(a_consumer_killed_at_any_moment_loses_nothing_and_the_producer_is_told) {
    kill_ends(SHMQ_CONSUMER);
}

/* ---- Wake-ups ------------------------------------------------------------------------------ */

enum { LAST_MOMENTS = 400000, LOST_MS = 150, STALLS_ALLOWED = 4 };

struct duel {
    const char *name;
    struct shmq_attr attr;
    _Atomic int taken;
};

static void pass_time(uint64_t turns) {
    for (volatile uint64_t turn = turns; turn > 0;)
        turn = turn - 1;
}

/* Every other message finds the consumer asleep. The others come just when it is about to be: a
 * little earlier the next time if it slept, else a little later. */
static void send_at_the_last_moment(void *argument) {
    struct duel *duel = argument;
    uint64_t turns = 100;
    shmq *producer;
    CHECK(shmq_open(&producer, duel->name, SHMQ_PRODUCER, O_CREAT, &duel->attr) == 0);
    for (int number = 0; number < LAST_MOMENTS; number++) {
        while (atomic_load(&duel->taken) != number)
            continue;
        const uint64_t ticket = atomic_load(&producer->peer->ticket);
        pass_time(number % 2 == 0 ? 6000 : turns);
        CHECK(shmq_send(producer, &number, sizeof number, -1) == 0);
        while (atomic_load(&duel->taken) == number)
            continue;
        if (number % 2 == 0) continue;
        if (atomic_load(&producer->peer->ticket) - ticket < 2) /* it did not sleep this time */
            turns++;
        else if (turns > 0)
            turns--;
    }
    CHECK(shmq_close(producer) == 0);
}

/* A lost wake-up costs a slice: more than this machine ever stops a process for, but for a few. */
static void fight(const struct notifier_row *notifier) {
    struct duel *duel = check_shared(sizeof *duel);
    duel->name = check_name(notifier->name);
    duel->attr = (struct shmq_attr){4096, 512, notifier->kind, SHMQ_EPHEMERAL, 0};
    pid_t child = check_spawn(send_at_the_last_moment, duel);
    int number = 0, late = 0;
    shmq *consumer;
    CHECK(shmq_open(&consumer, duel->name, SHMQ_CONSUMER, O_CREAT, &duel->attr) == 0);
    for (int wanted = 0; wanted < LAST_MOMENTS; wanted++) {
        const int64_t start = check_now_ms();
        CHECK(shmq_recv(consumer, &number, sizeof number, -1) == sizeof number);
        CHECK_EQUAL(number, wanted);
        late += check_now_ms() - start >= LOST_MS;
        CHECK(late <= STALLS_ALLOWED);
        atomic_store(&duel->taken, wanted + 1);
    }
    struct shmq_stat stat;
    CHECK(shmq_stat(consumer, &stat) == 0);
    printf("        %s: %llu sleeps, %d of them long\n", notifier->name,
           (unsigned long long)stat.sleeps, late);
    check_join(child);
    CHECK(shmq_close(consumer) == 0);
}

TEST(a_message_wakes_a_consumer_that_is_just_falling_asleep) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (NOTIFIERS[row].sleeps) fight(&NOTIFIERS[row]);
}

/* ---- What waiting costs -------------------------------------------------------------------- */

enum { WAIT_MS = 2000, COST_MS = 10 };

static void check_cost(const char *who, int64_t cpu_ms, int64_t start_ms) {
    const int64_t cost_ms = check_cpu_ms() - cpu_ms;
    printf("        %s: %lld ms of processor time\n", who, (long long)cost_ms);
    CHECK(check_now_ms() - start_ms >= WAIT_MS);
    CHECK(cost_ms <= COST_MS);
}

TEST(two_seconds_without_a_message_cost_next_to_no_processor_time) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++) {
        if (!NOTIFIERS[row].sleeps) continue;
        const struct shmq_attr attr = {4096, 512, NOTIFIERS[row].kind, SHMQ_EPHEMERAL, 0};
        const char *name = check_name(NOTIFIERS[row].name);
        shmq *producer, *consumer;
        char buffer[512] = {0};
        CHECK(shmq_open(&producer, name, SHMQ_PRODUCER, O_CREAT, &attr) == 0);
        CHECK(shmq_open(&consumer, name, SHMQ_CONSUMER, 0, NULL) == 0);
        int64_t start = check_now_ms(), cpu = check_cpu_ms();
        CHECK_FAILS(shmq_recv(consumer, buffer, sizeof buffer, WAIT_MS), ETIMEDOUT);
        check_cost("a consumer of an empty ring", cpu, start);
        while (shmq_send(producer, buffer, sizeof buffer, 0) == 0)
            continue;
        start = check_now_ms(), cpu = check_cpu_ms();
        CHECK_FAILS(shmq_send(producer, buffer, sizeof buffer, WAIT_MS), ETIMEDOUT);
        check_cost("a producer of a full ring", cpu, start);
        while (shmq_recv(consumer, buffer, sizeof buffer, 0) > 0)
            continue;
        CHECK(shmq_close(consumer) == 0);
        CHECK(shmq_close(producer) == 0);
    }
}

int main(int argc, char **argv) { return check_main(argc, argv); }
