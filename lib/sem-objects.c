/*
 * The objects of a lock of "sem:": the POSIX semaphore and the shared memory.
 *
 * glibc keeps both as files in /dev/shm, which sem_overview(7) and
 * shm_overview(7) tell; they are opened as such, and not by sem_open(3), since a
 * descriptor is wanted too.  New ones are made as sem_open(3) makes them: whole
 * before they have a name, mode 0600 less the umask, as resourcelock asks for.
 *
 * The semaphore's file is made longer for what is relock's.  Its pages are
 * allocated beforehand: where there is no room for them, a lock is held without
 * its record; a write to a page that cannot be had would be a SIGBUS.  The first
 * page is there, or nobody could use the semaphore.
 *
 * Semaphores are mapped by everybody who uses them, so who may write one could
 * always cut it short under the others' feet; relock adds no new danger by
 * mapping the rest of it, and the text, as resourcelock does.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "clock.h"
#include "fork.h"
#include "message.h"
#include "sem.h"

/* O_NONBLOCK: a FIFO must not stop us before it is refused. */
#define HOW (O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static int folder_of(const relock_store *store)
{
	return sem_store_of(store)->files.dir_fd;
}

static void file_name(char *buffer, size_t size, const char *name)
{
	snprintf(buffer, size, "sem.%s", name);
}

static int explain(const char *prefix, const char *name, int error)
{
	const char *why = strerrordesc_np(-error);

	switch (error) {
	case -ELOOP:
		why = "a symbolic link, which no semaphore is";
		break;
	case -EISDIR:
		why = "a folder, and no semaphore";
		break;
	case -EACCES:
		why = "no permission; it belongs to another user, or has another mode (see "
		      "sem_open(3))";
		break;
	case -ENOSPC:
		why = "no space left for it";
		break;
	default:
		break;
	}
	return failed(error, "%s: %s/%s%s: %s", name, SEM_FOLDER, prefix, name, why);
}

static int refuse(const char *name, const char *why)
{
	return failed(-EBADMSG, "%s: %s/sem.%s %s; if nobody uses it, remove it", name, SEM_FOLDER,
		      name, why);
}

/* Complete, and then linked: `content` is what it begins with. */
static int make_file(const relock_store *store, const char *name, const void *content,
		     size_t length, off_t size)
{
	CLEANUP_CLOSE int fd = openat(folder_of(store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[32];

	if (fd < 0)
		return -errno;
	ssize_t written = pwrite(fd, content, length, 0);
	if (written != (ssize_t)length)
		return written < 0 ? -errno : -ENOSPC;
	if (size > 0 && fallocate(fd, 0, 0, size) < 0)
		return -errno;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, folder_of(store), name, AT_SYMLINK_FOLLOW) < 0)
		return errno == EEXIST ? 0 : -errno;
	return 0;
}

/* Without /proc, a file gets no name; glibc gives it a name first. */
static int make_by_glibc(const char *name)
{
	sem_t *semaphore = sem_open(name, O_CREAT, 0600, 1);

	if (semaphore == SEM_FAILED)
		return -errno;
	sem_close(semaphore);
	return 0;
}

static int make_semaphore(const relock_store *store, const char *name)
{
	union {
		sem_t semaphore;
		unsigned char bytes[sizeof(sem_t)];
	} content;

	memset(&content, 0, sizeof content);
	if (sem_init(&content.semaphore, 1, 1) < 0)
		return -errno;
	int result = make_file(store, name, &content, sizeof content, 0);
	return result == -ENOENT ? make_by_glibc(name + SEM_PREFIX_LENGTH) : result;
}

int sem_object_open(const relock_store *store, const char *name, int flags, int *ret_fd)
{
	char path[SEM_NAME_MAX + SEM_PREFIX_LENGTH + 1];
	struct stat status;

	file_name(path, sizeof path, name);
	CLEANUP_CLOSE int fd = openat(folder_of(store), path, flags | HOW);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : explain("sem.", name, -errno);
	if (fstat(fd, &status) < 0)
		return explain("sem.", name, -errno);
	if (S_ISDIR(status.st_mode))
		return explain("sem.", name, -EISDIR);
	if (!S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(sem_t))
		return refuse(name, "is too short for a semaphore, or no file");
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int open_or_make(relock_lock *lock, bool make, int *ret_fd)
{
	char path[SEM_NAME_MAX + SEM_PREFIX_LENGTH + 1];
	int result;

	file_name(path, sizeof path, lock->name);
	while ((result = sem_object_open(lock->store, lock->name, O_RDWR, ret_fd)) == -ENOENT &&
	       make) {
		result = make_semaphore(lock->store, path);
		if (result < 0)
			return explain("sem.", lock->name, result);
	}
	return result;
}

bool sem_page_is_sound(uint64_t word, uint64_t magic)
{
	if ((word & SEM_VALUE) > SEM_VALUE_MAX)
		return false;
	return magic == SEM_MAGIC || (magic == 0 && !(word & SEM_MARK));
}

/* As much of it as there is room for. */
static int make_longer(int fd, const struct stat *status, size_t *ret_size)
{
	*ret_size = SEM_FILE_SIZE;
	if (fallocate(fd, 0, 0, SEM_FILE_SIZE) == 0)
		return 0;
	debug("no room for a record in a semaphore: %s", strerrorname_np(errno));
	*ret_size = SEM_PAGE_SIZE;
	if (status->st_size >= SEM_PAGE_SIZE)
		return fallocate(fd, 0, 0, SEM_PAGE_SIZE) < 0 ? -errno : 0;
	return ftruncate(fd, SEM_PAGE_SIZE) < 0 ? -errno : 0;
}

static int map_semaphore(relock_lock *lock, int fd)
{
	struct sem_lock *sem = sem_lock_of(lock);
	struct stat status;
	size_t size;

	if (fstat(fd, &status) < 0)
		return explain("sem.", lock->name, -errno);
	int result = make_longer(fd, &status, &size);
	if (result < 0)
		return explain("sem.", lock->name, result);
	unsigned char *start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (start == MAP_FAILED)
		return explain("sem.", lock->name, -errno);
	struct sem_page *page = (struct sem_page *)(void *)start;
	if (!sem_page_is_sound(atomic_load(&page->word), atomic_load(&page->magic))) {
		munmap(start, size);
		return refuse(lock->name, "has contents that are no semaphore's");
	}
	sem->page = page;
	sem->slot = size == SEM_FILE_SIZE ? (struct slot *)(void *)(start + SLOT_SIZE) : NULL;
	sem->file.device = status.st_dev;
	sem->file.inode = status.st_ino;
	return 0;
}

/* The text */

static int open_text(const relock_store *store, const char *name, int flags)
{
	int fd = openat(folder_of(store), name, flags | HOW);

	return fd < 0 ? -errno : fd;
}

/* A lock is as good without its text: then resourcelock does not show whose it
 * is. */
static void map_text(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);
	CLEANUP_CLOSE int fd = open_text(lock->store, lock->name, O_RDWR);
	struct stat status;

	if (fd == -ENOENT && make_file(lock->store, lock->name, "", 1, SEM_TEXT_MAX) == 0)
		fd = open_text(lock->store, lock->name, O_RDWR);
	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		debug("%s: no text, since %s/%s cannot be written to", lock->name, SEM_FOLDER,
		      lock->name);
		return;
	}
	size_t size = status.st_size == 0 || status.st_size > SEM_TEXT_MAX ? SEM_TEXT_MAX
									   : (size_t)status.st_size;
	if (fallocate(fd, 0, 0, (off_t)size) < 0) {
		debug("%s: no room for the text in %s/%s", lock->name, SEM_FOLDER, lock->name);
		return;
	}
	void *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		return;
	sem->text = text;
	sem->text_size = size;
	sem->text_fd = TAKE_FD(fd);
}

int sem_text_read(const relock_store *store, const char *name, char *buffer, size_t *ret_length)
{
	CLEANUP_CLOSE int fd = open_text(store, name, O_RDONLY);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		return -ENOENT;
	ssize_t length = pread(fd, buffer, SEM_TEXT_MAX, 0);
	if (length < 0)
		return -errno;
	buffer[length] = '\0';
	*ret_length = strlen(buffer);
	return 0;
}

/* All of it */

static void unmap(struct sem_lock *sem)
{
	if (sem->page)
		munmap(sem->page, sem->slot ? SEM_FILE_SIZE : SEM_PAGE_SIZE);
	if (sem->text)
		munmap(sem->text, sem->text_size);
	if (sem->text_fd >= 0)
		close(TAKE_FD(sem->text_fd));
	if (sem->file.fd >= 0)
		close(TAKE_FD(sem->file.fd));
	sem->page = NULL;
	sem->slot = NULL;
	sem->text = NULL;
	sem->is_drawn_for_self = false; /* the descriptor's number is in the record */
	sem->file.recorded = false;
	sem->seat = 0;
	sem->turn = 0;
}

void sem_objects_forget(struct sem_lock *sem)
{
	unmap(sem);
}

void sem_objects_close(struct sem_lock *sem)
{
	fork_prevent();
	unmap(sem);
	fork_allow();
}

static int open_as(relock_lock *lock, int fd)
{
	struct sem_lock *sem = sem_lock_of(lock);

	sem->file.fd = fd;
	sem->file.uid = geteuid();
	int result = map_semaphore(lock, fd);
	if (result < 0)
		return result;
	map_text(lock);
	sem->examined = 0;
	return 0;
}

int sem_objects_open_as(relock_lock *lock, int fd)
{
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	fork_prevent();
	int result = open_as(lock, fd);
	if (result < 0)
		unmap(sem_lock_of(lock));
	fork_allow();
	return result;
}

int sem_objects_open(relock_lock *lock, bool make)
{
	struct sem_lock *sem = sem_lock_of(lock);
	int fd = -1;

	/* A child must know of the descriptors, to forget them. */
	fork_prevent();
	int result = open_or_make(lock, make, &fd);
	if (result == 0)
		result = open_as(lock, fd);
	if (result == 0)
		result = sem_seat_take(sem, lock->name);
	if (result < 0)
		unmap(sem);
	fork_allow();
	return result;
}

static bool leads_to(int folder, const char *name, int fd, off_t size)
{
	struct stat entry, file;

	return fstat(fd, &file) == 0 && file.st_size >= size &&
	       fstatat(folder, name, &entry, AT_SYMLINK_NOFOLLOW) == 0 &&
	       entry.st_ino == file.st_ino && entry.st_dev == file.st_dev;
}

int sem_objects_are_current(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);
	char path[SEM_NAME_MAX + SEM_PREFIX_LENGTH + 1];

	file_name(path, sizeof path, lock->name);
	if (!leads_to(folder_of(lock->store), path, sem->file.fd,
		      sem->slot ? SEM_FILE_SIZE : SEM_PAGE_SIZE))
		return 0;
	/* The text is not the lock: it is opened anew, but for the holder, who has
	 * written into this one. */
	if (sem->text && sem->turn == 0 &&
	    !leads_to(folder_of(lock->store), lock->name, sem->text_fd, (off_t)sem->text_size))
		return 0;
	return 1;
}
