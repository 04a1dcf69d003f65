/*
 * The names in the folder: which are locks, and what processes that are gone have
 * left there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "nfslock.h"
#include "process.h"

#define HISTORY_SUFFIX ".relock"

static DIR *open_folder(const struct nfslock_store *store)
{
	CLEANUP_CLOSE int fd = openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (dir)
		fd = -1;
	return dir;
}

static bool ends_with(const char *text, const char *suffix, size_t *ret_length)
{
	size_t length = strlen(text), ending = strlen(suffix);

	if (length <= ending || strcmp(text + length - ending, suffix) != 0)
		return false;
	*ret_length = length - ending;
	return true;
}

/* The lock that an entry is of.  A lock with a history is found by that. */
static bool lock_of_entry(const struct nfslock_store *store, const char *entry,
			  char ret[NAME_MAX + 1])
{
	char history[NAME_MAX + 1];
	size_t length;

	if (*entry == '.' && ends_with(entry + 1, HISTORY_SUFFIX, &length)) {
		memcpy(ret, entry + 1, length);
		ret[length] = '\0';
		return name_check(ret, false) == 0;
	}
	if (*entry == '.' || !ends_with(entry, NFSLOCK_SUFFIX, &length))
		return false;
	memcpy(ret, entry, length);
	ret[length] = '\0';
	return name_check(ret, false) == 0 && nfslock_history_name(history, ret) &&
	       faccessat(store->dir_fd, history, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

int nfslock_each_name(relock_store *relock, int (*callback)(const char *name, void *argument),
		      void *argument)
{
	const struct nfslock_store *store = nfslock_store_of(relock);
	CLEANUP_CLOSEDIR DIR *dir = open_folder(store);
	char name[NAME_MAX + 1];
	int result = 0;

	if (!dir)
		return -errno;
	for (struct dirent *entry; result == 0 && (entry = readdir(dir));)
		if (lock_of_entry(store, entry->d_name, name))
			result = callback(name, argument);
	message_begin(); /* of names that are none */
	return result;
}

int nfslock_find_right(const struct nfslock_store *store, const struct nfslock_key *key,
		       char ret_name[NAME_MAX + 1], struct claim_owner *ret_remover)
{
	CLEANUP_CLOSEDIR DIR *dir = open_folder(store);
	char record[NAME_MAX + 1];

	if (!dir)
		return -errno;
	nfslock_record_name(record, key);
	size_t length = strlen(record);
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (strncmp(entry->d_name, record, length) != 0 || entry->d_name[length] != '.' ||
		    !claim_name_read(entry->d_name + length + 1, "r", ret_remover))
			continue;
		strcpy(ret_name, entry->d_name);
		return 0;
	}
	return -ENOENT;
}

/* What the dead have left */

static bool owner_is_gone(const struct nfslock_store *store, const char *entry)
{
	CLEANUP_FREE struct slot *slot = NULL;
	struct claim_owner owner;
	bool has_owner = false;

	return nfslock_record_read(store->dir_fd, entry, &has_owner, &owner, &slot) == 0 &&
	       has_owner && claim_owner_life(&owner) == CLAIM_GONE;
}

/* A claim that has not become a lock says who made it, as a lock does. */
static bool claimant_is_gone(const struct nfslock_store *store, const char *entry)
{
	struct nfslock_info info = {0};
	char text[16384];
	CLEANUP_CLOSE int fd = openat(store->dir_fd, entry,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
	if (length <= 0 || nfslock_info_read(text, (size_t)length, &info) < 0)
		return false;
	bool is_gone = strcmp(info.host, process_self()->host) == 0 && store->is_local &&
		       process_is_proven_gone(info.pid, 0);
	nfslock_info_free(&info);
	return is_gone;
}

/* Of several names it is the record of the present or last hold. */
static bool is_left_over(const struct nfslock_store *store, const char *entry, int64_t now)
{
	struct stat status;

	if (fstatat(store->dir_fd, entry, &status, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISREG(status.st_mode))
		return false;
	bool is_claim = strncmp(entry, ".relock-new-", strlen(".relock-new-")) == 0;
	if (!is_claim && status.st_nlink > 1)
		return false;
	if (now - status.st_ctim.tv_sec * RELOCK_SECOND > RELOCK_HISTORY_AGE)
		return true;
	/* Who is removing a lock right now has the record under another name. */
	if (!is_claim && strchr(entry, '|'))
		return false;
	return is_claim ? claimant_is_gone(store, entry) : owner_is_gone(store, entry);
}

void nfslock_tidy(const struct nfslock_store *store, int64_t now)
{
	CLEANUP_CLOSEDIR DIR *dir = open_folder(store);
	size_t length;

	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (strncmp(entry->d_name, ".relock-", strlen(".relock-")) == 0 &&
		    !ends_with(entry->d_name, HISTORY_SUFFIX, &length) &&
		    is_left_over(store, entry->d_name, now))
			unlinkat(store->dir_fd, entry->d_name, 0);
}
