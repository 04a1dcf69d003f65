/*
 * What a process costs:
 *
 *	fork              fork, _exit and wait, in microseconds of processor time
 *	fork-holding      the same while a lock is held
 *	memory            private dirty memory, in KiB, with nothing locked
 *	memory-1000       ... and with a lock on each of 1,000 files
 */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

enum { FORKS = 40, FILES = 1000 };

static void prepare_nothing(void)
{
}

static void prepare_holding(void)
{
	bench_hold(1);
}

static double microseconds_of(int who)
{
	struct rusage usage;

	if (getrusage(who, &usage) < 0)
		bench_give_up("getrusage");
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Of this process and of the children that it has waited for. */
static double processor_microseconds(void)
{
	return microseconds_of(RUSAGE_SELF) + microseconds_of(RUSAGE_CHILDREN);
}

static double turn_of_forks(void)
{
	double start = processor_microseconds();

	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			bench_give_up("fork");
	}
	return (processor_microseconds() - start) / FORKS;
}

/* Whatever keeps the locks may need descriptors of its own. */
static void prepare_many(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		bench_give_up("RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max < 4 * FILES || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		bench_give_up("RLIMIT_NOFILE");
	bench_hold(FILES);
}

static double measure_memory(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[128];
	long kibibytes = -1;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "Private_Dirty: %ld", &kibibytes) == 1)
			break;
	if (kibibytes < 0)
		bench_give_up("/proc/self/smaps_rollup");
	fclose(file);
	return (double)kibibytes;
}

const struct bench_work bench_processes[] = {
	{"fork", prepare_nothing, turn_of_forks},
	{"fork-holding", prepare_holding, turn_of_forks},
	{"memory", prepare_nothing, measure_memory},
	{"memory-1000", prepare_many, measure_memory},
	{0},
};
