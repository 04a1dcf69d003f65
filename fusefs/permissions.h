/*
 * Who may see the locks of a mount, and who may acquire them: -o uid=, gid= and
 * mode=.
 *
 * The mode is that of the lock files: r stands for seeing (listing, reading),
 * w for acquiring (opening for writing, flock, rm), for the user, the group and
 * the others.  They are compared with the user and the group of the mount, not
 * with those that a lock file shows, which are its holder's.  x has no meaning
 * and is left out: mode=0770, as for the folder, is the same as mode=0660.
 *
 * The kernel is not let check this (default_permissions is off): it would
 * compare with the holder, and with a sticky bit it would refuse O_CREAT even to
 * root.  So each request that needs a right asks here.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct fuse_req;

struct permissions {
	uid_t uid; /* of the mount's folder */
	gid_t gid;
	bool restricted; /* by the mode; else everybody may do both */
	mode_t mode;
};

/* What mount options say; NULL: not given, then the daemon's own user and group,
 * and no restriction.  -EINVAL for a bad value, of which it has said so. */
int permissions_parse(struct permissions *ret, const char *uid, const char *gid, const char *mode);

enum { MAY_SEE = 4, MAY_ACQUIRE = 2 };

/* What the sender of the request may do. */
unsigned permissions_of(struct fuse_req *request);

/* Whether that is all of `needed`; if not, the request is answered EACCES. */
bool permissions_check(struct fuse_req *request, unsigned needed);

/* The modes to show: of the folder, where r and w are of use only with x, and of
 * a file in it. */
mode_t permissions_folder_mode(const struct permissions *permissions);
mode_t permissions_file_mode(const struct permissions *permissions);
