/*
 * Runs a program where some system calls fail, as in a container:
 *
 *	sandbox WHAT=ERROR... -- PROGRAM ARGUMENTS...
 *
 * WHAT is `ofd`, for fcntl with one of the F_OFD_ commands, `dupfd_query`, for
 * fcntl with F_DUPFD_QUERY, or the name of a system call from the list below.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_DUPFD_QUERY /* headers before Linux 6.10 */
#define F_DUPFD_QUERY 1027
#endif

/* Of fcntl, the commands from first to last. */
struct refused_call {
	const char *name;
	unsigned number, first, last;
};

static const struct refused_call calls[] = {
	{"ofd", SYS_fcntl, F_OFD_GETLK, F_OFD_SETLKW},
	{"dupfd_query", SYS_fcntl, F_DUPFD_QUERY, F_DUPFD_QUERY},
	{.name = "statx", .number = SYS_statx},
	{.name = "kcmp", .number = SYS_kcmp},
	{.name = "pidfd_open", .number = SYS_pidfd_open},
	{.name = "pidfd_getfd", .number = SYS_pidfd_getfd},
	{.name = "process_vm_readv", .number = SYS_process_vm_readv},
	{.name = "close_range", .number = SYS_close_range},
	{.name = "memfd_create", .number = SYS_memfd_create},
};

static const struct {
	const char *name;
	unsigned number;
} errors[] = {{"EINVAL", EINVAL}, {"EPERM", EPERM}, {"ENOSYS", ENOSYS}};

static void load(struct sock_filter *at, size_t offset)
{
	*at = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset);
}

/* Appends the instructions for one rule. */
static struct sock_filter *add_rule(struct sock_filter *at, const struct refused_call *call,
				    unsigned error)
{
	struct sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);

	load(at++, offsetof(struct seccomp_data, nr));
	if (call->number == SYS_fcntl) {
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, 4);
		load(at++, offsetof(struct seccomp_data, args[1]));
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, call->first, 0, 2);
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, call->last, 1, 0);
	} else {
		*at++ = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, 1);
	}
	*at++ = refuse;
	return at;
}

static struct sock_filter *parse_rule(struct sock_filter *at, const char *rule)
{
	const char *error = strchr(rule, '=');

	if (!error)
		return NULL;
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		for (size_t j = 0; j < sizeof errors / sizeof *errors; j++)
			if (strlen(calls[i].name) == (size_t)(error - rule) &&
			    strncmp(rule, calls[i].name, (size_t)(error - rule)) == 0 &&
			    strcmp(error + 1, errors[j].name) == 0)
				return add_rule(at, &calls[i], errors[j].number);
	return NULL;
}

int main(int argument_count, char **arguments)
{
	struct sock_filter filter[64], *end = filter;
	int i = 1;

	for (; i < argument_count && strcmp(arguments[i], "--") != 0; i++)
		if (!(end = parse_rule(end, arguments[i]))) {
			fprintf(stderr, "sandbox: what is %s?\n", arguments[i]);
			return 99;
		}
	*end++ = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = (unsigned short)(end - filter), .filter = filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
		perror("sandbox: seccomp");
		return 99;
	}
	execv(arguments[i + 1], &arguments[i + 1]);
	perror(arguments[i + 1]);
	return 99;
}
