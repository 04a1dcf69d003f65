/* Row 12 where it is hard to say who holds the lock, and what kind of lock it
 * is in the first place. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "subject.h"

/* "POSIX", "OFDLCK" or "none", as the kernel shows it. */
static const char *lock_kind(int fd)
{
	char path[64], line[256];
	const char *kind = "none";

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	FILE *file = fopen(path, "re");
	if (!file)
		give_up(path);
	while (fgets(line, sizeof line, file))
		if (strncmp(line, "lock:", 5) == 0)
			kind = strstr(line, "POSIX") ? "POSIX" : "OFDLCK";
	fclose(file);
	return kind;
}

/* The whole of a program's life with a lock: by what kind it is held, whether
 * it outlives the close of another descriptor, and whether it can be given
 * back. */
static void lock_and_unlock(void)
{
	int fd = open_file(O_RDWR);
	struct flock question = {.l_type = F_WRLCK};

	say_result(wait_lock(fd, F_WRLCK, 0, 10));
	say(lock_kind(fd));
	say_result(record_lock(fd, F_GETLK, &question));
	say(question.l_type == F_UNLCK ? "own" : "other's");
	close(open_file(O_RDONLY));
	say(lock_kind(fd));
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 0));
	say(lock_kind(fd));
}

/* Through a descriptor number that was another file's, on a file system where
 * OFD locks are as they should be. */
static void lock_through_used_number(void)
{
	char path[] = "/tmp/relock-subject-XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 10));
	close(fd);
	lock_and_unlock();
}

static void exec_and_unlock(void)
{
	char number[16];
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	snprintf(number, sizeof number, "%d", fd);
	execl("/proc/self/exe", "subject", "unlock_after_exec", subject_file, subject_entry, number,
	      (char *)NULL);
	give_up("exec");
}

static void unlock_after_exec(void)
{
	int fd = atoi(subject_argument);

	say(lock_kind(fd));
	say_result(set_lock(fd, F_UNLCK, 0, 10));
	say(lock_kind(fd));
}

static void say_who(int fd, off_t start, pid_t expected)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = 1};

	record_lock(fd, F_GETLK, &lock);
	say(lock.l_type == F_UNLCK   ? "nobody"
	    : lock.l_pid == expected ? "holder"
	    : lock.l_pid == getpid() ? "self"
	    : lock.l_pid == 0        ? "unknown"
				     : "another");
}

enum { MANY = 300 };

static void hold_many(void *argument)
{
	int fd = open_file(O_RDWR);

	for (off_t i = 0; i < MANY; i++)
		if (set_lock(fd, F_WRLCK, i * 2, 1) < 0)
			give_up("one of many");
	signal_pipe(*(int *)argument);
	pause();
}

/* More lines in fdinfo than fit any buffer. */
static void holder_of_many(void)
{
	int fd = open_file(O_RDWR), ready[2];

	if (pipe(ready) < 0)
		give_up("pipe");
	pid_t child = start_child(hold_many, &ready[1]);
	await_pipe(ready[0]);
	for (off_t i = 0; i < MANY; i += 23)
		say_who(fd, i * 2, child);
	say_who(fd, 1, child);
	end_child(child);
}

static void *hold_in_thread(void *argument)
{
	int fd = open_file(O_RDWR);

	/* When the first thread has ended, it is a zombie, and its state shows. */
	char path[64], line[512] = "";
	snprintf(path, sizeof path, "/proc/%d/stat", getpid());
	while (!strstr(line, ") Z ")) {
		FILE *file = fopen(path, "re");
		if (!file || !fgets(line, sizeof line, file))
			give_up(path);
		fclose(file);
	}
	if (set_lock(fd, F_WRLCK, 0, 10) < 0)
		give_up("no lock in the thread");
	signal_pipe(*(int *)argument);
	pause();
	return NULL;
}

static void hold_without_first_thread(void *argument)
{
	pthread_t thread;

	pthread_create(&thread, NULL, hold_in_thread, argument);
	pthread_exit(NULL);
}

/* /proc/PID/fd shows nothing where the first thread has ended. */
static void holder_without_first_thread(void)
{
	int fd = open_file(O_RDWR), ready[2];

	if (pipe(ready) < 0)
		give_up("pipe");
	pid_t child = start_child(hold_without_first_thread, &ready[1]);
	await_pipe(ready[0]);
	say_who(fd, 0, child);
	end_child(child);
}

static void wait_for_end(void *argument)
{
	(void)argument;
	pause();
}

/* Two read locks of the same range: one is ours, and a child has inherited it;
 * the other is in the way. */
static void holder_beside_ourselves(void)
{
	int fd = open_file(O_RDWR);

	set_lock(fd, F_RDLCK, 0, 10);
	pid_t heir = start_child(wait_for_end, NULL);
	struct holder holder = start_holder(F_RDLCK, 0, 10);
	say_who(fd, 0, holder.pid);
	release_holder(&holder);
	say_who(fd, 0, holder.pid);
	end_child(heir);
}

/* Another process and another open of our own hold the same read lock. */
static void holder_besides_own_open(void)
{
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);

	set_lock(other, F_RDLCK, 0, 10);
	struct holder holder = start_holder(F_RDLCK, 0, 10);
	say_who(fd, 0, holder.pid);
	release_holder(&holder);
	say_who(fd, 0, holder.pid);
}

/* No descriptor to be had for the search. */
static void holder_without_descriptors(void)
{
	int fd = open_file(O_RDWR);
	struct holder holder = start_holder(F_WRLCK, 0, 10);

	while (dup(fd) >= 0)
		;
	say_who(fd, 0, holder.pid);
	say_result(set_lock(fd, F_WRLCK, 20, 10));
	release_holder(&holder);
}

const struct subject_case subject_holders[] = {
	{"lock_and_unlock", lock_and_unlock},
	{"lock_through_used_number", lock_through_used_number},
	{"exec_and_unlock", exec_and_unlock},
	{"unlock_after_exec", unlock_after_exec},
	{"holder_of_many", holder_of_many},
	{"holder_without_first_thread", holder_without_first_thread},
	{"holder_beside_ourselves", holder_beside_ourselves},
	{"holder_besides_own_open", holder_besides_own_open},
	{"holder_without_descriptors", holder_without_descriptors},
	{0},
};
