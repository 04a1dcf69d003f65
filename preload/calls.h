/*
 * Lock calls that are under way.
 *
 * A thread that is inside the kernel with the shim's description keeps that
 * alive, whoever closes it meanwhile.  The lock that it is granted then would be
 * one that nobody knows of, and that this process's next lock, on a new
 * description of the same file, would find in its way: for as long as the thread
 * does not get the processor.  Or the number could be another file's by the time
 * that the thread uses it.
 *
 * So a call is counted with the file before it uses anything of it, and while
 * there is one the file's record stays, with its description (closing.h).
 *
 *	struct shim_call call;
 *	if (shim_call_begin(&call, fd, tag, file)) {
 *		... locks on the description of the tag's file ...
 *		shim_call_end(&call);
 *	}
 *
 * A call that is left by siglongjmp(3) stays counted until the thread locks
 * again, and one that is left with its thread for good; the only harm is a
 * descriptor of the shim's that stays open, without locks, once the program has
 * closed its own, and that each call looks whether it may go.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "closing.h"
#include "descriptors.h"

struct shim_call {
	int index; /* among this thread's calls; -1: none */
};

/* Those of signal handlers that have interrupted others; one more is not counted. */
enum { SHIM_CALLS_MAX = 4 };

/* A thread knows of its calls, and how deep the stack was: it counts those off that
 * it has left by siglongjmp(3). */
struct shim_calls {
	int count;
	struct {
		uintptr_t frame;
		struct locked_file *file;
	} list[SHIM_CALLS_MAX];
};
extern __thread struct shim_calls shim_calls
	__attribute__((visibility("hidden"), tls_model("initial-exec")));

void shim_calls_end_left(uintptr_t frame);

static inline void shim_call_end(const struct shim_call *call)
{
	/* Forgotten, if there was a fork in a signal handler. */
	if (call->index < 0 || call->index >= shim_calls.count)
		return;
	struct locked_file *file = shim_calls.list[call->index].file;
	/* A handler that interrupts this has calls of its own, in the same place. */
	shim_calls.count = call->index;
	atomic_signal_fence(memory_order_seq_cst);
	locked_file_end_use(file);
	shim_closing_call_is_over();
}

static inline void shim_calls_note(int index, uintptr_t frame, struct locked_file *file)
{
	atomic_signal_fence(memory_order_seq_cst);
	shim_calls.list[index].frame = frame;
	shim_calls.list[index].file = file;
	atomic_signal_fence(memory_order_seq_cst);
}

/* False: `fd` has got another tag in between, and the record may be another
 * file's. */
static inline bool shim_call_begin(struct shim_call *call, int fd, descriptor_tag tag,
				   struct locked_file *file)
{
	uintptr_t frame = (uintptr_t)call;

	if (shim_calls.count > 0)
		shim_calls_end_left(frame);
	call->index = -1;
	if (shim_calls.count < SHIM_CALLS_MAX) {
		/* First: a jump out of here may leave it counted, and must not leave
		 * it to be counted off. */
		locked_file_begin_use(file);
		call->index = shim_calls.count;
		shim_calls_note(call->index, frame, file);
		shim_calls.count++;
		/* A handler before that line had its own call in the same place. */
		shim_calls_note(call->index, frame, file);
	}
	if (descriptor_tag_of(fd) == tag)
		return true;
	shim_call_end(call);
	return false;
}

/* In a forked child, where no file is locked. */
void shim_calls_forget(void);
