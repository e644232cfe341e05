/* Two real processes: streams of checked messages in every arrangement, and wake-ups at the last
 * moment. */
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ends.h"
#include "handle.h"
#include "notifiers.h"
#include "stream.h"

enum { MESSAGES = 1000000 };

/* ---- A million messages, in every arrangement ---------------------------------------------- */

struct flow {
    const char *name;
    struct shmq_attr attr;
    struct stream stream;
    enum shmq_end first; /* comes, and is at work or asleep, before the other one */
    uint64_t messages;
    check_gate first_is_in;
};

static shmq *enter_flow(struct flow *flow, enum shmq_end end) {
    if (end != flow->first) check_wait(&flow->first_is_in, 1);
    shmq *q = enter_as(flow->name, end, &flow->attr);
    if (end == flow->first) check_pass(&flow->first_is_in);
    return q;
}

static void produce(void *argument) {
    struct flow *flow = argument;
    const int descriptors = check_descriptors(), mappings = check_mappings();
    shmq *producer = enter_flow(flow, SHMQ_PRODUCER);
    for (uint64_t number = 0; number < flow->messages; number++)
        if (!stream_send(producer, &flow->stream, number)) check_fail(__FILE__, __LINE__, "send: %s", strerror(errno));
    CHECK(shmq_close(producer) == 0);
    CHECK_EQUAL(check_descriptors(), descriptors);
    CHECK_EQUAL(check_mappings(), mappings);
}

static void consume(struct flow *flow) {
    shmq *consumer = enter_flow(flow, SHMQ_CONSUMER);
    uint64_t number = 0;
    while (stream_take(consumer, &flow->stream, number))
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

/* A million in one of the four arrangements for every notifier, fewer in the others: which one it is
 * differs from notifier to notifier and from place to place. Those that burn a core get a million
 * through the large ring only: where others want the cores too, each lap costs them a turn of the
 * scheduler. */
static uint64_t messages_of(const struct notifier_row *row, size_t capacity, int way, int place) {
    const bool all = ((int)row->kind + place) % 4 == way;
    if (!row->sleeps && capacity < 65536) return (uint64_t)check_scaled(MESSAGES / 500);
    return (uint64_t)check_scaled(all ? MESSAGES : MESSAGES / 20);
}

/* Every notifier, both ways to touch a message, both orders of coming. */
static void flow_through(const char *name, size_t capacity, size_t longest, int place) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        for (int way = 0; way < 4; way++) {
            const struct notifier_row *used = &NOTIFIERS[row];
            const bool zero_copy = way / 2 == 1;
            const enum shmq_end first = way % 2 == 0 ? SHMQ_CONSUMER : SHMQ_PRODUCER;
            if (!notifier_works_here(used)) continue;
            check_note("%s, %s, %s, ring of %zu", name, used->name,
                       first == SHMQ_CONSUMER ? "consumer first" : "producer first", capacity);
            run_flow((struct flow){
                .name = name,
                .attr = {capacity, longest, used->kind, SHMQ_EPHEMERAL, 0},
                .stream = {check_random(), 0, longest, zero_copy},
                .first = first,
                .messages = messages_of(used, capacity, way, place),
            });
        }
}

TEST(a_million_messages_arrive_through_one_page_of_shared_memory) {
    flow_through(check_name("q"), 4096, 4096 - RECORD_HEADER, 0);
}

TEST(a_million_messages_arrive_through_a_mebibyte_of_shared_memory) {
    flow_through(check_name("q"), 1 << 20, STREAM_LONGEST, 1);
}

TEST(a_million_messages_arrive_through_one_page_of_a_file) { flow_through("./q", 4096, 4096 - RECORD_HEADER, 2); }

TEST(a_million_messages_arrive_through_a_mebibyte_of_a_file) { flow_through("./q", 1 << 20, STREAM_LONGEST, 3); }

/* ---- Wake-ups ------------------------------------------------------------------------------ */

enum { LOST_MS = 150, STALLS_ALLOWED = 4 };

static int last_moments(void) { return check_scaled(100000); }

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
    shmq *producer = enter_as(duel->name, SHMQ_PRODUCER, &duel->attr);
    for (int number = 0; number < last_moments(); number++) {
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
    shmq *consumer = enter_as(duel->name, SHMQ_CONSUMER, &duel->attr);
    for (int wanted = 0; wanted < last_moments(); wanted++) {
        const int64_t start = check_now_ms();
        CHECK(shmq_recv(consumer, &number, sizeof number, -1) == sizeof number);
        CHECK_EQUAL(number, wanted);
        late += check_now_ms() - start >= check_late(LOST_MS);
        CHECK(late <= STALLS_ALLOWED);
        atomic_store(&duel->taken, wanted + 1);
    }
    struct shmq_stat stat;
    CHECK(shmq_stat(consumer, &stat) == 0);
    printf("        %s: %llu sleeps, %d of them long\n", notifier->name, (unsigned long long)stat.sleeps, late);
    check_join(child);
    CHECK(shmq_close(consumer) == 0);
}

TEST(a_message_wakes_a_consumer_that_is_just_falling_asleep) {
    for (size_t row = 0; row < NOTIFIERS_COUNT; row++)
        if (NOTIFIERS[row].sleeps && notifier_works_here(&NOTIFIERS[row])) fight(&NOTIFIERS[row]);
}

int main(int argc, char **argv) { return check_main(argc, argv); }
