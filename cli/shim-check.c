/*
 * The rules of ld.so(8) and execve(2):
 *
 * - a program without PT_INTERP has no dynamic linker that could load anything,
 *   unless it is the dynamic linker, which loads the program that it is given;
 * - one that gains rights (setuid, setgid, file capabilities) runs in
 *   secure-execution mode, where LD_PRELOAD's paths are ignored;
 * - the dynamic linker must be the C library's the shim was built against, and
 *   the same architecture: those of this very program;
 * - of a script it is the interpreter's file that counts, set-user-ID bits
 *   included, for the kernel ignores a script's own.
 */
#include "shim-check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cleanup.h"
#include "elf-file.h"
#include "find-program.h"
#include "message.h"

enum {
	/* The kernel follows scripts that interpret scripts this far
	 * (exec_binprm() in fs/exec.c). */
	SCRIPT_DEPTH_MAX = 5,
	/* And reads this much of the first line (BINPRM_BUF_SIZE). */
	SCRIPT_LINE_SIZE = 256,
};

static char *check_file(const char *path, int depth, const char **ret_remedy);

__attribute__((format(printf, 1, 2))) static char *reason_text(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	return need_text(text);
}

/* Neither counts where rights cannot be gained at all. */
static bool rights_can_be_gained(int fd)
{
	struct statvfs file_system;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return false;
	return fstatvfs(fd, &file_system) < 0 || !(file_system.f_flag & ST_NOSUID);
}

static char *check_rights(int fd, const char **ret_remedy)
{
	struct stat file;

	if (fstat(fd, &file) < 0 || !rights_can_be_gained(fd))
		return NULL;
	if ((file.st_mode & S_ISUID) && file.st_uid != getuid()) {
		*ret_remedy = "run `relock exec` as the user that it becomes";
		return reason_text("is set-user-ID, and such programs ignore LD_PRELOAD");
	}
	if ((file.st_mode & S_ISGID) && (file.st_mode & S_IXGRP) && file.st_gid != getgid()) {
		*ret_remedy = "run `relock exec` with the group that it takes (newgrp)";
		return reason_text("is set-group-ID, and such programs ignore LD_PRELOAD");
	}
	/* Root has the capabilities anyway, and gains nothing. */
	if (getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0) {
		*ret_remedy = "run `relock exec` as root, or on a copy of the program, which "
			      "has no capabilities";
		return reason_text("has file capabilities, and such programs ignore LD_PRELOAD");
	}
	return NULL;
}

/* What this program is, the shim is. */
static bool read_own_elf(struct elf_file *ret)
{
	CLEANUP_CLOSE int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	return fd >= 0 && elf_file_read(fd, ret) == 0 && *ret->interpreter;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool is_same_file(int fd, const char *path)
{
	struct stat file, other;

	return fstat(fd, &file) == 0 && stat(path, &other) == 0 && file.st_dev == other.st_dev &&
	       file.st_ino == other.st_ino;
}

static char *check_elf(int fd, const struct elf_file *program, const char **ret_remedy)
{
	struct elf_file own;
	char architecture[ELF_ARCHITECTURE_SIZE], own_architecture[ELF_ARCHITECTURE_SIZE];

	if (!read_own_elf(&own))
		return NULL;
	if (program->class != own.class || program->byte_order != own.byte_order ||
	    program->machine != own.machine) {
		*ret_remedy = "use a relock built for that architecture";
		return reason_text("is a %s program, and the shim is %s",
				   elf_architecture(program, architecture),
				   elf_architecture(&own, own_architecture));
	}
	if (!*program->interpreter && is_same_file(fd, own.interpreter))
		return NULL;
	if (!*program->interpreter) {
		*ret_remedy = "use a dynamically linked build of it, or `relock run` around it";
		return reason_text(
			"is statically linked, so no dynamic linker would load the shim");
	}
	if (strcmp(base_name(program->interpreter), base_name(own.interpreter)) != 0) {
		CLEANUP_FREE char *interpreter = printable(program->interpreter);

		*ret_remedy = "use a relock built against that C library";
		return reason_text("is built for another C library (%s), and the shim for %s",
				   interpreter, own.interpreter);
	}
	return NULL;
}

/* The reason of what really runs, said of what was named. */
static char *check_other(const char *path, int depth, const char **ret_remedy)
{
	CLEANUP_FREE char *reason = check_file(path, depth + 1, ret_remedy);

	if (!reason)
		return NULL;

	CLEANUP_FREE char *name = printable(path);

	return reason_text("is a script for %s, which %s", name, reason);
}

/* "#!/usr/bin/env -S VAR=value python3 -u": env runs the first word that is
 * neither an option nor an assignment. */
static char *check_env_argument(char *words, int depth, const char **ret_remedy)
{
	for (char *word; (word = strsep(&words, " \t"));) {
		CLEANUP_FREE char *path = NULL;

		if (*word == '\0' || *word == '-' || strchr(word, '='))
			continue;
		if (find_program(word, &path) < 0)
			return NULL;
		return check_other(path, depth, ret_remedy);
	}
	return NULL;
}

/* `line` is what follows "#!". */
static char *check_script(char *line, int depth, const char **ret_remedy)
{
	line[strcspn(line, "\n")] = '\0';

	char *interpreter = line + strspn(line, " \t");
	char *argument = interpreter + strcspn(interpreter, " \t");

	if (*argument)
		*argument++ = '\0';
	if (!*interpreter || depth >= SCRIPT_DEPTH_MAX)
		return NULL;

	char *reason = check_other(interpreter, depth, ret_remedy);

	if (!reason && strcmp(base_name(interpreter), "env") == 0)
		reason = check_env_argument(argument, depth, ret_remedy);
	return reason;
}

static char *check_file(const char *path, int depth, const char **ret_remedy)
{
	/* O_NONBLOCK: if it is a FIFO by now, do not wait for a writer. */
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char head[SCRIPT_LINE_SIZE + 1];
	struct elf_file program;

	if (fd < 0)
		return NULL;

	ssize_t length = pread(fd, head, sizeof head - 1, 0);

	if (length < 0)
		return NULL;
	head[length] = '\0';
	if (strncmp(head, "#!", 2) == 0)
		return check_script(head + 2, depth, ret_remedy);
	if (elf_file_read(fd, &program) < 0) {
		/* execvp(3) gives what the kernel does not know to the shell. */
		if (depth > 0 || strncmp(head, ELFMAG, SELFMAG) == 0)
			return NULL;
		return check_other("/bin/sh", depth, ret_remedy);
	}

	char *reason = check_elf(fd, &program, ret_remedy);

	return reason ? reason : check_rights(fd, ret_remedy);
}

char *shim_check(const char *path, const char **ret_remedy)
{
	return check_file(path, 0, ret_remedy);
}
