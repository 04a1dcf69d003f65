/*
 * A program that no shim can be loaded into, for it is linked statically: what
 * it finds of the lock that it was left with, before and after it closes the
 * descriptor.
 *
 *	outsider CASE FILE ENTRY DESCRIPTOR
 *
 * as the subject is called; only FILE and DESCRIPTOR count.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *view(int asking)
{
	struct flock lock = {.l_type = F_WRLCK};

	if (fcntl(asking, F_OFD_GETLK, &lock) < 0)
		return "?";
	return lock.l_type == F_UNLCK ? "free" : "held";
}

int main(int argument_count, char **arguments)
{
	/* Open to the end: its close would drop the lock. */
	int asking = argument_count == 5 ? open(arguments[2], O_RDONLY | O_CLOEXEC) : -1;

	if (asking < 0)
		return 99;
	printf("%s ", view(asking));
	close(atoi(arguments[4]));
	printf("%s\n", view(asking));
	return 0;
}
