#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "ledger.h"
#include "mountpoint.h"
#include "notify.h"
#include "recover.h"
#include "say.h"
#include "upgrade.h"

/* "LEDGER DEVICE FOREGROUND": descriptors, and 0 or 1 */
#define SUCCESSION "RELOCKFS_SUCCESSION"

enum {
	/* Servers in a row that end without having served a request. */
	VAIN_STARTS_MOST = 10,
	/* For an ended server's other threads: one can be in the kernel, waiting
	 * for an answer that only the next server gives. */
	LAST_THREADS_MS = 200,
	NUDGED = 1, /* no server has this for a thread id */
};

static struct {
	struct fuse_session *session; /* NULL in who has not mounted itself */
	struct ledger_head *head;
	pid_t server;
	volatile sig_atomic_t wants_upgrade;
} state;

/* Signals: blocked but while the supervisor waits, and from one program to the
 * next: one that comes in between is for the next. */

static void forward(int signal)
{
	int before = errno;

	kill(state.server, signal);
	errno = before;
}

/* Lets the futex wait end, or not begin; an end of the server that the kernel
 * has noted there stays. */
static void nudge(void)
{
	uint32_t server = (uint32_t)state.server;

	atomic_compare_exchange_strong(&state.head->server, &server, NUDGED);
}

static void note_upgrade(int signal)
{
	(void)signal;
	state.wants_upgrade = 1;
	nudge();
}

static void note_child(int signal)
{
	siginfo_t ended = {0};
	int before = errno;

	(void)signal;
	if (waitid(P_PID, (id_t)state.server, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    ended.si_pid == state.server)
		nudge();
	errno = before;
}

static const struct {
	int signal;
	void (*handler)(int signal);
} handled[] = {
	{SIGTERM, forward},    {SIGINT, forward},       {SIGHUP, forward},
	{SIGCHLD, note_child}, {SIGUSR1, note_upgrade},
};
enum { HANDLED = sizeof handled / sizeof handled[0] };

static sigset_t handled_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (int i = 0; i < HANDLED; i++)
		sigaddset(&set, handled[i].signal);
	return set;
}

static void install_handlers(void)
{
	sigset_t set = handled_set();

	/* Says to a server that its supervisor has ended, which can be before
	 * the server listens; the supervisor itself has nothing to do with it. */
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < HANDLED; i++) {
		struct sigaction action = {.sa_handler = handled[i].handler};
		sigaction(handled[i].signal, &action, NULL);
	}
}

static void restore_signals(void)
{
	for (int i = 0; i < HANDLED; i++)
		signal(handled[i].signal, SIG_DFL);
}

/* Succession */

/* The program by its name, which after an upgrade is the new one. */
static const char *program_path(void)
{
	static const char deleted[] = " (deleted)";
	static char path[PATH_MAX];
	ssize_t length = path[0] ? 0 : readlink("/proc/self/exe", path, sizeof path - 1);

	/* Replaced by a new version before it was asked for. */
	if (length > (ssize_t)sizeof deleted &&
	    strcmp(path + length - (sizeof deleted - 1), deleted) == 0)
		path[length - (ssize_t)(sizeof deleted - 1)] = '\0';
	return path;
}

/* Which slots are in use, each process finds out by opening the ledger, and this
 * one did so before there were any. */
static void set_cloexec(int ledger_fd, int device, bool is_set)
{
	struct ledger_handle *handle = NULL;
	struct ledger *ledger;
	int flag = is_set ? FD_CLOEXEC : 0;

	fcntl(ledger_fd, F_SETFD, flag);
	fcntl(device, F_SETFD, flag);
	if (ledger_open(&ledger, ledger_fd) < 0)
		return;
	while ((handle = ledger_next_handle(ledger, handle)))
		if (handle->fd >= 0)
			fcntl(handle->fd, F_SETFD, flag);
	ledger_free(ledger);
}

/* Executes the program; returns if that fails. */
static void succeed(const struct supervision *supervision, const char *program)
{
	const struct serving *serving = &supervision->serving;
	char text[64];

	snprintf(text, sizeof text, "%d %d %d", ledger_fd(serving->ledger), serving->device,
		 serving->is_in_foreground);
	setenv(SUCCESSION, text, 1);
	set_cloexec(ledger_fd(serving->ledger), serving->device, false);
	execv(program, supervision->arguments);
	say("%s: %s", program, strerror(errno));
	set_cloexec(ledger_fd(serving->ledger), serving->device, true);
	unsetenv(SUCCESSION);
}

bool supervise_is_successor(struct supervision *ret)
{
	const char *text = getenv(SUCCESSION);
	int ledger, foreground;

	if (!text || sscanf(text, "%d %d %d", &ledger, &ret->serving.device, &foreground) != 3)
		return false;
	unsetenv(SUCCESSION);
	if (!foreground)
		say_to_log();
	int result = ledger_open(&ret->serving.ledger, ledger);
	if (result < 0) {
		say("the mount cannot be gone on with: %s", strerror(-result));
		exit(EX_SOFTWARE);
	}
	const struct ledger_head *head = ledger_head(ret->serving.ledger);
	set_cloexec(ledger, ret->serving.device, true);
	ret->serving.is_in_foreground = foreground;
	ret->serving.ready = -1;
	ret->serving.mountpoint = head->mountpoint;
	ret->serving.store = head->store;
	return true;
}

/* Whose supervisor was killed goes on by itself, with the program on disk if that
 * is possible; else with the one that this process runs. */
static const char *program_for_orphan(void)
{
	char reason[UPGRADE_REASON_SIZE];

	return upgrade_is_possible(program_path(), reason) ? program_path() : "/proc/self/exe";
}

/* The server */

static void note_thread(struct ledger_head *head)
{
	/* The kernel clears it when this thread ends, and wakes who waits there,
	 * even if other threads of the process cannot end yet. */
	syscall(SYS_set_tid_address, &head->server);
}

static void __attribute__((noreturn))
run_server(const struct supervision *supervision, pid_t supervisor)
{
	struct serving serving = supervision->serving;
	bool is_first = state.head->first_request_length == 0;
	int keep[] = {0, 1, 2, ledger_fd(serving.ledger), serving.device, serving.ready};
	size_t keep_count = is_first && serving.ready >= 0 ? 6 : 5;

	note_thread(state.head);
	prctl(PR_SET_PDEATHSIG, SIGUSR2);
	if (getppid() != supervisor)
		kill(getpid(), SIGUSR2);
	/* ^C is for the supervisor, who passes it on. */
	setpgid(0, 0);
	/* Its list of free slots is a process's own. */
	int result = ledger_open(&serving.ledger, ledger_fd(serving.ledger));
	if (result == 0) {
		recover_close_descriptors(serving.ledger, keep, keep_count);
		restore_signals();
		/* Whoever waited has been told by the first server, and the number
		 * is another file's by now. */
		if (!is_first)
			serving.ready = -1;
		if (!is_first && !serving.is_in_foreground)
			say_to_log();
		result = serve(&serving);
	}
	if (result == -EOWNERDEAD) {
		say("%s: the supervisor was killed; a new one takes over", serving.mountpoint);
		succeed(&(struct supervision){serving, supervision->arguments},
			program_for_orphan());
	}
	exit(result < 0 ? EX_UNAVAILABLE : 0);
}

/*
 * As fork(2), but for the descriptors.  What glibc's fork() does beside the
 * system call is for locks of other threads, of which there are none here, and
 * to tell the thread its new id, which the kernel can do.
 */
static pid_t start_server(const struct supervision *supervision)
{
	pid_t supervisor = getpid(), *thread_id = NULL;

	(void)prctl(PR_GET_TID_ADDRESS, &thread_id, 0, 0, 0);
	unsigned long flags = CLONE_FILES | SIGCHLD | (thread_id ? CLONE_CHILD_SETTID : 0);
#if defined __x86_64__ || defined __i386__
	pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, NULL, thread_id, 0);
#else
	pid_t pid = (pid_t)syscall(SYS_clone, flags, 0, NULL, 0, thread_id);
#endif
	if (pid == 0)
		run_server(supervision, supervisor);
	if (pid > 0) {
		state.server = pid;
		atomic_store(&state.head->server, (uint32_t)pid);
	}
	return pid;
}

/* The supervisor */

/* Until the server's first thread has ended, or something else is to be done. */
static void await_news(void)
{
	sigset_t set = handled_set();

	sigprocmask(SIG_UNBLOCK, &set, NULL);
	while (atomic_load(&state.head->server) == (uint32_t)state.server)
		syscall(SYS_futex, &state.head->server, FUTEX_WAIT, (uint32_t)state.server, NULL,
			NULL, 0);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Its status; -1 if some thread of it cannot end yet. */
static int reap_server(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, state.server, 0), status = -1;

	if (pidfd >= 0) {
		(void)poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, LAST_THREADS_MS);
		close(pidfd);
	}
	return waitpid(state.server, &status, WNOHANG) == state.server ? status : -1;
}

/* Those that had not ended yet. */
static void reap_others(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
}

/* A request on which one server after the other ends. */
static void note_suspect(void)
{
	struct ledger_head *head = state.head;

	if (head->request == 0)
		return;
	head->suspect_deaths = head->request == head->suspect ? head->suspect_deaths + 1 : 1;
	head->suspect = head->request;
	/* The next server may end before it gets that far. */
	head->request = 0;
}

static void say_how_it_ended(const char *mountpoint, int status)
{
	if (status == -1)
		say("%s: the server (pid %d) was killed; another goes on", mountpoint,
		    (int)state.server);
	else if (WIFSIGNALED(status))
		say("%s: the server (pid %d) was ended by signal %d (%s)%s; another goes on",
		    mountpoint, (int)state.server, WTERMSIG(status), strsignal(WTERMSIG(status)),
		    WCOREDUMP(status) ? ", core dumped" : "");
	else
		say("%s: the server (pid %d) ended with status %d; another goes on", mountpoint,
		    (int)state.server, WEXITSTATUS(status));
}

/* Whoever has asked for the upgrade looks for this in the mount's attributes. */
static void refuse(const struct supervision *supervision, const char *reason)
{
	say("%s: not upgraded: %s", supervision->serving.mountpoint, reason);
	snprintf(state.head->refusal, sizeof state.head->refusal, "%s", reason);
	ledger_write_order();
	state.head->refusals++;
}

static void upgrade(const struct supervision *supervision)
{
	const char *program = program_path();
	char reason[UPGRADE_REASON_SIZE];

	state.wants_upgrade = 0;
	if (!upgrade_is_possible(program, reason)) {
		refuse(supervision, reason);
		atomic_store(&state.head->server, (uint32_t)state.server);
		/* It may have ended meanwhile. */
		note_child(SIGCHLD);
		return;
	}
	kill(state.server, SIGKILL);
	(void)reap_server();
	succeed(supervision, program);
	refuse(supervision, "it could not be run in the end, see the system log");
}

/* Did it end as it should?  `ret` is then the program's exit status. */
static bool is_over(const struct supervision *supervision, int status, int *ret)
{
	static uint64_t served;
	static int vain_starts;
	const struct serving *serving = &supervision->serving;

	*ret = status == -1 || WIFSIGNALED(status) ? EX_SOFTWARE : WEXITSTATUS(status);
	if (*ret == 0 || state.head->first_request_length == 0)
		return true;
	vain_starts = served == state.head->requests_served ? vain_starts + 1 : 0;
	served = state.head->requests_served;
	if (vain_starts < VAIN_STARTS_MOST) {
		say_how_it_ended(serving->mountpoint, status);
		return false;
	}
	say("%s: %d servers have ended at once: given up", serving->mountpoint, vain_starts);
	return true;
}

static int run_supervisor(const struct supervision *supervision)
{
	bool is_started = false;
	int status = EX_OSERR;

	install_handlers();
	for (;;) {
		if (!is_started && start_server(supervision) < 0) {
			say("%s: no server: %s", supervision->serving.mountpoint, strerror(errno));
			return EX_OSERR;
		}
		is_started = true;
		await_news();
		/* The server has let go of the terminal for both. */
		if (!supervision->serving.is_in_foreground)
			say_to_log();
		if (state.wants_upgrade) {
			/* Back only if it did not come to that. */
			upgrade(supervision);
			if (atomic_load(&state.head->server) == (uint32_t)state.server)
				continue;
		}
		int ended = reap_server();
		note_suspect();
		if (is_over(supervision, ended, &status))
			return status;
		reap_others();
		is_started = false;
	}
}

static int begin(struct supervision *supervision)
{
	struct serving *serving = &supervision->serving;
	struct fuse_session *session = serve_mount(serving->arguments, serving->mountpoint);

	if (!session)
		return -ENODEV;
	state.session = session;
	serving->device = fuse_session_fd(session);
	(void)fcntl(serving->device, F_SETFD, FD_CLOEXEC);
	int result = ledger_new(&serving->ledger);
	if (result < 0)
		return result;
	struct ledger_head *head = ledger_head(serving->ledger);
	snprintf(head->mountpoint, sizeof head->mountpoint, "%s", serving->mountpoint);
	snprintf(head->store, sizeof head->store, "%s", serving->store);
	return 0;
}

int supervise(struct supervision *supervision)
{
	struct serving *serving = &supervision->serving;
	int result = 0, status = EX_UNAVAILABLE;

	if (serving->ledger)
		notify_main_process();
	else
		result = begin(supervision);

	/* While the name leads to it. */
	(void)program_path();
	if (result < 0 && result != -ENODEV)
		say("%s: %s", serving->mountpoint, strerror(-result));
	if (result == 0 && !serving->is_in_foreground && chdir("/") < 0)
		say("/: %s", strerror(errno));
	if (result == 0) {
		state.head = ledger_head(serving->ledger);
		status = run_supervisor(supervision);
	}
	if (state.session) {
		fuse_session_unmount(state.session);
		fuse_session_destroy(state.session);
	} else if (serving->device >= 0) {
		mountpoint_unmount(serving->mountpoint, serving->device);
	}
	if (serving->ledger)
		ledger_free(serving->ledger);
	return status;
}
