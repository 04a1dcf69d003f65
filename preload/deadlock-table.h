/*
 * The table in which processes under the shim say what they wait for, and what
 * they hold meanwhile.
 *
 * It is a file that is read and written by pread(2) and pwrite(2), never
 * mapped: whoever truncates a mapped file kills those who look at it (SIGBUS).
 * A process that waits has a slot in it; what the kernel says about locks on
 * the file tells which slots are taken:
 *
 *	byte I                       somebody has claimed slot I
 *	byte DEADLOCK_SLOTS_MAX + I  what is written in slot I is theirs
 *
 * Both are OFD locks on the description that the process has of the table, so
 * they go with the process, however it ends: there is no dead entry to clean
 * up, and no pid whose life would have to be proven.  What stands in a slot is
 * believed if its checksum is right; a record that is read while it is being
 * written is read again.
 *
 * Which file: /run/relock/.waits, of all users, if root has made one
 * (tmpfiles.d); else /dev/shm/relock-waits-UID, of one user.  What is written
 * there is no more than everybody can read in /proc/locks, but for the pid.
 * Somebody who writes nonsense into the one that all share can pretend to be a
 * link in a cycle: so the kernel is asked, too (deadlock-proof.h).
 *
 * Everything here inside the gate.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DEADLOCK_SLOTS_MAX = 1024,
	/* Sparse: a page for most, and one page of tmpfs for all that fits. */
	DEADLOCK_SLOT_SIZE = 256 * 1024,
	DEADLOCK_WANTS_MAX = 256, /* threads of one process */
};

struct deadlock_span {
	uint64_t device, inode;
	int64_t first, last;
	uint64_t exclusive;
};

enum {
	DEADLOCK_DOUBTING = 1, /* has found a cycle, and is not yet sure of it */
	DEADLOCK_WRITTEN = DEADLOCK_DOUBTING,
	/* What the reader finds out and keeps in its copy; deadlock-proof.h. */
	DEADLOCK_IN_KERNEL = 2,
	DEADLOCK_FILE_IN_KERNEL = 4,
	DEADLOCK_LOOKED_AT = 8,
	DEADLOCK_ELSEWHERE = 16,
	DEADLOCK_STOPPED = 32,
	DEADLOCK_RUNNING = 64,
};

/* What one thread waits for. */
struct deadlock_want {
	struct deadlock_span span;
	uint64_t stamp; /* CLOCK_MONOTONIC, in ns; 0: not yet */
	uint32_t tid, flags;
};

/* What a slot begins with; then the wants, then what the process holds. */
struct deadlock_record {
	uint64_t checksum; /* of all that follows */
	uint32_t magic, slot;
	uint64_t pid_namespace; /* in which pid and tids mean something; 0: not known */
	uint32_t pid;
	uint32_t want_count, hold_count;
	uint32_t is_cut; /* it holds more than fits */
};

enum {
	DEADLOCK_HOLDS_MAX = (DEADLOCK_SLOT_SIZE - sizeof(struct deadlock_record) -
			      DEADLOCK_WANTS_MAX * sizeof(struct deadlock_want)) /
			     sizeof(struct deadlock_span),
};

static inline struct deadlock_want *deadlock_wants(const struct deadlock_record *record)
{
	return (struct deadlock_want *)(record + 1);
}

static inline struct deadlock_span *deadlock_holds(const struct deadlock_record *record)
{
	return (struct deadlock_span *)(deadlock_wants(record) + record->want_count);
}

struct deadlock_table {
	int fd; /* -1: no slot */
	int slot;
	bool is_live; /* the slot is written */
};

/* Finds the table and claims a slot.  -EPERM if there is none to be trusted,
 * -ENOSPC if all slots are taken, or why it cannot be opened. */
int deadlock_table_open(struct deadlock_table *table);
/* Writes the slot; fills in magic and checksum. */
int deadlock_table_write(struct deadlock_table *table, struct deadlock_record *record);
void deadlock_table_close(struct deadlock_table *table);

struct deadlock_node {
	struct deadlock_record *record;
	bool is_reached; /* the search has been there */
};

/* A copy of all other slots, in memory of its own. */
struct deadlock_view {
	char *map; /* NULL, if there are none */
	size_t size;
	struct deadlock_node *nodes;
	size_t count;
	uint32_t *queue; /* room for `count` numbers of nodes */
	char *scratch;
};

enum { DEADLOCK_SCRATCH_SIZE = 16384 };

/* 0, -ENOMEM, or -E2BIG beyond any reason.  What was announced before this
 * process announced its wait is in it; what comes later will see this wait. */
int deadlock_table_view(const struct deadlock_table *table, struct deadlock_view *ret);
void deadlock_view_free(struct deadlock_view *view);
