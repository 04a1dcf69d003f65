/*
 * `process` semantics: the record locks of a process on a file are OFD locks on
 * one open file description of the shim's own.  So all opens of the program
 * are one owner, as they were, and other processes are others; but a close
 * takes away only what was locked through that open.
 *
 * The way of a lock.  The descriptor's tag leads to the record of its file;
 * one fstat(2) makes sure that it is that file still, for there are ways to
 * close a descriptor that the shim does not see; and the kernel gets the lock
 * for the shim's own description.  As long as one open of the program has done
 * all the locking, nothing is written meanwhile but that a call is under way
 * (calls.h): no mutex, no signal mask.  Afterwards
 * a look at what the lock was based on shows whether another thread has
 * changed it in between; then it is put right under the gate (gate.h), with
 * the kernel as witness of what is locked.
 *
 * Once a second open has locked, each lock goes through the gate, and a list
 * of spans says which open has locked which bytes (ownership.h).
 *
 * A wait cannot be inside the gate.  It is a plain F_OFD_SETLKW, preceded by
 * the search for a deadlock (deadlock.h) and followed by the same look.
 *
 * An unlock needs no fstat: through a descriptor that has become another
 * file's it takes away a lock that the unseen close has taken already.
 *
 * What cannot be had for some file, `ofd` semantics or the program's own call
 * does for that file: locked-file.h has the kinds.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "adoption.h"
#include "caller-memory.h"
#include "calls.h"
#include "child.h"
#include "closing.h"
#include "deadlock.h"
#include "description.h"
#include "descriptors.h"
#include "gate.h"
#include "held.h"
#include "ownership.h"
#include "private-fd.h"
#include "range.h"
#include "raw.h"
#include "semantics.h"

/* A lock call: the descriptor and what it is for, and the program's struct in
 * a copy that the shim's description can take. */
struct wish {
	int fd;
	enum shim_wait wait;
	descriptor_tag tag;
	struct locked_file *file; /* the tag's */
	struct shim_call call;    /* while which that is so */
	struct flock lock;
};

static const struct shim_semantics *const semantics_of[] = {
	[LOCKED_BY_PROCESS] = &shim_semantics_process,
	[LOCKED_BY_OPEN] = &shim_semantics_ofd,
	[LOCKED_LEGACY] = &shim_semantics_legacy,
};

static struct locked_file *file_of(descriptor_tag tag)
{
	return locked_file_at(tag_file(tag));
}

/* The kernel's own words for what cannot succeed. */
static int refuse(int fd, struct flock *request, enum shim_wait wait)
{
	return raw_fcntl(fd, wait == SHIM_AT_ONCE ? F_SETLK : F_SETLKW, request);
}

/* The tag, if the descriptor is still of the file that it was locked through;
 * else 0. */
static descriptor_tag believed_tag(int fd)
{
	descriptor_tag tag = descriptor_tag_of(fd);
	struct stat stat;
	struct shim_gate gate;

	if (!tag_file(tag))
		return 0;
	/* No word of the file is no word against it: EIO, ESTALE, ENOMEM. */
	int result = raw_fstat(fd, &stat);
	if (result == 0 ? locked_file_is(file_of(tag), &stat) : result != -EBADF)
		return tag;
	shim_gate_enter(&gate);
	if (descriptor_tag_of(fd) == tag)
		shim_closing_unseen(fd);
	shim_gate_leave(&gate);
	return 0;
}

static int resolved_range(const struct wish *wish, off_t *ret_first, off_t *ret_last)
{
	return shim_range_resolve(wish->fd, &wish->lock, ret_first, ret_last);
}

/* Inside the gate: a lock that was made outside of it, or an unlock.  By now
 * the file may have no owner, or one other than the open that has locked. */
static void settle(const struct wish *wish)
{
	struct locked_file *file = wish->file;
	uint32_t open = wish->lock.l_type == F_UNLCK ? 0 : tag_open(wish->tag);
	off_t first, last;

	if (open)
		shim_ownership_admit(file, open);
	if (resolved_range(wish, &first, &last) == 0)
		shim_ownership_review(file, first, last, open);
}

/* Another thread has closed the descriptor while this one got its lock (row 21):
 * the kernel gives such a lock back, and says EBADF. */
static int lose(struct wish *wish)
{
	wish->lock.l_type = F_UNLCK;
	/* The description can have got another number. */
	raw_fcntl(atomic_load(&wish->file->fd), F_OFD_SETLK, &wish->lock);
	settle(wish);
	return -EBADF;
}

/* The number can also have gone to a duplicate of the same open, of which the
 * tables did not know that. */
static bool is_still_open(const struct wish *wish)
{
	descriptor_tag tag = descriptor_tag_of(wish->fd);

	if (tag == wish->tag)
		return true;
	int duplicate = descriptor_of_open(tag_open(wish->tag));
	return duplicate >= 0 && descriptor_is_same_open(wish->fd, duplicate) == 1 &&
	       descriptor_tag_replace(wish->fd, tag, wish->tag);
}

/* The kernel has given the lock on `fd`: is everything as it was when it was
 * asked?  1: begin anew. */
static int confirm(struct wish *wish, int fd)
{
	struct locked_file *file = wish->file;
	struct shim_gate gate;
	int result = 0;

	if (descriptor_tag_of(wish->fd) == wish->tag && atomic_load(&file->fd) == fd &&
	    atomic_load(&file->sole) == tag_open(wish->tag))
		return 0;
	shim_gate_enter(&gate);
	if (!is_still_open(wish))
		result = lose(wish);
	else if (atomic_load(&file->fd) != fd)
		result = 1;
	else
		settle(wish);
	shim_gate_leave(&gate);
	return result;
}

static int set_among_many(struct wish *wish)
{
	struct locked_file *file = wish->file;
	uint32_t open = wish->lock.l_type == F_UNLCK ? 0 : tag_open(wish->tag);
	struct shim_gate gate;
	off_t first, last;

	int result = resolved_range(wish, &first, &last);
	if (result < 0)
		return result;
	/* The end of a file can move: the kernel and the spans get the same. */
	wish->lock.l_whence = SEEK_SET;
	wish->lock.l_start = first;
	wish->lock.l_len = last == INT64_MAX ? 0 : last - first + 1;
	shim_gate_enter(&gate);
	if (open)
		shim_ownership_admit(file, open);
	result = raw_fcntl(atomic_load(&file->fd), F_OFD_SETLK, &wish->lock);
	if (result == 0)
		shim_ownership_note(file, first, last, open);
	shim_gate_leave(&gate);
	return result;
}

struct holding {
	const struct locked_file *file;
	void (*visit)(void *argument, const struct shim_span *span);
	void *argument;
};

static bool visit_held(void *argument, const struct flock *held)
{
	const struct holding *holding = argument;

	holding->visit(holding->argument, &(struct shim_span){
						  .device = holding->file->device,
						  .inode = holding->file->inode,
						  .first = held->l_start,
						  .last = shim_held_last(held),
						  .exclusive = held->l_type == F_WRLCK,
					  });
	return true;
}

/* Inside the gate. */
static void for_each_held(void (*visit)(void *argument, const struct shim_span *span),
			  void *argument)
{
	for (uint32_t number = locked_file_next(0); number; number = locked_file_next(number)) {
		struct holding holding = {locked_file_at(number), visit, argument};
		int fd = atomic_load(&holding.file->fd);
		if (fd >= 0)
			shim_held_each(fd, visit_held, &holding);
	}
}

static void cancel_wait(void *argument)
{
	const struct shim_call *call = argument;

	shim_deadlock_end();
	shim_call_end(call);
}

static int announce_wait(const struct wish *wish)
{
	struct shim_span wanted = {
		.device = wish->file->device,
		.inode = wish->file->inode,
		.exclusive = wish->lock.l_type == F_WRLCK,
	};

	int result = resolved_range(wish, &wanted.first, &wanted.last);
	return result < 0 ? result : shim_deadlock_begin(&wanted, for_each_held);
}

static void unlock_range(int fd, const struct flock *lock)
{
	struct flock range = *lock;

	range.l_type = F_UNLCK;
	raw_fcntl(fd, F_OFD_SETLK, &range);
}

static int wait_for_others(struct wish *wish, int fd)
{
	const struct locked_file *file = wish->file;
	int result = announce_wait(wish);

	if (result < 0)
		return result;
	pthread_cleanup_push(cancel_wait, &wish->call);
	result = shim_kernel_lock(fd, F_OFD_SETLKW, &wish->lock, wish->wait);
	pthread_cleanup_pop(false);
	/* After a signal the kernel begins the call anew, with the number that
	 * it was made with.  The description may have got another one, and the
	 * old one be the program's, which is not to have the lock. */
	if (result == 0 && atomic_load(&file->fd) != fd && !shim_private_has(fd))
		unlock_range(fd, &wish->lock);
	if (result == 0)
		result = confirm(wish, fd);
	else if (result == -EBADF && atomic_load(&file->fd) != fd)
		result = 1;
	shim_deadlock_end();
	return result;
}

static int set(struct wish *wish)
{
	const struct locked_file *file = wish->file;
	int result;

	do {
		int fd = atomic_load_explicit(&file->fd, memory_order_acquire);
		bool is_sole = atomic_load_explicit(&file->sole, memory_order_acquire) ==
			       tag_open(wish->tag);
		result = is_sole ? raw_fcntl(fd, F_OFD_SETLK, &wish->lock) : set_among_many(wish);
		if (result == -EAGAIN && wish->wait != SHIM_AT_ONCE)
			result = wait_for_others(wish, fd);
		else if (result == 0 && is_sole)
			result = confirm(wish, fd);
		else if (result == -EBADF && atomic_load(&file->fd) != fd)
			result = 1; /* closed by who has opened another one */
	} while (result > 0);
	if (shim_deadlock_has_waits())
		shim_deadlock_refresh();
	return result;
}

static bool is_allowed(descriptor_tag tag, short type)
{
	return tag & (type == F_WRLCK ? TAG_WRITABLE : TAG_READABLE);
}

/* What the shim's description has to be opened for.  A thread that waits keeps
 * to the description that it waits on, and another one's locks would be in its
 * way: so it shall be one that can do all that the waiter's open can. */
static uint8_t needed_access(const struct wish *wish)
{
	if (wish->wait == SHIM_AT_ONCE)
		return wish->lock.l_type == F_WRLCK ? LOCKED_WRITABLE : LOCKED_READABLE;
	return (wish->tag & TAG_READABLE ? LOCKED_READABLE : 0) |
	       (wish->tag & TAG_WRITABLE ? LOCKED_WRITABLE : 0);
}

/* Who sets the lock: these semantics, or others in their place. */
static const struct shim_semantics *setter(struct wish *wish)
{
	const struct locked_file *file = wish->file;
	uint8_t needed = needed_access(wish);

	if (file->kind != LOCKED_BY_PROCESS)
		return semantics_of[file->kind];
	if (wish->lock.l_type == F_UNLCK) {
		/* At once, or not at all: an unlock waits for nobody. */
		wish->wait = SHIM_AT_ONCE;
	} else if (!is_allowed(wish->tag, wish->lock.l_type)) {
		return &shim_semantics_legacy; /* which the kernel refuses */
	} else if ((file->access & needed) != needed) {
		int result = shim_adoption_widen(wish->tag, wish->fd);
		/* It would wait for locks on the shim's own description. */
		if (result == -EBUSY)
			wish->wait = SHIM_AT_ONCE;
		if (result < 0)
			return &shim_semantics_ofd;
	}
	return &shim_semantics_process;
}

/* 1: the descriptor has become another file's, begin anew. */
static int set_through(struct wish *wish, struct flock *request)
{
	wish->file = file_of(wish->tag);
	if (!shim_call_begin(&wish->call, wish->fd, wish->tag, wish->file))
		return 1;
	const struct shim_semantics *semantics = setter(wish);
	if (semantics != &shim_semantics_process) {
		shim_call_end(&wish->call);
		return semantics->set(wish->fd, request, wish->wait);
	}
	int result = shim_range_fix(wish->fd, &wish->lock);
	if (result == 0)
		result = set(wish);
	shim_call_end(&wish->call);
	return result;
}

/* Through a descriptor that nothing was locked through: it may be of a file
 * that others of the process's descriptors have locked (row 7). */
static descriptor_tag tag_for_unlock(int fd)
{
	descriptor_tag tag = descriptor_tag_of(fd);

	if (!tag_file(tag) && atomic_load_explicit(&locked_file_count, memory_order_relaxed))
		tag = shim_adoption_known(fd);
	return tag_file(tag) ? tag : 0;
}

/* What the lock goes through, in wish->tag; false: *ret_result is how the
 * call has ended without. */
static bool find_tag(struct wish *wish, struct flock *request, int *ret_result)
{
	int result = 0;

	if (wish->lock.l_type == F_UNLCK) {
		wish->tag = tag_for_unlock(wish->fd);
		/* A legacy lock that was handed down by execve(2), at most. */
		if (!wish->tag)
			result = shim_semantics_legacy.set(wish->fd, request, wish->wait);
	} else {
		wish->tag = believed_tag(wish->fd);
		if (!wish->tag)
			result = shim_adoption_begin(wish->fd, &wish->tag);
		if (result == -ENOLCK)
			result = refuse(wish->fd, request, wish->wait);
	}
	*ret_result = result;
	return wish->tag;
}

static int process_set(int fd, struct flock *request, enum shim_wait wait)
{
	struct wish wish = {.fd = fd, .wait = wait};
	int result;

	/* Before it execs it is a process of its own, which shares memory with
	 * another one: all that it can have are locks that need no memory. */
	if (shim_is_vfork_child())
		return shim_semantics_legacy.set(fd, request, wait);
	shim_check_fork();
	if (wait == SHIM_WAIT_CANCELLABLE)
		pthread_testcancel();
	if (shim_caller_read(&wish.lock, request) < 0)
		return refuse(fd, request, wait);
	wish.lock.l_pid = 0;
	if (wish.lock.l_type != F_UNLCK && wish.lock.l_type != F_RDLCK &&
	    wish.lock.l_type != F_WRLCK)
		return refuse(fd, request, wait);

	do {
		if (!find_tag(&wish, request, &result))
			return result;
		result = set_through(&wish, request);
	} while (result > 0);
	return result;
}

/* Questions */

/* A tag of the file that the descriptor is of, if the process has locked it. */
static descriptor_tag tag_for_question(int fd)
{
	descriptor_tag tag = 0;

	if (shim_is_vfork_child())
		return 0;
	shim_check_fork();
	tag = believed_tag(fd);
	if (!tag && atomic_load_explicit(&locked_file_count, memory_order_relaxed))
		tag = shim_adoption_known(fd);
	return tag_file(tag) ? tag : 0;
}

/*
 * Who answers for the descriptor.  If these semantics do, *ret_fd is the one to
 * ask, until shim_call_end(call).
 */
static const struct shim_semantics *answerer(int fd, int *ret_fd, struct shim_call *call)
{
	struct locked_file *file;
	descriptor_tag tag;

	do {
		tag = tag_for_question(fd);
		/* This process has no OFD lock on it.  It may have a legacy one, from
		 * before an execve(2), and must not be told of it (row 13). */
		if (!tag)
			return &shim_semantics_legacy;
		file = file_of(tag);
	} while (!shim_call_begin(call, fd, tag, file));
	const struct shim_semantics *semantics = semantics_of[file->kind];
	if (semantics == &shim_semantics_process)
		*ret_fd = atomic_load(&file->fd);
	else
		shim_call_end(call);
	return semantics;
}

static int process_test(int fd, struct flock *request)
{
	struct shim_call call;
	int asked = -1;
	const struct shim_semantics *semantics = answerer(fd, &asked, &call);

	if (semantics != &shim_semantics_process)
		return semantics->test(fd, request);
	int result = shim_range_fix(fd, request);
	if (result == 0)
		result = raw_fcntl(asked, F_OFD_GETLK, request);
	shim_call_end(&call);
	return result;
}

static int process_get(int fd, struct flock *request)
{
	struct shim_call call;
	int asked = -1;
	const struct shim_semantics *semantics = answerer(fd, &asked, &call);

	if (semantics != &shim_semantics_process)
		return semantics->get(fd, request);
	int result = shim_ofd_answer(fd, asked, request);
	shim_call_end(&call);
	return result;
}

const char *shim_semantics_name(const struct shim_semantics *semantics, int fd)
{
	descriptor_tag tag = descriptor_tag_of(fd);
	struct stat stat;

	if (semantics != &shim_semantics_process)
		return semantics->name;
	if (shim_is_vfork_child())
		return shim_semantics_legacy.name;
	if (tag_file(tag))
		return semantics_of[file_of(tag)->kind]->name;
	/* A question before the first lock: what that would be. */
	return raw_fstat(fd, &stat) == 0 ? semantics_of[shim_adoption_kind(fd)]->name
					 : semantics->name;
}

const struct shim_semantics shim_semantics_process = {
	.name = "process",
	.set = process_set,
	.get = process_get,
	.test = process_test,
};
