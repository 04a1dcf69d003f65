/*
 * Reading and writing a struct flock at an address that a program gave, which
 * may be any address.  A bad one is -EFAULT, as from the kernel.
 */
#pragma once

#include <fcntl.h>

int shim_caller_read(struct flock *ret, const struct flock *callers);
int shim_caller_write(struct flock *callers, const struct flock *value);
