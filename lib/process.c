#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "read-all.h"

static struct self self;
static atomic_bool self_known;
static pthread_mutex_t self_mutex = PTHREAD_MUTEX_INITIALIZER; /* guards filling it in */

ssize_t proc_read(const char *path, char *buffer, size_t size)
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	size_t length = 0;

	if (fd < 0) {
		if (errno != ENOENT)
			return -errno;
		return access("/proc/self", F_OK) < 0 ? -ENOSYS : -ESRCH;
	}
	int result = read_all(fd, buffer, size - 1, &length);
	if (result < 0)
		return result;
	buffer[length] = '\0';
	return (ssize_t)length;
}

static ssize_t proc_read_of(pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	return proc_read(path, buffer, size);
}

struct stat_line {
	char state;
	unsigned long threads;
	uint64_t start_time;
};

/* Fields 3, 20 and 22 of /proc/PID/stat. */
static int read_stat(pid_t pid, struct stat_line *ret)
{
	char stat[1024];
	ssize_t length = proc_read_of(pid, "stat", stat, sizeof stat);

	if (length < 0)
		return (int)length;
	/* The name is in parentheses, and may have some in it. */
	const char *at = strrchr(stat, ')');
	if (!at || at[1] != ' ')
		return -ESRCH;
	ret->state = at[2];
	for (int field = 2; field < 22; field++) {
		at = strchr(at + 1, ' ');
		if (!at)
			return -ESRCH;
		if (field + 1 == 20)
			ret->threads = strtoul(at + 1, NULL, 10);
	}
	ret->start_time = strtoull(at + 1, NULL, 10);
	return 0;
}

int process_start_time(pid_t pid, uint64_t *ret)
{
	struct stat_line line;

	int result = read_stat(pid, &line);
	if (result == 0)
		*ret = line.start_time;
	return result;
}

bool process_is_proven_gone(pid_t pid, uint64_t start_time)
{
	struct stat_line line = {0};

	if (pid <= 0)
		return false;
	int result = read_stat(pid, &line);
	if (result == -ESRCH)
		/* With hidepid=2, another user's process looks like none. */
		return kill(pid, 0) < 0 && errno == ESRCH;
	if (result < 0)
		return false;
	if (start_time && line.start_time != start_time)
		return true;
	/* A first thread that has ended alone is a zombie, too. */
	return (line.state == 'Z' || line.state == 'X') && line.threads <= 1;
}

bool process_is_alive(pid_t pid, uint64_t start_time)
{
	uint64_t now_there;

	if (pid <= 0)
		return false;
	int result = process_start_time(pid, &now_there);
	if (result == 0)
		return start_time == 0 || now_there == start_time;
	if (result == -ESRCH)
		/* With hidepid=2, another user's process looks like none. */
		return kill(pid, 0) < 0 && errno == EPERM;
	return kill(pid, 0) == 0 || errno == EPERM;
}

int64_t process_started(uint64_t start_time)
{
	long ticks = sysconf(_SC_CLK_TCK);

	if (start_time == 0 || ticks <= 0)
		return 0;
	int64_t per_tick = RELOCK_SECOND / ticks;
	int64_t start;
	if (start_time > INT64_MAX || __builtin_mul_overflow((int64_t)start_time, per_tick, &start))
		return 0; /* from a forged record */
	return moment_now() - (clock_now(CLOCK_BOOTTIME) - start);
}

int process_command(pid_t pid, char *buffer, size_t size)
{
	ssize_t length = proc_read_of(pid, "cmdline", buffer, size);

	if (length < 0)
		return (int)length;
	while (length > 0 && buffer[length - 1] == '\0')
		length--;
	for (ssize_t i = 0; i < length; i++)
		if (buffer[i] == '\0')
			buffer[i] = ' ';
	if (length > 0)
		return 0;
	/* A kernel thread, a zombie, or a program that wiped its arguments. */
	char name[64];
	length = proc_read_of(pid, "comm", name, sizeof name);
	if (length < 0)
		return (int)length;
	name[strcspn(name, "\n")] = '\0';
	snprintf(buffer, size, "[%s]", name);
	return 0;
}

int process_uid(pid_t pid, uid_t *ret)
{
	char status[2048];
	ssize_t length = proc_read_of(pid, "status", status, sizeof status);

	if (length < 0)
		return (int)length;
	const char *line = strstr(status, "\nUid:");
	if (!line)
		return -ESRCH;
	/* "Uid:  real  effective  ..." */
	char *effective;
	(void)strtoul(line + 5, &effective, 10);
	*ret = (uid_t)strtoul(effective, NULL, 10);
	return 0;
}

static void read_boot_id(unsigned char id[16])
{
	char text[64];
	size_t digits = 0;

	if (proc_read("/proc/sys/kernel/random/boot_id", text, sizeof text) < 0)
		return;
	for (const char *at = text; *at && digits < 32; at++) {
		if (*at == '-' || *at == '\n')
			continue;
		int digit = (*at <= '9' ? *at - '0' : *at - 'a' + 10) & 15;
		id[digits / 2] = (unsigned char)(id[digits / 2] << 4 | digit);
		digits++;
	}
}

static uint64_t own_pid_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

static void find_out_self(void)
{
	memset(&self, 0, sizeof self);
	self.pid = getpid();
	self.uid = getuid();
	if (process_start_time(self.pid, &self.start_time) < 0)
		self.start_time = 0;
	self.pid_namespace = own_pid_namespace();
	read_boot_id(self.boot_id);
	gethostname(self.host, sizeof self.host - 1);
	if (process_command(self.pid, self.command, sizeof self.command) < 0)
		snprintf(self.command, sizeof self.command, "%s", program_invocation_short_name);
}

const struct self *process_self(void)
{
	if (!atomic_load_explicit(&self_known, memory_order_acquire)) {
		pthread_mutex_lock(&self_mutex);
		if (!atomic_load(&self_known)) {
			find_out_self();
			atomic_store_explicit(&self_known, true, memory_order_release);
		}
		pthread_mutex_unlock(&self_mutex);
	}
	return &self;
}

void process_forget_self(void)
{
	/* Only one thread is left; it may have been copied while another held
	 * the mutex. */
	pthread_mutex_init(&self_mutex, NULL);
	atomic_store(&self_known, false);
}
