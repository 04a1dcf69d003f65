/*
 * relock unget: gives a lock back.
 *
 * What `relock get` holds is given back by asking its background process;
 * whoever else holds a lock did not ask for that, so it takes --force to break
 * it.  (The seed resourcelock always forces.)
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "message.h"
#include "named-lock.h"
#include "relock.h"

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"force", no_argument, NULL, 'f'},
	{"message", required_argument, NULL, 'm'},
	{NULL, 0, NULL, 0},
};

static bool held_by_get(const struct relock_status *status)
{
	for (size_t i = 0; status && i < status->holder_count; i++)
		if (status->holders[i].via_kind == RELOCK_VIA_GET)
			return true;
	return false;
}

static int explain_refusal(const struct invocation *invocation, const char *name, bool force,
			   int error, const struct relock_status *status)
{
	/* It is from `relock get`, but another user's: the library says whose. */
	if (error == -EPERM && !force && held_by_get(status)) {
		complain("%s", relock_error_message());
		return EXIT_NOT_HAD;
	}

	CLEANUP_FREE char *lock = printable(name);

	if (error == -ENOENT) {
		complain("%s: not held, nothing to give back", lock);
		return EXIT_NOT_HAD;
	}
	if (!status || status->state == RELOCK_FREE)
		return complain_error(name, error);

	CLEANUP_FREE char *holders = held_by_text(status);
	CLEANUP_FREE char *remedy = remedy_text(invocation, "unget --force", name);

	if (error == -ETIMEDOUT)
		complain("%s: %s, who was asked and has not given it back within 5 s; to break "
			 "it: kill that process",
			 lock, holders);
	else if (!force)
		complain("%s: not from `relock get`, so not given back: %s; to break it all the "
			 "same: %s",
			 lock, holders, remedy);
	else if (error == -ESRCH)
		complain("%s: %s; try as root, outside of containers", lock, holders);
	else
		complain("%s: no right to break it: %s; try as root, or as that user", lock,
			 holders);
	return EXIT_NOT_HAD;
}

/* Its next holder, or those who shared it. */
static char *now_held_text(struct named_lock *named)
{
	CLEANUP_STATUS struct relock_status *now = NULL;

	if (relock_lock_status(named->lock, &now) < 0 || now->state == RELOCK_FREE)
		return NULL;
	return held_by_text(now);
}

static void report(struct named_lock *named, const char *name, bool broken, const char *reason,
		   const struct relock_status *before)
{
	CLEANUP_FREE char *lock = printable(name);
	CLEANUP_FREE char *was =
		before && before->state != RELOCK_FREE ? held_by_text(before) : NULL;
	CLEANUP_FREE char *now = now_held_text(named);
	CLEANUP_FREE char *why = reason ? printable(reason) : NULL;
	const char *done = broken ? "broken" : "given back";

	printf("%s: %s", lock, done);
	if (why)
		printf(" (%s)", why);
	if (was)
		printf(", was %s", was);
	if (now)
		printf("; now %s", now);
	putchar('\n');
	log_line("%s: %s by unget%s%s", lock, done, why ? ": " : "", why ? why : "");
}

static int unget(const struct invocation *invocation, const char *name, bool force,
		 const char *reason)
{
	CLEANUP_STATUS struct relock_status *before = NULL;
	NAMED_LOCK named = {NULL, NULL};

	int error = named_lock_open(&named, invocation, name);
	if (error < 0)
		return complain_error(name, error);

	/* Even with --force: asking is kinder, and enough for `relock get`. */
	error = relock_unget(named.lock, &before);
	if (error == -EPERM && force) {
		relock_status_free(before);
		before = NULL;
		error = relock_lock_break(named.lock, &before);
	} else {
		force = false;
	}
	switch (error) {
	case 0:
		report(&named, name, force, reason, before);
		return 0;
	case -ENOENT:
	case -EPERM:
	case -ESRCH:
	case -ETIMEDOUT:
		return explain_refusal(invocation, name, force, error, before);
	default:
		return complain_error(name, error);
	}
}

static int unget_main(struct invocation *invocation, int argc, char **argv)
{
	const char *reason = NULL;
	bool force = false;
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "fm:h", long_options, NULL)) != -1)
		switch (option) {
		case 'f':
			force = true;
			break;
		case 'm':
			reason = optarg;
			break;
		default:
			if (!common_option(invocation, &command_unget, option, &code))
				return code;
		}
	if (argc - optind != 1)
		return usage_error(&command_unget, optind == argc ? "a lock's name is missing"
								  : "only one name at a time");
	return unget(invocation, argv[optind], force, reason);
}

const struct command command_unget = {
	.name = "unget",
	.summary = "give back what `get` holds; --force breaks any lock",
	.help = "relock unget [OPTION]... NAME\n"
		"\n"
		"Gives back a lock that `relock get` holds.\n"
		"\n"
		"  -f, --force         break it whoever holds it; the holder lives on, and\n"
		"                      learns of it when it looks at the lock\n"
		"  -m, --message TEXT  the reason, for the message and the debug log\n"
		"      --store URL     where the lock is\n"
		"  -h, --help          this text\n",
	.run = unget_main,
};
