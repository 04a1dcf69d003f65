/*
 * The shim as a guest in somebody else's process: what it brings in, where it
 * can be called from, and what it does where the kernel gives it less than it
 * would like.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"
#include "program.h"
#include "rows.h"

#define NOBODY "65534"

static const char *subject_says(enum regime regime, const char *subject_case)
{
	return program_says(&(struct program_start){
		.regime = regime,
		.arguments = {"preload-subject", subject_case, fresh_file(), "fcntl"},
	});
}

/* What it brings in */

static void check_all(const char *subject_case, const char *native, const char *process,
		      const char *ofd)
{
	check_columns(subject_case, NULL, NULL, "fcntl", &(struct columns){native, process, ofd});
}

static const char *readelf(const char *option)
{
	return program_says(&(struct program_start){
		.arguments = {"/usr/bin/readelf", "-W", option, shim_path()}});
}

static void needs_libc_and_nothing_else(void **state)
{
	const char *text = readelf("-d");
	const char *first = strstr(text, "(NEEDED)");

	(void)state;
	assert_non_null(first);
	assert_non_null(strstr(first, "[libc.so.6]"));
	assert_null(strstr(first + 1, "(NEEDED)"));
}

static void binds_its_symbols_at_start(void **state)
{
	(void)state;
	assert_non_null(strstr(readelf("-d"), "NOW"));
}

static void exports_what_it_intercepts(void **state)
{
	static const char *const expected[] = {
		"_Fork",   "clone",   "close",   "close_range", "closedir",  "closefrom",
		"dup",     "dup2",    "dup3",    "execl",       "execle",    "execlp",
		"execv",   "execve",  "execvp",  "execvpe",     "execveat",  "fclose",
		"fcntl",   "fcntl64", "fexecve", "freopen",     "freopen64", "lockf",
		"lockf64", "syscall", "vfork",
	};
	const char *text = readelf("--dyn-syms");
	unsigned count = 0;
	char line[256];

	(void)state;
	for (; *text; text += *text == '\n') {
		char symbol[128], section[16], binding[16];
		int length = (int)strcspn(text, "\n");
		snprintf(line, sizeof line, "%.*s", length, text);
		text += length;
		if (sscanf(line, "%*d: %*x %*d %*s %15s %*s %15s %127s", binding, section,
			   symbol) != 3 ||
		    strcmp(section, "UND") == 0)
			continue;
		bool is_expected = false;
		for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
			is_expected |= strcmp(symbol, expected[i]) == 0;
		if (!is_expected)
			fail_msg("exports %s", symbol);
		count++;
	}
	assert_int_equal(count, sizeof expected / sizeof *expected);
}

/* Where it can be called from */

static void locks_before_constructors(void **state)
{
	struct program_start start = {.arguments = {"preload-early", fresh_file()}};

	(void)state;
	assert_string_equal(program_says(&start), "POSIX POSIX held held free free held free");
	/* The first lock knows no settings yet, and is on a description of the
	 * shim's own. */
	start.regime = PROCESS;
	assert_string_equal(program_says(&start), "none none held held held held held free");
	start.regime = OFD;
	assert_string_equal(program_says(&start), "none none held held held held held free");
	/* The first comes before libc has the environment, and must not be the
	 * end of it: the second is as it says. */
	start.regime = SHIM;
	start.settings[0] = "RELOCK_SEMANTICS=none-such";
	assert_string_equal(program_says(&start), "none none held held held held held free");
}

static void uses_no_malloc(void **state)
{
	(void)state;
	check_all("without_malloc", "ok ok holder ok", "ok ok holder ok", "ok ok holder ok");
	check_all("life_without_malloc", "0 free", "0 free", "0 free");
}

static void check_signal_handlers(enum regime regime)
{
	struct program_start start = {
		.regime = regime,
		.arguments = {"preload-subject", "in_signal_handlers", fresh_file(), "fcntl"}};
	char debug[128];

	assert_string_equal(program_says(&start), "0 0");
	/* The stack must do for this, too. */
	snprintf(debug, sizeof debug, "RELOCK_DEBUG=%s/debug", test_folder);
	start.settings[0] = debug;
	assert_string_equal(program_says(&start), "0 0");
}

static void works_in_signal_handlers(void **state)
{
	(void)state;
	check_signal_handlers(PROCESS);
	check_signal_handlers(OFD);
}

static void works_in_vfork_child(void **state)
{
	(void)state;
	/* In `ofd` the child has the parent's description, else it is a process
	 * of its own. */
	check_all("in_vfork_child", "locked ok", "locked ok", "locked ok");
}

static void threads_exclude_each_other(void **state)
{
	(void)state;
	assert_string_equal(subject_says(OFD, "threads_count"), "all-counted");
}

/* Who holds the lock, row 12 */

static void row_12_holder_of_many_ranges(void **state)
{
	static const char expected[] = "holder holder holder holder holder holder holder holder "
				       "holder holder holder holder holder holder nobody";

	(void)state;
	check_all("holder_of_many", expected, expected, expected);
}

static void row_12_holder_whose_first_thread_ended(void **state)
{
	(void)state;
	check_all("holder_without_first_thread", "holder", "holder", "holder");
}

static void row_12_holder_beside_our_own_description(void **state)
{
	(void)state;
	check_all("holder_beside_ourselves", "holder nobody", "holder nobody", "holder nobody");
}

static void row_13_another_process_before_another_open(void **state)
{
	(void)state;
	check_all("holder_besides_own_open", "holder nobody", "holder nobody", "holder self");
}

static void row_12_no_descriptors_left(void **state)
{
	(void)state;
	check_all("holder_without_descriptors", "holder ok", "unknown ok", "unknown ok");
}

/* 0, as for a native holder in another pid namespace; never -1, which programs
 * pass to kill(2). */
static void check_out_of_sight(enum regime regime, const char *file, struct program_start ask)
{
	struct program_output output;

	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
	ask.regime = regime;
	struct program holder = program_start(&(struct program_start){
		.regime = regime, .arguments = {"preload-subject", "hold_lock", file, "fcntl"}});
	program_words(&holder, 1);
	assert_string_equal(program_says(&ask), "ok 0");
	program_finish(&holder, &output);
}

static void row_12_holder_of_another_user(void **state)
{
	const char *file = fresh_file();
	struct program_start ask = {
		.arguments = {"preload-subject", "ask_holder", file, "fcntl", NOBODY}};

	(void)state;
	check_out_of_sight(PROCESS, file, ask);
	check_out_of_sight(OFD, file, ask);
}

/* With the /proc of the namespace outside, whose pids mean others here. */
static void row_12_holder_in_another_pid_namespace(void **state)
{
	const char *file = fresh_file();
	char subject[4096];
	struct program_start ask = {.arguments = {"/usr/bin/unshare", "--pid", "--fork", subject,
						  "ask_holder", file, "fcntl"}};

	(void)state;
	snprintf(subject, sizeof subject, "%s/preload-subject", getenv("RELOCK_TEST_PROGRAMS"));
	check_out_of_sight(PROCESS, file, ask);
	check_out_of_sight(OFD, file, ask);
}

/* Where the kernel gives less */

/* What `lock_and_unlock` says of a lock of the process that is an OFD lock, of
 * an OFD lock, and of a legacy one. */
static const char kept_by_process[] = "ok none ok own none ok ok none";
static const char kept_by_open[] = "ok OFDLCK ok own OFDLCK ok ok none";
static const char lost[] = "ok POSIX ok own none ok ok none";

static const enum regime under_shim[] = {PROCESS, OFD};
enum { UNDER_SHIM = sizeof under_shim / sizeof *under_shim };

struct sandboxed {
	enum regime regime;
	const char *rule, *subject_case, *argument, *setting;
};

static void sandboxed_run(const struct sandboxed *wanted, struct program_output *ret)
{
	char subject[4096];

	snprintf(subject, sizeof subject, "%s/preload-subject", getenv("RELOCK_TEST_PROGRAMS"));
	program_run(
		&(struct program_start){
			.regime = wanted->regime,
			.arguments = {"preload-sandbox", wanted->rule, "--", subject,
				      wanted->subject_case, fresh_file(), "fcntl",
				      wanted->argument},
			.settings = {wanted->setting},
		},
		ret);
	assert_int_equal(ret->status, 0);
}

static void check_without_ofd_locks(enum regime regime, const char *rule)
{
	static const char note[] = "no OFD locks here: legacy record locks instead";
	struct sandboxed wanted = {regime, rule, "lock_and_unlock", NULL, "RELOCK_DEBUG=1"};
	struct program_output output;

	sandboxed_run(&wanted, &output);
	assert_string_equal(output.out, lost);
	const char *noted = strstr(output.error, note);
	assert_non_null(noted);
	assert_null(strstr(noted + 1, note));

	wanted.setting = NULL;
	sandboxed_run(&wanted, &output);
	assert_string_equal(output.out, lost);
	assert_string_equal(output.error, "");
}

static void no_ofd_locks_at_all(void **state)
{
	static const char *const rules[] = {"ofd=EINVAL", "ofd=EPERM", "ofd=ENOSYS"};

	(void)state;
	check_all("lock_and_unlock", lost, kept_by_process, kept_by_open);
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		for (size_t j = 0; j < UNDER_SHIM; j++)
			check_without_ofd_locks(under_shim[j], rules[i]);
}

/* What fails there is what is wrong, and with the same error. */
static void no_ofd_locks_and_bad_arguments(void **state)
{
	static const char *const cases[] = {"ranges",       "others_pid",  "interrupted",
					    "cancelled",    "left_in_pid", "bad_pointers",
					    "bad_arguments"};
	struct program_output output;
	char native[PROGRAM_OUTPUT_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		strcpy(native, subject_says(NATIVE, cases[i]));
		for (size_t j = 0; j < UNDER_SHIM; j++) {
			sandboxed_run(&(struct sandboxed){under_shim[j], "ofd=EINVAL", cases[i],
							  NULL, NULL},
				      &output);
			assert_string_equal(output.out, native);
		}
	}
}

/* The holder cannot be found without it, and that is all. */
static void no_statx(void **state)
{
	struct program_output output;

	(void)state;
	for (size_t i = 0; i < UNDER_SHIM; i++) {
		sandboxed_run(&(struct sandboxed){under_shim[i], "statx=ENOSYS", "lock_and_unlock",
						  NULL, NULL},
			      &output);
		assert_string_equal(output.out,
				    under_shim[i] == PROCESS ? kept_by_process : kept_by_open);
		sandboxed_run(&(struct sandboxed){under_shim[i], "statx=ENOSYS", "holder_of_many",
						  NULL, NULL},
			      &output);
		assert_string_equal(output.out,
				    "unknown unknown unknown unknown unknown unknown unknown "
				    "unknown unknown unknown unknown unknown unknown unknown "
				    "nobody");
	}
}

/* System calls that containers refuse: everything goes on without them. */
static void refused_calls(void **state)
{
	static const char *const rules[] = {
		"kcmp=EPERM",          "dupfd_query=EINVAL",     "pidfd_open=EPERM",
		"pidfd_getfd=EPERM",   "process_vm_readv=EPERM", "close_range=ENOSYS",
		"memfd_create=ENOSYS",
	};
	static const struct {
		const char *subject_case, *argument, *process;
	} cases[] = {
		{"life", NULL, "ok write ok write ok free free write free"},
		{"closer", "closefrom", "free held held free"},
		{"duplicate", "dup", "held free held free held free held free"},
		{"child", "fork", "parent's EAGAIN ok ok held free ok -----wwwww- -----------"},
		{"exec", "execve", "wwwwwwwwww- own ok -----wwwww- -----wwwww- -----------"},
		{"cycle", NULL, "returns EDEADLK"},
		{"others_pid", NULL, "write 20 30 child write 20 0 child free"},
	};
	struct program_output output;

	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
			sandboxed_run(&(struct sandboxed){PROCESS, rules[i], cases[j].subject_case,
							  cases[j].argument, NULL},
				      &output);
			if (strcmp(output.out, cases[j].process) != 0)
				fail_msg("%s with %s:\n    said     %s\n    expected %s",
					 cases[j].subject_case, rules[i], output.out,
					 cases[j].process);
		}
}

/* FUSE: the calls stay as the program made them. */

static bool is_fuse(const char *path)
{
	struct statfs filesystem;

	return statfs(path, &filesystem) == 0 && filesystem.f_type == FUSE_SUPER_MAGIC;
}

/* The kernel tells of every mount through poll(2) on this file. */
static bool await_mount(const char *path)
{
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool is_mounted;

	assert_non_null(mounts);
	struct pollfd poll_fd = {.fd = fileno(mounts), .events = POLLPRI};
	while (!(is_mounted = is_fuse(path)) && poll(&poll_fd, 1, 20000) == 1)
		;
	fclose(mounts);
	return is_mounted;
}

static struct {
	char folder[128], file[160];
	struct program server;
	bool is_mounted;
} mount_point;

static int mount_fuse(void **state)
{
	(void)state;
	if (access("/dev/fuse", R_OK | W_OK) < 0)
		return 0;
	snprintf(mount_point.folder, sizeof mount_point.folder, "%s/mount", test_folder);
	snprintf(mount_point.file, sizeof mount_point.file, "%s/file", mount_point.folder);
	mkdir(mount_point.folder, 0755);
	mount_point.server = program_start(
		&(struct program_start){.arguments = {"one-file-fs", "-f", mount_point.folder}});
	mount_point.is_mounted = await_mount(mount_point.folder);
	return mount_point.is_mounted ? 0 : -1;
}

static int unmount_fuse(void **state)
{
	struct program_output output;

	(void)state;
	if (!mount_point.is_mounted)
		return 0;
	kill(mount_point.server.pid, SIGCONT);
	umount2(mount_point.folder, MNT_DETACH);
	program_finish(&mount_point.server, &output);
	mount_point.is_mounted = false;
	return rmdir(mount_point.folder);
}

static void check_on_fuse_with(const char *setting, const char *subject_case, const char *expected)
{
	if (!mount_point.is_mounted) {
		print_message("needs /dev/fuse\n");
		skip();
	}
	for (size_t i = 0; i < UNDER_SHIM; i++)
		assert_string_equal(program_says(&(struct program_start){
					    .regime = under_shim[i],
					    .arguments = {"preload-subject", subject_case,
							  mount_point.file, "fcntl"},
					    .settings = {setting}}),
				    expected);
}

static void check_on_fuse(const char *subject_case, const char *expected)
{
	check_on_fuse_with(NULL, subject_case, expected);
}

static void legacy_locks_on_fuse(void **state)
{
	(void)state;
	check_on_fuse("lock_and_unlock", lost);
}

/* What was learned of a descriptor is not believed of the next of its number. */
static void legacy_locks_on_fuse_after_ofd_locks(void **state)
{
	(void)state;
	check_on_fuse("lock_through_used_number", "ok ok ok POSIX ok own none ok ok none");
}

static void legacy_lock_on_fuse_is_unlocked_after_exec(void **state)
{
	(void)state;
	check_on_fuse("exec_and_unlock", "POSIX ok none");
	check_all("exec_and_unlock", "POSIX ok none", "none ok none", "OFDLCK ok none");
}

/* Whoever names the file in a policy knows what its server does. */
static void ofd_locks_on_fuse_by_policy(void **state)
{
	(void)state;
	check_on_fuse_with("RELOCK_POLICY=*=ofd", "lock_and_unlock", kept_by_open);
	check_on_fuse_with("RELOCK_POLICY=other=ofd", "lock_and_unlock", lost);
}

static int exec_when_told(struct peer *self, void *argument)
{
	(void)argument;
	peer_say(self, open(mount_point.file, O_RDWR | O_CLOEXEC) >= 0);
	peer_hear(self);
	execl("/bin/true", "true", (char *)NULL);
	return 1;
}

/* A process has no arguments while its old image is gone and its new one is not
 * there yet. */
static bool is_amid_exec(pid_t pid)
{
	char path[32], byte;

	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = read(fd, &byte, 1);
	close(fd);
	return length == 0;
}

/* In an execve(2) that waits for a FUSE server to answer to a close: the kernel
 * lets nobody follow that process's /proc/PID/fd/FD meanwhile. */
static void row_12_beside_a_process_that_hangs(void **state)
{
	(void)state;
	if (!mount_point.is_mounted) {
		print_message("needs /dev/fuse\n");
		skip();
	}
	struct peer peer = peer_start(exec_when_told, NULL);
	assert_true(peer_hear(&peer));
	kill(mount_point.server.pid, SIGSTOP);
	peer_say(&peer, 0);
	while (!is_amid_exec(peer.pid))
		sched_yield();
	check_all("others_pid", "write 20 30 child write 20 0 child free",
		  "write 20 30 child write 20 0 child free",
		  "write 20 30 child write 20 0 child free");
	assert_true(is_amid_exec(peer.pid));
	kill(mount_point.server.pid, SIGCONT);
	assert_int_equal(peer_reap(&peer), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(needs_libc_and_nothing_else),
	cmocka_unit_test(binds_its_symbols_at_start),
	cmocka_unit_test(exports_what_it_intercepts),
	cmocka_unit_test(locks_before_constructors),
	cmocka_unit_test(uses_no_malloc),
	cmocka_unit_test(works_in_signal_handlers),
	cmocka_unit_test(works_in_vfork_child),
	cmocka_unit_test(threads_exclude_each_other),
	cmocka_unit_test(row_12_holder_of_many_ranges),
	cmocka_unit_test(row_12_holder_whose_first_thread_ended),
	cmocka_unit_test(row_12_holder_beside_our_own_description),
	cmocka_unit_test(row_13_another_process_before_another_open),
	cmocka_unit_test(row_12_no_descriptors_left),
	cmocka_unit_test(row_12_holder_of_another_user),
	cmocka_unit_test(row_12_holder_in_another_pid_namespace),
	cmocka_unit_test(no_ofd_locks_at_all),
	cmocka_unit_test(no_ofd_locks_and_bad_arguments),
	cmocka_unit_test(no_statx),
	cmocka_unit_test(refused_calls),
	cmocka_unit_test_setup_teardown(row_12_beside_a_process_that_hangs, mount_fuse,
					unmount_fuse),
	cmocka_unit_test_setup_teardown(legacy_locks_on_fuse, mount_fuse, unmount_fuse),
	cmocka_unit_test_setup_teardown(legacy_locks_on_fuse_after_ofd_locks, mount_fuse,
					unmount_fuse),
	cmocka_unit_test_setup_teardown(legacy_lock_on_fuse_is_unlocked_after_exec, mount_fuse,
					unmount_fuse),
	cmocka_unit_test_setup_teardown(ofd_locks_on_fuse_by_policy, mount_fuse, unmount_fuse),
};

int main(void)
{
	return cmocka_run_group_tests_name("safety", tests, make_folder, remove_folder);
}
