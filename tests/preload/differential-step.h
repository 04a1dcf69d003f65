/*
 * A plan is a list of steps; a step is one call by one thread of one actor.
 *
 * Steps name things by what they are in the plan, not by what the kernel calls
 * them: actors are letters and not pids, descriptors are slots and not
 * numbers.  So one plan can be carried out natively and under the shim, where
 * open(2) may return other numbers, and still means something when steps are
 * taken out of it: a step on an actor that is not there is no step.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for actors, and for what each has. */
enum { ACTORS = 5, THREADS = 3, SLOTS = 10, FILES = 3 };
/* Each file has two names. */
enum { PATHS = 2 * FILES };
/* How long each file is. */
enum { FILE_SIZE = 40 };

enum step_kind {
	STEP_OPEN,
	STEP_CLOSE,
	STEP_FREOPEN,
	STEP_CLOSE_RANGE,
	STEP_CLOSEFROM,
	STEP_DUP,
	STEP_DUP_ONTO,
	STEP_SET_CLOEXEC,
	STEP_SEEK,
	STEP_MMAP,
	STEP_SET,
	STEP_WAIT,
	STEP_GET,
	STEP_LOCKF,
	STEP_FORK,
	STEP_SPAWN,
	STEP_EXEC,
	STEP_EXIT,
	STEP_KILL,
	STEP_SIGNAL,
	STEP_KINDS,
};

/* By which function a call is made; which of them a step can have depends on
 * its kind. */
enum entry {
	BY_FCNTL,
	BY_FCNTL64,
	BY_SYSCALL,
	BY_LOCKF,
	BY_LOCKF64,
	BY_CLOSE,
	BY_CLOSE_RANGE,
	BY_FCLOSE,
	BY_DUP,
	BY_DUP2,
	BY_DUP3,
	BY_F_DUPFD,
	BY_F_DUPFD_CLOEXEC,
	BY_FORK,
	BY_DAEMON,
	BY__FORK,
	BY_VFORK,
	BY_POSIX_SPAWN,
	BY_EXECVE,
	BY_EXECV,
	BY_EXECL,
	BY_EXIT,
	BY__EXIT,
	BY_INTERRUPT, /* a handler without SA_RESTART */
	BY_RESTART,   /* with it */
	BY_JUMP,      /* one that leaves by siglongjmp(3) */
	ENTRIES,
};

/* Between its fork and its execve() the child closes the descriptor. */
enum { SPAWN_CLOSES = 1 };

struct step {
	enum step_kind kind;
	enum entry entry;
	uint8_t actor, thread;
	uint8_t slot;  /* the descriptor */
	uint8_t other; /* the one that the call makes, or the end of a range */
	uint8_t path;
	uint8_t newcomer; /* who the new process is */
	bool under_shim;  /* ... in a mixed run, if it is another program */
	bool is_bad_pointer;
	int flags;   /* open(2)'s, dup3(2)'s, close_range(2)'s, FD_CLOEXEC, SPAWN_CLOSES */
	int number;  /* a descriptor number that the call asks for */
	int command; /* lockf(3)'s */
	struct flock lock;
};

static inline char actor_name(int actor)
{
	return (char)('A' + actor);
}

/* "B.1 fcntl64(F_SETLK, s4, write SEEK_SET 3 7)" */
enum { STEP_TEXT_SIZE = 160 };
void step_print(const struct step *step, char text[STEP_TEXT_SIZE]);
