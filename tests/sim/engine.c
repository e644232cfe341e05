/* See engine.h. In order: switching stacks; choices; states seen; scheduling; runs. */
#include "engine.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"

enum {
    STACK_BYTES = 64 << 10,
    CHOICES_MOST = 1 << 15,
    STEPS_MOST = 20000,
    TABLE_FIRST = 1 << 16 /* states; grows */
};

struct engine engine;

static struct {
    const struct script *script;
    struct driver *driver;
    void *main_stack;
    unsigned bound_left;
    uint64_t random;
    uint8_t likely[CHOICE_KINDS]; /* of 256: how often the random driver does not answer 0 */
    bool cut;
} run;

static struct {
    struct {
        uint16_t count, taken;
    } list[CHOICES_MOST];
    unsigned used, known;
} choices;

/* A set of states. The low bits of a slot are free for a remark. */
struct states {
    uint64_t *slots, size, count;
};

static struct {
    struct states points, ends;
    bool bounded;
} seen;

/* ---- Switching stacks ------------------------------------------------------------------------------------------ */

static _Alignas(64) unsigned char stacks[ACTORS_MOST + 1][STACK_BYTES];

#if defined(__x86_64__)

/* Saves what a function must preserve, and goes on where `to` left off. */
void engine_switch(void **from, void *to);
__asm__(".text\n"
        ".globl engine_switch\n"
        ".type engine_switch, @function\n"
        "engine_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size engine_switch, .-engine_switch\n");

/* A stack whose first switch enters `entry`. */
static void *fresh_stack(unsigned slot, void (*entry)(void)) {
    void **top = (void **)(void *)(stacks[slot] + STACK_BYTES);
    *--top = NULL; /* where entry() would return to, and so the stack is aligned as after a call */
    *--top = (void *)(uintptr_t)entry;
    for (int saved = 0; saved < 6; saved++)
        *--top = NULL;
    return top;
}

#else
#include <ucontext.h>

static ucontext_t contexts[ACTORS_MOST + 2], *running;

static void engine_switch(void **from, void *to) {
    ucontext_t *own = running == NULL ? &contexts[ACTORS_MOST + 1] : running;
    *from = own;
    running = to;
    (void)swapcontext(own, to);
}

static void *fresh_stack(unsigned slot, void (*entry)(void)) {
    ucontext_t *context = &contexts[slot];
    (void)getcontext(context);
    context->uc_stack.ss_sp = stacks[slot];
    context->uc_stack.ss_size = STACK_BYTES;
    makecontext(context, entry, 0);
    return context;
}

#endif

/* Back to engine_run, for good. */
_Noreturn static void leave_run(void) {
    void *nowhere;
    engine_switch(&nowhere, run.main_stack);
    abort();
}

void engine_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(engine.message, sizeof engine.message, format, arguments);
    va_end(arguments);
    engine.failed = true;
    leave_run();
}

/* ---- Choices --------------------------------------------------------------------------------------------------- */

static unsigned fresh_choice(unsigned count, enum choice kind) {
    struct driver *driver = run.driver;
    if (driver->again) return 0;
    if (driver->kind == DRIVE_RANDOM) {
        const uint64_t number = random_of(&run.random);
        if ((number & 255) >= run.likely[kind]) return 0;
        return 1 + (unsigned)((number >> 32) % (count - 1));
    }
    if (driver->kind != DRIVE_BYTES || driver->bytes_left == 0) return 0;
    driver->bytes_left--;
    return *driver->bytes++ % count;
}

/* Only the first answer is left. */
static bool is_bounded(void) {
    if (run.bound_left > 0) return false;
    seen.bounded = true;
    return true;
}

unsigned engine_choose(unsigned count, enum choice kind) {
    if (count <= 1 || (kind == CHOOSE_VALUE && is_bounded())) return 0;
    if (choices.used == CHOICES_MOST) engine_fail("more than %d choices in one run", CHOICES_MOST);
    const unsigned at = choices.used++;
    if (at >= choices.known) {
        choices.list[at].taken = (uint16_t)fresh_choice(count, kind);
        choices.known = choices.used;
    } else if (choices.list[at].taken >= count || (choices.list[at].count != 0 && choices.list[at].count != count)) {
        engine_fail("the same choices lead elsewhere: choice %u has %u answers now, and had %u", at, count,
                    choices.list[at].count);
    }
    choices.list[at].count = (uint16_t)count;
    run.bound_left -= kind == CHOOSE_VALUE && choices.list[at].taken > 0;
    return choices.list[at].taken;
}

bool engine_next(void) {
    unsigned last = choices.used;
    while (last > 0 && choices.list[last - 1].taken + 1 >= choices.list[last - 1].count)
        last--;
    choices.known = last;
    if (last == 0) return false;
    choices.list[last - 1].taken++;
    return true;
}

void engine_print_choices(FILE *to) {
    if (run.driver->kind == DRIVE_EXHAUSTIVE)
        (void)fprintf(to, "x%u", run.driver->bound);
    else
        (void)fputs("c", to);
    for (unsigned at = 0; at < choices.used; at++)
        if (choices.list[at].taken != 0) (void)fprintf(to, ",%u:%u", at, choices.list[at].taken);
}

bool engine_parse_choices(const char *text, struct driver *driver) {
    memset(&choices, 0, sizeof choices);
    driver->again = true;
    driver->kind = *text == 'x' ? DRIVE_EXHAUSTIVE : DRIVE_BYTES;
    char *end = (char *)(uintptr_t)text + 1;
    if (*text == 'x') driver->bound = (unsigned)strtoul(text + 1, &end, 10);
    while (*end == ',') {
        const unsigned long at = strtoul(end + 1, &end, 10);
        if (*end != ':' || at >= CHOICES_MOST) return false;
        choices.list[at].taken = (uint16_t)strtoul(end + 1, &end, 10);
        choices.known = (unsigned)at + 1;
    }
    return (*text == 'x' || *text == 'c') && *end == '\0';
}

/* ---- States seen ----------------------------------------------------------------------------------------------- */

static uint64_t state_now(void) {
    uint64_t hash = engine.objects + engine.current + ((uint64_t)engine.kills_left << 8) +
                    ((uint64_t)engine.quirks_left << 16) + engine_hash(0, (uint64_t)engine.now_ns);
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        const struct actor *actor = &engine.actor[at];
        if (actor->state == ABSENT) continue;
        hash = engine_hash(hash, actor->history + ((uint64_t)actor->state << 60));
        if (actor->state == READY) hash += actor->timed_out; /* which it has not learned yet */
    }
    if (run.script->digest != NULL) hash = engine_hash(hash, run.script->digest());
    return hash | (BOUND_MOST + 1); /* not 0 */
}

/* Where a state is, or where it could be put. */
static uint64_t *slot_of(const struct states *states, uint64_t state) {
    uint64_t at = engine_hash(state, 0) & (states->size - 1);
    while (states->slots[at] != 0 && ((states->slots[at] ^ state) & ~(uint64_t)BOUND_MOST) != 0)
        at = (at + 1) & (states->size - 1);
    return &states->slots[at];
}

static void grow(struct states *states) {
    const struct states old = *states;
    states->size = old.size == 0 ? TABLE_FIRST : 2 * old.size;
    states->slots = calloc(states->size, sizeof *states->slots);
    if (states->slots == NULL) engine_fail("no memory for %llu states", (unsigned long long)states->size);
    for (uint64_t at = 0; at < old.size; at++)
        if (old.slots[at] != 0) *slot_of(states, old.slots[at]) = old.slots[at];
    free(old.slots);
}

/* The slot of this state, which is 0 if it is new. */
static uint64_t *find_state(struct states *states, uint64_t state) {
    if (4 * states->count >= 3 * states->size) grow(states);
    uint64_t *slot = slot_of(states, state);
    states->count += *slot == 0;
    return slot;
}

/* Whether all that can follow from here has been, or is being, followed already: with as much of the bound left, which the
 * low bits of a slot say. */
static bool is_known(uint64_t state) {
    uint64_t *slot = find_state(&seen.points, state);
    if (*slot != 0 && (*slot & BOUND_MOST) >= run.bound_left) return true;
    *slot = (state & ~(uint64_t)BOUND_MOST) | run.bound_left;
    return false;
}

static void note_end(uint64_t state) { *find_state(&seen.ends, state) = state; }

uint64_t engine_states(void) { return seen.points.count; }

uint64_t engine_ends(void) { return seen.ends.count; }

bool engine_was_bounded(void) { return seen.bounded; }

void engine_restart(void) {
    free(seen.points.slots);
    free(seen.ends.slots);
    memset(&seen, 0, sizeof seen);
    choices.used = choices.known = 0;
}

/* ---- Scheduling ------------------------------------------------------------------------------------------------ */

static void go_to(unsigned next) {
    struct actor *self = engine_self(), *other = &engine.actor[next];
    if (other == self) return;
    engine.current = next;
    self->error = errno;
    engine_switch(&self->stack_pointer, other->stack_pointer);
    errno = self->error;
}

static void get_up(struct actor *actor, bool timed_out) {
    actor->state = READY;
    actor->timed_out = timed_out;
}

static void kill_actor(unsigned victim) {
    struct actor *actor = &engine.actor[victim];
    engine.kills_left--;
    actor->state = DEAD;
    if (engine.trace) engine_tell(NULL, "---- %s is killed ----", actor->name);
    if (run.script->died != NULL) run.script->died(victim);
}

/* Somebody among these may die now. */
static void offer_death(const unsigned *victims, unsigned count) {
    const unsigned choice = engine_choose(count + 1, CHOOSE_DEATH);
    if (choice > 0) kill_actor(victims[choice - 1]);
}

/* All sleep: lets time pass for whoever has to wait least. */
static void pass_time(void) {
    unsigned victims[ACTORS_MOST], count = 0;
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if (engine.actor[at].state == ASLEEP && engine.actor[at].mortal) victims[count++] = at;
    if (engine.kills_left > 0) {
        const unsigned before = engine.kills_left;
        offer_death(victims, count);
        if (engine.kills_left != before) return; /* that may have woken somebody, or brought somebody new */
    }
    if (run.script->idle()) leave_run();
    struct actor *first = NULL;
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        struct actor *actor = &engine.actor[at];
        if (actor->state == ASLEEP && (first == NULL || actor->until_ns < first->until_ns)) first = actor;
    }
    if (first == NULL) leave_run();
    if (first->until_ns == INT64_MAX) engine_fail("all sleep for ever");
    if (first->until_ns > engine.now_ns) engine.now_ns = first->until_ns;
    if (engine.trace) engine_tell(NULL, "---- all sleep; %s has waited long enough ----", first->name);
    get_up(first, true);
}

/* Those who may go on: the current one first. With quirks left, sleepers too whose time may run out early. */
static unsigned candidates(unsigned *list, unsigned *ready) {
    unsigned count = 0;
    if (engine_self()->state == READY) list[count++] = engine.current;
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if (at != engine.current && engine.actor[at].state == READY) list[count++] = at;
    *ready = count;
    for (unsigned at = 0; at < ACTORS_MOST && count > 0 && engine.quirks_left > 0; at++)
        if (engine.actor[at].state == ASLEEP && engine.actor[at].until_ns != INT64_MAX) list[count++] = at;
    return count;
}

/* Somebody else's turn, perhaps; ours again when this returns. */
static void schedule(void) {
    unsigned list[ACTORS_MOST], ready, count;
    while ((count = candidates(list, &ready)) == 0)
        pass_time();
    if (count > 1 && run.driver->kind == DRIVE_EXHAUSTIVE) {
        if (list[0] == engine.current && is_bounded()) return;
        const bool is_fresh = !run.driver->again && choices.used >= choices.known;
        if (is_fresh && !run.driver->uncut && is_known(state_now())) run.cut = true, leave_run();
    }
    const unsigned choice = engine_choose(count, CHOOSE_ACTOR);
    run.bound_left -= choice > 0 && list[0] == engine.current;
    if (choice >= ready) {
        struct actor *late = &engine.actor[list[choice]];
        engine.quirks_left--;
        if (late->until_ns > engine.now_ns) engine.now_ns = late->until_ns;
        get_up(late, true);
    }
    go_to(list[choice]);
}

void engine_point(const struct place *place, unsigned kind) {
    if (++engine.steps > STEPS_MOST) engine_fail("no end after %d steps", STEPS_MOST);
    if (run.script->look != NULL) run.script->look();
    const bool few = run.driver->kind == DRIVE_EXHAUSTIVE && !engine.all_points;
    if (!few || (kind & LOCAL) == 0) schedule();
    engine_learn(place == NULL ? 0
                               : (uint64_t)place->line); /* so that a step is never mistaken for the state before it */
    if (few && (kind & UNSEEN) != 0) kind = QUIET;
    if (engine.kills_left == 0 || (kind & (EFFECT | WITNESS)) == 0) return;
    unsigned victims[ACTORS_MOST], count = 0;
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        const struct actor *actor = &engine.actor[at];
        if (!actor->mortal || (actor->state != READY && actor->state != ASLEEP)) continue;
        if ((kind & (at == engine.current ? EFFECT : WITNESS)) != 0) victims[count++] = at;
    }
    offer_death(victims, count);
    if (engine_self()->state == DEAD) schedule();
}

bool engine_sleep(const void *on, int64_t until_ns, enum sleep sleep) {
    struct actor *self = engine_self();
    self->state = ASLEEP;
    self->sleep = sleep;
    self->on = on;
    self->until_ns = until_ns;
    schedule();
    engine_learn(self->timed_out);
    return !self->timed_out;
}

void engine_wake(const void *on, unsigned most) {
    for (; most > 0; most--) {
        unsigned sleepers[ACTORS_MOST], count = 0;
        for (unsigned at = 0; at < ACTORS_MOST; at++)
            if (engine.actor[at].state == ASLEEP && engine.actor[at].on == on) sleepers[count++] = at;
        if (count == 0) return;
        get_up(&engine.actor[sleepers[count <= most ? 0 : engine_choose(count, CHOOSE_OTHER)]], false);
    }
}

void engine_changed(void) {
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        if (engine.actor[at].state == ASLEEP && engine.actor[at].sleep == SLEEP_YIELD) get_up(&engine.actor[at], false);
}

/* ---- Runs ------------------------------------------------------------------------------------------------------ */

static void start(void) {
    engine_self()->body();
    engine_self()->state = OVER;
    schedule();
    abort(); /* nobody goes on with one that is over */
}

unsigned engine_spawn(const char *name, void (*body)(void), bool mortal) {
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        struct actor *actor = &engine.actor[at];
        if (actor->state != ABSENT) continue;
        *actor = (struct actor){.state = READY, .name = name, .body = body, .mortal = mortal, .history = at + 1};
        actor->stack_pointer = fresh_stack(at, start);
        return at;
    }
    engine_fail("more than %d actors", ACTORS_MOST);
}

/* Each seed has habits of its own: now many switches and now few, old values often or never. */
static void take_habits(uint64_t seed) {
    static const uint8_t switches[] = {8, 24, 64, 128}, deaths[] = {2, 4, 8, 16}, values[] = {0, 32, 96, 160};
    run.random = seed;
    const uint64_t habits = random_of(&run.random);
    run.likely[CHOOSE_ACTOR] = switches[habits % 4];
    run.likely[CHOOSE_DEATH] = deaths[habits / 4 % 4];
    run.likely[CHOOSE_VALUE] = values[habits / 16 % 4];
    run.likely[CHOOSE_OTHER] = 64;
}

static void reset(const struct script *script, struct driver *driver) {
    run.script = script;
    run.driver = driver;
    run.bound_left = driver->kind == DRIVE_EXHAUSTIVE ? driver->bound : UINT32_MAX;
    run.cut = false;
    for (unsigned at = 0; at < ACTORS_MOST; at++)
        engine.actor[at].state = ABSENT;
    engine.current = 0;
    engine.now_ns = 1000000000;
    engine.objects = 0;
    engine.kills_left = script->kills;
    engine.quirks_left = script->quirks;
    engine.steps = 0;
    engine.trace = driver->trace;
    engine.failed = false;
    if (driver->again && choices.used > choices.known) choices.known = choices.used;
    if (driver->kind != DRIVE_EXHAUSTIVE && !driver->again) choices.known = 0;
    choices.used = 0;
    if (driver->kind == DRIVE_RANDOM) take_habits(driver->seed);
}

/* On a stack of its own as well, so that a failure can leave from anywhere. */
static void begin(void) {
    run.script->begin();
    engine.current = 0;
    unsigned list[ACTORS_MOST], ready;
    const unsigned count = candidates(list, &ready);
    const unsigned first = list[engine_choose(count, CHOOSE_ACTOR)];
    void *nowhere;
    engine.current = first;
    engine_switch(&nowhere, engine.actor[first].stack_pointer);
    abort();
}

static void end(void) {
    run.script->end();
    leave_run();
}

/* Runs `body` beside all actors, until something leaves the run. */
static void run_beside(void (*body)(void)) { engine_switch(&run.main_stack, fresh_stack(ACTORS_MOST, body)); }

bool engine_run(const struct script *script, struct driver *driver) {
    const int error = errno;
    reset(script, driver);
    run_beside(begin);
    if (!engine.failed && !run.cut) run_beside(end);
    if (!engine.failed && !run.cut && driver->kind == DRIVE_EXHAUSTIVE && !driver->again) note_end(state_now());
    errno = error;
    return !engine.failed;
}

void engine_tell(const struct place *place, const char *format, ...) {
    va_list arguments;
    char where[64] = "";
    if (place != NULL) (void)snprintf(where, sizeof where, "%s:%d %s", place->file, place->line, place->function);
    (void)printf("%5u  %-10s %-40s ", engine.steps, place == NULL ? "" : engine_self()->name, where);
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
}
