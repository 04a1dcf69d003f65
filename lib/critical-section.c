/*
 * A function under a lock.  The release is a cleanup of the frame, and this
 * file is compiled with -fexceptions: so it runs when the frame is left by
 * return, by an exception of C++, and by the forced unwinding with which
 * pthread_exit() and cancellation leave a thread.
 */
#include "relock.h"

struct section {
	relock_lock *lock;
	int *result;
};

static void leave(struct section *section)
{
	int released = relock_release(section->lock);

	/* On a way out that is no return, there is nobody to tell. */
	if (section->result)
		*section->result = released;
}

int relock_critical_section(relock_lock *lock, const struct relock_request *request,
			    int (*function)(void *argument), void *argument, int *ret_result)
{
	int released = 0;

	int result = relock_acquire(lock, request);
	if (result < 0)
		return result;
	{
		__attribute__((cleanup(leave), unused)) struct section section = {lock, &released};
		int returned = function(argument);
		if (ret_result)
			*ret_result = returned;
	}
	return released;
}
