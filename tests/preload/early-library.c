/* A library that locks from its constructor, which may run before the shim's:
 * the dynamic linker knows no dependency between them. */
#include "early.h"

#include <fcntl.h>

int early_constructor_fd = -1;

int early_lock(const char *path, off_t start)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = 1, .l_pid = 12};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_SETLK, &lock) < 0 ? -1 : fd;
}

__attribute__((constructor)) static void lock_in_constructor(int argument_count, char **arguments)
{
	early_constructor_fd = argument_count > 1 ? early_lock(arguments[1], 10) : -1;
}
