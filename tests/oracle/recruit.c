/*
 * A process of the oracle that is another program than the oracle itself: it
 * was started anew, with a library preloaded.  What it needs to know it is told
 * by its arguments, and it joins the log by an inherited descriptor:
 *
 *	oracle --recruit FD LIFE SEED DRIVER URL THREADS LOCKS EXIT FORK BREAK SIGNAL STOP
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

enum argument {
	PROGRAM,
	RECRUIT,
	LOG_FD,
	LIFE,
	SEED,
	DRIVER,
	URL,
	THREADS,
	LOCKS,
	EXIT_EVERY,
	FORK_EVERY,
	BREAK_EVERY,
	SIGNAL_EVERY,
	STOP_EVERY,
	ARGUMENTS,
};

enum { DIGITS = 24 };

const struct oracle_driver *oracle_driver_find(const char *name)
{
	for (size_t i = 0; oracle_drivers[i]; i++)
		if (strcmp(oracle_drivers[i]->name, name) == 0)
			return oracle_drivers[i];
	return NULL;
}

void recruit(const struct oracle_run *run, const struct life *life,
	     const struct oracle_driver *driver, uint64_t seed)
{
	const struct oracle_options *options = &run->options;
	struct oracle_log *log = run->log;
	const uint64_t numbers[ARGUMENTS] = {
		[LOG_FD] = (uint64_t)log->fd,
		[LIFE] = (uint64_t)(life - log->lives),
		[SEED] = seed,
		[THREADS] = options->threads,
		[LOCKS] = options->locks,
		[EXIT_EVERY] = options->exit_every,
		[FORK_EVERY] = options->fork_every,
		[BREAK_EVERY] = options->break_every,
		[SIGNAL_EVERY] = options->signal_every,
		[STOP_EVERY] = options->stop_every,
	};
	char texts[ARGUMENTS][DIGITS], *arguments[ARGUMENTS + 1] = {0};

	for (int i = 0; i < ARGUMENTS; i++) {
		snprintf(texts[i], DIGITS, "%" PRIu64, numbers[i]);
		arguments[i] = texts[i];
	}
	arguments[PROGRAM] = (char[]){"oracle"};
	arguments[RECRUIT] = (char[]){"--recruit"};
	arguments[DRIVER] = (char *)driver->name;
	arguments[URL] = (char *)options->url;
	if (setenv("LD_PRELOAD", options->preload, 1) == 0 && fcntl(log->fd, F_SETFD, 0) == 0)
		execv("/proc/self/exe", arguments);
	log_fail(log, FAILURE_ERROR, "a process with %s cannot be started: %s", options->preload,
		 strerror(errno));
}

static unsigned number_at(char **argv, enum argument which)
{
	return (unsigned)strtoul(argv[which], NULL, 10);
}

int recruit_main(int argc, char **argv)
{
	if (argc != ARGUMENTS || strcmp(argv[RECRUIT], "--recruit") != 0)
		return -1;

	const struct oracle_driver *driver = oracle_driver_find(argv[DRIVER]);
	struct oracle_log *log = log_attach((int)number_at(argv, LOG_FD));
	if (!driver || !log) {
		fprintf(stderr, "oracle: --recruit is not for you\n");
		return EXIT_FAILURE;
	}
	struct oracle_run run = {
		.options = {.driver = driver,
			    .url = argv[URL],
			    .threads = number_at(argv, THREADS),
			    .locks = number_at(argv, LOCKS),
			    .exit_every = number_at(argv, EXIT_EVERY),
			    .fork_every = number_at(argv, FORK_EVERY),
			    .break_every = number_at(argv, BREAK_EVERY),
			    .signal_every = number_at(argv, SIGNAL_EVERY),
			    .stop_every = number_at(argv, STOP_EVERY)},
		.log = log,
	};
	return worker(&run, &log->lives[number_at(argv, LIFE)], driver,
		      strtoull(argv[SEED], NULL, 10));
}
