/*
 * flufl.lock names a claim file
 *
 *	LOCKFILE|HOST|PID|RANDOM
 *
 * and writes that path into it.  Its readers split at the bars, and do not look
 * at the last part; so that part is where a claim of ours says what proves its
 * owner gone:
 *
 *	r1.MACHINE.BOOT.NAMESPACE.START.NUMBER.TURN        all in hexadecimal
 *
 *  - a pid is tested only on the boot, and in the pid namespace, that it is from,
 *    and only together with the start time: so neither a pid that is used again,
 *    nor a container's, nor that of another machine with the same hostname is
 *    taken for the owner's;
 *  - another boot of the same machine has ended all its processes.  Which machine
 *    it is, machine-id(5) and the hostname tell together, and only in the first
 *    pid namespace, since a container's machine id often comes with its image;
 *  - machine-id(5) shall not be shown, so it is put through a hash.
 *
 * A claim of flufl.lock itself has a host and a pid only: that proves nothing, and
 * such a lock is broken when its lifetime is over, as flufl.lock does it.
 */
#include "claim-name.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "host-name.h"
#include "process.h"

/* PROC_PID_INIT_INO of the kernel. */
#define FIRST_PID_NAMESPACE UINT64_C(0xeffffffc)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint64_t machine; /* 0: not known */

/* FNV-1a; not for security. */
static uint64_t hash(const char *text, size_t length)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < length; i++)
		sum = (sum ^ (unsigned char)text[i]) * UINT64_C(0x100000001b3);
	return sum;
}

static void find_out_machine(void)
{
	enum { ID_LENGTH = 32 };
	char id[128];

	/* "uninitialized", or nothing, while an image boots first. */
	if (proc_read("/etc/machine-id", id, sizeof id) < ID_LENGTH ||
	    strspn(id, "0123456789abcdef") != ID_LENGTH)
		return;
	machine = hash(id, ID_LENGTH) >> 16 | 1;
}

static uint64_t own_machine(void)
{
	pthread_once(&once, find_out_machine);
	return machine;
}

static uint64_t own_boot(void)
{
	uint64_t boot;

	memcpy(&boot, process_self()->boot_id, sizeof boot);
	return boot;
}

void claim_owner_draw(struct claim_owner *ret, const struct relock_on_behalf *on_behalf)
{
	const struct self *self = process_self();
	bool is_kept = on_behalf && on_behalf->keeper_pid;

	*ret = (struct claim_owner){
		.pid = is_kept ? on_behalf->keeper_pid : self->pid,
		.start_time = is_kept ? on_behalf->keeper_start_time : self->start_time,
		.is_known = true,
		.machine = own_machine(),
		.boot = own_boot(),
		.pid_namespace = self->pid_namespace,
	};
	snprintf(ret->host, sizeof ret->host, "%s", host_name_full());
	if (getrandom(&ret->number, sizeof ret->number, GRND_NONBLOCK) < 0)
		ret->number = (uint64_t)clock_now(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15 ^
			      (uint64_t)self->pid << 32 ^ (uint64_t)(uintptr_t)ret;
}

int claim_name_write(char buffer[NAME_MAX + 1], const char *prefix, const char *lock_name,
		     const struct claim_owner *owner)
{
	int length = snprintf(buffer, NAME_MAX + 1, "%s%s|%s|%d|r1.%llx.%llx.%llx.%llx.%llx.%08x",
			      prefix, lock_name, owner->host, (int)owner->pid,
			      (unsigned long long)owner->machine, (unsigned long long)owner->boot,
			      (unsigned long long)owner->pid_namespace,
			      (unsigned long long)owner->start_time,
			      (unsigned long long)owner->number, owner->turn);

	return length > NAME_MAX ? -ENAMETOOLONG : 0;
}

void claim_name_turn(char *name)
{
	char *digits = name + strlen(name) - CLAIM_TURN_DIGITS;
	uint32_t turn = (uint32_t)strtoul(digits, NULL, 16) + 1;

	snprintf(digits, CLAIM_TURN_DIGITS + 1, "%08x", turn);
}

/* Exactly "r1.", five numbers, and the turn, with all its digits. */
static bool read_particulars(const char *at, struct claim_owner *ret)
{
	uint64_t *const fields[] = {&ret->machine, &ret->boot, &ret->pid_namespace,
				    &ret->start_time, &ret->number};

	if (strncmp(at, "r1", 2) != 0)
		return false;
	at += 2;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		char *end;
		if (*at != '.' || !isxdigit((unsigned char)at[1]) || at[2] == 'x')
			return false;
		errno = 0;
		*fields[i] = strtoull(at + 1, &end, 16);
		if (errno)
			return false;
		at = end;
	}
	if (*at != '.' || strspn(at + 1, "0123456789abcdef") != CLAIM_TURN_DIGITS ||
	    at[1 + CLAIM_TURN_DIGITS] != '\0')
		return false;
	ret->turn = (uint32_t)strtoul(at + 1, NULL, 16);
	return true;
}

static bool read_pid(const char *at, const char *end, pid_t *ret)
{
	int64_t pid = 0;

	if (at == end)
		return false;
	for (; at < end; at++) {
		if (!isdigit((unsigned char)*at))
			return false;
		pid = pid * 10 + (*at - '0');
		if (pid > INT32_MAX)
			return false;
	}
	*ret = (pid_t)pid;
	return pid > 0;
}

bool claim_name_read(const char *name, const char *lock_name, struct claim_owner *ret)
{
	size_t length = strlen(lock_name);
	struct claim_owner owner = {0};

	if (strlen(name) > NAME_MAX || strncmp(name, lock_name, length) != 0)
		return false;
	/* A Lock of flufl.lock's may have another separator. */
	char separator = name[length];
	if (!ispunct((unsigned char)separator))
		return false;
	const char *host = name + length + 1;
	const char *random = strrchr(host, separator);
	if (!random || random == host || random[1] == '\0')
		return false;
	const char *pid = memrchr(host, separator, (size_t)(random - host));
	if (!pid || pid == host || !read_pid(pid + 1, random, &owner.pid))
		return false;
	memcpy(owner.host, host, (size_t)(pid - host));
	owner.is_known = read_particulars(random + 1, &owner);
	*ret = owner;
	return true;
}

bool claim_content_read(const char *content, size_t length, const char *lock_name,
			char ret_name[NAME_MAX + 1], struct claim_owner *ret)
{
	char name[NAME_MAX + 1];

	while (length > 0 && isspace((unsigned char)content[length - 1]))
		length--;
	const char *slash = length ? memrchr(content, '/', length) : NULL;
	const char *from = slash ? slash + 1 : content;
	length -= (size_t)(from - content);
	if (length == 0 || length > NAME_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)from[i] < 0x20 || from[i] == 0x7f)
			return false;
	memcpy(name, from, length);
	name[length] = '\0';
	if (!claim_name_read(name, lock_name, ret))
		return false;
	strcpy(ret_name, name);
	return true;
}

bool claim_owner_is_of_this_boot(const struct claim_owner *owner)
{
	return owner->is_known && owner->boot != 0 && owner->boot == own_boot();
}

static bool is_of_an_earlier_boot(const struct claim_owner *owner)
{
	return owner->is_known && owner->machine != 0 && owner->machine == own_machine() &&
	       owner->boot != 0 && own_boot() != 0 && strcmp(owner->host, host_name_full()) == 0 &&
	       owner->pid_namespace == FIRST_PID_NAMESPACE &&
	       process_self()->pid_namespace == FIRST_PID_NAMESPACE;
}

enum claim_life claim_owner_life(const struct claim_owner *owner)
{
	if (claim_owner_is_of_this_boot(owner)) {
		if (owner->pid_namespace == 0 ||
		    owner->pid_namespace != process_self()->pid_namespace || owner->start_time == 0)
			return CLAIM_UNSEEN;
		return process_is_proven_gone(owner->pid, owner->start_time) ? CLAIM_GONE
									     : CLAIM_SEEN;
	}
	if (owner->is_known)
		return is_of_an_earlier_boot(owner) ? CLAIM_GONE : CLAIM_UNSEEN;
	if (strcmp(owner->host, host_name_full()) != 0 &&
	    strcmp(owner->host, process_self()->host) != 0)
		return CLAIM_UNSEEN;
	return kill(owner->pid, 0) == 0 || errno == EPERM ? CLAIM_SEEN : CLAIM_UNFOUND;
}

bool claim_owner_is_self(const struct claim_owner *owner)
{
	const struct self *self = process_self();

	if (owner->pid != self->pid)
		return false;
	if (owner->is_known)
		return claim_owner_is_of_this_boot(owner) &&
		       owner->pid_namespace == self->pid_namespace &&
		       owner->start_time == self->start_time;
	return strcmp(owner->host, host_name_full()) == 0;
}
