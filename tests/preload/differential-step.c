/* Steps as text; see differential-step.h. */
#include "differential-step.h"

#include <linux/close_range.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const entry_names[ENTRIES] = {
	[BY_FCNTL] = "fcntl",
	[BY_FCNTL64] = "fcntl64",
	[BY_SYSCALL] = "syscall",
	[BY_LOCKF] = "lockf",
	[BY_LOCKF64] = "lockf64",
	[BY_CLOSE] = "close",
	[BY_CLOSE_RANGE] = "close_range",
	[BY_FCLOSE] = "fclose",
	[BY_DUP] = "dup",
	[BY_DUP2] = "dup2",
	[BY_DUP3] = "dup3",
	[BY_F_DUPFD] = "fcntl(F_DUPFD)",
	[BY_F_DUPFD_CLOEXEC] = "fcntl(F_DUPFD_CLOEXEC)",
	[BY_FORK] = "fork",
	[BY_DAEMON] = "daemon",
	[BY__FORK] = "_Fork",
	[BY_VFORK] = "vfork",
	[BY_POSIX_SPAWN] = "posix_spawn",
	[BY_EXECVE] = "execve",
	[BY_EXECV] = "execv",
	[BY_EXECL] = "execl",
	[BY_EXIT] = "exit",
	[BY__EXIT] = "_exit",
	[BY_INTERRUPT] = "interrupts",
	[BY_RESTART] = "signals with SA_RESTART",
	[BY_JUMP] = "jumps out of",
};

static const char *whence_name(short whence)
{
	switch (whence) {
	case SEEK_SET:
		return "SEEK_SET";
	case SEEK_CUR:
		return "SEEK_CUR";
	case SEEK_END:
		return "SEEK_END";
	default:
		return "bad-whence";
	}
}

static const char *type_name(short type)
{
	switch (type) {
	case F_RDLCK:
		return "read";
	case F_WRLCK:
		return "write";
	case F_UNLCK:
		return "unlock";
	default:
		return "bad-type";
	}
}

static void print_lock(const struct step *step, const char *command, char *text, size_t size)
{
	const struct flock *lock = &step->lock;

	if (step->is_bad_pointer)
		snprintf(text, size, "%s(%s, s%d, bad pointer)", entry_names[step->entry], command,
			 step->slot);
	else
		snprintf(text, size, "%s(%s, s%d, %s %s %jd %jd)", entry_names[step->entry],
			 command, step->slot, type_name(lock->l_type), whence_name(lock->l_whence),
			 (intmax_t)lock->l_start, (intmax_t)lock->l_len);
}

static const char *open_flags(int flags)
{
	if (flags & O_PATH)
		return "O_PATH";
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return "O_RDONLY";
	case O_WRONLY:
		return "O_WRONLY";
	default:
		return "O_RDWR";
	}
}

static const char *lockf_name(int command)
{
	switch (command) {
	case F_LOCK:
		return "F_LOCK";
	case F_TLOCK:
		return "F_TLOCK";
	case F_ULOCK:
		return "F_ULOCK";
	case F_TEST:
		return "F_TEST";
	default:
		return "bad-command";
	}
}

static void print_spawn(const struct step *step, char *text, size_t size)
{
	char closes[24] = "";

	if (step->flags & SPAWN_CLOSES)
		snprintf(closes, sizeof closes, "close(s%d), ", step->slot);
	snprintf(text, size, "%c = %s(): %sexecve()", actor_name(step->newcomer),
		 step->entry == BY_SYSCALL ? "syscall(clone)" : entry_names[step->entry], closes);
}

static void print_call(const struct step *step, char *text, size_t size)
{
	const char *entry = entry_names[step->entry];
	const char *cloexec = step->flags & O_CLOEXEC ? "|O_CLOEXEC" : "";

	switch (step->kind) {
	case STEP_OPEN:
		snprintf(text, size, "s%d = open(file %d%s, %s%s%s)", step->other,
			 step->path % FILES, step->path < FILES ? "" : " by its second name",
			 open_flags(step->flags), step->flags & O_APPEND ? "|O_APPEND" : "",
			 cloexec);
		break;
	case STEP_CLOSE:
		snprintf(text, size, "%s(s%d)", entry, step->slot);
		break;
	case STEP_FREOPEN:
		snprintf(text, size, "freopen(file %d, %s%s, s%d)", step->path % FILES,
			 open_flags(step->flags), cloexec, step->slot);
		break;
	case STEP_CLOSE_RANGE:
		snprintf(text, size, "%s(s%d..s%d%s)",
			 step->entry == BY_SYSCALL ? "syscall(close_range)" : "close_range",
			 step->slot, step->other, step->flags ? ", CLOSE_RANGE_CLOEXEC" : "");
		break;
	case STEP_CLOSEFROM:
		snprintf(text, size, "closefrom(s%d)", step->slot);
		break;
	case STEP_DUP:
		snprintf(text, size, "s%d = %s(s%d, from %d)", step->other, entry, step->slot,
			 step->number);
		break;
	case STEP_DUP_ONTO:
		snprintf(text, size, "%s(s%d, s%d%s), if closed %d", entry, step->slot, step->other,
			 cloexec, step->number);
		break;
	case STEP_SET_CLOEXEC:
		snprintf(text, size, "fcntl(F_SETFD, s%d, %s)", step->slot,
			 step->flags ? "FD_CLOEXEC" : "0");
		break;
	case STEP_SEEK:
		snprintf(text, size, "lseek(s%d, %jd)", step->slot, (intmax_t)step->lock.l_start);
		break;
	case STEP_MMAP:
		snprintf(text, size, "mmap(s%d)", step->slot);
		break;
	case STEP_SET:
		print_lock(step, "F_SETLK", text, size);
		break;
	case STEP_WAIT:
		print_lock(step, "F_SETLKW", text, size);
		break;
	case STEP_GET:
		print_lock(step, "F_GETLK", text, size);
		break;
	case STEP_LOCKF:
		snprintf(text, size, "%s(s%d, %s, %jd)", entry, step->slot,
			 lockf_name(step->command), (intmax_t)step->lock.l_len);
		break;
	case STEP_FORK:
		snprintf(text, size, "%c = %s()", actor_name(step->newcomer), entry);
		break;
	case STEP_SPAWN:
		print_spawn(step, text, size);
		break;
	case STEP_EXEC:
	case STEP_EXIT:
		snprintf(text, size, "%s()", entry);
		break;
	case STEP_KILL:
		snprintf(text, size, "is killed");
		break;
	case STEP_SIGNAL:
		snprintf(text, size, "is waiting: a signal %s it", entry);
		break;
	case STEP_KINDS:
		break;
	}
}

void step_print(const struct step *step, char text[STEP_TEXT_SIZE])
{
	int used = snprintf(text, STEP_TEXT_SIZE, "%c.%d ", actor_name(step->actor), step->thread);

	print_call(step, text + used, STEP_TEXT_SIZE - (size_t)used);
}
