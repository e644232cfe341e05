/* What may be seen: a model of what shmq.h says of names, ends and lives, one queue after another. An operation is one step
 * of it, or a few in their order: they are taken at some moment while its process went on. A history is right if there are
 * such moments that give every result that was seen; who died has taken some of the steps. */
#include "interleave.h"

#include <errno.h>
#include <string.h>

enum { QUEUES_MOST = 12, SLOTS_SEEN = PROCESSES, STEPS_MOST = 3, ABSENT = -1 };

/* As docs/how-it-works.md has it. */
struct side {
    uint32_t life[SLOTS_SEEN], told[SLOTS_SEEN]; /* told: which ends of producers' lives consumers were told */
    bool held[SLOTS_SEEN];
};

struct queue {
    uint64_t instance; /* 0: nobody has seen it yet */
    struct side side[2];
    uint32_t sent, taken, number[NUMBERS_MOST];
};

struct process {
    int queue; /* ABSENT: none */
    uint32_t side, slot;
    bool holds;                                 /* this slot, until it closes: then it may be another one's */
    bool refused;                               /* the rest of this operation does nothing */
    uint32_t old[SLOTS_SEEN], seen[SLOTS_SEEN]; /* lives of the other side */
    int gone;                                   /* what it was told last */
};

struct model {
    int named; /* the queue, or ABSENT */
    uint32_t queues;
    struct queue queue[QUEUES_MOST];
    struct process process[PROCESSES];
};

static const struct history *history;
static uint32_t furthest;

/* ---- Names and ends ------------------------------------------------------------------------ */

/* This queue is the one that was seen. */
static bool is_seen(struct model *model, int queue, uint64_t instance) {
    if (model->queue[queue].instance != 0) return model->queue[queue].instance == instance;
    for (uint32_t other = 0; other < model->queues; other++)
        if (model->queue[other].instance == instance) return false;
    model->queue[queue].instance = instance;
    return true;
}

static uint32_t slots_of(uint32_t side) {
    const unsigned many = side == SHMQ_PRODUCER ? SHMQ_MANY_PRODUCERS : SHMQ_MANY_CONSUMERS;
    return (history->flags & many) != 0 ? SLOTS_SEEN : 1;
}

/* The `choice`th slot that is free, or the number of all. */
static uint32_t free_slot(const struct side *side, uint32_t slots, uint32_t choice) {
    uint32_t slot = 0;
    while (slot < slots && (side->held[slot] || choice-- > 0))
        slot++;
    return slot;
}

static bool has_ends(const struct queue *queue, uint32_t side) {
    return memchr(queue->side[side].held, true, sizeof queue->side[side].held) != NULL;
}

/* Takes an end of what the name means, or says why not. */
static int enter(struct model *model, const struct part *part, uint32_t choice) {
    struct process *process = &model->process[part->who];
    const struct request request = plot_request(part->letter, 0);
    if (model->named == ABSENT && request.deed == FIND) return ENOENT;
    if (model->named != ABSENT && request.deed == MAKE) return EEXIST;
    if (model->named == ABSENT && model->queues == QUEUES_MOST) return EOVERFLOW;
    if (model->named == ABSENT) model->named = (int)model->queues++;
    struct side *side = &model->queue[model->named].side[request.end];
    const uint32_t slots = slots_of(request.end), slot = free_slot(side, slots, choice);
    if (slot == slots) return EBUSY;
    side->held[slot] = true;
    *process = (struct process){.queue = model->named, .side = request.end, .slot = slot, .holds = true};
    return 0;
}

/* Asked by this process. Who saw a life begun takes its end for the close; who came when it had ended, but its lease was
 * still held, takes the lease for an end that is there. */
static bool is_there(struct process *process, const struct side *peer, uint32_t slot) {
    const uint32_t last = process->seen[slot], life = process->seen[slot] = peer->life[slot];
    const bool has_closed = life % 2 == 0 && life == (last == 0 ? 0 : last + 1);
    return peer->held[slot] && !has_closed;
}

/* What a new end will not be told of. */
static void note_old(struct model *model, struct process *process) {
    const struct side *own = &model->queue[process->queue].side[process->side];
    const struct side *peer = &model->queue[process->queue].side[!process->side];
    for (uint32_t slot = 0; slot < SLOTS_SEEN; slot++) {
        process->old[slot] = is_there(process, peer, slot) ? 0 : peer->life[slot];
        if (process->side == SHMQ_CONSUMER) process->old[slot] = own->told[slot];
    }
}

static bool open_step(struct model *model, const struct part *part, uint32_t step, uint32_t choice) {
    struct process *process = &model->process[part->who];
    if (step > 0 && (process->refused || choice > 0)) return process->refused && choice == 0;
    uint32_t *life = &model->queue[process->queue < 0 ? 0 : process->queue].side[process->side].life[process->slot];
    switch (step) {
    case 0: {
        const int error = enter(model, part, choice);
        if ((error != 0 && choice > 0) || (part->known && part->error != error)) return false;
        process->refused = error != 0;
        return error != 0 || !part->known || is_seen(model, process->queue, part->instance);
    }
    case 1: note_old(model, process); return true;
    default: *life = (*life + 1) | 1; return true;
    }
}

/* The last one of an ephemeral queue that is drained takes its name along. */
static void retire(struct model *model, int index) {
    const struct queue *queue = &model->queue[index];
    const uint32_t *lives = queue->side[SHMQ_CONSUMER].life;
    bool used = false;
    for (uint32_t slot = 0; slot < SLOTS_SEEN; slot++)
        used |= lives[slot] != 0;
    if ((history->flags & SHMQ_EPHEMERAL) == 0 || !used || queue->sent != queue->taken) return;
    if (has_ends(queue, SHMQ_PRODUCER) || has_ends(queue, SHMQ_CONSUMER)) return;
    if (model->named == index) model->named = ABSENT;
}

static bool close_step(struct model *model, const struct part *part, uint32_t step) {
    struct process *process = &model->process[part->who];
    if (step == 0) process->refused = process->queue == ABSENT;
    if (process->refused) return !part->known || part->error == EINVAL;
    if (part->known && part->error != 0) return false;
    struct side *side = &model->queue[process->queue].side[process->side];
    switch (step) {
    case 0: side->life[process->slot]++; break;
    case 1: side->held[process->slot] = process->holds = false; break;
    default: retire(model, process->queue); process->queue = ABSENT;
    }
    return true;
}

static void die(struct model *model, struct process *process) {
    if (process->queue == ABSENT) return;
    struct queue *queue = &model->queue[process->queue];
    if (process->holds) queue->side[process->side].held[process->slot] = false;
    process->queue = ABSENT;
}

/* ---- Messages ------------------------------------------------------------------------------ */

/* What it is told that waits in vain. */
static int hear(struct model *model, struct process *process) {
    struct queue *queue = &model->queue[process->queue];
    const struct side *peer = &queue->side[!process->side];
    int gone = 0;
    for (uint32_t slot = 0; slot < SLOTS_SEEN; slot++) {
        if (is_there(process, peer, slot)) return process->gone = 0, EAGAIN;
        const bool is_news = peer->life[slot] != 0 && peer->life[slot] != process->old[slot];
        if (is_news && gone != EOWNERDEAD) gone = peer->life[slot] % 2 == 1 ? EOWNERDEAD : EPIPE;
    }
    if (gone == 0) gone = process->gone;
    if (gone == 0 && model->named != process->queue && !has_ends(queue, !process->side)) gone = EPIPE;
    if (gone == 0) return EAGAIN;
    process->gone = gone;
    memcpy(process->old, peer->life, sizeof process->old);
    if (process->side == SHMQ_CONSUMER) memcpy(queue->side[SHMQ_CONSUMER].told, peer->life, sizeof peer->life);
    return gone;
}

static bool take(struct model *model, const struct part *part, uint32_t choice) {
    struct process *process = &model->process[part->who];
    struct queue *queue = &model->queue[process->queue];
    const uint32_t there = queue->sent - queue->taken;
    if (choice > 0 && part->known) return false;
    if (!part->known) { /* it died somewhere on the way */
        if (choice > there + 1) return false;
        queue->taken += choice < there ? choice : there;
        if (choice > there) (void)hear(model, process);
        return true;
    }
    if (part->taken != there || memcmp(part->numbers, queue->number + queue->taken, there * sizeof *part->numbers) != 0)
        return false;
    queue->taken = queue->sent;
    return part->error == hear(model, process);
}

static bool message_step(struct model *model, const struct part *part, uint32_t choice) {
    struct process *process = &model->process[part->who];
    if (process->queue == ABSENT) return choice == 0 && (!part->known || part->error == EINVAL);
    struct queue *queue = &model->queue[process->queue];
    if (part->letter == 'r') return take(model, part, choice);
    if (choice > 0) return false;
    if (part->letter == 'd')
        return !part->known || part->error == (queue->sent == queue->taken ? 0 : hear(model, process));
    if (queue->sent == NUMBERS_MOST) return false;
    queue->number[queue->sent++] = part->number;
    return !part->known || part->error == 0;
}

static bool unlink_step(struct model *model, const struct part *part) {
    const int error = model->named == ABSENT ? ENOENT : 0;
    model->named = ABSENT;
    return !part->known || part->error == error;
}

/* ---- Histories ----------------------------------------------------------------------------- */

static uint32_t steps_of(const struct part *part) { return strchr("usrd", part->letter) != NULL ? 1 : STEPS_MOST; }

/* Takes a step of an operation, which may have several ways. False: not so, or there is no such way. */
static bool take_step(struct model *model, const struct part *part, uint32_t step, uint32_t choice) {
    switch (part->letter) {
    case '.': return choice == 0 && close_step(model, part, step);
    case 'u': return choice == 0 && unlink_step(model, part);
    case 's':
    case 'r':
    case 'd': return message_step(model, part, choice);
    default: return open_step(model, part, step, choice);
    }
}

/* From this event on; the present operation of each process has taken so many steps. */
static bool follows(uint32_t at, const struct model *before, const uint8_t steps[PROCESSES]) {
    struct model model = *before;
    if (at > furthest) furthest = at;
    if (at == history->events) return true;
    const struct event *event = &history->event[at];
    if (event->kind == NAMED) {
        const bool seen = event->instance != 0;
        if (seen != (model.named != ABSENT) || (seen && !is_seen(&model, model.named, event->instance))) return false;
        return follows(at + 1, &model, steps);
    }
    if (event->kind == DIED_HERE) {
        die(&model, &model.process[event->who]);
        return follows(at + 1, &model, steps);
    }
    const struct part *part = &history->part[event->part];
    uint8_t next[PROCESSES];
    memcpy(next, steps, sizeof next);
    const bool all = next[event->who] == steps_of(part);
    if (event->ended && all) next[event->who] = 0;
    if ((!event->ended || all) && follows(at + 1, &model, next)) return true;
    if (all) return false;
    next[event->who] = steps[event->who] + 1;
    for (uint32_t choice = 0; take_step(&model, part, steps[event->who], choice); choice++) {
        if (follows(at, &model, next)) return true;
        model = *before;
    }
    return false;
}

bool explain(const struct history *of, uint32_t *explained) {
    struct model model = {.named = ABSENT};
    const uint8_t steps[PROCESSES] = {0};
    for (uint32_t who = 0; who < PROCESSES; who++)
        model.process[who].queue = ABSENT;
    history = of;
    furthest = 0;
    const bool is_right = follows(0, &model, steps);
    *explained = furthest;
    return is_right;
}
