/*
 * The table of waits that row 14 is found by: what it costs, who meets in it, and
 * that, whatever happens to it, a lock is a lock.  test-deadlock.c has the row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deadlock-fixture.h"
#include "deadlock-table.h"

enum { NOBODY = 65534 };

/* The cost */

static void a_wait_of_who_holds_nothing_touches_no_file(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	locker_block(&b, WRITE(0));
	assert_int_equal(access(ROOTS_TABLE, F_OK), -1);
	end_pair(&b, &a);
	assert_int_equal(access(ROOTS_TABLE, F_OK), -1);
}

static void a_wait_leaves_no_slot_behind(void **state)
{
	struct flock lock = {.l_type = F_WRLCK};

	assert_cross_is_seen(NULL);
	int fd = open(ROOTS_TABLE, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_return_code(fcntl(fd, F_OFD_GETLK, &lock), errno);
	assert_int_equal(lock.l_type, F_UNLCK);
	close(fd);
}

static void the_table_is_sparse(void **state)
{
	struct stat status;

	close_ring(12);
	assert_return_code(stat(ROOTS_TABLE, &status), errno);
	assert_true(status.st_blocks * 512 <= 12 * 4096);
	assert_int_equal(status.st_mode, S_IFREG | 0600);
}

/* The table of all users */

static void make_shared_table(void)
{
	int fd = open(SHARED_TABLE, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_return_code(fchmod(fd, 0666), errno);
	close(fd);
}

static void become_nobody(void)
{
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(96);
}

static void users_meet_in_the_shared_table(void **state)
{
	make_shared_table();
	struct peer a = locker_start(NULL), b = locker_start(become_nobody);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	/* Who may not look at the thread sees the wait in /proc/locks. */
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	end_pair(&a, &b);
	assert_int_equal(access(ROOTS_TABLE, F_OK), -1);
}

static void a_shared_table_that_root_did_not_make_is_not_trusted(void **state)
{
	make_shared_table();
	assert_return_code(chown(SHARED_TABLE, NOBODY, NOBODY), errno);
	assert_cross_is_seen(NULL);
	struct stat status;
	assert_return_code(stat(SHARED_TABLE, &status), errno);
	assert_int_equal(status.st_size, 0);
	assert_int_equal(access(ROOTS_TABLE, F_OK), 0);
}

/* Tables that cannot be used */

static void another_users_file_is_not_trusted(void **state)
{
	int fd = open(ROOTS_TABLE, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	assert_return_code(fchown(fd, NOBODY, NOBODY), errno);
	close(fd);
	assert_cross_is_not_seen(NULL);
}

static void a_link_is_not_followed(void **state)
{
	assert_return_code(symlink("/dev/shm/elsewhere", ROOTS_TABLE), errno);
	assert_cross_is_not_seen(NULL);
	assert_int_equal(access("/dev/shm/elsewhere", F_OK), -1);
}

static void a_second_name_is_not_trusted(void **state)
{
	int fd = open("/dev/shm/elsewhere", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_return_code(link("/dev/shm/elsewhere", ROOTS_TABLE), errno);
	assert_cross_is_not_seen(NULL);
	unlink("/dev/shm/elsewhere");
}

static void a_pipe_is_not_waited_for(void **state)
{
	assert_return_code(mkfifo(ROOTS_TABLE, 0600), errno);
	assert_cross_is_not_seen(NULL);
}

static void a_read_only_file_system_is_no_obstacle(void **state)
{
	assert_return_code(mount(NULL, "/dev/shm", NULL, MS_REMOUNT | MS_RDONLY, NULL), errno);
	assert_cross_is_not_seen(NULL);
	assert_return_code(mount(NULL, "/dev/shm", NULL, MS_REMOUNT, NULL), errno);
}

static void a_full_file_system_is_no_obstacle(void **state)
{
	assert_return_code(mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4k,mode=1777"), errno);
	int fd = open("/dev/shm/full", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "all", 3), 3);
	close(fd);
	assert_cross_is_not_seen(NULL);
	assert_return_code(umount("/dev/shm"), errno);
}

static void no_folder_is_no_obstacle(void **state)
{
	assert_return_code(mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"), errno);
	assert_cross_is_not_seen(NULL);
	assert_return_code(umount("/dev"), errno);
}

static void use_up_descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		_exit(96);
}

static void no_descriptor_is_no_obstacle(void **state)
{
	assert_cross_is_not_seen(use_up_descriptors);
}

static void forbid_large_files(void)
{
	struct rlimit limit = {.rlim_cur = 16, .rlim_max = 16};

	/* SIGXFSZ would end it. */
	if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
		_exit(96);
}

static void a_file_size_limit_kills_nobody(void **state)
{
	assert_cross_is_not_seen(forbid_large_files);
}

/* For the search's view of the others, not for what it has. */
static void forbid_more_memory(void)
{
	struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};

	if (setrlimit(RLIMIT_AS, &limit) < 0)
		_exit(96);
}

static void no_memory_is_no_obstacle(void **state)
{
	assert_cross_is_not_seen(forbid_more_memory);
}

static void without_proc_the_table_is_believed(void **state)
{
	/* It cannot be watched either: `b` decides once `a` has announced. */
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	assert_return_code(mount("tmpfs", "/proc", "tmpfs", 0, "mode=755"), errno);
	int result = locker_do(&b, WRITE(0));
	assert_return_code(umount("/proc"), errno);
	assert_int_equal(result, -EDEADLK);
	end_pair(&a, &b);
}

/* Tables that somebody spoils */

static int open_table(void)
{
	int fd = open(ROOTS_TABLE, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void garbage_is_not_believed(void **state)
{
	struct flock everything = {.l_type = F_WRLCK, .l_start = DEADLOCK_SLOTS_MAX + 1};
	unsigned char bytes[4096];
	unsigned seed = 1;
	int fd = open_table();

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)next_random(&seed);
	for (int slot = 0; slot < 40; slot++)
		assert_int_equal(pwrite(fd, bytes, sizeof bytes, (off_t)slot * DEADLOCK_SLOT_SIZE),
				 sizeof bytes);
	/* All those slots are alive, but for the first. */
	assert_return_code(fcntl(fd, F_OFD_SETLK, &everything), errno);
	struct peer a = locker_start(NULL), b = locker_start(NULL);
	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	locker_block(&b, WRITE(0));
	end_pair(&b, &a);
	close(fd);
	assert_cross_is_seen(NULL);
}

/* A record that is right but for one bit somewhere. */
static void a_torn_record_is_not_believed(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);
	unsigned char byte;
	int fd = open_table();

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	off_t last = lseek(fd, 0, SEEK_END) - 1;
	assert_int_equal(pread(fd, &byte, 1, last), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, last), 1);
	locker_block(&b, JUMP(0));
	kill(b.pid, SIGUSR1);
	assert_int_equal(peer_hear(&b), -ECANCELED);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, last), 1);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	close(fd);
	end_pair(&a, &b);
}

static void a_truncated_table_harms_nobody(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	assert_return_code(truncate(ROOTS_TABLE, 0), errno);
	locker_block(&b, JUMP(0));
	kill(b.pid, SIGUSR1);
	assert_int_equal(peer_hear(&b), -ECANCELED);
	end_pair(&a, &b);
}

static void a_table_that_somebody_locks_is_done_without(void **state)
{
	struct flock everything = {.l_type = F_WRLCK};
	int fd = open_table();

	assert_return_code(fcntl(fd, F_OFD_SETLK, &everything), errno);
	assert_cross_is_not_seen(NULL);
	close(fd);
	assert_cross_is_seen(NULL);
}

#define CASE(function)                                                                             \
	cmocka_unit_test_setup_teardown(function, deadlock_set_up, deadlock_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_wait_of_who_holds_nothing_touches_no_file),
		CASE(a_wait_leaves_no_slot_behind),
		CASE(the_table_is_sparse),
		CASE(users_meet_in_the_shared_table),
		CASE(a_shared_table_that_root_did_not_make_is_not_trusted),
		CASE(another_users_file_is_not_trusted),
		CASE(a_link_is_not_followed),
		CASE(a_second_name_is_not_trusted),
		CASE(a_pipe_is_not_waited_for),
		CASE(a_read_only_file_system_is_no_obstacle),
		CASE(a_full_file_system_is_no_obstacle),
		CASE(no_folder_is_no_obstacle),
		CASE(no_descriptor_is_no_obstacle),
		CASE(a_file_size_limit_kills_nobody),
		CASE(no_memory_is_no_obstacle),
		CASE(without_proc_the_table_is_believed),
		CASE(garbage_is_not_believed),
		CASE(a_torn_record_is_not_believed),
		CASE(a_truncated_table_harms_nobody),
		CASE(a_table_that_somebody_locks_is_done_without),
	};

	return cmocka_run_group_tests_name("preload: the table of waits", tests,
					   deadlock_set_up_all, NULL);
}
