/*
 * Locks are tried on a fresh file, so that nobody's own locks are disturbed,
 * in the folder asked about, for what locks do depends on the file system
 * (on NFS, flock(2) is a record lock in disguise).
 *
 * The other process is a forked child with an open of its own: it inherits
 * the open file description that holds the lock, but asks through its own.
 */
#include "probe-locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

const char *lock_kind_name(enum lock_kind kind)
{
	static const char *const names[LOCK_KIND_COUNT] = {
		[LOCK_KIND_RECORD] = "F_SETLK",
		[LOCK_KIND_OFD] = "F_OFD_SETLK",
		[LOCK_KIND_FLOCK] = "flock",
	};

	return names[kind];
}

/* Takes the whole file, exclusively, at once or not at all. */
static int take(int fd, enum lock_kind kind)
{
	struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int result;

	switch (kind) {
	case LOCK_KIND_RECORD:
		result = fcntl(fd, F_SETLK, &range);
		break;
	case LOCK_KIND_OFD:
		result = fcntl(fd, F_OFD_SETLK, &range);
		break;
	default:
		result = flock(fd, LOCK_EX | LOCK_NB);
		break;
	}
	if (result == 0)
		return 0;
	/* POSIX allows both for a lock that is held. */
	return errno == EACCES ? -EAGAIN : -errno;
}

static int take_in_child(const char *path, enum lock_kind kind)
{
	int status = 0;
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		/* An errno is small enough for an exit status. */
		_exit(fd < 0 ? errno : -take(fd, kind));
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

static void try_kind(const char *path, enum lock_kind held, struct lock_trials *ret)
{
	CLEANUP_CLOSE int holder = open(path, O_RDWR | O_CLOEXEC);
	CLEANUP_CLOSE int second = open(path, O_RDWR | O_CLOEXEC);

	ret->alone[held] = holder < 0 || second < 0 ? -errno : take(holder, held);
	for (enum lock_kind asked = 0; asked < LOCK_KIND_COUNT; asked++)
		ret->other_process[held][asked] =
			ret->alone[held] < 0 ? ret->alone[held] : take_in_child(path, asked);
	ret->second_open[held] = ret->alone[held] < 0 ? ret->alone[held] : take(second, held);
}

int probe_locks(const char *folder, struct lock_trials *ret)
{
	CLEANUP_FREE char *path = NULL;

	if (asprintf(&path, "%s/.relock-probe-XXXXXX", folder) < 0) {
		path = NULL;
		out_of_memory();
	}

	CLEANUP_CLOSE int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	for (enum lock_kind kind = 0; kind < LOCK_KIND_COUNT; kind++)
		try_kind(path, kind, ret);
	unlink(path);
	return 0;
}
