/*
 * relock run: a command under a lock, as flock(1).
 *
 * The command inherits the open file description that holds the lock, so that
 * it goes on holding when relock itself is killed, and so do the processes it
 * leaves behind (-o: not).  What flock does not do: say who holds the lock
 * when it gives up, and forward signals, so that ending `relock run` ends the
 * command instead of orphaning it.
 *
 * Starting up is most of the cost here, and so is little as possible done:
 * one thread, vfork instead of fork (no page tables copied), no library but
 * librelock and libc.
 */
#include <errno.h>
#include <getopt.h>
#include <paths.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
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

struct run_options {
	struct relock_request request;
	int conflict_code;
	bool close;
	bool no_fork;
	bool ends_with_us; /* the command must not outlive this process */
	bool verbose;
	const char *shell_command; /* -c */
	const char *name;
	char **command;
};

/* The command's words as one line, for the record: people look for it in the
 * output of ps(1). */
static char *command_line(char **command)
{
	size_t size = 1;

	for (char **word = command; *word; word++)
		size += strlen(*word) + 1;

	char *line = need_text(malloc(size)), *end = line;

	*line = '\0';
	for (char **word = command; *word; word++) {
		if (word != command)
			*end++ = ' ';
		end = stpcpy(end, *word);
	}
	return line;
}

/* Signals that ask the command to end, and the one that says it has. */
static void supervised_signals(sigset_t *ret)
{
	sigemptyset(ret);
	sigaddset(ret, SIGTERM);
	sigaddset(ret, SIGINT);
	sigaddset(ret, SIGHUP);
	sigaddset(ret, SIGCHLD);
}

/*
 * The lock of a store without descriptors to inherit ends with this process, and
 * the command must not go on without it.
 */
static void end_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EX_TEMPFAIL);
}

/*
 * In a vfork child, so nothing here may touch what the parent will use: no
 * stdio, no allocation.
 */
__attribute__((noreturn)) static void execute(char **command, const char *printable_name)
{
	execvp(command[0], command);

	int error = errno;
	const char *reason = strerrordesc_np(error);
	const char *texts[] = {"relock: cannot run ", printable_name, ": ", reason, "\n"};
	struct iovec parts[5];

	for (size_t i = 0; i < 5; i++)
		parts[i] = (struct iovec){(void *)texts[i], strlen(texts[i])};
	if (writev(STDERR_FILENO, parts, 5) < 0)
		_exit(exec_exit_code(error));
	_exit(exec_exit_code(error));
}

/* -F: the command takes this process's place, and with it the lock. */
static int replace_self(char **command)
{
	CLEANUP_FREE char *name = printable(command[0]);

	execvp(command[0], command);

	int code = exec_exit_code(errno);

	complain("cannot run %s: %m", name);
	return code;
}

/*
 * Waits for the command's end, and passes on what asks it to end.  A terminal
 * sends SIGINT (si_code SI_KERNEL) to the whole foreground process group, the
 * command included: that one is not sent to it twice.
 */
static int supervise(pid_t child, const sigset_t *signals)
{
	for (;;) {
		siginfo_t info;
		int signal_number = sigwaitinfo(signals, &info);

		if (signal_number == SIGCHLD) {
			int status;

			if (waitpid(child, &status, WNOHANG) == child)
				return WIFSIGNALED(status) ? 128 + WTERMSIG(status)
							   : WEXITSTATUS(status);
		} else if (signal_number > 0 &&
			   !(signal_number == SIGINT && info.si_code == SI_KERNEL)) {
			kill(child, signal_number);
		}
	}
}

static int run_child(char **command, bool ends_with_us)
{
	CLEANUP_FREE char *name = printable(command[0]);
	struct sigaction default_action = {.sa_handler = SIG_DFL}, inherited_action;
	sigset_t signals, inherited_mask;

	supervised_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, &inherited_mask);
	/* Ignored, it would let the kernel reap the command and lose its status. */
	sigaction(SIGCHLD, &default_action, &inherited_action);

	pid_t self = getpid(), child = vfork();

	if (child == 0) {
		if (ends_with_us)
			end_with(self);
		sigaction(SIGCHLD, &inherited_action, NULL);
		sigprocmask(SIG_SETMASK, &inherited_mask, NULL);
		execute(command, name);
	}
	if (child < 0) {
		complain("cannot make a process for %s: %m", name);
		return EX_OSERR;
	}
	return supervise(child, &signals);
}

/* A lock that somebody broke meanwhile did not protect the command. */
static void give_back(const struct invocation *invocation, struct named_lock *named,
		      const char *name)
{
	/* Not relock_release(): a daemon that the command has left behind keeps the
	 * lock, as with flock(1). */
	if (relock_leave(named->lock) != -ESTALE)
		return;

	CLEANUP_FREE char *lock = printable(name);
	CLEANUP_FREE char *look = remedy_text(invocation, "state", name);

	complain("%s: the lock was broken while the command ran; to see by whom: %s", lock, look);
}

/*
 * A store may have no descriptor that a command could inherit: then the lock is
 * this process's alone, and is refreshed by it while the command runs.  Who takes
 * its place (-F) does not know how, and has the lock for its lifetime only.
 */
static int acquire(relock_lock *lock, struct run_options *options)
{
	int error = relock_acquire(lock, &options->request);

	if (error != -EOPNOTSUPP || !(options->request.flags & RELOCK_INHERIT))
		return error;
	if (options->no_fork && options->request.lifetime == 0)
		return error;
	options->request.flags &= ~RELOCK_INHERIT;
	options->ends_with_us = true;
	return relock_acquire(lock, &options->request);
}

static int complain_of_acquire(const struct run_options *options, int error)
{
	if (error != -EOPNOTSUPP || !options->no_fork || options->ends_with_us)
		return complain_error(options->name, error);

	CLEANUP_FREE char *name = printable(options->name);

	return usage_error(&command_run,
			   "%s: -F needs --lifetime in this store: once the command has taken "
			   "relock's place, nobody refreshes the lock",
			   name);
}

static int acquire_and_run(struct invocation *invocation, struct run_options *options)
{
	CLEANUP_FREE char *line = options->shell_command ? NULL : command_line(options->command);
	NAMED_LOCK named = {NULL, NULL};
	struct timespec start, end;

	int error = named_lock_open(&named, invocation, options->name);
	if (error < 0)
		return complain_error(options->name, error);

	if (options->request.lifetime)
		options->request.flags |= RELOCK_REFRESH;
	options->request.command = line ? line : options->shell_command;
	clock_gettime(CLOCK_MONOTONIC, &start);
	error = acquire(named.lock, options);
	if (error == -EAGAIN || error == -ETIMEDOUT) {
		complain_not_had(invocation, options->name, named.lock, options->request.timeout);
		return options->conflict_code;
	}
	if (error < 0)
		return complain_of_acquire(options, error);
	if (options->verbose) {
		clock_gettime(CLOCK_MONOTONIC, &end);
		complain("getting the lock took %.6f seconds; running %s",
			 (double)(end.tv_sec - start.tv_sec) +
				 (double)(end.tv_nsec - start.tv_nsec) / 1e9,
			 options->command[0]);
	}

	if (options->no_fork)
		return replace_self(options->command);

	int code = run_child(options->command, options->ends_with_us);

	give_back(invocation, &named, options->name);
	return code;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"shared", no_argument, NULL, 's'},
	{"exclusive", no_argument, NULL, 'x'},
	{"nb", no_argument, NULL, 'n'},
	{"nonblock", no_argument, NULL, 'n'},
	{"wait", required_argument, NULL, 'w'},
	{"timeout", required_argument, NULL, 'w'},
	{"conflict-exit-code", required_argument, NULL, 'E'},
	{"close", no_argument, NULL, 'o'},
	{"no-fork", no_argument, NULL, 'F'},
	{"command", required_argument, NULL, 'c'},
	{"info", required_argument, NULL, 'm'},
	{"message", required_argument, NULL, 'm'},
	{"unlock", no_argument, NULL, 'u'},
	{"lifetime", required_argument, NULL, OPTION_LIFETIME},
	{"verbose", no_argument, NULL, OPTION_VERBOSE},
	{NULL, 0, NULL, 0},
};

static bool parse_conflict_code(const char *text, int *ret)
{
	char *end;

	errno = 0;
	long code = strtol(text, &end, 10);
	if (errno || end == text || *end || code < 0 || code > 255)
		return false;
	*ret = (int)code;
	return true;
}

/* False: *ret_code is the exit code. */
static bool parse_options(struct invocation *invocation, int argc, char **argv,
			  struct run_options *options, int *ret_code)
{
	int option;

	while ((option = getopt_long(argc, argv, "+sexnw:E:oFc:m:uh", long_options, NULL)) != -1) {
		const char *fault = NULL;

		switch (option) {
		case 's':
			options->request.mode = RELOCK_SHARED;
			break;
		case 'e':
		case 'x':
			options->request.mode = RELOCK_EXCLUSIVE;
			break;
		case 'n':
			options->request.timeout = 0;
			break;
		case 'w':
			fault = duration_parse(optarg, &options->request.timeout);
			break;
		case 'E':
			if (!parse_conflict_code(optarg, &options->conflict_code))
				fault = "is no exit code: give a number from 0 to 255";
			break;
		case 'o':
			options->close = true;
			break;
		case 'F':
			options->no_fork = true;
			break;
		case 'c':
			options->shell_command = optarg;
			break;
		case 'm':
			options->request.info = optarg;
			options->request.info_length = strlen(optarg);
			break;
		case 'u':
			*ret_code = usage_error(&command_run,
						"-u drops the lock of an open descriptor, which "
						"only flock(1) takes; to give a lock back, use "
						"`relock unget`");
			return false;
		case OPTION_LIFETIME:
			fault = duration_parse(optarg, &options->request.lifetime);
			break;
		case OPTION_VERBOSE:
			options->verbose = true;
			break;
		default:
			if (!common_option(invocation, &command_run, option, ret_code))
				return false;
		}
		if (fault) {
			CLEANUP_FREE char *text = printable(optarg);

			if (option == OPTION_LIFETIME)
				*ret_code = usage_error(&command_run, "--lifetime '%s' %s", text,
							fault);
			else
				*ret_code = usage_error(&command_run, "-%c '%s' %s", option, text,
							fault);
			return false;
		}
	}
	return true;
}

/* What stands after the options: NAME [--] COMMAND..., or NAME -c STRING. */
static int parse_command(int argc, char **argv, struct run_options *options,
			 char *shell_argv[static 4])
{
	if (argc < 1)
		return usage_error(&command_run, "a lock's name and a command are missing");
	options->name = argv[0];
	argc--;
	argv++;
	if (argc > 0 && !options->shell_command &&
	    (strcmp(argv[0], "-c") == 0 || strcmp(argv[0], "--command") == 0)) {
		if (argc != 2)
			return usage_error(&command_run, "-c takes exactly one command");
		options->shell_command = argv[1];
		argc = 0;
	} else if (argc > 0 && strcmp(argv[0], "--") == 0) {
		argc--;
		argv++;
	} else if (argc > 0 && *argv[0] == '-') {
		CLEANUP_FREE char *word = printable(argv[0]);

		return usage_error(&command_run,
				   "'%s' stands after the name: options go before it, and a "
				   "command that begins with '-' goes after '--'",
				   word);
	}

	if (!options->shell_command) {
		if (argc < 1)
			return usage_error(&command_run, "a command to run is missing");
		options->command = argv;
		return 0;
	}
	if (argc > 0)
		return usage_error(&command_run, "-c takes exactly one command");

	char *shell = getenv("SHELL");

	shell_argv[0] = shell && *shell ? shell : (char *)_PATH_BSHELL;
	shell_argv[1] = (char *)"-c";
	shell_argv[2] = (char *)options->shell_command;
	shell_argv[3] = NULL;
	options->command = shell_argv;
	return 0;
}

static int run_main(struct invocation *invocation, int argc, char **argv)
{
	struct run_options options = {
		.request = RELOCK_REQUEST_INIT,
		.conflict_code = EXIT_NOT_HAD,
	};
	char *shell_argv[4];
	int code = 0;

	if (!parse_options(invocation, argc, argv, &options, &code))
		return code;
	code = parse_command(argc - optind, argv + optind, &options, shell_argv);
	if (code != 0)
		return code;
	if (options.close && options.no_fork)
		return usage_error(&command_run, "-F and -o exclude each other: without a "
						 "descriptor, nobody would hold the lock");
	if (!options.close)
		options.request.flags |= RELOCK_INHERIT;
	return acquire_and_run(invocation, &options);
}

const struct command command_run = {
	.name = "run",
	.summary = "run a command under a lock, as flock(1)",
	.help = "relock run [OPTION]... NAME [--] COMMAND [ARGUMENT]...\n"
		"       relock run [OPTION]... NAME -c STRING\n"
		"\n"
		"Runs a command under a lock, and passes on its exit status.\n"
		"\n"
		"  -s, --shared          shared with other -s; else exclusive\n"
		"  -x, -e, --exclusive   exclusive, the default\n"
		"  -n, --nonblock        give up at once if it is held\n"
		"  -w, --wait SECONDS    give up after so long; 0 is -n\n"
		"  -E, --conflict-exit-code CODE\n"
		"                        the exit code of giving up; else 1\n"
		"  -o, --close           the command does not inherit the lock\n"
		"  -F, --no-fork         the command replaces relock\n"
		"  -c, --command STRING  a command for $SHELL -c\n"
		"  -m, --info TEXT       what `relock state` shows as info\n"
		"      --lifetime SECONDS    how long others wait once relock can not refresh\n"
		"                        the lock any more, in stores with lifetimes\n"
		"      --verbose         say how long it took to get the lock\n"
		"      --store URL       where the lock is\n"
		"  -h, --help            this text\n",
	.run = run_main,
};
