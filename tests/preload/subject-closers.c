/*
 * Rows 4 to 6: each function that closes a descriptor, and each that makes one
 * more.  The argument names it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "subject.h"

/* Exported by glibc; no shim sees it called. */
extern int __close(int fd);

static void by_close(int fd)
{
	close(fd);
}

static void by_close_syscall(int fd)
{
	syscall(SYS_close, fd);
}

static void by_close_range(int fd)
{
	close_range((unsigned)fd, (unsigned)fd, 0);
}

static void by_close_range_to_the_end(int fd)
{
	close_range((unsigned)fd, ~0U, 0);
}

static void by_close_range_unshare(int fd)
{
	close_range((unsigned)fd, (unsigned)fd, CLOSE_RANGE_UNSHARE);
}

/* Closes nothing yet. */
static void by_close_range_cloexec(int fd)
{
	close_range((unsigned)fd, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void by_close_range_syscall(int fd)
{
	syscall(SYS_close_range, fd, ~0U, 0);
}

static void by_closefrom(int fd)
{
	closefrom(fd);
}

/* What daemons did before there was closefrom(). */
static void by_loop(int fd)
{
	for (int each = fd; each < 1024; each++)
		close(each);
}

static int null_device(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		give_up("/dev/null");
	return fd;
}

static void by_dup2(int fd)
{
	int null = null_device();

	dup2(null, fd);
	close(null);
}

static void by_dup3(int fd)
{
	int null = null_device();

	dup3(null, fd, O_CLOEXEC);
	close(null);
}

static void by_dup3_syscall(int fd)
{
	int null = null_device();

	syscall(SYS_dup3, null, fd, 0);
	close(null);
}

static FILE *stream_of(int fd)
{
	FILE *stream = fdopen(fd, "r+");

	if (!stream)
		give_up("fdopen");
	return stream;
}

static void by_fclose(int fd)
{
	fclose(stream_of(fd));
}

/* Two that do not close the stream whose name they take. */
static void by_freopen(int fd)
{
	if (!freopen("/dev/null", "r", stream_of(fd)))
		give_up("freopen");
}

static void by_freopen_of_the_same(int fd)
{
	FILE *stream = freopen(NULL, "r", stream_of(fd));

	if (!stream)
		give_up("freopen");
	fclose(stream);
}

/* Flushes, and leaves all descriptors open. */
static void by_fcloseall(int fd)
{
	stream_of(fd);
	fcloseall();
}

static void by_closedir(int fd)
{
	DIR *folder = fdopendir(fd);

	if (!folder)
		give_up("fdopendir");
	closedir(folder);
}

typedef void closing(int fd);

static closing *find_closer(void)
{
	static const struct {
		const char *name;
		closing *function;
	} closers[] = {
		{"close", by_close},
		{"SYS_close", by_close_syscall},
		{"close_range", by_close_range},
		{"close_range_to_the_end", by_close_range_to_the_end},
		{"CLOSE_RANGE_UNSHARE", by_close_range_unshare},
		{"CLOSE_RANGE_CLOEXEC", by_close_range_cloexec},
		{"SYS_close_range", by_close_range_syscall},
		{"closefrom", by_closefrom},
		{"loop", by_loop},
		{"dup2", by_dup2},
		{"dup3", by_dup3},
		{"SYS_dup3", by_dup3_syscall},
		{"fclose", by_fclose},
		{"freopen", by_freopen},
		{"freopen_of_the_same", by_freopen_of_the_same},
		{"fcloseall", by_fcloseall},
		{"closedir", by_closedir},
	};

	for (size_t i = 0; i < sizeof closers / sizeof *closers; i++)
		if (strcmp(closers[i].name, subject_argument) == 0)
			return closers[i].function;
	give_up("no such closer");
}

static void say_after_closing(closing *by, int flags, short type)
{
	/* the only descriptor of the open that locked */
	int fd = open_file(flags);
	set_lock(fd, type, 0, 10);
	by(fd);
	say(outside_view(0, 10));
	close(fd);
	/* one of another open */
	fd = open_file(flags);
	set_lock(fd, type, 0, 10);
	int other = open_file(flags);
	by(other);
	say(outside_view(0, 10));
	close(fd);
	close(other);
	/* one of two, then the other */
	fd = open_file(flags);
	set_lock(fd, type, 0, 10);
	int duplicate = dup(fd);
	by(duplicate);
	say(outside_view(0, 10));
	close(duplicate);
	close(fd);
	say(outside_view(0, 10));
}

static void closer(void)
{
	say_after_closing(find_closer(), O_RDWR, F_WRLCK);
}

/* The same with the folder of the file. */
static void closer_of_folder(void)
{
	static char path[4096];

	snprintf(path, sizeof path, "%s", subject_file);
	subject_file = dirname(path);
	say_after_closing(find_closer(), O_RDONLY | O_DIRECTORY, F_RDLCK);
}

/* Each byte is given back with the open that locked it last. */
static void close_the_later_owner(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 10);
	set_lock(b, F_WRLCK, 4, 3);
	say_map();
	close(b);
	say_map();
	close(a);
	say_map();
}

static void close_the_earlier_owner(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 10);
	set_lock(b, F_WRLCK, 4, 3);
	close(a);
	say_map();
	close(b);
	say_map();
}

/* Of all that fails, or has nothing to do, nothing follows. */
static void refused(void)
{
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	say_number(dup2(fd, fd) - fd);
	say_result(dup2(-1, fd));
	say_result(dup3(fd, fd, 0));
	say_result(dup3(fd, fd + 1, 12345));
	say_result(close(-1));
	say_result(close(1000));
	say_result(close_range((unsigned)fd, (unsigned)fd - 1, 0));
	say_result(close_range((unsigned)fd, ~0U, 12345));
	say_result((int)syscall(SYS_close, -1));
	say_result((int)syscall(SYS_dup3, -1, fd, 0));
	say_result(fcntl(fd, F_DUPFD, -1));
	say(outside_view(0, 10));
	close(fd);
	say(outside_view(0, 10));
}

static void *close_in_table_of_its_own(void *argument)
{
	close_range((unsigned)*(int *)argument, ~0U, CLOSE_RANGE_UNSHARE);
	return NULL;
}

/* A thread that gives up the common descriptors closes none of them. */
static void unshared_by_thread(void)
{
	int fd = open_file(O_RDWR);
	pthread_t thread;

	set_lock(fd, F_WRLCK, 0, 10);
	pthread_create(&thread, NULL, close_in_table_of_its_own, &fd);
	pthread_join(thread, NULL);
	say(outside_view(0, 10));
	say_result(close(fd));
	say(outside_view(0, 10));
}

/* A descriptor whose close nobody saw, and its number with another file. */
static void number_of_another_file(void)
{
	const char *file = subject_file;
	char path[] = "/tmp/relock-subject-XXXXXX";
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	__close(fd);
	say(mkstemp(path) == fd ? "reused" : "?");
	say_result(set_lock(fd, F_WRLCK, 20, 10));
	subject_file = path;
	say(outside_view(0, 10));
	say(outside_view(20, 10));
	say_result(set_lock(fd, F_UNLCK, 20, 10));
	say(outside_view(20, 10));
	unlink(path);
	subject_file = file;
	say(outside_view(20, 10));
}

static int by_dup(int fd)
{
	return dup(fd);
}

static int onto_number(int fd)
{
	return dup2(fd, 100);
}

static int onto_number_by_dup3(int fd)
{
	return dup3(fd, 100, O_CLOEXEC);
}

static int by_fcntl(int fd)
{
	return fcntl(fd, F_DUPFD, 100);
}

static int by_fcntl_cloexec(int fd)
{
	return fcntl(fd, F_DUPFD_CLOEXEC, 100);
}

static int by_fcntl_syscall(int fd)
{
	return (int)syscall(SYS_fcntl, fd, F_DUPFD, 100);
}

static int by_dup_syscall(int fd)
{
	return (int)syscall(SYS_dup, fd);
}

static int onto_number_by_syscall(int fd)
{
	return (int)syscall(SYS_dup3, fd, 100, 0);
}

typedef int duplicating(int fd);

static void say_with_duplicate(duplicating *by, bool duplicate_first, bool close_duplicate)
{
	int fd = open_file(O_RDWR), duplicate = duplicate_first ? by(fd) : -1;

	set_lock(fd, F_WRLCK, 0, 10);
	if (!duplicate_first)
		duplicate = by(fd);
	if (duplicate < 0)
		give_up("no duplicate");
	close(close_duplicate ? duplicate : fd);
	say(outside_view(0, 10));
	close(close_duplicate ? fd : duplicate);
	say(outside_view(0, 10));
}

static void duplicate(void)
{
	static const struct {
		const char *name;
		duplicating *function;
	} makers[] = {
		{"dup", by_dup},
		{"dup2", onto_number},
		{"dup3", onto_number_by_dup3},
		{"F_DUPFD", by_fcntl},
		{"F_DUPFD_CLOEXEC", by_fcntl_cloexec},
		{"SYS_fcntl", by_fcntl_syscall},
		{"SYS_dup", by_dup_syscall},
		{"SYS_dup3", onto_number_by_syscall},
	};

	for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
		if (strcmp(makers[i].name, subject_argument) != 0)
			continue;
		say_with_duplicate(makers[i].function, true, true);
		say_with_duplicate(makers[i].function, true, false);
		say_with_duplicate(makers[i].function, false, true);
		say_with_duplicate(makers[i].function, false, false);
		return;
	}
	give_up("no such maker of duplicates");
}

/* By a function of libc's own, whatever stands before libc: nobody sees it. */
static void close_unseen(int fd)
{
	int (*unseen)(int fd);
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&unseen = libc ? dlsym(libc, "close") : NULL;
	if (!unseen)
		give_up("libc");
	unseen(fd);
}

static void duplicate_onto_unseen_close(void)
{
	int null = open("/dev/null", O_RDWR), fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	close_unseen(fd);
	say(dup(null) == fd ? "reused" : "another");
	say(outside_view(0, 10));
}

const struct subject_case subject_closers[] = {
	{"duplicate_onto_unseen_close", duplicate_onto_unseen_close},
	{"closer", closer},
	{"closer_of_folder", closer_of_folder},
	{"close_the_later_owner", close_the_later_owner},
	{"close_the_earlier_owner", close_the_earlier_owner},
	{"refused", refused},
	{"unshared_by_thread", unshared_by_thread},
	{"number_of_another_file", number_of_another_file},
	{"duplicate", duplicate},
	{0},
};
