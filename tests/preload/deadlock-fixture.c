/* See deadlock-fixture.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deadlock-fixture.h"

int deadlock_set_up_all(void **state)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, "mode=755") < 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777") < 0 ||
	    mkdir("/run/relock", 0700) < 0 || chmod("/run/relock", 01777) < 0)
		return -1;
	return 0;
}

int deadlock_set_up(void **state)
{
	locker_files_make();
	return 0;
}

int deadlock_tear_down(void **state)
{
	locker_files_remove();
	unlink(SHARED_TABLE);
	unlink(ROOTS_TABLE);
	return 0;
}

void end_pair(struct peer *waiter, struct peer *other)
{
	assert_int_equal(locker_do(other, RELEASE), 0);
	assert_int_equal(peer_hear(waiter), 0);
	locker_end(waiter);
	locker_end(other);
}

void assert_cross_is_seen(locker_prepare *prepare)
{
	struct peer a = locker_start(prepare), b = locker_start(prepare);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	assert_true(peer_is_silent(&a));
	end_pair(&a, &b);
}

void assert_cross_is_not_seen(locker_prepare *prepare)
{
	struct peer a = locker_start(prepare), b = locker_start(prepare);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	locker_block(&b, JUMP(0));
	kill(b.pid, SIGUSR1);
	assert_int_equal(peer_hear(&b), -ECANCELED);
	assert_true(peer_is_silent(&a));
	end_pair(&a, &b);
}

void close_ring(unsigned count)
{
	struct peer lockers[RING_MAX];

	assert_true(count <= RING_MAX);
	for (unsigned i = 0; i < count; i++) {
		lockers[i] = locker_start(NULL);
		assert_int_equal(locker_do(&lockers[i], WRITE(i)), 0);
	}
	for (unsigned i = 0; i + 1 < count; i++)
		locker_block(&lockers[i], WRITE(i + 1));
	assert_int_equal(locker_do(&lockers[count - 1], WRITE(0)), -EDEADLK);
	for (unsigned i = count; i-- > 0;) {
		assert_int_equal(locker_do(&lockers[i], RELEASE), 0);
		if (i > 0)
			assert_int_equal(peer_hear(&lockers[i - 1]), 0);
	}
	for (unsigned i = 0; i < count; i++)
		locker_end(&lockers[i]);
}

unsigned next_random(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}
