/*
 * The lines of RELOCK_DEBUG, see debug.h.  The file is opened for each line,
 * so that the program never has a descriptor that it did not open, and closing
 * everything or changing root takes nothing from it.
 *
 * Everything here runs inside a lock call: it is async-signal-safe and leaves
 * errno alone.  About 2 KiB of stack.
 */
#include "debug.h"

#include <errno.h>
#include <unistd.h>

#include "caller-memory.h"
#include "range.h"
#include "raw.h"
#include "text.h"

enum { LINE_SIZE = 1280, LINK_SIZE = 768 };

static const char *error_name(int error)
{
	switch (error) {
	case EACCES:
		return "EACCES";
	case EAGAIN:
		return "EAGAIN";
	case EBADF:
		return "EBADF";
	case EDEADLK:
		return "EDEADLK";
	case EFAULT:
		return "EFAULT";
	case EINTR:
		return "EINTR";
	case EINVAL:
		return "EINVAL";
	case EIO:
		return "EIO";
	case ENOLCK:
		return "ENOLCK";
	case ENOMEM:
		return "ENOMEM";
	case ENOSYS:
		return "ENOSYS";
	case EOPNOTSUPP:
		return "EOPNOTSUPP";
	case EOVERFLOW:
		return "EOVERFLOW";
	case EPERM:
		return "EPERM";
	case ESTALE:
		return "ESTALE";
	default:
		return NULL;
	}
}

static void add_error(struct text *text, int error)
{
	const char *name = error_name(error);

	text_add(text, name ? name : "errno ");
	if (!name)
		text_add_number(text, error);
}

static void add_program(struct text *text)
{
	/* Not set yet before libc's own start. */
	const char *program = program_invocation_short_name;

	text_add(text, "relock: ");
	text_add_escaped(text, program, program ? __builtin_strlen(program) : 0);
	text_add(text, "[");
	text_add_number(text, raw_getpid());
	text_add(text, "] ");
}

static void add_descriptor(struct text *text, int fd)
{
	char path[64], link[LINK_SIZE];
	struct text path_text = TEXT(path);

	text_add(text, "fd ");
	text_add_number(text, fd);
	/* The calling thread's: the first thread of a process may have ended. */
	text_add(&path_text, "/proc/thread-self/fd/");
	text_add_number(&path_text, fd);
	ssize_t length = raw_readlink(path, link, sizeof link);
	text_add(text, " ");
	if (length < 0)
		text_add(text, "?");
	else
		text_add_escaped(text, link, (size_t)length);
	text_add(text, ": ");
}

static void add_type(struct text *text, short type)
{
	switch (type) {
	case F_RDLCK:
		text_add(text, "read ");
		break;
	case F_WRLCK:
		text_add(text, "write ");
		break;
	case F_UNLCK:
		text_add(text, "unlock ");
		break;
	default:
		text_add(text, "type ");
		text_add_number(text, type);
		text_add(text, " ");
	}
}

static void add_range(struct text *text, int fd, const struct flock *range)
{
	off_t first, last;

	if (shim_range_resolve(fd, range, &first, &last) < 0) {
		text_add(text, "whence ");
		text_add_number(text, range->l_whence);
		text_add(text, " start ");
		text_add_number(text, range->l_start);
		text_add(text, " length ");
		text_add_number(text, range->l_len);
		return;
	}
	text_add_number(text, first);
	text_add(text, "-");
	if (last == INT64_MAX)
		text_add(text, "EOF");
	else
		text_add_number(text, last);
}

/* What F_GETLK left in the program's struct. */
static void add_answer(struct text *text, const struct shim_debug_call *call)
{
	struct flock answer;

	if (shim_caller_read(&answer, call->request) < 0 || answer.l_type == F_UNLCK) {
		text_add(text, "free");
		return;
	}
	text_add(text, "held: ");
	add_type(text, answer.l_type);
	add_range(text, call->fd, &answer);
	text_add(text, " by ");
	text_add_number(text, answer.l_pid);
}

static void write_line(const struct shim_settings *settings, struct text *text)
{
	if (!settings->debug_file) {
		text_write_line(text, STDERR_FILENO);
		return;
	}
	_cleanup_raw_close_ int fd =
		raw_openat(AT_FDCWD, settings->debug_file, TEXT_APPEND_FLAGS, 0666);
	if (fd >= 0)
		text_write_line(text, fd);
}

void shim_debug_begin(struct shim_debug_call *call)
{
	call->is_readable = shim_caller_read(&call->before, call->request) == 0;
}

void shim_debug_end(struct shim_debug_call *call)
{
	char line[LINE_SIZE];
	struct text text = TEXT(line);

	add_program(&text);
	add_descriptor(&text, call->fd);
	text_add(&text, call->name);
	text_add(&text, " ");
	if (call->is_readable) {
		add_type(&text, call->before.l_type);
		add_range(&text, call->fd, &call->before);
	} else {
		text_add(&text, "bad address");
	}
	text_add(&text, " = ");
	if (call->result < 0)
		add_error(&text, -call->result);
	else if (call->is_question)
		add_answer(&text, call);
	else
		text_add(&text, "ok");
	text_add(&text, " (");
	text_add(&text, call->semantics);
	text_add(&text, ")");
	write_line(call->settings, &text);
}

void shim_debug_note(const char *note)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);
	char line[256];
	struct text text = TEXT(line);

	if (!settings->debug)
		return;
	add_program(&text);
	text_add(&text, note);
	write_line(settings, &text);
}
