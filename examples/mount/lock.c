/*
 * A lock in C: a file in a folder where relockfs is mounted.
 *
 *	cc -o lock lock.c
 *	./lock DIR NAME acquire    wait for the lock, hold it until a line is read
 *	./lock DIR NAME try        the same, but say "busy" instead of waiting
 *	./lock DIR NAME look       who has it?
 *
 * To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to
 * end, even by kill -9, is to release it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Waits for its turn.  Any signal handler that runs meanwhile ends the wait with
 * EINTR, SA_RESTART or not: one for SIGALRM is a time limit. */
static int acquire(const char *path)
{
	/* Without O_CLOEXEC, every program that this one starts would inherit the
	 * lock, and keep it for as long as it runs. */
	return open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
}

/* EAGAIN: somebody has it. */
static int try(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
}

static int hold(int lock, const char *path)
{
	static const char info[] = "from C\n"; /* what others read there */

	if (lock < 0 || write(lock, info, strlen(info)) < 0)
		err(1, "%s", path);
	puts("held");
	fflush(stdout);
	while (getchar() != '\n' && !feof(stdin))
		;
	close(lock);
	return 0;
}

static int look(const char *dir, const char *path)
{
	FILE *state = fopen(path, "re");
	struct stat folder;
	int c;

	if (!state && errno == ENOENT && stat(dir, &folder) == 0)
		return puts("free") < 0;
	if (!state)
		err(1, "%s", path);
	while ((c = getc(state)) != EOF)
		putchar(c);
	if (ferror(state))
		err(1, "%s", path);
	fclose(state);
	return 0;
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];

	if (argc != 4)
		errx(2, "usage: lock DIR NAME acquire|try|look");
	if (snprintf(path, sizeof path, "%s/%s", argv[1], argv[2]) >= (int)sizeof path)
		errx(1, "%s: the path is too long", argv[2]);

	if (strcmp(argv[3], "acquire") == 0)
		return hold(acquire(path), path);
	if (strcmp(argv[3], "try") == 0) {
		int lock = try(path);
		if (lock < 0 && errno == EAGAIN)
			return puts("busy") < 0;
		return hold(lock, path);
	}
	if (strcmp(argv[3], "look") == 0)
		return look(argv[1], path);
	errx(2, "%s: no such action", argv[3]);
}
