/*
 * See deadlock-table.h.
 *
 * The folder of the table of all users is sticky, and so is /dev/shm: others
 * can put a file or a link there under our name.  So a link is not followed,
 * and what is opened must be a regular file with one name, of root or of this
 * user.  The table of one user is not even readable for others.
 *
 * The order of a claim matters.  A process that was killed leaves its record;
 * if the slot were taken for alive as soon as its next owner has it, that
 * record would be believed.  So the second byte is locked once the owner has
 * written its own.
 */
#include "deadlock-table.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "private-fd.h"
#include "raw.h"
#include "text.h"

#define SHARED_TABLE "/run/relock/.waits"
#define USERS_TABLE  "/dev/shm/relock-waits-"

/* Of the layout: a change of it needs another. */
#define MAGIC 0x31747772U

enum {
	OPEN_FLAGS = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
	/* Touched only as far as there is something to read. */
	VIEW_SIZE_MIN = 128 << 10,
	VIEW_SIZE_MAX = 32 << 20,
	VIEW_BYTES_PER_NODE = 256,
	/* What one read takes: more than most records have. */
	FIRST_READ = 1024,
	READ_ATTEMPTS = 100,
};

_Static_assert(sizeof(struct deadlock_record) % 8 == 0 && sizeof(struct deadlock_want) % 8 == 0 &&
		       sizeof(struct deadlock_span) % 8 == 0,
	       "the checksum is over words");

static ssize_t raw_pread(int fd, void *buffer, size_t size, off_t offset)
{
	return raw_syscall(SYS_pread64, fd, (long)buffer, (long)size, offset, 0, 0);
}

static ssize_t raw_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return raw_syscall(SYS_pwrite64, fd, (long)bytes, (long)size, offset, 0, 0);
}

static bool is_trusted(int fd, uid_t owner)
{
	struct stat status;

	return raw_syscall(SYS_fstat, fd, (long)&status, 0, 0, 0, 0) == 0 &&
	       S_ISREG(status.st_mode) && status.st_nlink == 1 && status.st_uid == owner;
}

/* Closes what cannot be trusted. */
static int trusted(int fd, uid_t owner)
{
	if (fd < 0 || is_trusted(fd, owner))
		return fd;
	raw_close(fd);
	return -EPERM;
}

static int open_users_table(void)
{
	char path[64];
	struct text text = TEXT(path);
	uid_t user = (uid_t)raw_syscall(SYS_geteuid, 0, 0, 0, 0, 0, 0);

	text_add(&text, USERS_TABLE);
	text_add_number(&text, user);
	int fd = raw_openat(AT_FDCWD, path, OPEN_FLAGS, 0);
	if (fd == -ENOENT) {
		fd = raw_openat(AT_FDCWD, path, OPEN_FLAGS | O_CREAT | O_EXCL, 0600);
		/* Whatever the umask is. */
		if (fd >= 0)
			raw_syscall(SYS_fchmod, fd, 0600, 0, 0, 0, 0);
		else if (fd == -EEXIST)
			fd = raw_openat(AT_FDCWD, path, OPEN_FLAGS, 0);
	}
	return trusted(fd, user);
}

static int open_table(void)
{
	int fd = trusted(raw_openat(AT_FDCWD, SHARED_TABLE, OPEN_FLAGS, 0), 0);

	return fd >= 0 ? fd : open_users_table();
}

static int set_lock(int fd, short type, off_t first, off_t length)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = length};

	return raw_fcntl(fd, F_OFD_SETLK, &lock);
}

static int claim(int fd)
{
	int result = -EAGAIN;

	for (int slot = 0; slot < DEADLOCK_SLOTS_MAX && result == -EAGAIN; slot++) {
		result = set_lock(fd, F_WRLCK, slot, 1);
		if (result == 0)
			return slot;
	}
	return result == -EAGAIN ? -ENOSPC : result;
}

int deadlock_table_open(struct deadlock_table *table)
{
	int fd = open_table();

	if (fd >= 0)
		fd = shim_private_place(fd);
	if (fd < 0)
		return fd;
	int slot = claim(fd);
	if (slot < 0) {
		shim_private_close(fd);
		return slot;
	}
	*table = (struct deadlock_table){.fd = fd, .slot = slot};
	return 0;
}

void deadlock_table_close(struct deadlock_table *table)
{
	if (table->fd < 0)
		return;
	/* A child that a raw system call has made may have a copy. */
	set_lock(table->fd, F_UNLCK, 0, 0);
	shim_private_close(table->fd);
	table->fd = -1;
}

/* Without a look at what lies beyond the record itself. */
static bool is_plausible(const struct deadlock_record *record, int slot)
{
	return record->magic == MAGIC && record->slot == (uint32_t)slot &&
	       record->want_count <= DEADLOCK_WANTS_MAX && record->hold_count <= DEADLOCK_HOLDS_MAX;
}

static size_t length_of(const struct deadlock_record *record)
{
	return sizeof *record + record->want_count * sizeof(struct deadlock_want) +
	       record->hold_count * sizeof(struct deadlock_span);
}

typedef uint64_t __attribute__((may_alias)) any_word;

static uint64_t checksum_of(const struct deadlock_record *record)
{
	const any_word *words = (const any_word *)record;
	size_t count = length_of(record) / sizeof *words;
	uint64_t sum = count;

	for (size_t i = 1; i < count; i++) {
		sum = (sum ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 32;
	}
	return sum;
}

/* A write beyond it would be SIGXFSZ, which kills. */
static bool is_within_file_size_limit(off_t end)
{
	struct rlimit limit;

	return raw_syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, 0, (long)&limit, 0, 0) == 0 &&
	       (uint64_t)end <= limit.rlim_cur;
}

int deadlock_table_write(struct deadlock_table *table, struct deadlock_record *record)
{
	off_t offset = (off_t)table->slot * DEADLOCK_SLOT_SIZE;

	record->magic = MAGIC;
	record->slot = (uint32_t)table->slot;
	record->checksum = checksum_of(record);
	size_t length = length_of(record);
	if (!is_within_file_size_limit(offset + (off_t)length))
		return -EFBIG;
	ssize_t written = raw_pwrite(table->fd, record, length, offset);
	if (written != (ssize_t)length)
		return written < 0 ? (int)written : -ENOSPC;
	if (!table->is_live) {
		int result = set_lock(table->fd, F_WRLCK, DEADLOCK_SLOTS_MAX + table->slot, 1);
		if (result < 0)
			return result;
		table->is_live = true;
	}
	return 0;
}

/* The first live slot of another process from this one on, or -1.  The kernel
 * answers with any lock in the range, not with the first. */
static int next_live(int fd, int from)
{
	off_t begin = DEADLOCK_SLOTS_MAX + from, end = 2 * DEADLOCK_SLOTS_MAX;
	int found = -1;

	while (begin < end) {
		struct flock lock = {.l_type = F_WRLCK, .l_start = begin, .l_len = end - begin};
		if (raw_fcntl(fd, F_OFD_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
			break;
		end = lock.l_start < begin ? begin : lock.l_start;
		found = (int)(end - DEADLOCK_SLOTS_MAX);
	}
	return found;
}

/* Its length, 0 if it is none, or -E2BIG if there is not room enough. */
static ssize_t read_record(int fd, int slot, struct deadlock_record *ret, size_t room)
{
	off_t offset = (off_t)slot * DEADLOCK_SLOT_SIZE;

	for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
		size_t wanted = room < FIRST_READ ? room : FIRST_READ;
		ssize_t count = raw_pread(fd, ret, wanted, offset);
		if (wanted < sizeof *ret)
			return -E2BIG;
		if (count < (ssize_t)sizeof *ret || !is_plausible(ret, slot))
			return 0;
		size_t length = length_of(ret), have = (size_t)count;
		if (length > room)
			return -E2BIG;
		if (length > have)
			count = raw_pread(fd, (char *)ret + have, length - have,
					  offset + (off_t)have);
		if ((length <= have || count == (ssize_t)(length - have)) &&
		    checksum_of(ret) == ret->checksum)
			return (ssize_t)length;
		raw_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	}
	return 0;
}

static int map_view(struct deadlock_view *view, size_t size)
{
	long address = raw_syscall(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (address < 0 && address > -4096)
		return (int)address;
	*view = (struct deadlock_view){.map = (char *)address, .size = size};
	return 0;
}

/* The copies begin behind scratch, nodes and queue.  -E2BIG: there is more than
 * fits.  Nothing may be left out: a newcomer's record must not take the place
 * of one that was there before. */
static int fill_view(int fd, struct deadlock_view *view)
{
	size_t room = view->size / VIEW_BYTES_PER_NODE;
	char *at = view->map, *end = at + view->size;

	view->scratch = at;
	at += DEADLOCK_SCRATCH_SIZE;
	view->nodes = (struct deadlock_node *)at;
	at += room * sizeof *view->nodes;
	view->queue = (uint32_t *)at;
	at += (room * sizeof *view->queue + 7) / 8 * 8;
	for (int slot = -1; (slot = next_live(fd, slot + 1)) >= 0;) {
		struct deadlock_record *record = (struct deadlock_record *)at;
		if (view->count == room)
			return -E2BIG;
		ssize_t length = read_record(fd, slot, record, (size_t)(end - at));
		if (length < 0)
			return (int)length;
		if (length == 0)
			continue;
		for (uint32_t i = 0; i < record->want_count; i++)
			deadlock_wants(record)[i].flags &= DEADLOCK_WRITTEN;
		view->nodes[view->count++].record = record;
		at += length;
	}
	return 0;
}

int deadlock_table_view(const struct deadlock_table *table, struct deadlock_view *ret)
{
	int result = -E2BIG;

	*ret = (struct deadlock_view){0};
	if (next_live(table->fd, 0) < 0)
		return 0;
	for (size_t size = VIEW_SIZE_MIN; result == -E2BIG && size <= VIEW_SIZE_MAX; size *= 2) {
		result = map_view(ret, size);
		if (result < 0)
			break;
		result = fill_view(table->fd, ret);
		if (result < 0)
			deadlock_view_free(ret);
	}
	return result;
}

void deadlock_view_free(struct deadlock_view *view)
{
	if (view->map)
		raw_syscall(SYS_munmap, (long)view->map, (long)view->size, 0, 0, 0, 0);
	view->map = NULL;
}
