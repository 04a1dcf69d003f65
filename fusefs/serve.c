#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "callers.h"
#include "errand.h"
#include "grant.h"
#include "invalidate.h"
#include "loop.h"
#include "mountpoint.h"
#include "promise.h"
#include "recover.h"
#include "say.h"
#include "server.h"
#include "sight.h"
#include "state.h"
#include "store-wait.h"

enum { LOOKS_AT_ONCE = 8 };

/* The signals that end the mount, as a descriptor, and the one that says that
 * the supervisor has ended. */
static int open_signals(void)
{
	sigset_t taken;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&taken);
	sigaddset(&taken, SIGTERM);
	sigaddset(&taken, SIGINT);
	sigaddset(&taken, SIGHUP);
	sigaddset(&taken, SIGUSR2);
	sigprocmask(SIG_BLOCK, &taken, NULL);
	return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start_threads(struct server *server)
{
	struct ledger *ledger = server->mount.ledger;
	int result = errands_start(&server->looks, server->wake, LOOKS_AT_ONCE, ledger);

	if (result == 0)
		result = errands_start(&server->breaks, server->wake, 1, ledger);
	if (result == 0)
		result = invalidator_start(&server->invalidator, server->session, server->wake);
	if (result < 0)
		say("cannot start a thread: %s", strerror(-result));
	return result;
}

/* The mount is there: tells whoever waits for it, and lets go of the terminal. */
static void go_to_background(int ready)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (chdir("/") < 0)
		say("/: %s", strerror(errno));
	say_to_log();
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	(void)!write(ready, &(char){1}, 1);
	close(ready);
}

static int serve_mounted(struct server *server, const struct serving *serving, int signals)
{
	int result = mountpoint_device(server->mount.path, &server->mount.device);

	if (result == 0)
		result = start_threads(server);
	if (result == 0 && serving->ledger)
		result = recover_begin(server);
	if (result == 0) {
		if (serving->ready >= 0)
			go_to_background(serving->ready);
		result = loop_run(server, signals);
	}
	/* Another process goes on with all there is. */
	if (result == -EOWNERDEAD)
		return result;
	/* ENODEV: it was unmounted while nobody served it. */
	if (result == -ENODEV && serving->ledger)
		result = 0;
	else if (result < 0)
		say("%s: the connection to the kernel failed: %s", server->mount.path,
		    strerror(-result));
	/* While the connection is there, so that everybody is told. */
	grant_end(&server->mount);
	errands_end(server->looks);
	errands_end(server->breaks);
	/* It writes to the connection, which must be there while it does.  If the
	 * session was not served to its end, it may wait in the kernel for that. */
	if (result == 0) {
		invalidator_free(server->invalidator);
		server->invalidator = NULL;
	}
	fuse_session_unmount(server->session);
	invalidator_free(server->invalidator);
	return result;
}

/* libfuse has said what failed, but neither for which mount nor what to do. */
static void say_not_mounted(const char *path)
{
	static const char device[] = "/dev/fuse";
	const char *remedy;

	if (access(device, F_OK) < 0)
		remedy = "there is no /dev/fuse: `modprobe fuse` as root, or in a container pass "
			 "the device to it";
	else if (access(device, R_OK | W_OK) < 0)
		remedy = "this user may not open /dev/fuse: root can permit it (its usual mode is "
			 "0666)";
	else if (geteuid() == 0)
		remedy = "it takes CAP_SYS_ADMIN, which containers lack by default";
	else
		remedy = "users other than root need fusermount3, set-user-ID root (package "
			 "fuse3), and a folder of their own to mount on; allow_other needs "
			 "user_allow_other in /etc/fuse.conf";
	say("%s: not mounted: %s", path, remedy);
}

static struct fuse_session *mount_for(struct fuse_args *arguments, const char *mountpoint,
				      void *server)
{
	struct fuse_session *session =
		fuse_session_new(arguments, &operations, sizeof operations, server);

	if (!session)
		return NULL; /* it has said why */
	if (fuse_session_mount(session, mountpoint) == 0)
		return session;
	say_not_mounted(mountpoint);
	fuse_session_destroy(session);
	return NULL;
}

struct fuse_session *serve_mount(struct fuse_args *arguments, const char *mountpoint)
{
	return mount_for(arguments, mountpoint, NULL);
}

/* libfuse takes a descriptor for a mount point, and closes it at the end: not
 * the supervisor's. */
static struct fuse_session *join(const struct serving *serving, struct server *server)
{
	char path[32];
	int device = fcntl(serving->device, F_DUPFD_CLOEXEC, 0);

	if (device < 0)
		return NULL;
	snprintf(path, sizeof path, "/dev/fd/%d", device);
	return mount_for(serving->arguments, path, server);
}

/* What is told of the mount goes on from one serving process to the next. */
static void join_supervisor(struct server *server)
{
	struct ledger_head *head = ledger_head(server->mount.ledger);
	struct process keeper;

	if (head->started == 0) {
		head->started = server->started;
		head->started_by_boot = server->started_by_boot;
	}
	server->started = head->started;
	server->started_by_boot = head->started_by_boot;
	server->requests = head->requests_served;
	process_of_thread(&keeper, getppid(), 0, 0);
	server->mount.keeper_pid = keeper.pid;
	server->mount.keeper_start_time = keeper.start_time;
}

static int make_server(struct server *server, const struct serving *serving, relock_store *store)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	server->started = now.tv_sec * RELOCK_SECOND + now.tv_nsec;
	clock_gettime(CLOCK_BOOTTIME, &now);
	server->started_by_boot = now.tv_sec * RELOCK_SECOND + now.tv_nsec;
	server->permissions = serving->permissions;
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->promises = promises_new(serving->ledger);
	server->callers = callers_new();
	server->sights = sights_new();
	struct store_waits *waits = store_waits_new(server->wake);
	mount_init(&server->mount, store, serving->mountpoint, waits, &open_answers);
	server->mount.ledger = serving->ledger;
	if (serving->ledger)
		join_supervisor(server);
	bool is_made = server->promises && server->callers && server->sights && waits &&
		       state_begin(&server->mount) == 0;
	return server->wake >= 0 && is_made ? 0 : -ENOMEM;
}

static void end_server(struct server *server)
{
	list_end(server);
	table_free(&server->parked);
	mount_end(&server->mount);
	store_waits_free(server->mount.waits);
	promises_free(server->promises);
	callers_free(server->callers);
	sights_free(server->sights);
	if (server->wake >= 0)
		close(server->wake);
}

static int serve_store(const struct serving *serving, relock_store *store)
{
	struct server server = {0};
	int signals = open_signals();

	int result = make_server(&server, serving, store);
	if (result < 0 || signals < 0)
		say("%s", strerror(result < 0 ? -result : errno));
	else if (!(server.session = serving->ledger ? join(serving, &server)
						    : mount_for(serving->arguments,
								serving->mountpoint, &server)))
		result = -ENODEV;
	else
		result = serve_mounted(&server, serving, signals);
	if (result == -EOWNERDEAD)
		return result;
	if (server.session)
		fuse_session_destroy(server.session);
	end_server(&server);
	if (signals >= 0)
		close(signals);
	return signals < 0 ? -EMFILE : result;
}

int serve(const struct serving *serving)
{
	relock_store *store;

	int result = relock_store_open(&store, serving->store);
	if (result < 0) {
		say("%s", *relock_error_message() ? relock_error_message() : strerror(-result));
		return result;
	}
	result = serve_store(serving, store);
	if (result != -EOWNERDEAD)
		relock_store_close(store);
	return result;
}
