/*
 * Files of all kinds, and circumstances in which a file cannot be opened again.
 * In this process an open of its own asks by F_OFD_GETLK, which legacy locks
 * and OFD locks of other opens are in the way of.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

static const char *ask(int asking, off_t start, off_t length)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = length};

	if (fcntl(asking, F_OFD_GETLK, &lock) < 0)
		give_up("F_OFD_GETLK");
	return lock.l_type == F_UNLCK ? "free" : lock.l_type == F_RDLCK ? "read" : "write";
}

/* Two opens lock, a third is closed, one of the two, the other. */
static void say_life(int a, int b, int third, int asking, short type)
{
	say_result(set_lock(a, type, 0, 10));
	say(ask(asking, 0, 10));
	say_result(set_lock(b, type, 5, 5));
	close(third);
	say(ask(asking, 0, 10));
	say_result(set_lock(a, F_UNLCK, 0, 2));
	say(ask(asking, 0, 2));
	close(b);
	say(ask(asking, 5, 5));
	say(ask(asking, 2, 3));
	close(a);
	say(ask(asking, 0, 0));
}

static void life(void)
{
	say_life(open_file(O_RDWR), open_file(O_RDWR), open_file(O_RDWR), open_file(O_RDWR),
		 F_WRLCK);
}

static void life_of_reader(void)
{
	say_life(open_file(O_RDONLY), open_file(O_RDONLY), open_file(O_RDONLY), open_file(O_RDONLY),
		 F_RDLCK);
}

/* Whose name is gone before the first lock. */
static void life_deleted(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), third = open_file(O_RDWR);
	int asking = open_file(O_RDWR);

	unlink(subject_file);
	say_life(a, b, third, asking, F_WRLCK);
}

static void life_in_memory(void)
{
	char path[64];
	int a = memfd_create("subject", 0);

	snprintf(path, sizeof path, "/proc/self/fd/%d", a);
	subject_file = path;
	say_life(a, open_file(O_RDWR), open_file(O_RDWR), open_file(O_RDWR), F_WRLCK);
}

/* No /proc any more. */
static void change_root(void)
{
	char path[4096], folder[4096];

	snprintf(path, sizeof path, "%s", subject_file);
	snprintf(folder, sizeof folder, "%s", subject_file);
	if (chroot(dirname(folder)) < 0 || chdir("/") < 0)
		give_up("chroot");
	subject_file = strdup(basename(path));
}

static void life_without_proc(void)
{
	change_root();
	life();
}

/* The first lock is made before. */
static void life_without_proc_any_more(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), third = open_file(O_RDWR);
	int asking = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 1);
	change_root();
	say_life(a, b, third, asking, F_WRLCK);
}

static void drop_privileges(void)
{
	if (setgid(65534) < 0 || setuid(65534) < 0)
		give_up("setuid");
}

/* Opened by root, for root only, and locked by somebody else. */
static void life_without_privileges(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), third = open_file(O_RDWR);
	int asking = open_file(O_RDWR);

	fchmod(a, 0600);
	drop_privileges();
	say_life(a, b, third, asking, F_WRLCK);
}

static void life_without_privileges_any_more(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), third = open_file(O_RDWR);
	int asking = open_file(O_RDWR);

	fchmod(a, 0600);
	set_lock(a, F_WRLCK, 0, 1);
	drop_privileges();
	say_life(a, b, third, asking, F_WRLCK);
}

/* What the reader may open is less than what the writer would need. */
static void life_with_less_privileges(void)
{
	int reading = open_file(O_RDONLY), writing = open_file(O_RDWR);
	int asking = open_file(O_RDWR);

	fchmod(reading, 0444);
	drop_privileges();
	say_result(set_lock(reading, F_RDLCK, 0, 5));
	say_result(set_lock(writing, F_WRLCK, 5, 5));
	say(ask(asking, 0, 5));
	say(ask(asking, 5, 5));
	close(open_file(O_RDONLY));
	say(ask(asking, 0, 5));
	close(writing);
	say(ask(asking, 0, 5));
	say(ask(asking, 5, 5));
	close(reading);
	say(ask(asking, 0, 0));
}

static void no_memory(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), third = open_file(O_RDWR);
	int asking = open_file(O_RDWR);
	struct rlimit nothing = {1, 1};

	if (setrlimit(RLIMIT_AS, &nothing) < 0)
		give_up("setrlimit");
	say_life(a, b, third, asking, F_WRLCK);
}

/* What is not a regular file is locked like one. */
static void other_kinds(void)
{
	int ends[2], sockets[2], null = open("/dev/null", O_RDWR);

	if (pipe(ends) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) < 0)
		give_up("pipe");
	int fds[] = {null, ends[0], ends[1], sockets[0]};
	short types[] = {F_WRLCK, F_RDLCK, F_WRLCK, F_WRLCK};
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		say_result(set_lock(fds[i], types[i], 0, 10));
		say_result(set_lock(fds[i], F_UNLCK, 0, 5));
		say_result(close(fds[i]));
	}
}

static void say_conflict(int fd, short type)
{
	struct flock lock = {.l_type = type, .l_len = 10};

	say_result(record_lock(fd, F_GETLK, &lock));
	say(lock.l_type == F_UNLCK ? "free" : "held");
}

/* Access modes of several opens, the weakest first. */
static void access_modes(void)
{
	int reading = open_file(O_RDONLY), writing = open_file(O_WRONLY);
	int both = open_file(O_RDWR), appending = open_file(O_RDWR | O_APPEND);

	say_result(set_lock(reading, F_RDLCK, 0, 4));
	say_map();
	say_result(set_lock(reading, F_WRLCK, 0, 4));
	say_result(set_lock(writing, F_RDLCK, 4, 2));
	say_result(set_lock(writing, F_WRLCK, 4, 2));
	say_map();
	say_result(set_lock(both, F_WRLCK, 6, 2));
	say_result(set_lock(appending, F_WRLCK, 8, 2));
	say_map();
	/* upgrade and downgrade of what the reader has */
	say_result(set_lock(both, F_WRLCK, 0, 2));
	say_result(set_lock(both, F_RDLCK, 0, 1));
	say_map();
	say_conflict(reading, F_RDLCK);
	close(both);
	say_map();
	close(writing);
	say_map();
	say_result(set_lock(reading, F_RDLCK, 0, 0));
	say_map();
	close(appending);
	close(reading);
	say_map();
}

/* A lock for which nothing but reading is needed, of what may only be read. */
static void upgrade_of_reader(void)
{
	int reading = open_file(O_RDONLY);

	say_result(set_lock(reading, F_RDLCK, 0, 10));
	int both = open_file(O_RDWR);
	say_result(set_lock(both, F_WRLCK, 0, 10));
	say_map();
	say_result(set_lock(reading, F_RDLCK, 0, 10));
	say_map();
	close(both);
	say_map();
	close(reading);
	say_map();
}

/* The first can only write, and the next only read. */
static void downgrade_of_writer(void)
{
	int writing = open_file(O_WRONLY);

	say_result(set_lock(writing, F_WRLCK, 0, 10));
	int reading = open_file(O_RDONLY);
	say_result(set_lock(reading, F_RDLCK, 5, 5));
	say_map();
	say_result(set_lock(reading, F_WRLCK, 5, 5));
	say_conflict(reading, F_RDLCK);
	close(reading);
	say_map();
	close(writing);
	say_map();
}

enum { FILES = 200, RANGES = 500 };

static void count_held(void *argument)
{
	const int *fds = argument;
	int count = 0;

	for (int i = 0; i < FILES; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getppid(), fds[i]);
		int asking = open(path, O_RDONLY);
		if (asking < 0)
			give_up(path);
		count += strcmp(ask(asking, 0, 0), "free") != 0;
		close(asking);
	}
	say_number(count);
}

static void say_held(int *fds)
{
	waitpid(start_child(count_held, fds), NULL, 0);
}

static void many_files(void)
{
	static int fds[FILES];
	int failed = 0;

	for (int i = 0; i < FILES; i++) {
		fds[i] = memfd_create("one of many", MFD_CLOEXEC);
		failed += set_lock(fds[i], F_WRLCK, 0, 10) < 0;
	}
	say_number(failed);
	say_held(fds);
	for (int i = 0; i < FILES; i += 2)
		failed += set_lock(fds[i], F_UNLCK, 0, 0) < 0;
	say_number(failed);
	say_held(fds);
	for (int i = 0; i < FILES; i++)
		close(fds[i]);
}

static void say_count(int asking)
{
	int count = 0;

	for (off_t i = 0; i < RANGES; i++)
		count += strcmp(ask(asking, i, 1), "free") != 0;
	say_number(count);
}

/* Every other byte through another open. */
static void many_ranges(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), asking = open_file(O_RDONLY);
	int failed = 0;

	for (off_t i = 0; i < RANGES; i++)
		failed += set_lock(i % 2 ? a : b, i % 3 ? F_WRLCK : F_RDLCK, i, 1) < 0;
	say_number(failed);
	say_count(asking);
	say_result(set_lock(b, F_UNLCK, 100, 100));
	say_count(asking);
	close(b);
	say_count(asking);
	close(a);
	say_count(asking);
}

/* By what succeeds. */
static void errno_is_kept(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);
	bool is_kept = true;

	errno = ENOTTY;
	for (int i = 0; i < 2; i++) {
		set_lock(a, F_WRLCK, 0, 10);
		is_kept &= errno == ENOTTY;
		set_lock(b, F_RDLCK, 10, 10);
		is_kept &= errno == ENOTTY;
		set_lock(b, F_UNLCK, 12, 1);
		is_kept &= errno == ENOTTY;
		wait_lock(a, F_WRLCK, 30, 1);
		is_kept &= errno == ENOTTY;
	}
	dup2(a, 100);
	is_kept &= errno == ENOTTY;
	dup3(b, 101, O_CLOEXEC);
	is_kept &= errno == ENOTTY;
	close(fcntl(a, F_DUPFD, 0));
	is_kept &= errno == ENOTTY;
	close(dup(b));
	is_kept &= errno == ENOTTY;
	pid_t pid = fork();
	if (pid == 0)
		_exit(errno != ENOTTY);
	is_kept &= errno == ENOTTY;
	int status = 0;
	waitpid(pid, &status, 0);
	is_kept &= status == 0;
	close(a);
	is_kept &= errno == ENOTTY;
	close_range((unsigned)b, ~0U, 0);
	is_kept &= errno == ENOTTY;
	closefrom(b);
	is_kept &= errno == ENOTTY;
	say(is_kept ? "kept" : "changed");
}

const struct subject_case subject_places[] = {
	{"life", life},
	{"life_of_reader", life_of_reader},
	{"life_deleted", life_deleted},
	{"life_in_memory", life_in_memory},
	{"life_without_proc", life_without_proc},
	{"life_without_proc_any_more", life_without_proc_any_more},
	{"life_without_privileges", life_without_privileges},
	{"life_without_privileges_any_more", life_without_privileges_any_more},
	{"life_with_less_privileges", life_with_less_privileges},
	{"no_memory", no_memory},
	{"other_kinds", other_kinds},
	{"access_modes", access_modes},
	{"upgrade_of_reader", upgrade_of_reader},
	{"downgrade_of_writer", downgrade_of_writer},
	{"many_files", many_files},
	{"many_ranges", many_ranges},
	{"errno_is_kept", errno_is_kept},
	{0},
};
