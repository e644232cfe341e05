/* The tables and lines of show.h; JSON stands in show_json.c. */
#include "show.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "options.h"

enum { NAME_COLUMNS = 14, LABEL_COLUMNS = 13 };

/* ---- Pieces ----------------------------------------------------------------------------------- */

struct show_short show_age(int64_t since_s) {
    const int64_t now_s = time(NULL);
    const int64_t age_s = now_s > since_s ? now_s - since_s : 0;
    struct show_short age;

    if (age_s < 120)
        (void)snprintf(age.text, sizeof age.text, "%ds", (int)age_s);
    else if (age_s < 7200)
        (void)snprintf(age.text, sizeof age.text, "%dm", (int)(age_s / 60));
    else if (age_s < 172800)
        (void)snprintf(age.text, sizeof age.text, "%dh", (int)(age_s / 3600));
    else
        (void)snprintf(age.text, sizeof age.text, "%dd", (int)(age_s / 86400 % 100000));
    return age;
}

struct show_owner show_owner(const struct inspection *found) {
    const struct passwd *user = getpwuid(found->status.st_uid);
    struct show_owner owner;

    if (user != NULL)
        (void)snprintf(owner.text, sizeof owner.text, "%.32s", user->pw_name);
    else
        (void)snprintf(owner.text, sizeof owner.text, "%u", (unsigned)found->status.st_uid);
    return owner;
}

struct show_short show_flags(uint32_t flags) {
    static const char letters[] = "pcex"; /* in the order of their bits */
    struct show_short shown = {"-"};
    size_t length = 0;

    for (unsigned bit = 0; bit < 4; bit++)
        if ((flags >> bit & 1) != 0) shown.text[length++] = letters[bit];
    if (length > 0) shown.text[length] = '\0';
    return shown;
}

/* A count in at most five columns: 12345, 123k, 12M. */
static struct show_short brief(uint64_t count) {
    static const char units[] = " kMGTPE";
    struct show_short shown;
    unsigned unit = 0;

    while (count > (unit == 0 ? 99999U : 9999U) && unit + 1 < sizeof units - 1) {
        count /= 1000;
        unit++;
    }
    if (unit == 0)
        (void)snprintf(shown.text, sizeof shown.text, "%u", (unsigned)count);
    else
        (void)snprintf(shown.text, sizeof shown.text, "%u%c", (unsigned)count % 10000, units[unit]);
    return shown;
}

static int percent(const struct inspection *found) {
    return (int)(100 * (double)found->used / (double)found->header.capacity);
}

static enum paper_colour colour_of(const struct findings *findings) {
    return findings->problems > 0 ? RED : strcmp(findings->state, "in use") == 0 ? GREEN : YELLOW;
}

/* ---- Findings --------------------------------------------------------------------------------- */

void show_findings(struct paper *paper, const struct inspection *found, const struct findings *findings,
                   size_t indent) {
    for (unsigned i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        paper_print(paper, "%*s", (int)indent, "");
        paper_colour(paper, finding->problem ? RED : DIM);
        paper_print(paper, "%s", finding->problem ? "problem: " : "note:    ");
        paper_colour(paper, PLAIN);
        paper_wrap(paper, indent + 9, finding->text);
        if (finding->remedy == REMEDY_NONE) continue;
        paper_print(paper, "%*s", (int)indent + 9, "");
        paper_colour(paper, BOLD);
        findings_remedy(paper, finding, found);
        paper_colour(paper, PLAIN);
        paper_put(paper, "\n", 1);
    }
}

/* ---- ls --------------------------------------------------------------------------------------- */

void show_table_head(struct paper *paper) {
    paper_colour(paper, BOLD);
    paper_print(paper, "%-*s %-9s %2s %2s %5s %5s %4s %-6s %-5s %-4s %-8s %4s\n", NAME_COLUMNS, "NAME", "STATE", "P",
                "C", "SENT", "WAIT", "FULL", "NOTIFY", "FLAGS", "MODE", "OWNER", "AGE");
    paper_colour(paper, PLAIN);
}

static void row_of_state(struct paper *paper, const struct inspection *found) {
    const uint64_t sent = found->side[SHMQ_PRODUCER].messages;

    if (!inspect_has_state(found)) {
        paper_print(paper, " %2s %2s %5s %5s %4s %-6s %-5s", "-", "-", "-", "-", "-", "-", "-");
        return;
    }
    paper_print(paper, " %2u %2u %5s %5s %3d%% %-6s %-5s", found->side[SHMQ_PRODUCER].alive_count,
                found->side[SHMQ_CONSUMER].alive_count, brief(sent).text, brief(found->waiting).text, percent(found),
                options_notifier(found->header.notify), show_flags(found->header.flags).text);
}

void show_row(struct paper *paper, const struct inspection *found, const struct findings *findings) {
    size_t columns = paper_name(paper, found->name);

    if (columns > NAME_COLUMNS) {
        paper_put(paper, "\n", 1);
        columns = 0;
    }
    paper_print(paper, "%*s ", NAME_COLUMNS - (int)columns, "");
    paper_colour(paper, colour_of(findings));
    paper_print(paper, "%-9s", findings->state);
    paper_colour(paper, PLAIN);
    row_of_state(paper, found);
    if (found->what == INSPECTED_ABSENT || found->what == INSPECTED_FAILED)
        paper_put(paper, "\n", 1);
    else
        paper_print(paper, " %04o %-8s %4s\n", (unsigned)found->status.st_mode & 07777, show_owner(found).text,
                    show_age(found->born_s).text);
    if (findings->problems > 0) show_findings(paper, found, findings, 2);
}

void show_orphans(struct paper *paper, const struct orphans *orphans) {
    if (orphans->count == 0) return;
    paper_print(paper, "\nDoorbells that no queue in ");
    (void)paper_name(paper, orphans->directory);
    paper_print(paper, " claims, and no process that is seen uses:\n");
    for (unsigned i = 0; i < orphans->count; i++)
        paper_print(paper, "  %s%s\n", orphans->list[i].name,
                    orphans->list[i].unsure ? "  (but others may: ask root)" : "");
    if (orphans->more > 0) paper_print(paper, "  and %u more\n", orphans->more);
    paper_wrap(paper, 0,
               "Somebody has removed their queue by other means than shmqctl rm. (Those of a queue that is a regular "
               "file elsewhere are made again when needed.) To remove them:");
    paper_print(paper, "  ");
    paper_colour(paper, BOLD);
    paper_print(paper, "shmqctl rm --orphans ");
    paper_word(paper, orphans->directory);
    paper_colour(paper, PLAIN);
    paper_put(paper, "\n", 1);
}

/* ---- stat ------------------------------------------------------------------------------------- */

static void label(struct paper *paper, const char *text) {
    paper_print(paper, "  ");
    paper_colour(paper, DIM);
    paper_print(paper, "%-*s", LABEL_COLUMNS - 2, text);
    paper_colour(paper, PLAIN);
}

static void show_object(struct paper *paper, const struct inspection *found) {
    label(paper, "object");
    (void)paper_name(paper, found->path);
    paper_put(paper, "\n", 1);
    paper_print(paper, "%*smode %04o, owner %s, %lld bytes, inode %llu, made %s ago\n", LABEL_COLUMNS, "",
                (unsigned)found->status.st_mode & 07777, show_owner(found).text, (long long)found->status.st_size,
                (unsigned long long)found->status.st_ino, show_age(found->born_s).text);
}

static void show_slots(struct paper *paper, const struct inspection *found, enum shmq_end end,
                       const struct people *people) {
    const struct inspected_side *side = &found->side[end];
    const char *who = end == SHMQ_PRODUCER ? "producer" : "consumer";

    for (unsigned slot = 0; slot < side->slots; slot++) {
        const struct person *person = people == NULL ? NULL : people_at(people, end, slot);
        char name[24];

        if (side->life[slot] == 0 && !side->alive[slot] && (slot > 0 || side->alive_count > 0)) continue;
        (void)snprintf(name, sizeof name, side->many ? "%s %u" : "%s", who, slot);
        label(paper, name);
        paper_print(paper, "%s",
                    side->alive[slot]       ? "is there"
                    : side->died[slot]      ? "died without closing"
                    : side->life[slot] == 0 ? "has not come yet"
                                            : "has closed");
        if (person != NULL) {
            paper_print(paper, ": process %ld, ", (long)person->pid);
            (void)paper_name(paper, person->command);
        }
        paper_print(paper, "\n");
    }
}

static void show_side(struct paper *paper, const struct inspection *found, enum shmq_end end,
                      const struct people *people) {
    const struct inspected_side *side = &found->side[end];

    show_slots(paper, found, end, people);
    label(paper, "");
    paper_print(paper, "slept %llu times, woke the other side %llu times", (unsigned long long)side->sleeps,
                (unsigned long long)side->rings);
    if (side->lock > 0 && side->lock <= SLOTS) paper_print(paper, "; %llu works", (unsigned long long)side->lock - 1);
    paper_print(paper, "\n");
}

static void show_messages(struct paper *paper, const struct inspection *found, const struct show_rates *rates) {
    const unsigned long long sent = found->side[SHMQ_PRODUCER].messages, taken = found->side[SHMQ_CONSUMER].messages;

    label(paper, "messages");
    paper_print(paper, "%llu sent, %llu received, %llu waiting\n", sent, taken, (unsigned long long)found->waiting);
    if (rates != NULL && rates->known) {
        label(paper, "rate");
        paper_print(paper, "%.0f/s sent, %.0f/s received\n", rates->sent, rates->received);
    }
    label(paper, "full");
    paper_print(paper, "%d%%: %llu of %llu bytes; a message has at most %llu\n", percent(found),
                (unsigned long long)found->used, (unsigned long long)found->header.capacity,
                (unsigned long long)found->header.max_message);
}

static void show_created(struct paper *paper, const struct header *header) {
    static const char *const names[] = {"many producers", "many consumers", "ephemeral", "checksums"};
    const char *comma = "";

    label(paper, "notifier");
    paper_print(paper, "%s\n", options_notifier(header->notify));
    label(paper, "flags");
    for (unsigned bit = 0; bit < 4; bit++) {
        if ((header->flags >> bit & 1) == 0) continue;
        paper_print(paper, "%s%s", comma, names[bit]);
        comma = ", ";
    }
    paper_print(paper, "%s\n", *comma == '\0' ? "none" : "");
}

void show_all(struct paper *paper, const struct inspection *found, const struct findings *findings,
              const struct people *people, const struct show_rates *rates) {
    (void)paper_name(paper, found->name);
    paper_print(paper, ": ");
    paper_colour(paper, colour_of(findings));
    paper_print(paper, "%s\n", findings->state);
    paper_colour(paper, PLAIN);
    if (inspect_has_state(found)) {
        show_messages(paper, found, rates);
        show_side(paper, found, SHMQ_PRODUCER, people);
        show_side(paper, found, SHMQ_CONSUMER, people);
        show_created(paper, &found->header);
    }
    if (found->what != INSPECTED_ABSENT && found->what != INSPECTED_FAILED) show_object(paper, found);
    show_findings(paper, found, findings, 2);
}

void show_line(struct paper *paper, const struct inspection *found, const struct show_rates *rates) {
    const unsigned long long sent = found->side[SHMQ_PRODUCER].messages, taken = found->side[SHMQ_CONSUMER].messages;

    paper_print(paper, "sent %llu", sent);
    if (rates->known) paper_print(paper, " (%.0f/s)", rates->sent);
    paper_print(paper, " received %llu", taken);
    if (rates->known) paper_print(paper, " (%.0f/s)", rates->received);
    paper_print(paper, " waiting %llu full %d%% producers %u consumers %u\n", (unsigned long long)found->waiting,
                percent(found), found->side[SHMQ_PRODUCER].alive_count, found->side[SHMQ_CONSUMER].alive_count);
}
