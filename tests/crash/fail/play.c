/* One trial: the stage is set, the operation runs while something fails, and then all must be as shmq.h says. */
#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"

static const char *const OPERATION_NAMES[OPERATIONS] = {"create", "attach", "send",    "recv",  "reserve",
                                                        "commit", "peek",   "release", "drain", "stat",
                                                        "fd",     "arm",    "close",   "last",  "unlink"};
static const char *const STATE_NAMES[STATES] = {"ready", "stuck", "waiting", "timing out", "ringing", "locked"};

enum {
    CAPACITY = 4096,
    LETTER = 1000,
    LETTERS = 4, /* so many fit */
    TIME_OUT_MS = 500,
    PATIENCE_MS = 1000 /* of shmq_open, shmq_close, shmq_unlink with others */
};

static const struct scene *scene; /* the present one */

/* ---- What shmq.h says ---------------------------------------------------------------------- */

/* Less EINVAL, EMSGSIZE and EEXIST, for all arguments are right. */
#define WAITS   EAGAIN, ETIMEDOUT, EINTR, EPIPE, EOWNERDEAD, EBADMSG
#define UNLINKS ENOENT, EACCES, EPERM, ELOOP, ENAMETOOLONG, EMFILE, ENFILE, ENOMEM, ENOTSUP, EPROTO, EBUSY
enum { MOST_ERRORS = 16 };
static const int DOCUMENTED[OPERATIONS][MOST_ERRORS] = {
    [SEND] = {WAITS, EBUSY},    [RECV] = {WAITS},   [RESERVE] = {WAITS},
    [COMMIT] = {EBADMSG},       [PEEK] = {WAITS},   [RELEASE] = {EBADMSG},
    [DRAIN] = {WAITS},          [STAT] = {EBADMSG}, [FD] = {EBADMSG, ENOTSUP},
    [ARM] = {EBADMSG, ENOTSUP}, [CLOSE] = {0},      [LAST] = {UNLINKS}, /* EBUSY, EACCES, EPERM and so on */
    [UNLINK] = {UNLINKS},
};

static bool is_documented(enum operation operation, int error) {
    if (operation <= ATTACH) return error != EINVAL && error != EEXIST && notifier_open_says(error);
    for (size_t at = 0; at < MOST_ERRORS && DOCUMENTED[operation][at] != 0; at++)
        if (DOCUMENTED[operation][at] == error) return true;
    return false;
}

/* The other end lives, and nothing is reserved. */
static bool is_true(int error) {
    if (scene->operation < SEND || scene->operation > DRAIN) return true;
    if (error == EAGAIN) return scene->state == STUCK;
    if (error == ETIMEDOUT) return scene->state == TIMING;
    return error != EPIPE && error != EOWNERDEAD && error != EBUSY;
}

/* ---- The present trial --------------------------------------------------------------------- */

static const struct trial *trial;
static int said, calm; /* by the operation: 0 or an errno; and what it says when nothing fails */
static char text[256];
static uint32_t wrongs; /* of this process */
static bool is_wrong;

struct counts *counts;

uint32_t play_wrongs(void) { return wrongs; }

static const char *word_of(int error) { return error == 0 ? "success" : fail_word_of(error); }

static void describe(void) {
    const struct fail_way *way = trial->way;
    int length = snprintf(text, sizeof text, "notifier=%s operation=%s state=%s side=%s%s place=%s", notifier_now->name,
                          OPERATION_NAMES[scene->operation], STATE_NAMES[scene->state],
                          scene->side == SHMQ_PRODUCER ? "producer" : "consumer", scene->many ? " ends=many" : "",
                          strchr(scene->name + 1, '/') == NULL ? "memory" : "file");
    const size_t used = (size_t)length, room = sizeof text - used;
    if (way != NULL)
        (void)snprintf(text + used, room, " call=%u%s: %s %s", trial->at, trial->always ? " and on" : "", way->call,
                       word_of(way->error));
    if (trial->shortage != NULL) (void)snprintf(text + used, room, " %s=%u", trial->shortage->name, trial->amount);
    check_note("%s", text);
}

static bool fails(const char *call) { return trial->way != NULL && strcmp(trial->way->call, call) == 0; }

/* Whoever opens or unlinks is told EINTR and EIO as the file system says them; what else they call is no file system. */
static bool is_of_file_system(int error) {
    const bool by_name = scene->operation <= ATTACH || scene->operation >= LAST;
    return by_name && (error == EINTR || error == EIO) && trial->way != NULL && trial->way->error == error &&
           !fails("os_random");
}

/* Shows what is wrong first in a trial; the test goes on, to show what else is. */
__attribute__((format(printf, 1, 2))) static void wrong(const char *format, ...) {
    enum { SHOWN = 20 };
    va_list arguments;
    if (is_wrong) return;
    is_wrong = true;
    if (wrongs++ >= SHOWN) return;
    va_start(arguments, format);
    fprintf(stderr, "WRONG: %s: ", text);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
}

/* ---- Ends ---------------------------------------------------------------------------------- */

static shmq *own, *peer, *mate; /* ours, the other, one more of our side */

static struct {
    uint32_t next, expected; /* to be sent, to be received */
    int64_t perhaps;         /* may come or not: its sender was told EBADMSG, or who released it; -1: none */
} ledger;

/* Places in the ring that are held. */
static const unsigned char *peeked;
static unsigned char *reserved;

static int64_t took_ms; /* by the core's own clock */
static bool opened;     /* a handle was given */
static bool damaged;    /* what later calls on it say */

static enum shmq_end other(enum shmq_end end) { return end == SHMQ_PRODUCER ? SHMQ_CONSUMER : SHMQ_PRODUCER; }

static bool produces(void) { return scene->side == SHMQ_PRODUCER; }

static int open_end(shmq **q, enum shmq_end end) {
    const unsigned flags =
        (scene->many ? SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0) | (scene->operation == LAST ? SHMQ_EPHEMERAL : 0);
    const struct shmq_attr attr = {CAPACITY, LETTER, notifier_now->kind, flags, 0};
    return shmq_open(q, scene->name, end, O_CREAT, &attr);
}

/* Of the queues of this trial. */
static uint64_t instances[4];

static void note_instance(const shmq *q) {
    for (size_t slot = 0; q != NULL && slot < sizeof instances / sizeof instances[0]; slot++) {
        if (instances[slot] == 0) instances[slot] = q->region.header.instance;
        if (instances[slot] == q->region.header.instance) return;
    }
}

static void enter(shmq **q, enum shmq_end end) {
    if (*q == NULL && open_end(q, end) != 0) wrong("then an end cannot be opened: %s", word_of(errno));
    note_instance(*q);
}

static void leave(shmq **q) {
    if (*q != NULL && shmq_close(*q) != 0) wrong("then an end cannot be closed: %s", word_of(errno));
    *q = NULL;
}

static bool is_there(void) { return faccessat(AT_FDCWD, check_path(scene->name), F_OK, 0) == 0; }

/* Messages. */

static void write_letter(unsigned char letter[LETTER], uint32_t number) {
    memset(letter, (int)(number % 251), LETTER);
    memcpy(letter, &number, sizeof number);
}

static int give(shmq *q, int timeout_ms) {
    unsigned char letter[LETTER];
    write_letter(letter, ledger.next);
    if (shmq_send(q, letter, LETTER, timeout_ms) != 0) return -1;
    ledger.next++;
    return 0;
}

static void receive(const unsigned char *bytes, ssize_t length) {
    unsigned char letter[LETTER];
    uint32_t number;
    if (length != LETTER) return wrong("a message came with %zd bytes", length);
    memcpy(&number, bytes, sizeof number);
    write_letter(letter, number);
    if (memcmp(bytes, letter, LETTER) != 0) return wrong("a torn message came");
    if (number == ledger.expected + 1 && ledger.expected == ledger.perhaps) ledger.expected++;
    if (number != ledger.expected) wrong("message %u came, not %u", number, ledger.expected);
    ledger.expected = number + 1;
}

static int take(shmq *q, int timeout_ms) {
    unsigned char bytes[LETTER + 1];
    const ssize_t length = shmq_recv(q, bytes, sizeof bytes, timeout_ms);
    if (length < 0) return -1;
    receive(bytes, length);
    return 0;
}

static int move(shmq *q, enum shmq_end end) { return (end == SHMQ_PRODUCER ? give : take)(q, 0); }

/* Until it can no more; how many. */
static uint32_t move_all(shmq *q, enum shmq_end end) {
    uint32_t count = 0;
    while (move(q, end) == 0)
        count++;
    if (errno != EAGAIN) wrong("then %s says %s", end == SHMQ_PRODUCER ? "send" : "recv", word_of(errno));
    return count;
}

/* ---- The stage ----------------------------------------------------------------------------- */

/* Is the ring full? For a producer that is when it is stuck. */
static bool begins_full(void) {
    const bool stuck = scene->state == STUCK || scene->state == WAITING || scene->state == TIMING;
    if (scene->operation == COMMIT) return false;
    return produces() ? stuck : !stuck;
}

static void set_stage(void) {
    const enum operation operation = scene->operation;
    ledger.next = ledger.expected = 0;
    ledger.perhaps = -1;
    own = peer = mate = NULL;
    if (operation == CREATE) return;
    enter(&peer, other(scene->side));
    if (operation != ATTACH || (begins_full() && produces())) enter(&own, scene->side);
    if (scene->many && operation >= SEND && operation <= ARM) enter(&mate, scene->side);
    if (begins_full()) (void)move_all(produces() ? own : peer, SHMQ_PRODUCER);
    if (operation == ATTACH) leave(&own);
    if (operation == LAST) leave(&peer);
    if (operation == UNLINK && scene->state == READY) {
        leave(&own);
        leave(&peer);
    }
    shmq *const holder = scene->state == LOCKED ? mate : operation == COMMIT || operation == RELEASE ? own : NULL;
    if (holder != NULL && produces()) reserved = shmq_reserve(holder, LETTER, 0);
    if (holder != NULL && !produces()) peeked = shmq_peek(holder, NULL, 0);
    if (holder != NULL && (produces() ? reserved == NULL : peeked == NULL)) wrong("nothing can be held");
}

/* ---- The operation ------------------------------------------------------------------------- */

static int timeout_ms(void) {
    switch (scene->state) {
    case WAITING:
    case LOCKED: return -1;
    case TIMING: return TIME_OUT_MS;
    default: return 0;
    }
}

static int commit(void) {
    write_letter(reserved, ledger.next);
    if (shmq_commit(own, LETTER) != 0) return -1;
    ledger.next++;
    return 0;
}

static int release(void) {
    if (shmq_release(own) != 0) return -1;
    receive(peeked, LETTER);
    return 0;
}

static int perform(void) {
    struct shmq_stat stat;
    shmq *const q = own;
    switch (scene->operation) {
    case CREATE:
    case ATTACH: own = (shmq *)(void *)&own; return open_end(&own, scene->side);
    case SEND: return give(own, timeout_ms());
    case RECV: return take(own, timeout_ms());
    case RESERVE: return (reserved = shmq_reserve(own, LETTER, timeout_ms())) == NULL ? -1 : 0;
    case COMMIT: return commit();
    case PEEK: return (peeked = shmq_peek(own, NULL, timeout_ms())) == NULL ? -1 : 0;
    case RELEASE: return release();
    case DRAIN: return shmq_drain(own, timeout_ms());
    case STAT: return shmq_stat(own, &stat);
    case FD: return shmq_fd(own) < 0 ? -1 : 0;
    case ARM: return shmq_arm(own) < 0 ? -1 : 0;
    case CLOSE:
    case LAST: own = NULL; return shmq_close(q);
    case UNLINK: return shmq_unlink(scene->name);
    case OPERATIONS: break;
    }
    return -1;
}

/* What every later call on a damaged handle says. */
static bool is_damaged(shmq *q) {
    struct shmq_stat stat;
    if (q == NULL || shmq_stat(q, &stat) == 0) return false;
    if (errno != EBADMSG) wrong("then stat says %s", word_of(errno));
    return true;
}

/* While the trial's fault or shortage is in force. */
static void act(void) {
    const int64_t start_ns = fail_time_ns();
    if (trial->shortage != NULL) trial->shortage->begin(trial->amount);
    fail_arm(trial->way, trial->at, trial->always);
    said = perform() == 0 ? 0 : errno;
    fail_disarm();
    if (trial->shortage != NULL) trial->shortage->end();
    took_ms = (fail_time_ns() - start_ns) / 1000000;
    opened = own != NULL;
    damaged = is_damaged(own);
}

/* Our end was damaged or is gone: another one takes its place. */
static void renew(void) {
    if (own != NULL && own->fault != 0) leave(&own);
    enter(&own, scene->side);
}

/* Our end sleeps: this gives it what it waits for. */
static void serve(void) {
    if (scene->operation == DRAIN)
        (void)move_all(peer, SHMQ_CONSUMER);
    else if (move(peer, other(scene->side)) != 0)
        wrong("meanwhile the other end says %s", word_of(errno));
}

static void unlock(void) {
    if (!produces()) receive(peeked, LETTER);
    if (shmq_release(mate) != 0) wrong("meanwhile the holder of the lock says %s", word_of(errno));
}

/* The other end still sleeps, though our operation is over. */
static void rescue(void) {
    renew();
    if (move(own, scene->side) != 0) wrong("then it says %s", word_of(errno));
}

static void act_while_peer_sleeps(void) {
    act();
    if (scene->operation != CLOSE) fail_asleep = rescue;
}

static void act_while_peer_waits(void) {
    const int wanted = scene->operation == CLOSE ? EPIPE : 0;
    fail_asleep = act_while_peer_sleeps;
    const int error = (produces() ? take : give)(peer, -1) == 0 ? 0 : errno;
    const bool stillborn = scene->operation == ATTACH && said == EBADMSG && error == EOWNERDEAD;
    if (error != wanted && !stillborn) wrong("the other end, which waited, says %s", word_of(error));
}

static void act_in_state(void) {
    if (scene->state == RINGING) return act_while_peer_waits();
    fail_asleep = scene->state == WAITING ? serve : scene->state == LOCKED ? unlock : NULL;
    act();
    void (*const late)(void) = fail_asleep;
    fail_asleep = NULL;
    if (late != NULL) late();
}

/* ---- What must hold ------------------------------------------------------------------------ */

static void judge(void) {
    const bool works = scene->operation >= SEND && scene->operation <= ARM && scene->state != TIMING;
    const int64_t limit_ms = works ? 2 * PATIENCE_MS : PATIENCE_MS + TIME_OUT_MS;
    const bool right = said == 0 || (is_documented(scene->operation, said) && is_true(said)) || is_of_file_system(said);
    if (!right) wrong("it says %s", word_of(said));
    if (trial->way != NULL && trial->way->harmless && said != calm) wrong("it says %s, for nothing", word_of(said));
    if (trial->way != NULL && trial->way->error == EINTR && said == EBADMSG) wrong("a signal has damaged it");
    if (trial->shortage != NULL && said != calm && said != trial->shortage->error) wrong("it says %s", word_of(said));
    if (took_ms > limit_ms) wrong("it took %lld ms", (long long)took_ms);
    if (scene->operation <= ATTACH && opened != (said == 0)) wrong("it gives a handle, or none");
    if (opened && said == EBADMSG && !damaged) wrong("later calls do not say EBADMSG");
    if (damaged && said != EBADMSG && !(said == 0 && scene->operation == RECV)) wrong("later calls say EBADMSG");
}

/* What came of the message that the operation was about. */
static void settle(void) {
    if ((scene->operation == SEND || scene->operation == COMMIT) && said == EBADMSG) ledger.perhaps = ledger.next++;
    if (scene->operation == RELEASE && said == EBADMSG) ledger.perhaps = ledger.expected;
    if (said != 0) return;
    if (scene->operation == RESERVE && commit() != 0) wrong("then commit says %s", word_of(errno));
    if (scene->operation == PEEK && release() != 0) wrong("then release says %s", word_of(errno));
}

/* Without these nothing can be removed. */
static bool keeps_names(void) {
    static const char *const calls[] = {"os_lock", "os_lock (to unlock)", "os_lock_held", "os_read",
                                        "os_stat", "os_stat_name",        "os_unlink"};
    for (size_t call = 0; call < sizeof calls / sizeof calls[0]; call++)
        if (fails(calls[call])) return true;
    return false;
}

static void check_there(void) {
    const bool failed = said != 0, there = is_there();
    const bool lied_to = fails("os_stat_name") && trial->way->error == ENOENT;
    switch (scene->operation) {
    case CREATE:
        if (failed && there && !(trial->always && keeps_names())) wrong("the name is left");
        break;
    case LAST:
        if (there != (failed || begins_full()) && !lied_to) wrong("the name is %s", there ? "left" : "gone");
        break;
    case UNLINK:
        if (there != failed && said != ENOENT && !lied_to) wrong("the name is %s", there ? "left" : "gone");
        if (is_there() && shmq_unlink(scene->name) != 0) wrong("then unlink says %s", word_of(errno));
        break;
    default:
        if (!there) wrong("the name is gone");
    }
}

/* A lock on these bytes of the object, if it still has its name. */
static bool is_locked(off_t byte, off_t bytes) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = bytes};
    const int object = open(check_path(scene->name), O_RDWR | O_CLOEXEC);
    if (object < 0) return false;
    const bool locked = fcntl(object, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
    close(object);
    return locked;
}

/* Both ends are there: messages cross, through an empty and a full ring. Of our side another end comes first, if there is
 * one: ours must not have kept the lock. */
static void exchange(void) {
    shmq *const producer = produces() ? own : peer, *const consumer = produces() ? peer : own;
    shmq *const first = mate != NULL ? mate : own;
    (void)move_all(produces() ? consumer : first, SHMQ_CONSUMER);
    if (ledger.expected == ledger.perhaps) ledger.expected++;
    if (ledger.expected != ledger.next) wrong("message %u is lost", ledger.expected);
    ledger.expected = ledger.next;
    if (give(produces() ? first : producer, 0) != 0 || take(consumer, 0) != 0) wrong("then it says %s", word_of(errno));
    const uint32_t fit = move_all(producer, SHMQ_PRODUCER);
    if (fit != LETTERS) wrong("then %u messages fit", fit);
    if (shmq_drain(producer, 0) == 0 || errno != EAGAIN) wrong("then drain of a full ring says %s", word_of(errno));
    (void)move_all(consumer, SHMQ_CONSUMER);
    if (ledger.expected != ledger.next || shmq_drain(producer, 0) != 0) wrong("then it cannot be drained");
}

/* ---- One trial ----------------------------------------------------------------------------- */

/* Doorbells that are left; and removes them. */
static int sweep_doorbells(void) {
    int count = 0;
    for (size_t slot = 0; slot < sizeof instances / sizeof instances[0]; slot++)
        for (int items = 0; instances[slot] != 0 && notifier_now->prefix != NULL && items <= 1; items++)
            count += unlink(notifier_path(scene->name, instances[slot], items != 0)) == 0;
    return count;
}

static void take_pending_signals(void) {
    sigset_t urgent;
    (void)sigemptyset(&urgent);
    (void)sigaddset(&urgent, SIGURG);
    while ((sigtimedwait)(&urgent, NULL, &(struct timespec){.tv_sec = 0}) > 0)
        continue;
}

static void clear_stage(void) {
    const bool goes = scene->operation >= LAST;
    /* By design they hold up nothing. What belongs to half a header nobody knows. */
    const bool knows_nothing = fails("os_read") && trial->way->error == SHORT;
    const bool keeps_doorbells = goes && (fails("os_unlink") || fails("os_stat") || knows_nothing);
    leave(&own);
    leave(&mate);
    leave(&peer);
    if (is_locked(0, 0)) wrong("a lock is left");
    if (shmq_unlink(scene->name) != 0 && !(goes && errno == ENOENT)) wrong("then unlink says %s", word_of(errno));
    if (is_there()) wrong("the name is left for good");
    const int doorbells = sweep_doorbells();
    if (doorbells > 0 && !keeps_doorbells) wrong("%d doorbells are left", doorbells);
}

int play(const struct scene *of, const struct trial *what, int calm_one) {
    const int descriptors = check_descriptors(), mappings = check_mappings();
    scene = of;
    trial = what;
    calm = calm_one;
    said = 0;
    is_wrong = false;
    memset(instances, 0, sizeof instances);
    describe();
    take_pending_signals();
    set_stage();
    act_in_state();
    judge();
    note_instance(own);
    if (scene->operation == CREATE) instances[3] = fail_instance;
    check_there();
    if (is_locked(LEASE_LIFE_CYCLE, 1) && !fails("os_lock (to unlock)")) wrong("the life-cycle lease is left");
    settle();
    renew();
    enter(&peer, other(scene->side));
    exchange();
    clear_stage();
    if (check_descriptors() != descriptors) wrong("%d descriptors are left", check_descriptors() - descriptors);
    if (check_mappings() != mappings) wrong("%d mappings are left", check_mappings() - mappings);
    counts->trials++;
    counts->failed += said != 0;
    counts->wrong += is_wrong;
    return said;
}

bool scene_makes_sense(const struct scene *what) {
    static const struct {
        unsigned states, sides;
    } SENSE[OPERATIONS] = {
        [CREATE] = {1 << READY, 3},
        [ATTACH] = {1 << READY | 1 << STUCK | 1 << RINGING, 3},
        [SEND] = {63, 1},
        [RECV] = {63, 2},
        [RESERVE] = {63 - (1 << RINGING), 1},
        [COMMIT] = {1 << READY | 1 << RINGING, 1},
        [PEEK] = {63 - (1 << RINGING), 2},
        [RELEASE] = {1 << READY | 1 << RINGING, 2},
        [DRAIN] = {1 << READY | 1 << STUCK | 1 << WAITING | 1 << TIMING, 1},
        [STAT] = {1 << READY, 3},
        [FD] = {1 << READY, 3},
        [ARM] = {1 << READY | 1 << STUCK, 3},
        [CLOSE] = {1 << READY | 1 << RINGING, 3},
        [LAST] = {1 << READY | 1 << STUCK, 3},
        [UNLINK] = {1 << READY | 1 << STUCK, 1},
    };
    if ((SENSE[what->operation].states & 1u << what->state) == 0) return false;
    if ((SENSE[what->operation].sides & 1u << what->side) == 0) return false;
    if (what->state == LOCKED && !what->many) return false;
    return true;
}
