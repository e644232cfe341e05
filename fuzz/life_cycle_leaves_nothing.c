/* Ends that open, attach, close and unlink one name, and die or fail in the middle of it, leave a whole queue or none:
 * no half-made one is ever seen; and in the end no descriptor, mapping or lock is left, newcomers can work, and once
 * the name is unlinked nothing is left that has a name.
 *
 *     1 byte   the notifier, modulo 7              1 byte   flags, as in shmq.h
 *     1 byte   bit 0 in the current directory, not in /dev/shm; bit 1 mode 0666; bits 2-3 capacity 4096 << it
 *     then operations: a byte
 *       bits 0-3 what: see enum operation          bits 4-5 who: of 4 processes, the first two produce
 *       bit 6    it goes no further than a step: 1 byte follows; below 192 it dies there, else call 192 less fails, as
 *                1 byte more says: see ERRORS
 *       bit 7    the next operation happens before the step that 1 byte says, and whenever this one waits
 *     and of WRONG 1 byte, in which way: see wrong
 *
 * It stays below a tenth of the speed of an empty target because each open is some 60 calls to the kernel in memory, of
 * which some look through tables. */
#include "support.h"

#include <fcntl.h>
#include <string.h>

enum { ACTORS = 4, NEWCOMERS = ACTORS, BYSTANDER = ACTORS + 2, MAX_OPERATIONS = 100, SLEEPS = 400, PAGE = 4096 };
enum operation {
    ATTACH,
    OPEN,
    CREATE,
    CLOSE,
    UNLINK,
    DIE,
    SEND,
    RECV,
    STAT,
    REPLACE,
    STALE,
    STOP,
    GO_ON,
    CHANGE,
    WRONG,
    OPERATIONS
};

/* What calls fail with; 0: as they are likely to. Not ENOENT, which no call on a descriptor says: it would be believed.
 * */
static const int ERRORS[] = {0,      ENOTDIR, EROFS,  EDQUOT, EFBIG, ETXTBSY, EISDIR,     ENXIO,
                             ENODEV, ENOLCK,  ENOSYS, EAGAIN, EINTR, EACCES,  EOPNOTSUPP, EPERM};

static struct scene {
    const char *name;
    struct shmq_attr attr;
    shmq *end[ACTORS];
    bool busy[ACTORS];
    int acting;
    bool calm;     /* nobody has died, failed, been unlinked or interfered with */
    bool changed;  /* somebody has put something else in the place of doorbells */
    bool failed;   /* a call to the system has failed: what it was to remove may stay */
    bool foreign;  /* something else was put under the name */
    bool consumed; /* a consumer has come */
    int waiting;   /* messages */
    int stopped;   /* a descriptor by which somebody who was stopped holds the life cycle; 0: none */
} scene;

static struct bytes input;
static jmp_buf killed;

static int side_of(int actor) { return actor / 2 % 2; }

/* Under the name stands nothing, or all of a queue. */
static void check_name(void) {
    size_t size = 0;
    const struct header *header = (void *)kernel_bytes(scene.name[0] == '.' ? "./q" : "q", &size);
    if (header == NULL || scene.foreign) return;
    fuzz_assert(size >= sizeof *header && header->magic == SHMQ_MAGIC && header->object_size == size,
                "nobody ever sees a half-built queue");
}

static void note(int result, const char *what) {
    fuzz_check_errno(result, what);
    (*fuzz_operations)++;
    if (result == 0) return;
    /* Whoever failed in a calm scene was refused for what shmq.h says. */
    const bool refused = errno == EBUSY || errno == ENOENT || errno == EEXIST || errno == EAGAIN || errno == EPIPE ||
                         errno == EMSGSIZE || errno == EINVAL;
    if (scene.calm && !kernel.failed && !refused) fuzz_fail("%s: errno %d where nothing is wrong", what, errno);
}

static void open_end(int actor, int oflag) {
    const int result = shmq_open(&scene.end[actor], scene.name, (enum shmq_end)side_of(actor), oflag, &scene.attr);
    note(result, "open");
    scene.consumed |= result == 0 && side_of(actor) == SHMQ_CONSUMER;
    if (result != 0 && errno == ENOENT) fuzz_assert(oflag == 0 || !scene.calm || kernel.failed, "O_CREAT creates");
}

static void close_end(int actor) {
    shmq *q = scene.end[actor];
    if (q == NULL) return;
    scene.end[actor] = NULL;
    const int result = shmq_close(q);
    note(result, "close");
    scene.calm &= result == 0;
    bool coming = false;
    for (int other = 0; other < ACTORS; other++) {
        if (scene.end[other] != NULL) return;
        coming |= other != actor && scene.busy[other];
    }
    /* Who is just opening may find this queue, or make one that no consumer has seen. */
    if (coming && scene.waiting == 0) scene.consumed = false;
    if (coming) return;
    if (!scene.calm || kernel.failed || (scene.attr.flags & SHMQ_EPHEMERAL) == 0) return;
    if (scene.waiting == 0 && scene.consumed)
        fuzz_assert(kernel_names() == 0, "the last end of an ephemeral queue that is drained unlinks it");
    if (scene.waiting > 0) fuzz_assert(kernel_names() > 0, "what was not received stays for whoever comes next");
    if (scene.waiting == 0) scene.consumed = false;
}

static void die(int actor) {
    kernel_kill(actor);
    if (scene.end[actor] != NULL) fuzz_forget(scene.end[actor]);
    scene.end[actor] = NULL;
    scene.calm = false;
}

static void pass(int actor, bool receives) {
    uint64_t message = 7;
    if (scene.end[actor] == NULL || receives != side_of(actor)) return;
    const bool done = receives ? shmq_recv(scene.end[actor], &message, sizeof message, 0) >= 0
                               : shmq_send(scene.end[actor], &message, sizeof message, 0) == 0;
    note(done ? 0 : -1, receives ? "recv" : "send");
    if (done) scene.waiting += receives ? -1 : 1;
}

static void look_at_stat(int actor) {
    struct shmq_stat stat;
    if (scene.end[actor] != NULL) note(shmq_stat(scene.end[actor], &stat), "stat");
}

/* Somebody removes the name by other means, and perhaps puts something else there. */
static void interfere(bool replaces) {
    kernel.kill_at = kernel.fail_at = KERNEL_NEVER;
    const bool here = scene.name[0] == '.';
    (void)kernel_unlinkat(AT_FDCWD, here ? "./q" : "/dev/shm/q", 0);
    if (replaces) kernel_put(here ? "./q" : "q", S_IFREG | 0600, KERNEL_USER, "no queue", 8, 8);
    scene.calm = false;
    scene.failed = true; /* its doorbells do not know where it went */
    scene.foreign = replaces;
}

/* Somebody is stopped in the middle of opening, or unlinking; or goes on. */
static void stop_somebody(bool goes_on) {
    const int actor = kernel.actor;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LEASE_LIFE_CYCLE, .l_len = 1};
    kernel.actor = BYSTANDER;
    kernel.kill_at = kernel.fail_at = KERNEL_NEVER;
    const int held = scene.stopped;
    scene.stopped = 0; /* before the call, in which somebody may come by here too */
    if (held != 0) (void)kernel_close(held);
    scene.calm = false;
    const int object = goes_on ? -1 : kernel_openat(AT_FDCWD, scene.name[0] == '.' ? "./q" : "/dev/shm/q", O_RDWR);
    if (object >= 0 && kernel_fcntl(object, F_OFD_SETLK, &lock) == 0)
        scene.stopped = object;
    else if (object >= 0)
        (void)kernel_close(object);
    kernel.actor = actor;
}

/* Arguments that cannot be right, wherever the name leads. */
static void wrong(uint8_t how) {
    static char long_name[5000];
    static const char *const names[8] = {NULL, "q", "/", "/.", "/..", long_name, long_name + 4000, "/none/q"};
    static const struct shmq_attr attrs[8] = {{.mode = 0640},
                                              {.mode = 01666},
                                              {.notify = 99},
                                              {.capacity = SIZE_MAX},
                                              {.flags = 16},
                                              {.capacity = (size_t)1 << 40},
                                              {.max_message = SIZE_MAX},
                                              {.capacity = (size_t)1 << 34, .mode = 0660}};
    shmq *q = NULL;
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[0] = long_name[4000] = '/';
    long_name[4990] = '/'; /* a directory that is too long; and a name */
    const struct shmq_attr *attr = how >= 8 ? &attrs[how & 7] : NULL;
    int result = shmq_open(&q, how < 8 ? names[how] : "/other", SHMQ_PRODUCER, O_CREAT, attr);
    fuzz_assert(result != 0 && q == NULL, "what cannot be is refused, and *q is NULL");
    fuzz_check_errno(result, "open");
    if (how < 8) fuzz_assert(shmq_unlink(names[how]) != 0, "what cannot be is not unlinked");
    result = how % 3 == 0   ? shmq_open(NULL, "/other", SHMQ_PRODUCER, O_CREAT, NULL)
             : how % 3 == 1 ? shmq_open(&q, "/other", (enum shmq_end)7, O_CREAT, NULL)
                            : shmq_open(&q, "/other", SHMQ_CONSUMER, how % 2 != 0 ? O_EXCL : O_TRUNC, NULL);
    fuzz_assert(result != 0 && errno == EINVAL, "wrong arguments are EINVAL");
}

static void change(uint8_t how) {
    kernel_change_others(scene.name[0] == '.' ? "./q" : "q", (enum kernel_change)(how % 3));
    scene.calm = false;
    scene.changed = scene.failed = true;
}

static void act(int actor, enum operation what) {
    switch (what) {
    case ATTACH:
    case OPEN:
    case CREATE:
        if (scene.end[actor] == NULL) open_end(actor, what == ATTACH ? 0 : what == OPEN ? O_CREAT : O_CREAT | O_EXCL);
        break;
    case CLOSE: close_end(actor); break;
    case UNLINK:
        scene.calm = false;
        note(shmq_unlink(scene.name), "unlink");
        break;
    case DIE: die(actor); break;
    case SEND: pass(actor, false); break;
    case RECV: pass(actor, true); break;
    case STAT: look_at_stat(actor); break;
    case REPLACE: interfere(true); break;
    case STALE: interfere(false); break;
    case STOP: stop_somebody(false); break;
    case GO_ON: stop_somebody(true); break;
    case CHANGE: change(take_byte(&input)); break;
    default: wrong(take_byte(&input) & 15); break;
    }
}

static void step(bool nested);

static void while_waiting(void) {
    const int waiting = scene.acting;
    if (input.left > 0) step(true);
    scene.acting = waiting;
}

static void step(bool nested) {
    const uint8_t byte = take_byte(&input), when = (byte & 0x40) != 0 ? take_byte(&input) : 0;
    const uint8_t error = (byte & 0x40) != 0 && when >= 192 ? take_byte(&input) : 0;
    const int32_t meanwhile = !nested && (byte & 0x80) != 0 ? take_byte(&input) : KERNEL_NEVER;
    const int actor = byte >> 4 & 3;
    if (scene.busy[actor]) return;
    kernel_begin(actor, side_of(actor));
    kernel.sleeps_allowed = SLEEPS;
    if (!nested && (byte & 0x40) != 0 && when < 192) kernel.kill_at = when;
    if (!nested && (byte & 0x40) != 0 && when >= 192) kernel.fail_at = when - 192;
    kernel.fail_error = ERRORS[error % (sizeof ERRORS / sizeof ERRORS[0])];
    kernel.act_at = meanwhile;
    kernel.killed = nested ? NULL : &killed;
    kernel.asleep = meanwhile >= 0 ? while_waiting : NULL;
    scene.acting = actor;
    scene.busy[actor] = true;
    act(actor, (byte & 15) % OPERATIONS);
    scene.busy[actor] = false;
    scene.calm &= !kernel.failed;
    scene.failed |= kernel.failed;
    if (!nested) check_name();
}

static void set_up(void) {
    const unsigned notify = take_byte(&input) % 7, flags = take_byte(&input) & 15;
    const uint8_t how = take_byte(&input);
    memset(&scene, 0, sizeof scene);
    scene.calm = true;
    scene.name = (how & 1) != 0 ? "./q" : "/q";
    scene.attr = (struct shmq_attr){.capacity = (size_t)PAGE << (how >> 2 & 3),
                                    .notify = notify,
                                    .flags = flags,
                                    .mode = (how & 2) != 0 ? 0666 : 0};
}

/* As anybody would who comes now and knows nothing of what has happened. */
static void newcomers_work(void) {
    static unsigned char message[PAGE << 3];
    shmq *consumer = NULL, *producer = NULL;
    const struct shmq_attr attr = {.mode = 0666, .capacity = PAGE, .notify = scene.attr.notify};
    kernel_begin(NEWCOMERS + 1, SHMQ_CONSUMER);
    fuzz_assert(shmq_open(&consumer, scene.name, SHMQ_CONSUMER, O_CREAT, &attr) == 0,
                "a newcomer can attach or create");
    kernel_begin(NEWCOMERS, SHMQ_PRODUCER);
    fuzz_assert(shmq_open(&producer, scene.name, SHMQ_PRODUCER, 0, &attr) == 0, "and another one");
    while (shmq_recv(consumer, message, sizeof message, 0) >= 0)
        ; /* what was left */
    fuzz_assert(errno == EAGAIN || errno == EPIPE || errno == EOWNERDEAD, "what was left is received");
    fuzz_assert(shmq_send(producer, "news", 4, 0) == 0, "a newcomer can send");
    fuzz_assert(shmq_recv(consumer, message, sizeof message, 0) == 4, "a newcomer can receive");
    kernel_begin(NEWCOMERS, SHMQ_PRODUCER);
    fuzz_assert(shmq_close(producer) == 0, "a newcomer can close");
    kernel_begin(NEWCOMERS + 1, SHMQ_CONSUMER);
    fuzz_assert(shmq_close(consumer) == 0, "and another one");
}

static void wind_up(bool all_die) {
    for (int actor = 0; actor < ACTORS; actor++) {
        kernel_begin(actor, side_of(actor));
        if (all_die) kernel_kill(actor), scene.end[actor] = NULL;
        close_end(actor);
    }
    fuzz_forget_others(NULL, 0);
    stop_somebody(true);
    fuzz_assert(kernel_held() == 0, "no descriptor, mapping or lock is left");
    check_name();
    if (scene.foreign) interfere(false);
    if (scene.changed) return; /* whoever puts his own in the place of doorbells keeps others away */
    newcomers_work();
    kernel_begin(0, 0);
    const int result = shmq_unlink(scene.name);
    fuzz_assert(result == 0 || errno == ENOENT, "a queue can be unlinked");
    fuzz_assert(kernel_held() == 0, "who unlinks holds nothing");
    if (!scene.failed) fuzz_assert(kernel_names() == 0, "nothing with a name outlives its queue");
}

static void bury(int actor) {
    scene.busy[actor] = false;
    die(actor);
    fuzz_forget_others(scene.end, ACTORS); /* one that was not open yet */
    check_name();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    fuzz_begin();
    set_up();
    for (volatile int count = 0; count < MAX_OPERATIONS && input.left > 0; count++) {
        if (setjmp(killed) == 0)
            step(false);
        else
            bury(scene.acting);
    }
    kernel.killed = NULL;
    kernel.asleep = NULL;
    wind_up(size % 2 == 0);
    return 0;
}
