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
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "ledger.h"
#include "mountpoint.h"
#include "say.h"
#include "supervise.h"

struct options {
	char *store;      /* URL; NULL: the default */
	char *mountpoint; /* as given */
	char *uid, *gid, *mode;
	struct permissions permissions; /* what these three say */
	int foreground, debug, help, version, allow_root, allow_other, supervise, layout;
	char **program_arguments; /* all of them */
	size_t argument_count;
};

#define OPTION(text, member)                                                                       \
	{                                                                                          \
		text, offsetof(struct options, member), 1                                          \
	}

#define VALUE(text, member)                                                                        \
	{                                                                                          \
		text, offsetof(struct options, member), 0                                          \
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
	OPTION("--supervise", supervise),
	OPTION("supervise", supervise),
	OPTION("--ledger-layout", layout),
	OPTION("allow_root", allow_root),
	OPTION("allow_other", allow_other),
	VALUE("uid=%s", uid),
	VALUE("gid=%s", gid),
	VALUE("mode=%s", mode),
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
		"  -f             stay in the foreground\n"
		"  -d             print each request; implies -f\n"
		"  --supervise    the locks outlive the serving process: another follows it\n"
		"  -o OPTIONS     mount options; uid=USER,gid=GROUP,mode=MODE say who may\n"
		"                 acquire (w) and see (r)\n"
		"  -h, --help     this text\n"
		"  -V, --version  the version\n"
		"\n"
		"STORE-URL names where the locks are held, \"ofd:/run/relock\" for example;\n"
		"without it, the default store. SIGTERM unmounts when nothing is held.\n"
		"See relockfs(8), and `relock mount --help` for what else there is to do.\n");
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

static char *store_url(const char *name)
{
	char *url = NULL;

	if (!is_default_store(name))
		return absolute_url(name);
	if (relock_store_default(&url, NULL) < 0)
		say("%s", relock_error_message());
	return url;
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

/* `ready` is where to say that the mount is there; -1 in the foreground. */
static int run(const struct options *options, struct fuse_args *arguments, int ready)
{
	char *mountpoint = NULL, *store = store_url(options->store);
	struct supervision supervision = {
		.serving = {.store = store,
			    .arguments = arguments,
			    .permissions = options->permissions,
			    .ready = ready,
			    .device = -1,
			    .is_in_foreground = ready < 0},
		.arguments = options->program_arguments,
	};
	int status = EX_UNAVAILABLE;

	raise_descriptor_limit();
	if (store && mountpoint_check(options->mountpoint, &mountpoint) == 0) {
		supervision.serving.mountpoint = mountpoint;
		if (add_mount_options(arguments, options, store) < 0)
			say("%s", strerror(ENOMEM));
		else if (options->supervise)
			status = supervise(&supervision);
		else if (serve(&supervision.serving) == 0)
			status = 0;
	}
	free(mountpoint);
	free(store);
	return status;
}

/* This program in the place of another, that has mounted. */
static int go_on(struct supervision *supervision, const struct options *options,
		 struct fuse_args *arguments)
{
	supervision->serving.arguments = arguments;
	supervision->serving.permissions = options->permissions;
	supervision->arguments = options->program_arguments;
	return supervise(supervision);
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
		/* What the caller has open, a lock perhaps, is not the daemon's. */
		if (pipe_fds[1] > 3)
			close_range(3, (unsigned)pipe_fds[1] - 1, 0);
		close_range((unsigned)pipe_fds[1] + 1, ~0U, 0);
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
	struct supervision succession = {0};

	if (options->help) {
		usage(stdout);
		return 0;
	}
	if (options->version) {
		printf("relockfs %s (libfuse %s)\n", relock_version(), fuse_pkgversion());
		return 0;
	}
	if (options->layout) {
		printf("%d\n", LEDGER_LAYOUT);
		return 0;
	}
	if (options->argument_count < 1 || options->argument_count > 2) {
		usage(stderr);
		return EX_USAGE;
	}
	if (permissions_parse(&options->permissions, options->uid, options->gid, options->mode) < 0)
		return EX_USAGE;
	if (options->debug && fuse_opt_add_arg(arguments, "-d") < 0)
		return EX_OSERR;
	if (supervise_is_successor(&succession))
		return go_on(&succession, options, arguments);
	if (options->foreground || options->debug)
		return run(options, arguments, -1);
	return run_in_background(options, arguments);
}

/* Or a pipe, or a lock, would be what is printed to. */
static void fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argument_count, char **argument_values)
{
	struct fuse_args arguments = FUSE_ARGS_INIT(argument_count, argument_values);
	struct options options = {.program_arguments = argument_values};
	int status = EX_USAGE;

	fill_standard_descriptors();
	/* One heap for all threads, of which malloc_trim(3) gives all back: it leaves
	 * the top of the others, megabytes where a thread has listed thousands of
	 * locks. */
	(void)mallopt(M_ARENA_MAX, 1);
	/* Executed as /proc/self/exe it would be called "exe". */
	(void)prctl(PR_SET_NAME, "relockfs");
	if (fuse_opt_parse(&arguments, &options, option_table, take_argument) == 0)
		status = run_with_options(&options, &arguments);
	free(options.store);
	free(options.mountpoint);
	free(options.uid);
	free(options.gid);
	free(options.mode);
	fuse_opt_free_args(&arguments);
	return status;
}
