/*
 * RELOCK_SEMANTICS, RELOCK_POLICY, RELOCK_DEBUG and RELOCK_TRACE, read once.
 *
 * Once, because a program may change its environment, or use the memory of it
 * for a process title; and as early as possible, which is the constructor
 * below.  A lock can come before that: from the constructor of a library that
 * the dynamic linker starts earlier, and then the lock reads the environment;
 * or from a program's .preinit_array, when libc itself has not seen the
 * environment yet (environ is NULL: tried here), and then that lock is taken
 * with the defaults and nothing is kept.
 *
 * Semantics or a policy that cannot be understood leave the program its legacy
 * record locks, as if there was no shim: half of what was asked for might be
 * the wrong half.
 *
 * Threads.  `progress` guards `kept`, and the texts that it points to: who
 * moves it from UNREAD to READING writes, and nobody reads before it is READY.
 * Nobody waits for that either.  A signal handler that interrupts the writer,
 * or a thread that comes just then, reads the environment for itself.
 */
#include "settings.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "apart.h"
#include "policy-rules.h"
#include "raw.h"
#include "text.h"

enum progress { UNREAD, READING, READY };

static _Atomic enum progress progress = UNREAD;
static struct shim_settings kept;
static char kept_debug_file[PATH_MAX] SHIM_APART, kept_trace_file[PATH_MAX] SHIM_APART;
static char kept_policy[SHIM_POLICY_MAX + 1] SHIM_APART;

/* getenv(3) would do the same, but may be the program's own function. */
static const char *environment_value(const char *name)
{
	size_t length = strlen(name);

	for (char **entry = environ; entry && *entry; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	return "";
}

static bool read_semantics(enum shim_choice *ret)
{
	const char *semantics = environment_value("RELOCK_SEMANTICS");

	*ret = SHIM_PROCESS;
	return !*semantics || shim_choice_from_name(semantics, strlen(semantics), ret);
}

static void read_environment(struct shim_settings *ret)
{
	struct shim_policy_fault fault;

	*ret = (struct shim_settings){.semantics = SHIM_PROCESS};
	/* A setuid program does not let its caller name files to write to. */
	if (getauxval(AT_SECURE))
		return;

	const char *policy = environment_value("RELOCK_POLICY");
	if (!read_semantics(&ret->semantics) || !shim_policy_is_valid(policy, &fault)) {
		ret->semantics = SHIM_LEGACY;
	} else if (*policy) {
		ret->has_policy = true;
		ret->policy = policy;
	}

	const char *debug = environment_value("RELOCK_DEBUG");
	ret->debug = *debug && strcmp(debug, "0") != 0;
	ret->debug_file = ret->debug && strcmp(debug, "1") != 0 ? debug : NULL;

	const char *trace = environment_value("RELOCK_TRACE");
	ret->trace_file = *trace ? trace : NULL;
}

/* The path as an absolute one: programs change their folder, and the lines of
 * a daemon shall not go to another file for that. */
static const char *keep_path(const char *path, char place[static PATH_MAX])
{
	size_t used = 0;

	if (path[0] != '/') {
		/* The length it returns counts the NUL. */
		ssize_t length = raw_getcwd(place, PATH_MAX - 1);
		if (length < 0 || place[0] != '/')
			return NULL;
		used = (size_t)length;
		place[used - 1] = '/';
	}
	if (strlen(path) >= PATH_MAX - used)
		return NULL;
	strcpy(place + used, path);
	return place;
}

static void keep_texts(struct shim_settings *settings)
{
	if (settings->debug_file)
		settings->debug_file = keep_path(settings->debug_file, kept_debug_file);
	if (settings->trace_file)
		settings->trace_file = keep_path(settings->trace_file, kept_trace_file);
	if (settings->has_policy)
		/* A valid one is not too long. */
		settings->policy = strcpy(kept_policy, settings->policy);
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
	keep_texts(&kept);
	atomic_store_explicit(&progress, READY, memory_order_release);
	return &kept;
}

/* Of what may be long, the beginning, so that `after` is to be seen. */
static void say(const char *before, const char *value, size_t length, const char *after)
{
	enum { SHOWN_MAX = 100 };
	char line[640];
	struct text text = TEXT(line);

	text_add(&text, "relock: ");
	text_add(&text, before);
	text_add_escaped(&text, value, length < SHOWN_MAX ? length : SHOWN_MAX);
	text_add(&text, length > SHOWN_MAX ? "..." : "");
	text_add(&text, after);
	text_write_line(&text, STDERR_FILENO);
}

static void complain_about_semantics(void)
{
	const char *semantics = environment_value("RELOCK_SEMANTICS");
	enum shim_choice choice;

	if (!read_semantics(&choice))
		say("RELOCK_SEMANTICS=", semantics, strlen(semantics),
		    " is unknown (there are process, ofd and off); this program keeps its legacy "
		    "record locks");
}

static void complain_about_policy(void)
{
	struct shim_policy_fault fault;
	char after[160];
	struct text text = TEXT(after);

	if (shim_policy_is_valid(environment_value("RELOCK_POLICY"), &fault))
		return;
	text_add(&text, "' ");
	text_add(&text, fault.reason);
	text_add(&text, "; this program keeps its legacy record locks");
	say("RELOCK_POLICY: the rule '", fault.rule, fault.length, after);
}

static bool can_append_to(const char *path)
{
	_cleanup_raw_close_ int fd =
		path ? raw_openat(AT_FDCWD, path, TEXT_APPEND_FLAGS, 0666) : -ENOENT;

	return fd >= 0;
}

static void complain_about_debug_file(const struct shim_settings *settings)
{
	const char *wanted = environment_value("RELOCK_DEBUG");

	if (settings->debug && strcmp(wanted, "1") != 0 && !can_append_to(settings->debug_file))
		say("cannot append to RELOCK_DEBUG=", wanted, strlen(wanted),
		    settings->debug_file ? "; this program's lock calls are not logged"
					 : "; this program's lock calls are logged here");
}

static void complain_about_trace_file(const struct shim_settings *settings)
{
	const char *wanted = environment_value("RELOCK_TRACE");

	if (*wanted && !can_append_to(settings->trace_file))
		say("cannot append to RELOCK_TRACE=", wanted, strlen(wanted),
		    "; this program's lock calls are not traced");
}

/* Once in a process, before main() and with nobody else around. */
__attribute__((constructor)) static void start(void)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);

	if (getauxval(AT_SECURE))
		return;
	complain_about_semantics();
	complain_about_policy();
	complain_about_debug_file(settings);
	complain_about_trace_file(settings);
}
