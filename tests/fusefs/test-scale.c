/*
 * Many of everything: waiters, locks, names, readers and listings; and that the
 * mount is afterwards as it was before.
 *
 * Counts are those of the contract, but for sanitizers, which are given fewer
 * (meson.build), and names, of which a million takes a minute or two:
 * RELOCK_TEST_NAMES=1000000 asks for it.
 */
#include "fixture.h"
#include "restarts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	TO_HOLD = O_WRONLY | O_CREAT,
	PATIENCE_SECONDS = 60,
	/* No process has more threads than ThreadSanitizer can have. */
	WAITERS_EACH = 500,
	/* Of them there is one descriptor each, and a few more. */
	SPARE_DESCRIPTORS = 200,
	/* By which the daemon remembers who has called. */
	CALLER_DESCRIPTORS = 4,
};

/* There is no event for it; each look is a request that the daemon serves after
 * those that came before. */
static void await_number(const struct fixture *fixture, const char *key, size_t number)
{
	time_t deadline = time(NULL) + PATIENCE_SECONDS;

	while ((size_t)number_of_mount(fixture, key) != number) {
		if (time(NULL) > deadline)
			fail_msg("%s is %ld, not %zu", key, number_of_mount(fixture, key), number);
		sched_yield();
	}
}

/* A number with this label, in KiB, from a file of /proc. */
static size_t kibibytes_of(const char *path, const char *label)
{
	FILE *file = fopen(path, "re");
	char line[128];
	size_t number = SIZE_MAX;

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	while (number == SIZE_MAX && fgets(line, sizeof line, file))
		if (strncmp(line, label, strlen(label)) == 0)
			number = strtoul(line + strlen(label), NULL, 10);
	fclose(file);
	assert_true(number != SIZE_MAX);
	return number;
}

static size_t resident_kibibytes(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	return kibibytes_of(path, "Rss:");
}

/* How the daemon is, to be compared. */
struct usage {
	size_t descriptors, kibibytes;
};

static struct usage usage_of(const struct fixture *fixture)
{
	return (struct usage){count_descriptors(fixture->daemon.pid),
			      resident_kibibytes(fixture->daemon.pid)};
}

/* A sanitizer keeps what was freed, and has a shadow of what was not. */
static void assert_memory_within(const struct fixture *fixture, const struct usage *before,
				 size_t kibibytes)
{
	size_t now = resident_kibibytes(fixture->daemon.pid);

	if (!SANITIZED && now > before->kibibytes + kibibytes)
		fail_msg("%zu KiB resident, %zu before: more than %zu more", now, before->kibibytes,
			 kibibytes);
}

/* The kernel has forgotten all names, and so has the daemon: with each it had
 * the lock's file open.  It forgets who has called, and gives memory back, when
 * nobody has called for a second: so nobody is to ask it meanwhile. */
static void assert_as_before(const struct fixture *fixture, const struct usage *before,
			     size_t kibibytes)
{
	time_t deadline = time(NULL) + PATIENCE_SECONDS;
	struct usage now;

	await_number(fixture, "locks", 0);
	await_number(fixture, "names", 0);
	do {
		sched_yield();
		now = usage_of(fixture);
	} while ((now.descriptors != before->descriptors ||
		  (!SANITIZED && now.kibibytes > before->kibibytes + kibibytes)) &&
		 time(NULL) < deadline);
	if (now.descriptors != before->descriptors)
		fail_msg("%zu descriptors, %zu before", now.descriptors, before->descriptors);
	assert_memory_within(fixture, before, kibibytes);
}

/* A peer that does not go on holding what the test holds: the fork has it too. */
static void close_inherited(const struct peer *self)
{
	close_range(3, (unsigned)self->fd - 1, 0);
	close_range((unsigned)self->fd + 1, ~0U, 0);
}

/* A descriptor of each lock is the test's, one the daemon's. */
static int setup_with_many_descriptors(void **state)
{
	const struct rlimit limit = {LOCKS + SPARE_DESCRIPTORS, LOCKS + SPARE_DESCRIPTORS};
	struct rlimit now;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
	if (now.rlim_max < limit.rlim_max)
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	now.rlim_cur = now.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &now);
	return fixture_setup(state);
}

/* Waiters */

struct turns {
	_Atomic int arrivals;
	/* Who holds writes; of that lock ThreadSanitizer knows nothing. */
	_Atomic int holders, count;
	_Atomic int order[WAITERS];
};

struct crowd {
	struct turns *turns;
	char path[PATH_MAX];
};

static void *wait_for_turn(void *argument)
{
	const struct crowd *crowd = argument;
	int number = crowd->turns->arrivals++;
	int fd = open(crowd->path, TO_HOLD | O_CLOEXEC, 0666);

	if (fd < 0)
		return (void *)(intptr_t)errno;
	bool is_alone = crowd->turns->holders++ == 0;
	crowd->turns->order[crowd->turns->count++] = number;
	crowd->turns->holders--;
	close(fd);
	return is_alone ? NULL : (void *)(intptr_t)EBUSY;
}

/* One more waits each time that the test says so. */
static int crowd_main(struct peer *self, void *argument)
{
	pthread_t threads[WAITERS_EACH];
	pthread_attr_t attributes;
	void *result;
	int failed = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 128 * 1024);
	for (size_t i = 0; i < WAITERS_EACH; i++) {
		(void)peer_hear(self);
		if (pthread_create(&threads[i], &attributes, wait_for_turn, argument) != 0)
			return 1;
	}
	pthread_attr_destroy(&attributes);
	for (size_t i = 0; i < WAITERS_EACH; i++)
		failed |= pthread_join(threads[i], &result) != 0 || result;
	return failed;
}

static void waiters_of_one_lock_each_get_it_in_turn(void **state)
{
	enum { CROWDS = WAITERS / WAITERS_EACH };
	const struct fixture *fixture = *state;
	struct peer peers[CROWDS];
	struct crowd crowd = {0};

	crowd.turns = mmap(NULL, sizeof *crowd.turns, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(crowd.turns != MAP_FAILED);
	strcpy(crowd.path, lock_path(fixture, "backup"));
	struct usage before = usage_of(fixture);
	for (size_t i = 0; i < CROWDS; i++)
		peers[i] = peer_start(crowd_main, &crowd);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < WAITERS; i++) {
		peer_say(&peers[i / WAITERS_EACH], 1);
		await_number(fixture, "waiters", i + 1);
	}
	/* scripts/bench knows it better. */
	assert_memory_within(fixture, &before, WAITERS * 400 / 1024 + 1024);
	close(fd);
	for (size_t i = 0; i < CROWDS; i++)
		assert_int_equal(peer_reap(&peers[i]), 0);
	assert_int_equal(crowd.turns->count, WAITERS);
	for (int i = 0; i < WAITERS; i++)
		assert_int_equal(crowd.turns->order[i], i);
	assert_as_before(fixture, &before, 1024);
	munmap(crowd.turns, sizeof *crowd.turns);
}

/* They die all at once, in the midst of a queue that goes on. */
static void waiters_that_are_killed_leave_nothing_behind(void **state)
{
	const struct fixture *fixture = *state;
	struct crowd crowd = {0};
	struct turns turns = {0};

	crowd.turns = &turns;
	strcpy(crowd.path, lock_path(fixture, "backup"));
	struct usage before = usage_of(fixture);
	struct peer killed = peer_start(crowd_main, &crowd);
	struct opener last;
	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < WAITERS_EACH; i++)
		peer_say(&killed, 1);
	await_number(fixture, "waiters", WAITERS_EACH);
	opener_start(&last, fixture, "backup", TO_HOLD);
	await_number(fixture, "waiters", WAITERS_EACH + 1);
	peer_kill(&killed);
	await_number(fixture, "waiters", 1);
	assert_true(peer_is_silent(&last.peer));
	close(fd);
	assert_int_equal(peer_hear(&last.peer), 0);
	opener_close(&last);
	assert_as_before(fixture, &before, 1024);
}

/* Locks */

static void open_many(const struct fixture *fixture, int *descriptors, size_t count)
{
	char name[32];

	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof name, "lock-%zu", i);
		descriptors[i] = open_lock(fixture, name, TO_HOLD);
	}
}

static void close_many(const int *descriptors, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(descriptors[i]);
}

static void many_locks_are_held_at_once(void **state)
{
	static int descriptors[LOCKS];
	const struct fixture *fixture = *state;

	struct usage before = usage_of(fixture);
	open_many(fixture, descriptors, LOCKS);
	assert_int_equal(number_of_mount(fixture, "locks"), LOCKS);
	assert_in_range(count_descriptors(fixture->daemon.pid), before.descriptors + LOCKS,
			before.descriptors + LOCKS + CALLER_DESCRIPTORS);
	assert_memory_within(fixture, &before, LOCKS * 1100 / 1024 + 1024);
	assert_int_equal(count_names(fixture), LOCKS);
	assert_int_equal(try_open(fixture, "lock-0", TO_HOLD | O_NONBLOCK), EAGAIN);
	close_many(descriptors, LOCKS);
	assert_as_before(fixture, &before, 1024);
	assert_int_equal(count_names(fixture), 0);
}

/* Each lock needs a descriptor of the daemon. */
static void at_the_limit_of_descriptors_an_open_fails_and_no_lock_is_lost(void **state)
{
	enum { MOST = 40, MORE = 60 };
	const struct fixture *fixture = *state;
	int descriptors[MORE], count = 0, error = 0;
	char name[32];

	struct usage before = usage_of(fixture);
	const struct rlimit limit = {before.descriptors + MOST, before.descriptors + MOST};
	assert_int_equal(prlimit(fixture->daemon.pid, RLIMIT_NOFILE, &limit, NULL), 0);
	for (; count < MORE && error == 0; count += error == 0) {
		snprintf(name, sizeof name, "lock-%d", count);
		descriptors[count] = open(lock_path(fixture, name), TO_HOLD | O_CLOEXEC, 0666);
		error = descriptors[count] < 0 ? errno : 0;
	}
	assert_int_equal(error, EMFILE);
	assert_in_range(count, MOST / 2, MOST);
	assert_int_equal(number_of_mount(fixture, "locks"), count);
	for (int i = 0; i < count; i++)
		assert_int_equal(write(descriptors[i], "info", 4), 4);
	/* A waiter needs none, and the one that is free then is enough. */
	struct opener waiter;
	opener_start(&waiter, fixture, "lock-0", O_WRONLY);
	await_number(fixture, "waiters", 1);
	close(descriptors[0]);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
	for (int i = 1; i < count; i++)
		close(descriptors[i]);
	assert_as_before(fixture, &before, 1024);
}

/* The size of a text is in ls -l, so each of them is made for it. */
static void a_thousand_locks_are_listed_by_ls(void **state)
{
	enum { LISTED = 1000 };
	static int descriptors[LISTED];
	const struct fixture *fixture = *state;

	struct usage before = usage_of(fixture);
	open_many(fixture, descriptors, LISTED);
	assert_int_equal(shell(fixture, "ls -l $LOCKS | awk '\n"
					"  /^-/ && $5 > 100 && !seen[$NF]++ { count++ }\n"
					"  END { exit count != 1000 }'"),
			 0);
	assert_int_equal(shell(fixture, "test $(ls $LOCKS | grep -c '^lock-[0-9]*$') = 1000"), 0);
	close_many(descriptors, LISTED);
	assert_int_equal(shell(fixture, "test -z \"$(ls $LOCKS)\""), 0);
	assert_as_before(fixture, &before, 1024);
}

/* Names */

static size_t names_wanted(void)
{
	const char *wanted = getenv("RELOCK_TEST_NAMES");

	return wanted ? strtoul(wanted, NULL, 10) : NAMES;
}

/* Inodes of FUSE, those of all mounts. */
static size_t kernel_inodes(void)
{
	return kibibytes_of("/proc/slabinfo", "fuse_inode ");
}

/* Fact 2: the kernel keeps the inode of every name ever used, if it is not told
 * to forget it. */
static void names_used_once_are_forgotten_by_daemon_and_kernel(void **state)
{
	const struct fixture *fixture = *state;
	size_t names = names_wanted();
	char name[32];

	struct usage before = usage_of(fixture);
	size_t inodes = kernel_inodes(), most = 0;
	for (size_t i = 0; i < names; i++) {
		snprintf(name, sizeof name, "name-%zu", i);
		assert_int_equal(try_open(fixture, name, TO_HOLD), 0);
		if (i % 1000 == 0) {
			size_t known = (size_t)number_of_mount(fixture, "names");
			most = known > most ? known : most;
		}
	}
	/* Those that may be used again, and some that are on their way. */
	assert_true(most < names / 2);
	assert_as_before(fixture, &before, 1024);
	assert_true(kernel_inodes() < inodes + names / 10);
}

/* Readers, writers, listings */

static void a_reader_that_never_closes_is_no_burden(void **state)
{
	enum { ROUNDS = 2000 };
	const struct fixture *fixture = *state;
	char text[4096];

	struct usage before = usage_of(fixture);
	int reader = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	for (int i = 0; i < ROUNDS; i++) {
		int fd = open_lock(fixture, "backup", TO_HOLD);
		assert_true(pread(reader, text, sizeof text - 1, 0) > 0);
		assert_non_null(strstr(text, "state: held"));
		close(fd);
		assert_true(pread(reader, text, sizeof text - 1, 0) > 0);
		assert_non_null(strstr(text, "state: free"));
	}
	assert_int_equal(number_of_mount(fixture, "names"), 1);
	assert_memory_within(fixture, &before, 1024);
	close(reader);
	assert_as_before(fixture, &before, 1024);
}

static int reader_main(struct peer *self, void *path)
{
	char text[8192];

	close_inherited(self);
	for (;;) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
		int error = length < 0 ? errno : 0;
		if (fd >= 0)
			close(fd);
		/* When it is free again. */
		if (error == ENOENT)
			return 0;
		if (error != 0)
			return error;
		text[length] = '\0';
		/* Never a part of one text and a part of another. */
		const char *info = strstr(text, "info: ");
		if (info && strspn(info + 6, (char[]){info[6], '\0'}) != RELOCK_INFO_MAX)
			return EBADMSG;
	}
}

static void a_holder_that_writes_its_info_in_a_loop_is_no_burden(void **state)
{
	enum { WRITES = 20000 };
	const struct fixture *fixture = *state;
	char path[PATH_MAX], info[RELOCK_INFO_MAX];

	strcpy(path, lock_path(fixture, "backup"));
	struct usage before = usage_of(fixture);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	struct peer reader = peer_start(reader_main, path);
	for (int i = 0; i < WRITES; i++) {
		memset(info, 'a' + i % 26, sizeof info);
		assert_int_equal(write(fd, info, sizeof info), sizeof info);
	}
	char *text = read_lock(fixture, "backup"), *value = value_of(text, "info");
	assert_memory_equal(value, info, sizeof info);
	free(value);
	free(text);
	assert_memory_within(fixture, &before, 1024);
	close(fd);
	assert_int_equal(peer_reap(&reader), 0);
	assert_as_before(fixture, &before, 1024);
}

struct churn {
	struct fixture *fixture;
	_Atomic bool *over;
};

static int churn_main(struct peer *self, void *argument)
{
	const struct churn *churn = argument;
	char name[32];

	close_inherited(self);
	for (unsigned i = 0; !*churn->over; i++) {
		snprintf(name, sizeof name, "churn-%d-%u", (int)getpid(), i);
		int error = try_open(churn->fixture, name, TO_HOLD);
		if (error != 0)
			return error;
	}
	return 0;
}

/* What is held all the time is in each listing once. */
static void check_listing(const struct fixture *fixture, size_t lasting)
{
	DIR *dir = opendir(fixture->daemon.mountpoint);
	bool seen[64] = {0};
	size_t count = 0;

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));) {
		unsigned number;
		if (sscanf(entry->d_name, "lock-%u", &number) != 1) {
			assert_true(entry->d_name[0] == '.' ||
				    strncmp(entry->d_name, "churn-", 6) == 0);
			continue;
		}
		assert_true(number < lasting && !seen[number]);
		seen[number] = true;
		count++;
	}
	closedir(dir);
	assert_int_equal(count, lasting);
}

static void a_listing_during_churn_has_what_lasts_once(void **state)
{
	enum { LASTING = 50, CHURNERS = 2, LISTINGS = 300 };
	struct fixture *fixture = *state;
	int descriptors[LASTING];
	struct peer churners[CHURNERS];
	struct churn churn = {.fixture = fixture};

	churn.over = mmap(NULL, sizeof *churn.over, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(churn.over != MAP_FAILED);
	struct usage before = usage_of(fixture);
	open_many(fixture, descriptors, LASTING);
	for (size_t i = 0; i < CHURNERS; i++)
		churners[i] = peer_start(churn_main, &churn);
	for (size_t i = 0; i < LISTINGS; i++)
		check_listing(fixture, LASTING);
	*churn.over = true;
	for (size_t i = 0; i < CHURNERS; i++)
		assert_int_equal(peer_reap(&churners[i]), 0);
	close_many(descriptors, LASTING);
	assert_as_before(fixture, &before, 1024);
	munmap((void *)churn.over, sizeof *churn.over);
}

#define CASE(test)                                                                                 \
	cmocka_unit_test_setup_teardown(test, setup_with_many_descriptors, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(waiters_of_one_lock_each_get_it_in_turn),
		CASE(waiters_that_are_killed_leave_nothing_behind),
		CASE(many_locks_are_held_at_once),
		CASE(at_the_limit_of_descriptors_an_open_fails_and_no_lock_is_lost),
		CASE(a_thousand_locks_are_listed_by_ls),
		CASE(names_used_once_are_forgotten_by_daemon_and_kernel),
		CASE(a_reader_that_never_closes_is_no_burden),
		CASE(a_holder_that_writes_its_info_in_a_loop_is_no_burden),
		CASE(a_listing_during_churn_has_what_lasts_once),
	};

	cmocka_set_test_filter(getenv("CMOCKA_TEST_FILTER"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
