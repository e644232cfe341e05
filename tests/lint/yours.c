/* The smallest program that uses the library: both ends in one process. It is C and C++ alike, and readme_line.sh
 * compiles it as both.    usage: yours QUEUE */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "shmq.h"

static int fail(const char *what) {
    perror(what);
    return 1;
}

int main(int argc, char **argv) {
    static const char message[] = "a message";
    char received[64];
    struct shmq_attr attr;
    shmq *producer, *consumer;

    if (argc != 2) return 2;
    memset(&attr, 0, sizeof attr);
    attr.flags = SHMQ_EPHEMERAL;
    if (shmq_open(&producer, argv[1], SHMQ_PRODUCER, O_CREAT | O_EXCL, &attr) != 0 ||
        shmq_open(&consumer, argv[1], SHMQ_CONSUMER, 0, NULL) != 0)
        return fail("shmq_open");
    if (shmq_send(producer, message, sizeof message, 1000) != 0) return fail("shmq_send");
    if (shmq_recv(consumer, received, sizeof received, 1000) != (ssize_t)sizeof message ||
        memcmp(received, message, sizeof message) != 0)
        return fail("shmq_recv");
    if (shmq_close(producer) != 0 || shmq_close(consumer) != 0) return fail("shmq_close");
    printf("received: %s\n", received);
    return 0;
}
