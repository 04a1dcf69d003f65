/*
 * The programs of examples/mount, one a language, against each other.
 *
 *	test-languages HOLDER -- NAME COMMAND... -- NAME COMMAND... ...
 *
 * HOLDER is one of the names; the others, and itself, meet it.  So all the runs
 * together have every pair of languages in both directions.  A name without a
 * command is a language that is not installed: its cases are skipped.
 */
#include "command.h"
#include "fixture.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { MAX_LANGUAGES = 16, MAX_WORDS = 8, ONE_HOLDER_CASES = 4, MAX_STARTED = 8 };

struct language {
	const char *name;
	const char *words[MAX_WORDS];
	size_t count;
};

static struct language languages[MAX_LANGUAGES];
static size_t language_count;
static const struct language *first; /* the holder */
static struct fixture *fixture;
static pid_t started[MAX_STARTED]; /* by the case that runs */
static size_t started_count;

static struct program start_in(const char *folder, const struct language *language,
			       const char *action)
{
	const char *words[MAX_WORDS + 4] = {NULL};

	memcpy(words, language->words, language->count * sizeof *words);
	words[language->count] = folder;
	words[language->count + 1] = "backup";
	words[language->count + 2] = action;
	struct program program = start(words);
	started[started_count++ % MAX_STARTED] = program.pid;
	return program;
}

/* A case that failed may leave programs behind, for which the next would wait;
 * and cmocka runs no teardown for it. */
static int end_what_is_left(void **state)
{
	for (size_t i = 0; i < MAX_STARTED; i++)
		if (started[i] > 0 && waitpid(started[i], NULL, WNOHANG) == 0) {
			kill(started[i], SIGKILL);
			waitpid(started[i], NULL, 0);
		}
	memset(started, 0, sizeof started);
	return 0;
}

static struct program start_action(const struct language *language, const char *action)
{
	return start_in(fixture->daemon.mountpoint, language, action);
}

static struct program start_to_hold(const struct language *language)
{
	struct program program = start_action(language, "acquire");

	assert_string_equal(hear_line(&program), "held");
	return program;
}

/* Lets it go on to its end, which must be a good one: what it said is that. */
static void finish_well(struct program *program, const char *expected)
{
	struct outcome outcome = finish(program);

	assert_string_equal(outcome.err, "");
	assert_string_equal(outcome.out, expected);
	assert_int_equal(outcome.code, 0);
	outcome_free(&outcome);
}

static void assert_names(const char *text, const struct language *language,
			 const struct program *program)
{
	char info[64], pid[16];

	snprintf(info, sizeof info, "from %s", language->name);
	snprintf(pid, sizeof pid, "%d", (int)program->pid);
	assert_value(text, "lock", "backup");
	assert_value(text, "pid", pid);
	assert_value(text, "info", info);
}

static void assert_held_by(const struct language *language, const struct program *program)
{
	char *text = read_lock(fixture, "backup");

	assert_names(text, language, program);
	free(text);
}

static bool is_silent(const struct program *program)
{
	struct pollfd fd = {.fd = program->out, .events = POLLIN};

	return poll(&fd, 1, 0) == 0;
}

static void require(const struct language *language)
{
	if (language->count == 0) {
		print_message("%s is not installed\n", language->name);
		skip();
	}
}

static void by_itself(void **state)
{
	require(first);
	struct program looker = start_action(first, "look");
	finish_well(&looker, "free\n");

	struct program holder = start_action(first, "try");
	assert_string_equal(hear_line(&holder), "held");
	assert_held_by(first, &holder);
	/* A line lets it go on, as the end of its input does elsewhere here. */
	say_line(&holder, "");
	await_state(fixture, "backup", false);
	finish_well(&holder, "");
	assert_null(read_lock(fixture, "backup"));
}

/* Each action must fail, and say why: "free", above all, would be a lie. */
static void says_that_the_folder_is_not_there(void **state)
{
	static const char *const actions[] = {"acquire", "try", "look"};
	struct program programs[3];
	char folder[PATH_MAX];

	require(first);
	snprintf(folder, sizeof folder, "%s/nothing", fixture->folder);
	for (size_t i = 0; i < 3; i++)
		programs[i] = start_in(folder, first, actions[i]);
	for (size_t i = 0; i < 3; i++) {
		struct outcome outcome = finish(&programs[i]);
		assert_int_not_equal(outcome.code, 0);
		assert_true(outcome.code < 128);
		assert_string_equal(outcome.out, "");
		assert_non_null(strstr(outcome.err, "nothing"));
		outcome_free(&outcome);
	}
}

static void killed_it_leaves_the_lock_to_the_next(void **state)
{
	require(first);
	struct program holder = start_to_hold(first);
	struct program waiter = start_action(first, "acquire");

	await_waiters(fixture, "backup", 1);
	assert_true(is_silent(&waiter));
	kill(holder.pid, SIGKILL);
	assert_string_equal(hear_line(&waiter), "held");
	assert_held_by(first, &waiter);
	struct outcome outcome = finish(&holder);
	assert_int_equal(outcome.code, 128 + SIGKILL);
	outcome_free(&outcome);
	finish_well(&waiter, "");
	assert_null(read_lock(fixture, "backup"));
}

static void killed_while_it_waits_it_is_gone(void **state)
{
	require(first);
	struct program holder = start_to_hold(first);
	struct program waiter = start_action(first, "acquire");

	await_waiters(fixture, "backup", 1);
	kill(waiter.pid, SIGKILL);
	await_waiters(fixture, "backup", 0);
	struct outcome outcome = finish(&waiter);
	assert_int_equal(outcome.code, 128 + SIGKILL);
	assert_string_equal(outcome.out, "");
	outcome_free(&outcome);
	finish_well(&holder, "");
	assert_null(read_lock(fixture, "backup"));
}

/* What the second one tries, sees and waits for while the first one holds. */
static void excludes(void **state)
{
	const struct language *second = *state;

	require(first);
	require(second);
	struct program holder = start_to_hold(first);
	struct program waiter = start_action(second, "acquire");
	struct program trier = start_action(second, "try");
	struct program looker = start_action(second, "look");

	finish_well(&trier, "busy\n");
	struct outcome seen = finish(&looker);
	assert_string_equal(seen.err, "");
	assert_int_equal(seen.code, 0);
	assert_names(seen.out, first, &holder);
	outcome_free(&seen);

	await_waiters(fixture, "backup", 1);
	assert_held_by(first, &holder);
	assert_true(is_silent(&waiter));
	finish_well(&holder, "");
	assert_string_equal(hear_line(&waiter), "held");
	assert_held_by(second, &waiter);
	finish_well(&waiter, "");
	assert_null(read_lock(fixture, "backup"));
}

static void read_arguments(char **arguments)
{
	struct language *language = NULL;

	for (char **word = arguments; *word; word++) {
		if (strcmp(*word, "--") == 0) {
			assert_true(language_count < MAX_LANGUAGES);
			language = &languages[language_count++];
		} else if (!language->name) {
			language->name = *word;
		} else {
			assert_true(language->count < MAX_WORDS);
			language->words[language->count++] = *word;
		}
	}
}

static const struct language *language_named(const char *name)
{
	for (size_t i = 0; i < language_count; i++)
		if (strcmp(languages[i].name, name) == 0)
			return &languages[i];
	return NULL;
}

static int setup(void **state)
{
	/* A JVM says on its standard error that it has read it. */
	unsetenv("JAVA_TOOL_OPTIONS");
	/* Not as the state of the group: that would take the place of a case's own. */
	void *mount = NULL;
	int result = fixture_setup(&mount);
	fixture = mount;
	return result;
}

static int teardown(void **state)
{
	void *mount = fixture;

	end_what_is_left(state);
	return fixture_teardown(&mount);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[ONE_HOLDER_CASES + MAX_LANGUAGES] = {
		cmocka_unit_test_setup(by_itself, end_what_is_left),
		cmocka_unit_test_setup(says_that_the_folder_is_not_there, end_what_is_left),
		cmocka_unit_test_setup(killed_it_leaves_the_lock_to_the_next, end_what_is_left),
		cmocka_unit_test_setup(killed_while_it_waits_it_is_gone, end_what_is_left),
	};
	char names[MAX_LANGUAGES][64];

	if (argc < 4) {
		fprintf(stderr, "usage: %s HOLDER -- NAME COMMAND... [-- ...]\n", argv[0]);
		return 64;
	}
	read_arguments(argv + 2);
	first = language_named(argv[1]);
	for (size_t i = 0; i < language_count; i++) {
		snprintf(names[i], sizeof names[i], "%s excludes %s", argv[1], languages[i].name);
		tests[ONE_HOLDER_CASES + i] = (struct CMUnitTest){
			.name = names[i], .test_func = excludes, .initial_state = &languages[i]};
	}
	return _cmocka_run_group_tests(argv[1], tests, ONE_HOLDER_CASES + language_count, setup,
				       teardown);
}
