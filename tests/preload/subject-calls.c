/* Rows 1, 17 to 20 and 23: the calls themselves, their arguments and errors. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "subject.h"

static void set_and_map(int fd, struct flock lock)
{
	say_result(record_lock(fd, F_SETLK, &lock));
	say_map();
}

static void ranges(void)
{
	int fd = open_file(O_RDWR);

	ftruncate(fd, 10);
	lseek(fd, 4, SEEK_SET);
	/* lock, downgrade a part, upgrade a part of that, split, merge */
	set_and_map(fd, (struct flock){.l_type = F_WRLCK, .l_len = 10});
	set_and_map(fd, (struct flock){.l_type = F_RDLCK, .l_start = 1, .l_len = 8});
	set_and_map(fd, (struct flock){.l_type = F_WRLCK, .l_start = 3, .l_len = 2});
	set_and_map(fd, (struct flock){.l_type = F_UNLCK, .l_start = 6, .l_len = 1});
	set_and_map(fd, (struct flock){.l_type = F_RDLCK, .l_start = 6, .l_len = 1});
	/* from the offset, from the end, backwards, without end */
	set_and_map(fd, (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_CUR, .l_len = 2});
	set_and_map(
		fd,
		(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 1});
	set_and_map(fd, (struct flock){.l_type = F_UNLCK, .l_start = 3, .l_len = -3});
	set_and_map(fd, (struct flock){.l_type = F_WRLCK, .l_start = 9});
	set_and_map(fd, (struct flock){.l_type = F_UNLCK});
}

static void ranges_by_lockf(void)
{
	int fd = open_file(O_RDWR);

	lseek(fd, 4, SEEK_SET);
	say_result(position_lock(fd, F_LOCK, 3));
	say_map();
	say_result(position_lock(fd, F_TLOCK, -2));
	say_map();
	say_result(position_lock(fd, F_ULOCK, 1));
	say_map();
	say_result(position_lock(fd, F_TLOCK, 0));
	say_map();
	lseek(fd, 0, SEEK_SET);
	say_result(position_lock(fd, F_ULOCK, 0));
	say_map();
}

static bool is_left_alone(int fd, int command, struct flock *lock, pid_t pid)
{
	*lock = (struct flock){.l_type = F_WRLCK, .l_len = 5, .l_pid = pid};
	struct flock before = *lock;

	if (record_lock(fd, command, lock) < 0)
		return false;
	/* Of a free range F_GETLK changes the type, and nothing else. */
	if (command == F_GETLK)
		before.l_type = F_UNLCK;
	return memcmp(&before, lock, sizeof before) == 0;
}

static void left_in_pid(void)
{
	static const pid_t pids[] = {1, -1, INT_MAX, INT_MIN, 0};
	static const int commands[] = {F_SETLK, F_SETLKW, F_GETLK};
	static struct flock elsewhere;
	struct flock here;
	int fd = open_file(O_RDWR);

	for (size_t i = 0; i < sizeof pids / sizeof *pids; i++)
		for (size_t j = 0; j < sizeof commands / sizeof *commands; j++)
			say(is_left_alone(fd, commands[j], &here, pids[i]) &&
					    is_left_alone(fd, commands[j], &elsewhere, pids[i])
				    ? "ok"
				    : "?");
	/* errno is left alone by what succeeds. */
	struct flock lock = {.l_type = F_UNLCK, .l_pid = 7};
	errno = ENOTTY;
	record_lock(fd, F_SETLK, &lock);
	lock.l_type = F_WRLCK;
	record_lock(fd, F_SETLKW, &lock);
	record_lock(fd, F_GETLK, &lock);
	say(errno == ENOTTY ? "errno-kept" : "errno-changed");
}

static void say_errors(int fd, struct flock lock)
{
	static const int commands[] = {F_SETLK, F_SETLKW, F_GETLK};

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		struct flock zero = lock, garbage = lock;
		zero.l_pid = 0;
		garbage.l_pid = 12345;
		errno = 0;
		say_result(record_lock(fd, commands[i], &zero));
		say_result(record_lock(fd, commands[i], &garbage));
	}
}

static void bad_arguments(void)
{
	int both = open_file(O_RDWR), reading = open_file(O_RDONLY), writing = open_file(O_WRONLY);
	int path = open_file(O_PATH);
	struct flock write_lock = {.l_type = F_WRLCK}, read_lock = {.l_type = F_RDLCK};

	say("descriptor:");
	say_errors(-1, write_lock);
	say_errors(1000, write_lock);
	say("mode:");
	say_errors(reading, write_lock);
	say_errors(writing, read_lock);
	say_errors(path, read_lock);
	say("whence:");
	say_errors(both, (struct flock){.l_type = F_WRLCK, .l_whence = 9});
	say("type:");
	say_errors(both, (struct flock){.l_type = 9});
	say_errors(both, (struct flock){.l_type = F_UNLCK});
	say("before-start:");
	say_errors(both, (struct flock){.l_type = F_WRLCK, .l_start = -1});
	say_errors(both, (struct flock){.l_type = F_WRLCK, .l_start = 2, .l_len = -3});
	say("overflow:");
	say_errors(both, (struct flock){.l_type = F_WRLCK, .l_start = INT64_MAX, .l_len = 2});
	ftruncate(both, 10);
	say_errors(both,
		   (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = INT64_MAX});
}

/* Two pages: one that can be used as `protection` says, one that is not there. */
static char *pages(int protection)
{
	long size = sysconf(_SC_PAGESIZE);
	char *first = mmap(NULL, (size_t)size * 2, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (first == MAP_FAILED)
		give_up("mmap");
	/* F_WRLCK and no pid, wherever a struct is put. */
	for (char *at = first; at + sizeof(struct flock) <= first + size; at += 8)
		*(short *)at = F_WRLCK;
	if (munmap(first + size, (size_t)size) < 0 || mprotect(first, (size_t)size, protection) < 0)
		give_up("mprotect");
	return first;
}

static void say_pointer(int fd, void *pointer)
{
	say_result(record_lock(fd, F_SETLK, pointer));
	say_result(record_lock(fd, F_SETLKW, pointer));
	say_result(record_lock(fd, F_GETLK, pointer));
}

static void bad_pointers(void)
{
	int fd = open_file(O_RDWR);
	long size = sysconf(_SC_PAGESIZE);
	char *writable = pages(PROT_READ | PROT_WRITE);
	struct flock *constant = (void *)pages(PROT_READ);
	struct flock *at_end = (void *)(writable + size - sizeof *at_end);

	say("nowhere:");
	say_pointer(fd, NULL);
	say_pointer(fd, (void *)-1);
	say_pointer(fd, (void *)(uintptr_t)0x8000000000000000);
	say_pointer(fd, pages(PROT_NONE));
	say("half:");
	say_pointer(fd, writable + size - 8);
	say_pointer(fd, writable + size - sizeof(struct flock) + 4);
	say("at-end:");
	*at_end = (struct flock){.l_type = F_WRLCK};
	say_pointer(fd, at_end);
	*at_end = (struct flock){.l_type = F_WRLCK, .l_pid = 99};
	say_pointer(fd, at_end);
	say("constant:");
	mprotect(constant, (size_t)size, PROT_READ | PROT_WRITE);
	*constant = (struct flock){.l_type = F_WRLCK, .l_pid = 99};
	mprotect(constant, (size_t)size, PROT_READ);
	say_pointer(fd, constant);
	say("no-descriptor:");
	say_pointer(-1, NULL);
}

static void bad_lockf(void)
{
	int both = open_file(O_RDWR), reading = open_file(O_RDONLY);

	say_result(position_lock(both, 99, 0));
	say_result(position_lock(-1, 99, 0));
	say_result(position_lock(-1, F_LOCK, 0));
	say_result(position_lock(-1, F_TEST, 0));
	say_result(position_lock(reading, F_TLOCK, 0));
	say_result(position_lock(reading, F_TEST, 0));
	say_result(position_lock(both, F_TLOCK, -1));
	lseek(both, 10, SEEK_SET);
	say_result(position_lock(both, F_TLOCK, INT64_MAX));
}

static int call(int fd, int command, void *argument)
{
	return strcmp(subject_entry, "syscall") == 0
		       ? (int)syscall(SYS_fcntl, fd, command, argument)
		       : fcntl(fd, command, argument);
}

static void other_commands(void)
{
	int fd = open_file(O_RDWR), pipe_fds[2];
	struct f_owner_ex owner = {F_OWNER_PID, getpid()}, answer = {0};
	uint64_t hint = 4; /* RWH_WRITE_LIFE_LONG; a pointer, 64 bits wide */

	say_number(call(fd, F_GETFD, NULL));
	say_number(call(fd, F_SETFD, (void *)FD_CLOEXEC));
	say_number(call(fd, F_GETFD, NULL));
	say(call(fd, F_GETFL, NULL) & O_RDWR ? "rdwr" : "?");
	say_number(call(fd, F_SETFL, (void *)O_APPEND));
	say(call(fd, F_GETFL, NULL) & O_APPEND ? "append" : "?");
	say_number(call(fd, F_DUPFD, (void *)100));
	say_number(call(fd, F_DUPFD_CLOEXEC, (void *)200));
	say_number(call(fd, F_SETOWN_EX, &owner));
	say_number(call(fd, F_GETOWN_EX, &answer));
	say(answer.pid == getpid() ? "owner" : "?");
	say(call(fd, F_GETOWN, NULL) == getpid() ? "owner" : "?");
	say_number(call(fd, F_SETSIG, (void *)SIGUSR1));
	say_number(call(fd, F_GETSIG, NULL) == SIGUSR1);
	say_number(call(fd, F_SET_RW_HINT, &hint));
	hint = 0;
	say_number(call(fd, F_GET_RW_HINT, &hint));
	say_number((long long)hint);
	if (pipe(pipe_fds) == 0)
		say_number(call(pipe_fds[0], F_SETPIPE_SZ, (void *)65536));
	say_result(call(fd, 9999, &hint));
	say_result(call(fd, F_SETOWN_EX, (void *)1));
	/* without an argument at all */
	say_number(fcntl(fd, F_GETFD));
	say_number(syscall(SYS_fcntl, fd, F_GETFD));
	/* other numbers of syscall(2), with all six arguments */
	void *mapped = (void *)syscall(SYS_mmap, NULL, 4096L, (long)PROT_READ, (long)MAP_SHARED,
				       (long)fd, 4096L);
	say((long)mapped != -1 && ((uintptr_t)mapped & 4095) == 0 ? "mapped" : "?");
	say_result((int)syscall(SYS_mmap, NULL, 4096L, (long)PROT_READ, (long)MAP_SHARED, (long)fd,
				1L));
	say(syscall(SYS_getpid) == getpid() ? "pid" : "?");
	say_result((int)syscall(-1L));
}

static void own_ofd_and_flock(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);
	struct flock lock = {.l_type = F_WRLCK, .l_len = 4, .l_pid = 7};

	say_result(fcntl(a, F_OFD_SETLK, &lock));
	lock.l_pid = 0;
	say_result(fcntl(a, F_OFD_SETLK, &lock));
	say_result(fcntl(b, F_OFD_SETLK, &lock));
	say_result(fcntl(b, F_OFD_GETLK, &lock));
	say_number(lock.l_pid);
	lock = (struct flock){.l_type = F_UNLCK};
	say_result(fcntl(a, F_OFD_SETLKW, &lock));
	say(outside_view(0, 0));
	say_result(flock(a, LOCK_EX));
	say_result(flock(b, LOCK_EX | LOCK_NB));
}

static void test_for_read_lock(void)
{
	int fd = open_file(O_RDWR);

	say_result(position_lock(fd, F_TEST, 10));
	struct holder reader = start_holder(F_WRLCK, 0, 10);
	say_result(position_lock(fd, F_TEST, 10));
	release_holder(&reader);

	/* lockf itself cannot make a read lock. */
	subject_entry = "fcntl";
	reader = start_holder(F_RDLCK, 0, 10);
	say_result(position_lock(fd, F_TEST, 10));
	release_holder(&reader);
}

const struct subject_case subject_calls[] = {
	{"ranges", ranges},
	{"ranges_by_lockf", ranges_by_lockf},
	{"left_in_pid", left_in_pid},
	{"bad_arguments", bad_arguments},
	{"bad_pointers", bad_pointers},
	{"bad_lockf", bad_lockf},
	{"other_commands", other_commands},
	{"own_ofd_and_flock", own_ofd_and_flock},
	{"test_for_read_lock", test_for_read_lock},
	{0},
};
