/* Does the memory model allow and forbid what C11 does? The classic litmus tests, each with its barriers and without:
 * the outcomes that the exhaustive driver sees must be those of C11, no more and no fewer. */
#include "check.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"

enum { RESULTS = 4, OUTCOMES_MOST = 256 };

static const char RACE[] = "data race";

/* A program: what each thread does; RESULTS small numbers are its outcome, read as digits from the left. */
struct litmus {
    void (*thread[4])(void);
    unsigned digits;
    const char *outcomes; /* all of them, in order, with blanks between */
};

static const struct litmus *litmus;
static uint64_t result[RESULTS];
static bool seen[10000];

static const void *word(unsigned number) { return memory_bytes + 64 * (size_t)number; }

static uint64_t load(unsigned number, enum order order) { return memory_load(word(number), order, HERE); }

static void store(unsigned number, uint64_t value, enum order order) { memory_store(word(number), value, order, HERE); }

static void fence(enum order order) { memory_fence(order, HERE); }

static void begin(void) {
    memory_begin();
    memset(result, 0, sizeof result);
    for (unsigned at = 0; at < 4 && litmus->thread[at] != NULL; at++)
        (void)engine_spawn("thread", litmus->thread[at], false);
}

static bool idle(void) { return true; }

static void end(void) {
    unsigned outcome = 0;
    for (unsigned at = 0; at < litmus->digits; at++)
        outcome = 10 * outcome + (unsigned)result[at];
    seen[outcome] = true;
}

/* All runs of it; what was seen, as text. */
static const char *explore_at(const struct litmus *program, bool all_points) {
    static const struct script script = {.begin = begin, .idle = idle, .end = end};
    static char text[4 * OUTCOMES_MOST];
    struct driver driver = {.kind = DRIVE_EXHAUSTIVE, .bound = BOUND_MOST};
    litmus = program;
    engine.all_points = all_points;
    memset(seen, 0, sizeof seen);
    memory_clear();
    engine_restart();
    do
        if (!engine_run(&script, &driver))
            return strncmp(engine.message, RACE, sizeof RACE - 1) == 0 ? RACE : engine.message;
    while (engine_next());
    size_t length = 0;
    text[0] = '\0';
    for (unsigned outcome = 0; outcome < sizeof seen; outcome++)
        if (seen[outcome])
            length += (size_t)snprintf(text + length, sizeof text - length, "%s%0*u", length == 0 ? "" : " ",
                                       (int)program->digits, outcome);
    return text;
}

/* The same, with switches before all steps and with none before those that need none. */
static const char *explore(const struct litmus *program) {
    static char all[4 * OUTCOMES_MOST];
    (void)snprintf(all, sizeof all, "%s", explore_at(program, true));
    const char *few = explore_at(program, false);
    if (strcmp(all, few) != 0) check_fail(__FILE__, __LINE__, "saw %s, and with all switches %s", few, all);
    return few;
}

#define LITMUS(sentence, ...)                                                                                          \
    TEST(sentence) {                                                                                                   \
        const struct litmus program = {__VA_ARGS__};                                                                   \
        const char *outcomes = explore(&program);                                                                      \
        if (strcmp(outcomes, program.outcomes) != 0)                                                                   \
            check_fail(__FILE__, __LINE__, "saw %s and not %s", outcomes, program.outcomes);                           \
    }

/* Threads by what they do. W: store, R: load, F: fence; then the word; then the order, or nothing if it is relaxed. */
static void w0_r1(void) {
    store(0, 1, RELAXED);
    result[0] = load(1, RELAXED);
}
static void w1_r0(void) {
    store(1, 1, RELAXED);
    result[1] = load(0, RELAXED);
}
static void w0rel_r1acq(void) {
    store(0, 1, RELEASE);
    result[0] = load(1, ACQUIRE);
}
static void w1rel_r0acq(void) {
    store(1, 1, RELEASE);
    result[1] = load(0, ACQUIRE);
}
static void w0_f_r1(void) {
    store(0, 1, RELAXED);
    fence(SEQ_CST);
    result[0] = load(1, RELAXED);
}
static void w1_f_r0(void) {
    store(1, 1, RELAXED);
    fence(SEQ_CST);
    result[1] = load(0, RELAXED);
}
static void w1_far_r0(void) {
    store(1, 1, RELAXED);
    fence(ACQ_REL);
    result[1] = load(0, RELAXED);
}

LITMUS(store_buffering_relaxed, {w0_r1, w1_r0}, 2, "00 01 10 11")
LITMUS(store_buffering_with_release_and_acquire, {w0rel_r1acq, w1rel_r0acq}, 2, "00 01 10 11")
LITMUS(store_buffering_with_barriers, {w0_f_r1, w1_f_r0}, 2, "01 10 11")
LITMUS(store_buffering_with_one_barrier_only, {w0_f_r1, w1_r0}, 2, "00 01 10 11")
LITMUS(store_buffering_with_one_barrier_weakened, {w0_f_r1, w1_far_r0}, 2, "00 01 10 11")

static void w1_everywhere_r0(void) {
    store(1, 1, RELAXED);
    memory_fence_everywhere(HERE);
    result[1] = load(0, RELAXED);
}

static void r0_w1(void) {
    result[0] = load(0, RELAXED);
    store(1, 1, RELAXED);
}
static void w0_everywhere_r1(void) {
    store(0, 1, RELAXED);
    memory_fence_everywhere(HERE);
    result[1] = load(1, RELAXED);
}

LITMUS(a_barrier_everywhere_may_come_before_a_store, {r0_w1, w0_everywhere_r1}, 2, "00 01 10 11")
LITMUS(store_buffering_with_one_barrier_everywhere, {w0_r1, w1_everywhere_r0}, 2, "01 10 11")

static void w0_w1(void) {
    store(0, 1, RELAXED);
    store(1, 1, RELAXED);
}
static void w0_w1rel(void) {
    store(0, 1, RELAXED);
    store(1, 1, RELEASE);
}
static void w0_frel_w1(void) {
    store(0, 1, RELAXED);
    fence(RELEASE);
    store(1, 1, RELAXED);
}
static void r1_r0(void) {
    result[0] = load(1, RELAXED);
    result[1] = load(0, RELAXED);
}
static void r1acq_r0(void) {
    result[0] = load(1, ACQUIRE);
    result[1] = load(0, RELAXED);
}
static void r1_facq_r0(void) {
    result[0] = load(1, RELAXED);
    fence(ACQUIRE);
    result[1] = load(0, RELAXED);
}

LITMUS(message_passing_relaxed, {w0_w1, r1_r0}, 2, "00 01 10 11")
LITMUS(message_passing_with_release_and_acquire, {w0_w1rel, r1acq_r0}, 2, "00 01 11")
LITMUS(message_passing_without_the_acquire, {w0_w1rel, r1_r0}, 2, "00 01 10 11")
LITMUS(message_passing_without_the_release, {w0_w1, r1acq_r0}, 2, "00 01 10 11")
LITMUS(message_passing_with_fences, {w0_frel_w1, r1_facq_r0}, 2, "00 01 11")
LITMUS(message_passing_without_the_release_fence, {w0_w1, r1_facq_r0}, 2, "00 01 10 11")
LITMUS(message_passing_without_the_acquire_fence, {w0_frel_w1, r1_r0}, 2, "00 01 10 11")
LITMUS(message_passing_from_fence_to_acquire, {w0_frel_w1, r1acq_r0}, 2, "00 01 11")

static void w0(void) { store(0, 1, RELAXED); }
static void w1(void) { store(1, 1, RELAXED); }
static void w0rel(void) { store(0, 1, RELEASE); }
static void w1rel(void) { store(1, 1, RELEASE); }
static void read_two(unsigned first, unsigned second, unsigned at, enum order order, bool fenced) {
    result[at] = load(first, order);
    if (fenced) fence(SEQ_CST);
    result[at + 1] = load(second, order);
}
static void r0_r1(void) { read_two(0, 1, 0, RELAXED, false); }
static void r1_r0_second(void) { read_two(1, 0, 2, RELAXED, false); }
static void r0acq_r1acq(void) { read_two(0, 1, 0, ACQUIRE, false); }
static void r1acq_r0acq_second(void) { read_two(1, 0, 2, ACQUIRE, false); }
static void r0_f_r1(void) { read_two(0, 1, 0, RELAXED, true); }
static void r1_f_r0_second(void) { read_two(1, 0, 2, RELAXED, true); }

#define ALL_BUT_1010 "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1011 1100 1101 1110 1111"
#define ALL_OF_IRIW  "0000 0001 0010 0011 0100 0101 0110 0111 1000 1001 1010 1011 1100 1101 1110 1111"

LITMUS(iriw_relaxed, {w0, w1, r0_r1, r1_r0_second}, 4, ALL_OF_IRIW)
LITMUS(iriw_with_release_and_acquire, {w0rel, w1rel, r0acq_r1acq, r1acq_r0acq_second}, 4, ALL_OF_IRIW)
LITMUS(iriw_with_barriers, {w0, w1, r0_f_r1, r1_f_r0_second}, 4, ALL_BUT_1010)
LITMUS(iriw_with_one_barrier, {w0, w1, r0_f_r1, r1_r0_second}, 4, ALL_OF_IRIW)

static void w0_1_2(void) {
    store(0, 1, RELAXED);
    store(0, 2, RELAXED);
}
static void r0_r0(void) { read_two(0, 0, 0, RELAXED, false); }
static void r0_r0_second(void) { read_two(0, 0, 2, RELAXED, false); }
static void w0_2(void) { store(0, 2, RELAXED); }

LITMUS(reads_of_one_word_go_forward, {w0_1_2, r0_r0}, 2, "00 01 02 11 12 22")
/* Two writers: both readers see one and the same order. 1221 and 2112 are missing. */
LITMUS(reads_of_one_word_agree_on_its_order, {w0, w0_2, r0_r0, r0_r0_second}, 4,
       "0000 0001 0002 0011 0012 0021 0022 0100 0101 0102 0111 0112 0121 0122 0200 0201 0202 0211 0212 0221 0222 "
       "1100 1101 1102 1111 1112 1121 1122 1200 1201 1202 1211 1212 1222 2100 2101 2102 2111 2121 2122 2200 2201 "
       "2202 2211 2212 2221 2222")

static void w0_r0(void) {
    store(0, 1, RELAXED);
    result[0] = load(0, RELAXED);
}
static void w0_2_r0(void) {
    store(0, 2, RELAXED);
    result[1] = load(0, RELAXED);
}
LITMUS(who_wrote_reads_that_or_what_replaced_it, {w0_r0, w0_2_r0}, 2, "11 12 22")

static void w0_w1_2(void) {
    store(0, 1, RELAXED);
    store(1, 2, RELAXED);
}
static void w1_w0_2(void) {
    store(1, 1, RELAXED);
    store(0, 2, RELAXED);
}
static void look_at_the_end(void) {
    result[0] = memory_newest(word(0));
    result[1] = memory_newest(word(1));
}
static void w0_w1_2_end(void) {
    w0_w1_2();
    look_at_the_end();
}
static void w1_w0_2_end(void) {
    w1_w0_2();
    look_at_the_end();
}
/* 2+2W: modification order need not be the order of execution. Whoever ends last looks. */
LITMUS(two_writers_may_each_lose_relaxed, {w0_w1_2_end, w1_w0_2_end}, 2, "11 12 21 22")

static void w0_w1rel_w1_2(void) {
    store(0, 1, RELAXED);
    store(1, 1, RELEASE);
    store(1, 2, RELAXED);
}
static void w0_add1rel(void) {
    store(0, 1, RELAXED);
    (void)memory_add(word(1), 1, RELEASE, HERE);
}
static void add1(void) { (void)memory_add(word(1), 1, RELAXED, HERE); }
static void swap1(void) {
    if (load(1, RELAXED) == 1) (void)memory_swap(word(1), 1, 2, RELAXED, HERE);
}

/* A read-modify-write hands on what it replaced; a plain store of the same thread does not (C++20; C11 still did). */
LITMUS(release_sequence_goes_on_through_an_update, {w0_w1rel, swap1, r1acq_r0}, 2, "00 01 11 21")
LITMUS(release_sequence_without_its_release, {w0_w1, swap1, r1acq_r0}, 2, "00 01 10 11 20 21")
LITMUS(release_sequence_ends_with_a_plain_store, {w0_w1rel_w1_2, r1acq_r0}, 2, "00 01 11 20 21")
LITMUS(release_sequence_through_an_update_before, {w0_add1rel, add1, r1acq_r0}, 2, "00 01 10 11 21")

static void add1_result(void) { result[0] = memory_add(word(1), 1, RELAXED, HERE); }
static void add1_result_second(void) { result[1] = memory_add(word(1), 1, RELAXED, HERE); }
LITMUS(updates_are_atomic, {add1_result, add1_result_second}, 2, "01 10")

/* Plain words. */
static void plain_write_release(void) {
    const uint64_t value = 1;
    memory_copy_in(memory_bytes + 1024, &value, 8, HERE);
    store(1, 1, RELEASE);
}
static void plain_write_relaxed(void) {
    const uint64_t value = 1;
    memory_copy_in(memory_bytes + 1024, &value, 8, HERE);
    store(1, 1, RELAXED);
}
static void plain_read(void) {
    if (load(1, ACQUIRE) == 1) memory_copy_out(&result[0], memory_bytes + 1024, 8, HERE);
}
static void plain_read_relaxed(void) {
    if (load(1, RELAXED) == 1) memory_copy_out(&result[0], memory_bytes + 1024, 8, HERE);
}
static void plain_read_first(enum order order) {
    memory_copy_out(&result[0], memory_bytes + 1024, 8, HERE);
    store(1, 1, order);
}
static void plain_read_first_release(void) { plain_read_first(RELEASE); }
static void plain_read_first_relaxed(void) { plain_read_first(RELAXED); }
static void plain_write_later(void) {
    const uint64_t value = 1;
    if (load(1, ACQUIRE) == 1) memory_copy_in(memory_bytes + 1024, &value, 8, HERE);
}

LITMUS(plain_words_that_are_ordered_do_not_race, {plain_write_release, plain_read}, 1, "0 1")
LITMUS(plain_words_race_without_the_release, {plain_write_relaxed, plain_read}, 1, RACE)
LITMUS(plain_words_race_without_the_acquire, {plain_write_release, plain_read_relaxed}, 1, RACE)
LITMUS(plain_words_may_be_written_after_a_reader_gave_them_back, {plain_read_first_release, plain_write_later}, 1, "0")
LITMUS(plain_words_race_with_a_reader_who_did_not, {plain_read_first_relaxed, plain_write_later}, 1, RACE)

int main(int argc, char **argv) { return check_main(argc, argv); }
