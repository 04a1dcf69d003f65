/*
 * relock mount --clear: a mount whose daemon is gone is taken away.
 *
 * It is detached, not unmounted: programs may have files of it open.  Their
 * locks went with the daemon.  A mount that is alive is not for this command,
 * since its locks are: there is umount(8), and SIGTERM.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "exit-code.h"
#include "message.h"
#include "mount-actions.h"
#include "mount-daemon.h"

static int refuse_live(const char *folder, const struct mount_answer *answer)
{
	CLEANUP_FREE char *text = printable(folder);

	complain("%s: the mount is alive, its daemon is pid %" PRId64 " (locks held: %" PRId64
		 ", waiters: %" PRId64 "); to end it: %s %s",
		 text, answer->numbers[MOUNT_PID], answer->numbers[MOUNT_LOCKS],
		 answer->numbers[MOUNT_WAITERS], geteuid() == 0 ? "umount" : "fusermount3 -u",
		 text);
	return EXIT_NOT_HAD;
}

static int detach(const char *folder)
{
	if (umount2(folder, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;

	int error = -errno;
	CLEANUP_FREE char *text = printable(folder);

	complain("%s: cannot unmount: %s", text, strerror(-error));
	return exit_code(error);
}

/* Users cannot unmount; fusermount3 is set-user-ID, and does it for those who
 * have mounted. */
static int detach_as_user(const char *folder)
{
	pid_t child = fork();
	int status;

	if (child < 0) {
		complain("mount: cannot run fusermount3: %m");
		return EX_OSERR;
	}
	if (child == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "--", folder, (char *)NULL);
		complain("mount: cannot run fusermount3: %m; is the package fuse3 installed?");
		_exit(exec_exit_code(errno));
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EX_OSERR;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND)
		return EXIT_NOT_FOUND;
	/* It has said why. */
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EX_UNAVAILABLE;
}

int mount_clear(const char *path)
{
	MOUNTED mounted = {NULL, NULL, NULL};
	struct mount_answer answer;

	int code = mount_daemon_find(path, &mounted);
	if (code != 0)
		return code;

	int error = mount_daemon_ask(mounted.folder, MOUNT_PATIENCE * RELOCK_SECOND, &answer);

	if (error == 0)
		return refuse_live(mounted.folder, &answer);
	if (error != -ENOTCONN)
		return complain_mount_daemon(mounted.folder, error);
	return geteuid() == 0 ? detach(mounted.folder) : detach_as_user(mounted.folder);
}
