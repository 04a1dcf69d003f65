/*
 * Properties, whatever is in the file:
 *
 *  - it can be looked at, and what is found be printed; free means free;
 *  - it can be locked exclusively, by one handle at a time, and shared by two;
 *  - the token is larger than the one that was there;
 *  - other contents than ours are left as they are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "record.h"
#include "relock.h"
#include "repair.h"
#include "target.h"

static char folder[] = "/tmp/relock-fuzz-XXXXXX";
static relock_store *store;
static relock_lock *one, *two;
static int folder_fd = -1;

static void close_store(void)
{
	relock_lock_close(one);
	relock_lock_close(two);
	relock_store_close(store);
	unlinkat(folder_fd, "lock", 0);
	unlinkat(folder_fd, ".pruned", 0);
	close(folder_fd);
	rmdir(folder);
}

static void open_store(void)
{
	char url[64];

	if (!mkdtemp(folder))
		abort();
	snprintf(url, sizeof url, "ofd:%s", folder);
	folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder_fd < 0 || relock_store_open(&store, url) < 0)
		abort();
	atexit(close_store);
}

static void expect(int result, int expected)
{
	if (result == expected)
		return;
	fprintf(stderr, "result %d, not %d: %s\n", result, expected, relock_error_message());
	abort();
}

static int acquire(relock_lock *lock, enum relock_mode mode)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = mode;
	request.timeout = 0;
	return relock_acquire(lock, &request);
}

static void look(enum relock_state expected)
{
	struct relock_status *status = NULL;
	char *text = NULL;

	expect(relock_status(store, "lock", &status), 0);
	if (status->state != expected)
		abort();
	expect(relock_status_text(status, &text), 0);
	if (strlen(text) == 0)
		abort();
	free(text);
	relock_status_free(status);
}

static void put_file(const uint8_t *bytes, size_t size)
{
	unlinkat(folder_fd, "lock", 0);
	int fd = openat(folder_fd, "lock", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		abort();
	close(fd);
}

static bool is_unchanged(const uint8_t *bytes, size_t size)
{
	int fd = openat(folder_fd, "lock", O_RDONLY | O_CLOEXEC);
	uint8_t *now = malloc(size + 1);

	if (fd < 0 || !now)
		abort();
	ssize_t length = read(fd, now, size + 1);
	bool same = length == (ssize_t)size && (!size || memcmp(now, bytes, size) == 0);
	close(fd);
	free(now);
	return same;
}

/* The beginning of a file of ours, or nothing at all. */
static bool is_ours(const uint8_t *bytes, size_t size)
{
	const uint64_t magic = RECORD_MAGIC;

	return size == 0 || (size >= RECORD_PEEK_SIZE && memcmp(bytes, &magic, sizeof magic) == 0);
}

static void check_token(const uint8_t *bytes, size_t size)
{
	uint64_t token, before = 0;

	if (!is_ours(bytes, size)) {
		expect(relock_token(one, &token), -ENODATA);
		return;
	}
	if (size >= RECORD_PEEK_SIZE)
		memcpy(&before, bytes + sizeof before, sizeof before);
	expect(relock_token(one, &token), 0);
	if (before <= RECORD_TOKEN_MAX && token <= before)
		abort();
}

static void lock_and_look(const uint8_t *bytes, size_t size)
{
	look(RELOCK_FREE);
	expect(acquire(one, RELOCK_EXCLUSIVE), 0);
	expect(acquire(two, RELOCK_EXCLUSIVE), -EAGAIN);
	expect(acquire(two, RELOCK_SHARED), -EAGAIN);
	check_token(bytes, size);
	look(RELOCK_HELD);
	expect(relock_release(one), 0);
	look(RELOCK_FREE);
	expect(acquire(one, RELOCK_SHARED), 0);
	expect(acquire(two, RELOCK_SHARED), 0);
	look(RELOCK_HELD);
	expect(relock_release(one), 0);
	expect(relock_release(two), 0);
}

void fuzz_lock_file(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return;
	if (!store)
		open_store();
	expect(relock_lock_open(&one, store, "lock"), 0);
	expect(relock_lock_open(&two, store, "lock"), 0);
	uint8_t *file = malloc(size);
	if (!file)
		abort();
	memcpy(file, bytes + 1, size - 1);
	repair_slots(file, size - 1, *bytes);
	put_file(file, size - 1);
	lock_and_look(file, size - 1);
	if (!is_ours(file, size - 1) && !is_unchanged(file, size - 1))
		abort();
	free(file);
	relock_lock_close(one);
	relock_lock_close(two);
	one = two = NULL;
}
