/*
 * Where they lie.  A program may open files until its limit, and each number
 * of ours is one less for it.  So ours go beyond: the soft limit is raised for
 * the moment of the dup, and a descriptor that is there stays when the limit
 * comes down again.
 *
 * But a fork copies the table of descriptors up to the largest number in use:
 * one of 4,000 makes it slower by a quarter, one of 20,000 by twice.  Where
 * the limit is higher than usual it is farther away, too, and ours take the
 * free numbers from 32 on, just above what most programs use, while they are
 * few; then those from 1,024 on, not to lie between the program's.
 *
 * Where one cannot go beyond, because the hard limit is as low, ours are an
 * eighth of the numbers at most, and never among the last eighth: then there
 * are no more of ours, and the locks of further files go to the program's own
 * descriptors.
 *
 * A bit for each number says which are ours; written by compare-and-exchange,
 * read by anybody.
 */
#include "private-fd.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "raw.h"

enum {
	LOW = 32,
	LOW_COUNT_MAX = 16,
	/* The soft limits beyond which ours go always, and go if there are
	 * more than a few. */
	USUAL_LIMIT = 1024,
	NEAR_LIMIT = 4096,
	NUMBERS_MAX = 1 << 20,
	WORD_BITS = 64,
	CHUNK_BITS = 32768,
	CHUNKS = NUMBERS_MAX / CHUNK_BITS,
	WORDS_PER_CHUNK = CHUNK_BITS / WORD_BITS,
	LOW_WORDS = 64,
};

/* Of the first numbers, where most of ours are, and of all others. */
static _Atomic uint64_t low_words[LOW_WORDS];
static _Atomic(_Atomic uint64_t *) chunks[CHUNKS];
static _Atomic int count, end_of_bits;
_Atomic int shim_private_lowest = INT_MAX;

static _Atomic uint64_t *word_of(int fd, bool make)
{
	if (fd >= 0 && fd < LOW_WORDS * WORD_BITS)
		return &low_words[fd / WORD_BITS];
	if (fd < 0 || fd >= NUMBERS_MAX)
		return NULL;

	_Atomic(_Atomic uint64_t *) *place = &chunks[fd / CHUNK_BITS];
	_Atomic uint64_t *chunk = atomic_load_explicit(place, memory_order_acquire);
	if (!chunk && make) {
		long address = raw_syscall(SYS_mmap, 0, CHUNK_BITS / 8, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (address < 0 && address > -4096)
			return NULL;
		if (atomic_compare_exchange_strong(place, &chunk, (_Atomic uint64_t *)address))
			chunk = (_Atomic uint64_t *)address;
		else
			raw_syscall(SYS_munmap, address, CHUNK_BITS / 8, 0, 0, 0, 0);
	}
	return chunk ? &chunk[fd % CHUNK_BITS / WORD_BITS] : NULL;
}

bool shim_private_has(int fd)
{
	_Atomic uint64_t *word = word_of(fd, false);

	return word && atomic_load_explicit(word, memory_order_acquire) >> fd % WORD_BITS & 1;
}

static bool mark(int fd)
{
	_Atomic uint64_t *word = word_of(fd, true);
	int seen = atomic_load(&shim_private_lowest);

	if (!word)
		return false;
	atomic_fetch_or(word, UINT64_C(1) << fd % WORD_BITS);
	while (fd < seen && !atomic_compare_exchange_weak(&shim_private_lowest, &seen, fd))
		;
	seen = atomic_load(&end_of_bits);
	while (fd >= seen && !atomic_compare_exchange_weak(&end_of_bits, &seen, fd + 1))
		;
	atomic_fetch_add(&count, 1);
	return true;
}

/* True if it was one of ours. */
static bool unmark(int fd)
{
	_Atomic uint64_t *word = word_of(fd, false);
	uint64_t bit = UINT64_C(1) << fd % WORD_BITS;

	if (!word || !(atomic_fetch_and(word, ~bit) & bit))
		return false;
	atomic_fetch_sub(&count, 1);
	return true;
}

static int duplicate(int fd, uint64_t lowest)
{
	return (int)raw_syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (long)lowest, 0, 0, 0);
}

static int limit(const struct rlimit *new, struct rlimit *ret_old)
{
	return (int)raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, (long)new, (long)ret_old, 0, 0);
}

/* Until limit(old, NULL). */
static bool raise_limit(const struct rlimit *old)
{
	struct rlimit raised = {.rlim_cur = old->rlim_max, .rlim_max = old->rlim_max};

	return old->rlim_max > old->rlim_cur && limit(&raised, NULL) == 0;
}

/* Beyond the soft limit; -EMFILE where one cannot or should not. */
static int duplicate_beyond(int fd, const struct rlimit *old)
{
	if (old->rlim_cur > NEAR_LIMIT || !raise_limit(old))
		return -EMFILE;
	int result = duplicate(fd, old->rlim_cur);
	limit(old, NULL);
	return result;
}

int shim_private_open(const char *path, int flags)
{
	struct rlimit old;

	int fd = raw_openat(AT_FDCWD, path, flags | O_CLOEXEC, 0);
	if (fd == -EMFILE && limit(NULL, &old) == 0 && raise_limit(&old)) {
		fd = raw_openat(AT_FDCWD, path, flags | O_CLOEXEC, 0);
		limit(&old, NULL);
	}
	return fd;
}

static uint64_t lowest_number(uint64_t soft_limit)
{
	if (soft_limit > NEAR_LIMIT && atomic_load(&count) >= LOW_COUNT_MAX)
		return USUAL_LIMIT;
	return soft_limit > LOW * 2 ? LOW : soft_limit / 2;
}

/* A duplicate that is out of the way, or a negative errno. */
static int duplicate_away(int fd)
{
	struct rlimit old = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
	int result = -EMFILE;

	limit(NULL, &old);
	if (old.rlim_cur <= USUAL_LIMIT || atomic_load(&count) >= LOW_COUNT_MAX)
		result = duplicate_beyond(fd, &old);
	if (result >= 0)
		return result;
	if (old.rlim_max <= old.rlim_cur && (uint64_t)atomic_load(&count) >= old.rlim_cur / 8)
		return -EMFILE;
	result = duplicate(fd, lowest_number(old.rlim_cur));
	if (result < 0 || (uint64_t)result < old.rlim_cur - old.rlim_cur / 8)
		return result;
	raw_close(result);
	return duplicate_beyond(fd, &old);
}

int shim_private_duplicate(int fd)
{
	int duplicated = duplicate_away(fd);

	if (duplicated < 0 || mark(duplicated))
		return duplicated;
	raw_close(duplicated);
	return -ENOMEM;
}

int shim_private_place(int fd)
{
	int placed = shim_private_duplicate(fd);

	raw_close(fd);
	return placed;
}

int shim_private_move(int fd)
{
	int moved = shim_private_duplicate(fd);

	if (moved >= 0)
		unmark(fd);
	return moved;
}

void shim_private_close(int fd)
{
	/* The other way round, somebody who gets the number could find it marked. */
	if (unmark(fd))
		raw_close(fd);
}

bool shim_private_adopt(int fd)
{
	return raw_syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC, 0, 0, 0) == 0 && mark(fd);
}

int shim_private_next(int from)
{
	int end = atomic_load(&end_of_bits);

	for (int fd = from; fd < end; fd++) {
		_Atomic uint64_t *word = word_of(fd, false);
		uint64_t bits = word ? atomic_load(word) >> fd % WORD_BITS : 0;
		if (bits)
			return fd + __builtin_ctzll(bits);
		fd |= WORD_BITS - 1;
	}
	return INT_MAX;
}

void shim_private_close_copies(void)
{
	for (int fd = shim_private_next(0); fd != INT_MAX; fd = shim_private_next(fd + 1))
		raw_close(fd);
}

void shim_private_forget_all(void)
{
	for (int fd = shim_private_next(0); fd != INT_MAX; fd = shim_private_next(fd + 1))
		unmark(fd);
	atomic_store(&shim_private_lowest, INT_MAX);
	atomic_store(&end_of_bits, 0);
}

void shim_private_close_all(void)
{
	shim_private_close_copies();
	shim_private_forget_all();
}
