/*
 * A command for tests: says that it is ready, waits for a signal, says which
 * one came, and ends with a status that depends on it.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	sigset_t signals;
	int got = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	puts("ready");
	fflush(stdout);
	if (sigwait(&signals, &got) != 0)
		return 1;
	printf("SIG%s\n", sigabbrev_np(got));
	return 40 + got;
}
