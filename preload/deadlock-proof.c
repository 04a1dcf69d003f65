/*
 * See deadlock-proof.h.
 *
 * A line of /proc/locks does not say whose it is, so it proves that somebody
 * waits for these bytes.  That is not enough where one thread waits and
 * another has left the same wait; then the look at the thread tells.
 *
 * The device number in such a line is that of the superblock, and on btrfs and
 * overlayfs stat(2) tells another one; so it is not compared.  An inode number
 * that no line has at all, though somebody waits for it, is one that the file
 * system shows differently, too: about such a want the kernel says nothing.
 *
 * A thread that is stopped, by SIGSTOP or a debugger, has left the kernel's
 * list, and goes back to it when it continues.
 */
#include "deadlock-proof.h"

#include <fcntl.h>
#include <string.h>

#include "lock-line.h"
#include "raw.h"
#include "text.h"

static void mark_wants(const struct deadlock_view *view, const struct lock_line *line)
{
	for (size_t i = 0; i < view->count; i++) {
		const struct deadlock_record *record = view->nodes[i].record;
		struct deadlock_want *wants = deadlock_wants(record);
		for (uint32_t j = 0; j < record->want_count; j++) {
			const struct deadlock_span *span = &wants[j].span;
			if (span->inode != line->inode)
				continue;
			wants[j].flags |= DEADLOCK_FILE_IN_KERNEL;
			if (line->blocked && (uint64_t)span->first == line->start &&
			    (uint64_t)span->last == line->end &&
			    (span->exclusive != 0) == line->exclusive)
				wants[j].flags |= DEADLOCK_IN_KERNEL;
		}
	}
}

/* The whole lines among `length` bytes; returns the length of the rest. */
static size_t mark_lines(const struct deadlock_view *view, char *text, size_t length)
{
	const char *at = text, *end = text + length;

	for (const char *newline; (newline = memchr(at, '\n', (size_t)(end - at)));
	     at = newline + 1) {
		struct lock_line line;
		if (lock_line_parse(at, (size_t)(newline - at), &line) &&
		    (line.type == LOCK_LINE_OFD || line.type == LOCK_LINE_POSIX))
			mark_wants(view, &line);
	}
	memmove(text, at, (size_t)(end - at));
	return (size_t)(end - at);
}

void deadlock_proof_mark(const struct deadlock_view *view)
{
	size_t have = 0;
	ssize_t count;

	_cleanup_raw_close_ int fd = raw_openat(AT_FDCWD, "/proc/locks", O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return;
	while (have < DEADLOCK_SCRATCH_SIZE &&
	       (count = raw_read(fd, view->scratch + have, DEADLOCK_SCRATCH_SIZE - have)) > 0)
		have = mark_lines(view, view->scratch, have + (size_t)count);
}

/* The beginning of a file of that thread, NUL-terminated; empty if it cannot
 * be read. */
static void read_of_thread(const struct deadlock_record *record, const struct deadlock_want *want,
			   const char *name, char *ret, size_t size)
{
	char path[80];
	struct text text = TEXT(path);

	text_add(&text, "/proc/");
	text_add_number(&text, record->pid);
	text_add(&text, "/task/");
	text_add_number(&text, want->tid);
	text_add(&text, name);
	_cleanup_raw_close_ int fd = raw_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	ssize_t length = fd < 0 ? 0 : raw_read(fd, ret, size - 1);
	ret[length < 0 ? 0 : length] = '\0';
}

/* "72 0x3 0x26 ...": in a system call, with its arguments; "running" or "-1
 * ...": in none. */
static bool is_in_lock_wait(const char *syscall_line)
{
	static const char *const waits[] = {"0x26 ", "0x7 "};
	char number[16];
	struct text text = TEXT(number);

	_Static_assert(F_OFD_SETLKW == 0x26 && F_SETLKW == 7, "as in waits[]");
	text_add_number(&text, SYS_fcntl);
	text_add(&text, " 0x");
	if (strncmp(syscall_line, number, text.length) != 0)
		return false;
	const char *command = strchr(syscall_line + text.length, ' ');
	for (size_t i = 0; command && i < sizeof waits / sizeof *waits; i++)
		if (strncmp(command + 1, waits[i], strlen(waits[i])) == 0)
			return true;
	return false;
}

void deadlock_proof_look(const struct deadlock_record *record, struct deadlock_want *want,
			 uint64_t pid_namespace)
{
	char text[192];

	if (want->flags & DEADLOCK_LOOKED_AT)
		return;
	want->flags |= DEADLOCK_LOOKED_AT;
	if (pid_namespace == 0 || record->pid_namespace != pid_namespace)
		return;

	read_of_thread(record, want, "/stat", text, sizeof text);
	/* After the name, which may have anything in it. */
	const char *state = strrchr(text, ')');
	if (state && (state[2] == 'T' || state[2] == 't'))
		want->flags |= DEADLOCK_STOPPED;
	if (state && (state[2] == 'R' || state[2] == 'D'))
		want->flags |= DEADLOCK_RUNNING;

	read_of_thread(record, want, "/syscall", text, sizeof text);
	if (*text && !is_in_lock_wait(text))
		want->flags |= DEADLOCK_ELSEWHERE;
}

uint64_t deadlock_proof_pid_namespace(void)
{
	struct statx namespace;

	/* Of the namespace's inode; pids of this process mean something there. */
	if (raw_statx(AT_FDCWD, "/proc/self/ns/pid", 0, STATX_INO, &namespace) < 0)
		return 0;
	return namespace.stx_ino;
}
