/*
 * relock exec: a program under the preload shim.
 *
 * All that is done is to set LD_PRELOAD and what the options say in RELOCK_*,
 * and to run the program in relock's place.  But where the dynamic linker would
 * ignore the shim it does so in silence, and the user believes in locks that
 * are not there: so that is found out first (shim-check.c), and said.  A policy
 * is checked by the shim's own code, and the file of a trace opened once, while
 * there is somebody to tell.
 *
 * Without --semantics or --policy the environment has its say, as it has where
 * the shim is loaded without relock.
 */
#include <errno.h>
#include <fcntl.h>
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
#include "policy-rules.h"
#include "shim-check.h"

struct exec_options {
	const char *semantics, *policy, *trace; /* NULL: not said */
	bool strict;
};

/* RELOCK_PRELOAD_LIBRARY is for trying another shim.  NULL: none was. */
static const char *chosen_shim(void)
{
	const char *chosen = getenv("RELOCK_PRELOAD_LIBRARY");

	return chosen && *chosen ? chosen : NULL;
}

/* To be freed; NULL: there is none, and errno says why the chosen one is not. */
static char *find_shim(void)
{
	const char *chosen = chosen_shim();

	if (chosen)
		return realpath(chosen, NULL);

	CLEANUP_FREE char *found = installed_path("../preload/librelock-preload.so",
						  RELOCK_PRIVATE_LIBDIR "/librelock-preload.so");

	return found ? realpath(found, NULL) : NULL;
}

static void set_variable(const char *name, const char *value)
{
	if (value && setenv(name, value, 1) < 0)
		out_of_memory();
}

/* Behind what is there: each library in the list hands calls on to the next one,
 * and the shim to nobody but libc. */
static void set_preload(const char *shim)
{
	CLEANUP_FREE char *list = NULL;
	const char *others = getenv("LD_PRELOAD");
	bool any = others && *others;

	if (asprintf(&list, "%s%s%s", any ? others : "", any ? ":" : "", shim) < 0) {
		list = NULL;
		out_of_memory();
	}
	set_variable("LD_PRELOAD", list);
}

/* Absolute, since the program may start others elsewhere.  To be freed; NULL:
 * the current folder has no path. */
static char *absolute_path(const char *path)
{
	CLEANUP_FREE char *folder = *path == '/' ? NULL : getcwd(NULL, 0);
	char *absolute = NULL;

	if (*path == '/')
		return need_text(strdup(path));
	if (!folder)
		return NULL;
	if (asprintf(&absolute, "%s/%s", folder, path) < 0)
		out_of_memory();
	return absolute;
}

/* As the shim will open it, line by line.  0, or the exit code of giving up. */
static int prepare_trace(const char *file)
{
	CLEANUP_FREE char *path = absolute_path(file);
	CLEANUP_CLOSE int fd =
		path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
			    0666)
		     : -1;

	if (fd < 0) {
		int error = errno;
		CLEANUP_FREE char *name = printable(file);

		complain("exec: cannot append to the trace file %s: %s", name, strerror(error));
		return EX_CANTCREAT;
	}
	set_variable("RELOCK_TRACE", path);
	return 0;
}

/* 0: run it.  Else the exit code of giving up. */
static int prepare_shim(const struct exec_options *options, const char *program, const char *path)
{
	CLEANUP_FREE char *shim = find_shim();
	const char *chosen = chosen_shim(), *remedy = NULL;

	if (!shim && chosen) {
		int error = errno;
		CLEANUP_FREE char *name = printable(chosen);

		complain("exec: RELOCK_PRELOAD_LIBRARY=%s: %s; unset it to have the installed shim",
			 name, strerror(error));
		return EX_UNAVAILABLE;
	}
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

		complain("exec: the shim cannot be loaded into %s: it %s; %s", name, reason,
			 remedy);
		if (options->strict) {
			complain("exec: %s was not run (--strict)", name);
			return EX_UNAVAILABLE;
		}
		complain("exec: running %s without the shim: its locks stay as they are%s", name,
			 options->trace ? ", and are not traced" : "");
		return 0;
	}
	set_preload(shim);
	set_variable("RELOCK_SEMANTICS", options->semantics);
	set_variable("RELOCK_POLICY", options->policy);
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

	int code = options->trace ? prepare_trace(options->trace) : 0;
	if (code == 0)
		code = prepare_shim(options, command[0], path);
	if (code != 0)
		return code;
	execvp(command[0], command);
	code = exec_exit_code(errno);
	complain("exec: cannot run %s: %m", name);
	return code;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"policy", required_argument, NULL, OPTION_POLICY},
	{"semantics", required_argument, NULL, OPTION_SEMANTICS},
	{"strict", no_argument, NULL, OPTION_STRICT},
	{"trace", required_argument, NULL, OPTION_TRACE},
	{NULL, 0, NULL, 0},
};

/* 0, or the exit code of a usage error. */
static int check_options(const struct exec_options *options)
{
	struct shim_policy_fault fault;
	enum shim_choice choice;

	if (options->semantics &&
	    !shim_choice_from_name(options->semantics, strlen(options->semantics), &choice)) {
		CLEANUP_FREE char *text = printable(options->semantics);

		return usage_error(&command_exec,
				   "there are no semantics '%s', only process, ofd and off", text);
	}
	if (options->policy && !shim_policy_is_valid(options->policy, &fault)) {
		CLEANUP_FREE char *rule = need_text(strndup(fault.rule, fault.length));
		CLEANUP_FREE char *text = printable(rule);

		return usage_error(&command_exec, "the rule '%s' of the policy %s", text,
				   fault.reason);
	}
	if (options->trace && !*options->trace)
		return usage_error(&command_exec, "--trace needs the name of a file");
	return 0;
}

static int exec_main(struct invocation *invocation, int argc, char **argv)
{
	struct exec_options options = {NULL};
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "+h", long_options, NULL)) != -1)
		switch (option) {
		case OPTION_POLICY:
			options.policy = optarg;
			break;
		case OPTION_SEMANTICS:
			options.semantics = optarg;
			break;
		case OPTION_STRICT:
			options.strict = true;
			break;
		case OPTION_TRACE:
			options.trace = optarg;
			break;
		default:
			if (!common_option(invocation, &command_exec, option, &code))
				return code;
		}
	code = check_options(&options);
	if (code != 0)
		return code;
	if (optind == argc)
		return usage_error(&command_exec, "a program to run is missing");
	return execute(&options, argv + optind);
}

const struct command command_exec = {
	.name = "exec",
	.summary = "run a program whose record locks stay held",
	.help = "relock exec [OPTION]... [--] PROGRAM [ARGUMENT]...\n"
		"\n"
		"Runs an unmodified program under the preload shim: its record locks (fcntl,\n"
		"lockf) become open-file-description locks, which survive the close of\n"
		"another descriptor.\n"
		"\n"
		"      --semantics WHAT  what locks mean: 'process', the default, has one owner\n"
		"                        for all of a program's threads and descriptors; with\n"
		"                        'ofd' each open of a file is an owner; 'off': as ever\n"
		"      --policy POLICY   the same file by file: '*.db=process:/srv/**=ofd:*=off'\n"
		"      --trace FILE      append each lock call to FILE, as a JSON line\n"
		"      --strict          fail where the shim cannot be loaded into PROGRAM;\n"
		"                        else say so, and run it without\n"
		"  -h, --help            this text\n",
	.run = exec_main,
};
