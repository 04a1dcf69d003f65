/*
 * The subject: an ordinary program that makes record lock calls, one case for
 * each situation of the contract's table.  It knows nothing of the shim; the
 * tests run it natively and under the shim, and compare what it says.
 *
 *	subject CASE FILE ENTRY [ARGUMENT]
 *
 * ENTRY is the function that the calls go through.  A case says a word for
 * each thing that it sees, and the whole is one line of text.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <sys/types.h>

struct subject_case {
	const char *name;
	void (*run)(void);
};

/* The cases of one file each, ended by one without a name. */
extern const struct subject_case subject_calls[], subject_opens[], subject_waits[],
	subject_holders[], subject_safety[], subject_closers[], subject_numbers[], subject_fork[],
	subject_exec[], subject_signals[], subject_threads[], subject_places[];

extern const char *subject_file;
extern const char *subject_entry;
extern const char *subject_argument; /* "" if there is none */

/* Words */

void say(const char *word);
void say_number(long long number);
/* "ok", or the name of errno for -1. */
void say_result(int result);
const char *result_word(int result);

/* Lock calls, through the entry */

/* fcntl(fd, command, lock): by fcntl, fcntl64, or syscall(2). */
int record_lock(int fd, int command, struct flock *lock);
/* The same by a range that begins at `start`. */
int set_lock(int fd, short type, off_t start, off_t length);
int wait_lock(int fd, short type, off_t start, off_t length);
/* lockf by lockf or lockf64; with the entries of fcntl, fcntl's equivalent. */
int position_lock(int fd, int command, off_t length);
bool entry_is_lockf(void);

int open_file(int flags);

/* What others see.  These ask by the program's own F_OFD_GETLK on an open of
 * its own, which both kinds of locks are in the way of, in a child. */

/* "held" or "free". */
const char *outside_view(off_t start, off_t length);
/* A letter for each of the first ten bytes: w, r or -; then one for the byte
 * at 1000. */
void say_map(void);

/* Processes and threads */

/* Forks; in the child, calls function(argument) and exits.  Children die with
 * their parent. */
pid_t start_child(void (*function)(void *argument), void *argument);
void end_child(pid_t pid);
/* One byte through a pipe, and the wait for it. */
void signal_pipe(int fd);
void await_pipe(int fd);
/* A child that holds a write lock on the range, until released or killed. */
struct holder {
	pid_t pid;
	int release;
};
struct holder start_holder(short type, off_t start, off_t length);
void release_holder(struct holder *holder);

/* Waits until the thread is blocked in a record lock call, or `*done`.  True if
 * it is blocked. */
bool await_block(pid_t tid, volatile const bool *done);

/* Ends with a message; the test shows it. */
void give_up(const char *what) __attribute__((noreturn));
