/*
 * The table of requests, and those that are answered in a line.
 *
 * What has no entry here libfuse answers with ENOSYS, and the kernel does
 * something by itself from then on, without asking again: for FLUSH that is
 * what we want (see open.c), and for ACCESS too where everybody may do
 * everything.  Everything else that a program can ask for and
 * not have is refused by a plain error.
 */
#include <ask-mount.h>
#include <errno.h>
#include <fcntl.h>
#include <mount-look.h>
#include <unistd.h>

#include "grant.h"
#include "server.h"

int plain_error(int result)
{
	if (result >= 0)
		return 0;
	if (result == -ENOSYS)
		return -EOPNOTSUPP;
	return result == -ESTALE || result <= -512 ? -EIO : result;
}

static void init(void *argument, struct fuse_conn_info *connection)
{
	/* RELEASE is a background request.  If too many are under way the
	 * kernel keeps them back, and an O_NONBLOCK open that follows a close
	 * would still find the lock held. */
	connection->max_background = 65535;
	connection->congestion_threshold = 65535;
	/* Pipes for requests of a few bytes cost more than they save. */
	connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
					FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
	/* O_TRUNC comes with OPEN, where it means nothing: a grant starts out
	 * without info.  By itself it would come as a SETATTR that wipes the
	 * info of whoever holds the lock. */
	connection->want |= connection->capable & (unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
}

int holder_error(int result)
{
	return result == -ESTALE ? -ESTALE : plain_error(result);
}

static void write_info(fuse_req_t request, fuse_ino_t id, const char *bytes, size_t size,
		       off_t offset, struct fuse_file_info *info)
{
	struct mount *mount = &server_of(request)->mount;
	struct handle *handle = handle_of_id(mount, info->fh);
	/* What echo puts at the end is not part of the text. */
	size_t length = size > 0 && bytes[size - 1] == '\n' ? size - 1 : size;

	int result = handle ? grant_set_info(mount, handle, bytes, length) : -EBADF;
	if (result < 0)
		fuse_reply_err(request, -holder_error(result));
	else
		fuse_reply_write(request, size);
}

static void fsync_hold(fuse_req_t request, fuse_ino_t id, int data_only,
		       struct fuse_file_info *info)
{
	struct mount *mount = &server_of(request)->mount;
	struct handle *handle = handle_of_id(mount, info->fh);

	int result = handle ? grant_check(mount, handle) : -EBADF;
	/* -EPERM: it holds nothing, so there is nothing to lose. */
	fuse_reply_err(request, result == -EPERM ? 0 : -holder_error(result));
}

/* ftruncate(2) to 0 by the holder removes the info; the rest of what SETATTR
 * can do is not for users to decide. */
static void setattr(fuse_req_t request, fuse_ino_t id, struct stat *attributes, int to_set,
		    struct fuse_file_info *info)
{
	const int others = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
			   FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
			   FUSE_SET_ATTR_MTIME_NOW;
	struct mount *mount = &server_of(request)->mount;
	struct handle *handle = info ? handle_of_id(mount, info->fh) : NULL;
	int result;

	if (to_set & others || !(to_set & FUSE_SET_ATTR_SIZE) || !handle)
		result = -EPERM;
	else if (attributes->st_size != 0)
		result = -EINVAL;
	else
		result = grant_set_info(mount, handle, "", 0);
	if (result < 0)
		fuse_reply_err(request, -holder_error(result));
	else
		look_getattr(request, id, info);
}

/* access(2) and chdir(2): what would be answered to an open. */
static void check_access(fuse_req_t request, fuse_ino_t id, int mask)
{
	unsigned needed = (mask & R_OK ? MAY_SEE : 0U) | (mask & W_OK ? MAY_ACQUIRE : 0U);

	if (!server_of(request)->permissions.restricted)
		fuse_reply_err(request, ENOSYS);
	else if (mask & X_OK && permissions_of(request) == 0)
		fuse_reply_err(request, EACCES);
	else if (permissions_check(request, needed))
		fuse_reply_err(request, 0);
}

/* Those that librelock and the command ask by. */
static void take_ioctl(fuse_req_t request, fuse_ino_t id, unsigned command, void *argument,
		       struct fuse_file_info *info, unsigned flags, const void *bytes, size_t size,
		       size_t answer_size)
{
	if (command == MOUNT_LOOK)
		tell_ioctl(request, id, bytes, size, answer_size);
	else if (command == MOUNT_BREAK)
		break_ioctl(request, id, bytes, size);
	else
		fuse_reply_err(request, ENOTTY);
}

static void refuse_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
			 dev_t device)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_symlink(fuse_req_t request, const char *target, fuse_ino_t parent,
			   const char *name)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_link(fuse_req_t request, fuse_ino_t id, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_rename(fuse_req_t request, fuse_ino_t parent, const char *name,
			  fuse_ino_t new_parent, const char *new_name, unsigned flags)
{
	fuse_reply_err(request, EPERM);
}

static void refuse_fallocate(fuse_req_t request, fuse_ino_t id, int mode, off_t offset,
			     off_t length, struct fuse_file_info *info)
{
	fuse_reply_err(request, EOPNOTSUPP);
}

const struct fuse_lowlevel_ops operations = {
	.init = init,
	.lookup = look_lookup,
	.forget = look_forget,
	.forget_multi = look_forget_multi,
	.getattr = look_getattr,
	.access = check_access,
	.setattr = setattr,
	.open = open_open,
	.create = open_create,
	.release = open_release,
	.read = look_read,
	.write = write_info,
	.fsync = fsync_hold,
	.flock = open_flock,
	.getlk = open_getlk,
	.setlk = open_setlk,
	.poll = poll_poll,
	.opendir = list_opendir,
	.readdir = list_readdir,
	.releasedir = list_releasedir,
	.getxattr = attributes_get,
	.listxattr = attributes_list,
	.setxattr = attributes_set,
	.removexattr = attributes_remove,
	.unlink = break_unlink,
	.ioctl = take_ioctl,
	.mknod = refuse_mknod,
	.mkdir = refuse_mkdir,
	.rmdir = refuse_rmdir,
	.symlink = refuse_symlink,
	.link = refuse_link,
	.rename = refuse_rename,
	.fallocate = refuse_fallocate,
};
