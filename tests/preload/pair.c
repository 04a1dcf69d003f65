/*
 * What a lock and its unlock cost: the program that scripts/bench times
 * natively and under the shim.
 *
 *	preload-bench FILE [HOW [PAIRS]]
 *
 * Prints the nanoseconds of one pair, the mean over PAIRS of them (100,000).
 * HOW is
 *	fcntl	F_SETLK of a range (the default)
 *	pid	the same with something left in l_pid
 *	cursor	the same, relative to the file offset
 *	lockf	F_TLOCK and F_ULOCK
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool pair_by_fcntl(int fd, const struct flock *wanted)
{
	struct flock lock = *wanted;

	if (fcntl(fd, F_SETLK, &lock) < 0)
		return false;
	lock.l_type = F_UNLCK;
	return fcntl(fd, F_SETLK, &lock) == 0;
}

static bool pair_by_lockf(int fd, const struct flock *wanted)
{
	return lockf(fd, F_TLOCK, wanted->l_len) == 0 && lockf(fd, F_ULOCK, wanted->l_len) == 0;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argument_count, char **arguments)
{
	const char *how = argument_count > 2 ? arguments[2] : "fcntl";
	long pairs = argument_count > 3 ? atol(arguments[3]) : 100000;
	struct flock wanted = {.l_type = F_WRLCK, .l_len = 10};
	bool (*pair)(int fd, const struct flock *wanted) = pair_by_fcntl;

	if (strcmp(how, "pid") == 0)
		wanted.l_pid = 4711;
	else if (strcmp(how, "cursor") == 0)
		wanted.l_whence = SEEK_CUR;
	else if (strcmp(how, "lockf") == 0)
		pair = pair_by_lockf;
	else if (strcmp(how, "fcntl") != 0 || argument_count < 2 || pairs < 1) {
		fprintf(stderr, "usage: preload-bench FILE [fcntl|pid|cursor|lockf [PAIRS]]\n");
		return 64;
	}

	int fd = open(arguments[1], O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	double start = seconds();
	for (long i = 0; i < pairs; i++)
		if (!pair(fd, &wanted)) {
			perror(arguments[1]);
			return 1;
		}
	printf("%.1f\n", (seconds() - start) / (double)pairs * 1e9);
	return 0;
}
