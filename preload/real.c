/* See real.h. */
#include "real.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

/* Written by each who looks, all with the same. */
static struct shim_real found;
static _Atomic bool is_found;

/* ISO C has no conversion from what dlsym(3) returns to a function. */
#define FIND(member, name)                                                                         \
	do {                                                                                       \
		void *address = dlsym(RTLD_NEXT, name);                                            \
		memcpy(&found.member, &address, sizeof address);                                   \
	} while (0)

__attribute__((constructor)) static void find(void)
{
	/* freopen and freopen64 are one function where off_t has 64 bits. */
	FIND(freopen, "freopen64");
	FIND(closedir, "closedir");
	FIND(execvpe, "execvpe");
	FIND(fork, "_Fork");
	atomic_store_explicit(&is_found, true, memory_order_release);
}

const struct shim_real *shim_real(void)
{
	if (!atomic_load_explicit(&is_found, memory_order_acquire))
		find();
	return &found;
}
