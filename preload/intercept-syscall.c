/* The calls of syscall(2) that the shim has to know of; see syscall.S. */
#include <fcntl.h>
#include <stddef.h>

#include "intercept.h"
#include "raw.h"

long shim_syscall(long number, long a, long b, long c, long d, long e);

static long kernel_call(long number, long a, long b, long c, long d, long e)
{
	switch (number) {
	case SYS_fcntl:
		return shim_kernel_fcntl((int)a, (int)b, c);
	case SYS_close:
		return shim_kernel_close((int)a);
	case SYS_dup:
		return shim_kernel_dup((int)a, SHIM_DUP, 0);
#ifdef SYS_dup2
	case SYS_dup2:
		return shim_kernel_dup2((int)a, (int)b);
#endif
	case SYS_dup3:
		return shim_kernel_dup3((int)a, (int)b, (int)c);
	case SYS_execve:
		return shim_kernel_execve((const char *)a, (char *const *)b, (char *const *)c);
	case SYS_execveat:
		return shim_kernel_execveat((int)a, (const char *)b, (char *const *)c,
					    (char *const *)d, (int)e);
	default:
		return shim_kernel_close_range((unsigned)a, (unsigned)b, (unsigned)c);
	}
}

long shim_syscall(long number, long a, long b, long c, long d, long e)
{
	long result = kernel_call(number, a, b, c, d, e);

	if (result >= 0 || result < -4095)
		return result;
	errno = (int)-result;
	return -1;
}
