/* See semaphores.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>

#include "semaphores.h"

sem_t *semaphore_of(const char *name)
{
	sem_t *semaphore = sem_open(name, O_CREAT, 0600, 1);

	assert_ptr_not_equal(semaphore, SEM_FAILED);
	return semaphore;
}

int value_of_semaphore(sem_t *semaphore)
{
	int value = -1;

	assert_int_equal(sem_getvalue(semaphore, &value), 0);
	return value;
}
