/* What the programs say about their use. 0, or -1 with errno. */
#pragma once

int help_print(int fd, const char *program);
int help_version(int fd, const char *program);

/* Two lines, after a command line that was wrong. */
void help_usage(int fd, const char *program);
