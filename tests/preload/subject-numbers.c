/*
 * Descriptor numbers: a program that closes what it did not open, wants a
 * certain number, or counts on getting the lowest, does not notice that there
 * are descriptors of the shim's own, and loses no lock by it.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

enum { NUMBERS = 1024 };

/* A descriptor of the file that is not `fd`: natively there is none. */
static int find_another(int fd)
{
	struct stat wanted, seen;

	if (fstat(fd, &wanted) < 0)
		give_up("fstat");
	for (int number = 0; number < NUMBERS; number++)
		if (number != fd && fstat(number, &seen) == 0 && seen.st_ino == wanted.st_ino &&
		    seen.st_dev == wanted.st_dev)
			return number;
	return -1;
}

static int null_device(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		give_up("/dev/null");
	return fd;
}

static void say_if_null(int fd)
{
	struct stat status;

	say(fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) ? "null" : "?");
}

static void say_end_of_lock(int fd)
{
	say_result(set_lock(fd, F_UNLCK, 0, 10));
	say(outside_view(0, 10));
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say(outside_view(0, 10));
	close(fd);
	say(outside_view(0, 10));
}

/* Wherever it moves. */
static void dup2_onto_number(void)
{
	int fd = open_file(O_RDWR), null = null_device();

	set_lock(fd, F_WRLCK, 0, 10);
	for (int i = 0; i < 4; i++) {
		int wanted = find_another(fd);
		if (wanted < 0)
			wanted = 20 + i;
		int result = i % 2 ? dup2(null, wanted) : dup3(null, wanted, O_CLOEXEC);
		say(result == wanted ? "there" : result_word(result));
		say_if_null(wanted);
	}
	say(outside_view(0, 10));
	say_end_of_lock(fd);
}

static void f_dupfd_at_number(void)
{
	int fd = open_file(O_RDWR), null = null_device();

	set_lock(fd, F_WRLCK, 0, 10);
	int wanted = find_another(fd), got = fcntl(null, F_DUPFD, wanted < 0 ? 20 : wanted);
	say(got >= wanted ? "above" : "?");
	say_if_null(got);
	say(outside_view(0, 10));
	say_end_of_lock(fd);
}

/* A number that the program does not have open. */
static void close_number(void)
{
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	for (int i = 0; i < 3; i++) {
		int number = find_another(fd);
		say_result(close(number < 0 ? 20 : number));
	}
	say(outside_view(0, 10));
	say_end_of_lock(fd);
}

/* The lock file as standard input, and then everything else closed. */
static void close_everything_else(void)
{
	int error = dup(STDERR_FILENO);

	close(STDIN_FILENO);
	dup2(error, STDERR_FILENO);
	int fd = open_file(O_RDWR);
	set_lock(fd, F_WRLCK, 0, 10);
	say_number(fd);
	close_range(3, ~0U, 0);
	say(outside_view(0, 10));
	closefrom(3);
	say(outside_view(0, 10));
	for (int number = 3; number < NUMBERS; number++)
		close(number);
	say(outside_view(0, 10));
	say_end_of_lock(fd);
}

static void close_from_there(void *first)
{
	closefrom(*(int *)first);
}

/* Two open files of it below, one of which goes with the rest. */
static void close_everything_but_one(void)
{
	close(STDIN_FILENO);
	int low = open_file(O_RDWR), high = open_file(O_RDWR);

	set_lock(low, F_WRLCK, 0, 5);
	set_lock(high, F_WRLCK, 5, 5);
	close_range(3, ~0U, 0);
	say_map();
	say_result(set_lock(low, F_UNLCK, 0, 2));
	say_map();
	close(low);
	say_map();
}

static bool is_held(int fd)
{
	struct flock lock = {.l_type = F_WRLCK};
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int asking = open(path, O_RDONLY | O_CLOEXEC);
	if (asking < 0 || fcntl(asking, F_OFD_GETLK, &lock) < 0)
		give_up(path);
	close(asking);
	return lock.l_type != F_UNLCK;
}

static int count_held(const int *fds, int count)
{
	int held = 0;

	for (int i = 0; i < count; i++)
		held += is_held(fds[i]);
	return held;
}

/* So many that the shim's cannot be close by, before and after everything above
 * the program's own is closed; and after a child had them. */
static void close_everything_with_many_locks(void)
{
	enum { FILES = 40 };
	int fds[FILES], failed = 0;

	for (int i = 0; i < FILES; i++)
		fds[i] = memfd_create("one of many", MFD_CLOEXEC);
	for (int i = 0; i < FILES; i++)
		failed += set_lock(fds[i], F_WRLCK, 0, 10) < 0;
	say_number(failed);
	int first = fds[FILES - 1] + 1;
	close_range((unsigned)first, ~0U, 0);
	closefrom(first);
	for (int number = first; number < 3 * NUMBERS; number++)
		close(number);
	waitpid(start_child(close_from_there, &first), NULL, 0);
	for (int i = 0; i < FILES; i++)
		failed += set_lock(fds[i], F_WRLCK, 5, 10) < 0;
	for (int i = 0; i < FILES; i += 2)
		failed += set_lock(fds[i], F_UNLCK, 0, 0) < 0;
	say_number(failed);
	/* Natively this closes a descriptor of each, and comes last. */
	say_number(count_held(fds, FILES));
}

/* What open(2) promises, and how programs put files in the place of 0 to 2. */
static void lowest_numbers(void)
{
	int fd = open_file(O_RDWR), output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 50);
	int got[3];

	set_lock(fd, F_WRLCK, 0, 10);
	for (int number = 0; number < 3; number++)
		close(number);
	for (int i = 0; i < 3; i++)
		got[i] = null_device();
	dup2(output, STDOUT_FILENO);
	for (int i = 0; i < 3; i++)
		say_number(got[i]);
	say(outside_view(0, 10));
}

/* The first lock is made when they are free. */
static void lowest_numbers_before_lock(void)
{
	int output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 50), got[3];

	for (int number = 0; number < 3; number++)
		close(number);
	got[0] = open_file(O_RDWR);
	set_lock(got[0], F_WRLCK, 0, 10);
	got[1] = null_device();
	got[2] = null_device();
	dup2(output, STDOUT_FILENO);
	for (int i = 0; i < 3; i++)
		say_number(got[i]);
	say(outside_view(0, 10));
}

static int count_open(int limit)
{
	int count = 0;

	for (int number = 0; number < limit; number++)
		count += fcntl(number, F_GETFD) >= 0;
	return count;
}

/* As many as the limit leaves: all numbers below it are the program's. */
static void up_to_the_limit(void)
{
	struct rlimit limit = {64, 64};
	int fd = open_file(O_RDWR), count = count_open(64);

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		give_up("setrlimit");
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	while (dup(STDIN_FILENO) >= 0)
		count++;
	say_result(-1);
	say_number(count);
	closefrom(fd + 1);
	say(outside_view(0, 10));
	say_end_of_lock(fd);
}

/* No descriptor is left when the first lock is made. */
static void beyond_the_limit(void)
{
	struct rlimit limit = {32, 32};
	int fd = open_file(O_RDWR), other = open_file(O_RDWR), last = -1, next;

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		give_up("setrlimit");
	while ((next = dup(STDIN_FILENO)) >= 0)
		last = next;
	say_number(last);
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	closefrom(other + 1);
	say(outside_view(0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 5));
	say_map();
	close(fd);
	say_map();
}

/* Descriptor flags and status of the program's own stay what they are. */
static void flags(void)
{
	int fd = open_file(O_RDWR | O_APPEND);

	set_lock(fd, F_WRLCK, 0, 10);
	say_number(fcntl(fd, F_GETFD));
	say_result(fcntl(fd, F_SETFD, FD_CLOEXEC));
	say_number(fcntl(fd, F_GETFD));
	say(fcntl(fd, F_GETFL) & O_APPEND ? "append" : "?");
	say(fcntl(fd, F_GETFL) & O_NONBLOCK ? "?" : "blocking");
	say_number(lseek(fd, 0, SEEK_CUR));
	say(outside_view(0, 10));
}

const struct subject_case subject_numbers[] = {
	{"dup2_onto_number", dup2_onto_number},
	{"f_dupfd_at_number", f_dupfd_at_number},
	{"close_number", close_number},
	{"close_everything_else", close_everything_else},
	{"close_everything_but_one", close_everything_but_one},
	{"close_everything_with_many_locks", close_everything_with_many_locks},
	{"lowest_numbers", lowest_numbers},
	{"lowest_numbers_before_lock", lowest_numbers_before_lock},
	{"up_to_the_limit", up_to_the_limit},
	{"beyond_the_limit", beyond_the_limit},
	{"flags", flags},
	{0},
};
