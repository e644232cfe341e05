/* Every call of os.h and notify_os.h, and every way in which the kernel, or libc, makes it fail: from the section ERRORS of
 * its manual page (named where it is not the one of the call's own name). Not those that only a wrong argument gives, or a
 * kernel too old for locks of open file descriptions. */
#include "fail.h"

#include <errno.h>
#include <string.h>

enum { CANNOT = 0 };

const struct fail_way FAIL_WAYS[] = {
    /* Names and objects. */
    {"os_open_directory", EACCES, false, "a part of the path may not be searched"},
    {"os_open_directory", ELOOP, false, "too many symbolic links in the path"},
    {"os_open_directory", EMFILE, false, "the process's limit of descriptors"},
    {"os_open_directory", ENAMETOOLONG, false, "a part of the path is too long"},
    {"os_open_directory", ENFILE, false, "the system's limit of open files"},
    {"os_open_directory", ENOENT, false, "there is no such directory"},
    {"os_open_directory", ENOMEM, false, "kernel memory"},
    {"os_open_directory", ENOTDIR, false, "a part of the path is no directory"},

    {"os_open_existing", EACCES, false, "not ours to read and write"},
    {"os_open_existing", EAGAIN, false, "O_NONBLOCK, and somebody holds a lease (F_SETLEASE) on the file"},
    {"os_open_existing", EINTR, false, "a file system that waits for its server"},
    {"os_open_existing", EISDIR, false, "somebody has put a directory in its place"},
    {"os_open_existing", ELOOP, false, "O_NOFOLLOW, and somebody has put a symbolic link there"},
    {"os_open_existing", EMFILE, false, "the process's limit of descriptors"},
    {"os_open_existing", ENAMETOOLONG, false, "longer than this file system allows"},
    {"os_open_existing", ENFILE, false, "the system's limit of open files"},
    {"os_open_existing", ENODEV, false, "somebody has put a device there that does not exist"},
    {"os_open_existing", ENOENT, false, "somebody has just removed it"},
    {"os_open_existing", ENOMEM, false, "kernel memory"},
    {"os_open_existing", ENXIO, false, "somebody has put a socket there"},
    {"os_open_existing", EPERM, false, "sealed, or immutable"},
    {"os_open_existing", EROFS, false, "a read-only file system"},
    {"os_open_existing", ETXTBSY, false, "a program that runs"},

    {"os_open_unnamed", EACCES, false, "the directory is not ours to write"},
    {"os_open_unnamed", EDQUOT, false, "the user's quota of inodes"},
    {"os_open_unnamed", EINTR, false, "a file system that waits for its server"},
    {"os_open_unnamed", EISDIR, false, "a kernel that does not know O_TMPFILE"},
    {"os_open_unnamed", EMFILE, false, "the process's limit of descriptors"},
    {"os_open_unnamed", ENFILE, false, "the system's limit of open files"},
    {"os_open_unnamed", ENOENT, false, "somebody has removed the directory; a kernel that does not know O_TMPFILE"},
    {"os_open_unnamed", ENOMEM, false, "kernel memory"},
    {"os_open_unnamed", ENOSPC, false, "no inode is free"},
    {"os_open_unnamed", EOPNOTSUPP, false, "this file system has no unnamed files"},
    {"os_open_unnamed", EROFS, false, "a read-only file system"},

    {"os_link", EACCES, false, "the directory is not ours to write, or /proc not ours to search"},
    {"os_link", EDQUOT, false, "the user's quota"},
    {"os_link", EEXIST, false, "somebody was faster"},
    {"os_link", EIO, false, "the disk"},
    {"os_link", ELOOP, false, "links of /proc are not followed here (nosymfollow)"},
    {"os_link", ENAMETOOLONG, false, "longer than this file system allows"},
    {"os_link", ENOENT, false, "there is no /proc"},
    {"os_link", ENOMEM, false, "kernel memory"},
    {"os_link", ENOSPC, false, "no room in the directory"},
    {"os_link", ENOTDIR, false, "somebody has put something else there"},
    {"os_link", EPERM, false, "a file system without hard links; protected_hardlinks"},
    {"os_link", EROFS, false, "the file system has become read-only"},

    {"os_unlink", EACCES, false, "the directory is not ours to write"},
    {"os_unlink", EBUSY, false, "something is mounted there"},
    {"os_unlink", EIO, false, "the disk"},
    {"os_unlink", EISDIR, false, "somebody has put a directory there"},
    {"os_unlink", ENOENT, false, "somebody else was faster"},
    {"os_unlink", ENOMEM, false, "kernel memory"},
    {"os_unlink", EPERM, false, "a sticky directory, and another owner"},
    {"os_unlink", EROFS, false, "a read-only file system"},

    {"os_stat", ENOMEM, false, "kernel memory"},

    {"os_stat_name", EACCES, false, "the directory may not be searched"},
    {"os_stat_name", ENAMETOOLONG, false, "longer than this file system allows"},
    {"os_stat_name", ENOENT, false, "somebody has just removed it"},
    {"os_stat_name", ENOMEM, false, "kernel memory"},

    {"os_set_mode", EIO, false, "the disk: chmod(2)"},
    {"os_set_mode", ENOMEM, false, "kernel memory"},
    {"os_set_mode", EPERM, false, "this file system has one owner for all"},
    {"os_set_mode", EROFS, false, "the file system has become read-only"},

    {"os_allocate", EFBIG, false, "larger than a file may be"},
    {"os_allocate", EINTR, true, "a signal handler ran"},
    {"os_allocate", EIO, false, "the disk: fallocate(2)"},
    {"os_allocate", ENOSPC, false, "the file system is full"},
    {"os_allocate", EOPNOTSUPP, false, "this file system cannot"},
    {"os_allocate", EPERM, false, "immutable, append-only or sealed: fallocate(2)"},

    {"os_room", EINTR, true, "a signal handler ran: statvfs(3)"},
    {"os_room", EIO, true, "the disk"},
    {"os_room", ENOMEM, true, "kernel memory"},
    {"os_room", ENOSYS, true, "this file system cannot tell"},
    {"os_room", EOVERFLOW, true, "more than the numbers hold"},

    {"os_read", EINTR, false, "a signal handler ran: read(2)"},
    {"os_read", EIO, false, "the disk"},
    {"os_read", SHORT, false, "the file is shorter by now"},

    {"os_write", EDQUOT, false, "the user's quota: write(2)"},
    {"os_write", EFBIG, false, "larger than a file may be"},
    {"os_write", EINTR, false, "a signal handler ran"},
    {"os_write", EIO, false, "the disk"},
    {"os_write", ENOSPC, false, "the file system is full"},
    {"os_write", EPERM, false, "sealed"},
    {"os_write", SHORT, false, "the file system is full"},

    {"os_close", EDQUOT, true, "an earlier write, on NFS"},
    {"os_close", EINTR, true, "a signal handler ran"},
    {"os_close", EIO, true, "an earlier write"},
    {"os_close", ENOSPC, true, "an earlier write, on NFS"},

    {"os_lock", EAGAIN, false, "taken: fcntl(2)"},
    {"os_lock", EACCES, false, "taken, in the words of other systems"},
    {"os_lock", EINTR, false, "a signal handler ran while a server was asked"},
    {"os_lock", EINVAL, false, "this file system has no locks, or this kernel none of this kind"},
    {"os_lock", ENOLCK, false, "too many locks, or the server does not answer"},

    {"os_lock (to unlock)", EINTR, false, "a signal handler ran while a server was asked: fcntl(2)"},
    {"os_lock (to unlock)", ENOLCK, false, "the server does not answer"},

    {"os_lock_held", EINTR, false, "a signal handler ran while a server was asked: fcntl(2)"},
    {"os_lock_held", ENOLCK, false, "the server does not answer"},

    /* Memory. */
    {"os_blank", EAGAIN, false, "mlockall(MCL_FUTURE), and RLIMIT_MEMLOCK: mmap(2)"},
    {"os_blank", ENOMEM, false, "address space, or too many mappings"},

    {"os_map", EACCES, false, "somebody has sealed it against writing: mmap(2)"},
    {"os_map", EAGAIN, false, "mlockall(MCL_FUTURE), and RLIMIT_MEMLOCK"},
    {"os_map", ENFILE, false, "the system's limit of open files"},
    {"os_map", ENODEV, false, "this file system cannot map"},
    {"os_map", ENOMEM, false, "address space, or too many mappings"},
    {"os_map", EPERM, false, "somebody has sealed it against writing"},

    {"os_unmap", CANNOT, false, "for a mapping of ours from its beginning to its end"},

    {"os_advise", EAGAIN, false, "kernel memory, for the moment: madvise(2)"},
    {"os_advise", ENOMEM, false, "kernel memory, or too many mappings"},

    {"os_allocate_memory", ENOMEM, false, "memory: aligned_alloc(3)"},

    /* Waiting. */
    {"os_now", CANNOT, false, "for a clock that there is"},
    {"os_timespec", CANNOT, false, "calls nothing"},
    {"os_nap", EINTR, false, "a signal handler ran: nanosleep(2)"},
    {"os_yield", CANNOT, false, "sched_yield(2): on Linux it always succeeds"},

    {"os_futex_wait", EAGAIN, true, "the word has changed: futex(2)"},
    {"os_futex_wait", EFAULT, false, "the word is gone: somebody has truncated the object"},
    {"os_futex_wait", EINTR, false, "a signal handler ran"},
    {"os_futex_wait", ETIMEDOUT, true, "time is up"},

    {"os_futex_wake", EFAULT, false, "the word is gone: futex(2)"},

    {"os_membarrier", ENOSYS, false, "a kernel without it"},
    {"os_membarrier", EPERM, false, "a sandbox (seccomp)"},

    /* The rest of os.h. */
    {"os_random", EINTR, false, "the system is just starting, and a signal handler ran: getrandom(2)"},
    {"os_random", ENOSYS, false, "an old kernel, or a sandbox"},

    {"os_self_path", CANNOT, false, "calls nothing"},
    {"os_page_size", CANNOT, false, "for a value that there is"},
    {"os_handle_signal", EINVAL, false, "a signal that may not be caught: sigaction(2)"},
    {"os_raise", CANNOT, false, "for a signal that there is"},
    {"os_user", CANNOT, false, "geteuid(2): always succeeds"},

    /* What notifiers alone call. */
    {"os_libc_version", CANNOT, false, "calls nothing"},
    {"os_process", CANNOT, false, "getpid(2): always succeeds"},

    {"os_process_space", EACCES, false, "/proc is not ours to search: stat(2)"},
    {"os_process_space", ENOENT, false, "there is no /proc"},
    {"os_process_space", ENOMEM, false, "kernel memory"},

    {"os_left", CANNOT, false, "calls nothing"},

    {"os_sem_format", CANNOT, false, "for a value that fits, and a libc that shares semaphores"},

    {"os_sem_open", EACCES, false, "not ours to read and write"},
    {"os_sem_open", EMFILE, false, "the process's limit of descriptors"},
    {"os_sem_open", ENFILE, false, "the system's limit of open files"},
    {"os_sem_open", ENOENT, false, "somebody has just removed it"},
    {"os_sem_open", ENOMEM, false, "memory, of libc or of the kernel"},

    {"os_sem_close", CANNOT, false, "for one that is open"},

    {"os_sem_try", EAGAIN, true, "not rung: sem_wait(3)"},
    {"os_sem_try", EINTR, true, "a signal handler ran"},

    {"os_sem_wait", EINTR, false, "a signal handler ran"},
    {"os_sem_wait", ETIMEDOUT, true, "time is up"},

    {"os_sem_post", EOVERFLOW, true, "rung too often"},

    {"os_mutex_format", EAGAIN, false, "resources: pthread_mutex_init(3p)"},
    {"os_mutex_format", ENOMEM, false, "memory"},

    {"os_cond_format", EAGAIN, false, "resources: pthread_cond_init(3p)"},
    {"os_cond_format", ENOMEM, false, "memory"},

    {"os_mutex_lock", EOWNERDEAD, true, "who held it died; now we do: pthread_mutex_lock(3p)"},
    {"os_mutex_lock", ENOTRECOVERABLE, false, "who held it died, and who came after did not repair it"},

    {"os_mutex_repair", CANNOT, false, "for a mutex whose owner has died"},
    {"os_mutex_unlock", CANNOT, false, "for a mutex that we hold"},

    {"os_cond_wait", EOWNERDEAD, true, "who held the mutex died; now we do: pthread_cond_timedwait(3p)"},
    {"os_cond_wait", ENOTRECOVERABLE, false, "who held the mutex died, and who came after did not repair it"},
    {"os_cond_wait", ETIMEDOUT, true, "time is up"},

    {"os_cond_signal", CANNOT, false, "for a condition variable that there is"},

    {"os_make_fifo", EACCES, false, "the directory is not ours to write: mkfifo(3)"},
    {"os_make_fifo", EDQUOT, false, "the user's quota"},
    {"os_make_fifo", EEXIST, false, "somebody was faster, and has removed it since"},
    {"os_make_fifo", ENAMETOOLONG, false, "longer than this file system allows"},
    {"os_make_fifo", ENOENT, false, "somebody has removed the directory"},
    {"os_make_fifo", ENOMEM, false, "kernel memory: mknod(2)"},
    {"os_make_fifo", ENOSPC, false, "no inode is free, or no room in the directory"},
    {"os_make_fifo", EPERM, false, "a file system without FIFOs: mknod(2)"},
    {"os_make_fifo", EROFS, false, "a read-only file system"},

    {"os_open_path", EACCES, false, "the directory may not be searched: open(2)"},
    {"os_open_path", EMFILE, false, "the process's limit of descriptors"},
    {"os_open_path", ENFILE, false, "the system's limit of open files"},
    {"os_open_path", ENOENT, false, "somebody has just removed it"},
    {"os_open_path", ENOMEM, false, "kernel memory"},

    {"os_reopen", EACCES, false, "not ours to use, yet: open(2)"},
    {"os_reopen", ELOOP, false, "links of /proc are not followed here (nosymfollow)"},
    {"os_reopen", EMFILE, false, "the process's limit of descriptors"},
    {"os_reopen", ENFILE, false, "the system's limit of open files"},
    {"os_reopen", ENOENT, false, "there is no /proc"},
    {"os_reopen", ENOMEM, false, "kernel memory"},

    {"os_set_path_owner", EACCES, true, "/proc is not ours to search: chown(2)"},
    {"os_set_path_owner", EIO, true, "the disk"},
    {"os_set_path_owner", ENOMEM, true, "kernel memory"},
    {"os_set_path_owner", EPERM, true, "only root gives things away"},
    {"os_set_path_owner", EROFS, true, "a read-only file system"},

    {"os_set_path_mode", EACCES, false, "/proc is not ours to search: chmod(2)"},
    {"os_set_path_mode", EIO, false, "the disk"},
    {"os_set_path_mode", ENOENT, false, "there is no /proc"},
    {"os_set_path_mode", ENOMEM, false, "kernel memory"},
    {"os_set_path_mode", EPERM, false, "not ours any more"},
    {"os_set_path_mode", EROFS, false, "a read-only file system"},

    {"os_read_fifo", EAGAIN, true, "not rung: read(2)"},
    {"os_read_fifo", EINTR, true, "a signal handler ran"},

    {"os_write_fifo", EAGAIN, true, "full: write(2)"},
    {"os_write_fifo", EINTR, true, "a signal handler ran"},

    {"os_poll", EINTR, false, "a signal handler ran: poll(2)"},
    {"os_poll", EINVAL, false, "RLIMIT_NOFILE is 0"},
    {"os_poll", ENOMEM, false, "kernel memory"},

    {"os_signal_is_blocked", CANNOT, false, "for a way to ask that there is"},

    {"os_signal_wait", EAGAIN, true, "time is up: sigtimedwait(2)"},
    {"os_signal_wait", EINTR, false, "a signal handler ran"},

    {"os_pidfd_open", EINVAL, false, "the number is by now a thread's that leads no process"},
    {"os_pidfd_open", EMFILE, false, "the process's limit of descriptors"},
    {"os_pidfd_open", ENFILE, false, "the system's limit of open files"},
    {"os_pidfd_open", ENOMEM, false, "kernel memory"},
    {"os_pidfd_open", ENOSYS, false, "an old kernel: syscalls(2)"},
    {"os_pidfd_open", EPERM, false, "a sandbox: seccomp(2)"},
    {"os_pidfd_open", ESRCH, false, "there is no such process any more"},

    {"os_pidfd_signal", EPERM, true, "a process of another user, or namespace"},
    {"os_pidfd_signal", ESRCH, true, "it has just ended"},

    {"os_lock_wait", EINTR, true, "a signal handler ran: fcntl(2)"},
    {"os_lock_wait", ENOLCK, false, "too many locks, or the server does not answer"},
};

const size_t FAIL_WAYS_COUNT = sizeof FAIL_WAYS / sizeof FAIL_WAYS[0];

const struct fail_way *fail_first_way(const char *call) {
    for (size_t at = 0; at < FAIL_WAYS_COUNT; at++)
        if (strcmp(FAIL_WAYS[at].call, call) == 0) return &FAIL_WAYS[at];
    return NULL;
}

const char *fail_word_of(int error) { return error == SHORT ? "SHORT" : strerrorname_np(error); }
