/*
 * relock exec: a program under the preload shim.
 *
 * All that is done is to set LD_PRELOAD and RELOCK_SEMANTICS and to run the
 * program in relock's place.  But where the dynamic linker would ignore the
 * shim it does so in silence, and the user believes in locks that are not
 * there: so that is found out first (shim-check.c), and said.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "find-program.h"
#include "installed-path.h"
#include "message.h"
#include "shim-check.h"

struct exec_options {
	const char *semantics; /* NULL: not said */
	bool strict;
};

/* RELOCK_PRELOAD_LIBRARY is for trying another shim.  To be freed. */
static char *find_shim(void)
{
	const char *chosen = getenv("RELOCK_PRELOAD_LIBRARY");

	if (chosen && *chosen)
		return realpath(chosen, NULL);

	CLEANUP_FREE char *found = installed_path("../preload/librelock-preload.so",
						  RELOCK_PRIVATE_LIBDIR "/librelock-preload.so");

	return found ? realpath(found, NULL) : NULL;
}

/* In front of what is there: the first one in the list sees calls first. */
static void set_preload(const char *shim)
{
	CLEANUP_FREE char *list = NULL;
	const char *others = getenv("LD_PRELOAD");
	bool any = others && *others;

	if (asprintf(&list, "%s%s%s", shim, any ? ":" : "", any ? others : "") < 0) {
		list = NULL;
		out_of_memory();
	}
	if (setenv("LD_PRELOAD", list, 1) < 0)
		out_of_memory();
}

/* 0: run it.  Else the exit code of giving up. */
static int prepare_shim(const struct exec_options *options, const char *program, const char *path)
{
	CLEANUP_FREE char *shim = find_shim();
	const char *remedy = NULL;

	if (!shim && access("/proc/self/exe", F_OK) < 0) {
		complain("exec: cannot look for the shim librelock-preload.so beside this program: "
			 "/proc is not mounted; mount it, or set RELOCK_PRELOAD_LIBRARY");
		return EX_UNAVAILABLE;
	}
	if (!shim) {
		complain("exec: the shim librelock-preload.so is not installed (looked in %s and "
			 "beside this program); reinstall relock, or set RELOCK_PRELOAD_LIBRARY",
			 RELOCK_PRIVATE_LIBDIR);
		return EX_UNAVAILABLE;
	}
	/* ld.so(8): both separate the list, and nothing quotes them. */
	if (strpbrk(shim, " :")) {
		CLEANUP_FREE char *text = printable(shim);

		complain("exec: LD_PRELOAD cannot hold the shim's path %s, because of its blank "
			 "or colon; install relock elsewhere",
			 text);
		return EX_CONFIG;
	}

	CLEANUP_FREE char *reason = shim_check(path, &remedy);

	if (reason) {
		CLEANUP_FREE char *name = printable(program);

		complain("exec: the shim cannot be loaded into %s: it %s; %s%s", name, reason,
			 options->strict ? "to have it loaded, " : "", remedy);
		if (options->strict)
			return EX_UNAVAILABLE;
		complain("exec: running %s without the shim: its locks stay as they are", name);
		return 0;
	}
	if (!options->semantics)
		complain("exec: running with 'ofd' semantics, the only ones of this version; "
			 "--semantics ofd says so without this line");
	set_preload(shim);
	if (setenv("RELOCK_SEMANTICS", "ofd", 1) < 0)
		out_of_memory();
	return 0;
}

static int execute(const struct exec_options *options, char **command)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FREE char *name = printable(command[0]);

	int error = find_program(command[0], &path);
	if (error < 0) {
		complain("exec: cannot run %s: %s", name, strerror(-error));
		return exec_exit_code(-error);
	}

	int code = prepare_shim(options, command[0], path);
	if (code != 0)
		return code;
	execvp(command[0], command);
	code = exec_exit_code(errno);
	complain("exec: cannot run %s: %m", name);
	return code;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"semantics", required_argument, NULL, OPTION_SEMANTICS},
	{"strict", no_argument, NULL, OPTION_STRICT},
	{NULL, 0, NULL, 0},
};

static int exec_main(struct invocation *invocation, int argc, char **argv)
{
	struct exec_options options = {NULL, false};
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "+h", long_options, NULL)) != -1)
		switch (option) {
		case OPTION_SEMANTICS:
			options.semantics = optarg;
			break;
		case OPTION_STRICT:
			options.strict = true;
			break;
		default:
			if (!common_option(invocation, &command_exec, option, &code))
				return code;
		}
	if (options.semantics && strcmp(options.semantics, "process") == 0) {
		complain("exec: 'process' semantics are not in this version of relock; "
			 "--semantics ofd is");
		return EX_UNAVAILABLE;
	}
	if (options.semantics && strcmp(options.semantics, "ofd") != 0) {
		CLEANUP_FREE char *text = printable(options.semantics);

		return usage_error(&command_exec, "there are no semantics '%s', only 'ofd'", text);
	}
	if (optind == argc)
		return usage_error(&command_exec, "a program to run is missing");
	return execute(&options, argv + optind);
}

const struct command command_exec = {
	.name = "exec",
	.summary = "run a program whose record locks become OFD locks",
	.help = "relock exec [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
		"\n"
		"Runs an unmodified program under the preload shim: its record locks (fcntl,\n"
		"lockf) become open-file-description locks, which survive the close of\n"
		"another descriptor and exclude threads.\n"
		"\n"
		"      --semantics ofd  what locks mean; 'ofd' is what there is\n"
		"      --strict         fail where the shim cannot be loaded into PROGRAM;\n"
		"                       else say so, and run it without\n"
		"  -h, --help           this text\n",
	.run = exec_main,
};
