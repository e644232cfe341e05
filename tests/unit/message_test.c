/* Messages through one queue, both ends in one process: sizes, limits, zero copy, and what is refused. */
#include "check.h"

#include <fcntl.h>
#include <string.h>

#include "shmq.h"

static void open_pair(const char *name, const struct shmq_attr *attr, shmq **producer, shmq **consumer)
{
    CHECK(shmq_open(producer, name, SHMQ_PRODUCER, O_CREAT | O_EXCL, attr) == 0);
    CHECK(shmq_open(consumer, name, SHMQ_CONSUMER, 0, attr) == 0);
}

TEST(a_message_arrives_as_it_was_sent)
{
    const char *name = check_name("q");
    const struct shmq_attr attr = {.flags = SHMQ_EPHEMERAL};
    shmq *producer, *consumer;
    char buffer[16] = "";
    open_pair(name, &attr, &producer, &consumer);
    CHECK(shmq_send(producer, "hello", 6, -1) == 0);
    CHECK_EQUAL(shmq_recv(consumer, buffer, sizeof buffer, -1), 6);
    CHECK(strcmp(buffer, "hello") == 0);
    CHECK(shmq_close(producer) == 0);
    CHECK_FAILS(shmq_recv(consumer, buffer, sizeof buffer, -1), EPIPE);
    CHECK(shmq_close(consumer) == 0);
    CHECK_FAILS(shmq_unlink(name), ENOENT);
}

int main(int argc, char **argv)
{
    return check_main(argc, argv);
}
