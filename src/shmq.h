/* shmq: a queue of messages between processes on one machine.
 *
 * Two processes map the same pages; when one has written and the other sleeps, a notifier wakes it.
 * This is the whole public interface. The guarantees first:
 *
 *   Delivery   Every message whose shmq_send (or shmq_commit) returned 0 is received exactly once,
 *              in order, with the bytes that were sent, whoever is killed and whenever. The one
 *              exception: a consumer killed inside shmq_recv may leave that one message either
 *              taken or not. With shmq_peek and shmq_release it is delivered again.
 *   Trust      Nothing that another process can write is believed. A region that does not make
 *              sense gives EBADMSG: never a crash, an endless loop or a wrong message. (The
 *              notifiers that use libc's own objects, named and cond, are for processes that trust
 *              each other. shmq_peek points into memory that a hostile peer can still change.)
 *   Cleanup    A process killed at any instruction leaves no half-made queue behind. An ephemeral
 *              queue goes when its last end closes it drained.
 *
 * Conventions. A function returns 0 (or a size, or a pointer) on success, and -1 (or NULL) with
 * errno on failure. Sizes are bytes. Time-outs are milliseconds: -1 waits for ever, 0 never waits;
 * other negative values are EINVAL. No function but shmq_open allocates, none logs or exits, and
 * none installs a signal handler unasked.
 *
 * Threads. One handle is for one thread at a time; threads open one each. Different handles are
 * independent. Of a side with many ends one at a time works on the queue, and the others of that
 * side wait, up to their time-outs: also while one holds what shmq_reserve or shmq_peek gave it, or
 * waits for a message. After fork, the child's copy of a handle answers EINVAL to every call, and
 * the parent's end is not affected.
 *
 * errno          when
 * EAGAIN         the time-out was 0 and the call would have waited
 * ETIMEDOUT      time ran out
 * EINTR          a signal handler ran while waiting (cond, lock and spin cannot tell and go on, but while
 *                they wait for others of their side); signal: or the process was stopped and continued. Who
 *                calls again says anew how long to wait
 * EPIPE          recv, peek: the ring is drained and the last producer closed properly. send,
 *                reserve, drain: the consumer that was there has closed. Or the queue is unlinked,
 *                nobody is at its other end and nobody can come
 * EOWNERDEAD     as EPIPE, but the peer died without closing (all that it published comes first)
 * EMSGSIZE       longer than max_message; or the buffer is too small (the message stays, peek
 *                tells its length)
 * EBADMSG        the shared region does not make sense or is gone; every later call on the handle
 *                answers the same
 * EBUSY          that end is taken, or all 64 of its side; the life cycle is held by someone for
 *                over 1 s; something is reserved
 * EPROTO         something is there but it is no queue of this ABI (magic, version, sizes; for
 *                named and cond another libc)
 * ENOTSUP        this environment, file system or build cannot give what the notifier or a flag
 *                needs
 * EEXIST ENOENT EACCES ELOOP ENOSPC ENAMETOOLONG
 *                O_EXCL and it exists; no queue; not ours; symbolic link; full; name
 * EPERM EMFILE ENFILE ENOMEM
 *                what the directory forbids (a sticky one, another's file); what has run out
 * EINVAL         arguments, wrong end, nothing held, handle inherited by fork
 */
#ifndef SHMQ_H
#define SHMQ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct shmq shmq; /* one end of a queue, opened by this process */

enum shmq_end { SHMQ_PRODUCER, SHMQ_CONSUMER };

/* How a sleeper is woken. Chosen when the queue is created. */
enum shmq_notify {
    SHMQ_NOTIFY_SEM,    /* a binary semaphore in the region, on a futex: the default */
    SHMQ_NOTIFY_NAMED,  /* two POSIX named semaphores. For ends that trust each other */
    SHMQ_NOTIFY_COND,   /* a process-shared mutex and condition variable. For ends that trust each
                         * other, in one PID namespace; the death of one may hang the other */
    SHMQ_NOTIFY_FIFO,   /* a FIFO: shmq_fd joins event loops, and a death is noticed at once */
    SHMQ_NOTIFY_SIGNAL, /* SIGURG, which the caller must have blocked, in all its threads, or
                         * shmq_open is ENOTSUP; for ends of one user in one PID namespace */
    SHMQ_NOTIFY_LOCK,   /* file locks: a wait for ever notices a death at once; one with a time-out
                         * naps and looks again */
    SHMQ_NOTIFY_SPIN    /* polls: burns a core */
};

/* Flags of a queue, given at creation. */
enum {
    SHMQ_MANY_PRODUCERS = 1, /* any number of producers, up to 64 */
    SHMQ_MANY_CONSUMERS = 2, /* any number of consumers, up to 64; each message goes to one */
    SHMQ_EPHEMERAL = 4,      /* unlinked by the last end to close properly, if the ring is drained
                              * and a consumer ever came */
    SHMQ_CHECKSUM = 8        /* a checksum with every message: one that was damaged in the ring is
                              * EBADMSG. ENOTSUP in a build without xxhash.h */
};

/* All zero is the default. Used when the queue is created; of those who attach, only mode's
 * group and other bits count. */
struct shmq_attr {
    size_t capacity;    /* ring bytes, rounded up to a power of two of whole pages; 0 = 1 MiB */
    size_t max_message; /* payload bytes, at most capacity - 8 (with checksums - 16) and below 2^32;
                         * 0 = capacity / 4 */
    unsigned notify;    /* enum shmq_notify */
    unsigned flags;     /* SHMQ_MANY_PRODUCERS | … | SHMQ_CHECKSUM */
    mode_t mode;        /* permission bits, exactly, whatever the umask; 0 = 0600. Each of owner,
                         * group and other has read and write together or neither, else EINVAL.
                         * To attach to a queue that neither we nor root own, set group or other
                         * bits; else it is EACCES */
};

struct shmq_stat {
    uint64_t capacity, max_message; /* bytes */
    uint64_t used;                  /* bytes not yet released, headers and padding included */
    uint64_t sent, received;        /* messages since creation; may be one behind after a death */
    uint64_t sleeps, rings;         /* of this side since creation: waits that slept, wake-ups given */
    uint32_t producers, consumers;  /* alive now */
    uint32_t notify, flags;         /* as created */
};

/* Opens one end of the queue `name` and stores the handle in *q (NULL on failure).
 *
 * name: "/name" is a POSIX shared-memory object; any other path with a slash ("./q", "/var/tmp/q")
 *       is a regular file. Without a slash it is EINVAL.
 * oflag: 0 attaches (ENOENT if there is no queue); O_CREAT attaches or creates;
 *        O_CREAT | O_EXCL creates (EEXIST).
 * attr: NULL is all defaults.
 *
 * Never waits for the other end, and both may come in either order. Creation is one atomic step:
 * nobody sees a half-built queue, and a creator killed inside leaves nothing. Waits at most 1 s
 * for others who open, close or unlink the same queue. The first call in a process that has
 * threads takes milliseconds longer, for membarrier(2). The caller owns the handle until
 * shmq_close.
 * On failure nothing was created.
 * Errors: EINVAL ENOENT EEXIST EACCES EPERM ELOOP ENAMETOOLONG ENOSPC ENOMEM EMFILE ENFILE EBUSY
 * EPROTO EBADMSG ENOTSUP; EINTR and EIO where the file system says so. */
int shmq_open(shmq **q, const char *name, enum shmq_end end, int oflag, const struct shmq_attr *attr);

/* Copies one message of `length` bytes (0 is a message too) into the ring and publishes it;
 * waits for space. A consumer that left is reported only when there is no space: until then
 * messages wait for whoever comes next.
 * Errors: EINVAL EMSGSIZE EAGAIN ETIMEDOUT EINTR EPIPE EOWNERDEAD EBADMSG EBUSY (something is
 * reserved). On failure nothing was sent (with EBADMSG it may have been). */
int shmq_send(shmq *q, const void *message, size_t length, int timeout_ms);

/* Takes the next message into buffer; returns its length. Waits for one. With EMSGSIZE the
 * message stays and the buffer is unchanged. Takes the message that shmq_peek showed, if any.
 * Errors: EINVAL EMSGSIZE EAGAIN ETIMEDOUT EINTR EPIPE EOWNERDEAD EBADMSG. */
ssize_t shmq_recv(shmq *q, void *buffer, size_t size, int timeout_ms);

/* Zero copy, producer: room in the ring for a message of `length` bytes, to write before
 * shmq_commit; 8-byte aligned. Another reserve replaces the first, also when it fails; closing
 * discards it, dying too.
 * Errors: as shmq_send, less EBUSY. */
void *shmq_reserve(shmq *q, size_t length, int timeout_ms);

/* Publishes what was reserved; `length` may be smaller than reserved. Never waits. With checksums
 * it is made here: what was damaged in the ring before that passes.
 * Errors: EINVAL (nothing is reserved, or longer than reserved; the reservation stays) EBADMSG. */
int shmq_commit(shmq *q, size_t length);

/* Zero copy, consumer: the next message in the ring, 8-byte aligned, and its length (which may
 * be NULL). Valid until shmq_release, shmq_recv or shmq_close. Repeated, it gives the same
 * message. The memory is read-only here, but a hostile producer could still change it: copy
 * before deciding anything on its content.
 * Errors: EINVAL EAGAIN ETIMEDOUT EINTR EPIPE EOWNERDEAD EBADMSG. */
const void *shmq_peek(shmq *q, size_t *length, int timeout_ms);

/* Consumer: gives back the space of the message that shmq_peek showed. Producer: drops the
 * reservation. Never waits.
 * Errors: EINVAL (nothing is held) EBADMSG. */
int shmq_release(shmq *q);

/* Producer: waits until all that was sent before the call has been received, by others of its side
 * too. They may go on sending meanwhile; one of many looks every 5 ms.
 * Errors: EINVAL EAGAIN ETIMEDOUT EINTR EPIPE EOWNERDEAD (the consumer left before that)
 * EBADMSG. */
int shmq_drain(shmq *q, int timeout_ms);

/* A snapshot; never waits. Errors: EINVAL EBADMSG. */
int shmq_stat(shmq *q, struct shmq_stat *stat);

/* For poll, select and epoll, with the fifo notifier: a descriptor that becomes readable. It is
 * the queue's own and valid until shmq_close: do not read, write or close it.
 * Errors: EINVAL EBADMSG ENOTSUP (another notifier, or a side with many ends). */
int shmq_fd(shmq *q);

/* Call it before each wait for shmq_fd's descriptor. 1: do not wait, the next call says something
 * now: a message is there (producer: room for one of max_message bytes), or the other end has
 * gone. 0: wait, the descriptor becomes readable when that changes; now and then also for nothing.
 * Waits for nobody (for a millisecond where membarrier(2) is denied).
 * Once the other end has gone, the answer is 1 until somebody comes again, and the descriptor may
 * stay readable: take it out of the set. If somebody deletes the queue's FIFOs, or one of many ends
 * at the other side is killed between publishing and ringing, no ring arrives: a loop that must
 * survive that asks again once a second or so.
 * Errors: EINVAL EBADMSG ENOTSUP (another notifier, or a side with many ends). */
int shmq_arm(shmq *q);

/* Installs a handler, once for the process, so that others who truncate an object in use cannot
 * end it: a SIGBUS in a queue's region becomes EBADMSG. What shmq_peek or shmq_reserve points to
 * reads as zeros then, and shmq_release or shmq_commit tells. A SIGBUS elsewhere goes to the handler
 * that was there before. Any thread may call it, at any time. Errors: those of sigaction. */
int shmq_guard_sigbus(void);

/* Closes the end and frees the handle, whatever is returned; the peer learns that this end
 * closed properly. A handle that answered EBADMSG closes as if its process had died. The last
 * end of an ephemeral queue unlinks it.
 * Errors: EINVAL (NULL, or inherited by fork: nothing is done). Else what kept an ephemeral
 * queue from being unlinked, which is still there: EBUSY (its life cycle is held by someone for
 * over 1 s), EACCES, EPERM (a sticky directory, and another owner), EPROTO (somebody has cut it
 * off) … */
int shmq_close(shmq *q);

/* Removes the name and what belongs to it. Ends that are open go on; whoever opens the name
 * later gets a new queue. Waits at most 1 s for others who open, close or unlink it.
 * Errors: EINVAL ENOENT EACCES EPERM ELOOP ENAMETOOLONG EMFILE ENFILE ENOMEM ENOTSUP EPROTO (not a
 * queue: not touched) EBUSY; EINTR and EIO where the file system says so. */
int shmq_unlink(const char *name);

#ifdef __cplusplus
}
#endif
#endif
