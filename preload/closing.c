/*
 * Contract, shim rows 4 to 6: a close gives back the bytes of its open file
 * description, if it was the process's last descriptor of that.  With the last
 * one of any open that has locked, the shim's own description goes, too.
 *
 * How many are left is counted when it matters, by a look at all tags: so
 * nothing has to be right but the tags themselves.
 */
#include "closing.h"

#include "deadlock.h"
#include "gate.h"
#include "locked-file.h"
#include "ownership.h"
#include "raw.h"

/* There may be files that only threads that wait keep here. */
static _Atomic bool has_orphans;

/*
 * A thread that waits for a lock on the file has to find the description when
 * it gets the lock, to give it back (row 21); if another waits on it as well,
 * closing it would give nothing back.
 */
static void remove_unless_waited_for(uint32_t number)
{
	const struct locked_file *file = locked_file_at(number);

	if (file->closing || descriptor_of_file(number) >= 0)
		return;
	if (shim_deadlock_has_wait_for(file->device, file->inode))
		atomic_store(&has_orphans, true);
	else
		locked_file_remove(number);
}

static void sweep(void)
{
	atomic_store(&has_orphans, false);
	for (uint32_t number = locked_file_next(0), next; number; number = next) {
		next = locked_file_next(number);
		remove_unless_waited_for(number);
	}
}

void shim_closing_wait_is_over(void)
{
	struct shim_gate gate;

	if (!atomic_load_explicit(&has_orphans, memory_order_relaxed))
		return;
	shim_gate_enter(&gate);
	sweep();
	shim_gate_leave(&gate);
}

/* The program's descriptors of it may have been its last. */
static void look_after(uint32_t number, uint32_t open)
{
	struct locked_file *file = locked_file_at(number);

	if (descriptor_of_open(open) >= 0)
		return;
	/* Also where the description is closed next: a thread that waits keeps
	 * it alive, and so does a child that was not made by fork(3). */
	shim_ownership_give_back(file, open);
	remove_unless_waited_for(number);
	if (atomic_load(&has_orphans))
		sweep();
}

void shim_closing_begin(struct shim_closing *closing, int fd)
{
	*closing = (struct shim_closing){.fd = fd};
	if (!tag_file(descriptor_tag_of(fd))) {
		closing->tag = descriptor_tag_take(fd);
		return;
	}

	struct shim_gate gate;
	shim_gate_enter(&gate);
	closing->tag = descriptor_tag_take(fd);
	if (tag_file(closing->tag)) {
		locked_file_at(tag_file(closing->tag))->closing++;
		if (descriptor_of_open(tag_open(closing->tag)) < 0) {
			int duplicate = descriptor_unknown_duplicate(fd);
			if (duplicate >= 0)
				descriptor_tag_set(duplicate, closing->tag);
		}
	}
	shim_gate_leave(&gate);
}

void shim_closing_end(struct shim_closing *closing)
{
	uint32_t file = tag_file(closing->tag);
	struct shim_gate gate;

	if (!file)
		return;
	shim_gate_enter(&gate);
	locked_file_at(file)->closing--;
	look_after(file, tag_open(closing->tag));
	shim_gate_leave(&gate);
	if (shim_deadlock_has_waits())
		shim_deadlock_refresh();
}

void shim_closing_undo(struct shim_closing *closing)
{
	uint32_t file = tag_file(closing->tag);
	struct shim_gate gate;

	if (!file) {
		descriptor_tag_set(closing->fd, closing->tag);
		return;
	}
	shim_gate_enter(&gate);
	locked_file_at(file)->closing--;
	descriptor_tag_set(closing->fd, closing->tag);
	shim_gate_leave(&gate);
}

void shim_closing_unseen(int fd)
{
	descriptor_tag tag = descriptor_tag_take(fd);

	if (tag_file(tag))
		look_after(tag_file(tag), tag_open(tag));
}
