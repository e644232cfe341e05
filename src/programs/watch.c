/* See watch.h. Looks only when it shows; never holds the queue in any way. */
#include "watch.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "patience.h"
#include "programs.h"
#include "show.h"
#include "stop.h"

static const char SCREEN_BEGINS[] = "\033[H\033[J", SCREEN_FIRST[] = "\033[2J";

/* Counters at one moment. */
struct moment {
    int64_t at_ns;
    uint64_t sent, received;
};

static struct moment take(const struct inspection *found) {
    return (struct moment){monotonic_ns(), found->side[SHMQ_PRODUCER].messages, found->side[SHMQ_CONSUMER].messages};
}

static struct show_rates rates_between(const struct moment *before, const struct moment *now) {
    const double seconds = (double)(now->at_ns - before->at_ns) / 1e9;

    if (before->at_ns == 0 || seconds <= 0) return (struct show_rates){.known = false};
    return (struct show_rates){
        .known = true,
        .sent = (double)(int64_t)(now->sent - before->sent) / seconds,
        .received = (double)(int64_t)(now->received - before->received) / seconds,
    };
}

static void show_time(struct paper *paper) {
    const time_t now = time(NULL);
    struct tm parts;
    char text[16];

    if (localtime_r(&now, &parts) != NULL && strftime(text, sizeof text, "%H:%M:%S ", &parts) > 0)
        paper_print(paper, "%s", text);
}

static void show(struct paper *paper, struct inspection *found, const struct show_rates *rates, bool as_json) {
    struct json json = {.paper = paper};
    struct findings findings;
    struct people people;

    if (!as_json && !paper->terminal) {
        show_time(paper);
        show_line(paper, found, rates);
        return;
    }
    findings_of(&findings, found, false);
    people_find(&people, &found->status);
    if (as_json) {
        json_open(&json, NULL, "{");
        show_json(&json, found, &findings, &people, rates);
        json_close(&json, "}");
        json_end(&json);
        return;
    }
    paper_print(paper, "%s", SCREEN_BEGINS);
    show_all(paper, found, &findings, &people, rates);
    paper_print(paper, "\nCtrl-C ends this. ");
    show_time(paper);
    paper_print(paper, "\n");
}

/* Sleeps until then. False: asked to stop. */
static bool sleep_until(int64_t until_ns) {
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};

    while (stop_signal() == 0 && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    return stop_signal() == 0;
}

/* The queue can no longer be looked at. */
static int tell_end(struct paper *paper, struct inspection *found, bool as_json) {
    struct findings findings;

    inspect_close(found);
    inspect(found, found->name);
    findings_of(&findings, found, false);
    if (found->what == INSPECTED_ABSENT || inspect_has_state(found)) {
        if (!as_json) paper_print(paper, "The queue has been removed.\n");
        return STATUS_DONE;
    }
    if (!as_json) show_findings(paper, found, &findings, 0);
    return STATUS_FAILURE;
}

int watch(struct paper *paper, struct inspection *found, int64_t every_ns, bool as_json) {
    struct moment before = {.at_ns = 0};

    if (paper->terminal && !as_json) paper_print(paper, "%s", SCREEN_FIRST);
    for (;;) {
        const struct moment now = take(found);
        const struct show_rates rates = rates_between(&before, &now);

        show(paper, found, &rates, as_json);
        if (paper_flush(paper) != 0 || !sleep_until(now.at_ns + every_ns)) return STATUS_DONE;
        before = now;
        if (!inspect_again(found)) return tell_end(paper, found, as_json);
    }
}
