/*
 * Runs a program in which the shim's own system calls fail, one kind of them:
 *
 *	preload-fault REPORT FAULT PROGRAM ARGUMENTS...
 *
 * FAULT is NUMBER:COMMAND:NTH:ERROR.  The NTH call (0: each) that the shim makes
 * of system call NUMBER, and for fcntl of COMMAND, does nothing and returns
 * ERROR.  F_OFD_GETLK stands for the three commands of OFD locks.  The program's own calls, and
 *libc's, go on as they were: a program that cannot open its file shows nothing of what the shim
 *does about that.
 *
 * The kernel asks here about each system call of the program and its children
 * (SECCOMP_RET_USER_NOTIF, seccomp_unotify(2)).  The shim's are those whose
 * instruction lies in the shim, by the map of the process: it makes them itself
 * (preload/raw.h), all but the one wait that goes through libc.  A signal
 * handler in the program would be one more thing that can interrupt a call, so
 * this is for programs without.
 *
 * REPORT gets a line for each kind of call that the shim made: "NUMBER COMMAND
 * COUNT".  The exit status is the program's, or 99.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <linux/seccomp.h> before Linux 5.19 */
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define SHIM_NAME "/librelock-preload.so"

enum { KINDS_MAX = 64 };

struct fault {
	int number, error;
	unsigned command, nth;
};

/* The calls of one kind that the shim has made. */
struct kind {
	int number;
	unsigned command, count;
};

static struct kind kinds[KINDS_MAX];

static void give_up(const char *what)
{
	fprintf(stderr, "preload-fault: %s: %s\n", what, strerror(errno));
	exit(99);
}

/* One message with one descriptor, either way. */

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

static struct msghdr message_of(union control *control, struct iovec *byte)
{
	return (struct msghdr){.msg_iov = byte,
			       .msg_iovlen = 1,
			       .msg_control = control,
			       .msg_controllen = sizeof *control};
}

static void send_descriptor(int socket, int fd)
{
	union control control = {.header = {.cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS,
					    .cmsg_len = CMSG_LEN(sizeof fd)}};
	struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
	struct msghdr message = message_of(&control, &byte);

	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	if (sendmsg(socket, &message, 0) < 0)
		_exit(99);
}

static int receive_descriptor(int socket)
{
	union control control;
	struct iovec byte = {.iov_base = (char[]){0}, .iov_len = 1};
	struct msghdr message = message_of(&control, &byte);
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
		give_up("no listener");
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	return fd;
}

/* Asks about every call but the one that hands over who is to be asked. */
static int install_filter(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendmsg, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up("PR_SET_NO_NEW_PRIVS");
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			      SECCOMP_FILTER_FLAG_NEW_LISTENER |
				      SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
			      &program);
	if (fd < 0)
		give_up("seccomp");
	return fd;
}

static pid_t start(char **command, int *ret_listener)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		give_up("socketpair");
	pid_t pid = fork();
	if (pid < 0)
		give_up("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_descriptor(sockets[1], install_filter());
		execv(command[0], command);
		_exit(99);
	}
	close(sockets[1]);
	*ret_listener = receive_descriptor(sockets[0]);
	close(sockets[0]);
	return pid;
}

/* False also of a process that has died meanwhile. */
static bool is_in_shim(pid_t tid, uint64_t instruction)
{
	char path[64], line[512];
	uint64_t from, to;
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)tid);
	FILE *maps = fopen(path, "re");
	while (maps && !found && fgets(line, sizeof line, maps))
		found = strstr(line, SHIM_NAME) &&
			sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2 &&
			instruction >= from && instruction < to;
	if (maps)
		fclose(maps);
	return found;
}

/* A kernel, or a filter, knows all commands of OFD locks or none of them. */
static unsigned command_of(const struct seccomp_data *call)
{
	unsigned command = call->nr == SYS_fcntl ? (unsigned)call->args[1] : 0;

	return command == F_OFD_SETLK || command == F_OFD_SETLKW ? F_OFD_GETLK : command;
}

static struct kind *kind_of(const struct seccomp_data *call)
{
	unsigned command = command_of(call);

	for (struct kind *kind = kinds; kind < kinds + KINDS_MAX; kind++) {
		if (kind->count == 0)
			*kind = (struct kind){.number = call->nr, .command = command};
		if (kind->number == call->nr && kind->command == command)
			return kind;
	}
	errno = E2BIG;
	give_up("the shim makes too many kinds of calls");
	return NULL;
}

static bool is_due(const struct fault *fault, const struct seccomp_data *call)
{
	struct kind *kind = kind_of(call);

	kind->count++;
	return kind->number == fault->number && kind->command == fault->command &&
	       (fault->nth == 0 || fault->nth == kind->count);
}

static void answer(int listener, const struct fault *fault)
{
	struct seccomp_notif question = {0};

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0) {
		if (errno == ENOENT || errno == EINTR)
			return; /* who asked has been killed */
		give_up("SECCOMP_IOCTL_NOTIF_RECV");
	}
	struct seccomp_notif_resp response = {.id = question.id,
					      .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
	if (is_in_shim((pid_t)question.pid, question.data.instruction_pointer) &&
	    is_due(fault, &question.data)) {
		response.flags = 0;
		response.error = -fault->error;
	}
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 && errno != ENOENT)
		give_up("SECCOMP_IOCTL_NOTIF_SEND");
}

static int serve(pid_t pid, int listener, const struct fault *fault)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status;
	struct pollfd polled[] = {{.fd = listener, .events = POLLIN},
				  {.fd = pidfd, .events = POLLIN}};

	if (pidfd < 0)
		give_up("pidfd_open");
	while (!(polled[1].revents & POLLIN)) {
		if (poll(polled, 2, -1) < 0 && errno != EINTR)
			give_up("poll");
		if (polled[0].revents & POLLIN)
			answer(listener, fault);
	}
	if (waitpid(pid, &status, 0) < 0)
		give_up("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void write_report(const char *path)
{
	FILE *report = fopen(path, "we");

	if (!report)
		give_up(path);
	for (const struct kind *kind = kinds; kind < kinds + KINDS_MAX && kind->count; kind++)
		fprintf(report, "%d %u %u\n", kind->number, kind->command, kind->count);
	if (fclose(report) != 0)
		give_up(path);
}

int main(int argument_count, char **arguments)
{
	struct fault fault;
	int listener;

	if (argument_count < 4 || sscanf(arguments[2], "%d:%u:%u:%d", &fault.number, &fault.command,
					 &fault.nth, &fault.error) != 4) {
		fprintf(stderr,
			"usage: preload-fault REPORT NUMBER:COMMAND:NTH:ERROR PROGRAM ...\n");
		return 99;
	}
	pid_t pid = start(arguments + 3, &listener);
	int status = serve(pid, listener, &fault);
	write_report(arguments[1]);
	return status;
}
