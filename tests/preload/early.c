/*
 * A program that locks before its main(): from .preinit_array, when libc itself
 * has not started, and from a library's constructor.  It says what kind of lock
 * each has become, whether they are held, and whether they are still held when
 * another open of the file has been closed.  Then it forks, and says what the child
 * has from the library's fork handlers, and the parent still.
 */
#include "early.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void say_view(int asking, off_t start)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = 1};

	fcntl(asking, F_OFD_GETLK, &lock);
	printf("%s ", lock.l_type == F_UNLCK ? "free" : "held");
}

int main(int argument_count, char **arguments)
{
	int asking = open(arguments[argument_count - 1], O_RDONLY | O_CLOEXEC);

	say_kind(preinit_fd);
	say_kind(early_constructor_fd);
	say_view(asking, 0);
	say_view(asking, 10);
	close(open(arguments[argument_count - 1], O_RDONLY | O_CLOEXEC));
	say_view(asking, 0);
	say_view(asking, 10);
	fflush(stdout);
	early_forked_path = arguments[argument_count - 1];
	pid_t pid = fork();
	if (pid == 0) {
		say_view(asking, 30);
		return 0;
	}
	waitpid(pid, NULL, 0);
	say_view(asking, 20);
	return 0;
}
