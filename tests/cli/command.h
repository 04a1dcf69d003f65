/*
 * Running the real command, as a user would.
 *
 * Every test has a folder of its own with a store in it, which RELOCK_STORE
 * names.  A program is started with pipes for its standard input and output;
 * lines on them are what tests wait for, never the clock.  Everything is
 * bounded: a program that neither speaks nor ends fails its test after 20 s,
 * and is killed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The test's folder; "store" in it is the store. */
const char *test_folder(void);
/* A path in it, in one of a few buffers that are used in turn. */
const char *test_path(const char *name);

/* cmocka's setup and teardown. */
int folder_setup(void **state);
int folder_teardown(void **state);

struct program {
	pid_t pid;
	int in;  /* what it reads */
	int out; /* what it writes */
	int err; /* a file with its standard error */
};

struct outcome {
	int code; /* exit status, or 128 + signal as a shell has it */
	char *out, *err;
};

/* The command built, and its start: argv[0] is put before the words. */
const char *relock_path(void);
struct program start(const char *const words[]);
#define START(...)        start((const char *const[]){__VA_ARGS__, NULL})
#define START_RELOCK(...) START(relock_path(), __VA_ARGS__)

/* Reads one line of its output, without the newline; valid until the next. */
const char *hear_line(struct program *program);
/* Writes a line to its input. */
void say_line(struct program *program, const char *line);

/* Closes its input, waits for its end, and gives back the rest of what it
 * wrote.  To be freed with outcome_free(). */
struct outcome finish(struct program *program);
void outcome_free(struct outcome *outcome);

/* Both in one; what it wrote is kept until the next call. */
const struct outcome *run(const char *const words[]);
#define RUN(...)    run((const char *const[]){__VA_ARGS__, NULL})
#define RELOCK(...) RUN(relock_path(), __VA_ARGS__)

/* Runs it and fails the test unless it ends with this code; a failure shows
 * what it said. */
#define EXPECT(expected, ...) expect_code(RELOCK(__VA_ARGS__), expected, __FILE__, __LINE__)
const struct outcome *expect_code(const struct outcome *outcome, int expected, const char *file,
				  int line);

/* Fail the test unless `part` is in `text`, or is not. */
#define EXPECT_IN(text, part)     expect_part(text, part, true, __FILE__, __LINE__)
#define EXPECT_NOT_IN(text, part) expect_part(text, part, false, __FILE__, __LINE__)
void expect_part(const char *text, const char *part, bool wanted, const char *file, int line);

/* A relock run that holds `name` until its input ends, and has it already. */
struct program start_holder(const char *name, const char *option);

/* The value of a key in the output of `relock state`; NULL: no such line. */
const char *state_value(const char *text, const char *key);

/* Makes an executable file of this text. */
const char *make_script(const char *name, const char *text);
