/* shmqctl stat --watch: the same queue again and again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "inspect.h"
#include "paper.h"

/* Until a signal asks to stop, the queue is gone or the reader is. On a terminal a screen, elsewhere a line each time;
 * or an object of JSON in a line. Returns the status to exit with; what could not be written, paper_flush tells. */
int watch(struct paper *paper, struct inspection *found, int64_t every_ns, bool as_json);
