/*
 * RELOCK_SEMANTICS and RELOCK_DEBUG, read once.
 *
 * Once, because a program may change its environment, or use the memory of it
 * for a process title; and as early as possible, which is the constructor
 * below.  A lock can come before that: from the constructor of a library that
 * the dynamic linker starts earlier, and then the lock reads the environment;
 * or from a program's .preinit_array, when libc itself has not seen the
 * environment yet (environ is NULL: tried here), and then that lock is taken
 * with the defaults and nothing is kept.
 *
 * Threads.  `progress` guards `kept`: who moves it from UNREAD to READING
 * writes, and nobody reads before it is READY.  Nobody waits for that either.
 * A signal handler that interrupts the writer, or a thread that comes just
 * then, reads the environment for itself.
 */
#include "settings.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "raw.h"
#include "text.h"

enum progress { UNREAD, READING, READY };

static _Atomic enum progress progress = UNREAD;
static struct shim_settings kept;
static char kept_debug_file[PATH_MAX];

/* getenv(3) would do the same, but may be the program's own function. */
static const char *environment_value(const char *name)
{
	size_t length = strlen(name);

	for (char **entry = environ; entry && *entry; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	return "";
}

static void read_environment(struct shim_settings *ret)
{
	*ret = (struct shim_settings){.semantics = SHIM_OFD};
	/* A setuid program does not let its caller name files to write to. */
	if (getauxval(AT_SECURE))
		return;

	const char *semantics = environment_value("RELOCK_SEMANTICS");
	if (*semantics && strcmp(semantics, "ofd") != 0 && strcmp(semantics, "process") != 0)
		ret->semantics = SHIM_LEGACY;

	const char *debug = environment_value("RELOCK_DEBUG");
	ret->debug = *debug && strcmp(debug, "0") != 0;
	ret->debug_file = ret->debug && strcmp(debug, "1") != 0 ? debug : NULL;
}

/* The path as an absolute one: programs change their folder, and the lines of
 * a daemon shall not go to another file for that. */
static const char *keep_path(const char *path)
{
	size_t used = 0;

	if (path[0] != '/') {
		/* The length it returns counts the NUL. */
		ssize_t length = raw_getcwd(kept_debug_file, sizeof kept_debug_file - 1);
		if (length < 0 || kept_debug_file[0] != '/')
			return NULL;
		used = (size_t)length;
		kept_debug_file[used - 1] = '/';
	}
	if (strlen(path) >= sizeof kept_debug_file - used)
		return NULL;
	strcpy(kept_debug_file + used, path);
	return kept_debug_file;
}

const struct shim_settings *shim_settings(struct shim_settings *scratch)
{
	enum progress seen = atomic_load_explicit(&progress, memory_order_acquire);

	if (seen == READY)
		return &kept;
	if (!environ || seen == READING ||
	    !atomic_compare_exchange_strong(&progress, &seen, READING)) {
		read_environment(scratch);
		return scratch;
	}
	read_environment(&kept);
	if (kept.debug_file)
		kept.debug_file = keep_path(kept.debug_file);
	atomic_store_explicit(&progress, READY, memory_order_release);
	return &kept;
}

static void say(const char *before, const char *value, const char *after)
{
	char line[512];
	struct text text = TEXT(line);

	text_add(&text, "relock: ");
	text_add(&text, before);
	text_add_escaped(&text, value, strlen(value));
	text_add(&text, after);
	text_write_line(&text, STDERR_FILENO);
}

static void complain_about_semantics(void)
{
	const char *semantics = environment_value("RELOCK_SEMANTICS");

	if (strcmp(semantics, "process") == 0)
		say("RELOCK_SEMANTICS=", semantics,
		    " does not exist in this version; this program runs with `ofd`");
	else if (*semantics && strcmp(semantics, "ofd") != 0)
		say("RELOCK_SEMANTICS=", semantics,
		    " is unknown (there is `ofd`); this program keeps its legacy record locks");
}

static void complain_about_debug_file(const struct shim_settings *settings)
{
	const char *wanted = environment_value("RELOCK_DEBUG");

	if (!settings->debug || strcmp(wanted, "1") == 0)
		return;
	if (settings->debug_file) {
		int fd = raw_openat(AT_FDCWD, settings->debug_file, TEXT_APPEND_FLAGS, 0666);
		if (fd >= 0) {
			raw_close(fd);
			return;
		}
	}
	say("cannot append to RELOCK_DEBUG=", wanted,
	    settings->debug_file ? "; this program's lock calls are not logged"
				 : "; this program's lock calls are logged here");
}

/* Once in a process, before main() and with nobody else around. */
__attribute__((constructor)) static void start(void)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);

	if (getauxval(AT_SECURE))
		return;
	complain_about_semantics();
	complain_about_debug_file(settings);
}
