/* SIGINT and SIGTERM, as a flag. Everything that may wait asks stop_signal() when it is interrupted and gives up if
 * it answers. */
#pragma once

/* From now on SIGINT and SIGTERM only set the flag. Also where they were ignored: a shell script starts its
 * background jobs so, and `kill -INT` must end them properly all the same. */
void stop_install(void);

/* The first signal that asked to stop; 0: none yet. */
int stop_signal(void);
