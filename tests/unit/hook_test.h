/* Put before every source of the core as hook_test compiles it (-include, see BUILD): the hook of shared.h. */
#pragma once

#include <stddef.h>

/* Runs before each access; `access` is one of enum shared_access, which shared.h declares later. */
void hook_at(int access, const void *address, size_t bytes);

#define SHARED_HOOK(access, address, bytes) hook_at((int)(access), (address), (bytes))
