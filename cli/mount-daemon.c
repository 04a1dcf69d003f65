#include "mount-daemon.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "courier.h"
#include "exit-code.h"
#include "message.h"

struct report {
	int error; /* negative errno */
	struct mount_answer answer;
};

/* -ENODATA: not told. */
static int ask_text(const char *folder, const char *name, char *buffer, size_t size)
{
	ssize_t length = getxattr(folder, name, buffer, size - 1);

	buffer[length > 0 ? length : 0] = '\0';
	return length < 0 ? -errno : 0;
}

static int ask_number(const char *folder, const char *name, int64_t *ret)
{
	char text[32];

	int error = ask_text(folder, name, text, sizeof text);
	*ret = error == 0 ? strtoll(text, NULL, 10) : -1;
	return error;
}

static int ask_all(const char *folder, struct mount_answer *answer)
{
	static const char *const names[MOUNT_NUMBER_COUNT] = {
		[MOUNT_PID] = "user.relock.pid",
		[MOUNT_UPTIME] = "user.relock.uptime",
		[MOUNT_LOCKS] = "user.relock.locks",
		[MOUNT_WAITERS] = "user.relock.waiters",
		[MOUNT_REQUESTS] = "user.relock.requests",
		[MOUNT_NAMES] = "user.relock.names",
		[MOUNT_SUPERVISOR] = "user.relock.supervisor",
		[MOUNT_STARTS] = "user.relock.starts",
		[MOUNT_REFUSALS] = "user.relock.refusals",
	};

	int error = ask_text(folder, "user.relock.store", answer->store, sizeof answer->store);
	if (error == 0)
		error = ask_text(folder, "user.relock.version", answer->version,
				 sizeof answer->version);
	for (size_t i = 0; error == 0 && i < MOUNT_NUMBER_COUNT; i++) {
		error = ask_number(folder, names[i], &answer->numbers[i]);
		if (error == -ENODATA && i != MOUNT_PID)
			error = 0;
	}
	if (error == 0)
		(void)ask_text(folder, "user.relock.refusal", answer->refusal,
			       sizeof answer->refusal);
	return error;
}

static void ask_and_report(int out, void *folder)
{
	static struct report report;

	report.error = ask_all(folder, &report.answer);
	courier_tell(out, &report, sizeof report);
}

int mount_daemon_ask(const char *folder, int64_t patience, struct mount_answer *ret)
{
	CLEANUP_FREE struct report *report = calloc(1, sizeof *report);
	struct courier courier;

	if (!report)
		out_of_memory();

	int error = courier_send(&courier, ask_and_report, (char *)folder);

	if (error < 0)
		return error;
	error = courier_hear(&courier, report, sizeof *report, patience);
	courier_end(&courier);
	if (error == 0)
		error = report->error;
	if (error == 0)
		*ret = report->answer;
	return error == -ECONNABORTED ? -ENOTCONN : error;
}

int complain_mount_daemon(const char *folder, int error)
{
	CLEANUP_FREE char *text = printable(folder);

	switch (-error) {
	case ENOTCONN:
		complain("%s: a dead mount, its daemon is gone; to clear it: relock mount --clear "
			 "%s",
			 text, text);
		return EX_UNAVAILABLE;
	case ETIMEDOUT:
		complain("%s: its daemon has not answered for %d s; `pgrep -a relockfs` shows it: "
			 "if it is stopped, kill -CONT it; else kill -KILL it, which frees all its "
			 "locks, and then: relock mount --clear %s",
			 text, MOUNT_PATIENCE, text);
		return EX_UNAVAILABLE;
	case EACCES:
		complain("%s: this user may not see it: it is another user's mount without "
			 "allow_other, or its mode= forbids it; ask as the user who mounted it",
			 text);
		return EX_NOINPUT;
	case ENODATA:
		complain("%s: its daemon is of another version and tells nothing about itself",
			 text);
		return EX_UNAVAILABLE;
	default:
		complain("%s: %s", text, strerror(-error));
		return exit_code(error);
	}
}

int mount_daemon_find(const char *path, struct mounted *ret)
{
	CLEANUP_FREE char *text = printable(path);
	CLEANUP_FREE char *folder = mount_table_path(path);
	MOUNTED mounted = {NULL, NULL, NULL};

	if (!folder) {
		complain("%s: %m", text);
		return exit_code(-errno);
	}
	if (!mount_table_find(folder, &mounted)) {
		complain("%s: nothing is mounted there", text);
		return EX_NOINPUT;
	}
	if (!mounted_is_relockfs(&mounted)) {
		CLEANUP_FREE char *type = printable(mounted.type);

		complain("%s: what is mounted there is %s, not relockfs", text, type);
		return EX_NOINPUT;
	}
	*ret = mounted;
	mounted = (struct mounted){NULL, NULL, NULL};
	return 0;
}
