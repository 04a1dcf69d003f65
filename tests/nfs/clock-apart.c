/*
 * A machine whose clock is wrong: preloaded into a program, CLOCK_REALTIME is so
 * many seconds off as CLOCK_APART says (60 if it is not set).
 *
 * A time namespace has no offset for CLOCK_REALTIME (time_namespaces(7)), and to
 * set the kernel's clock would set that of the NFS server, too.
 */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long seconds_apart(void)
{
	const char *text = getenv("CLOCK_APART");

	return text ? strtol(text, NULL, 10) : 60;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int result = (int)syscall(SYS_clock_gettime, clock, ret);

	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret->tv_sec += seconds_apart();
	return result;
}

__attribute__((visibility("default"))) time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict ret,
							void *restrict zone)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}
