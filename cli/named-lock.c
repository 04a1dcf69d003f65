/*
 * Opening the store is left to the handle where no --store is given: it then
 * opens the one that the name calls for, which for a path is its folder.
 */
#include "named-lock.h"

int named_lock_open(struct named_lock *ret, const struct invocation *invocation, const char *name)
{
	NAMED_LOCK named = {NULL, NULL};
	int error = 0;

	if (invocation->store)
		error = relock_store_open(&named.store, invocation->store);
	if (error == 0)
		error = relock_lock_open_path(&named.lock, named.store, name);
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
