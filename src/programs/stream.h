/* Whole writes and patient reads on descriptors that may be pipes, terminals, files, blocking or not. On failure -1
 * and errno; EINTR means that a signal asked to stop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* One read(2) that waits for input: bytes read, 0 at the end. */
ssize_t stream_read(int fd, void *buffer, size_t size);

/* Writes all parts, in one system call if the system takes them so. Changes the parts. */
int stream_write_parts(int fd, struct iovec *parts, int count);

int stream_write(int fd, const char *bytes, size_t length);

struct iovec stream_part(const void *bytes, size_t length);
