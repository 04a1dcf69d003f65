/*
 * Looking at a lock of "sem:".  The semaphore says whether somebody has it; the
 * mark and the seat, whether that is a relock that lives; the record, who that
 * is.  Of others there is only the text that they have left.
 *
 * A look opens for reading and maps nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "process.h"
#include "sem.h"
#include "status.h"

struct look {
	int fd;
	uint64_t word, magic, turn, text_sum;
	bool has_text;
	size_t text_length;
	struct slot slot;
	bool has_record;
	struct sem_seat seats[SEM_SEATS_SHOWN];
	char text[SEM_TEXT_MAX + 1];
};

static int read_page(const char *name, struct look *look)
{
	struct sem_page page;

	memset(&page, 0, sizeof page);
	if (pread(look->fd, &page, sizeof page, 0) < (ssize_t)sizeof page.semaphore)
		return failed(-EIO, "%s: %s/sem.%s cannot be read", name, SEM_FOLDER, name);
	look->word = atomic_load(&page.word);
	look->magic = atomic_load(&page.magic);
	look->turn = atomic_load(&page.turn);
	look->text_sum = atomic_load(&page.text_sum);
	memcpy(look->seats, page.seats, sizeof look->seats);
	if (!sem_page_is_sound(look->word, look->magic))
		return failed(-EBADMSG,
			      "%s: %s/sem.%s has contents that are no semaphore's; if nobody uses "
			      "it, remove it",
			      name, SEM_FOLDER, name);
	return 0;
}

static bool text_was_replaced(const struct look *look)
{
	return look->has_text && look->text_sum &&
	       look->text_sum != sem_text_sum(look->text, look->text_length);
}

static enum sem_owner owner_of(const struct look *look)
{
	bool is_marked = look->word & SEM_MARK && (look->word & SEM_VALUE) == 0;

	/* Given away, and taken by somebody else. */
	if (is_marked && text_was_replaced(look))
		return SEM_OTHER;
	return sem_owner_of(look->word, look->turn, look->fd);
}

static int read_parts(relock_store *store, const char *name, struct look *look)
{
	look->has_text = sem_text_read(store, name, look->text, &look->text_length) == 0;
	int result = read_page(name, look);
	if (result < 0)
		return result;
	look->has_record = look->magic == SEM_MAGIC && slot_read(look->fd, 1, &look->slot);
	return 0;
}

/* The parts are not read in one moment: a holder that has just come, and not
 * written its record, is looked at again. */
static int look_at(relock_store *store, const char *name, struct look *look,
		   enum sem_owner *ret_owner)
{
	enum { TRIES = 8 };

	int result = sem_object_open(store, name, O_RDONLY, &look->fd);
	for (int i = 0; i < TRIES && result == 0; i++) {
		result = read_parts(store, name, look);
		*ret_owner = owner_of(look);
		if (*ret_owner != SEM_RELOCK ||
		    (look->has_record &&
		     look->slot.record.reserved == (uint32_t)(look->turn & TURN_SEAT)))
			break;
	}
	return result;
}

static void end_look(struct look **look)
{
	if (*look && (*look)->fd >= 0)
		close((*look)->fd);
	free(*look);
}

static struct look *new_look(void)
{
	struct look *look = calloc(1, sizeof *look);

	if (look)
		look->fd = -1;
	return look;
}

/* What a text says of a holder that has left no more. */
static void describe_by_text(struct relock_holder *ret, const struct look *look)
{
	const char *info = look->text;

	ret->mode = RELOCK_EXCLUSIVE;
	ret->uid = (uid_t)-1;
	if (!look->has_text)
		return;
	ret->since = sem_text_parse(look->text, &info);
	ret->info = strdup(info);
	ret->info_length = ret->info ? strlen(info) : 0;
}

static void describe_last(const struct look *look, struct relock_status *status)
{
	if (look->has_record && !text_was_replaced(look)) {
		status_last_of_slot(status, &look->slot);
		/* Somebody else has posted for it. */
		if (status->last_end == RELOCK_END_DIED && (look->word & SEM_VALUE) > 0)
			status->last_end = RELOCK_END_RELEASED;
	} else if (look->has_text && look->text_length > 0) {
		describe_by_text(&status->last, look);
		status->last_end = RELOCK_END_RELEASED;
	}
}

struct waiter {
	int64_t since;
	pid_t pid;
};

static int by_arrival(const void *left, const void *right)
{
	const struct waiter *a = left, *b = right;

	return (a->since > b->since) - (a->since < b->since);
}

/* Those of relock: the others sleep in futex(2), and nobody can tell. */
static int describe_waiters(const struct look *look, struct relock_status *status)
{
	struct waiter waiters[SEM_SEATS_SHOWN];
	size_t count = 0;

	for (uint32_t i = 0; look->magic == SEM_MAGIC && i < SEM_SEATS_SHOWN; i++) {
		const struct sem_seat *seat = &look->seats[i];
		if (!seat->waits || !sem_seat_is_taken(look->fd, i + 1))
			continue;
		status->waiter_count++;
		if (seat->pid_namespace == process_self()->pid_namespace &&
		    process_is_alive(seat->pid, seat->start_time))
			waiters[count++] = (struct waiter){seat->since, seat->pid};
	}
	if (count == 0)
		return 0;
	qsort(waiters, count, sizeof *waiters, by_arrival);
	status->waiter_pids = calloc(count, sizeof *status->waiter_pids);
	if (!status->waiter_pids)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		status->waiter_pids[status->waiter_pid_count++] = waiters[i].pid;
	return 0;
}

/* What a person should know, and can do something about. */
static void advise(const struct look *look, enum sem_owner owner, const char *name,
		   struct relock_status *status)
{
	const char *why = NULL;

	if ((look->word & SEM_VALUE) > 1)
		why = "posted more than once for one hold; the next holder here sets it right, "
		      "other programs may both get it";
	else if (owner == SEM_OTHER)
		why = "held by a program other than relock; if that has ended: relock unget "
		      "--force";
	if (!why || asprintf(&status->look_at, "%s/sem.%s", SEM_FOLDER, name) < 0)
		status->look_at = NULL;
	else
		status->why = strdup(why);
}

static int describe(const struct look *look, enum sem_owner owner, struct relock_status *status)
{
	status->has_value = 1;
	status->value = (unsigned)(look->word & SEM_VALUE);
	status->state = owner == SEM_FREE ? RELOCK_FREE : RELOCK_HELD;
	if (owner == SEM_FREE) {
		describe_last(look, status);
		return 0;
	}
	bool is_recorded = owner == SEM_RELOCK && look->has_record &&
			   look->slot.record.reserved == (uint32_t)(look->turn & TURN_SEAT);
	if (is_recorded || owner == SEM_OTHER) {
		status->holders = calloc(1, sizeof *status->holders);
		if (!status->holders)
			return -ENOMEM;
		status->holder_count = 1;
	}
	if (is_recorded)
		status_live_holder_of_slot(status->holders, &look->slot, true);
	else if (owner == SEM_OTHER)
		describe_by_text(status->holders, look);
	return describe_waiters(look, status);
}

int sem_look(relock_store *store, const char *name, struct snapshot *snapshot,
	     struct relock_status *status)
{
	__attribute__((cleanup(end_look))) struct look *look = new_look();
	enum sem_owner owner = SEM_FREE;

	if (!look)
		return -ENOMEM;
	status->state = RELOCK_FREE;
	int result = look_at(store, name, look, &owner);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	advise(look, owner, name, status);
	return describe(look, owner, status);
}

int sem_probe(relock_lock *lock)
{
	__attribute__((cleanup(end_look))) struct look *look = new_look();
	enum sem_owner owner = SEM_FREE;

	if (!look)
		return -ENOMEM;
	int result = look_at(lock->store, lock->name, look, &owner);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	return owner == SEM_FREE ? 0 : -EAGAIN;
}

/* Programs have semaphores that are no locks: a lock has a text beside it, or
 * has been relock's. */
static bool is_a_lock(relock_store *store, const char *name)
{
	CLEANUP_CLOSE int fd = -1;
	uint64_t magic = 0;

	if (faccessat(sem_store_of(store)->files.dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	return sem_object_open(store, name, O_RDONLY, &fd) == 0 &&
	       pread(fd, &magic, sizeof magic, offsetof(struct sem_page, magic)) == sizeof magic &&
	       magic == SEM_MAGIC;
}

int sem_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
		  void *argument)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir(SEM_FOLDER);

	if (!dir)
		return -errno;
	for (struct dirent *entry; (entry = readdir(dir));) {
		const char *name = entry->d_name + SEM_PREFIX_LENGTH;
		if (strncmp(entry->d_name, "sem.", SEM_PREFIX_LENGTH) != 0 ||
		    name_check(name, false) < 0 || !is_a_lock(store, name))
			continue;
		int result = callback(name, argument);
		if (result != 0)
			return result;
	}
	return 0;
}
