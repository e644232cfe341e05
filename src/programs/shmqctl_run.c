/* What the program `shmqctl` does: looks at queues, and removes those that nobody uses. Called by shmqctl.c and by
 * tests; never touches what is process-wide. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "narration.h"
#include "options.h"
#include "programs.h"
#include "show.h"
#include "shmqctl_options.h"
#include "stop.h"
#include "watch.h"

static const char SHM[] = "/dev/shm";

/* What was printed is out, or it is said why not. A signal is how people end --watch. */
static int finish(struct paper *paper, const struct shmqctl_options *options, const struct streams *io, int status) {
    if (paper_flush(paper) == 0) return status;
    if (errno == EINTR) return options->every_ns > 0 ? STATUS_DONE : STATUS_SIGNAL + stop_signal();
    if (errno == EPIPE) return STATUS_SIGNAL + SIGPIPE; /* quietly: the reader has seen enough */
    narrate(io->err, "shmqctl", "cannot write standard output: %s", strerror(errno));
    return STATUS_FAILURE;
}

/* One line on standard error about a name. */
static void complain(const struct streams *io, const char *name, const char *format, const char *why) {
    struct paper paper;

    paper_begin(&paper, io->err);
    paper_print(&paper, "shmqctl: ");
    (void)paper_name(&paper, name);
    paper_print(&paper, ": ");
    paper_print(&paper, "%s%s\n", format, why);
    (void)paper_flush(&paper);
}

/* ---- ls --------------------------------------------------------------------------------------- */

struct listing {
    char **names;
    size_t count, room;
};

static int by_name(const void *left, const void *right) { return strcmp(*(char *const *)left, *(char *const *)right); }

/* As shmq_open would be given it. */
static char *full_name(const char *directory, const char *name) {
    const bool shared = strcmp(directory, SHM) == 0;
    const bool slash = directory[strlen(directory) - 1] == '/';
    char *full = NULL;

    return asprintf(&full, "%s%s%s", shared ? "" : directory, slash ? "" : "/", name) < 0 ? NULL : full;
}

static bool listing_add(struct listing *listing, const char *directory, const char *name) {
    if (listing->count == listing->room) {
        const size_t room = 2 * listing->room + 64;
        char **names = (char **)reallocarray((void *)listing->names, room, sizeof *names);

        if (names == NULL) return false;
        listing->names = names;
        listing->room = room;
    }
    listing->names[listing->count] = full_name(directory, name);
    return listing->names[listing->count++] != NULL;
}

static void listing_free(struct listing *listing) {
    for (size_t i = 0; i < listing->count; i++)
        free(listing->names[i]);
    free((void *)listing->names);
}

/* Everything in the directory that may be a queue. -1 with errno. */
static int listing_read(struct listing *listing, const char *path) {
    DIR *directory = opendir(path);
    const struct dirent *entry;
    bool whole = true;

    *listing = (struct listing){.count = 0};
    if (directory == NULL) return -1;
    while (whole && (entry = readdir(directory)) != NULL)
        if (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) whole = listing_add(listing, path, entry->d_name);
    closedir(directory);
    if (listing->count > 0) qsort((void *)listing->names, listing->count, sizeof *listing->names, by_name);
    return whole ? 0 : -1;
}

/* What stands in one list, of either form. */
struct ls {
    struct paper paper;
    struct json json;
    bool as_json;
    unsigned queues, unreadable;
};

static void ls_one(struct ls *ls, const char *name) {
    struct inspection found;
    struct findings findings;

    inspect(&found, name);
    ls->unreadable += found.what == INSPECTED_CLOSED;
    if (found.what == INSPECTED_QUEUE) {
        findings_of(&findings, &found, false);
        if (ls->as_json) {
            json_open(&ls->json, NULL, "{");
            show_json(&ls->json, &found, &findings, NULL, NULL);
            json_close(&ls->json, "}");
        } else {
            if (ls->queues == 0) show_table_head(&ls->paper);
            show_row(&ls->paper, &found, &findings);
        }
        ls->queues++;
    }
    inspect_close(&found);
}

static void ls_text(struct ls *ls, const char *directory, const struct listing *listing,
                    const struct orphans *orphans) {
    for (size_t i = 0; i < listing->count; i++)
        ls_one(ls, listing->names[i]);
    if (ls->queues == 0) {
        paper_print(&ls->paper, "No queue in ");
        (void)paper_name(&ls->paper, directory);
        paper_print(&ls->paper, ".\n");
    }
    if (ls->unreadable > 0)
        paper_print(&ls->paper, "%u file%s may not be read by you, and may be queues.\n", ls->unreadable,
                    ls->unreadable == 1 ? "" : "s");
    show_orphans(&ls->paper, orphans);
}

static void ls_json(struct ls *ls, const char *directory, const struct listing *listing,
                    const struct orphans *orphans) {
    json_open(&ls->json, NULL, "{");
    json_text(&ls->json, "directory", directory);
    json_open(&ls->json, "queues", "[");
    for (size_t i = 0; i < listing->count; i++)
        ls_one(ls, listing->names[i]);
    json_close(&ls->json, "]");
    json_number(&ls->json, "unreadable", ls->unreadable);
    show_json_orphans(&ls->json, orphans);
    json_close(&ls->json, "}");
    json_end(&ls->json);
}

static int list(const struct shmqctl_options *options, const struct streams *io) {
    const char *directory = options->count > 0 ? options->names[0] : SHM;
    struct listing listing;
    struct orphans orphans;
    struct ls ls = {.as_json = options->json};

    if (*directory == '\0') return complain(io, directory, "", "no directory"), STATUS_FAILURE;
    if (listing_read(&listing, directory) != 0 || orphans_find(&orphans, directory) != 0) {
        complain(io, directory, strerror(errno), "");
        listing_free(&listing);
        return STATUS_FAILURE;
    }
    paper_begin(&ls.paper, io->out);
    ls.json.paper = &ls.paper;
    if (ls.as_json)
        ls_json(&ls, directory, &listing, &orphans);
    else
        ls_text(&ls, directory, &listing, &orphans);
    listing_free(&listing);
    return finish(&ls.paper, options, io, STATUS_DONE);
}

/* ---- stat and check --------------------------------------------------------------------------- */

static void check_text(struct paper *paper, const struct inspection *found, const struct findings *findings) {
    if (findings->problems == 0) {
        (void)paper_name(paper, found->name);
        paper_print(paper, ": ");
        paper_colour(paper, GREEN);
        paper_print(paper, "fine");
        paper_colour(paper, PLAIN);
        paper_print(paper, ": %s; %llu message%s looked at\n", findings->state,
                    (unsigned long long)findings->walk.messages, findings->walk.messages == 1 ? "" : "s");
    } else {
        (void)paper_name(paper, found->name);
        paper_print(paper, ": ");
        paper_colour(paper, RED);
        paper_print(paper, "%s\n", findings->state);
        paper_colour(paper, PLAIN);
    }
    show_findings(paper, found, findings, 2);
}

static int check(const struct shmqctl_options *options, const struct streams *io) {
    struct inspection found;
    struct findings findings;
    struct paper paper;
    struct json json = {.paper = &paper};

    inspect(&found, options->names[0]);
    findings_of(&findings, &found, true);
    paper_begin(&paper, io->out);
    if (options->json) {
        json_open(&json, NULL, "{");
        show_json(&json, &found, &findings, NULL, NULL);
        json_number(&json, "messages_checked", findings.walk.messages);
        json_bool(&json, "all_checked", findings.walk.complete && findings.walk.unsealed == 0);
        json_close(&json, "}");
        json_end(&json);
    } else {
        check_text(&paper, &found, &findings);
    }
    inspect_close(&found);
    return finish(&paper, options, io, findings.problems == 0 ? STATUS_DONE : STATUS_FAILURE);
}

static int stat_once(const struct shmqctl_options *options, const struct streams *io) {
    struct inspection found;
    struct findings findings;
    struct people people;
    struct paper paper;
    struct json json = {.paper = &paper};
    int status;

    inspect(&found, options->names[0]);
    findings_of(&findings, &found, false);
    status = inspect_has_state(&found) && found.cursors_possible ? STATUS_DONE : STATUS_FAILURE;
    people_find(&people, &found.status);
    paper_begin(&paper, io->out);
    if (options->json) {
        json_open(&json, NULL, "{");
        show_json(&json, &found, &findings, &people, NULL);
        json_close(&json, "}");
        json_end(&json);
    } else {
        show_all(&paper, &found, &findings, &people, NULL);
    }
    inspect_close(&found);
    return finish(&paper, options, io, status);
}

static int stat_watch(const struct shmqctl_options *options, const struct streams *io) {
    struct inspection found;
    struct paper paper;
    int status;

    inspect(&found, options->names[0]);
    if (!inspect_has_state(&found)) {
        inspect_close(&found);
        return stat_once(options, io);
    }
    paper_begin(&paper, io->out);
    status = watch(&paper, &found, options->every_ns, options->json);
    inspect_close(&found);
    return finish(&paper, options, io, status);
}

/* ---- rm --------------------------------------------------------------------------------------- */

/* Says who has it open. */
static void tell_users(const struct streams *io, const struct inspection *found) {
    struct paper paper;
    struct people people;

    people_find(&people, &found->status);
    paper_begin(&paper, io->err);
    paper_print(&paper, "shmqctl: ");
    (void)paper_name(&paper, found->name);
    paper_print(&paper, ": in use, so it stays: end those who use it, or give --force\n");
    for (unsigned i = 0; i < people.count; i++) {
        const int lease = people.list[i].lease;

        paper_print(&paper, "  process %ld, ", (long)people.list[i].pid);
        (void)paper_name(&paper, people.list[i].command);
        paper_print(&paper, "%s\n",
                    lease < LEASE_ROLES           ? ""
                    : lease < LEASE_ROLES + SLOTS ? ": a producer of it"
                                                  : ": a consumer of it");
    }
    if (people.count == 0) paper_print(&paper, "  by processes that you may not look into: ask root\n");
    (void)paper_flush(&paper);
}

static const char *why_not_removed(int error) {
    switch (error) {
    case ENOENT: return "there is no such queue";
    case EPROTO: return "not a queue: it is left alone";
    case EBUSY: return "somebody has been opening, closing or unlinking it for over a second: shmqctl check says more";
    case EACCES:
    case EPERM: return "its owner, its mode or its directory keeps you from removing it";
    case ELOOP: return "a symbolic link, which is never followed: give the name of the object itself";
    default: return strerror(error);
    }
}

static int remove_one(const struct shmqctl_options *options, const struct streams *io, const char *name) {
    struct inspection found;
    int status = STATUS_FAILURE;

    inspect(&found, name);
    if (!options->force && found.what == INSPECTED_QUEUE && inspect_has_users(&found))
        tell_users(io, &found);
    else if (shmq_unlink(name) == 0)
        status = STATUS_DONE;
    else
        complain(io, name, why_not_removed(errno), "");
    inspect_close(&found);
    return status;
}

static int remove_orphans(const struct shmqctl_options *options, const struct streams *io) {
    const char *directory = options->count > 0 ? options->names[0] : SHM;
    struct orphans orphans;
    struct paper paper;
    int status = STATUS_DONE;

    if (orphans_find(&orphans, directory) != 0) {
        complain(io, directory, strerror(errno), "");
        return STATUS_FAILURE;
    }
    paper_begin(&paper, io->out);
    for (unsigned i = 0; i < orphans.count; i++) {
        if (orphans_remove(&orphans, &orphans.list[i]) == 0) {
            paper_print(&paper, "removed %s\n", orphans.list[i].name);
            continue;
        }
        complain(io, orphans.list[i].name, "stays: ",
                 errno == EBUSY ? "others may be using it, whom you may not see: ask root" : strerror(errno));
        status = STATUS_FAILURE;
    }
    return finish(&paper, options, io, status);
}

static int remove_all(const struct shmqctl_options *options, const struct streams *io) {
    int status = STATUS_DONE;

    for (int i = 0; i < options->count; i++)
        if (remove_one(options, io, options->names[i]) != STATUS_DONE) status = STATUS_FAILURE;
    return status;
}

int shmqctl_run(int argc, char **argv, const struct streams *io) {
    struct shmqctl_options options;
    const int status = shmqctl_options_parse(&options, argc, argv, io);

    if (status != OPTIONS_GO_ON) return status;
    switch (options.command) {
    case SHMQCTL_LS: return list(&options, io);
    case SHMQCTL_CHECK: return check(&options, io);
    case SHMQCTL_STAT: return options.every_ns > 0 ? stat_watch(&options, io) : stat_once(&options, io);
    default: return options.orphans ? remove_orphans(&options, io) : remove_all(&options, io);
    }
}
