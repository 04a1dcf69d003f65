/*
 * POSIX semaphores, as a program other than relock uses them; in the /dev/shm of
 * private-shm.h.
 */
#pragma once

#include <semaphore.h>

/* Opens it, or makes it with the value 1; the test fails if neither can be. */
sem_t *semaphore_of(const char *name);
int value_of_semaphore(sem_t *semaphore);
