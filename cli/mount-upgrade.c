/*
 * relock mount --upgrade: the daemon's place is taken by the program as it is
 * installed now, while its locks are held and its waiters wait.
 *
 * The supervisor does it, upon SIGUSR1, or refuses it, and counts both: the serving
 * processes that there have been, and its refusals.  Its pid is what the daemon says; a process of
 * that number here need not be it, if the mount was made in another pid namespace, and SIGUSR1 ends
 * who does not expect it.  So its name is looked at first, by a descriptor that no other process
 * can get into the place of.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "exit-code.h"
#include "message.h"
#include "mount-actions.h"
#include "mount-daemon.h"

enum {
	UPGRADE_PATIENCE = 30, /* seconds */
	LOOK_AGAIN = 50,       /* milliseconds */
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

static bool is_relockfs(pid_t pid)
{
	char path[64], name[32] = "";

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);

	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && read(fd, name, sizeof name - 1) > 0 && strcmp(name, "relockfs\n") == 0;
}

/* 0, or an exit code after saying what is wrong. */
static int signal_supervisor(const char *folder, pid_t pid)
{
	CLEANUP_FREE char *text = printable(folder);
	CLEANUP_CLOSE int process = (int)syscall(SYS_pidfd_open, pid, 0);

	if (process < 0 || !is_relockfs(pid)) {
		complain("%s: its supervisor, pid %d by its own count, is not that process here: "
			 "ask for the upgrade in the pid namespace where it was mounted",
			 text, (int)pid);
		return EX_UNAVAILABLE;
	}
	if (syscall(SYS_pidfd_send_signal, process, SIGUSR1, NULL, 0) < 0) {
		int error = -errno;

		complain("%s: cannot signal its supervisor, pid %d: %s; ask as root, or as the "
			 "user who mounted it",
			 text, (int)pid, strerror(-error));
		return exit_code(error);
	}
	return 0;
}

static void wait_a_little(void)
{
	const struct timespec little = {.tv_nsec = LOOK_AGAIN * RELOCK_MILLISECOND};

	nanosleep(&little, NULL);
}

static int complain_refused(const char *folder, const char *refusal)
{
	CLEANUP_FREE char *reason = printable(refusal);

	complain("%s: not upgraded, the daemon goes on as it is: %s", folder, reason);
	return EX_UNAVAILABLE;
}

static int await_successor(const char *folder, const struct mount_answer *before, int64_t deadline)
{
	CLEANUP_FREE char *text = printable(folder);
	struct mount_answer answer;

	for (int64_t left; (left = deadline - now()) > 0; wait_a_little()) {
		int error = mount_daemon_ask(folder, left, &answer);

		if (error == -ENOTCONN)
			return complain_mount_daemon(folder, error);
		if (error == 0 && answer.numbers[MOUNT_REFUSALS] > before->numbers[MOUNT_REFUSALS])
			return complain_refused(text, answer.refusal);
		if (error == 0 && answer.numbers[MOUNT_STARTS] > before->numbers[MOUNT_STARTS])
			return 0;
	}
	complain("%s: no successor has answered for %d s; the system log has what relockfs said "
		 "of it, `relock mount --status %s` how the mount is",
		 text, UPGRADE_PATIENCE, text);
	return EX_TEMPFAIL;
}

int mount_upgrade(const char *path)
{
	int64_t deadline = now() + UPGRADE_PATIENCE * RELOCK_SECOND;
	MOUNTED mounted = {NULL, NULL, NULL};
	struct mount_answer answer;

	int code = mount_daemon_find(path, &mounted);
	if (code != 0)
		return code;

	int error = mount_daemon_ask(mounted.folder, MOUNT_PATIENCE * RELOCK_SECOND, &answer);

	if (error < 0)
		return complain_mount_daemon(mounted.folder, error);

	CLEANUP_FREE char *text = printable(mounted.folder);

	if (answer.numbers[MOUNT_SUPERVISOR] <= 0) {
		complain("%s: the mount is not supervised: its locks would not outlive its daemon, "
			 "pid %" PRId64 "; mounted with --supervise it can be upgraded",
			 text, answer.numbers[MOUNT_PID]);
		return EX_UNAVAILABLE;
	}
	code = signal_supervisor(mounted.folder, (pid_t)answer.numbers[MOUNT_SUPERVISOR]);
	return code != 0 ? code : await_successor(mounted.folder, &answer, deadline);
}
