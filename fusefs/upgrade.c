#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger.h"

/* Nobody starts another server meanwhile. */
enum { PATIENCE_MS = 5000 };

struct trial {
	pid_t child;
	int out; /* what it prints */
	char answer[16];
	bool in_time, is_chatty;
	int status; /* of waitpid(2) */
};

/* 0, or the error number. */
static int start(struct trial *trial, const char *program)
{
	char *arguments[] = {(char *)program, (char *)"--ledger-layout", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return errno;
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	int error = posix_spawn(&trial->child, program, &actions, &attributes, arguments, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	close(ends[1]);
	trial->out = ends[0];
	if (error != 0)
		close(ends[0]);
	return error;
}

/* What it prints, to the end. */
static void hear(struct trial *trial)
{
	struct pollfd out = {.fd = trial->out, .events = POLLIN};
	size_t length = 0;
	ssize_t part = 1;

	while (part > 0 && length < sizeof trial->answer - 1 && poll(&out, 1, PATIENCE_MS) == 1) {
		part = read(trial->out, trial->answer + length, sizeof trial->answer - 1 - length);
		length += part > 0 ? (size_t)part : 0;
	}
	close(trial->out);
	trial->is_chatty = length == sizeof trial->answer - 1;
	trial->in_time = part <= 0 || trial->is_chatty;
}

static void finish(struct trial *trial)
{
	int process = (int)syscall(SYS_pidfd_open, trial->child, 0);
	struct pollfd end = {.fd = process, .events = POLLIN};

	hear(trial);
	trial->in_time = trial->in_time && poll(&end, 1, PATIENCE_MS) == 1;
	if (!trial->in_time)
		kill(trial->child, SIGKILL);
	if (process >= 0)
		close(process);
	while (waitpid(trial->child, &trial->status, 0) < 0 && errno == EINTR)
		continue;
}

/* True: that is this program's own. */
static bool judge(const char *program, const struct trial *trial, char *reason)
{
	char *end;
	long layout = strtol(trial->answer, &end, 10);

	if (!trial->in_time)
		snprintf(reason, UPGRADE_REASON_SIZE, "%s does not answer `--ledger-layout`",
			 program);
	else if (!trial->is_chatty && WIFSIGNALED(trial->status))
		snprintf(reason, UPGRADE_REASON_SIZE, "%s was ended by signal %d (%s)", program,
			 WTERMSIG(trial->status), strsignal(WTERMSIG(trial->status)));
	else if (!trial->is_chatty && WEXITSTATUS(trial->status) != 0)
		snprintf(reason, UPGRADE_REASON_SIZE, "%s has ended with status %d", program,
			 WEXITSTATUS(trial->status));
	else if (trial->is_chatty || end == trial->answer)
		snprintf(reason, UPGRADE_REASON_SIZE, "%s does not behave as relockfs does",
			 program);
	else if (layout != LEDGER_LAYOUT)
		snprintf(reason, UPGRADE_REASON_SIZE,
			 "%s cannot go on with what this version has begun (its ledger has layout "
			 "%ld, this one %d); unmount, and mount again",
			 program, layout, LEDGER_LAYOUT);
	else
		return true;
	return false;
}

bool upgrade_is_possible(const char *program, char reason[UPGRADE_REASON_SIZE])
{
	struct trial trial = {.child = -1};

	int error = start(&trial, program);
	if (error != 0) {
		snprintf(reason, UPGRADE_REASON_SIZE, "%s cannot be run: %s", program,
			 strerror(error));
		return false;
	}
	finish(&trial);
	return judge(program, &trial, reason);
}
