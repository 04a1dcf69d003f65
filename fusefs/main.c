/*
 * relockfs: the mount whose files are locks.
 *
 * In the background, a child does all the work from the start, and the parent
 * waits to hear whether it came to a mount: what goes wrong is said on the
 * terminal, and the exit status is true.  (The locks of a store do not survive
 * fork(2), so the child also opens the store.)
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "errand.h"
#include "grant.h"
#include "invalidate.h"
#include "loop.h"
#include "mountpoint.h"
#include "promise.h"
#include "say.h"
#include "server.h"
#include "store-wait.h"

enum { LOOKS_AT_ONCE = 8 };

struct options {
	char *store;      /* URL; NULL: the default */
	char *mountpoint; /* as given */
	int foreground, debug, help, version, allow_root, allow_other;
	size_t argument_count;
};

#define OPTION(text, member)                                                                       \
	{                                                                                          \
		text, offsetof(struct options, member), 1                                          \
	}

/* FUSE_OPT_KEY(), with the cast that it lacks. */
#define IGNORED(text)                                                                              \
	{                                                                                          \
		text, (unsigned long)-1U, FUSE_OPT_KEY_DISCARD                                     \
	}

static const struct fuse_opt option_table[] = {
	OPTION("-f", foreground),
	OPTION("-d", debug),
	OPTION("-h", help),
	OPTION("--help", help),
	OPTION("-V", version),
	OPTION("--version", version),
	OPTION("allow_root", allow_root),
	OPTION("allow_other", allow_other),
	/* The kernel's own permission checks know nothing of locks: one user's
	 * open for writing of another's lock has to wait, not to fail. */
	IGNORED("default_permissions"),
	/* Of older fstab lines. */
	IGNORED("nonempty"),
	IGNORED("-s"),
	FUSE_OPT_END,
};

static int take_argument(void *data, const char *argument, int key, struct fuse_args *arguments)
{
	struct options *options = data;

	if (key != FUSE_OPT_KEY_NONOPT)
		return 1; /* libfuse knows it, or says that it does not */
	if (++options->argument_count > 2)
		return 0;
	free(options->store);
	options->store = options->mountpoint;
	options->mountpoint = strdup(argument);
	return options->mountpoint ? 0 : -1;
}

static void usage(FILE *stream)
{
	fprintf(stream,
		"Usage: relockfs [-f] [-o OPTIONS] [STORE-URL] MOUNTPOINT\n"
		"\n"
		"Mounts a file system whose files are locks: to open a file for writing\n"
		"acquires the lock of that name, to read it shows who holds it.\n"
		"\n"
		"  -f          stay in the foreground\n"
		"  -o OPTIONS  mount options, see relockfs(8)\n"
		"  -d          print each request (implies -f)\n"
		"  -h, --help\n"
		"  -V, --version\n"
		"\n"
		"STORE-URL names where the locks are held, \"ofd:/run/relock\" for example;\n"
		"without it, the default store. SIGTERM unmounts when nothing is held.\n");
}

/* A relative folder in a URL is meant from here, and a daemon is elsewhere. */
static char *absolute_url(const char *url)
{
	const char *rest = strchr(url, ':');
	struct stat status;
	char *made = NULL;

	if (!rest || rest[1] == '/' || rest[1] == '\0' || stat(rest + 1, &status) < 0 ||
	    !S_ISDIR(status.st_mode))
		return strdup(url);
	char *folder = realpath(rest + 1, NULL);
	if (folder && asprintf(&made, "%.*s:%s", (int)(rest - url), url, folder) < 0)
		made = NULL;
	free(folder);
	return made;
}

/* fstab has to have something in its first column. */
static bool is_default_store(const char *name)
{
	return !name || strcmp(name, "none") == 0 || strcmp(name, "relockfs") == 0 ||
	       strcmp(name, "default") == 0;
}

static int open_store(const char *name, relock_store **ret)
{
	char *url = NULL;
	int result = 0;

	if (is_default_store(name))
		result = relock_store_default(&url, NULL);
	else if (!(url = absolute_url(name)))
		result = -ENOMEM;
	if (result == 0)
		result = relock_store_open(ret, url);
	if (result < 0)
		say("%s", *relock_error_message() ? relock_error_message() : strerror(-result));
	free(url);
	return result;
}

/* One descriptor a lock. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* The signals that end the mount, as a descriptor. */
static int open_signals(void)
{
	sigset_t ending;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, NULL);
	return signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int add_mount_options(struct fuse_args *arguments, const struct options *options,
			     const char *url)
{
	char *text = NULL, *name = NULL;
	int result = -ENOMEM;

	if (asprintf(&name, "fsname=%s", url) >= 0 &&
	    fuse_opt_add_opt(&text, "subtype=relockfs") == 0 &&
	    fuse_opt_add_opt_escaped(&text, name) == 0 &&
	    ((geteuid() != 0 && !options->allow_other) || options->allow_root ||
	     fuse_opt_add_opt(&text, "allow_other") == 0) &&
	    (!options->allow_root || fuse_opt_add_opt(&text, "allow_root") == 0) &&
	    fuse_opt_add_arg(arguments, "-o") == 0 && fuse_opt_add_arg(arguments, text) == 0)
		result = 0;
	free(text);
	free(name);
	return result;
}

static int start_threads(struct server *server)
{
	int result = errands_start(&server->looks, server->wake, LOOKS_AT_ONCE);

	if (result == 0)
		result = errands_start(&server->breaks, server->wake, 1);
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

static int serve_mounted(struct server *server, int signals, int ready)
{
	int result = mountpoint_device(server->mount.path, &server->mount.device);

	if (result == 0)
		result = start_threads(server);
	if (result == 0) {
		if (ready >= 0)
			go_to_background(ready);
		result = loop_run(server, signals);
		if (result < 0)
			say("%s: the connection to the kernel failed: %s", server->mount.path,
			    strerror(-result));
	}
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

static int serve(struct server *server, struct fuse_args *arguments, const struct options *options,
		 int ready)
{
	int result = -ENOMEM, signals = open_signals();

	server->session = fuse_session_new(arguments, &operations, sizeof operations, server);
	if (!server->session)
		return -EINVAL; /* it has said why */
	if (signals >= 0 && fuse_session_mount(server->session, server->mount.path) == 0)
		result = serve_mounted(server, signals, ready);
	else
		say_not_mounted(server->mount.path);
	fuse_session_destroy(server->session);
	if (signals >= 0)
		close(signals);
	return result;
}

static int make_server(struct server *server, relock_store *store, const char *mountpoint)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	server->started = now.tv_sec * RELOCK_SECOND + now.tv_nsec;
	server->uid = geteuid();
	server->gid = getegid();
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	server->promises = promises_new();
	struct store_waits *waits = store_waits_new(server->wake);
	mount_init(&server->mount, store, mountpoint, waits, &open_answers);
	return server->wake >= 0 && server->promises && waits ? 0 : -ENOMEM;
}

static void end_server(struct server *server)
{
	list_end(server);
	mount_end(&server->mount);
	store_waits_free(server->mount.waits);
	promises_free(server->promises);
	if (server->wake >= 0)
		close(server->wake);
}

/* Everything from the store to the last request.  `ready` is where to say that
 * the mount is there; -1 in the foreground. */
static int run(const struct options *options, struct fuse_args *arguments, int ready)
{
	relock_store *store = NULL;
	struct server server = {0};
	char *mountpoint = NULL;

	raise_descriptor_limit();
	if (mountpoint_check(options->mountpoint, &mountpoint) < 0)
		return EX_UNAVAILABLE;
	int result = open_store(options->store, &store);
	if (result == 0) {
		result = make_server(&server, store, mountpoint);
		if (result == 0)
			result = add_mount_options(arguments, options, relock_store_url(store));
		if (result < 0)
			say("%s", strerror(-result));
		else
			result = serve(&server, arguments, options, ready);
		end_server(&server);
		relock_store_close(store);
	}
	free(mountpoint);
	return result < 0 ? EX_UNAVAILABLE : 0;
}

static int run_in_background(const struct options *options, struct fuse_args *arguments)
{
	int pipe_fds[2], status;
	char ready;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0) {
		say("%s", strerror(errno));
		return EX_OSERR;
	}
	pid_t child = fork();
	if (child < 0) {
		say("%s", strerror(errno));
		return EX_OSERR;
	}
	if (child == 0) {
		close(pipe_fds[0]);
		setsid();
		return run(options, arguments, pipe_fds[1]);
	}
	close(pipe_fds[1]);
	ssize_t length = read(pipe_fds[0], &ready, 1);
	close(pipe_fds[0]);
	if (length == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EX_OSERR;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
}

static int run_with_options(struct options *options, struct fuse_args *arguments)
{
	if (options->help) {
		usage(stdout);
		return 0;
	}
	if (options->version) {
		printf("relockfs %s (libfuse %s)\n", relock_version(), fuse_pkgversion());
		return 0;
	}
	if (options->argument_count < 1 || options->argument_count > 2) {
		usage(stderr);
		return EX_USAGE;
	}
	if (options->debug && fuse_opt_add_arg(arguments, "-d") < 0)
		return EX_OSERR;
	if (options->foreground || options->debug)
		return run(options, arguments, -1);
	return run_in_background(options, arguments);
}

int main(int argument_count, char **argument_values)
{
	struct fuse_args arguments = FUSE_ARGS_INIT(argument_count, argument_values);
	struct options options = {0};
	int status = EX_USAGE;

	if (fuse_opt_parse(&arguments, &options, option_table, take_argument) == 0)
		status = run_with_options(&options, &arguments);
	free(options.store);
	free(options.mountpoint);
	fuse_opt_free_args(&arguments);
	return status;
}
