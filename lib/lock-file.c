/*
 * A lock on a file that others may remove, replace, or fill with anything.
 *
 * The rules, each of which has cost some lock library a second holder:
 *
 *  - A file is opened without O_CREAT first: in a sticky, world-writable folder
 *    fs.protected_regular refuses O_CREAT on another user's existing file.  A
 *    new file gets its name when it is complete, mode 0666 whatever the umask:
 *    O_TMPFILE, fchmod, linkat.
 *  - Once locked, the name must still lead to the file, or somebody has
 *    removed or replaced it between the open and the lock: start over.
 *    Nobody of ours removes a file but under its lock.
 *  - O_NOFOLLOW; only regular files; never a write into a file that has other
 *    contents, or another name.
 *
 * What an uncontended pair costs is counted in system calls, so:
 *
 *    acquire   F_OFD_SETLK     the lock
 *              fstat           of the folder: has anything in it changed?
 *              pread           whose file is it, and the last token
 *              pwrite          record, empty end, info
 *    release   pwrite          the end
 *              F_OFD_SETLK     the lock
 *              F_GETFL         had somebody broken it?
 *
 * Who breaks a lock sets O_APPEND on the holder's open file description, by a
 * duplicate of its descriptor, before it unlocks it: the holder's next look at
 * its flags shows it, and a write of the holder that is under way already goes
 * to the end of the file (pwrite(2), "BUGS") instead of over the next
 * holder's record.
 */
#include "lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "orphan.h"
#include "process.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Opening */

/*
 * Who can rename or remove a lock file can make two of one lock.  That is
 * anybody who may write in the folder, unless it is sticky; and its owner
 * always.
 */
static int check_folder(int fd, const char *path)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return failed(-EPERM,
			      "%s: the folder belongs to user %u, who could swap the lock files "
			      "in it; use one that is yours or root's",
			      path, (unsigned)status.st_uid);
	if (status.st_mode & S_IWOTH && !(status.st_mode & S_ISVTX))
		return failed(-EPERM,
			      "%s: everybody may rename what is in the folder; chmod +t it, or use "
			      "one for a single group",
			      path);
	return 0;
}

static bool stamps_are_exact(int dir_fd)
{
	struct statfs status;

	if (fstatfs(dir_fd, &status) < 0)
		return false;
	switch ((unsigned long)status.f_type) {
	case TMPFS_MAGIC:
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
		return true;
	default:
		return false; /* a network file system keeps them in a cache */
	}
}

int lock_file_store_open(relock_store *store, const char *rest, bool any_folder,
			 const struct lock_primitive *primitive)
{
	struct file_store *file_store = file_store_of(store);
	/* A folder of the user's own choice is found as any path is. */
	int follow = any_folder ? 0 : O_NOFOLLOW;

	CLEANUP_CLOSE int fd = open(rest, O_PATH | O_DIRECTORY | O_CLOEXEC | follow);
	if (fd < 0 && errno == ENOTDIR) {
		struct stat status;
		if (lstat(rest, &status) == 0 && S_ISLNK(status.st_mode) && !any_folder)
			return failed(-ELOOP, "%s: a symbolic link; name the folder itself", rest);
		return failed(-ENOTDIR, "%s: not a folder", rest);
	}
	if (fd < 0 && errno == ENOENT)
		return failed(-ENOENT, "%s: no such folder; make it first", rest);
	if (fd < 0)
		return failed(-errno, "%s: %s", rest, strerrordesc_np(errno));
	if (!any_folder) {
		int result = check_folder(fd, rest);
		if (result < 0)
			return result;
	}
	file_store->stamps = stamps_are_exact(fd);
	file_store->any_folder = any_folder;
	file_store->primitive = primitive;
	file_store->dir_fd = TAKE_FD(fd);
	return 0;
}

void lock_file_store_close(relock_store *store)
{
	close(file_store_of(store)->dir_fd);
}

int lock_file_lock_open(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	file->fd = -1;
	file->image = calloc(1, SLOT_INFO_OFFSET);
	if (!file->image)
		return -ENOMEM;
	/* Numbers of holds need not be secret, only differ. */
	if (getrandom(&file->next_hold, sizeof file->next_hold, GRND_NONBLOCK) < 0)
		file->next_hold = (uint64_t)moment_now() ^ (uint64_t)(uintptr_t)file << 20;
	return 0;
}

static void close_file(struct file_lock *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	file->mode = HOLD_NONE;
	file->recorded = false;
	file->plain = false; /* the descriptor's number is in the record */
	file->stamped = false;
}

void lock_file_forget(relock_lock *lock)
{
	close_file(file_lock_of(lock));
}

void lock_file_lock_close(relock_lock *lock)
{
	close_file(file_lock_of(lock));
	free(file_lock_of(lock)->image);
}

static int explain_open_error(const char *name, int error)
{
	switch (error) {
	case -ELOOP:
		return failed(error, "%s: the lock file is a symbolic link", name);
	case -EISDIR:
		return failed(error, "%s: a folder, which cannot be locked for writing", name);
	case -EACCES:
		return failed(error, "%s: no permission to write the lock file", name);
	case -EROFS:
		return failed(error, "%s: the lock file is on a read-only file system", name);
	case -EMFILE:
		return failed(error,
			      "%s: this process has all the descriptors it may have "
			      "(ulimit -n)",
			      name);
	default:
		return error;
	}
}

int lock_file_open_existing(const struct file_store *store, const char *name, int *ret_fd,
			    bool *ret_writable, struct stat *ret_status)
{
	/* O_NONBLOCK: a FIFO must not stop us before it is refused. */
	const int flags = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	bool writable = true;

	CLEANUP_CLOSE int fd = openat(store->dir_fd, name, O_RDWR | flags);
	if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM || errno == ETXTBSY)) {
		int error = -errno;
		writable = false;
		fd = openat(store->dir_fd, name, O_RDONLY | flags);
		if (fd < 0)
			return explain_open_error(name, error);
	}
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : explain_open_error(name, -errno);
	if (fstat(fd, ret_status) < 0)
		return -errno;
	if (S_ISDIR(ret_status->st_mode))
		return explain_open_error(name, -EISDIR);
	if (!S_ISREG(ret_status->st_mode))
		return failed(-EBADF, "%s: not a regular file, which a lock file has to be", name);
	*ret_fd = TAKE_FD(fd);
	*ret_writable = writable;
	return 0;
}

int lock_file_create(const struct file_store *store, const char *name, int *ret_fd)
{
	CLEANUP_CLOSE int fd = openat(store->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);

	if (fd >= 0 && fchmod(fd, 0666) == 0) {
		char path[32];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (linkat(AT_FDCWD, path, store->dir_fd, name, AT_SYMLINK_FOLLOW) == 0) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
		if (errno != ENOENT) /* /proc is not mounted */
			return -errno;
		close(TAKE_FD(fd));
	} else if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL) {
		return -errno;
	}
	fd = openat(store->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void prune_daily(relock_store *store);

/* A new file is opened again by its name: the kernel shows the descriptor that
 * made it without one, and orphan_find() goes by names. */
static int open_or_create(relock_lock *lock, int *ret_fd, bool *ret_writable,
			  struct stat *ret_status)
{
	const struct file_store *store = file_store_of(lock->store);
	int result;

	while ((result = lock_file_open_existing(store, lock->name, ret_fd, ret_writable,
						 ret_status)) == -ENOENT) {
		CLEANUP_CLOSE int created = -1;
		result = lock_file_create(store, lock->name, &created);
		if (result == -ENOENT)
			return failed(result, "%s: the folder of %s was removed", lock->name,
				      lock->store->url);
		if (result < 0 && result != -EEXIST)
			return failed(result, "%s: the lock file cannot be made in %s: %s",
				      lock->name, lock->store->url, strerrordesc_np(-result));
		if (result == 0)
			prune_daily(lock->store);
	}
	return result;
}

static int open_file(relock_lock *lock, enum hold_mode mode)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	CLEANUP_CLOSE int fd = -1;
	struct stat status;

	int result = open_or_create(lock, &fd, &file->writable, &status);
	if (result < 0)
		return result;
	if (mode == HOLD_EXCLUSIVE && store->primitive->writes && !file->writable) {
		bool read_only =
		    faccessat(store->dir_fd, lock->name, W_OK, AT_EACCESS) < 0 && errno == EROFS;
		return explain_open_error(lock->name, read_only ? -EROFS : -EACCES);
	}
	/* Reading the last token would set the time of access each time; who
	 * does not own the file may not ask for less. */
	(void)fcntl(fd, F_SETFL, O_NOATIME);
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->linked = status.st_nlink > 1;
	file->strange = true;
	file->plain = false;
	file->stamped = false;
	file->uid = geteuid();
	file->fd = TAKE_FD(fd);
	return 0;
}

/* The name */

/*
 * Does the name still lead to the locked file?  Every change of an entry sets
 * the folder's times, so if they are those of the last look, the answer is
 * that of the last look, and one fstat of a folder costs half a walk along a
 * path.  Times count in ticks of up to 10 ms on some kernels: a folder that
 * had changed within the last ticks when its times were read may change again
 * without a difference; such times are not kept (git calls this "racy").
 */
static int entry_is_ours(const struct file_store *store, struct file_lock *file, const char *name)
{
	const int64_t racy = 50 * RELOCK_MILLISECOND;
	struct stat folder, entry;

	/* glibc's fstat() is newfstatat() with an empty path, and slower. */
	if (syscall(SYS_fstat, store->dir_fd, &folder) < 0)
		return -errno;
	if (file->stamped &&
	    memcmp(&file->stamp.modified, &folder.st_mtim, sizeof(struct timespec)) == 0 &&
	    memcmp(&file->stamp.changed, &folder.st_ctim, sizeof(struct timespec)) == 0)
		return 1;
	if (fstatat(store->dir_fd, name, &entry, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (entry.st_dev != file->device || entry.st_ino != file->inode)
		return 0;
	int64_t modified = folder.st_mtim.tv_sec * RELOCK_SECOND + folder.st_mtim.tv_nsec;
	int64_t changed = folder.st_ctim.tv_sec * RELOCK_SECOND + folder.st_ctim.tv_nsec;
	int64_t now = moment_now();
	file->linked = entry.st_nlink > 1;
	file->stamped = store->stamps && now - modified > racy && now - changed > racy;
	file->stamp = (struct stamp){folder.st_mtim, folder.st_ctim};
	return 1;
}

/* The record */

/* Cut to what there is room for. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = from ? strnlen(from, size - 1) : 0;

	if (length)
		memcpy(to, from, length);
	to[length] = '\0';
}

static void describe_holder(struct record *record, const struct grant *grant, uid_t uid)
{
	const struct self *self = process_self();
	const struct relock_on_behalf *other = grant->on_behalf;

	record->pid_namespace = self->pid_namespace;
	memcpy(record->boot_id, self->boot_id, sizeof record->boot_id);
	copy_text(record->host, sizeof record->host, self->host);
	if (!other) {
		record->pid = self->pid;
		record->start_time = self->start_time;
		record->uid = uid;
		copy_text(record->command, sizeof record->command,
			  grant->command ? grant->command : self->command);
		return;
	}
	record->pid = other->pid;
	record->start_time = other->start_time;
	record->uid = other->uid;
	record->via = other->via;
	record->via_pid = self->pid;
	record->via_start_time = self->start_time;
	copy_text(record->command, sizeof record->command,
		  grant->command ? grant->command : other->command);
	copy_text(record->via_path, sizeof record->via_path, other->path);
}

static int draw_image(struct file_lock *file, const struct grant *grant, enum hold_mode mode)
{
	bool plain = !grant->info_length && !grant->command && !grant->on_behalf;

	if (plain && file->plain && file->image->record.mode == (uint32_t)mode)
		return 0;
	struct slot *image = realloc(file->image, SLOT_INFO_OFFSET + grant->info_length);
	if (!image)
		return -ENOMEM;
	file->image = image;
	memset(image, 0, SLOT_INFO_OFFSET);
	image->record.magic = RECORD_MAGIC;
	image->record.fd = file->fd;
	image->record.mode = mode;
	image->record.info_length = (uint32_t)grant->info_length;
	describe_holder(&image->record, grant, file->uid);
	if (grant->info_length)
		memcpy(image->info, grant->info, grant->info_length);
	file->constant_sum = record_constant_sum(&image->record, image->info);
	file->plain = plain;
	return 0;
}

int lock_file_write_record(struct file_lock *file)
{
	struct record *record = &file->image->record;
	size_t length = SLOT_INFO_OFFSET + record->info_length;

	record->checksum = record_checksum(record, file->constant_sum);
	ssize_t written = pwrite(file->fd, file->image, length, slot_offset(file->slot));
	if (written == (ssize_t)length)
		return 0;
	int error = written < 0 ? -errno : -ENOSPC;
	debug("record not written: %s", strerrorname_np(-error));
	return error;
}

int lock_file_write_end(int fd, size_t slot, uint64_t hold, enum relock_end how)
{
	struct record_end end = {.hold = hold, .when = moment_now(), .how = how};

	if (how == RELOCK_END_BROKEN) {
		const struct self *self = process_self();
		end.by_pid = self->pid;
		end.by_uid = geteuid();
		copy_text(end.by_command, sizeof end.by_command, self->command);
	}
	end.checksum = record_end_checksum(&end);
	ssize_t written = pwrite(fd, &end, sizeof end, slot_offset(slot) + SLOT_END_OFFSET);
	return written == sizeof end ? 0 : written < 0 ? -errno : -ENOSPC;
}

enum owner { NOBODY, OURS, FOREIGN };

/* Whose file is it?  To be called by its exclusive holder. */
static enum owner peek(int fd, uint64_t *ret_token)
{
	struct {
		uint64_t magic, token;
	} head = {0};
	const uint64_t magic = RECORD_MAGIC;

	ssize_t length = pread(fd, &head, sizeof head, 0);
	if (length < 0)
		return FOREIGN;
	*ret_token = head.token <= RECORD_TOKEN_MAX && length == sizeof head ? head.token : 0;
	if (length == 0)
		return NOBODY;
	size_t known = (size_t)length < sizeof magic ? (size_t)length : sizeof magic;
	return memcmp(&head.magic, &magic, known) == 0 ? OURS : FOREIGN;
}

static void number_hold(struct file_lock *file, int64_t now)
{
	file->image->record.hold = ++file->next_hold;
	file->image->record.since = now;
}

/* Records an exclusive hold.  A lock is as good without its record. */
static void record_exclusive(struct file_lock *file)
{
	int64_t now = moment_now();
	uint64_t last = 0;

	file->slot = 0;
	file->recorded = false;
	if (!file->writable || file->linked || peek(file->fd, &last) == FOREIGN) {
		debug("not recorded: the file is read-only, linked, or has other contents");
		return;
	}
	uint64_t now_token = (uint64_t)(now / 1000);
	file->image->record.token = last + 1 > now_token ? last + 1 : now_token;
	number_hold(file, now);
	file->recorded = lock_file_write_record(file) == 0;
}

static void record_shared(const struct file_store *store, struct file_lock *file)
{
	file->recorded = false;
	file->image->record.token = 0;
	number_hold(file, moment_now());
	if (file->writable && !file->linked)
		lock_file_claim_slot(store->primitive, file);
}

/* Acquiring and the rest */

static int set_mode(const struct lock_primitive *primitive, struct file_lock *file,
		    enum hold_mode mode, const struct grant *grant)
{
	int result;

	if (grant->deadline == AT_ONCE)
		result = primitive->wait.set(file->fd, &mode, false);
	else
		result = wait_for(&primitive->wait, file->fd, &mode, &file->mode, grant->deadline,
				  grant->cancel_state);
	if (result == 0)
		file->mode = mode;
	return result;
}

/* Nobody holds a file that had this name before.  To be asked with the lock;
 * for a file that has been ours, the answer is in its record. */
static int no_orphan(relock_lock *lock, enum hold_mode mode, const struct grant *grant)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	const enum hold_mode none = HOLD_NONE;
	CLEANUP_CLOSE int orphan = -1;
	uint64_t token;

	if (!file->strange || peek(file->fd, &token) == OURS ||
	    orphan_find(store, lock->name, file, &orphan) < 0) {
		file->strange = false;
		return 0;
	}
	int result = grant->deadline == AT_ONCE
			 ? store->primitive->wait.set(orphan, &mode, false)
			 : wait_for(&store->primitive->wait, orphan, &mode, &none, grant->deadline,
				    grant->cancel_state);
	if (result == 0)
		file->strange = false;
	return result;
}

int lock_file_acquire(relock_lock *lock, const struct grant *grant)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	enum hold_mode mode = grant->mode == RELOCK_SHARED ? HOLD_SHARED : HOLD_EXCLUSIVE;
	int result;

	for (;;) {
		bool writes = mode == HOLD_EXCLUSIVE && store->primitive->writes;
		if (file->fd >= 0 && writes && !file->writable)
			close_file(file);
		if (file->fd < 0) {
			result = open_file(lock, mode);
			if (result < 0)
				return result;
		}
		result = set_mode(store->primitive, file, mode, grant);
		if (result < 0)
			return result;
		result = entry_is_ours(store, file, lock->name);
		if (result == 1) {
			result = no_orphan(lock, mode, grant);
			if (result == 0)
				break;
		}
		close_file(file); /* and with it the lock */
		if (result < 0)
			return result;
	}
	result = draw_image(file, grant, mode);
	if (result < 0) {
		close_file(file);
		return result;
	}
	if (mode == HOLD_EXCLUSIVE)
		record_exclusive(file);
	else
		record_shared(store, file);
	if (grant->flags & RELOCK_INHERIT)
		fcntl(file->fd, F_SETFD, 0);
	if (store->primitive->granted)
		store->primitive->granted(lock);
	return 0;
}

static int check_broken(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);
	int flags = fcntl(file->fd, F_GETFL);

	if (flags >= 0 && !(flags & O_APPEND))
		return 0;
	/* Unlocked already; another process may have the description too. */
	close_file(file);
	return failed(-ESTALE, "%s: the lock was broken by somebody else", lock->name);
}

/* Whoever removes the file under its holder breaks the lock, too: the next
 * holder will make another file. */
int lock_file_check(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0 || entry_is_ours(file_store_of(lock->store), file, lock->name) != 0)
		return result;
	close_file(file);
	return failed(-ESTALE, "%s: the lock file was removed or replaced by somebody else",
		      lock->name);
}

int lock_file_release(relock_lock *lock)
{
	const struct lock_primitive *primitive = file_store_of(lock->store)->primitive;
	struct file_lock *file = file_lock_of(lock);
	const enum hold_mode none = HOLD_NONE;

	if (file->recorded)
		lock_file_write_end(file->fd, file->slot, file->image->record.hold,
				    RELOCK_END_RELEASED);
	if (primitive->before_release) {
		int result = check_broken(lock);
		if (result < 0)
			return result;
		primitive->before_release(lock);
	}
	if (lock->flags & RELOCK_INHERIT)
		fcntl(file->fd, F_SETFD, FD_CLOEXEC);
	if (primitive->wait.set(file->fd, &none, false) < 0) {
		close_file(file);
		return 0; /* closing releases, too */
	}
	file->mode = HOLD_NONE;
	file->recorded = false;
	/* After the unlock: a mark that comes later finds nothing held, and is
	 * taken back; one that stayed would meet the next hold. */
	return check_broken(lock);
}

/* The kernel counts who has the open file description; the record says that
 * we have gone, which matters once nobody has it. */
int lock_file_leave(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	if (file->recorded)
		lock_file_write_end(file->fd, file->slot, file->image->record.hold,
				    RELOCK_END_RELEASED);
	close_file(file);
	return 0;
}

/* A shared hold became exclusive, or the other way round: its record moves. */
static void record_conversion(struct file_lock *file, enum hold_mode mode)
{
	size_t old_slot = file->slot;
	uint64_t old_hold = file->image->record.hold;
	bool was_recorded = file->recorded;

	file->image->record.mode = mode;
	file->constant_sum = record_constant_sum(&file->image->record, file->image->info);
	if (mode == HOLD_EXCLUSIVE) {
		record_exclusive(file);
		if (was_recorded && old_slot != 0)
			lock_file_write_end(file->fd, old_slot, old_hold, RELOCK_END_RELEASED);
	} else if (was_recorded) {
		file->recorded = lock_file_write_record(file) == 0;
	}
}

int lock_file_convert(relock_lock *lock, const struct grant *grant)
{
	const struct lock_primitive *primitive = file_store_of(lock->store)->primitive;
	struct file_lock *file = file_lock_of(lock);

	if (grant->mode == RELOCK_SHARED) {
		/* Slot 0 belongs to whoever holds exclusively: write first. */
		record_conversion(file, HOLD_SHARED);
		return set_mode(primitive, file, HOLD_SHARED, grant);
	}
	if (primitive->writes && !file->writable)
		return explain_open_error(lock->name, -EACCES);
	int result = set_mode(primitive, file, HOLD_EXCLUSIVE, grant);
	if (result == 0) {
		record_conversion(file, HOLD_EXCLUSIVE);
		return 0;
	}
	/* flock(2) gives the shared lock up before it tries the other. */
	const enum hold_mode shared = HOLD_SHARED;
	if (primitive->wait.set(file->fd, &shared, false) == 0)
		return result;
	close_file(file);
	return failed(-ESTALE, "%s: lost to another while changing its mode", lock->name);
}

int lock_file_pass(relock_lock *lock, const struct grant *grant)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	result = draw_image(file, grant, file->mode);
	if (result < 0)
		return result;
	if (file->mode == HOLD_EXCLUSIVE) {
		record_exclusive(file);
	} else if (file->recorded) {
		number_hold(file, moment_now());
		file->recorded = lock_file_write_record(file) == 0;
	}
	return 0;
}

int lock_file_set_info(relock_lock *lock, const void *info, size_t length)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	if (!file->recorded)
		return failed(-ENODATA, "%s: the lock file cannot be written to", lock->name);
	struct slot *old = file->image;
	uint64_t old_sum = file->constant_sum;
	CLEANUP_FREE struct slot *image = malloc(SLOT_INFO_OFFSET + length);
	if (!image)
		return -ENOMEM;
	memcpy(image, old, SLOT_INFO_OFFSET);
	if (length)
		memcpy(image->info, info, length);
	image->record.info_length = (uint32_t)length;
	file->image = image;
	file->constant_sum = record_constant_sum(&image->record, image->info);
	result = lock_file_write_record(file);
	if (result < 0) {
		file->image = old;
		file->constant_sum = old_sum;
		file->recorded = lock_file_write_record(file) == 0;
		return result;
	}
	file->plain = false;
	image = old; /* to be freed */
	return 0;
}

int lock_file_token(const relock_lock *lock, uint64_t *ret)
{
	const struct file_lock *file = file_lock_of(lock);

	if (!file->recorded)
		return failed(
		    -ENODATA,
		    "%s: its token could not be kept in the lock file, and so is not sure "
		    "to grow",
		    lock->name);
	*ret = file->image->record.token;
	return 0;
}

int lock_file_fd(const relock_lock *lock)
{
	return file_lock_of(lock)->fd;
}

static int prune_one(const char *name, void *argument)
{
	lock_file_prune(argument, name, RELOCK_HISTORY_AGE);
	return 0;
}

/* Once a day, by whoever makes a file then; a file without a lock's name keeps
 * the date. */
static void prune_daily(relock_store *store)
{
	static const char marker[] = ".pruned";
	const struct file_store *file_store = file_store_of(store);
	CLEANUP_CLOSE int fd = -1;
	struct stat status;

	if (file_store->any_folder) /* there may be anything in it */
		return;
	if (fstatat(file_store->dir_fd, marker, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		if (moment_now() / RELOCK_SECOND - status.st_mtim.tv_sec < 24 * 3600)
			return;
		if (utimensat(file_store->dir_fd, marker, NULL, AT_SYMLINK_NOFOLLOW) < 0)
			return;
	} else if (lock_file_create(file_store, marker, &fd) < 0) {
		return;
	}
	lock_file_each_name(store, prune_one, store);
}
