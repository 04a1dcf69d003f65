#include "command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static char folder[64];
static struct outcome last;

const char *test_folder(void)
{
	return folder;
}

const char *test_path(const char *name)
{
	static char buffers[8][512];
	static unsigned next;
	char *buffer = buffers[next++ % 8];

	snprintf(buffer, sizeof buffers[0], "%s/%s", folder, name);
	return buffer;
}

const char *relock_path(void)
{
	return RELOCK_COMMAND;
}

int folder_setup(void **state)
{
	char url[96];

	(void)state;
	strcpy(folder, "/tmp/relock-cli-test.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	/* A store is refused if others could swap its files. */
	if (mkdir(test_path("store"), 0755) < 0)
		return -1;
	snprintf(url, sizeof url, "ofd:%s/store", folder);
	setenv("RELOCK_STORE", url, 1);
	setenv("SHELL", "/bin/sh", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	unsetenv("RELOCK_DEBUG");
	unsetenv("RELOCK_SEMANTICS");
	unsetenv("RELOCK_POLICY");
	unsetenv("RELOCK_TRACE");
	unsetenv("LD_PRELOAD");
	return 0;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

/* A test that failed may leave background holders behind. */
static void end_holders(void)
{
	char *rest, *line;
	char *names = strdup(RELOCK("list", "--raw", "--noheadings", "-o", "NAME")->out);

	for (rest = names; (line = strsep(&rest, "\n"));)
		if (*line)
			RELOCK("unget", line);
	free(names);
}

int folder_teardown(void **state)
{
	(void)state;
	end_holders();
	outcome_free(&last);
	return nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

struct program start(const char *const words[])
{
	struct program program;
	int in[2], out[2];
	pid_t parent = getpid();

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	program.err = memfd_create("stderr", MFD_CLOEXEC);
	assert_true(program.err >= 0);
	program.pid = fork();
	assert_true(program.pid >= 0);
	if (program.pid == 0) {
		/* A test that crashes takes its programs with it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(program.err, STDERR_FILENO);
		execvp(words[0], (char *const *)words);
		_exit(99);
	}
	close(in[0]);
	close(out[1]);
	program.in = in[1];
	program.out = out[0];
	return program;
}

/* Fails the test if nothing comes. */
static void wait_readable(struct program *program, int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int ready;

	do
		ready = poll(&poll_fd, 1, PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	if (ready == 1)
		return;
	kill(program->pid, SIGKILL);
	fail_msg("the program neither speaks nor ends");
}

const char *hear_line(struct program *program)
{
	static char line[4096];
	size_t length = 0;

	for (;;) {
		char c;

		wait_readable(program, program->out);
		ssize_t got = read(program->out, &c, 1);
		if (got != 1) {
			struct outcome outcome = finish(program);
			fail_msg("it ended (%d) before it spoke: %s", outcome.code, outcome.err);
		}
		if (c == '\n' || length == sizeof line - 1)
			break;
		line[length++] = c;
	}
	line[length] = '\0';
	return line;
}

void say_line(struct program *program, const char *line)
{
	assert_true(dprintf(program->in, "%s\n", line) > 0);
}

/* All that comes until the other side closes it. */
static char *read_all(struct program *program, int fd)
{
	char *text = NULL, part[4096];
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	ssize_t got;

	assert_non_null(out);
	do {
		wait_readable(program, fd);
		got = read(fd, part, sizeof part);
		assert_true(got >= 0);
		fwrite(part, 1, (size_t)got, out);
	} while (got > 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static int wait_for_end(struct program *program)
{
	int status = 0, pidfd = (int)syscall(SYS_pidfd_open, program->pid, 0);

	assert_true(pidfd >= 0);
	wait_readable(program, pidfd);
	close(pidfd);
	assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct outcome finish(struct program *program)
{
	struct outcome outcome;

	close(program->in);
	outcome.out = read_all(program, program->out);
	outcome.code = wait_for_end(program);
	lseek(program->err, 0, SEEK_SET);
	outcome.err = read_all(program, program->err);
	close(program->out);
	close(program->err);
	return outcome;
}

void outcome_free(struct outcome *outcome)
{
	free(outcome->out);
	free(outcome->err);
	*outcome = (struct outcome){0, NULL, NULL};
}

const struct outcome *run(const char *const words[])
{
	struct program program = start(words);

	outcome_free(&last);
	last = finish(&program);
	return &last;
}

const struct outcome *expect_code(const struct outcome *outcome, int expected, const char *file,
				  int line)
{
	if (outcome->code != expected) {
		print_error("%s:%d: it ended with %d, not %d\nits output: %s\nits errors: %s\n",
			    file, line, outcome->code, expected, outcome->out, outcome->err);
		fail();
	}
	return outcome;
}

void expect_part(const char *text, const char *part, bool wanted, const char *file, int line)
{
	if (!strstr(text, part) == wanted) {
		print_error("%s:%d: \"%s\" %s in: %s\n", file, line, part, wanted ? "is not" : "is",
			    text);
		fail();
	}
}

struct program start_holder(const char *name, const char *option)
{
	struct program program = START_RELOCK("run", option ? option : "-x", name, "--", "sh", "-c",
					      "echo held; read line");

	assert_string_equal(hear_line(&program), "held");
	return program;
}

const char *state_value(const char *text, const char *key)
{
	static char value[1024];
	size_t length = strlen(key);

	for (const char *line = text; line && *line;) {
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, key, length) == 0 && strncmp(line + length, ": ", 2) == 0) {
			snprintf(value, sizeof value, "%.*s", (int)(end - line - (long)length - 2),
				 line + length + 2);
			return value;
		}
		line = *end ? end + 1 : end;
	}
	return NULL;
}

const char *make_script(const char *name, const char *text)
{
	const char *path = test_path(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	/* Whatever the umask. */
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	return path;
}
