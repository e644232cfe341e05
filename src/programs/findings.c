/* See findings.h. */
#include "findings.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "patience.h"
#include "stop.h"

static const int64_t LONG_NS = 1000000000; /* as long as the library itself waits for the life cycle */

static struct finding *add(struct findings *findings, const char *code, bool problem, enum remedy remedy,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));

static struct finding *add(struct findings *findings, const char *code, bool problem, enum remedy remedy,
                           const char *format, ...) {
    /* The last place takes whatever does not fit; there are fewer kinds than places. */
    const unsigned at = findings->count < FINDINGS_MAX ? findings->count++ : FINDINGS_MAX - 1;
    struct finding *finding = &findings->list[at];
    va_list arguments;

    *finding = (struct finding){.code = code, .problem = problem, .remedy = remedy};
    va_start(arguments, format);
    (void)vsnprintf(finding->text, sizeof finding->text, format, arguments);
    va_end(arguments);
    findings->problems += problem;
    return finding;
}

/* ---- Things that are no queue, or none that can be looked into -------------------------------- */

static void no_queue(struct findings *findings, const struct inspection *found) {
    switch (found->what) {
    case INSPECTED_ABSENT:
        findings->state = "absent";
        add(findings, "not-found", true, REMEDY_NONE, "there is no such queue");
        break;
    case INSPECTED_LINK:
        findings->state = "link";
        add(findings, "symbolic-link", true, REMEDY_NONE,
            "a symbolic link, which is never followed: give the name of the object itself");
        break;
    case INSPECTED_CLOSED:
        findings->state = "no access";
        add(findings, "no-access", true, REMEDY_NONE,
            "its mode or its directory keeps you from looking at it: ask its owner, or root");
        break;
    case INSPECTED_FAILED:
        findings->state = "unknown";
        add(findings, "unreadable", true, REMEDY_NONE, "it cannot be looked at: %s", strerror(found->error));
        break;
    default:
        findings->state = "foreign";
        if (S_ISREG(found->status.st_mode) && found->status.st_size == 0)
            add(findings, "not-a-queue", true, REMEDY_DELETE,
                "an empty file: not a queue, or one that somebody truncated to nothing");
        else
            add(findings, "not-a-queue", true, REMEDY_NONE, "what is there is not a queue: it is left alone");
    }
}

static void bad_size(struct findings *findings, const struct inspection *found, const char *code, const char *what) {
    add(findings, code, true, REMEDY_REMOVE, "somebody has %s it: %lld bytes, and it was created with %llu", what,
        (long long)found->status.st_size, (unsigned long long)found->header.object_size);
}

/* True: there is more to look at. */
static bool judge_header(struct findings *findings, const struct inspection *found) {
    const struct header *header = &found->header;

    findings->state = "damaged";
    switch (found->header_fault) {
    case HEADER_SHORT:
        findings->state = "truncated";
        add(findings, "truncated", true, REMEDY_REMOVE, "somebody has truncated it: not even its header is whole");
        return false;
    case OTHER_ABI:
        findings->state = "foreign";
        add(findings, "other-version", true, REMEDY_NONE,
            "made by another version of the library (ABI %u; this is %u): use the programs of that version, or "
            "remove it",
            header->abi, SHMQ_ABI);
        return false;
    case OTHER_PAGES:
        findings->state = "foreign";
        add(findings, "other-page-size", true, REMEDY_REMOVE,
            "made where memory pages have %u bytes; here they have %ld: it cannot be used here", header->page_size,
            sysconf(_SC_PAGESIZE));
        return false;
    case TOO_SHORT:
        findings->state = "truncated";
        bad_size(findings, found, "truncated", "truncated");
        return false;
    case TOO_LONG: bad_size(findings, found, "wrong-size", "lengthened"); return false;
    case HEADER_DAMAGED:
        add(findings, "damaged-header", true, REMEDY_REMOVE, "its header does not make sense");
        return false;
    case OTHER_LIBC:
        add(findings, "other-libc", true, REMEDY_REMOVE,
            "its notifier keeps objects of the C library, and another C library made it: use programs built with "
            "that one, or remove it");
        return true;
    case NO_CHECKSUMS:
        add(findings, "no-checksums", true, REMEDY_NONE,
            "it has checksums, and this build has none: install libxxhash-dev and build again");
        return true;
    default: return true;
    }
}

/* ---- Who is there ----------------------------------------------------------------------------- */

static void judge_dead(struct findings *findings, const struct inspection *found, enum shmq_end end) {
    const struct inspected_side *side = &found->side[end];
    const char *who = end == SHMQ_PRODUCER ? "producer" : "consumer";
    const uint64_t *told_of = found->side[SHMQ_CONSUMER].end_seen;
    const char *since;
    unsigned dead = 0, told = 0;

    for (unsigned slot = 0; slot < side->slots; slot++) {
        dead += side->died[slot];
        told += side->died[slot] && end == SHMQ_PRODUCER && told_of[slot] == side->life[slot];
    }
    if (dead == 0) return;
    since = side->alive_count > 0 ? "; others are there"
            : told == dead        ? ", and the consumer was told"
                                  : ": the next to come goes on where it stopped";
    add(findings, end == SHMQ_PRODUCER ? "producer-died" : "consumer-died", side->alive_count == 0 && told < dead,
        REMEDY_NONE, "%s %s%s died without closing%s", dead == 1 ? "its" : "several of its", who, dead == 1 ? "" : "s",
        since);
}

static void judge_presence(struct findings *findings, const struct inspection *found) {
    const unsigned producers = found->side[SHMQ_PRODUCER].alive_count;
    const unsigned consumers = found->side[SHMQ_CONSUMER].alive_count;
    const unsigned long long waiting = found->waiting;
    char wait[48];

    (void)snprintf(wait, sizeof wait, "%llu message%s", waiting, waiting == 1 ? " waits" : "s wait");
    findings->state = producers > 0 ? consumers > 0 ? "in use" : "sending" : consumers > 0 ? "receiving" : "idle";
    if (producers + consumers == 0 && waiting > 0) {
        findings->state = "left";
        add(findings, "messages-left", true, REMEDY_CONSUME, "nobody is here, and %s: start a consumer, or remove it",
            wait);
    } else if (producers + consumers == 0) {
        add(findings, "nobody-here", false, REMEDY_NONE, "nobody is here, and nothing waits");
    } else if (consumers == 0 && waiting > 0) {
        add(findings, "no-consumer", false, REMEDY_CONSUME, "no consumer is here, and %s", wait);
    }
}

static void judge_locks(struct findings *findings, const struct inspection *found) {
    for (enum shmq_end end = SHMQ_PRODUCER; end <= SHMQ_CONSUMER; end++) {
        const struct inspected_side *side = &found->side[end];
        const char *who = end == SHMQ_PRODUCER ? "producers" : "consumers";

        if (side->lock > SLOTS)
            add(findings, "damaged-lock", true, REMEDY_REMOVE,
                "the lock of its %s does not make sense: somebody has written over it", who);
        else if (side->lock > 0 && !side->alive[side->lock - 1])
            add(findings, "lock-of-the-dead", false, REMEDY_NONE,
                "who died in slot %u held the lock of its %s: harmless, the next who waits takes it over",
                (unsigned)side->lock - 1, who);
    }
}

static void judge_rights(struct findings *findings, const struct inspection *found) {
    const uid_t owner = found->status.st_uid;

    if (!inspect_may_open(found))
        add(findings, "no-access", true, REMEDY_NONE,
            "you may look at it but not use it: its owner and its mode (%04o) keep you out; whoever creates it must "
            "give -m 0660 or 0666",
            (unsigned)found->status.st_mode & 07777);
    else if (owner != geteuid() && owner != 0)
        add(findings, "other-owner", false, REMEDY_NONE, "it belongs to user %u: to use it give -m 0660 or 0666",
            (unsigned)owner);
}

/* ---- Thorough --------------------------------------------------------------------------------- */

static void judge_life_cycle(struct findings *findings, const struct inspection *found) {
    const int64_t until_ns = monotonic_ns() + LONG_NS;
    const struct person *person;
    struct people people;

    while (inspect_is_busy(found)) {
        if (stop_signal() != 0) return;
        if (monotonic_ns() < until_ns) {
            (void)poll(NULL, 0, 20);
            continue;
        }
        people_find(&people, &found->status);
        person = people_opening(&people);
        if (person == NULL)
            add(findings, "life-cycle-held", true, REMEDY_NONE,
                "somebody has been opening, closing or unlinking it for over a second: is that process stopped? Others "
                "get \"busy\" (EBUSY) until it goes on or ends");
        else
            add(findings, "life-cycle-held", true, REMEDY_WAKE,
                "process %ld has been opening, closing or unlinking it for over a second: is it stopped? Others get "
                "\"busy\" (EBUSY) until it goes on or ends",
                (long)person->pid)
                ->pid = person->pid;
        return;
    }
}

static void judge_records(struct findings *findings) {
    static const char *const what[] = {
        [RECORD_TAG] = "no record of this queue stands there: somebody has written over it",
        [RECORD_LENGTH] = "it claims to be longer than any message may be",
        [RECORD_OVERRUN] = "it claims to reach beyond what was published",
        [RECORD_CHECKSUM] = "its checksum is another one: somebody has changed its bytes",
        [RECORD_UNREADABLE] = "the file ends before it: somebody has truncated it",
    };
    const struct walk *walk = &findings->walk;

    if (!walk->complete)
        add(findings, "not-all-checked", false, REMEDY_NONE, "only the first %llu messages were looked at",
            (unsigned long long)walk->messages);
    if (walk->unsealed > 0)
        add(findings, "checksums-not-checked", false, REMEDY_NONE, "%llu checksums could not be looked at",
            (unsigned long long)walk->unsealed);
    if (walk->fault == RECORD_FINE) return;
    findings->state = "damaged";
    add(findings, walk->fault == RECORD_CHECKSUM ? "wrong-checksum" : "damaged-record", true, REMEDY_REMOVE,
        "message %llu of those that wait, at byte %llu, is damaged: %s. Those before it are delivered, and nothing "
        "after "
        "it",
        (unsigned long long)walk->messages + 1, (unsigned long long)walk->position, what[walk->fault]);
}

static void judge_all(struct findings *findings, struct inspection *found, bool thorough) {
    *findings = (struct findings){.walk = {.complete = true}};
    if (found->what != INSPECTED_QUEUE) {
        no_queue(findings, found);
        return;
    }
    if (!judge_header(findings, found)) return;
    judge_presence(findings, found);
    if (findings->problems > 0 && found->header_fault != HEADER_FINE) findings->state = "foreign";
    judge_dead(findings, found, SHMQ_PRODUCER);
    judge_dead(findings, found, SHMQ_CONSUMER);
    judge_locks(findings, found);
    judge_rights(findings, found);
    if (!found->cursors_possible) {
        findings->state = "damaged";
        add(findings, "damaged-cursors", true, REMEDY_REMOVE,
            "its cursors are impossible (sent up to byte %llu, taken up to %llu, room for %llu): somebody has written "
            "over them",
            (unsigned long long)found->side[SHMQ_PRODUCER].cursor,
            (unsigned long long)found->side[SHMQ_CONSUMER].cursor, (unsigned long long)found->header.capacity);
    } else if (thorough) {
        inspect_records(found, &findings->walk);
        judge_records(findings);
    }
}

void findings_of(struct findings *findings, struct inspection *found, bool thorough) {
    enum { TRIES = 3 };

    judge_all(findings, found, thorough);
    for (int try = 1; try < TRIES && thorough && findings->problems > 0 && stop_signal() == 0; try++) {
        if (!inspect_again(found)) break;
        judge_all(findings, found, thorough);
    }
    if (thorough && inspect_has_state(found)) judge_life_cycle(findings, found);
}

void findings_remedy(struct paper *paper, const struct finding *finding, const struct inspection *found) {
    static const char *const before[] = {
        [REMEDY_REMOVE] = "shmqctl rm ",
        [REMEDY_DELETE] = "rm -- ",
        [REMEDY_CONSUME] = "consumer -q ",
    };

    if (finding->remedy == REMEDY_NONE) return;
    if (finding->remedy == REMEDY_WAKE) {
        paper_print(paper, "kill -CONT %ld", (long)finding->pid);
        return;
    }
    paper_print(paper, "%s", before[finding->remedy]);
    paper_word(paper, finding->remedy == REMEDY_DELETE ? found->path : found->name);
}
