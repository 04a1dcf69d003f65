/*
 * relock get: a lock that outlives the command.
 *
 * Somebody has to hold it: a small process in the background, which is the
 * kernel's holder and the one in the record, marked as a holder for others
 * (RELOCK_VIA_GET), so that `relock unget` can ask it to give the lock back
 * by SIGTERM.
 *
 * It is the child that acquires, for a record names who took the lock, and it
 * speaks to the terminal itself until it holds it; then it lets go of
 * terminal, session and working folder, and tells its parent through a pipe
 * that it may end.  As long as it waits it is an ordinary child in the
 * foreground: Ctrl-C ends both, and it is killed if its parent is.
 *
 * `unget` finds the holder by the lock's record.  A lock can be granted without
 * one (no space, a file with other contents): that is as good as any to who
 * holds it for the time of a command, but nobody could ever give this one back.
 * So it is not kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "duration.h"
#include "exit-code.h"
#include "message.h"
#include "named-lock.h"
#include "relock.h"

struct get_options {
	struct relock_request request;
	int64_t auto_unget; /* RELOCK_FOREVER: only when asked */
	const char *name;
};

enum { REPORT_FD = 3 };

/* Field 22 of /proc/self/stat; the command's name before it may hold blanks
 * and parentheses, so counting starts behind the last one. */
static uint64_t own_start_time(void)
{
	CLEANUP_FCLOSE FILE *stat = fopen("/proc/self/stat", "re");
	char line[1024];

	if (!stat || !fgets(line, sizeof line, stat))
		return 0;

	char *field = strrchr(line, ')');

	for (int number = 2; field && number < 22; number++) {
		field = strchr(field + 1, ' ');
	}
	return field ? strtoull(field + 1, NULL, 10) : 0;
}

static void report_granted(const struct invocation *invocation, const struct get_options *options,
			   struct named_lock *named)
{
	CLEANUP_FREE char *lock = printable(options->name);
	CLEANUP_FREE char *remedy = remedy_text(invocation, "unget", options->name);
	char duration[DURATION_TEXT_SIZE];
	uint64_t token = 0;

	printf("%s: granted, %s, held by pid %d", lock,
	       options->request.mode == RELOCK_SHARED ? "shared" : "exclusive", (int)getpid());
	if (relock_token(named->lock, &token) == 0)
		printf(", token %llu", (unsigned long long)token);
	if (options->auto_unget == RELOCK_FOREVER)
		printf("; to give it back: %s\n", remedy);
	else
		printf("; given back after %s, or by: %s\n",
		       duration_text(options->auto_unget, duration), remedy);
	fflush(stdout);
}

/* From here on nothing ties this process to who started it.  False: the
 * parent is gone, and with it whoever would know of the lock. */
static bool detach(void)
{
	CLEANUP_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	prctl(PR_SET_PDEATHSIG, 0);
	if (chdir("/") < 0 || null < 0)
		return false;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);

	bool told = write(REPORT_FD, "", 1) == 1;

	close(REPORT_FD);
	return told;
}

/* Is the lock's record there, and this process in it? */
static bool is_on_record(relock_lock *lock)
{
	CLEANUP_STATUS struct relock_status *status = NULL;

	if (relock_lock_status(lock, &status) < 0)
		return false;
	for (size_t i = 0; i < status->holder_count; i++)
		if (status->holders[i].via_kind == RELOCK_VIA_GET &&
		    status->holders[i].via_pid == getpid())
			return true;
	return false;
}

static int refuse_without_record(const char *name)
{
	CLEANUP_FREE char *lock = printable(name);

	complain("%s: not kept: the lock was granted, but its record could not be written (no "
		 "space left, or a file that is not relock's, or not yours to write), and by that "
		 "record `relock unget` finds who to ask; make room, use another store, or "
		 "`relock run`, which needs none",
		 lock);
	return EX_CANTCREAT;
}

static int64_t monotonic_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * RELOCK_SECOND + now.tv_nsec;
}

/* Waits until asked (SIGTERM), until -a is over, or until there is nothing
 * left to hold: of a lock that was broken, or whose file was removed, the
 * kernel tells its holder nothing, so this looks once a second. */
static void wait_for_unget(const sigset_t *signals, relock_lock *lock, int64_t auto_unget)
{
	int64_t deadline = auto_unget == RELOCK_FOREVER ? INT64_MAX : monotonic_now() + auto_unget;
	int64_t left;

	while ((left = deadline - monotonic_now()) > 0 && relock_check(lock) != -ESTALE) {
		int64_t nap = left < RELOCK_SECOND ? left : RELOCK_SECOND;
		struct timespec timeout = {nap / RELOCK_SECOND, nap % RELOCK_SECOND};

		if (sigtimedwait(signals, NULL, &timeout) == SIGTERM)
			return;
	}
}

/* Signals of the terminal and of pipes are not for the holder; that SIGTERM
 * is blocked makes it wait until sigtimedwait(2) looks. */
static void become_holder(sigset_t *ret_signals)
{
	static const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGPIPE, SIGTSTP};

	sigemptyset(ret_signals);
	sigaddset(ret_signals, SIGTERM);
	sigprocmask(SIG_BLOCK, ret_signals, NULL);
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		signal(ignored[i], SIG_IGN);
}

/* What the background process does; its result is an exit code. */
static int hold(const struct invocation *invocation, struct get_options *options)
{
	NAMED_LOCK named = {NULL, NULL};
	struct relock_on_behalf holder = {
		.via = RELOCK_VIA_GET,
		.pid = getpid(),
		.start_time = own_start_time(),
		.uid = getuid(),
		.command = "relock get",
	};
	sigset_t signals;

	int error = named_lock_open(&named, invocation, options->name);
	if (error < 0)
		return complain_error(options->name, error);
	options->request.on_behalf = &holder;
	error = relock_acquire(named.lock, &options->request);
	if (error == -EAGAIN || error == -ETIMEDOUT) {
		complain_not_had(invocation, options->name, named.lock, options->request.timeout);
		return EXIT_NOT_HAD;
	}
	if (error < 0)
		return complain_error(options->name, error);
	if (!is_on_record(named.lock))
		return refuse_without_record(options->name);

	become_holder(&signals);
	report_granted(invocation, options, &named);
	if (detach())
		wait_for_unget(&signals, named.lock, options->auto_unget);
	relock_release(named.lock);
	return 0;
}

/* In the child: only the standard descriptors and the pipe stay open, or the
 * holder would keep other people's files and pipes open for days. */
__attribute__((noreturn)) static void holder_main(const struct invocation *invocation,
						  struct get_options *options, int report,
						  pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The library asks a process of this name only to give back. */
	prctl(PR_SET_NAME, "relock get");
	if (getppid() != parent)
		_exit(EX_TEMPFAIL);
	if (report != REPORT_FD)
		dup2(report, REPORT_FD);
	fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
	close_range(REPORT_FD + 1, ~0u, 0);

	int code = hold(invocation, options);

	fflush(stdout);
	_exit(code);
}

static int start_holder(const struct invocation *invocation, struct get_options *options)
{
	int report[2], status = 0;
	pid_t parent = getpid();
	char byte;

	if (pipe2(report, O_CLOEXEC) < 0) {
		complain("cannot make a pipe: %m");
		return EX_OSERR;
	}

	pid_t child = fork();

	if (child == 0)
		holder_main(invocation, options, report[1], parent);

	CLEANUP_CLOSE int reader = report[0];

	close(report[1]);
	if (child < 0) {
		complain("cannot make a process to hold the lock: %m");
		return EX_OSERR;
	}

	ssize_t told;

	do
		told = read(reader, &byte, 1);
	while (told < 0 && errno == EINTR);
	if (told == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"timeout", required_argument, NULL, 't'},
	{"get-timeout", required_argument, NULL, 't'},
	{"info", required_argument, NULL, 'm'},
	{"message", required_argument, NULL, 'm'},
	{"auto-unget", required_argument, NULL, 'a'},
	{"shared", no_argument, NULL, 's'},
	{"lifetime", required_argument, NULL, OPTION_LIFETIME},
	{NULL, 0, NULL, 0},
};

static int get_main(struct invocation *invocation, int argc, char **argv)
{
	struct get_options options = {
		.request = RELOCK_REQUEST_INIT,
		.auto_unget = RELOCK_FOREVER,
	};
	int option, code = 0;

	options.request.timeout = RELOCK_SECOND / 2;
	options.request.info = "cli";
	options.request.info_length = strlen("cli");
	while ((option = getopt_long(argc, argv, "t:m:a:sh", long_options, NULL)) != -1) {
		const char *fault = NULL;

		switch (option) {
		case 't':
			if (strcmp(optarg, "-1") == 0)
				options.request.timeout = RELOCK_FOREVER;
			else
				fault = duration_parse(optarg, &options.request.timeout);
			break;
		case 'm':
			options.request.info = optarg;
			options.request.info_length = strlen(optarg);
			break;
		case 'a':
			fault = duration_parse(optarg, &options.auto_unget);
			break;
		case 's':
			options.request.mode = RELOCK_SHARED;
			break;
		case OPTION_LIFETIME:
			fault = duration_parse(optarg, &options.request.lifetime);
			options.request.flags |= RELOCK_REFRESH;
			break;
		default:
			if (!common_option(invocation, &command_get, option, &code))
				return code;
		}
		if (fault) {
			CLEANUP_FREE char *text = printable(optarg);

			if (option == OPTION_LIFETIME)
				return usage_error(&command_get, "--lifetime '%s' %s", text, fault);
			return usage_error(&command_get, "-%c '%s' %s%s", option, text, fault,
					   option == 't' ? " (-1: however long it takes)" : "");
		}
	}
	if (argc - optind != 1)
		return usage_error(&command_get, optind == argc ? "a lock's name is missing"
								: "only one name at a time");
	options.name = argv[optind];
	return start_holder(invocation, &options);
}

const struct command command_get = {
	.name = "get",
	.summary = "acquire a lock that outlives the command",
	.help = "relock get [OPTION]... NAME\n"
		"\n"
		"Acquires a lock, to be kept by a small process in the background until\n"
		"`relock unget NAME`.\n"
		"\n"
		"  -t, --timeout SECONDS     give up after so long, default 0.5; -1: never\n"
		"  -m, --info TEXT           what `relock state` shows as info, default \"cli\"\n"
		"  -a, --auto-unget SECONDS  give it back by itself after so long\n"
		"  -s, --shared              shared with other -s; else exclusive\n"
		"      --lifetime SECONDS    how long others wait once the lock is not refreshed\n"
		"                            any more, in stores with lifetimes\n"
		"      --store URL           where the lock is\n"
		"  -h, --help                this text\n",
	.run = get_main,
};
