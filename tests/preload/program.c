/* See program.h. */
#include "program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

char test_folder[64];

static const char *required(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		fail_msg("%s is not set: run this with `meson test`", name);
	return value;
}

const char *shim_path(void)
{
	return required("RELOCK_TEST_SHIM");
}

int make_folder(void **state)
{
	(void)state;
	strcpy(test_folder, "/tmp/relock-preload-XXXXXX");
	if (!mkdtemp(test_folder))
		return -1;
	/* Other users take part. */
	return chmod(test_folder, 0755);
}

int remove_folder(void **state)
{
	char path[PATH_MAX];
	DIR *folder = opendir(test_folder);

	(void)state;
	for (struct dirent *entry; folder && (entry = readdir(folder));) {
		snprintf(path, sizeof path, "%s/%s", test_folder, entry->d_name);
		if (unlink(path) < 0)
			rmdir(path);
	}
	if (folder)
		closedir(folder);
	return rmdir(test_folder);
}

const char *fresh_file(void)
{
	static char path[sizeof test_folder + 16];

	snprintf(path, sizeof path, "%s/file", test_folder);
	unlink(path);
	int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(fd);
	return path;
}

static void clear_settings(void)
{
	unsetenv("LD_PRELOAD");
	unsetenv("RELOCK_SEMANTICS");
	unsetenv("RELOCK_POLICY");
	unsetenv("RELOCK_DEBUG");
	unsetenv("RELOCK_TRACE");
}

static void become_program(const struct program_start *start, const char *shim,
			   const char *programs)
{
	char path[PATH_MAX];
	char *arguments[PROGRAM_ARGUMENTS_MAX + 1] = {0};

	for (int i = 0; start->arguments[i]; i++)
		arguments[i] = strdup(start->arguments[i]);
	if (strchr(arguments[0], '/'))
		snprintf(path, sizeof path, "%s", arguments[0]);
	else
		snprintf(path, sizeof path, "%s/%s", programs, arguments[0]);
	clear_settings();
	if (start->regime != NATIVE)
		setenv("LD_PRELOAD", shim, 1);
	if (start->regime == PROCESS || start->regime == OFD)
		setenv("RELOCK_SEMANTICS", start->regime == OFD ? "ofd" : "process", 1);
	for (int i = 0; start->settings[i]; i++)
		putenv(strdup(start->settings[i]));
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(path, arguments);
	dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
	_exit(97);
}

struct program program_start(const struct program_start *start)
{
	const char *shim = shim_path(), *programs = required("RELOCK_TEST_PROGRAMS");
	int in[2], out[2], error[2];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0)
		fail_msg("pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(error[1], STDERR_FILENO);
		become_program(start, shim, programs);
	}
	assert_true(pid > 0);
	close(in[0]);
	close(out[1]);
	close(error[1]);
	return (struct program){.pid = pid, .in = in[1], .out = out[0], .error = error[0]};
}

/* Appends what there is.  False at the end. */
static bool read_more(struct program *program, int fd, char *text)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	size_t length = strlen(text);

	if (poll(&poll_fd, 1, PATIENCE_MS) != 1) {
		kill(program->pid, SIGKILL);
		fail_msg("a program went silent after: %s", text);
	}
	ssize_t more = read(fd, text + length, PROGRAM_OUTPUT_SIZE - 1 - length);
	if (more <= 0)
		return false;
	text[length + (size_t)more] = '\0';
	return true;
}

static unsigned count_words(const char *text)
{
	unsigned count = 0;

	for (; *text; text++)
		count += *text == ' ';
	return count;
}

static void trim(char *text)
{
	size_t length = strlen(text);

	while (length && (text[length - 1] == ' ' || text[length - 1] == '\n'))
		text[--length] = '\0';
}

const char *program_words(struct program *program, unsigned count)
{
	static char words[PROGRAM_OUTPUT_SIZE];

	words[0] = '\0';
	while (count_words(words) < count)
		if (!read_more(program, program->out, words))
			fail_msg("a program ended after: %s", words);
	trim(words);
	return words;
}

void program_release(struct program *program)
{
	if (program->in >= 0)
		close(program->in);
	program->in = -1;
}

void program_finish(struct program *program, struct program_output *ret)
{
	*ret = (struct program_output){0};
	program_release(program);
	while (read_more(program, program->out, ret->out))
		;
	while (read_more(program, program->error, ret->error))
		;
	trim(ret->out);
	trim(ret->error);
	close(program->out);
	close(program->error);
	waitpid(program->pid, &ret->status, 0);
}

void program_run(const struct program_start *start, struct program_output *ret)
{
	struct program program = program_start(start);

	program_finish(&program, ret);
}

const char *program_says(const struct program_start *start)
{
	static struct program_output output;

	program_run(start, &output);
	if (output.status != 0)
		fail_msg("%s %s: status %#x after '%s': %s", start->arguments[0],
			 start->arguments[1] ? start->arguments[1] : "", (unsigned)output.status,
			 output.out, output.error);
	return output.out;
}
