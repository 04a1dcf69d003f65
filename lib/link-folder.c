/*
 * The folder of a store of claim files:
 *
 *	NAME                     a lock that is held
 *	NAME|HOST|PID|...        a claim: of its holder, or of one who tries
 *	.NAME|HOST|PID|...       the right to remove a lock, in somebody's hands (a
 *	                         holder that releases has it in its claim's next name)
 *	.NAME.relock             token, info, history
 *
 * Claims and rights of processes that were killed stay behind.  Those of processes
 * that are proven gone, and that are no lock's (they have one name), are removed
 * when a dead holder's lock is broken, and with old history: nobody will ever link
 * or unlink by them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "link-store.h"

static int open_folder(const struct link_store *store, DIR **ret)
{
	int fd = openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = fdopendir(fd);
	if (!*ret) {
		close_keeping_errno(fd);
		return -errno;
	}
	return 0;
}

static bool has_record(const struct link_store *store, const char *name)
{
	char file[NAME_MAX + 1];
	struct stat status;

	return link_record_name(file, name) &&
	       fstatat(store->dir_fd, file, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Each lock once: by its record, or by its lock file if it has none. */
static const char *name_of(const struct link_store *store, const struct dirent *entry,
			   char buffer[NAME_MAX + 1])
{
	const char *name = entry->d_name;

	if (link_record_is(name, buffer))
		name = buffer;
	else if (*name == '.' || strchr(name, '|') || has_record(store, name))
		return NULL;
	return name_check(name, false) == 0 ? name : NULL;
}

int link_each_name(relock_store *relock, int (*callback)(const char *name, void *argument),
		   void *argument)
{
	const struct link_store *store = link_store_of(relock);
	CLEANUP_CLOSEDIR DIR *dir = NULL;
	char buffer[NAME_MAX + 1];

	int result = open_folder(store, &dir);
	if (result < 0)
		return result;
	for (struct dirent *entry; (entry = readdir(dir));) {
		const char *name = name_of(store, entry, buffer);
		result = name ? callback(name, argument) : 0;
		if (result != 0)
			return result;
	}
	return 0;
}

/* A claim's or a right's name has that of its lock before the first bar. */
static bool is_left_behind(const struct link_store *store, const char *file)
{
	const char *claim = *file == '.' ? file + 1 : file, *bar = strchr(claim, '|');
	char name[NAME_MAX + 1];
	struct claim_owner owner;
	struct stat status;

	if (!bar)
		return false;
	snprintf(name, sizeof name, "%.*s", (int)(bar - claim), claim);
	return claim_name_read(claim, name, &owner) && claim_owner_life(&owner) == CLAIM_GONE &&
	       fstatat(store->dir_fd, file, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(status.st_mode) && status.st_nlink == 1;
}

void link_tidy(const struct link_store *store)
{
	CLEANUP_CLOSEDIR DIR *dir = NULL;

	if (open_folder(store, &dir) < 0)
		return;
	for (struct dirent *entry; (entry = readdir(dir));)
		if (is_left_behind(store, entry->d_name))
			unlinkat(store->dir_fd, entry->d_name, 0);
}

int link_find_right(const struct link_store *store, const char *name, const struct link_look *look,
		    char ret_right[NAME_MAX + 1], struct claim_owner *ret)
{
	CLEANUP_CLOSEDIR DIR *dir = NULL;

	int result = open_folder(store, &dir);
	if (result < 0)
		return result;
	for (struct dirent *entry; (entry = readdir(dir));) {
		const char *claim = entry->d_name + (*entry->d_name == '.');
		if (!claim_name_read(claim, name, ret) ||
		    claim_is_at(store->dir_fd, entry->d_name, look->device, look->inode) != 1)
			continue;
		snprintf(ret_right, NAME_MAX + 1, "%s", entry->d_name);
		return 0;
	}
	return -ENOENT;
}

/* At most once a minute. */
static void tidy_now_and_then(struct link_store *store)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	if (store->tidied && now - store->tidied < 60 * RELOCK_SECOND)
		return;
	store->tidied = now;
	link_tidy(store);
}

static int remove_record(const struct link_store *store, const char *name, int64_t age)
{
	char file[NAME_MAX + 1];

	if (!link_record_name(file, name) || !link_record_is_old(store, name, age))
		return 0;
	return unlinkat(store->dir_fd, file, 0) < 0 ? -errno : 1;
}

/* Under the lock, so that nobody is about to read the token. */
int link_prune(relock_store *relock, const char *name, int64_t age)
{
	struct link_store *store = link_store_of(relock);
	struct claim claim = CLAIM_NONE;
	struct claim_owner owner;
	char right[NAME_MAX + 1];

	tidy_now_and_then(store);
	if (!link_record_is_old(store, name, age))
		return 0;
	int result = (int)link_claim(store, name, NULL, &owner, &claim);
	if (result > 0)
		result = claim_set_time(&claim, claim.made + LINK_LIFETIME);
	if (result == 0)
		result = claim_name_write(right, ".", name, &owner);
	if (result == 0)
		result = claim_link(store->dir_fd, &claim, name);
	if (result < 0) {
		claim_remove(store->dir_fd, &claim);
		return result == -EEXIST ? 0 : result;
	}
	int removed = remove_record(store, name, age);
	close(TAKE_FD(claim.fd));
	result = claim_seize(store->dir_fd, claim.name, right, claim.device, claim.inode);
	if (result == 0)
		result = claim_unlock(store->dir_fd, name, claim.name, right, claim.device,
				      claim.inode);
	return result < 0 && result != -ENOENT && result != -ESTALE ? result : removed;
}
