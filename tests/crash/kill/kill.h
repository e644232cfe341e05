/* Kill everywhere: a process is killed, or stopped, at each moment of an operation that others could tell from the one
 * before; then others finish the job, and must find what shmq.h promises.
 *
 *     play.c   one trial: how it begins, the death, what must hold afterwards
 *     kill.c   the program: which trials */
#pragma once

#include "crash.h"

/* For a process of its own: both end it. Runs the scene and notes its moments: every `every`th instruction too, unless 0.
 * Of a pair, those of the end that comes second. */
void play_rehearse(const struct scene *scene, const struct trial *trial, uint32_t every, struct result *result);
void play(const struct scene *scene, const struct trial *trial, struct result *result);
