/* What shmqctl shows of queues: as text for people, and as JSON for programs (docs/man/shmqctl.1 lists the keys). */
#pragma once

#include "findings.h"
#include "inspect.h"
#include "json.h"
#include "orphans.h"
#include "paper.h"
#include "people.h"

/* What moved since the last look. */
struct show_rates {
    bool known;
    double sent, received; /* messages a second */
};

void show_table_head(struct paper *paper);

/* One line, and what is wrong below it. */
void show_row(struct paper *paper, const struct inspection *found, const struct findings *findings);
void show_orphans(struct paper *paper, const struct orphans *orphans);

/* All there is to know. `people` may be NULL. */
void show_all(struct paper *paper, const struct inspection *found, const struct findings *findings,
              const struct people *people, const struct show_rates *rates);

/* One line of what moves. */
void show_line(struct paper *paper, const struct inspection *found, const struct show_rates *rates);

/* What was found, each with its remedy. */
void show_findings(struct paper *paper, const struct inspection *found, const struct findings *findings, size_t indent);

/* The same as members of an object of JSON. */
void show_json(struct json *json, const struct inspection *found, const struct findings *findings,
               const struct people *people, const struct show_rates *rates);
void show_json_findings(struct json *json, const struct inspection *found, const struct findings *findings);
void show_json_orphans(struct json *json, const struct orphans *orphans);

/* "5s", "12m", "3h", "45d". */
struct show_short {
    char text[8];
};
struct show_short show_age(int64_t since_s);

/* Whose it is: a name, or a number that has none. */
struct show_owner {
    char text[33];
};
struct show_owner show_owner(const struct inspection *found);

/* The letters of flags: p, c, e, x; or -. */
struct show_short show_flags(uint32_t flags);
