/* Is each adapter right? Two processes, messages of many lengths, as fast as they go. Nothing here judges how fast. */
#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "peer.h"
#include "stream.h"

enum { LONGEST = 1000, MESSAGES = 4000, SMALL_RING = 4096, WAIT_MS = 50, TICK_MS = 10 };

struct crossing {
    struct lane lane;
    struct stream stream;
    check_gate *open, *done; /* both ends are; the consumer has what it wants */
};

static uint64_t messages(void) { return (uint64_t)check_scaled(MESSAGES); }

static void open_end(struct crossing *crossing, enum peer_end end) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGURG); /* as shmq/signal wants it */
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    if (crossing->lane.peer->open(&crossing->lane, end) != 0)
        check_fail(__FILE__, __LINE__, "open: %s", lane_why(&crossing->lane, errno));
    check_pass(crossing->open);
    check_wait(crossing->open, 2);
}

static void produce(void *argument) {
    struct crossing *crossing = argument;
    const struct peer *peer = crossing->lane.peer;
    unsigned char letter[LONGEST];
    open_end(crossing, PEER_PRODUCER);
    for (uint64_t number = 0; number < messages(); number++) {
        const size_t length = stream_write(&crossing->stream, number, letter);
        CHECK(peer->send(&crossing->lane, letter, length) == 0);
    }
    if (peer->flush != NULL) peer->flush(&crossing->lane);
    check_wait(crossing->done, 1);
    peer->close(&crossing->lane);
}

static void consume(void *argument) {
    struct crossing *crossing = argument;
    const struct peer *peer = crossing->lane.peer;
    unsigned char wanted[LONGEST], got[LONGEST];
    open_end(crossing, PEER_CONSUMER);
    for (uint64_t number = 0; number < messages(); number++) {
        const size_t length = stream_write(&crossing->stream, number, wanted);
        check_note("message %llu", (unsigned long long)number);
        CHECK_EQUAL(peer->receive(&crossing->lane, got, length, number % 2 == 0 ? -1 : check_late(20000)), length);
        CHECK(memcmp(got, wanted, length) == 0);
    }
    const int64_t start_ms = check_now_ms();
    CHECK_FAILS(peer->receive(&crossing->lane, got, 1, 0), EAGAIN);
    CHECK_FAILS(peer->receive(&crossing->lane, got, 1, WAIT_MS), ETIMEDOUT);
    CHECK(check_now_ms() - start_ms >= WAIT_MS - TICK_MS); /* libqb's clock ticks so slowly */
    check_pass(crossing->done);
    peer->close(&crossing->lane);
}

/* What is left in /dev/shm with this in its name. */
static void look_for_litter(const char *name) {
    DIR *directory = opendir("/dev/shm");
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if (strstr(entry->d_name, name) != NULL)
            check_fail(__FILE__, __LINE__, "/dev/shm/%s is left behind", entry->d_name);
    (void)closedir(directory);
}

static void cross(const struct peer *peer, size_t capacity) {
    struct crossing crossing = {.stream = {.seed = check_random(), .shortest = 1, .longest = LONGEST}};
    const char *name = check_name(capacity == 0 ? "usual" : "small") + 1; /* without the slash */
    crossing.open = check_shared(sizeof *crossing.open);
    crossing.done = check_shared(sizeof *crossing.done);
    lane_init(&crossing.lane, peer, name, LONGEST);
    crossing.lane.capacity = capacity;
    crossing.lane.careful = capacity != 0;
    CHECK(peer->make(&crossing.lane) == 0);
    const pid_t consumer = check_spawn(consume, &crossing), producer = check_spawn(produce, &crossing);
    peer->close(&crossing.lane);
    check_wait(crossing.open, 2);
    peer->forget(&crossing.lane);
    peer->forget(&crossing.lane);
    check_join(producer);
    check_join(consumer);
    look_for_litter(name);
}

static bool carries(const struct peer *peer) { return !peer->single && strcmp(peer->name, "machine") != 0; }

static void cross_every(size_t capacity) {
    const struct peer *peer;
    for (size_t at = 0; (peer = peer_at(at)) != NULL; at++) {
        if (!carries(peer)) continue;
        check_note("peer %s", peer->name);
        cross(peer, capacity);
    }
}

TEST(every_peer_delivers_each_message_once_and_in_order) { cross_every(0); }

TEST(every_peer_does_so_where_little_fits) { cross_every(SMALL_RING); }

int main(int argc, char **argv) { return check_main(argc, argv); }
