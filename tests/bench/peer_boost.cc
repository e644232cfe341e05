/* boost: message_queue of Boost.Interprocess: slots of one size in shared memory, under a mutex with two conditions.
 *
 * As its documentation has it: open_or_create by whoever comes first, one priority for all, which makes it first in,
 * first out, and blocking calls where no time-out is asked for. What it throws becomes an errno. */
#include "peer.h"

#include <cerrno>
#include <cstdio>
#include <new>

#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>

using boost::interprocess::message_queue;

namespace {

/* Of its kinds of error, those that have an errno carry it. */
int fail(struct lane *lane, const std::exception &thrown) {
    const auto *error = dynamic_cast<const boost::interprocess::interprocess_exception *>(&thrown);
    const int native = error != nullptr ? error->get_native_error() : 0;
    (void)std::snprintf(lane->why, sizeof lane->why, "%s", thrown.what());
    errno = native != 0 ? native : EIO;
    return -1;
}

message_queue *queue_of(const struct lane *lane) { return static_cast<message_queue *>(lane->state); }

size_t slots_of(const struct lane *lane) { return lane_room(lane) / lane->longest; }

int boost_make(struct lane *) { return 0; }

int boost_open(struct lane *lane, enum peer_end) try {
    lane->state = new message_queue(boost::interprocess::open_or_create, lane->name, slots_of(lane), lane->longest);
    return 0;
} catch (const std::exception &thrown) {
    return fail(lane, thrown);
}

int boost_send(struct lane *lane, const void *message, size_t length) try {
    queue_of(lane)->send(message, length, 0);
    return 0;
} catch (const std::exception &thrown) {
    return fail(lane, thrown);
}

/* It knows the wall clock only. */
bool receive_until(message_queue *queue, void *buffer, size_t size, size_t &got, int timeout_ms) {
    namespace time = boost::posix_time;
    unsigned priority;
    if (timeout_ms == 0) return queue->try_receive(buffer, size, got, priority);
    if (timeout_ms < 0) return queue->receive(buffer, size, got, priority), true;
    const auto until = time::microsec_clock::universal_time() + time::milliseconds(timeout_ms);
    return queue->timed_receive(buffer, size, got, priority, until);
}

ssize_t boost_receive(struct lane *lane, void *buffer, size_t, int timeout_ms) try {
    size_t got;
    if (!receive_until(queue_of(lane), buffer, lane->longest, got, timeout_ms)) return lane_late(timeout_ms);
    return static_cast<ssize_t>(got);
} catch (const std::exception &thrown) {
    return fail(lane, thrown);
}

void boost_close(struct lane *lane) {
    delete queue_of(lane);
    lane->state = nullptr;
}

void boost_forget(struct lane *lane) { (void)message_queue::remove(lane->name); }

/* How 1.74 lies in memory, which it tells nobody: this, an index of pointers, the messages. */
struct control {
    char before[40];
    uint64_t unread;
    char locks[136];
    uint64_t first;
    char after[16];
};

/* Of a queue that nobody is moving. What is unread may run on at the beginning: then without that. */
size_t boost_spots(const struct lane *lane, struct spot spots[PEER_SPOTS]) {
    const size_t slots = slots_of(lane), slot = (16 + lane->longest + 7) / 8 * 8;
    struct control control;
    if (!lane_peek(lane, &control, sizeof control)) return 0;
    const size_t whole = slots - control.first, unread = control.unread < whole ? control.unread : whole;
    spots[0] = lane_spot(lane, 0, sizeof control);
    spots[1] = lane_spot(lane, sizeof control + control.first * sizeof(void *), unread * sizeof(void *));
    spots[2] = lane_spot(lane, sizeof control + slots * sizeof(void *) + control.first * slot, unread * slot);
    return unread > 0 ? 3 : 1;
}

} // namespace

const struct peer peers_boost[] = {
    {
        .name = "boost",
        .largest = 0,
        .single = false,
        .named = true,
        .many = true,
        .busy = false,
        .bound = false,
        .kind = 0,
        .make = boost_make,
        .open = boost_open,
        .send = boost_send,
        .flush = nullptr,
        .receive = boost_receive,
        .close = boost_close,
        .forget = boost_forget,
        .spots = boost_spots,
    },
    {},
};
