/*
 * What has the name of a lock file, and whether it may be removed.
 *
 * Whatever has the name excludes.  It is removed by itself only if its holder is
 * proven gone, which only the holder's own machine can do:
 *
 *  - A hold of relock's has a record beside it, from before the file had its name,
 *    that names the process by machine, boot, pid namespace, pid and start time:
 *    claim_owner_life() judges by these, whatever the host is called, and whatever
 *    the clocks say.
 *
 *  - A hold of Core_unix's has a hostname, a pid and perhaps a start time.  On a
 *    host of that name the process is gone if there is none of that pid.  If there
 *    is one that began later than the file says, the pid was used again; or it is
 *    the same process, and the clock was set, since the time is that of the clock.
 *    It counts as gone only if the clock has not been set since the machine began
 *    (clock_was_never_set()).  That hosts have names of their own is what this
 *    protocol depends on, see relock-stores(7).
 *
 *  - Core_unix's first version links the file first, and writes it then: until it
 *    has, the file says what it said before, for example that a holder now dead
 *    has it.  That is the first of the two bugs that its documentation names.  So
 *    what it says is believed only when it has stood for ten seconds.  The second
 *    bug leaves a lock file empty, though its holder lives: such a file may not be
 *    removed at all.
 *
 * Everything else (a folder, a link to elsewhere, a text that is none) is for a
 * person to look at.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "nfslock.h"
#include "process.h"
#include "read-all.h"

/* A message of 4,096 bytes, quoted, and the rest. */
enum { TEXT_MAX = 32768 };

#define WRITING_TIME (10 * RELOCK_SECOND)
#define UNTOLD       ", and nobody but a person can tell whether the lock is held"

int nfslock_name(char buffer[NAME_MAX + 1], const char *name)
{
	if (snprintf(buffer, NAME_MAX + 1, "%s" NFSLOCK_SUFFIX, name) <= NAME_MAX)
		return 0;
	return failed(-ENAMETOOLONG, "%.32s...: a lock's name has at most %zu bytes here", name,
		      (size_t)NAME_MAX - strlen(NFSLOCK_SUFFIX));
}

static void __attribute__((format(printf, 2, 3)))
stuck(struct nfslock_look *look, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(look->why, sizeof look->why, format, arguments);
	va_end(arguments);
	look->verdict = NFSLOCK_STUCK;
}

/* Opening and reading */

static int64_t moment_of(const struct timespec *time)
{
	return time->tv_sec * RELOCK_SECOND + time->tv_nsec;
}

static void take_key(struct nfslock_look *look, const struct stat *status)
{
	look->exists = true;
	look->key =
		(struct nfslock_key){status->st_dev, status->st_ino, moment_of(&status->st_mtim)};
}

/* It cannot be opened: what is it? */
static int describe_unopened(const struct nfslock_store *store, const char *lock_name, int error,
			     struct nfslock_look *look)
{
	struct stat status;

	if (fstatat(store->dir_fd, lock_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (error != -EACCES && error != -EPERM && error != -ELOOP && error != -ENXIO)
		return error;
	take_key(look, &status);
	if (S_ISLNK(status.st_mode))
		stuck(look, "it is a symbolic link" UNTOLD);
	else if (error == -ENXIO)
		stuck(look, "it is a socket, or a device" UNTOLD);
	else
		stuck(look, "you may not read it" UNTOLD);
	return 0;
}

static int read_text(struct nfslock_look *look)
{
	CLEANUP_FREE char *text = malloc(TEXT_MAX);
	size_t length = 0;

	if (!text)
		return -ENOMEM;
	int result = read_all(look->fd, text, TEXT_MAX, &length);
	if (result < 0)
		return result;
	look->text = TAKE_POINTER(text);
	look->length = length;
	return 0;
}

static bool has_first_form(const struct nfslock_store *store, const char *name,
			   const struct nfslock_look *look)
{
	return nfslock_is_at(store, name, &look->key) == 1;
}

static int read_whole(const struct nfslock_store *store, const char *name,
		      struct nfslock_look *look)
{
	struct stat status;

	if (fstat(look->fd, &status) < 0)
		return -errno;
	take_key(look, &status);
	if (!S_ISREG(status.st_mode)) {
		stuck(look, S_ISDIR(status.st_mode) ? "it is a folder" UNTOLD
						    : "it is no regular file" UNTOLD);
		return 0;
	}
	if (status.st_size >= TEXT_MAX) {
		stuck(look, "it is too long for a lock file" UNTOLD);
		return 0;
	}
	int result = read_text(look);
	if (result < 0)
		return result;
	result = nfslock_info_read(look->text, look->length, &look->info);
	if (result == -ENOMEM)
		return result;
	look->has_info = result == 0;
	look->is_first_version = status.st_nlink > 1 && has_first_form(store, name, look);
	return 0;
}

int nfslock_has_record(const struct nfslock_store *store, const struct nfslock_key *key)
{
	char record[NAME_MAX + 1], right[NAME_MAX + 1];
	struct claim_owner remover;
	struct stat status;
	int result = -ENOENT;

	nfslock_record_name(record, key);
	/* Twice, for a right that is given back while the folder is read. */
	for (int i = 0; i < 2 && result == -ENOENT; i++) {
		if (fstatat(store->dir_fd, record, &status, AT_SYMLINK_NOFOLLOW) == 0)
			return 1;
		if (errno != ENOENT)
			return -errno;
		result = nfslock_find_right(store, key, right, &remover);
	}
	return result == -ENOENT ? 0 : result < 0 ? result : 1;
}

/* Its record; or what it is called while somebody removes the lock. */
static int find_record(const struct nfslock_store *store, struct nfslock_look *look)
{
	nfslock_record_name(look->record, &look->key);
	int result = nfslock_record_read(store->dir_fd, look->record, &look->has_owner,
					 &look->owner, &look->slot);
	if (result != -ENOENT)
		return result;
	result = nfslock_find_right(store, &look->key, look->record, &look->remover);
	if (result == -ENOENT) {
		*look->record = '\0';
		return 0;
	}
	look->is_seized = result == 0;
	if (result == 0)
		(void)nfslock_record_read(store->dir_fd, look->record, &look->has_owner,
					  &look->owner, &look->slot);
	return result;
}

/* Judging */

/*
 * Steps of the clock move the moment at which the machine seems to have begun.
 * The kernel makes the root of devtmpfs when it begins, by the clock of then; so
 * if that is still when it seems to have begun, no step has been made, or they
 * have undone each other.  In a container /dev is another file system, and younger.
 */
static bool clock_was_never_set(void)
{
	const int64_t slack = 2 * RELOCK_SECOND;
	struct statx made;

	if (statx(AT_FDCWD, "/dev", 0, STATX_BTIME, &made) < 0 || !(made.stx_mask & STATX_BTIME))
		return false;
	int64_t begun = moment_now() - clock_now(CLOCK_BOOTTIME);
	int64_t then = made.stx_btime.tv_sec * RELOCK_SECOND + made.stx_btime.tv_nsec;
	return then > begun - slack && then < begun + slack;
}

static int64_t read_boot_second(void)
{
	CLEANUP_FREE char *line = NULL;
	size_t size = 0;
	long long second = 0;

	/* It is behind the lines of all processors and interrupts. */
	FILE *file = fopen("/proc/stat", "re");
	while (file && getline(&line, &size, file) > 0)
		if (sscanf(line, "btime %lld", &second) == 1)
			break;
	if (file)
		fclose(file);
	return second;
}

/* To read it costs the kernel a look at each interrupt, so it is kept until the
 * clock is set. */
static int64_t boot_second(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the other two */
	static int64_t kept, kept_at;

	/* In the child of a fork it may be another thread's, for ever. */
	if (pthread_mutex_trylock(&mutex) != 0)
		return read_boot_second();
	int64_t begun = moment_now() - clock_now(CLOCK_BOOTTIME);
	if (kept == 0 || begun - kept_at > RELOCK_MILLISECOND ||
	    begun - kept_at < -RELOCK_MILLISECOND) {
		kept = read_boot_second();
		kept_at = begun;
	}
	int64_t second = kept;
	pthread_mutex_unlock(&mutex);
	return second;
}

/* As nfs_lock.ml has it: the second at which the machine began, and the ticks
 * from then on. */
int64_t nfslock_started(uint64_t start_time)
{
	long hertz = sysconf(_SC_CLK_TCK);
	int64_t second = start_time && hertz > 0 ? boot_second() : 0;

	if (second <= 0)
		return 0;
	return second * RELOCK_SECOND + (int64_t)start_time * (RELOCK_SECOND / hertz);
}

static void judge_by_start(struct nfslock_look *look)
{
	const int64_t same = RELOCK_SECOND; /* Core_unix's own measure */
	uint64_t start_time = 0;

	look->verdict = NFSLOCK_HELD;
	if (look->info.started == 0 || process_start_time(look->info.pid, &start_time) < 0)
		return;
	int64_t later = nfslock_started(start_time) - look->info.started;
	if (later > -same && later < same)
		return;
	if (later > 0 && clock_was_never_set())
		look->verdict = NFSLOCK_GONE;
	else
		stuck(look,
		      "its holder, pid %d, began at another moment than the process of that pid "
		      "here; if the clock was not set, it is gone, and nobody but a person can "
		      "tell whether it lives",
		      (int)look->info.pid);
}

/* A hold of Core_unix's, or one whose record somebody has removed. */
static void judge_by_text(struct nfslock_look *look, const struct stat *status, int64_t now)
{
	if (look->length == 0) {
		stuck(look,
		      "it is empty, as a bug of Core_unix leaves it, and nobody but a person can "
		      "tell whether its holder lives");
	} else if (!look->has_info) {
		stuck(look, "it does not say who holds the lock" UNTOLD);
	} else if (strcmp(look->info.host, process_self()->host) != 0) {
		stuck(look,
		      "whether its holder, pid %d on host %.64s, lives cannot be told from here",
		      (int)look->info.pid, look->info.host);
	} else if (!process_is_proven_gone(look->info.pid, 0)) {
		judge_by_start(look);
	} else if (look->is_first_version && now - moment_of(&status->st_ctim) < WRITING_TIME) {
		look->verdict = NFSLOCK_HELD; /* until its holder has had the time to write */
	} else {
		look->verdict = NFSLOCK_GONE;
	}
}

static void judge_by_owner(struct nfslock_look *look)
{
	const struct claim_owner *who = look->is_seized ? &look->remover : &look->owner;

	switch (claim_owner_life(who)) {
	case CLAIM_GONE:
		look->verdict = NFSLOCK_GONE;
		break;
	case CLAIM_SEEN:
		look->verdict = NFSLOCK_HELD;
		break;
	default:
		stuck(look, "whether %s, pid %d on host %.64s%s, lives cannot be told from here",
		      look->is_seized ? "who was removing it" : "its holder", (int)who->pid,
		      who->host,
		      claim_owner_is_of_this_boot(who) ? " in another pid namespace" : "");
		break;
	}
}

static int judge(const struct nfslock_store *store, const char *lock_name,
		 struct nfslock_look *look, int64_t now)
{
	struct stat status;

	int result = find_record(store, look);
	if (result < 0)
		return result;
	/* Whoever removes a lock removes its record after it. */
	if (!*look->record && nfslock_is_at(store, lock_name, &look->key) == 0)
		return -ESTALE;
	if (look->is_seized || look->has_owner)
		judge_by_owner(look);
	else if (*look->record)
		stuck(look, "%s, which says who holds it, cannot be read" UNTOLD, look->record);
	else if (fstat(look->fd, &status) < 0)
		return -errno;
	else
		judge_by_text(look, &status, now);
	return 0;
}

int nfslock_look(const struct nfslock_store *store, const char *name, int64_t now,
		 struct nfslock_look *ret)
{
	char lock_name[NAME_MAX + 1];

	int result = nfslock_name(lock_name, name);
	if (result < 0)
		return result;
	/* An open asks the server, where a stat might not (nfs(5), "Data and
	 * metadata coherence"). */
	ret->fd = openat(store->dir_fd, lock_name,
			 O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (ret->fd >= 0)
		result = read_whole(store, name, ret);
	else if (errno != ENOENT)
		result = describe_unopened(store, lock_name, -errno, ret);
	if (result == 0 && ret->text)
		result = judge(store, lock_name, ret, now);
	/* Who waits must not keep it open: inotify(7) tells that a file is gone when
	 * nobody has it open any more, and a watch that was made while its name was
	 * being removed hears of nothing else. */
	if (ret->fd >= 0)
		close(TAKE_FD(ret->fd));
	if (result != -ESTALE)
		return result;
	/* It was removed while it was looked at; link(2) will tell what has the name
	 * now. */
	nfslock_look_end(ret);
	*ret = (struct nfslock_look)NFSLOCK_LOOK_NONE;
	return 0;
}

void nfslock_ask_server(const struct nfslock_store *store)
{
	int fd = store->is_local ? -1
				 : openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

int nfslock_is_at(const struct nfslock_store *store, const char *file,
		  const struct nfslock_key *key)
{
	struct stat status;

	nfslock_ask_server(store);
	if (fstatat(store->dir_fd, file, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ESTALE ? 0 : -errno;
	/* The number of an inode may be used again at once, for the next lock. */
	return status.st_dev == key->device && status.st_ino == key->inode &&
	       moment_of(&status.st_mtim) == key->modified;
}

void nfslock_look_end(struct nfslock_look *look)
{
	if (look->fd >= 0)
		close(TAKE_FD(look->fd));
	free(look->text);
	free(look->slot);
	nfslock_info_free(&look->info);
	look->text = NULL;
	look->slot = NULL;
}

int nfslock_stuck(const struct nfslock_store *store, const char *name,
		  const struct nfslock_look *look, int error)
{
	return failed(error,
		      "%s: not to be had: look at %s/%s" NFSLOCK_SUFFIX ": %s; if not, remove it: "
		      "relock unget --force %s",
		      name, store->path, name, look->why, name);
}
