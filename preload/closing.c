/*
 * Contract, shim rows 4 to 6: a close gives back the bytes of its open file
 * description, if it was the process's last descriptor of that.  With the last
 * one of any open that has locked, the shim's own description goes, too.
 *
 * How many are left is counted when it matters, by a look at all tags: so
 * nothing has to be right but the tags themselves.
 */
#include "closing.h"

#include "child.h"
#include "deadlock.h"
#include "gate.h"
#include "locked-file.h"
#include "ownership.h"
#include "raw.h"

_Atomic bool shim_closing_has_orphans;

/*
 * A thread that gets a lock on the file after this has to find the description, to
 * give it back (row 21); if others are in the kernel with it as well, closing it
 * would give nothing back.
 */
static void remove_unless_in_use(uint32_t number)
{
	if (descriptor_of_file(number) >= 0)
		return;

	/* Said before the look, and who was in the way asks after it has gone: one
	 * of the two sees the other. */
	bool had_orphans = atomic_exchange(&shim_closing_has_orphans, true);
	if (atomic_load(&locked_file_at(number)->users) > 0)
		return;
	locked_file_remove(number);
	atomic_store(&shim_closing_has_orphans, had_orphans);
}

void shim_closing_unneeded(uint32_t file)
{
	remove_unless_in_use(file);
}

static void sweep(void)
{
	atomic_store(&shim_closing_has_orphans, false);
	for (uint32_t number = locked_file_next(0), next; number; number = next) {
		next = locked_file_next(number);
		remove_unless_in_use(number);
	}
}

void shim_closing_sweep(void)
{
	struct shim_gate gate;

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
	/* Also where the description is closed next: a child that was not made by
	 * fork(3) keeps it alive, and so does who reads /proc/PID/fdinfo. */
	shim_ownership_give_back(file, open);
	remove_unless_in_use(number);
	if (atomic_load(&shim_closing_has_orphans))
		sweep();
}

static void hand_on(descriptor_tag tag, int duplicate)
{
	descriptor_tag before = descriptor_tag_of(duplicate);

	if (!tag_file(before))
		descriptor_tag_replace(duplicate, before, tag);
}

void shim_closing_begin(struct shim_closing *closing, int fd)
{
	*closing = (struct shim_closing){.fd = fd, .tag = descriptor_tag_of(fd)};
	/* One that can also be undone. */
	if (!tag_file(closing->tag) && descriptor_tag_replace(fd, closing->tag, 0))
		return;

	struct shim_gate gate;
	shim_gate_enter(&gate);
	closing->tag = descriptor_tag_take(fd);
	if (tag_file(closing->tag)) {
		locked_file_begin_use(locked_file_at(tag_file(closing->tag)));
		if (descriptor_of_open(tag_open(closing->tag)) < 0) {
			int duplicate = descriptor_unknown_duplicate(fd);
			if (duplicate >= 0)
				hand_on(closing->tag, duplicate);
		}
	}
	shim_gate_leave(&gate);
}

void shim_closing_end(struct shim_closing *closing)
{
	uint32_t file = tag_file(closing->tag);
	struct shim_gate gate;

	if (!file) {
		shim_closing_look(closing->fd);
		return;
	}
	shim_gate_enter(&gate);
	locked_file_end_use(locked_file_at(file));
	look_after(file, tag_open(closing->tag));
	shim_gate_leave(&gate);
	if (shim_deadlock_has_waits())
		shim_deadlock_refresh();
}

void shim_closing_undo(struct shim_closing *closing)
{
	uint32_t file = tag_file(closing->tag);
	struct shim_gate gate;

	/* Unless another thread has locked through it meanwhile. */
	if (!file) {
		descriptor_tag_replace(closing->fd, 0, closing->tag);
		return;
	}
	shim_gate_enter(&gate);
	locked_file_end_use(locked_file_at(file));
	descriptor_tag_replace(closing->fd, 0, closing->tag);
	shim_gate_leave(&gate);
}

void shim_closing_unseen(int fd)
{
	descriptor_tag tag = descriptor_tag_take(fd);

	if (tag_file(tag))
		look_after(tag_file(tag), tag_open(tag));
}

/* Inside the gate: a tag whose file the descriptor is not of goes. */
static void believe_or_close(int fd)
{
	descriptor_tag tag = descriptor_tag_of(fd);
	struct stat stat;

	if (tag_file(tag) &&
	    (raw_fstat(fd, &stat) < 0 || !locked_file_is(locked_file_at(tag_file(tag)), &stat)))
		shim_closing_unseen(fd);
}

void shim_closing_look_again(int fd)
{
	struct shim_gate gate;

	shim_check_fork();
	if (shim_is_foreign())
		return;
	shim_gate_enter(&gate);
	believe_or_close(fd);
	shim_gate_leave(&gate);
}

/* Inside the gate.  If another thread has locked through `copy` already, the two
 * have its tag. */
static void tag_duplicate(int fd, int copy)
{
	believe_or_close(copy);
	descriptor_tag before = descriptor_tag_of(copy), tag = descriptor_tag_of(fd);

	if (tag_file(before) && !tag_file(tag) && descriptor_is_same_open(fd, copy) == 1)
		descriptor_tag_replace(fd, tag, before);
	else if (tag_file(tag) && !tag_file(before))
		descriptor_tag_replace(copy, before, tag);
}

void shim_duplicated(int fd, int copy)
{
	struct shim_gate gate;

	while (!descriptor_duplicated(fd, copy)) {
		shim_gate_enter(&gate);
		tag_duplicate(fd, copy);
		bool is_done = tag_file(descriptor_tag_of(copy));
		shim_gate_leave(&gate);
		if (is_done)
			break;
	}
}
