/*
 * Programs that a test runs natively or under the shim, and what they say.
 *
 * The shim and the programs are named by the environment that meson gives the
 * test: RELOCK_TEST_SHIM, and RELOCK_TEST_PROGRAMS, the folder of the others.
 * Everything that a program is started with is bounded in time: it dies with
 * the test, and whoever waits for it gives up after 20 s.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/*
 * NATIVE	without the shim
 * SHIM		under it, and RELOCK_SEMANTICS only if `settings` say so
 * PROCESS, OFD	under it, with that semantics
 */
enum regime { NATIVE, SHIM, PROCESS, OFD };

enum { PROGRAM_ARGUMENTS_MAX = 8, PROGRAM_SETTINGS_MAX = 4, PROGRAM_OUTPUT_SIZE = 16384 };

struct program_start {
	enum regime regime;
	/* The first is a path, or the name of one of the tests' programs. */
	const char *arguments[PROGRAM_ARGUMENTS_MAX + 1];
	/* NAME=VALUE, on top of the test's own environment less RELOCK_*. */
	const char *settings[PROGRAM_SETTINGS_MAX + 1];
};

struct program {
	pid_t pid;
	int in, out, error;
};

struct program program_start(const struct program_start *start);
/* Waits until it has said `count` words on standard output; returns them. */
const char *program_words(struct program *program, unsigned count);
/* Lets it go on: its standard input ends. */
void program_release(struct program *program);

/* What it said until its end, without the blanks at the end of it. */
struct program_output {
	char out[PROGRAM_OUTPUT_SIZE];
	char error[PROGRAM_OUTPUT_SIZE];
	int status; /* as of waitpid(2) */
};
void program_finish(struct program *program, struct program_output *ret);
/* From beginning to end, with nothing on its standard input. */
void program_run(const struct program_start *start, struct program_output *ret);
/* The same; fails the test unless it exits with 0.  The text is valid until
 * the next call. */
const char *program_says(const struct program_start *start);

/* A folder of the test's own, and a fresh empty file in it. */
int make_folder(void **state);
int remove_folder(void **state);
extern char test_folder[];
const char *fresh_file(void);

const char *shim_path(void);
