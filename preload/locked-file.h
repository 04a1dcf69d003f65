/*
 * The files that this process has locked, one record for each inode.
 *
 * With `process` semantics all record locks of the process on a file are OFD
 * locks on one open file description of the shim's own (`fd`): so the kernel's
 * own arithmetic makes one owner of the process.  A record lives as long as
 * the program has a descriptor of the file that it has locked through.
 *
 * Who has locked which byte is only kept where more than one open of the
 * program has locked anything; until then `sole` is the id of the one, and a
 * lock changes nothing in here but, while it is under way, `users`.
 *
 * Fields marked atomic are read without any lock, and everything but `users` is
 * written inside the gate.  A record that was given back stays readable (pool.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>

/* Numbers have 20 bits, see descriptors.h; 0 is none. */
#define LOCKED_FILE_MAX 0xfffffU

enum locked_file_kind {
	LOCKED_BY_PROCESS, /* on the shim's own description */
	LOCKED_BY_OPEN,    /* OFD locks on the program's descriptors */
	LOCKED_LEGACY,     /* as the program makes them */
};

/* `sole` of a file that several opens have locked. */
#define LOCKED_BY_MANY UINT32_MAX

struct locked_file {
	uint32_t next;         /* of the same hash */
	_Atomic uint32_t sole; /* an open's id; 0: nobody has locked yet */
	_Atomic uint64_t inode;
	_Atomic uint32_t device;
	_Atomic int32_t fd; /* of LOCKED_BY_PROCESS, else -1 */
	uint32_t spans;     /* spans.h, with LOCKED_BY_MANY */
	_Atomic uint8_t kind;
	_Atomic uint8_t access; /* of fd: LOCKED_READABLE, LOCKED_WRITABLE */
	/* Lock calls, and closes of its descriptors, that are under way.  Of a
	 * record that was given back, those that are about to find that out. */
	_Atomic uint16_t users;
};

enum { LOCKED_READABLE = 1, LOCKED_WRITABLE = 2 };

struct locked_file *locked_file_at(uint32_t number);

static inline bool locked_file_is(const struct locked_file *file, const struct stat *stat)
{
	return file->inode == stat->st_ino && file->device == (uint32_t)stat->st_dev;
}

/* From the one to the other the record stays.  The only thread of a program counts
 * without a locked instruction, four of which would be a fiftieth of a lock and
 * unlock; a signal handler that interrupts it leaves the number as it was. */
static inline void locked_file_change_users(struct locked_file *file, int change)
{
	if (__libc_single_threaded)
		atomic_store_explicit(
			&file->users,
			(uint16_t)(atomic_load_explicit(&file->users, memory_order_relaxed) +
				   change),
			memory_order_relaxed);
	else
		atomic_fetch_add(&file->users, (uint16_t)change);
}

static inline void locked_file_begin_use(struct locked_file *file)
{
	locked_file_change_users(file, 1);
}

static inline void locked_file_end_use(struct locked_file *file)
{
	/* Of a fork in a signal handler the child has none, see shim_calls_forget(). */
	if (atomic_load_explicit(&file->users, memory_order_relaxed) > 0)
		locked_file_change_users(file, -1);
}

/* How many there are; read without any lock. */
extern _Atomic uint32_t locked_file_count;

/* Inside the gate: */

/* 0: not known. */
uint32_t locked_file_find(const struct stat *stat);
/* A record of a file that has none; 0: no memory. */
uint32_t locked_file_add(const struct stat *stat, enum locked_file_kind kind);
/* Closes what is the shim's own, and all its locks with it. */
void locked_file_remove(uint32_t number);

/* Whose description `fd` is; 0: nobody's. */
uint32_t locked_file_of_description(int fd);

/* Each in turn; 0 begins, and 0 is the end. */
uint32_t locked_file_next(uint32_t number);

/* In a forked child, whose copies have been closed. */
void locked_files_reset(void);
