/* See memory.h. */
#include "memory.h"

#include <string.h>

enum {
    CLOCKS = ACTORS_MOST,     /* the first entries of a view */
    STORES_MOST = 256,        /* of one location in one run */
    VIEWS_MOST = 2048,        /* in one run */
    GAP = 1 << 16,            /* in time, between two stores, for others to come between */
    NOBODY = ACTORS_MOST,     /* made what was there at the beginning */
    WORDS = MEMORY_BYTES / 8, /* of all memory */
    UNKNOWN = 0,
    CONSTANT = 255, /* in location_of */
};

struct store {
    uint64_t value, id;
    const struct view *released; /* NULL: nothing comes with it */
    const struct place *place;
    int32_t time, clock; /* in modification order; its maker's own */
    uint32_t step;
    uint8_t writer;
    bool joined; /* to the store before it: this is a read-modify-write */
};

struct location {
    struct store *history; /* in modification order */
    uint32_t stores;
    const void *word;
    uint64_t id;
    bool plain, touched;
    int32_t settled;                /* nobody sees older stores any more */
    uint8_t old_reads[ACTORS_MOST]; /* in a row, of the same old store */
    int32_t last_read[ACTORS_MOST]; /* time of the store; plain: clock of the reader, 0 never */
};

/* What an actor has seen; what it would see after an acquire fence; what its stores carry since its last release
 * fence. */
struct thread {
    struct view now, pending, fenced;
    bool has_pending, has_fenced;
};

_Alignas(4096) unsigned char memory_bytes[MEMORY_BYTES];

static struct {
    uint8_t location_of[WORDS];
    bool is_plain[WORDS];
    uintptr_t mirror, mirror_bytes; /* the second copy of the ring starts there */
    const char *(*name_of)(const void *word);
    bool (*is_own)(const void *word);
    unsigned width; /* of views: clocks and known locations, a multiple of 8 */
    unsigned locations;
    struct location location[LOCATIONS_MOST];
    struct thread thread[ACTORS_MOST + 1];
    struct view fences; /* what seq_cst fences hand on */
    uint64_t fences_id, settled_id;
    unsigned views;
} memory;

static struct view views[VIEWS_MOST];
static struct store stores[LOCATIONS_MOST][STORES_MOST];

/* ---- Views ----------------------------------------------------------------------------------------------------- */

static inline void join(struct view *to, const struct view *from) {
    for (unsigned at = 0; at < memory.width; at++)
        to->time[at] = from->time[at] > to->time[at] ? from->time[at] : to->time[at];
}

static inline void copy(struct view *to, const struct view *from) {
    memcpy(to->time, from->time, memory.width * sizeof to->time[0]);
}

/* A view to stay until the end of the run. */
static struct view *keep(const struct view *view) {
    if (memory.views == VIEWS_MOST) engine_fail("more than %d views in one run", VIEWS_MOST);
    struct view *kept = &views[memory.views++];
    copy(kept, view);
    return kept;
}

static struct thread *own_thread(void) { return &memory.thread[engine.current]; }

/* A new moment of the current actor's own time. */
static int32_t tick(void) { return ++own_thread()->now.time[engine.current]; }

/* ---- Locations ------------------------------------------------------------------------------------------------- */

static unsigned word_index(const void *word) {
    uintptr_t offset = (uintptr_t)word - (uintptr_t)memory_bytes;
    if (offset >= memory.mirror && offset < memory.mirror + memory.mirror_bytes) offset -= memory.mirror_bytes;
    if (offset >= MEMORY_BYTES || offset % 8 != 0) engine_fail("%p is not a word of shared memory", word);
    return (unsigned)(offset / 8);
}

static bool is_constant(const void *word) { return memory.location_of[word_index(word)] == CONSTANT; }

static struct location *find(const void *word) {
    const unsigned index = word_index(word);
    unsigned at = memory.location_of[index];
    if (at == CONSTANT) engine_fail("a constant word is changed");
    if (at == UNKNOWN) {
        at = memory.locations++;
        if (at == LOCATIONS_MOST) engine_fail("more than %d locations", LOCATIONS_MOST);
        memory.location_of[index] = (uint8_t)at;
        memory.width = (memory.locations + 7) / 8 * 8;
        memory.location[at] = (struct location){
            .history = stores[at], .word = memory_bytes + 8 * (size_t)index, .plain = memory.is_plain[index]};
    }
    struct location *location = &memory.location[at];
    if (!location->touched) {
        location->touched = true;
        location->stores = 1;
        location->history[0] = (struct store){.writer = NOBODY};
        location->id = 0;
        location->settled = 0;
        memset(location->old_reads, 0, sizeof location->old_reads);
        memset(location->last_read, 0, sizeof location->last_read);
    }
    return location;
}

static unsigned number_of(const struct location *location) { return (unsigned)(location - memory.location); }

static struct store *newest(struct location *location) { return &location->history[location->stores - 1]; }

/* The index of the oldest store that the current actor may see. */
static uint32_t oldest(const struct location *location) {
    const int32_t own = own_thread()->now.time[number_of(location)];
    const int32_t seen = own > location->settled ? own : location->settled;
    uint32_t at = location->stores - 1;
    while (location->history[at].time > seen)
        at--;
    return at;
}

void memory_clear(void) {
    memset(&memory, 0, sizeof memory);
    memset(views, 0, sizeof views);
    memory.locations = memory.width = CLOCKS;
}

void memory_constant(const void *from, size_t bytes) {
    memset(&memory.location_of[word_index(from)], CONSTANT, bytes / 8);
}

void memory_plain(const void *from, size_t bytes, bool twice) {
    memset(&memory.is_plain[word_index(from)], true, bytes / 8);
    if (!twice) return;
    memory.mirror = (uintptr_t)from - (uintptr_t)memory_bytes + bytes;
    memory.mirror_bytes = bytes;
}

void memory_describe(const char *(*name)(const void *word), bool (*is_own)(const void *word)) {
    memory.name_of = name;
    memory.is_own = is_own;
}

void memory_begin(void) {
    for (unsigned at = CLOCKS; at < memory.locations; at++)
        memory.location[at].touched = false;
    for (unsigned at = 0; at <= ACTORS_MOST; at++) {
        struct thread *thread = &memory.thread[at];
        memset(thread->now.time, 0, memory.width * sizeof thread->now.time[0]);
        if (thread->has_pending) memset(&thread->pending, 0, sizeof thread->pending);
        if (thread->has_fenced) memset(&thread->fenced, 0, sizeof thread->fenced);
        thread->has_pending = thread->has_fenced = false;
    }
    memset(memory.fences.time, 0, memory.width * sizeof memory.fences.time[0]);
    memory.fences_id = memory.settled_id = 0;
    memory.views = 0;
}

void memory_set(const void *word, uint64_t value) { find(word)->history[0].value = value; }

/* ---- Traces ---------------------------------------------------------------------------------------------------- */

static const char *name_of(const struct location *location) {
    return memory.name_of == NULL ? "word" : memory.name_of(location->word);
}

static const char *name_of_order(enum order order) {
    static const char *const names[] = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"};
    return names[order];
}

static const char *name_of_writer(const struct store *store) {
    return store->writer == NOBODY ? "the beginning" : engine.actor[store->writer].name;
}

static void tell_load(const struct location *location, const struct store *store, enum order order,
                      const struct place *place) {
    if (!engine.trace) return;
    const char *age = store == &location->history[location->stores - 1] ? "" : ", an old value";
    engine_tell(place, "%s is %llu, by %s in step %u%s (%s)", name_of(location), (unsigned long long)store->value,
                name_of_writer(store), store->step, age, name_of_order(order));
}

static void tell_store(const struct location *location, uint64_t value, enum order order, const struct place *place) {
    if (engine.trace)
        engine_tell(place, "%s = %llu (%s)", name_of(location), (unsigned long long)value, name_of_order(order));
}

/* ---- Accesses -------------------------------------------------------------------------------------------------- */

/* The current actor has seen this store. */
static void see(struct location *location, const struct store *store, enum order order) {
    struct thread *thread = own_thread();
    int32_t *seen = &thread->now.time[number_of(location)];
    if (store->time > *seen) *seen = store->time;
    engine_learn(store->id);
    if (store->released == NULL) return;
    if (order != RELAXED && order != RELEASE) {
        join(&thread->now, store->released);
    } else {
        join(&thread->pending, store->released);
        thread->has_pending = true;
    }
}

/* One of the stores that the current actor may see: any, or for a read-modify-write one that no other has joined. */
static struct store *choose_store(struct location *location, int32_t floor, bool to_join) {
    struct store *list[STORES_MOST];
    unsigned count = 0;
    const unsigned self = engine.current;
    const uint32_t first = oldest(location);
    if (first + 1 == location->stores) {
        location->old_reads[self] = 0;
        return newest(location);
    }
    const bool tired = location->old_reads[self] >= OLD_READS;
    for (uint32_t at = location->stores; at-- > first;) {
        struct store *store = &location->history[at];
        const bool is_newest = at + 1 == location->stores;
        if (store->time < floor && !is_newest) break;
        if (!is_newest && to_join && store[1].joined) continue;
        if (!is_newest && tired && store->time == location->last_read[self]) continue;
        list[count++] = store;
    }
    struct store *store = list[engine_choose(count, CHOOSE_VALUE)];
    const bool again = store != newest(location) && store->time == location->last_read[self];
    location->old_reads[self] = again ? location->old_reads[self] + 1 : 0;
    location->last_read[self] = store->time;
    return store;
}

/* What the current actor's store carries. */
static const struct view *carried(enum order order, const struct view *replaced) {
    const struct thread *thread = own_thread();
    if (order == RELEASE || order == ACQ_REL || order == SEQ_CST) {
        struct view *view = keep(&thread->now);
        if (replaced != NULL) join(view, replaced);
        return view;
    }
    if (!thread->has_fenced) return replaced;
    struct view *view = keep(&thread->fenced);
    if (replaced != NULL) join(view, replaced);
    return view;
}

/* Puts a store behind this one. */
static void insert(struct location *location, uint32_t after, uint64_t value, enum order order,
                   const struct place *place, const struct view *replaced, bool joined) {
    if (location->stores == STORES_MOST) engine_fail("no end: more than %d stores to one word", STORES_MOST);
    struct store *at = &location->history[after + 1];
    const int32_t before = location->history[after].time;
    const bool last = after + 1 == location->stores;
    const int32_t time = last ? before + GAP : before + (at->time - before) / 2;
    if (time == before) engine_fail("too many stores between two others");
    if (!last) memmove(at + 1, at, (location->stores - after - 1) * sizeof *at);
    location->stores++;
    struct thread *thread = own_thread();
    thread->now.time[number_of(location)] = time;
    const int32_t clock = tick();
    engine_learn((uint64_t)number_of(location) << 32 | (location->stores - after));
    engine.objects -= engine_hash(location->id, number_of(location));
    location->id = engine_hash(location->id ^ after, engine_self()->history);
    engine.objects += engine_hash(location->id, number_of(location));
    *at = (struct store){.value = value,
                         .id = engine_self()->history,
                         .place = place,
                         .time = time,
                         .clock = clock,
                         .step = engine.steps,
                         .writer = (uint8_t)engine.current,
                         .joined = joined};
    at->released = carried(order, replaced);
    engine_changed();
}

/* ---- Plain words ----------------------------------------------------------------------------------------------- */

static bool happened(unsigned actor, int32_t clock) {
    return actor == NOBODY || own_thread()->now.time[actor] >= clock;
}

static struct store *read_plain(struct location *location, const struct place *place) {
    struct store *store = newest(location);
    if (!happened(store->writer, store->clock))
        engine_fail("data race: %s reads %s in %s:%d, and what %s wrote there in %s:%d is not ordered before that",
                    engine_self()->name, name_of(location), place->file, place->line, name_of_writer(store),
                    store->place->file, store->place->line);
    location->last_read[engine.current] = tick();
    engine_learn(store->id);
    tell_load(location, store, RELAXED, place);
    return store;
}

static void write_plain(struct location *location, uint64_t value, const struct place *place) {
    const struct store *before = newest(location);
    if (!happened(before->writer, before->clock))
        engine_fail("data race: %s writes %s in %s:%d, and what %s wrote there is not ordered before that",
                    engine_self()->name, name_of(location), place->file, place->line, name_of_writer(before));
    for (unsigned reader = 0; reader < ACTORS_MOST; reader++)
        if (location->last_read[reader] != 0 && !happened(reader, location->last_read[reader]))
            engine_fail("data race: %s writes %s in %s:%d, and what %s read there is not ordered before that",
                        engine_self()->name, name_of(location), place->file, place->line, engine.actor[reader].name);
    insert(location, location->stores - 1, value, RELAXED, place, NULL, false);
    tell_store(location, value, RELAXED, place);
}

/* ---- Interface ------------------------------------------------------------------------------------------------- */

static void busy(void) {
    engine_self()->turns = 0;
    engine_self()->looked = false;
}

/* Nobody else ever stores there while we live. */
static bool is_own(const struct location *location) { return memory.is_own != NULL && memory.is_own(location->word); }

void memory_pause(void) {
    struct actor *self = engine_self();
    if (self->looked) self->turns++;
    self->looked = false;
}

uint64_t memory_load(const void *word, enum order order, const struct place *place) {
    if (is_constant(word)) return 0;
    struct actor *self = engine_self();
    struct location *location = find(word);
    self->looked = true;
    /* A loop that only looks: what it can see in a later turn it can see in the first. */
    if (self->turns > 0 && !location->plain) return location->history[oldest(location)].value;
    engine_point(place, location->plain || is_own(location) ? LOCAL : QUIET);
    if (location->plain) return read_plain(location, place)->value;
    const struct store *store = choose_store(location, 0, false);
    see(location, store, order);
    tell_load(location, store, order, place);
    return store->value;
}

void memory_store(const void *word, uint64_t value, enum order order, const struct place *place) {
    busy();
    if (value == 0 && is_constant(word)) return;
    struct location *location = find(word);
    engine_point(place, location->plain ? EFFECT | LOCAL | UNSEEN : EFFECT);
    if (location->plain) {
        write_plain(location, value, place);
        return;
    }
    uint32_t list[STORES_MOST], count = 0;
    for (uint32_t at = location->stores, first = oldest(location); at-- > first;)
        if (at + 1 == location->stores || !location->history[at + 1].joined) list[count++] = at;
    insert(location, list[engine_choose(count, CHOOSE_VALUE)], value, order, place, NULL, false);
    tell_store(location, value, order, place);
}

static void replace(struct location *location, const struct store *store, uint64_t value, enum order order,
                    const struct place *place) {
    insert(location, (uint32_t)(store - location->history), value, order, place, store->released, true);
    tell_store(location, value, order, place);
}

bool memory_swap(const void *word, uint64_t expected, uint64_t desired, enum order order, const struct place *place) {
    busy();
    struct location *location = find(word);
    engine_point(place, EFFECT);
    const struct store *store = choose_store(location, 0, false);
    const bool failed = store->value == expected && engine.quirks_left > 0 && engine_choose(2, CHOOSE_OTHER) == 1;
    if (store->value != expected || failed) {
        engine.quirks_left -= failed;
        see(location, store, RELAXED);
        if (engine.trace)
            engine_tell(place, "%s is %llu: not swapped", name_of(location), (unsigned long long)store->value);
        return false;
    }
    if (store != newest(location) && store[1].joined) store = newest(location); /* it has gone to another */
    if (store->value != expected) {
        see(location, store, RELAXED);
        return false;
    }
    see(location, store, order);
    tell_load(location, store, order, place);
    replace(location, store, desired, order, place);
    return true;
}

uint64_t memory_exchange(const void *word, uint64_t desired, enum order order, const struct place *place) {
    busy();
    struct location *location = find(word);
    engine_point(place, EFFECT);
    const struct store *store = choose_store(location, 0, true);
    const uint64_t value = store->value;
    see(location, store, order);
    replace(location, store, desired, order, place);
    return value;
}

uint64_t memory_add(const void *word, uint64_t value, enum order order, const struct place *place) {
    busy();
    struct location *location = find(word);
    engine_point(place, EFFECT);
    const struct store *store = choose_store(location, 0, true);
    const uint64_t before = store->value;
    see(location, store, order);
    replace(location, store, before + value, order, place);
    return before;
}

/* All that a seq_cst fence does, and a kept copy for later stores. */
static void fence_whole(struct thread *thread) {
    if (thread->has_pending) join(&thread->now, &thread->pending);
    join(&memory.fences, &thread->now);
    copy(&thread->now, &memory.fences);
    copy(&thread->fenced, &thread->now);
    thread->has_fenced = true;
}

void memory_fence_everywhere(const struct place *place) {
    busy();
    engine_point(place, QUIET);
    (void)tick();
    fence_whole(own_thread());
    for (unsigned at = 0; at < ACTORS_MOST; at++) {
        struct actor *actor = &engine.actor[at];
        if (at == engine.current || actor->state == ABSENT) continue;
        fence_whole(&memory.thread[at]);
        actor->history = engine_hash(actor->history, engine_self()->history ^ memory.fences_id);
    }
    engine_touch(&memory.fences_id, 1);
    fence_whole(own_thread());
    if (engine.trace) engine_tell(place, "barrier everywhere");
}

void memory_fence(enum order order, const struct place *place) {
    struct thread *thread = own_thread();
    busy();
    engine_point(place, QUIET);
    (void)tick();
    if (order != RELEASE && thread->has_pending) join(&thread->now, &thread->pending);
    if (order == SEQ_CST) {
        engine_touch(&memory.fences_id, 1);
        join(&memory.fences, &thread->now);
        copy(&thread->now, &memory.fences);
    }
    if (order != ACQUIRE) {
        copy(&thread->fenced, &thread->now);
        thread->has_fenced = true;
    }
    if (engine.trace) engine_tell(place, "barrier (%s)", name_of_order(order));
}

void memory_copy_in(void *ring, const void *from, size_t bytes, const struct place *place) {
    busy();
    for (size_t done = 0; done < bytes; done += 8) {
        unsigned char *word = (unsigned char *)ring + done;
        uint64_t value = 0;
        memcpy(&value, (const unsigned char *)from + done, bytes - done < 8 ? bytes - done : 8);
        struct location *location = find(word);
        engine_point(place, EFFECT | LOCAL | UNSEEN);
        write_plain(location, value, place);
        memcpy(memory_bytes + 8 * (size_t)word_index(word), &value, 8);
    }
}

void memory_copy_out(void *to, const void *ring, size_t bytes, const struct place *place) {
    busy();
    for (size_t done = 0; done < bytes; done += 8) {
        struct location *location = find((const unsigned char *)ring + done);
        engine_point(place, LOCAL);
        const uint64_t value = read_plain(location, place)->value;
        memcpy((unsigned char *)to + done, &value, bytes - done < 8 ? bytes - done : 8);
    }
}

void memory_settle(void) {
    engine_mark(&memory.settled_id, engine.objects);
    for (unsigned at = CLOCKS; at < memory.locations; at++)
        if (memory.location[at].touched) memory.location[at].settled = newest(&memory.location[at])->time;
}

void memory_give(struct view *object, unsigned actor) { join(object, &memory.thread[actor].now); }

void memory_take(const struct view *object) { join(&own_thread()->now, object); }

uint64_t memory_peek(const void *word, int32_t floor, const struct place *place) {
    struct location *location = find(word);
    const struct store *store = choose_store(location, floor, false);
    see(location, store, RELAXED);
    tell_load(location, store, RELAXED, place);
    return store->value;
}

int32_t memory_latest_seen(const void *word) { return own_thread()->now.time[number_of(find(word))]; }

uint64_t memory_newest(const void *word) { return is_constant(word) ? 0 : newest(find(word))->value; }

unsigned memory_newest_writer(const void *word) { return is_constant(word) ? NOBODY : newest(find(word))->writer; }
