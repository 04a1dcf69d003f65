/*
 * Reading and writing a struct flock at an address that a program gave, which
 * may be any address.  A bad one is -EFAULT, as from the kernel.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

/* No architecture has smaller pages. */
enum { SHIM_PAGE_SIZE = 4096 };

/*
 * Can it be read and written without asking the kernel first?  Yes, where it
 * lies on the page of the stack that this very call is using.  That is where
 * most programs have it: a local variable of the caller.
 */
static inline bool shim_caller_is_at_hand(const struct flock *callers)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) / SHIM_PAGE_SIZE;

	return (uintptr_t)callers / SHIM_PAGE_SIZE == here &&
	       ((uintptr_t)callers + sizeof *callers - 1) / SHIM_PAGE_SIZE == here;
}

int shim_caller_read(struct flock *ret, const struct flock *callers);
int shim_caller_write(struct flock *callers, const struct flock *value);
