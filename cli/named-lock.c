/*
 * Opening the store is left to the handle where no --store is given: it then
 * opens the one that the name calls for, which for a path is its folder.  A path into
 * a mount stands for the lock that the file there is.
 */
#include "named-lock.h"

#include <stdbool.h>
#include <string.h>

#include "mounted-lock.h"

/* As librelock has it. */
static bool is_path(const char *name)
{
	return name[0] == '/' || strncmp(name, "./", 2) == 0 || strncmp(name, "../", 3) == 0;
}

/* The lock itself: on the mount's file there is no lock but by asking the mount. */
static int open_mounted(struct named_lock *named, const struct mounted_lock *mounted)
{
	int error = relock_store_open(&named->store, mounted->store);

	return error < 0 ? error : relock_lock_open(&named->lock, named->store, mounted->name);
}

int named_lock_open(struct named_lock *ret, const struct invocation *invocation, const char *name)
{
	MOUNTED_LOCK mounted = {NULL, NULL, NULL, NULL};
	NAMED_LOCK named = {NULL, NULL};
	int error = 0;

	if (is_path(name) && mounted_lock_find(name, &mounted)) {
		error = open_mounted(&named, &mounted);
	} else {
		if (invocation->store)
			error = relock_store_open(&named.store, invocation->store);
		if (error == 0)
			error = relock_lock_open_path(&named.lock, named.store, name);
	}
	if (error < 0)
		return error;
	*ret = named;
	named = (struct named_lock){NULL, NULL};
	return 0;
}

void named_lock_close(struct named_lock *named)
{
	relock_lock_close(named->lock);
	relock_store_close(named->store);
}
