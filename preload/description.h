/*
 * The shim's own open file description of a file that the program has locked,
 * on which all record locks of the process are (locked-file.h).
 *
 * Inside the gate.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "locked-file.h"

/* Opens it, from the program's descriptor, whose access mode is `access`; or a
 * negative errno: then the file cannot have one. */
int shim_description_open(struct locked_file *file, int fd, uint8_t access);

/* Opens it anew with the access of this descriptor, too, and takes the locks
 * along.  A negative errno, and nothing has changed. */
int shim_description_widen(struct locked_file *file, int fd, uint8_t access);

/* By the file's mode: to be able to read it is no secret. */
bool shim_description_may_anybody_read(int fd);

/* Gives back what is locked on the description `fd`, both bytes included. */
void shim_description_unlock(int fd, off_t first, off_t last);

/* The read locks of `open` (LOCKED_BY_MANY: of all) on `from`, on `to` as well.
 * What is locked for writing cannot be on both. */
int shim_description_copy_read_locks(const struct locked_file *file, int from, int to,
				     uint32_t open);

/* Opens the file behind `fd` again, with no more access than `access`. */
int shim_description_reopen(int fd, uint8_t access);
