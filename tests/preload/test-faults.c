/*
 * Each system call that the shim makes, made to fail: the program must get no
 * failure that it would not have had natively.
 *
 * A case is run once without a fault, to see which calls the shim makes, and
 * then again for each of these: with the first such call failing alone, then
 * the second, as where a resource is short, and with all of them failing, as
 * where a filter or a missing /proc is in the way.  What the case says must be
 * what it says natively, or under one of the two semantics; "fall back to what
 * `ofd` does" is what the contract allows.
 *
 * The shim may make no call that is not in the table of calls: who adds one
 * says there how it can fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "program.h"

/* <fcntl.h> of glibc 2.36 has neither */
#ifndef F_DUPFD_QUERY
#define F_DUPFD_QUERY 1027
#endif

enum { ERRORS_MAX = 6, OR_ELSE_MAX = 3, KINDS_MAX = 64, ALONE_MAX = 3, WORDS_SIZE = 512 };

struct call {
	long number;
	int command; /* of fcntl, else 0 */
	const char *name;
	int alone[ERRORS_MAX]; /* errors of one call among others that succeed */
	int all[ERRORS_MAX];   /* errors of all of them */
};

/*
 * Not here: what nobody refuses who lets record locks through (F_GETFL, lseek,
 * getpid), what cannot fail unless it is used wrongly (munmap, rt_sigprocmask,
 * futex), what has its effect even when it fails (close), and what the shim does
 * because the program asked for just that (dup2).  They have no errors.
 */
static const struct call calls[] = {
	{SYS_openat, 0, "openat", {EMFILE, ENOMEM}, {EMFILE, ENOENT, EACCES, EPERM, ENOSYS}},
	{SYS_fcntl, F_OFD_GETLK, "F_OFD_ commands", {0}, {EINVAL, EPERM, ENOSYS}},
	{SYS_fcntl, F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC", {EMFILE}, {EMFILE, EPERM}},
	{SYS_fcntl, F_DUPFD_QUERY, "F_DUPFD_QUERY", {0}, {EINVAL, EPERM, ENOSYS}},
	{SYS_fcntl, F_SETLK, "F_SETLK", {0}, {0}},
	{SYS_fcntl, F_SETLKW, "F_SETLKW", {0}, {0}},
	{SYS_fcntl, F_GETLK, "F_GETLK", {0}, {0}},
	{SYS_fcntl, F_GETFD, "F_GETFD", {0}, {0}},
	{SYS_fcntl, F_SETFD, "F_SETFD", {0}, {0}},
	{SYS_fcntl, F_GETFL, "F_GETFL", {0}, {0}},
	{SYS_fcntl, F_SETFL, "F_SETFL", {0}, {0}},
	{SYS_statx, 0, "statx", {ENOMEM}, {ENOSYS, EPERM}},
	{SYS_fstat, 0, "fstat", {0}, {EPERM, ENOSYS}},
	{SYS_newfstatat, 0, "newfstatat", {0}, {EPERM, ENOSYS}},
	{SYS_fstatfs, 0, "fstatfs", {ENOMEM}, {EPERM, ENOSYS}},
	{SYS_mmap, 0, "mmap", {ENOMEM}, {ENOMEM, EPERM}},
	{SYS_mremap, 0, "mremap", {ENOMEM}, {ENOMEM, EPERM}},
	{SYS_madvise, 0, "madvise", {ENOMEM}, {EINVAL, EPERM, ENOSYS}},
	{SYS_mprotect, 0, "mprotect", {ENOMEM}, {ENOMEM, EPERM}},
	{SYS_memfd_create, 0, "memfd_create", {EMFILE, ENOMEM}, {EPERM, ENOSYS}},
	{SYS_ftruncate, 0, "ftruncate", {ENOSPC}, {EPERM}},
	{SYS_flock, 0, "flock", {ENOLCK}, {EPERM, ENOSYS}},
	{SYS_kcmp, 0, "kcmp", {0}, {EPERM, ENOSYS}},
	{SYS_readlink, 0, "readlink", {ENOMEM}, {EACCES, ENOENT, EPERM}},
	{SYS_readlinkat, 0, "readlinkat", {ENOMEM}, {EACCES, ENOENT, EPERM}},
	{SYS_getdents64, 0, "getdents64", {ENOMEM}, {EPERM, ENOSYS}},
	{SYS_prlimit64, 0, "prlimit64", {0}, {EPERM, ENOSYS}},
	{SYS_process_vm_readv, 0, "process_vm_readv", {ENOMEM}, {EPERM, ENOSYS}},
	{SYS_process_vm_writev, 0, "process_vm_writev", {ENOMEM}, {EPERM, ENOSYS}},
	{SYS_pidfd_open, 0, "pidfd_open", {EMFILE}, {EPERM, ENOSYS}},
	{SYS_getrandom, 0, "getrandom", {0}, {EPERM, ENOSYS}},
	{SYS_clock_gettime, 0, "clock_gettime", {0}, {0}},
	{SYS_access, 0, "access", {0}, {ENOENT, EPERM}},
	{SYS_faccessat, 0, "faccessat", {0}, {ENOENT, EPERM}},
	{SYS_read, 0, "read", {0}, {EPERM}},
	{SYS_pread64, 0, "pread64", {0}, {EPERM}},
	{SYS_write, 0, "write", {0}, {0}},
	{SYS_close, 0, "close", {0}, {0}},
	{SYS_close_range, 0, "close_range", {0}, {0}},
	{SYS_dup, 0, "dup", {0}, {0}},
	{SYS_dup2, 0, "dup2", {0}, {0}},
	{SYS_dup3, 0, "dup3", {0}, {0}},
	{SYS_lseek, 0, "lseek", {0}, {0}},
	{SYS_munmap, 0, "munmap", {0}, {0}},
	{SYS_futex, 0, "futex", {0}, {0}},
	{SYS_ppoll, 0, "ppoll", {0}, {EPERM, ENOSYS}},
	{SYS_rt_sigprocmask, 0, "rt_sigprocmask", {0}, {0}},
	{SYS_rt_sigaction, 0, "rt_sigaction", {0}, {0}},
	{SYS_rt_sigpending, 0, "rt_sigpending", {0}, {0}},
	{SYS_sigaltstack, 0, "sigaltstack", {0}, {0}},
	{SYS_tgkill, 0, "tgkill", {0}, {EPERM, ENOSYS}},
	{SYS_geteuid, 0, "geteuid", {0}, {0}},
	{SYS_fchmod, 0, "fchmod", {0}, {EPERM}},
	{SYS_pwrite64, 0, "pwrite64", {ENOSPC}, {EPERM}},
	{SYS_sched_yield, 0, "sched_yield", {0}, {0}},
	{SYS_getpid, 0, "getpid", {0}, {0}},
	{SYS_gettid, 0, "gettid", {0}, {0}},
	{SYS_getcwd, 0, "getcwd", {0}, {EPERM}},
	{SYS_execve, 0, "execve", {0}, {0}},
	{SYS_execveat, 0, "execveat", {0}, {0}},
	{SYS_vfork, 0, "vfork", {0}, {0}},
	{SYS_clone, 0, "clone", {0}, {0}},
	{SYS_clone3, 0, "clone3", {0}, {0}},
};

struct kind {
	const struct call *call;
	unsigned count;
};

struct scenario {
	const char *subject_case;
	/* What else may be said; NULL: nothing. */
	const char *or_else[OR_ELSE_MAX];
	/* What else may be said where memory is out. */
	const char *without_memory;
};

static const char *semantics[] = {"process", "ofd"};
enum { SEMANTICS = sizeof semantics / sizeof *semantics };

static const struct call *find_call(long number, int command)
{
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i].number == number && calls[i].command == command)
			return &calls[i];
	fail_msg("the shim makes system call %ld (command %d), and nothing is known of how that "
		 "fails: add it to the table",
		 number, command);
	return NULL;
}

static const char *report_path(void)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/report", test_folder);
	return path;
}

static unsigned read_kinds(struct kind kinds[static KINDS_MAX])
{
	FILE *report = fopen(report_path(), "re");
	unsigned known = 0, count;
	long number;
	int command;

	assert_non_null(report);
	while (known < KINDS_MAX && fscanf(report, "%ld %d %u", &number, &command, &count) == 3)
		kinds[known++] = (struct kind){find_call(number, command), count};
	fclose(report);
	return known;
}

/* What it says with the `nth` call (0: each) failing; without a call, with
 * none.  The output is valid until the next run. */
static const struct program_output *run_with_fault(const char *subject_case,
						   const char *which_semantics, bool is_aloud,
						   const struct call *call, unsigned nth, int error)
{
	static struct program_output output;
	char subject[4096], fault[64], setting[48];

	snprintf(subject, sizeof subject, "%s/preload-subject", getenv("RELOCK_TEST_PROGRAMS"));
	snprintf(fault, sizeof fault, "%ld:%d:%u:%d", call ? call->number : -1,
		 call ? call->command : 0, nth, error);
	snprintf(setting, sizeof setting, "RELOCK_SEMANTICS=%s", which_semantics);
	program_run(
		&(struct program_start){
			.regime = SHIM,
			.arguments = {"preload-fault", report_path(), fault, subject, subject_case,
				      fresh_file(), "fcntl"},
			.settings = {setting, is_aloud ? "RELOCK_DEBUG=1" : NULL},
		},
		&output);
	return &output;
}

/* All that a case may say. */
struct answers {
	char words[SEMANTICS + 1 + OR_ELSE_MAX][WORDS_SIZE];
	unsigned count;
};

static void add_answer(struct answers *answers, const char *words)
{
	assert_true(strlen(words) < WORDS_SIZE);
	strcpy(answers->words[answers->count++], words);
}

static bool is_among(const struct answers *answers, const char *words)
{
	for (unsigned i = 0; i < answers->count; i++)
		if (strcmp(answers->words[i], words) == 0)
			return true;
	return false;
}

static struct answers answers_of(const struct scenario *scenario)
{
	struct answers answers = {.count = 0};

	add_answer(&answers, program_says(&(struct program_start){
				     .arguments = {"preload-subject", scenario->subject_case,
						   fresh_file(), "fcntl"}}));
	for (int i = 0; i < SEMANTICS; i++)
		add_answer(&answers,
			   run_with_fault(scenario->subject_case, semantics[i], false, NULL, 0, 0)
				   ->out);
	for (int i = 0; i < OR_ELSE_MAX && scenario->or_else[i]; i++)
		add_answer(&answers, scenario->or_else[i]);
	return answers;
}

/* Returns the number of wrong answers: the others shall be seen, too. */
static unsigned check(const struct scenario *scenario, const char *which_semantics,
		      const struct answers *answers, const struct call *call, unsigned nth,
		      int error)
{
	const struct program_output *output =
		run_with_fault(scenario->subject_case, which_semantics, false, call, nth, error);

	if (output->status == 0 && is_among(answers, output->out))
		return 0;
	if (error == ENOMEM && scenario->without_memory &&
	    strcmp(output->out, scenario->without_memory) == 0)
		return 0;
	print_message(
		"%s under %s, %s of its %s failing with %s:\n    said     %s (status %#x) %s\n",
		scenario->subject_case, which_semantics,
		nth == 0   ? "each"
		: nth == 1 ? "the first"
		: nth == 2 ? "the second"
			   : "the third",
		call->name, strerrorname_np(error), output->out, (unsigned)output->status,
		output->error);
	for (unsigned i = 0; i < answers->count; i++)
		print_message("    expected %s\n", answers->words[i]);
	return 1;
}

static unsigned check_kind(const struct scenario *scenario, const char *which_semantics,
			   const struct answers *answers, const struct kind *kind)
{
	unsigned wrong = 0;

	for (const int *error = kind->call->all; *error; error++)
		wrong += check(scenario, which_semantics, answers, kind->call, 0, *error);
	for (unsigned nth = 1; nth <= kind->count && nth <= ALONE_MAX; nth++)
		for (const int *error = kind->call->alone; *error; error++)
			wrong += check(scenario, which_semantics, answers, kind->call, nth, *error);
	return wrong;
}

static void no_fault_reaches_the_program(void **state)
{
	const struct scenario *scenario = *state;
	struct answers answers = answers_of(scenario);
	struct kind kinds[KINDS_MAX];
	unsigned wrong = 0;

	for (int i = 0; i < SEMANTICS; i++) {
		run_with_fault(scenario->subject_case, semantics[i], false, NULL, 0, 0);
		unsigned count = read_kinds(kinds);
		assert_true(count > 0);
		for (unsigned k = 0; k < count; k++)
			wrong += check_kind(scenario, semantics[i], &answers, &kinds[k]);
	}
	assert_int_equal(wrong, 0);
}

/* With RELOCK_DEBUG a person can see why the semantics is not the one that was
 * asked for. */
static void a_fall_back_is_noted_once(void **state)
{
	static const struct {
		struct call call;
		unsigned nth;
		int error;
		const char *note;
	} faults[] = {
		{{SYS_openat}, 0, EACCES, "cannot be opened again (EACCES)"},
		{{SYS_openat}, 0, EMFILE, "cannot be opened again (EMFILE)"},
		{{SYS_fcntl, F_OFD_GETLK}, 0, EINVAL, "no OFD locks here"},
		{{SYS_mmap}, 0, ENOMEM, "no memory for more files"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		const struct program_output *output =
			run_with_fault("close_another_open", "process", true, &faults[i].call,
				       faults[i].nth, faults[i].error);
		assert_int_equal(output->status, 0);
		const char *noted = strstr(output->error, faults[i].note);
		if (!noted || strstr(noted + 1, faults[i].note))
			fail_msg("'%s' should be said once:\n%s", faults[i].note, output->error);
	}
}

#define CASE(subject, ...)                                                                         \
	{                                                                                          \
		.name = subject, .test_func = no_fault_reaches_the_program,                        \
		.initial_state = &(struct scenario){subject, {__VA_ARGS__}},                       \
	}

static const struct CMUnitTest tests[] = {
	CASE("ranges"),
	CASE("second_open"),
	CASE("close_another_open"),
	CASE("close_last_duplicate"),
	CASE("close_while_mapped"),
	CASE("close_while_inherited"),
	CASE("close_one_duplicate"),
	CASE("unlock_through_another"),
	CASE("change_through_another"),
	/* The holder may be out of sight; and after a fall back to `ofd` the
	 * child does not know that it shares what its parent holds. */
	CASE("fork_child", "somebody's EAGAIN EAGAIN held", "somebody's ok EAGAIN held",
	     "parent's ok EAGAIN held"),
	CASE("fork_child_unlocks"),
	CASE("holder_exits"),
	CASE("holder_is_killed"),
	/* There is no memory then for the text that tells the new image of its
	 * locks; execve(2) itself wants more than that. */
	{
		.name = "exec_keeping",
		.test_func = no_fault_reaches_the_program,
		.initial_state = &(struct scenario){.subject_case = "exec_keeping",
						    .without_memory = "free"},
	},
	CASE("exec_closing"),
	/* F_GETLK, whose holder may be out of sight then. */
	CASE("without_malloc", "ok ok ? ok"),
	cmocka_unit_test(a_fall_back_is_noted_once),
};

int main(void)
{
	return cmocka_run_group_tests_name("faults", tests, make_folder, remove_folder);
}
