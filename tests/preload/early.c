/*
 * A program that locks before its main(): from .preinit_array, when libc itself
 * has not started, and from a library's constructor.  It says what kind of lock
 * each has become.
 */
#include "early.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int preinit_fd = -1;

static void lock_before_everything(int argument_count, char **arguments, char **environment)
{
	(void)argument_count;
	(void)environment;
	preinit_fd = early_lock(arguments[1], 0);
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const preinit)(int, char **, char **) = lock_before_everything;

static void say_kind(int fd)
{
	char path[64], line[256];

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(path, "re");
	const char *kind = "none";
	while (file && fgets(line, sizeof line, file))
		if (strncmp(line, "lock:", 5) == 0)
			kind = strstr(line, "OFDLCK") ? "OFDLCK" : "POSIX";
	printf("%s ", kind);
	if (file)
		fclose(file);
}

int main(void)
{
	say_kind(preinit_fd);
	say_kind(early_constructor_fd);
	return 0;
}
