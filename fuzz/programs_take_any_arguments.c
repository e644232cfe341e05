/* producer, consumer and shmqctl take any arguments and any standard input, whatever stands under the names that they
 * are given: they end, with an exit status of their manual, and leave nothing open. Their waits are a signal's to end.
 *
 *     1 byte   bits 0-1 which program; bit 2 its streams are a terminal; bits 3-4 the queue /shmq is there, and so is
 *              its other end: 0 neither, 1 messages were left in it, 2 with a consumer, 3 a producer; bit 5 it has
 *              checksums and many ends; bit 6 its words are struck first; bit 7 a call to the system fails
 *     1 byte   the notifier, modulo 7
 *     of bit 6: 1 byte which page, 1 byte which word, number; of bit 7: 1 byte which call
 *     1 byte   how many arguments; each ends with a zero
 *     the rest is standard input
 *
 * A tenth of the speed of an empty target cannot be had: a producer's buffer for lines alone is 128 KiB that a
 * sanitizer marks twice. */
#include "support.h"

#include <fcntl.h>
#include <string.h>

#include "programs.h"
#include "stop.h"

enum { PROGRAM, PEER, MAKER, ARGUMENTS = 12, LONGEST = 300, SLEEPS = 30, ACTS_MOST = 100, PAGE = 4096 };
enum state { ABSENT, LEFT, CONSUMED, PRODUCED };

static struct bytes input;
static shmq *peer;
static unsigned acts; /* of the peer's */

/* The programs' own is only set by signals. */
int stop_signal(void) { return kernel.stopped; }

/* The other end goes on while the program waits; not for ever, for some programs follow it for as long. */
static void peer_acts(void) {
    static char message[PAGE];
    if (acts++ > ACTS_MOST) return;
    kernel_begin(PEER, (int)peer->end);
    if (peer->end == SHMQ_CONSUMER)
        (void)shmq_recv(peer, message, sizeof message, 0);
    else if (kernel.now_ns % 3 == 0)
        (void)shmq_send(peer, "more", 4, 0);
    (*fuzz_operations)++;
}

static void make_queue(enum state state, unsigned notify, unsigned flags) {
    shmq *maker;
    const struct shmq_attr attr = {.capacity = PAGE, .notify = notify, .flags = flags};
    kernel_begin(MAKER, SHMQ_PRODUCER);
    if (shmq_open(&maker, "/shmq", SHMQ_PRODUCER, O_CREAT, &attr) != 0) fuzz_fail("errno %d: no new queue", errno);
    for (int length = 0; length < 3; length++)
        (void)shmq_send(maker, "abc", (size_t)length, 0);
    (void)shmq_close(maker);
    if (state == LEFT) return;
    const enum shmq_end end = state == CONSUMED ? SHMQ_CONSUMER : SHMQ_PRODUCER;
    kernel_begin(PEER, (int)end);
    if (shmq_open(&peer, "/shmq", end, 0, NULL) != 0) fuzz_fail("errno %d: a queue cannot be used", errno);
}

static void strike(void) {
    size_t size = 0;
    unsigned char *base = kernel_bytes("shmq", &size);
    const size_t at = (size_t)(take_byte(&input) % 5) * PAGE;
    const size_t offset = at + 4 * (size_t)take_byte(&input);
    const uint64_t number = take_number(&input);
    if (base != NULL && offset + sizeof number <= size) memcpy(base + offset, &number, sizeof number);
}

/* Into argv, as a shell would. */
static int take_arguments(char *argv[ARGUMENTS + 2], const char *program) {
    static char text[ARGUMENTS + 1][LONGEST + 1];
    int argc = take_byte(&input) % (ARGUMENTS + 1) + 1;
    (void)snprintf(text[0], sizeof text[0], "%s", program);
    for (int at = 1; at < argc; at++) {
        size_t length = 0;
        for (uint8_t byte; input.left > 0 && (byte = take_byte(&input)) != 0;)
            if (length < LONGEST) text[at][length++] = (char)byte;
        text[at][length] = '\0';
    }
    for (int at = 0; at < argc; at++)
        argv[at] = text[at];
    argv[argc] = NULL;
    return argc;
}

static void check_status(unsigned which, int status) {
    const int most = which == 2 ? STATUS_USAGE : STATUS_DAMAGE;
    const bool stopped =
        status == STATUS_SIGNAL + SIGINT || status == STATUS_SIGNAL + SIGPIPE || status == STATUS_SIGNAL;
    if ((status < 0 || status > most) && !stopped) fuzz_fail("exit status %d is not in the manual", status);
    if (stopped && kernel.stopped == 0 && !kernel.failed) fuzz_fail("exit status %d without a signal", status);
}

static void run(unsigned which, int failing_call, bool terminal) {
    static int (*const runs[])(int, char **, const struct streams *) = {producer_run, consumer_run, shmqctl_run};
    static const char *const names[] = {"producer", "consumer", "shmqctl"};
    static const struct streams io = {KERNEL_INPUT, KERNEL_INPUT + 1, KERNEL_INPUT + 2};
    char *argv[ARGUMENTS + 2];
    const int argc = take_arguments(argv, names[which]);
    kernel_begin(PROGRAM, which == 0 ? SHMQ_PRODUCER : SHMQ_CONSUMER);
    kernel.fail_at = failing_call;
    kernel.sleeps_allowed = SLEEPS;
    kernel.terminal = terminal;
    kernel.asleep = peer == NULL ? NULL : peer_acts;
    kernel.input = input.at;
    kernel.input_bytes = input.left;
    check_status(which, runs[which](argc, argv, &io));
    (*fuzz_operations)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = (struct bytes){data, size};
    peer = NULL;
    acts = 0;
    fuzz_begin();
    const uint8_t kind = take_byte(&input);
    const unsigned notify = take_byte(&input) % 7;
    const enum state state = kind >> 3 & 3;
    const unsigned flags = (kind & 0x20) != 0 ? SHMQ_CHECKSUM | SHMQ_MANY_PRODUCERS | SHMQ_MANY_CONSUMERS : 0;
    if (state != ABSENT) make_queue(state, notify, flags);
    if ((kind & 0x40) != 0) strike();
    const int failing_call = (kind & 0x80) != 0 ? take_byte(&input) : KERNEL_NEVER;
    run((kind & 3) % 3, failing_call, (kind & 4) != 0);
    if (peer != NULL) {
        kernel_begin(PEER, (int)peer->end);
        (void)shmq_close(peer);
    }
    fuzz_assert(kernel_held() == 0, "a program that has ended holds nothing");
    return 0;
}
