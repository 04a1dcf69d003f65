/*
 * What it costs to run each of two commands, from start to end.
 *
 *	bench-commands ROUNDS RUNS COMMAND... --- COMMAND...
 *
 * Prints microseconds a run, as "first" and "second".
 */
#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "bench.h"

extern char **environ;

static double microseconds_of(char **command, long runs)
{
	int64_t start = nanoseconds(CLOCK_MONOTONIC);

	for (long i = 0; i < runs; i++) {
		pid_t pid;
		int status;
		int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
		if (error != 0)
			give_up(command[0], strerror(error));
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				give_up("waitpid", strerror(errno));
		if (status != 0)
			give_up(command[0], "failed");
	}
	return (double)(nanoseconds(CLOCK_MONOTONIC) - start) / (double)runs / 1000;
}

int main(int argc, char **argv)
{
	char **first = argv + 3, **second = first;

	if (argc < 6)
		give_up("usage", "bench-commands ROUNDS RUNS COMMAND... --- COMMAND...");
	long rounds = count_of(argv[1]), runs = count_of(argv[2]);
	while (*second && strcmp(*second, "---") != 0)
		second++;
	if (!*second || !second[1])
		give_up("usage", "two commands, with --- between them");
	*second++ = NULL;
	microseconds_of(first, 5);
	microseconds_of(second, 5);
	for (long round = 0; round < rounds; round++) {
		printf("first %.1f\n", microseconds_of(first, runs));
		printf("second %.1f\n", microseconds_of(second, runs));
	}
	return 0;
}
