/*
 * Rows 8 to 11 with every way to make a child, and with execve and its whole
 * family: whose the lock is afterwards, and when it goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/syscall.h>

#include "rows.h"

/* The child asks, and tries to take and to drop what is its parent's, and
 * closes; then the parent does as it likes. */
#define CHILD(maker)                                                                               \
	ROW_OF("08", "child", maker, FCNTL,                                                        \
	       "parent's EAGAIN ok ok held free ok -----wwwww- -----------",                       \
	       "parent's EAGAIN ok ok held free ok -----wwwww- -----------",                       \
	       "free ok ok ok free held ok ----------- -----------"),                              \
		ROW_OF("08", "child_of_two_opens", maker, FCNTL,                                   \
		       "wwwwwwwwww- ----------- -----------",                                      \
		       "wwwwwwwwww- -----wwwww- -----------",                                      \
		       "-----wwwww- -----wwwww- -----------")

/* The parent closes, or is killed; then the child is. */
#define CLOSED(maker)                                                                              \
	ROW_OF("05", "closed_while_inherited", maker, FCNTL, "free free", "free free", "held free")
#define OUTLIVED(maker)                                                                            \
	ROW_OF("09", "outlived", maker, FCNTL, "free free", "free free", "held free")

#define CHILD_THAT_EXECUTES(maker)                                                                 \
	ROW_OF("08", "child_that_executes", maker, FCNTL,                                          \
	       "held EAGAIN ok held held ok -----wwwww- -----------",                              \
	       "held EAGAIN ok held held ok -----wwwww- -----------",                              \
	       "free ok ok held held ok -----wwwww- -----------")

/* The next program has a look, unlocks a part, closes another open, closes this
 * one. */
#define KNOWN_AND_LOST "wwwwwwwwww- own ok -----wwwww- ----------- -----------"
#define KNOWN          "wwwwwwwwww- own ok -----wwwww- -----wwwww- -----------"
#define EXEC(name)     ROW_OF("10", "exec", name, FCNTL, KNOWN_AND_LOST, KNOWN, KNOWN)

#define FAILING(name, error)                                                                       \
	ROW_OF("10", "exec_failing", name, FCNTL, error " 0 environment own free free",            \
	       error " 0 environment own held free", error " 0 environment own held free")
#define CLOEXEC(how)                                                                               \
	ROW_OF("11", "exec_cloexec", how, FCNTL, "----------- -1 ok", "----------- -1 ok",         \
	       "----------- -1 ok")

/* clang-format off */
static const struct CMUnitTest tests[] = {
	CHILD("fork"),
	CHILD("_Fork"),
	CHILD("vfork"),
	CHILD("clone"),
	CHILD("CLONE_VFORK"),
#ifdef SYS_fork
	CHILD("SYS_fork"),
#endif
	CHILD("SYS_clone"),
	CHILD("SYS_clone3"),
	CHILD_THAT_EXECUTES("fork"),
	CHILD_THAT_EXECUTES("_Fork"),
	CHILD_THAT_EXECUTES("vfork"),
	CHILD_THAT_EXECUTES("clone"),
	CHILD_THAT_EXECUTES("CLONE_VFORK"),
	CHILD_THAT_EXECUTES("SYS_clone"),
	CHILD_THAT_EXECUTES("posix_spawn"),
	CHILD_THAT_EXECUTES("system"),
	CHILD_THAT_EXECUTES("popen"),
	ROW("08", "spawn_file_actions", FCNTL, "wwwwwwwwww- ----------- -----------",
	    "wwwwwwwwww- wwwww------ -----------", "wwwwwwwwww- wwwwwwwwww- -----------"),
	CLOSED("fork"),
	OUTLIVED("fork"),
	CLOSED("_Fork"),
	OUTLIVED("_Fork"),
	CLOSED("clone"),
	OUTLIVED("clone"),
#ifdef SYS_fork
	CLOSED("SYS_fork"),
	OUTLIVED("SYS_fork"),
#endif
	CLOSED("SYS_clone"),
	OUTLIVED("SYS_clone"),
	CLOSED("SYS_clone3"),
	OUTLIVED("SYS_clone3"),
	/* A child that nobody sees come gives nothing back until it locks or
	 * closes, or ends. */
	CHILD("unseen"),
	CLOSED("unseen"),
	ROW_OF("09", "outlived", "unseen", FCNTL, "free free", "held free", "held free"),
#ifdef __x86_64__
	ROW_OF("05", "shares_memory", "close", FCNTL, "held free", "held free", "held free"),
	ROW_OF("05", "shares_memory", "dup2", FCNTL, "held free", "held free", "held free"),
	ROW_OF("05", "shares_memory", "CLONE_FILES", FCNTL, "held free", "held free", "held free"),
#endif
	ROW("09", "outlived_by_spawned", FCNTL, "free free", "free free", "held free"),
	ROW("09", "outlived_by_unpreloaded", FCNTL, "free free", "free free", "held free"),
	ROW("09", "daemonized", FCNTL, "free ok held ok -----wwwww- -----------",
	    "free ok held ok -----wwwww- -----------", "held ok held ok -----wwwww- -----------"),
	EXEC("execv"),
	EXEC("execve"),
	EXEC("execvp"),
	EXEC("execvpe"),
	EXEC("execl"),
	EXEC("execle"),
	EXEC("execlp"),
	EXEC("fexecve"),
	EXEC("execveat"),
	EXEC("SYS_execve"),
	EXEC("SYS_execveat"),
	EXEC("shell"),
	EXEC("thread"),
	ROW("10", "exec_twice", FCNTL, KNOWN_AND_LOST, KNOWN, KNOWN),
	ROW("10", "exec_cloexec_undone", FCNTL, KNOWN_AND_LOST, KNOWN, KNOWN),
	ROW("10", "exec_one_duplicate", FCNTL,
	    "----------- own ok ----------- ----------- -----------", KNOWN, KNOWN),
	ROW("10", "exec_one_open", FCNTL, "----------- ok ww--------- -----------",
	    "-----wwwww- ok ww---wwwww- -----------", "----------- ok ww--------- -----------"),
	ROW("10", "exec_two_opens", FCNTL, "wwwwwwwwww- ----------- -----------",
	    "wwwwwwwwww- wwwww------ -----------", "wwwwwwwwww- wwwwwwwwww- -----------"),
	ROW("10", "exec_with_less_access", FCNTL, "0 ----------- EBADF ok -----------",
	    "0 rrrrr------ EBADF ok -rrrr------", "0 rrrrr------ EBADF ok -rrrr------"),
	/* The descriptor that holds the lock is one that they do not know. */
	ROW("10", "exec_unpreloaded", FCNTL, "held free", "held held", "held free"),
	ROW("10", "exec_static", FCNTL, "held free", "held held", "held free"),
	ROW("10", "exec_then_child", FCNTL, "other's EAGAIN other's EAGAIN own held",
	    "other's EAGAIN other's EAGAIN own held", "own ok own ok own held"),
	FAILING("execv", "ENOENT"),
	FAILING("execve", "ENOENT"),
	FAILING("execvp", "ENOENT"),
	FAILING("execvpe", "ENOENT"),
	FAILING("execl", "ENOENT"),
	FAILING("execle", "ENOENT"),
	FAILING("execlp", "ENOENT"),
	FAILING("fexecve", "EINVAL"),
	FAILING("execveat", "ENOENT"),
	FAILING("SYS_execve", "ENOENT"),
	FAILING("SYS_execveat", "ENOENT"),
	ROW("10", "exec_refused", FCNTL,
	    "EACCES 0 environment own free free ETXTBSY 0 environment own free free "
	    "ENOEXEC 0 environment own free free EFAULT 0 environment own free free",
	    "EACCES 0 environment own held free ETXTBSY 0 environment own held free "
	    "ENOEXEC 0 environment own held free EFAULT 0 environment own held free",
	    "EACCES 0 environment own held free ETXTBSY 0 environment own held free "
	    "ENOEXEC 0 environment own held free EFAULT 0 environment own held free"),
	SAME("10", "exec_and_environment", FCNTL, "0"),
	CLOEXEC("O_CLOEXEC"),
	CLOEXEC("F_SETFD"),
	CLOEXEC("FIOCLEX"),
	CLOEXEC("CLOSE_RANGE_CLOEXEC"),
};
/* clang-format on */

int main(void)
{
	return cmocka_run_group_tests_name("children", tests, make_folder, remove_folder);
}
