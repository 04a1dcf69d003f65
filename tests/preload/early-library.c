/* A library that locks from its constructor, which may run before the shim's:
 * the dynamic linker knows no dependency between them.  It locks from its fork
 * handlers, too, which then run inside the shim's. */
#include "early.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

const char *early_forked_path;
int early_constructor_fd = -1;

int early_lock(const char *path, off_t start)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = 1, .l_pid = 12};
	int fd = open(path, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_SETLK, &lock) < 0 ? -1 : fd;
}

static void lock_and_close(void)
{
	if (early_forked_path)
		close(early_lock(early_forked_path, 20));
}

static void lock_in_child(void)
{
	if (early_forked_path)
		early_lock(early_forked_path, 30);
}

__attribute__((constructor)) static void lock_in_constructor(int argument_count, char **arguments)
{
	early_constructor_fd = argument_count > 1 ? early_lock(arguments[1], 10) : -1;
	pthread_atfork(lock_and_close, lock_and_close, lock_in_child);
}
