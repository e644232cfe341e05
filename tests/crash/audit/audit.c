/* See audit.h. */
#include "audit.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "check.h"
#include "shared.h"

enum {
    DEPTH_MOST = 256,
    SEGMENTS_MOST = 16,
    TRAP_FLAG = 0x100, /* of the processor's flags: stop after one instruction */
    FAULT_WRITE = 2    /* of a page fault's error code */
};

/* ---- Who is at work ------------------------------------------------------------------------ */

struct frame {
    const void *function;
    uint64_t call;
};

static _Thread_local struct {
    struct frame frame[DEPTH_MOST];
    size_t depth;
    bool watches;
} self;
static _Atomic uint64_t calls;

void __cyg_profile_func_enter(void *function, void *caller);
void __cyg_profile_func_exit(void *function, void *caller);

void __cyg_profile_func_enter(void *function, void *caller) {
    (void)caller;
    if (self.depth == DEPTH_MOST) check_fail(__FILE__, __LINE__, "calls too deep");
    self.frame[self.depth++] = (struct frame){function, ++calls};
}

void __cyg_profile_func_exit(void *function, void *caller) {
    (void)caller;
    (void)function;
    self.depth--;
}

/* The program's own symbols: those of static functions are nowhere else. */
static struct {
    const Elf64_Sym *symbol;
    size_t count;
    const char *names;
} symbols;

static void load_symbols(void) {
    struct stat status;
    const int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) check_fail(__FILE__, __LINE__, "cannot read this program");
    const char *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (file == MAP_FAILED) check_fail(__FILE__, __LINE__, "cannot map this program");
    const Elf64_Ehdr *header = (const void *)file;
    const Elf64_Shdr *section = (const void *)(file + header->e_shoff);
    for (size_t at = 0; at < header->e_shnum; at++) {
        if (section[at].sh_type != SHT_SYMTAB) continue;
        symbols.symbol = (const void *)(file + section[at].sh_offset);
        symbols.count = section[at].sh_size / sizeof(Elf64_Sym);
        symbols.names = file + section[section[at].sh_link].sh_offset;
    }
    if (symbols.count == 0) check_fail(__FILE__, __LINE__, "this program has no symbols");
}

static const char *name_of(const void *function) {
    enum { CACHE = 1024 };
    extern const char __ehdr_start[];
    static struct {
        const void *function;
        const char *name;
    } cache[CACHE];
    const size_t slot = (uintptr_t)function / 16 % CACHE;
    if (cache[slot].function == function) return cache[slot].name;
    const uintptr_t value = (uintptr_t)function - (uintptr_t)__ehdr_start;
    const char *name = "?";
    for (size_t at = 0; at < symbols.count; at++)
        if (symbols.symbol[at].st_value == value && ELF64_ST_TYPE(symbols.symbol[at].st_info) == STT_FUNC)
            name = symbols.names + symbols.symbol[at].st_name;
    cache[slot].function = function;
    return cache[slot].name = name;
}

static bool begins(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

/* In whose name the access is made. */
static struct frame asker(void) {
    for (size_t at = self.depth; at-- > 0;) {
        const char *name = name_of(self.frame[at].function);
        if (!begins(name, "shared_") && !begins(name, "os_")) return self.frame[at];
    }
    return (struct frame){NULL, 0};
}

/* The call of shmq.h that this is part of. */
static struct frame public_call(void) {
    for (size_t at = 0; at < self.depth; at++)
        if (begins(name_of(self.frame[at].function), "shmq_")) return self.frame[at];
    return (struct frame){NULL, 0};
}

/* ---- The log ------------------------------------------------------------------------------- */

static struct audit_log audit;

/* The last access that was announced. */
static struct {
    bool due;    /* not yet seen */
    bool copies; /* byte by byte, as memcpy likes it */
    int access;
    const void *address;
    size_t bytes;
    uint64_t call; /* of the function of shared.h that makes it */
} announced;

static void note(bool reads, bool around, uint64_t at, uint64_t bytes) {
    const struct frame frame = around ? public_call() : asker();
    if (audit.count == AUDIT_MOST) check_fail(__FILE__, __LINE__, "accesses without end");
    const struct audit_access *last = audit.count == 0 ? NULL : &audit.access[audit.count - 1];
    if (around && last != NULL && last->around && last->call == frame.call) return; /* byte by byte */
    audit.access[audit.count++] = (struct audit_access){
        reads, around, at, bytes, frame.function == NULL ? "nobody" : name_of(frame.function), frame.call};
}

struct audit_log *audit_take(void) {
    static struct audit_log taken;
    if (announced.due) check_fail(__FILE__, __LINE__, "an access was announced and not seen");
    taken.count = audit.count;
    memcpy(taken.access, audit.access, audit.count * sizeof audit.access[0]);
    audit.count = 0;
    return &taken;
}

/* ---- The region ---------------------------------------------------------------------------- */

static struct segment {
    unsigned char *address;
    size_t bytes; /* 0: none */
    int protection;
    uint64_t at; /* in the object */
} segments[SEGMENTS_MOST];

static struct segment *segment_of(const void *address) {
    for (struct segment *segment = segments; segment < segments + SEGMENTS_MOST; segment++)
        if ((uintptr_t)address - (uintptr_t)segment->address < segment->bytes) return segment;
    return NULL;
}

static uint64_t place_of(const struct segment *segment, const void *address) {
    return segment->at + ((uintptr_t)address - (uintptr_t)segment->address);
}

static void protect(bool opens) {
    for (const struct segment *segment = segments; segment < segments + SEGMENTS_MOST; segment++)
        if (segment->bytes > 0)
            (void)mprotect(segment->address, segment->bytes, opens ? segment->protection : PROT_NONE);
}

void *__real_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t bytes);
int __wrap_munmap(void *at, size_t bytes);
ssize_t __real_pread(int fd, void *to, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t offset);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    const bool is_watched = self.watches && fd >= 0 && (flags & MAP_SHARED) != 0;
    void *address = __real_mmap(at, bytes, is_watched ? PROT_NONE : protection, flags, fd, offset);
    if (!is_watched || address == MAP_FAILED) return address;
    /* To allow it later means to be allowed it now. */
    if (mprotect(address, bytes, protection) != 0 || mprotect(address, bytes, PROT_NONE) != 0)
        check_fail(__FILE__, __LINE__, "mprotect: %s", strerror(errno));
    struct segment *segment = segments;
    while (segment < segments + SEGMENTS_MOST && segment->bytes > 0)
        segment++;
    if (segment == segments + SEGMENTS_MOST) check_fail(__FILE__, __LINE__, "too many mappings");
    *segment = (struct segment){address, bytes, protection, (uint64_t)offset};
    return address;
}

int __wrap_munmap(void *at, size_t bytes) {
    for (struct segment *segment = segments; segment < segments + SEGMENTS_MOST; segment++)
        if ((uintptr_t)segment->address - (uintptr_t)at < bytes) segment->bytes = 0;
    return __real_munmap(at, bytes);
}

/* The core reads nothing else than queues so. */
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t offset) {
    if (self.watches) note(true, false, (uint64_t)offset, bytes);
    return __real_pread(fd, to, bytes, offset);
}

/* Of all system calls futex alone is given shared words. */
long __wrap_syscall(long number, ...) {
    long argument[6];
    va_list arguments;
    va_start(arguments, number);
    for (int at = 0; at < 6; at++)
        argument[at] = va_arg(arguments, long);
    va_end(arguments);
    const void *address = (const void *)argument[0];
    const struct segment *segment = number == SYS_futex ? segment_of(address) : NULL;
    const bool waits = (argument[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET;
    if (segment != NULL && waits) note(true, false, place_of(segment, address), sizeof(uint32_t));
    if (segment != NULL) protect(true);
    const long result =
        __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
    const int error = errno;
    if (segment != NULL) protect(false);
    errno = error;
    return result;
}

void audit_announce(int access, const void *address, size_t bytes) {
    const struct segment *segment = bytes == 0 ? NULL : segment_of(address);
    if (segment == NULL || !self.watches) return;
    if (announced.due) check_fail(__FILE__, __LINE__, "an access was announced and not seen");
    const struct frame *frame = &self.frame[self.depth - 1];
    announced.due = true;
    announced.copies = begins(name_of(frame->function), "shared_copy");
    announced.access = access;
    announced.address = address;
    announced.bytes = bytes;
    announced.call = frame->call;
    note(access == SHARED_LOAD, false, place_of(segment, address), bytes);
}

/* ---- Faults -------------------------------------------------------------------------------- */

static bool is_within(uint64_t call) {
    for (size_t at = self.depth; at-- > 0;)
        if (self.frame[at].call == call) return true;
    return false;
}

/* A word is announced each time it is touched, a copy once for all of it. */
static bool was_announced(const void *address, bool writes) {
    return is_within(announced.call) && (announced.due || announced.copies) &&
           (uintptr_t)address - (uintptr_t)announced.address < announced.bytes &&
           writes == (announced.access != SHARED_LOAD);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    ucontext_t *machine = context;
    const struct segment *segment = segment_of(info->si_addr);
    const bool writes = (machine->uc_mcontext.gregs[REG_ERR] & FAULT_WRITE) != 0;
    if (segment == NULL || (writes && (segment->protection & PROT_WRITE) == 0)) {
        (void)signal(number, SIG_DFL); /* a fault of the ordinary kind: ends the process when we return */
        return;
    }
    const int error = errno;
    if (was_announced(info->si_addr, writes))
        announced.due = false;
    else
        note(!writes, true, place_of(segment, info->si_addr), 1);
    protect(true);
    machine->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
    errno = error;
}

static void on_step(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    ucontext_t *machine = context;
    const int error = errno;
    protect(false);
    machine->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    errno = error;
}

void audit_begin(void) {
    const struct sigaction fault = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    const struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    load_symbols();
    if (sigaction(SIGSEGV, &fault, NULL) != 0 || sigaction(SIGTRAP, &step, NULL) != 0)
        check_fail(__FILE__, __LINE__, "sigaction: %s", strerror(errno));
}

void audit_watch(void) { self.watches = true; }

void audit_look_away(void) { self.watches = false; }
