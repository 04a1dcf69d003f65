/*
 * relock exec: the environment it sets, and whether it knows where the shim
 * cannot be loaded.  (What the shim does is the shim's tests' matter.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "command.h"

static int exec_setup(void **state)
{
	setenv("RELOCK_PRELOAD_LIBRARY", FAKE_SHIM, 1);
	return folder_setup(state);
}

static const char *copy_file(const char *from, const char *name, mode_t mode)
{
	const char *to = test_path(name);

	assert_int_equal(RUN("cp", from, to)->code, 0);
	assert_int_equal(chmod(to, mode), 0);
	return to;
}

/* It cannot be loaded: --strict refuses, with the reason; else the program
 * runs without it, if it can run at all. */
static void expect_refused(const char *program, const char *reason)
{
	const struct outcome *refusal = EXPECT(69, "exec", "--strict", "--", program);

	EXPECT_IN(refusal->err, reason);
	EXPECT_IN(refusal->err, "was not run (--strict)");

	const struct outcome *outcome = RELOCK("exec", "--", program);

	EXPECT_IN(outcome->err, reason);
	EXPECT_IN(outcome->err, "without the shim");
	EXPECT_NOT_IN(outcome->err, "shim loaded");
}

static void expect_loaded(const char *program)
{
	const struct outcome *outcome =
		EXPECT(0, "exec", "--strict", "--semantics", "ofd", "--", program);

	EXPECT_IN(outcome->out, "ran\n");
	/* Once for each program that it takes, env(1) for example. */
	EXPECT_IN(outcome->err, "shim loaded\n");
	EXPECT_NOT_IN(outcome->err, "relock");
}

static void exec_loads_the_shim(void **state)
{
	expect_loaded(SUBJECT_PLAIN);
}

static void exec_sets_LD_PRELOAD(void **state)
{
	const char *show = "echo $LD_PRELOAD";

	assert_string_equal(EXPECT(0, "exec", "--", "sh", "-c", show)->out, FAKE_SHIM "\n");

	/* What was there stays, in front of it.  (AddressSanitizer wants to be
	 * first.) */
	assert_string_equal(RUN("env", "ASAN_OPTIONS=verify_asan_link_order=0",
				"LD_PRELOAD=" OTHER_LIBRARY, relock_path(), "exec", "--", "sh",
				"-c", show)
				    ->out,
			    OTHER_LIBRARY ":" FAKE_SHIM "\n");
}

/* What RELOCK_`name` is in a program that was started with an option; "-" if
 * it is not set. */
static void expect_variable(const char *name, const char *option, const char *value,
			    const char *expected)
{
	char show[64], line[128];

	snprintf(show, sizeof show, "echo ${RELOCK_%s--}", name);
	snprintf(line, sizeof line, "%s\n", expected);

	const struct outcome *outcome = EXPECT(0, "exec", option, value, "--", "sh", "-c", show);

	assert_string_equal(outcome->out, line);
	assert_string_equal(outcome->err, "shim loaded\n");
}

static void exec_sets_what_the_options_say(void **state)
{
	expect_variable("SEMANTICS", "--semantics", "process", "process");
	expect_variable("SEMANTICS", "--semantics", "ofd", "ofd");
	expect_variable("SEMANTICS", "--semantics", "off", "off");
	expect_variable("POLICY", "--policy", "/a/**=ofd:*=off", "/a/**=ofd:*=off");
	expect_variable("TRACE", "--trace", test_path("trace"), test_path("trace"));
	/* And nothing else: `process` is the shim's own default. */
	expect_variable("SEMANTICS", "--policy", "a=off", "-");
	expect_variable("POLICY", "--semantics", "ofd", "-");
	expect_variable("TRACE", "--semantics", "ofd", "-");

	setenv("RELOCK_SEMANTICS", "ofd", 1);
	setenv("RELOCK_POLICY", "a=off", 1);
	expect_variable("SEMANTICS", "--policy", "b=off", "ofd");
	expect_variable("POLICY", "--semantics", "off", "a=off");
	expect_variable("SEMANTICS", "--semantics", "process", "process");
	expect_variable("POLICY", "--policy", "", "");
	unsetenv("RELOCK_SEMANTICS");
	unsetenv("RELOCK_POLICY");
}

static void exec_refuses_unknown_semantics(void **state)
{
	EXPECT_IN(EXPECT(64, "exec", "--semantics", "nonsense", "--", "true")->err,
		  "there are no semantics 'nonsense', only process, ofd and off");
	EXPECT(64, "exec", "--semantics", "", "--", "true");
}

static void exec_refuses_a_bad_policy(void **state)
{
	EXPECT_IN(EXPECT(64, "exec", "--policy", "*=off:/a/\033[b=ofd:c=d", "true")->err,
		  "the rule '/a/\\x1b[b=ofd' of the policy has a [ without its ]");
	EXPECT_IN(EXPECT(64, "exec", "--policy", "a=ofd:", "true")->err, "the rule '' of");
	EXPECT_NOT_IN(EXPECT(64, "exec", "--policy", "x", "echo", "ran")->out, "ran");
}

/* Relative to here, though the program goes elsewhere. */
static void exec_makes_the_trace_file_absolute(void **state)
{
	char command[512], expected[256];

	snprintf(command, sizeof command,
		 "cd '%s' && exec '%s' exec --trace trace -- sh -c 'cd /; echo $RELOCK_TRACE'",
		 test_folder(), relock_path());
	snprintf(expected, sizeof expected, "%s\n", test_path("trace"));
	assert_string_equal(expect_code(RUN("sh", "-c", command), 0, __FILE__, __LINE__)->out,
			    expected);
	/* It can be appended to, and that was tried. */
	assert_int_equal(access(test_path("trace"), F_OK), 0);
}

static void exec_tries_the_trace_file_first(void **state)
{
	const struct outcome *outcome =
		EXPECT(73, "exec", "--trace", "/no/such/folder/\033trace", "--", "echo", "ran");

	EXPECT_IN(outcome->err, "cannot append to the trace file /no/such/folder/\\x1btrace: No "
				"such file or directory");
	assert_string_equal(outcome->out, "");
	EXPECT(73, "exec", "--trace", test_folder(), "--", "true");
	EXPECT(64, "exec", "--trace", "", "--", "true");
	EXPECT_IN(EXPECT(0, "exec", "--trace", test_path("trace"), SUBJECT_STATIC)->err,
		  "its locks stay as they are, and are not traced");
}

/* All of it together, with the real shim. */
static void exec_traces_and_follows_a_policy(void **state)
{
	static const char script[] =
		"import fcntl, sys\n"
		"for name in 'a.ofd', 'a.off':\n"
		"    fcntl.lockf(open(sys.argv[1] + '/' + name, 'w'), fcntl.LOCK_EX)\n"
		"import json\n"
		"for line in open(sys.argv[1] + '/trace'):\n"
		"    entry = json.loads(line)\n"
		"    print(entry['path'][-5:], entry['type'], entry['semantics'])\n";

	unsetenv("RELOCK_PRELOAD_LIBRARY");

	const struct outcome *outcome =
		EXPECT(0, "exec", "--strict", "--policy", "*.off=off:*.ofd=ofd", "--trace",
		       test_path("trace"), "--", "python3", "-S", "-c", script, test_folder());

	assert_string_equal(outcome->out, "a.ofd write ofd\na.off write legacy\n");
	assert_string_equal(outcome->err, "");
}

static void exec_passes_the_status_on(void **state)
{
	EXPECT(7, "exec", "sh", "-c", "exit 7");
	EXPECT(127, "exec", "no-such-program");
	EXPECT(126, "exec", "/etc/passwd");
	EXPECT(64, "exec");
}

static void exec_knows_a_static_program(void **state)
{
	expect_refused(SUBJECT_STATIC, "statically linked");
	assert_string_equal(EXPECT(0, "exec", SUBJECT_STATIC)->out, "ran\n");
}

static void exec_knows_a_static_program_that_is_position_independent(void **state)
{
	expect_refused(SUBJECT_STATIC_PIE, "statically linked");
}

/* Which looks like one, but loads the shim. */
static void exec_knows_the_dynamic_linker(void **state)
{
	const char *linker = NULL;

	for (const char *const *each = (const char *const[]){"/lib64/ld-linux-x86-64.so.2",
							     "/lib/ld-linux-aarch64.so.1", NULL};
	     *each; each++)
		if (access(*each, X_OK) == 0)
			linker = *each;
	assert_non_null(linker);
	EXPECT_IN(EXPECT(0, "exec", "--strict", linker, SUBJECT_PLAIN)->err, "shim loaded");
}

static void exec_knows_another_c_library(void **state)
{
	expect_refused(SUBJECT_OTHER_LIBC, "another C library (/lib/ld-musl-test.so.1)");
}

static void exec_knows_another_architecture(void **state)
{
	Elf64_Ehdr header = {.e_type = ET_EXEC, .e_version = EV_CURRENT, .e_ehsize = sizeof header};
	const char *path = test_path("foreign");
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS64;
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	header.e_ident[EI_VERSION] = EV_CURRENT;
	header.e_machine = EM_ALPHA;
	header.e_phentsize = sizeof(Elf64_Phdr);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &header, sizeof header), sizeof header);
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	EXPECT_IN(EXPECT(69, "exec", "--strict", path)->err, "is a 64-bit machine 36902 program");
}

/* Of the same family, but of half the width. */
static void exec_knows_another_elf_class(void **state)
{
	Elf32_Ehdr header = {.e_type = ET_EXEC, .e_version = EV_CURRENT, .e_ehsize = sizeof header};
	const char *path = test_path("narrow");
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);

	memcpy(header.e_ident, ELFMAG, SELFMAG);
	header.e_ident[EI_CLASS] = ELFCLASS32;
	header.e_ident[EI_DATA] = ELFDATA2LSB;
	header.e_ident[EI_VERSION] = EV_CURRENT;
	header.e_machine = EM_386;
	header.e_phentsize = sizeof(Elf32_Phdr);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, &header, sizeof header), sizeof header);
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	EXPECT_IN(EXPECT(69, "exec", "--strict", path)->err, "is a 32-bit x86 program");
}

static void exec_knows_a_set_user_id_program(void **state)
{
	const char *path = copy_file(SUBJECT_PLAIN, "setuid", 0755);

	/* Ours: it gains nothing, and the shim is loaded. */
	assert_int_equal(chmod(path, 04755), 0);
	expect_loaded(path);
	if (geteuid() != 0) {
		print_message("only root can give a file to another user\n");
		skip();
	}
	assert_int_equal(chown(path, 65534, 0), 0);
	assert_int_equal(chmod(path, 04755), 0);
	expect_refused(path, "set-user-ID");

	/* Of a script its interpreter's bits count, not its own. */
	char text[512];
	snprintf(text, sizeof text, "#!%s\n", path);
	expect_refused(make_script("for-setuid", text), "set-user-ID");
	const char *script = make_script("setuid-script", "#!/bin/sh\necho ran\n");
	assert_int_equal(chown(script, 65534, 0), 0);
	assert_int_equal(chmod(script, 04755), 0);
	expect_loaded(script);

	path = copy_file(SUBJECT_PLAIN, "setgid", 0755);
	assert_int_equal(chown(path, 0, 65534), 0);
	assert_int_equal(chmod(path, 02755), 0);
	expect_refused(path, "set-group-ID");
}

/* Root gains nothing by a file's capabilities; so this asks as another user,
 * with copies of all that it needs where that user gets at it. */
static void exec_knows_file_capabilities(void **state)
{
	/* CAP_NET_RAW, permitted and effective; struct vfs_cap_data. */
	static const unsigned char capability[20] = {1, 0, 0, 2, 0, 0x20};

	if (geteuid() != 0) {
		print_message("only root can give a file capabilities\n");
		skip();
	}
	assert_int_equal(chmod(test_folder(), 0755), 0);

	const char *relock = copy_file(relock_path(), "relock", 0755);
	const char *path = copy_file(SUBJECT_PLAIN, "capable", 0755);

	setenv("RELOCK_PRELOAD_LIBRARY", copy_file(FAKE_SHIM, "shim.so", 0755), 1);
	assert_int_equal(setxattr(path, "security.capability", capability, sizeof capability, 0),
			 0);

	const struct outcome *outcome =
		RUN("setpriv", "--reuid=65534", "--clear-groups", relock, "exec", "--strict", path);

	EXPECT_IN(outcome->err, "has file capabilities");
	assert_int_equal(outcome->code, 69);
	assert_int_equal(RELOCK("exec", "--strict", path)->code, 0);
}

static void exec_looks_at_a_scripts_interpreter(void **state)
{
	char text[512];

	expect_loaded(make_script("good", "#!/bin/sh\necho ran\n"));
	expect_loaded(make_script("env", "#!/usr/bin/env sh\necho ran\n"));

	snprintf(text, sizeof text, "#! %s argument\n", SUBJECT_STATIC);

	const char *bad = make_script("bad", text);

	expect_refused(bad, "is a script for");
	expect_refused(bad, "statically linked");

	/* A script for a script, and one by way of env. */
	snprintf(text, sizeof text, "#!%s\n", bad);
	expect_refused(make_script("nested", text), "statically linked");
	snprintf(text, sizeof text, "#!/usr/bin/env -S A=b %s -x\n", SUBJECT_STATIC);
	expect_refused(make_script("by-env", text), "statically linked");

	snprintf(text, sizeof text, "#!%s\n", SUBJECT_OTHER_LIBC);
	expect_refused(make_script("other-libc", text), "another C library");

	/* A shell gets what the kernel does not know. */
	expect_loaded(make_script("no-line", "echo ran\n"));
}

static void exec_needs_the_shim(void **state)
{
	setenv("RELOCK_PRELOAD_LIBRARY", "/no/such/shim.so", 1);
	EXPECT_IN(EXPECT(69, "exec", "true")->err,
		  "RELOCK_PRELOAD_LIBRARY=/no/such/shim.so: No such file or directory; unset it");

	const char *blank = copy_file(FAKE_SHIM, "a shim.so", 0755);

	setenv("RELOCK_PRELOAD_LIBRARY", blank, 1);
	EXPECT_IN(EXPECT(78, "exec", "true")->err, "blank or colon");
}

static void exec_finds_the_shim_of_the_build(void **state)
{
	unsetenv("RELOCK_PRELOAD_LIBRARY");
	EXPECT_IN(EXPECT(0, "exec", "sh", "-c", "echo $LD_PRELOAD")->out,
		  "preload/librelock-preload.so");
}

/* Where this program is, and with it the shim, only /proc tells. One that is
 * installed, which would be found, is out of sight. */
#ifndef __SANITIZE_ADDRESS__ /* which looks for leaks in /proc, and for its options as well */
static void exec_without_proc_says_so(void **state)
{
	char command[1024];

	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	snprintf(command, sizeof command,
		 "unset RELOCK_PRELOAD_LIBRARY; "
		 "{ ! test -d '%s' || mount -t tmpfs none '%s'; } && "
		 "mount -t tmpfs none /proc && exec '%s' exec --semantics ofd -- true",
		 PRIVATE_LIBDIR, PRIVATE_LIBDIR, relock_path());

	const struct outcome *outcome = RUN("unshare", "--mount", "sh", "-c", command);

	expect_code(outcome, 69, __FILE__, __LINE__);
	EXPECT_IN(outcome->err, "/proc is not mounted");
	EXPECT_NOT_IN(outcome->err, "reinstall");
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, exec_setup, folder_teardown)
		CASE(exec_loads_the_shim),
		CASE(exec_sets_LD_PRELOAD),
		CASE(exec_sets_what_the_options_say),
		CASE(exec_refuses_unknown_semantics),
		CASE(exec_refuses_a_bad_policy),
		CASE(exec_makes_the_trace_file_absolute),
		CASE(exec_tries_the_trace_file_first),
		CASE(exec_traces_and_follows_a_policy),
		CASE(exec_passes_the_status_on),
		CASE(exec_knows_a_static_program),
		CASE(exec_knows_a_static_program_that_is_position_independent),
		CASE(exec_knows_the_dynamic_linker),
		CASE(exec_knows_another_c_library),
		CASE(exec_knows_another_architecture),
		CASE(exec_knows_another_elf_class),
		CASE(exec_knows_a_set_user_id_program),
		CASE(exec_knows_file_capabilities),
		CASE(exec_looks_at_a_scripts_interpreter),
		CASE(exec_needs_the_shim),
		CASE(exec_finds_the_shim_of_the_build),
#ifndef __SANITIZE_ADDRESS__
		CASE(exec_without_proc_says_so),
#endif
	};

	return cmocka_run_group_tests_name("relock exec", tests, NULL, NULL);
}
