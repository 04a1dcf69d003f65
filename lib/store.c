/*
 * Stores by URL, and which is the default.
 */
#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cancellation.h"
#include "cleanup.h"
#include "message.h"

static const struct store_operations *const schemes[] = {
	&store_ofd, &store_flock, &store_sem, &store_link, &store_nfslock,
};

enum { SCHEME_COUNT = sizeof schemes / sizeof *schemes };

static int unknown_scheme(const char *url, size_t length)
{
	char known[128] = "";

	for (size_t i = 0; i < SCHEME_COUNT; i++) {
		size_t used = strlen(known);
		snprintf(known + used, sizeof known - used, "%s%s:", i ? ", " : "",
			 schemes[i]->scheme);
	}
	return failed(-EPROTONOSUPPORT, "%s: no store of the kind '%.*s:' in this build, only %s",
		      url, (int)length, url, known);
}

static int find_scheme(const char *url, const struct store_operations **ret, const char **ret_rest)
{
	size_t length = strcspn(url, ":");

	if (url[length] == '\0')
		return failed(-EINVAL, "%s: not a store; one looks like ofd:/run/relock", url);
	for (size_t i = 0; i < SCHEME_COUNT; i++) {
		if (strlen(schemes[i]->scheme) != length ||
		    strncmp(schemes[i]->scheme, url, length) != 0)
			continue;
		if (url[length + 1] == '\0' && !schemes[i]->is_whole)
			return failed(-EINVAL, "%s: what follows the colon is missing", url);
		*ret = schemes[i];
		*ret_rest = url + length + 1;
		return 0;
	}
	return unknown_scheme(url, length);
}

static int open_url(relock_store **ret, const char *url, bool any_folder)
{
	const struct store_operations *operations = NULL;
	const char *rest = NULL;

	int result = find_scheme(url, &operations, &rest);
	if (result < 0)
		return result;
	CLEANUP_FREE relock_store *store = calloc(1, sizeof *store + operations->store_size);
	CLEANUP_FREE char *copy = strdup(url);
	if (!store || !copy)
		return -ENOMEM;
	store->operations = operations;
	result = operations->open(store, rest, any_folder);
	if (result < 0)
		return result;
	store->url = TAKE_POINTER(copy);
	*ret = TAKE_POINTER(store);
	return 0;
}

int store_open(relock_store **ret, const char *url, bool any_folder)
{
	CLEANUP_FREE char *chosen = NULL;

	if (!url) {
		int result = relock_store_default(&chosen, NULL);
		if (result < 0)
			return result;
		url = chosen;
	}
	return message_end(open_url(ret, url, any_folder), url);
}

int relock_store_open(relock_store **ret, const char *url)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return store_open(ret, url, false);
}

void relock_store_close(relock_store *store)
{
	WITHOUT_CANCELLATION;

	if (!store)
		return;
	store->operations->close(store);
	free(store->url);
	free(store);
}

const char *relock_store_url(const relock_store *store)
{
	return store->url;
}

/* The default */

#define SYSTEM_FOLDER "/run/relock"

static int own_folder_state(const char *path)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return -errno;
	if (S_ISDIR(status.st_mode) && status.st_uid == geteuid() &&
	    (status.st_mode & 07777) == 0700)
		return 0;
	return failed(-EPERM,
		      "%s: exists, but is not a folder of yours with mode 0700; remove it, or set "
		      "RELOCK_STORE",
		      path);
}

/* What root does at its first use, tmpfiles.d does at boot. */
static void make_system_folder(void)
{
	if (geteuid() == 0 && mkdir(SYSTEM_FOLDER, 0755) == 0)
		(void)!chmod(SYSTEM_FOLDER, 01777);
}

static int choose(const char *own, const char **ret_folder, const char **ret_why)
{
	struct stat status;

	int result = own_folder_state(own);
	if (result == 0) {
		*ret_folder = own;
		*ret_why = "your own folder exists already, and holders may use it";
		return 0;
	}
	if (result != -ENOENT)
		return result;
	make_system_folder();
	if (lstat(SYSTEM_FOLDER, &status) == 0 && S_ISDIR(status.st_mode)) {
		*ret_folder = SYSTEM_FOLDER;
		*ret_why = "one namespace for root and all users";
		return 0;
	}
	if (mkdir(own, 0700) < 0 && errno != EEXIST)
		return failed(-errno, "%s: cannot be made: %s; set RELOCK_STORE", own,
			      strerrordesc_np(errno));
	*ret_folder = own;
	*ret_why = "there is no " SYSTEM_FOLDER ", which root or tmpfiles.d would make";
	return own_folder_state(own);
}

static int give(char **ret_url, char **ret_why, const char *scheme, const char *rest,
		const char *why)
{
	CLEANUP_FREE char *url = NULL;
	CLEANUP_FREE char *why_copy = strdup(why);

	if (asprintf(&url, "%s%s", scheme, rest) < 0) {
		url = NULL;
		return -ENOMEM;
	}
	if (!why_copy)
		return -ENOMEM;
	*ret_url = TAKE_POINTER(url);
	if (ret_why)
		*ret_why = TAKE_POINTER(why_copy);
	return 0;
}

int relock_store_default(char **ret_url, char **ret_why)
{
	WITHOUT_CANCELLATION;
	const char *set = secure_getenv("RELOCK_STORE");
	const char *folder = NULL, *why = NULL;
	char own[64];

	if (set && *set)
		return give(ret_url, ret_why, "", set, "RELOCK_STORE says so");
	snprintf(own, sizeof own, "/tmp/relock-%u", (unsigned)geteuid());
	int result = choose(own, &folder, &why);
	return result < 0 ? result : give(ret_url, ret_why, "ofd:", folder, why);
}
