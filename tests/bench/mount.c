/*
 * What the mount costs: a program for bench-turns.
 *
 *	bench-mount WORK FOLDER [DAEMON ARGUMENT...]
 *
 * runs the daemon, on a mount point of its own in the folder, for as long as it
 * lives itself, and works on a lock there; without a daemon, on a file in the
 * folder.  Where bench-turns keeps it on one processor, so it does the daemon.
 * A turn is one line on standard input, and is answered with what it cost:
 *
 *	open        open for writing with O_CREAT, close          nanoseconds
 *	flock       LOCK_EX, LOCK_UN on an open descriptor        nanoseconds
 *	read        of a held lock: open, read, close             nanoseconds
 *	hand-over   10,000 wait in open, each closes: one of them nanoseconds
 *	command     flock FILE true                               microseconds
 *	kill        from the SIGKILL of a holder, by open, until the next one runs
 *	kill-flock  the same by flock(2)                          nanoseconds
 *	memory-waiter  the daemon's, of each of 10,000 that wait  bytes
 *	memory-lock    the daemon's, of each of 15,000 held       bytes
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

enum { REPEATS = 300, WAITERS = 10000, LOCKS = 15000, KILLS = 8 };

static char mountpoint[PATH_MAX];
static char path[PATH_MAX + 8]; /* of the lock */

static int open_lock(int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0666);

	if (fd < 0)
		give_up(path, strerror(errno));
	return fd;
}

/* Of one of so many things, since `start`. */
static double since(int64_t start, long count)
{
	return (double)(nanoseconds(CLOCK_MONOTONIC) - start) / (double)count;
}

static double turn_open(void)
{
	int64_t start = nanoseconds(CLOCK_MONOTONIC);

	for (int i = 0; i < REPEATS; i++)
		close(open_lock(O_WRONLY | O_CREAT));
	return since(start, REPEATS);
}

static double turn_flock(void)
{
	int fd = open_lock(O_RDONLY | O_CREAT);
	int64_t start = nanoseconds(CLOCK_MONOTONIC);

	for (int i = 0; i < REPEATS; i++)
		if (flock(fd, LOCK_EX) < 0 || flock(fd, LOCK_UN) < 0)
			give_up("flock", strerror(errno));
	double cost = since(start, REPEATS);
	close(fd);
	return cost;
}

static double turn_read(void)
{
	int holder = open_lock(O_WRONLY | O_CREAT);
	int64_t start = nanoseconds(CLOCK_MONOTONIC);
	char text[4096];

	for (int i = 0; i < REPEATS; i++) {
		int fd = open_lock(O_RDONLY);
		if (read(fd, text, sizeof text) <= 0)
			give_up("read", strerror(errno));
		close(fd);
	}
	double cost = since(start, REPEATS);
	close(holder);
	return cost;
}

/* The last of them in the kernel, on its way to the queue: each is started
 * when the one before it sleeps. */
static bool is_blocked(pid_t process, pid_t thread, long number)
{
	char name[64], line[32] = "";

	snprintf(name, sizeof name, "/proc/%d/task/%d/syscall", (int)process, (int)thread);
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		give_up(name, strerror(errno));
	ssize_t length = read(fd, line, sizeof line - 1);
	close(fd);
	return length > 0 && line[0] != 'r' && strtol(line, NULL, 10) == number;
}

static void await_blocked(pid_t process, pid_t thread, long number)
{
	while (!is_blocked(process, thread, number))
		sched_yield();
}

static _Atomic pid_t last_started;

static void *wait_and_close(void *unused)
{
	atomic_store(&last_started, gettid());
	close(open_lock(O_WRONLY | O_CREAT));
	return NULL;
}

static pthread_t threads[WAITERS];

static void start_waiters(void)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 32 * 1024);
	for (int i = 0; i < WAITERS; i++) {
		atomic_store(&last_started, 0);
		int error = pthread_create(&threads[i], &attributes, wait_and_close, NULL);
		if (error)
			give_up("pthread_create", strerror(error));
		while (!atomic_load(&last_started))
			sched_yield();
	}
	await_blocked(getpid(), atomic_load(&last_started), SYS_openat);
	pthread_attr_destroy(&attributes);
}

static void join_waiters(void)
{
	for (int i = 0; i < WAITERS; i++)
		pthread_join(threads[i], NULL);
}

static double turn_hand_over(void)
{
	int holder = open_lock(O_WRONLY | O_CREAT);

	start_waiters();
	int64_t start = nanoseconds(CLOCK_MONOTONIC);
	close(holder);
	join_waiters();
	return since(start, WAITERS);
}

/* What the mount says of itself. */
static long mount_says(const char *attribute)
{
	char text[32] = "";

	if (getxattr(mountpoint, attribute, text, sizeof text - 1) < 0)
		give_up(attribute, strerror(errno));
	return strtol(text, NULL, 10);
}

/* Of the process that serves, resident, to the page. */
static double daemon_memory(void)
{
	char name[64], line[128];
	long kibibytes = -1;

	snprintf(name, sizeof name, "/proc/%ld/smaps_rollup", mount_says("user.relock.pid"));
	FILE *file = fopen(name, "re");
	if (!file)
		give_up(name, strerror(errno));
	while (kibibytes < 0 && fgets(line, sizeof line, file))
		if (strncmp(line, "Rss:", 4) == 0)
			kibibytes = strtol(line + 4, NULL, 10);
	fclose(file);
	return (double)kibibytes * 1024;
}

/* What is made at the first use of anything is no waiter's, nor a lock's. */
static double turn_memory_waiter(void)
{
	close(open_lock(O_WRONLY | O_CREAT));
	int holder = open_lock(O_WRONLY | O_CREAT);
	double before = daemon_memory();

	start_waiters();
	while (mount_says("user.relock.waiters") < WAITERS)
		sched_yield();
	double bytes = (daemon_memory() - before) / WAITERS;
	close(holder);
	join_waiters();
	return bytes;
}

static double turn_memory_lock(void)
{
	static int descriptors[LOCKS];

	close(open_lock(O_WRONLY | O_CREAT));
	double before = daemon_memory();
	for (int i = 0; i < LOCKS; i++) {
		snprintf(path, sizeof path, "%s/%d", mountpoint, i);
		descriptors[i] = open_lock(O_WRONLY | O_CREAT);
	}
	double bytes = (daemon_memory() - before) / LOCKS;
	for (int i = 0; i < LOCKS; i++)
		close(descriptors[i]);
	return bytes;
}

static double turn_command(void)
{
	enum { RUNS = 5 };
	char *command[] = {"flock", path, "true", NULL};
	int64_t start = nanoseconds(CLOCK_MONOTONIC);
	int status;

	for (int i = 0; i < RUNS; i++) {
		pid_t pid;
		int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
		if (error)
			give_up(command[0], strerror(error));
		if (waitpid(pid, &status, 0) != pid || status != 0)
			give_up(command[0], "failed");
	}
	return since(start, RUNS) / 1000;
}

/* Shared with the processes of a kill. */
static struct {
	_Atomic int64_t at;
	_Atomic int held;
} * kill_table;

static void hold(bool by_flock)
{
	int fd = open_lock(by_flock ? O_RDONLY | O_CREAT : O_WRONLY | O_CREAT);

	if (by_flock && flock(fd, LOCK_EX) < 0)
		give_up("flock", strerror(errno));
	atomic_store(&kill_table->at, nanoseconds(CLOCK_MONOTONIC));
	atomic_fetch_add(&kill_table->held, 1);
	for (;;)
		pause();
}

static pid_t start_holder(bool by_flock)
{
	pid_t pid = fork();

	if (pid < 0)
		give_up("fork", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		hold(by_flock);
	}
	return pid;
}

static void await_holders(int count)
{
	while (atomic_load(&kill_table->held) < count)
		sched_yield();
}

static double kill_holders(bool by_flock)
{
	int64_t total = 0;
	int status;

	atomic_store(&kill_table->held, 0);
	pid_t holder = start_holder(by_flock);
	await_holders(1);
	for (int i = 0; i < KILLS; i++) {
		pid_t next = start_holder(by_flock);
		await_blocked(next, next, by_flock ? SYS_flock : SYS_openat);
		int64_t start = nanoseconds(CLOCK_MONOTONIC);
		kill(holder, SIGKILL);
		await_holders(i + 2);
		total += atomic_load(&kill_table->at) - start;
		waitpid(holder, &status, 0);
		holder = next;
	}
	kill(holder, SIGKILL);
	waitpid(holder, &status, 0);
	return (double)total / KILLS;
}

static double turn_kill(void)
{
	return kill_holders(false);
}

static double turn_kill_flock(void)
{
	return kill_holders(true);
}

static const struct work {
	const char *name;
	double (*turn)(void);
} works[] = {
	{"open", turn_open},
	{"flock", turn_flock},
	{"read", turn_read},
	{"hand-over", turn_hand_over},
	{"kill", turn_kill},
	{"kill-flock", turn_kill_flock},
	{"command", turn_command},
	{"memory-waiter", turn_memory_waiter},
	{"memory-lock", turn_memory_lock},
};

static const struct work *find_work(const char *name)
{
	for (size_t i = 0; i < sizeof works / sizeof *works; i++)
		if (strcmp(works[i].name, name) == 0)
			return &works[i];
	give_up(name, "no such work");
}

static bool is_fuse(const char *folder)
{
	const long fuse_super_magic = 0x65735546;
	struct statfs status;

	return statfs(folder, &status) == 0 && status.f_type == fuse_super_magic;
}

/* Runs the daemon and waits for its mount: the kernel wakes pollers of the table
 * of mounts at each change. */
static pid_t start_daemon(char **command)
{
	struct pollfd table = {.fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC),
			       .events = POLLPRI};
	size_t count = 0;

	while (command[count])
		count++;
	char **words = calloc(count + 2, sizeof *words);
	if (!words || table.fd < 0 || !mkdtemp(mountpoint))
		give_up(mountpoint, strerror(errno));
	memcpy(words, command, count * sizeof *words);
	words[count] = mountpoint;
	pid_t pid = fork();
	if (pid < 0)
		give_up("fork", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execvp(words[0], words);
		give_up(words[0], strerror(errno));
	}
	free(words);
	while (!is_fuse(mountpoint))
		if (poll(&table, 1, 20000) <= 0)
			give_up(mountpoint, "is not mounted");
	close(table.fd);
	return pid;
}

static void end_daemon(pid_t pid)
{
	int status;

	if (umount2(mountpoint, MNT_DETACH) < 0)
		give_up(mountpoint, strerror(errno));
	waitpid(pid, &status, 0);
	rmdir(mountpoint);
}

int main(int argc, char **argv)
{
	struct rlimit limit;
	char line[16];
	pid_t daemon = 0;

	if (argc < 3)
		give_up("usage", "bench-mount WORK FOLDER [DAEMON ARGUMENT...]");
	const struct work *work = find_work(argv[1]);
	snprintf(mountpoint, sizeof mountpoint, "%s", argv[2]);
	if (argc > 3) {
		snprintf(mountpoint, sizeof mountpoint, "%s/mount-XXXXXX", argv[2]);
		daemon = start_daemon(argv + 3);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	snprintf(path, sizeof path, "%s/bench", mountpoint);
	kill_table = mmap(NULL, sizeof *kill_table, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (kill_table == MAP_FAILED)
		give_up("mmap", strerror(errno));
	while (fgets(line, sizeof line, stdin)) {
		printf("%.2f\n", work->turn());
		fflush(stdout);
	}
	if (daemon)
		end_daemon(daemon);
	return 0;
}
