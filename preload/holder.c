/*
 * The kernel does not say who holds an OFD lock: the owner is an open file
 * description, and F_GETLK answers with pid -1.  But each process shows the
 * locks of each of its descriptors in /proc/PID/fdinfo/FD, to those who may
 * ptrace it.  So this walks over the descriptors of all processes.
 *
 * The lock is the one of the same type and range.  Locks come and go while we
 * walk, and read locks may overlap; where nobody has that very lock, whoever
 * has an OFD lock in the way is as true an answer.  That it is on the right file
 * is known by statx(2) on /proc/PID/fd/FD, as the device number in the `lock:`
 * line is the superblock's, which on btrfs and overlayfs is not the one that
 * stat shows.
 *
 * We must not hang on another process's dead server.  So statx(2) does not
 * synchronise, and comes last.  The kernel follows /proc/PID/fd/FD only when
 * the process is not amid an execve(2) (exec_update_lock, Linux 6.18): and one
 * that execs may wait for a server, in the close of a close-on-exec descriptor.
 * Its fdinfo can be read all the same.
 *
 * Our own open file description can look like the holder: with a read lock of
 * the same range as another's, or in a child that inherited it.  kcmp(2) tells
 * it apart; where a filter refuses that, we go without.
 *
 * Stack: about 4 KiB, because a signal handler may be what runs here.  At most
 * four descriptors at a time, close-on-exec; with none to be had, the holder
 * is out of sight.
 */
#include "holder.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <stdbool.h>
#include <string.h>

#include "lock-line.h"
#include "raw.h"
#include "text.h"

enum { LISTING_SIZE = 768, FDINFO_SIZE = 512, PATH_SIZE = 64 };

/* How well a descriptor answers the question; the largest wins.  Each match of
 * this process itself is one less than another's. */
enum match {
	NO_MATCH,
	OWN_OTHER_LOCK, /* another OFD lock that is in the way */
	OTHER_LOCK,
	OWN_THIS_LOCK, /* the lock that the kernel reported */
	THIS_LOCK,
};

struct search {
	int fd;
	pid_t self;
	struct statx file;
	struct lock_line lock; /* exclusive, start and end */
	enum match best;
	pid_t holder;     /* whose match that is; 0: nobody's */
	pid_t looking_at; /* the process whose descriptors are being read */
};

/* Calls function(search, directory, name) for each entry that is a number,
 * until it returns false.  Returns how many there were. */
static unsigned for_each_number(int directory, struct search *search,
				bool (*function)(struct search *search, int directory,
						 const char *name))
{
	_Alignas(struct dirent64) char listing[LISTING_SIZE];
	unsigned count = 0;
	ssize_t length;

	while ((length = raw_getdents64(directory, listing, sizeof listing)) > 0)
		for (ssize_t at = 0; at < length;) {
			const struct dirent64 *entry = (const void *)(listing + at);
			at += entry->d_reclen;
			if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
				continue;
			count++;
			if (!function(search, directory, entry->d_name))
				return count;
		}
	return count;
}

static pid_t to_number(const char *digits)
{
	pid_t number = 0;

	for (; *digits >= '0' && *digits <= '9'; digits++)
		number = number * 10 + (*digits - '0');
	return number;
}

static enum match match_line(const struct search *search, const char *line, size_t length)
{
	struct lock_line found;

	if (!lock_line_parse(line, length, &found) || found.type != LOCK_LINE_OFD || found.blocked)
		return NO_MATCH;
	if (found.exclusive == search->lock.exclusive && found.start == search->lock.start &&
	    found.end == search->lock.end)
		return THIS_LOCK;
	if (found.start <= search->lock.end && found.end >= search->lock.start)
		return OTHER_LOCK;
	return NO_MATCH;
}

/* The best match of the lines of an open fdinfo file. */
static enum match match_fdinfo(const struct search *search, int fdinfo)
{
	char buffer[FDINFO_SIZE];
	size_t filled = 0;
	ssize_t length;
	enum match best = NO_MATCH;

	while ((length = raw_read(fdinfo, buffer + filled, sizeof buffer - filled)) > 0) {
		char *line = buffer, *end = buffer + filled + length, *newline;
		while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
			enum match match = match_line(search, line, (size_t)(newline - line));
			if (match > best)
				best = match;
			line = newline + 1;
		}
		/* What is left is the beginning of a line.  One that fills the
		 * buffer is no lock's: those have 110 bytes at most. */
		filled = (size_t)(end - line);
		if (filled == sizeof buffer)
			filled = 0;
		memmove(buffer, line, filled);
	}
	return best;
}

/* Is descriptor `number` of the process looked at the one that asks, or a
 * duplicate of it? */
static bool is_own_description(const struct search *search, long number)
{
	return raw_syscall(SYS_kcmp, search->self, search->looking_at, KCMP_FILE, search->fd,
			   number, 0) == 0;
}

static bool is_same_file(const struct search *search, int directory, const char *name)
{
	struct statx other;

	return raw_statx(directory, name, AT_STATX_DONT_SYNC, STATX_INO, &other) == 0 &&
	       other.stx_ino == search->file.stx_ino &&
	       other.stx_dev_major == search->file.stx_dev_major &&
	       other.stx_dev_minor == search->file.stx_dev_minor;
}

/* `directory` is /proc/PID/fd, or /proc/PID/task/TID/fd. */
static bool look_at_descriptor(struct search *search, int directory, const char *name)
{
	char path[PATH_SIZE];
	struct text text = TEXT(path);

	text_add(&text, "../fdinfo/");
	text_add(&text, name);
	_cleanup_raw_close_ int fdinfo = raw_openat(directory, path, O_RDONLY | O_CLOEXEC, 0);
	if (fdinfo < 0)
		return true;
	enum match match = match_fdinfo(search, fdinfo);
	if (match != NO_MATCH && search->looking_at == search->self)
		match--;
	if (match > search->best && is_same_file(search, directory, name) &&
	    !is_own_description(search, to_number(name))) {
		search->best = match;
		search->holder = search->looking_at;
	}
	return search->best != THIS_LOCK;
}

/* Returns how many descriptors there were. */
static unsigned look_at_descriptors(struct search *search, int directory, const char *name)
{
	char path[PATH_SIZE];
	struct text text = TEXT(path);

	text_add(&text, name);
	text_add(&text, "/fd");
	_cleanup_raw_close_ int descriptors =
		raw_openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	return descriptors < 0 ? 0 : for_each_number(descriptors, search, look_at_descriptor);
}

static bool look_at_thread(struct search *search, int directory, const char *name)
{
	/* Threads share their descriptors: the first that has any has them all. */
	return look_at_descriptors(search, directory, name) == 0;
}

static bool look_at_process(struct search *search, int directory, const char *name)
{
	search->looking_at = to_number(name);
	if (look_at_descriptors(search, directory, name) == 0) {
		/* /proc/PID/fd is the first thread's, and that one may have ended
		 * while others go on. */
		char path[PATH_SIZE];
		struct text text = TEXT(path);
		text_add(&text, name);
		text_add(&text, "/task");
		_cleanup_raw_close_ int threads =
			raw_openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
		if (threads >= 0)
			for_each_number(threads, search, look_at_thread);
	}
	return search->best != THIS_LOCK;
}

/* A /proc of another pid namespace would name processes that are others here. */
static bool proc_is_ours(pid_t self)
{
	char link[24];
	ssize_t length = raw_readlink("/proc/self", link, sizeof link - 1);

	if (length < 0)
		return false;
	link[length] = '\0';
	return to_number(link) == self;
}

pid_t shim_holder_pid(int fd, const struct flock *conflict)
{
	struct search search = {
		.fd = fd,
		.self = raw_getpid(),
		.lock.exclusive = conflict->l_type == F_WRLCK,
		.lock.start = (uint64_t)conflict->l_start,
		.lock.end = conflict->l_len == 0
				    ? INT64_MAX
				    : (uint64_t)(conflict->l_start + conflict->l_len - 1),
	};

	if (!proc_is_ours(search.self) ||
	    raw_statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &search.file) < 0)
		return 0;
	_cleanup_raw_close_ int proc =
		raw_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (proc >= 0)
		for_each_number(proc, &search, look_at_process);
	return search.holder;
}
