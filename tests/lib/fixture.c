#include "fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "private-shm.h"

static int setup(void **state, const char *scheme)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	snprintf(fixture->folder, sizeof fixture->folder, "/tmp/relock-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->url, sizeof fixture->url, "%s:%s", scheme, fixture->folder);
	assert_int_equal(relock_store_open(&fixture->store, fixture->url), 0);
	*state = fixture;
	return 0;
}

int fixture_setup_ofd(void **state)
{
	return setup(state, "ofd");
}

int fixture_setup_flock(void **state)
{
	return setup(state, "flock");
}

/* Semaphores are all in one place. */
int fixture_setup_sem(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);

	assert_int_equal(private_shm(), 0);
	snprintf(fixture->folder, sizeof fixture->folder, "/dev/shm");
	snprintf(fixture->url, sizeof fixture->url, "sem:");
	assert_int_equal(relock_store_open(&fixture->store, fixture->url), 0);
	*state = fixture;
	return 0;
}

int fixture_teardown_sem(void **state)
{
	struct fixture *fixture = *state;

	relock_store_close(fixture->store);
	private_shm_clear();
	free(fixture);
	return 0;
}

int fixture_setup_nfslock(void **state)
{
	return setup(state, "nfslock");
}

int fixture_setup_link(void **state)
{
	return setup(state, "link");
}

static void remove_folder(const char *path)
{
	DIR *dir = opendir(path);

	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;

	relock_store_close(fixture->store);
	remove_folder(fixture->folder);
	free(fixture);
	return 0;
}

const char *path_of(const struct fixture *fixture, const char *name)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
	return path;
}

relock_lock *handle(const struct fixture *fixture, const char *name)
{
	relock_lock *lock = NULL;

	assert_int_equal(relock_lock_open(&lock, fixture->store, name), 0);
	return lock;
}

static int lock_in_mode(relock_lock *lock, enum relock_mode mode, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = mode;
	request.timeout = timeout;
	return relock_acquire(lock, &request);
}

int try_lock(relock_lock *lock)
{
	return lock_in_mode(lock, RELOCK_EXCLUSIVE, 0);
}

int try_shared(relock_lock *lock)
{
	return lock_in_mode(lock, RELOCK_SHARED, 0);
}

int lock_within(relock_lock *lock, int64_t timeout)
{
	return lock_in_mode(lock, RELOCK_EXCLUSIVE, timeout);
}

int try_elsewhere(const struct fixture *fixture, const char *name)
{
	relock_lock *lock = handle(fixture, name);
	int result = try_lock(lock);

	relock_lock_close(lock);
	return result;
}

const char *state_of(const struct fixture *fixture, const char *name, const char *key)
{
	static char value[8192];
	struct relock_status *status = NULL;
	char *text = NULL;
	size_t length = strlen(key);
	const char *found = NULL;

	assert_int_equal(relock_status(fixture->store, name, &status), 0);
	assert_int_equal(relock_status_text(status, &text), 0);
	for (char *line = strtok(text, "\n"); line && !found; line = strtok(NULL, "\n"))
		if (strncmp(line, key, length) == 0 && strncmp(line + length, ": ", 2) == 0)
			found = line + length + 2;
	if (found)
		snprintf(value, sizeof value, "%s", found);
	free(text);
	relock_status_free(status);
	return found ? value : NULL;
}

int hold_until_told(struct peer *self, void *argument)
{
	const struct holding *holding = argument;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = NULL;

	request.mode = holding->mode;
	if (relock_lock_open(&lock, holding->fixture->store, holding->name) < 0 ||
	    relock_acquire(lock, &request) < 0)
		return 1;
	peer_say(self, 1);
	peer_hear(self);
	int result = relock_release(lock);
	peer_say(self, 2);
	peer_hear(self);
	relock_lock_close(lock);
	return result == 0 ? 0 : -result;
}

int wait_until_told(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	peer_say(self, lock_within(lock, RELOCK_FOREVER));
	peer_hear(self);
	relock_lock_close(lock);
	return 0;
}

long wait_syscall(const struct fixture *fixture)
{
	if (strncmp(fixture->url, "sem:", 4) == 0)
		return SYS_futex;
	if (strncmp(fixture->url, "link:", 5) == 0 || strncmp(fixture->url, "nfslock:", 8) == 0)
		return SYS_ppoll;
	return strncmp(fixture->url, "ofd:", 4) == 0 ? SYS_fcntl : SYS_flock;
}

int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
