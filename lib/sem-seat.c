/*
 * Seats: who lives.
 *
 * Each handle that takes part in a lock of "sem:" has a seat, a number, and with
 * it a lock on one byte of the semaphore's file, far beyond its end: an
 * open-file-description lock, which the kernel takes away when the last
 * descriptor is closed, however its process ends.  So whether somebody lives is
 * neither a question of pids, which are used again and mean something else in
 * another namespace, nor of time.  glibc locks nothing in that file.
 *
 * A seat stays taken from the first acquisition to the end of the handle: the
 * lock itself costs no system call.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "message.h"
#include "proc-locks.h"
#include "process.h"
#include "sem.h"

#define FIRST_BYTE (INT64_C(1) << 32)

static int set_lock(int fd, uint32_t seat, short type)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = FIRST_BYTE + seat, .l_len = 1};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* What cannot be asked counts as alive: better no lock than two holders. */
bool sem_seat_is_taken(int fd, uint32_t seat)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = FIRST_BYTE + seat, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

bool sem_seat_begin_recovery(struct sem_lock *sem, uint32_t seat)
{
	return set_lock(sem->file.fd, seat, F_WRLCK) == 0;
}

void sem_seat_end_recovery(struct sem_lock *sem, uint32_t seat)
{
	(void)set_lock(sem->file.fd, seat, F_UNLCK);
}

static bool has_the_turn(const struct sem_page *page, uint32_t seat)
{
	return (atomic_load(&page->turn) & TURN_SEAT) == seat;
}

/* Not the seat of one that has ended in its turn: its successor takes that over
 * from outside, and nobody else may. */
static int try_seat(struct sem_lock *sem, uint32_t seat)
{
	if (has_the_turn(sem->page, seat))
		return -EAGAIN;
	int result = set_lock(sem->file.fd, seat, F_WRLCK);
	if (result < 0)
		return result;
	if (has_the_turn(sem->page, seat)) {
		(void)set_lock(sem->file.fd, seat, F_UNLCK);
		return -EAGAIN;
	}
	sem->seat = seat;
	return 0;
}

int sem_seat_take(struct sem_lock *sem, const char *name)
{
	enum { TRIES = 256 };
	uint32_t chance = 0;
	int result = -EAGAIN;

	/* Only to find a free one soon. */
	if (getrandom(&chance, sizeof chance, GRND_NONBLOCK) < 0)
		chance = (uint32_t)moment_now();
	for (uint32_t i = 0; i < TRIES && result == -EAGAIN; i++) {
		uint32_t seat = (chance + i) % SEM_SEATS_SHOWN + 1;
		if (i >= SEM_SEATS_SHOWN)
			seat = SEM_SEATS_SHOWN + 1 +
			       (chance + i * 65521) % (uint32_t)(TURN_SEAT - SEM_SEATS_SHOWN);
		result = try_seat(sem, seat);
	}
	return result == 0 ? 0
			   : failed(result == -EAGAIN ? -ENOLCK : result,
				    "%s: no lock on %s/sem.%s to be had, by which others see "
				    "that we live: %s",
				    name, SEM_FOLDER, name, strerrordesc_np(-result));
}

void sem_seat_leave(struct sem_lock *sem)
{
	if (sem->seat)
		(void)set_lock(sem->file.fd, sem->seat, F_UNLCK);
	sem->seat = 0;
}

uint32_t sem_seat_of(int fd)
{
	struct lock_line line = {0};
	struct file_id id;

	if (file_id_of(fd, &id) < 0 ||
	    descriptor_holds(process_self()->pid, fd, LOCK_LINE_OFD, &id, &line) != 1)
		return 0;
	uint64_t seat = line.start - (uint64_t)FIRST_BYTE;
	return line.start > (uint64_t)FIRST_BYTE && seat <= TURN_SEAT ? (uint32_t)seat : 0;
}

void sem_seat_waits(struct sem_lock *sem, bool waits)
{
	const struct self *self = process_self();

	if (sem->seat == 0 || sem->seat > SEM_SEATS_SHOWN)
		return;
	struct sem_seat *seat = &sem->page->seats[sem->seat - 1];
	if (waits) {
		seat->pid = self->pid;
		seat->start_time = self->start_time;
		seat->pid_namespace = self->pid_namespace;
		seat->since = moment_now();
	}
	seat->waits = waits;
}
