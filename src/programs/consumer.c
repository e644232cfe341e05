/* The program `consumer`: prepares the process and hands over to consumer_run.c. Holds nothing worth testing. */
#include <unistd.h>

#include "programs.h"
#include "startup.h"

int main(int argc, char **argv) {
    const struct streams io = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};

    startup();
    return consumer_run(argc, argv, &io);
}
