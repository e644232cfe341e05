/* The JSON of show.h. Its keys are an interface: they may be joined by others, and do not change. */
#include <stdio.h>
#include <time.h>

#include "options.h"
#include "show.h"

static void remedy(struct json *json, const struct inspection *found, const struct finding *finding) {
    struct paper command;

    paper_begin(&command, -1);
    findings_remedy(&command, finding, found);
    if (command.used == sizeof command.bytes) command.used--; /* never: a path is shorter, and so is its quoting */
    command.bytes[command.used] = '\0';
    json_text(json, "remedy", command.used > 0 ? command.bytes : NULL);
}

void show_json_findings(struct json *json, const struct inspection *found, const struct findings *findings) {
    json_bool(json, "ok", findings->problems == 0);
    json_open(json, "findings", "[");
    for (unsigned i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->list[i];

        json_open(json, NULL, "{");
        json_text(json, "code", finding->code);
        json_bool(json, "problem", finding->problem);
        json_text(json, "text", finding->text);
        remedy(json, found, finding);
        json_close(json, "}");
    }
    json_close(json, "]");
}

static void slots(struct json *json, const struct inspection *found, enum shmq_end end, const struct people *people) {
    const struct inspected_side *side = &found->side[end];

    json_open(json, "slots", "[");
    for (unsigned slot = 0; slot < side->slots; slot++) {
        const struct person *person = people == NULL ? NULL : people_at(people, end, slot);

        if (side->life[slot] == 0 && !side->alive[slot]) continue;
        json_open(json, NULL, "{");
        json_number(json, "slot", slot);
        json_text(json, "state", side->alive[slot] ? "alive" : side->died[slot] ? "died" : "closed");
        json_number(json, "life", side->life[slot]);
        if (person != NULL) json_number(json, "pid", (uint64_t)person->pid);
        if (person != NULL) json_text(json, "command", person->command);
        json_close(json, "}");
    }
    json_close(json, "]");
}

static void side(struct json *json, const struct inspection *found, enum shmq_end end, const struct people *people) {
    const struct inspected_side *side = &found->side[end];

    json_open(json, end == SHMQ_PRODUCER ? "producers" : "consumers", "{");
    json_number(json, "alive", side->alive_count);
    json_bool(json, "many", side->many);
    json_number(json, "cursor", side->cursor);
    json_number(json, "sleeps", side->sleeps);
    json_number(json, "rings", side->rings);
    slots(json, found, end, people);
    json_close(json, "}");
}

static void object(struct json *json, const struct inspection *found) {
    const int64_t now_s = time(NULL);
    char mode[8];

    (void)snprintf(mode, sizeof mode, "%04o", (unsigned)found->status.st_mode & 07777);
    json_text(json, "mode", mode);
    json_text(json, "owner", show_owner(found).text);
    json_number(json, "uid", found->status.st_uid);
    json_number(json, "gid", found->status.st_gid);
    json_number(json, "bytes", (uint64_t)found->status.st_size);
    json_number(json, "inode", found->status.st_ino);
    json_number(json, "age_s", now_s > found->born_s ? (uint64_t)(now_s - found->born_s) : 0);
}

static void state(struct json *json, const struct inspection *found, const struct people *people) {
    const struct header *header = &found->header;

    json_text(json, "notify", options_notifier(header->notify));
    json_open(json, "flags", "{");
    json_bool(json, "many_producers", (header->flags & SHMQ_MANY_PRODUCERS) != 0);
    json_bool(json, "many_consumers", (header->flags & SHMQ_MANY_CONSUMERS) != 0);
    json_bool(json, "ephemeral", (header->flags & SHMQ_EPHEMERAL) != 0);
    json_bool(json, "checksum", (header->flags & SHMQ_CHECKSUM) != 0);
    json_close(json, "}");
    json_number(json, "capacity", header->capacity);
    json_number(json, "max_message", header->max_message);
    json_number(json, "used", found->used);
    json_number(json, "sent", found->side[SHMQ_PRODUCER].messages);
    json_number(json, "received", found->side[SHMQ_CONSUMER].messages);
    json_number(json, "waiting", found->waiting);
    json_bool(json, "busy", found->busy);
    side(json, found, SHMQ_PRODUCER, people);
    side(json, found, SHMQ_CONSUMER, people);
}

void show_json(struct json *json, const struct inspection *found, const struct findings *findings,
               const struct people *people, const struct show_rates *rates) {
    json_text(json, "name", found->name);
    json_text(json, "path", found->path);
    json_text(json, "state", findings->state);
    if (found->what != INSPECTED_ABSENT && found->what != INSPECTED_FAILED) object(json, found);
    if (inspect_has_state(found)) state(json, found, people);
    if (rates != NULL && rates->known) {
        json_decimal(json, "sent_per_s", rates->sent);
        json_decimal(json, "received_per_s", rates->received);
    }
    show_json_findings(json, found, findings);
}

void show_json_orphans(struct json *json, const struct orphans *orphans) {
    json_open(json, "orphans", "[");
    for (unsigned i = 0; i < orphans->count; i++) {
        json_open(json, NULL, "{");
        json_text(json, "name", orphans->list[i].name);
        json_number(json, "age_s", orphans->list[i].age_s);
        json_bool(json, "unsure", orphans->list[i].unsure);
        json_close(json, "}");
    }
    json_close(json, "]");
}
