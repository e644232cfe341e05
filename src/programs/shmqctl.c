/* The program `shmqctl`: prepares the process and hands over to shmqctl_run.c. Holds nothing worth testing. */
#include <unistd.h>

#include "programs.h"
#include "startup.h"

int main(int argc, char **argv) {
    const struct streams io = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};

    startup();
    return shmqctl_run(argc, argv, &io);
}
