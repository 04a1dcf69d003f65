#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "private-shm.h"

enum { PATIENCE_MS = 20000 };

static bool is_mounted(const char *path)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	assert_non_null(mounts);
	while (!found && (mount = getmntent(mounts)))
		found = strcmp(mount->mnt_dir, path) == 0;
	endmntent(mounts);
	return found;
}

/* The kernel wakes pollers of the mount table at each change of it. */
static void await_mount(struct daemon *daemon)
{
	struct pollfd table = {.fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC),
			       .events = POLLPRI};
	int pid_fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
	struct pollfd fds[] = {table, {.fd = pid_fd, .events = POLLIN}};

	while (!is_mounted(daemon->mountpoint)) {
		if (poll(fds, 2, PATIENCE_MS) <= 0)
			fail_msg("relockfs does not mount");
		if (fds[1].revents) {
			char *errors = daemon_errors(daemon);
			fail_msg("relockfs has ended: %s", errors);
		}
	}
	close(pid_fd);
	close(table.fd);
}

static void daemon_start(struct daemon *daemon, const char *folder, const char *name,
			 const char *url, const char *options)
{
	const char *program = getenv("RELOCKFS");
	pid_t parent = getpid();

	assert_non_null(program);
	snprintf(daemon->mountpoint, sizeof daemon->mountpoint, "%s/%s", folder, name);
	assert_int_equal(mkdir(daemon->mountpoint, 0755), 0);
	daemon->errors = memfd_create("errors", MFD_CLOEXEC);
	assert_true(daemon->errors >= 0);
	daemon->pid = fork();
	assert_true(daemon->pid >= 0);
	if (daemon->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() != parent)
			_exit(99);
		dup2(daemon->errors, 1);
		dup2(daemon->errors, 2);
		execl(program, program, "-f", url, daemon->mountpoint, options ? "-o" : NULL,
		      options, (char *)NULL);
		_exit(127);
	}
	await_mount(daemon);
}

char *daemon_errors(const struct daemon *daemon)
{
	char *text = calloc(1, 65536);

	assert_non_null(text);
	assert_true(pread(daemon->errors, text, 65535, 0) >= 0);
	return text;
}

static bool has_ended(int pid_fd)
{
	struct pollfd fd = {.fd = pid_fd, .events = POLLIN};

	return poll(&fd, 1, PATIENCE_MS) == 1;
}

int daemon_end(struct daemon *daemon, int signal)
{
	int pid_fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0), status = 0;

	assert_true(pid_fd >= 0);
	kill(daemon->pid, signal);
	if (!has_ended(pid_fd)) {
		char *errors = daemon_errors(daemon);
		umount2(daemon->mountpoint, MNT_DETACH);
		kill(daemon->pid, SIGKILL);
		print_error("relockfs does not end; it says: %s\n", errors);
		free(errors);
	}
	close(pid_fd);
	waitpid(daemon->pid, &status, 0);
	daemon->pid = 0;
	return status;
}

/* A test that failed may hold locks still; the daemon does not end then. */
static void close_locks(const struct daemon *daemon)
{
	DIR *descriptors = opendir("/proc/self/fd");
	char target[PATH_MAX];

	assert_non_null(descriptors);
	for (struct dirent *entry; (entry = readdir(descriptors));) {
		ssize_t length =
			readlinkat(dirfd(descriptors), entry->d_name, target, sizeof target);
		if (length > (ssize_t)strlen(daemon->mountpoint) &&
		    strncmp(target, daemon->mountpoint, strlen(daemon->mountpoint)) == 0)
			close(atoi(entry->d_name));
	}
	closedir(descriptors);
}

/* Leaves nothing behind, and fails if the daemon did. */
static void daemon_clean(struct daemon *daemon)
{
	if (!daemon->mountpoint[0])
		return;
	close_locks(daemon);
	if (daemon->pid != 0) {
		int status = daemon_end(daemon, SIGTERM);
		char *errors = daemon_errors(daemon);
		if (status != 0)
			print_error("relockfs ended with status %#x: %s\n", (unsigned)status,
				    errors);
		free(errors);
		assert_int_equal(status, 0);
	}
	close(daemon->errors);
	if (is_mounted(daemon->mountpoint)) {
		umount2(daemon->mountpoint, MNT_DETACH);
		fail_msg("%s is still mounted", daemon->mountpoint);
	}
	assert_int_equal(rmdir(daemon->mountpoint), 0);
}

static int setup(void **state, const char *scheme)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	char store[96];

	assert_non_null(fixture);
	strcpy(fixture->folder, "/tmp/relockfs-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	assert_int_equal(chmod(fixture->folder, 0755), 0);
	snprintf(store, sizeof store, "%s/store", fixture->folder);
	assert_int_equal(mkdir(store, 0755), 0);
	if (strcmp(scheme, "sem") == 0)
		snprintf(fixture->store_url, sizeof fixture->store_url, "sem:");
	else
		snprintf(fixture->store_url, sizeof fixture->store_url, "%s:%s", scheme, store);
	assert_int_equal(relock_store_open(&fixture->store, fixture->store_url), 0);
	*state = fixture;
	daemon_start(&fixture->daemon, fixture->folder, "locks", fixture->store_url, NULL);
	return 0;
}

int fixture_setup(void **state)
{
	return setup(state, "ofd");
}

int fixture_setup_link(void **state)
{
	return setup(state, "link");
}

int fixture_setup_nfslock(void **state)
{
	return setup(state, "nfslock");
}

int fixture_setup_sem(void **state)
{
	assert_int_equal(private_shm(), 0);
	private_shm_clear();
	return setup(state, "sem");
}

void fixture_start_second(struct fixture *fixture)
{
	daemon_start(&fixture->second, fixture->folder, "second", fixture->store_url, NULL);
}

void fixture_mount_with(struct fixture *fixture, const char *options)
{
	daemon_clean(&fixture->daemon);
	daemon_start(&fixture->daemon, fixture->folder, "locks", fixture->store_url, options);
}

static void remove_files(const char *path)
{
	DIR *dir = opendir(path);

	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	closedir(dir);
	assert_int_equal(rmdir(path), 0);
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	char store[96];

	daemon_clean(&fixture->second);
	daemon_clean(&fixture->daemon);
	relock_store_close(fixture->store);
	snprintf(store, sizeof store, "%s/store", fixture->folder);
	remove_files(store);
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

const char *lock_path(const struct fixture *fixture, const char *name)
{
	static char paths[8][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, PATH_MAX, "%s/%s", fixture->daemon.mountpoint, name);
	return path;
}

int open_lock(const struct fixture *fixture, const char *name, int flags)
{
	int fd = open(lock_path(fixture, name), flags | O_CLOEXEC, 0666);

	if (fd < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return fd;
}

int try_open(const struct fixture *fixture, const char *name, int flags)
{
	int fd = open(lock_path(fixture, name), flags | O_CLOEXEC, 0666);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static char *read_all(int fd)
{
	char *text = calloc(1, 65536);
	size_t length = 0;
	ssize_t part;

	assert_non_null(text);
	while ((part = pread(fd, text + length, 65535 - length, (off_t)length)) > 0)
		length += (size_t)part;
	assert_true(part == 0);
	return text;
}

char *read_lock(const struct fixture *fixture, const char *name)
{
	int fd = open(lock_path(fixture, name), O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		assert_int_equal(errno, ENOENT);
		return NULL;
	}
	char *text = read_all(fd);
	close(fd);
	return text;
}

char *value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && strncmp(line + length, ": ", 2) == 0) {
			const char *value = line + length + 2;
			return strndup(value, strcspn(value, "\n"));
		}
	}
	return NULL;
}

void assert_value(const char *text, const char *key, const char *expected)
{
	assert_non_null(text);
	char *value = value_of(text, key);
	if (!value)
		fail_msg("no key \"%s\" in:\n%s", key, text);
	assert_string_equal(value, expected);
	free(value);
}

size_t count_names(const struct fixture *fixture)
{
	DIR *dir = opendir(fixture->daemon.mountpoint);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static int answer(int fd, int command)
{
	char byte;

	switch (command) {
	case READ_ERRNO:
		return pread(fd, &byte, 1, 0) < 0 ? errno : 0;
	case WRITE_ERRNO:
		return write(fd, "x", 1) < 0 ? errno : 0;
	case FSYNC_ERRNO:
		return fsync(fd) < 0 ? errno : 0;
	default:
		return flock(fd, command - FLOCK_BASE) < 0 ? errno : 0;
	}
}

static int opener_main(struct peer *self, void *argument)
{
	const struct opener *opener = argument;

	/* What the test holds, the fork would hold too. */
	close_range(3, (unsigned)self->fd - 1, 0);
	close_range((unsigned)self->fd + 1, ~0U, 0);
	int fd = open(opener->path, opener->flags | O_CLOEXEC, 0666);

	peer_say(self, fd < 0 ? errno : 0);
	for (;;) {
		int command = peer_hear(self);
		if (command == CLOSE && fd >= 0)
			close(fd);
		if (command == CLOSE || command == EXIT_OPEN)
			return 0;
		peer_say(self, answer(fd, command));
	}
}

void opener_start(struct opener *opener, const struct fixture *fixture, const char *name, int flags)
{
	snprintf(opener->path, sizeof opener->path, "%s", lock_path(fixture, name));
	opener->flags = flags;
	opener->peer = peer_start(opener_main, opener);
}

int opener_ask(struct opener *opener, int command)
{
	peer_say(&opener->peer, command);
	return peer_hear(&opener->peer);
}

void opener_close(struct opener *opener)
{
	peer_say(&opener->peer, CLOSE);
	assert_int_equal(peer_reap(&opener->peer), 0);
}

static size_t count_waiters(const char *text)
{
	char *waiters = value_of(text, "waiters");
	size_t count = waiters != NULL;

	for (const char *at = waiters; at && *at; at++)
		count += *at == ' ';
	free(waiters);
	return count;
}

void await_waiters(const struct fixture *fixture, const char *name, size_t count)
{
	int fd = open_lock(fixture, name, O_RDONLY);
	struct pollfd poll_fd = {.fd = fd, .events = POLLPRI};

	for (;;) {
		char *text = read_all(fd);
		size_t waiters = count_waiters(text);
		free(text);
		if (waiters == count)
			break;
		if (poll(&poll_fd, 1, PATIENCE_MS) <= 0)
			fail_msg("%zu waiters of %s, not %zu", waiters, name, count);
	}
	close(fd);
}

void await_state(const struct fixture *fixture, const char *name, bool held)
{
	/* Opened to look, it stays open when the lock is free. */
	int fd = open_lock(fixture, name, O_RDONLY | O_CREAT);
	struct pollfd poll_fd = {.fd = fd, .events = POLLPRI};

	for (;;) {
		char *text = read_all(fd), *state = value_of(text, "state");
		bool done = strcmp(state, held ? "held" : "free") == 0;
		free(state);
		free(text);
		if (done)
			break;
		if (poll(&poll_fd, 1, PATIENCE_MS) <= 0)
			fail_msg("%s does not become %s", name, held ? "held" : "free");
	}
	close(fd);
}

int shell(const struct fixture *fixture, const char *command)
{
	setenv("LOCKS", fixture->daemon.mountpoint, 1);
	int status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}
