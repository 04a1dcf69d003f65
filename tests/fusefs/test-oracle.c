/*
 * The exclusion oracle (tests/oracle/) through mounts: openers, flock(2) users,
 * users of the library and of bare locks in the store, and breakers, all on the
 * same locks, killed, stopped and interrupted at random.  After it the daemons
 * must be as they were before: nothing held, no descriptor more, and no memory
 * that grows with what has been done.
 *
 * GRANTS, from meson, or $RELOCK_ORACLE_GRANTS, for a long run.
 */
#include "fixture.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE = 20, ARGUMENTS_MAX = 24 };

static size_t count_descriptors(pid_t pid)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static long memory_kib(pid_t pid)
{
	char path[64], line[256];
	long size = -1;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *status = fopen(path, "re");
	assert_non_null(status);
	while (size < 0 && fgets(line, sizeof line, status))
		(void)sscanf(line, "VmRSS: %ld kB", &size);
	fclose(status);
	return size;
}

/* A name that has been used keeps a descriptor until the kernel has forgotten
 * it, of which there is no event. */
static void await_descriptors(pid_t pid, size_t count)
{
	time_t deadline = time(NULL) + PATIENCE;

	while (count_descriptors(pid) > count) {
		if (time(NULL) >= deadline)
			fail_msg("relockfs had %zu descriptors, and has %zu", count,
				 count_descriptors(pid));
		sched_yield();
	}
}

static char *make(const char *format, const char *value)
{
	char *made = NULL;

	if (asprintf(&made, format, value) < 0)
		fail_msg("no memory");
	return made;
}

static const char *grants(void)
{
	const char *wanted = getenv("RELOCK_ORACLE_GRANTS");

	return wanted ? wanted : GRANTS;
}

/* A lock of link: is refreshed by a thread, which under ThreadSanitizer the child of
 * a process that has one may not start. */
static const char *forks(void)
{
	return LEAN ? "400" : "0";
}

/* The exit status of the oracle. */
static int run_oracle(char *const arguments[])
{
	int status;

	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execv(arguments[0], arguments);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* Ways to take the locks on the fixture's store, each in as many processes as
 * the others; `first` looks what is left in the end. */
struct run {
	const char *driver;
	bool exclusive; /* the store has no shared locks */
	bool flocker, second, librelock, bare;
	const char *threads, *processes, *break_every;
	const char *crash_every; /* NULL: never */
};

static int run_on(const struct fixture *fixture, const struct run *run)
{
	const char *mount = fixture->daemon.mountpoint, *second = fixture->second.mountpoint;
	const char *library = run->exclusive ? "--mix=relock-exclusive=%s" : "--mix=relock=%s";
	const char *opener = run->exclusive ? "--mix=opener-exclusive=%s" : "--mix=opener=%s";
	char *made[] = {
		make("--store=%s", mount),
		make("--driver=%s", run->driver),
		make("--grants=%s", grants()),
		make("--threads=%s", run->threads),
		make("--processes=%s", run->processes),
		make("--break-every=%s", run->break_every),
		run->crash_every ? make("--crash-every=%s", run->crash_every) : NULL,
		run->flocker ? make("--mix=flocker=%s", mount) : NULL,
		run->librelock ? make(library, fixture->store_url) : NULL,
		run->bare ? make("--mix=bare-ofd=%s", fixture->store_url) : NULL,
		run->exclusive ? make("--fork-every=%s", forks()) : NULL,
		run->second ? make(opener, second) : NULL,
		run->second && !run->exclusive ? make("--mix=flocker=%s", second) : NULL,
	};
	char *arguments[ARGUMENTS_MAX] = {getenv("ORACLE"), "--signal-every=20", "--stop-every=100",
					  "--patience=60"};
	size_t count = 4;

	assert_non_null(arguments[0]);
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		if (made[i])
			arguments[count++] = made[i];
	int status = run_oracle(arguments);
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
		free(made[i]);
	return status;
}

struct daemon_state {
	size_t descriptors;
	long memory;
};

static struct daemon_state state_of(const struct daemon *daemon)
{
	return (struct daemon_state){count_descriptors(daemon->pid), memory_kib(daemon->pid)};
}

static void expect_no_growth(const struct daemon *daemon, struct daemon_state before)
{
	/* What a first use of everything costs: buffers, stacks of threads, the
	 * heaps of those.  Sanitizers keep what was freed. */
	long allowed = LEAN ? 4096 : 1L << 30;

	await_descriptors(daemon->pid, before.descriptors);
	long after = memory_kib(daemon->pid);
	if (after > before.memory + allowed)
		fail_msg("relockfs had %ld KiB of memory, and has %ld", before.memory, after);
}

static void expect_exclusion(struct fixture *fixture, const struct run *run)
{
	if (run->second)
		fixture_start_second(fixture);
	struct daemon_state first = state_of(&fixture->daemon);
	struct daemon_state second =
		run->second ? state_of(&fixture->second) : (struct daemon_state){0};
	assert_int_equal(run_on(fixture, run), 0);
	assert_int_equal(count_names(fixture), 0);
	expect_no_growth(&fixture->daemon, first);
	if (run->second)
		expect_no_growth(&fixture->second, second);
}

static void openers_exclude_each_other(void **state)
{
	expect_exclusion(*state, &(struct run){.driver = "opener",
					       .threads = THREADS,
					       .processes = "6",
					       .break_every = "0"});
}

static void openers_and_flockers_exclude_users_of_the_store(void **state)
{
	expect_exclusion(*state, &(struct run){.driver = "opener",
					       .flocker = true,
					       .librelock = true,
					       .bare = true,
					       .threads = "1",
					       .processes = "8",
					       .break_every = "0"});
}

static void two_mounts_and_breakers(void **state)
{
	expect_exclusion(*state, &(struct run){.driver = "opener",
					       .flocker = true,
					       .librelock = true,
					       .second = true,
					       .threads = THREADS,
					       .processes = "10",
					       .break_every = "100"});
}

/* On link: and nfslock:, as on two machines. */
static void two_mounts_of_a_store_of_files(void **state)
{
	expect_exclusion(*state, &(struct run){.driver = "opener-exclusive",
					       .exclusive = true,
					       .librelock = true,
					       .second = true,
					       .threads = THREADS,
					       .processes = "6",
					       .break_every = "100"});
}

/* All is open that a serving process opens when it has answered something. */
static void mount_supervised(struct fixture *fixture)
{
	fixture_mount_with(fixture, "supervise");
	assert_int_equal(count_names(fixture), 0);
}

/* The serving process is killed, again and again. */
static void supervised_mount_goes_on(void **state)
{
	mount_supervised(*state);
	expect_exclusion(*state, &(struct run){.driver = "opener",
					       .flocker = true,
					       .librelock = true,
					       .threads = THREADS,
					       .processes = "8",
					       .break_every = "0",
					       .crash_every = "100"});
}

/* A break of a hold outside the mount that was under way is one of which nobody
 * knows how far it came: so here are no such holds. */
static void supervised_mount_goes_on_amid_breakers(void **state)
{
	mount_supervised(*state);
	expect_exclusion(*state, &(struct run){.driver = "opener",
					       .flocker = true,
					       .threads = THREADS,
					       .processes = "6",
					       .break_every = "100",
					       .crash_every = "100"});
}

/* An oracle that has never failed has proved nothing: in a folder that is no
 * mount, to open a file excludes nobody. */
static void openers_of_plain_files_are_found(void **state)
{
	const struct fixture *fixture = *state;
	char *folder = strchr(fixture->store_url, ':') + 1;
	char *arguments[] = {getenv("ORACLE"), "--driver=opener", make("--store=%s", folder),
			     "--threads=1", NULL};

	int status = run_oracle(arguments);
	free(arguments[2]);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 1);
}

#define ORACLE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define ORACLE_ON(scheme, oracle)                                                                  \
	{                                                                                          \
		.name = #oracle " (" #scheme ")", .test_func = oracle,                             \
		.setup_func = fixture_setup_##scheme, .teardown_func = fixture_teardown            \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ORACLE(openers_exclude_each_other),
		ORACLE(openers_and_flockers_exclude_users_of_the_store),
		ORACLE(two_mounts_and_breakers),
		ORACLE_ON(link, two_mounts_of_a_store_of_files),
		ORACLE_ON(nfslock, two_mounts_of_a_store_of_files),
		ORACLE(supervised_mount_goes_on),
		ORACLE(supervised_mount_goes_on_amid_breakers),
		ORACLE(openers_of_plain_files_are_found),
	};

	return cmocka_run_group_tests_name("fusefs/oracle", tests, NULL, NULL);
}
