/*
 * relock run against the real flock(1): the same options, the same exit code,
 * with the lock free, held shared and held exclusively by somebody else.
 *
 * What differs, and why, is a table of its own: a change of either side shows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "command.h"

enum { WORDS_MAX = 12 };

enum who { NOBODY, SHARED_HOLDER, EXCLUSIVE_HOLDER, WHO_COUNT };

/* NAME stands for the lock. */
#define NAME "@"

static const char *const same[][WORDS_MAX] = {
	{NAME, "true"},
	{NAME, "false"},
	{NAME, "sh", "-c", "exit 3"},
	{NAME, "-c", "exit 4"},
	{NAME, "--command", "exit 4"},
	{NAME, "-c", "kill -9 $$"},
	{"-n", NAME, "true"},
	{"--nb", NAME, "true"},
	{"--nonblock", NAME, "false"},
	{"-w", "0.05", NAME, "true"},
	{"--wait", "0.05", NAME, "true"},
	{"--timeout=.05", NAME, "true"},
	{"-w", "0", NAME, "true"},
	{"-n", "-E", "42", NAME, "true"},
	{"-n", "-E", "0", NAME, "false"},
	{"-n", "--conflict-exit-code=255", NAME, "true"},
	{"-w", "0.05", "-E", "7", NAME, "true"},
	{"-n", "-s", NAME, "true"},
	{"-n", "--shared", NAME, "true"},
	{"-n", "-x", NAME, "true"},
	{"-n", "-e", NAME, "true"},
	{"-n", "--exclusive", NAME, "true"},
	{"-n", "-s", "-x", NAME, "true"},
	{"-n", "-x", "-s", NAME, "true"},
	{"-n", "-o", NAME, "false"},
	{"-n", "--close", NAME, "true"},
	{"-n", "-F", NAME, "false"},
	{"-n", "--no-fork", NAME, "sh", "-c", "exit 9"},
	{"-n", "-F", NAME, "-c", "exit 9"},
	{"-n", "--verbose", NAME, "true"},
	{"-nsE", "5", NAME, "true"},
	/* mistakes */
	{"-n"},
	{"-n", NAME, "-c"},
	{"-n", NAME, "-c", "true", "more"},
	{"-n", "-o", "-F", NAME, "true"},
	{"-n", "-E", "256", NAME, "true"},
	{"-n", "-E", "-1", NAME, "true"},
	{"-n", "-E", "x", NAME, "true"},
	{"-n", "-E", "", NAME, "true"},
	{"-w", "x", NAME, "true"},
	{"-w", "", NAME, "true"},
	{"-w"},
	{"--no-such-option", NAME, "true"},
	{"--help"},
	{"-h"},
	{"-n", "/no/such/folder/lock", "true"},
};

/* flock's exit code, ours, and the reason. */
static const struct difference {
	const char *words[WORDS_MAX];
	int flock_code, code;
	const char *why;
} different[] = {
	{{"-n", NAME, "no-such-command"}, 69, 127, "as a shell, which the contract asks for"},
	{{"-n", NAME, "/etc/passwd"}, 69, 126, "as a shell"},
	{{"-w", "-1", NAME, "true"}, 71, 64, "refused before the timer refuses it"},
	{{"-w", "nan", NAME, "true"}, 71, 64, "the same"},
	{{"-w", "inf", NAME, "true"}, 71, 64, "the same"},
	{{"-w", "99999999999999999999", NAME, "true"}, 71, 64, "the same"},
	{{"-w", "0x1", NAME, "true"}, 0, 64, "seconds are decimal"},
	{{"-w", "1e3", NAME, "true"}, 0, 64, "seconds are decimal"},
	{{"-c", "exit 3", NAME}, 64, 3, "-c is taken before the name, too"},
	{{"-n", "", "true"}, 66, 64, "a name is checked before anything is opened"},
	{{"-u", NAME, "true"}, 0, 64, "there is no descriptor to unlock"},
};

static void put_words(const char *to[], const char *const words[WORDS_MAX], const char *name)
{
	for (size_t i = 0; i < WORDS_MAX && words[i]; i++)
		*to++ = strcmp(words[i], NAME) == 0 ? name : words[i];
	*to = NULL;
}

static int flock_code(const char *const words[WORDS_MAX])
{
	const char *all[WORDS_MAX + 4] = {"flock"};

	put_words(all + 1, words, test_path("flock-file"));
	return run(all)->code;
}

static int relock_code(const char *const words[WORDS_MAX])
{
	const char *all[WORDS_MAX + 4] = {relock_path(), "run"};

	/* A word that flock takes for the file's name is ours, too. */
	put_words(all + 2, words, test_path("ofd-file"));
	return run(all)->code;
}

static void hold(int fd, enum who who, bool ofd)
{
	struct flock range = {.l_type = who == SHARED_HOLDER ? F_RDLCK : F_WRLCK};

	if (who == NOBODY)
		return;
	if (ofd)
		assert_int_equal(fcntl(fd, F_OFD_SETLK, &range), 0);
	else
		assert_int_equal(flock(fd, who == SHARED_HOLDER ? LOCK_SH : LOCK_EX), 0);
}

static void compare_all(enum who who)
{
	int flock_fd = open(test_path("flock-file"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	int ofd_fd = open(test_path("ofd-file"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	int wrong = 0;

	assert_true(flock_fd >= 0 && ofd_fd >= 0);
	hold(flock_fd, who, false);
	hold(ofd_fd, who, true);
	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		/* Without -n or -w it would wait for ever. */
		if (who != NOBODY && strcmp(same[i][0], NAME) == 0)
			continue;

		int theirs = flock_code(same[i]), ours = relock_code(same[i]);

		if (theirs == ours)
			continue;
		print_error("case %zu (%s %s ...): flock %d, relock run %d\n", i, same[i][0],
			    same[i][1] ? same[i][1] : "", theirs, ours);
		wrong++;
	}
	close(flock_fd);
	close(ofd_fd);
	assert_int_equal(wrong, 0);
}

static void flock_and_run_agree_on_a_free_lock(void **state)
{
	compare_all(NOBODY);
}

static void flock_and_run_agree_on_a_shared_lock(void **state)
{
	compare_all(SHARED_HOLDER);
}

static void flock_and_run_agree_on_an_exclusive_lock(void **state)
{
	compare_all(EXCLUSIVE_HOLDER);
}

static void flock_and_run_differ_where_said(void **state)
{
	for (size_t i = 0; i < sizeof different / sizeof different[0]; i++) {
		assert_int_equal(flock_code(different[i].words), different[i].flock_code);
		assert_int_equal(relock_code(different[i].words), different[i].code);
	}
}

static void flock_store_excludes_the_real_flock(void **state)
{
	char url[128];

	snprintf(url, sizeof url, "flock:%s/store", test_folder());

	struct program holder =
		START_RELOCK("run", "--store", url, "a", "--", "sh", "-c", "echo held; read line");

	assert_string_equal(hear_line(&holder), "held");
	assert_int_equal(RUN("flock", "-n", test_path("store/a"), "true")->code, 1);

	struct outcome outcome = finish(&holder);

	outcome_free(&outcome);
	assert_int_equal(RUN("flock", "-n", test_path("store/a"), "true")->code, 0);

	holder = START("flock", test_path("store/a"), "sh", "-c", "echo held; read line");
	assert_string_equal(hear_line(&holder), "held");
	EXPECT(1, "run", "--store", url, "-n", "a", "--", "true");
	outcome = finish(&holder);
	outcome_free(&outcome);
	EXPECT(0, "run", "--store", url, "-n", "a", "--", "true");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(flock_and_run_agree_on_a_free_lock),
		CASE(flock_and_run_agree_on_a_shared_lock),
		CASE(flock_and_run_agree_on_an_exclusive_lock),
		CASE(flock_and_run_differ_where_said),
		CASE(flock_store_excludes_the_real_flock),
	};

	return cmocka_run_group_tests_name("relock run and flock", tests, NULL, NULL);
}
