/*
 * link: what its protocol promises: lifetimes, who is proven gone, what may be
 * broken, and what stands in a lock's place that is none.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "claim-name.h"
#include "host-name.h"
#include "link-store.h"

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

static int hold_for(relock_lock *lock, int64_t lifetime, unsigned flags)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = 0;
	request.lifetime = lifetime;
	request.flags = flags;
	return relock_acquire(lock, &request);
}

static time_t expiry_of(const struct fixture *fixture)
{
	struct stat status;

	assert_int_equal(stat(path_of(fixture, "demo"), &status), 0);
	return status.st_mtime;
}

/* As if the clock had been set, or time had passed. */
static void set_expiry(const struct fixture *fixture, time_t from_now)
{
	const struct timespec times[] = {{.tv_sec = time(NULL) + from_now},
					 {.tv_sec = time(NULL) + from_now}};

	assert_int_equal(utimensat(AT_FDCWD, path_of(fixture, "demo"), times, 0), 0);
}

/* A lock as a process of that description would hold it. */
static void plant(const struct fixture *fixture, const struct claim_owner *owner)
{
	char name[NAME_MAX + 1], path[400];

	assert_int_equal(claim_name_write(name, "", "demo", owner), 0);
	snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, path, strlen(path)), strlen(path));
	close(fd);
	assert_int_equal(link(path, path_of(fixture, "demo")), 0);
	set_expiry(fixture, 60);
}

static struct claim_owner myself(void)
{
	struct claim_owner owner;

	claim_owner_draw(&owner, NULL);
	return owner;
}

static void assert_held(const struct fixture *fixture, const char *expected_state)
{
	assert_string_equal(state_of(fixture, "demo", "state"), expected_state);
	assert_int_equal(try_elsewhere(fixture, "demo"), -EAGAIN);
}

static int count_files(const struct fixture *fixture)
{
	DIR *dir = opendir(fixture->folder);
	int count = 0;

	for (struct dirent *entry; (entry = readdir(dir));)
		count += strchr(entry->d_name, '|') != NULL;
	closedir(dir);
	return count;
}

/* What it cannot do */

static void shared_and_inherited_are_refused(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_shared(lock), -EOPNOTSUPP);
	assert_int_equal(hold_for(lock, 0, RELOCK_INHERIT), -EOPNOTSUPP);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_convert(lock, RELOCK_SHARED, 0), -EOPNOTSUPP);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

static void names_that_flufl_could_not_read_are_refused(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = NULL;
	char name[RELOCK_NAME_MAX + 1];

	assert_int_equal(relock_lock_open(&lock, fixture->store, "a|b"), -EINVAL);
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_int_equal(relock_lock_open(&lock, fixture->store, name), 0);
	assert_int_equal(try_lock(lock), -ENAMETOOLONG);
	relock_lock_close(lock);
}

/* Lifetimes */

static void a_lifetime_is_the_time_of_the_lock_file(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(hold_for(lock, 100 * RELOCK_SECOND, 0), 0);
	assert_in_range(expiry_of(*state), time(NULL) + 95, time(NULL) + 101);
	assert_int_equal(relock_refresh(lock, 1000 * RELOCK_SECOND), 0);
	assert_in_range(expiry_of(*state), time(NULL) + 995, time(NULL) + 1001);
	assert_int_equal(relock_refresh(lock, 0), 0);
	assert_in_range(expiry_of(*state), time(NULL) + 95, time(NULL) + 101);
	assert_int_equal(relock_refresh(lock, -1), -EINVAL);
	relock_lock_close(lock);
}

static void refresh_without_a_hold_says_so(void **state)
{
	relock_lock *lock = handle(*state, "demo"), *other = handle(*state, "demo");

	assert_int_equal(relock_refresh(lock, 0), -ENOENT);
	assert_int_equal(try_lock(other), 0);
	assert_int_equal(relock_refresh(lock, 0), -EPERM);
	relock_lock_close(other);
	relock_lock_close(lock);
}

static void refresh_of_a_store_without_lifetimes_is_a_check(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(hold_for(lock, RELOCK_MILLISECOND, 0), 0);
	assert_int_equal(relock_refresh(lock, RELOCK_MILLISECOND), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(relock_refresh(lock, 0), -ENOENT);
	relock_lock_close(lock);
}

/* 0.3 s, and so each tenth of a second. */
static void a_hold_is_refreshed_if_asked_for(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct stat before, after;
	int64_t start = now();

	assert_int_equal(hold_for(lock, 300 * RELOCK_MILLISECOND, RELOCK_REFRESH), 0);
	assert_int_equal(stat(path_of(*state, "demo"), &before), 0);
	do {
		assert_true(now() - start < 10 * RELOCK_SECOND);
		assert_int_equal(stat(path_of(*state, "demo"), &after), 0);
		sched_yield();
	} while (after.st_mtim.tv_sec == before.st_mtim.tv_sec &&
		 after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

static void programs_from_before_lifetimes_are_served(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	request.size = offsetof(struct relock_request, lifetime);
	request.lifetime = -1; /* whatever stands there */
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_in_range(expiry_of(*state), time(NULL) + 10, time(NULL) + 16);
	relock_lock_close(lock);
}

/* Clocks: an hour either way. */

static void a_clock_that_is_ahead_breaks_no_living_hold(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(hold_for(lock, 60 * RELOCK_SECOND, 0), 0);
	set_expiry(*state, -3600);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

static void a_clock_that_is_behind_makes_a_dead_holders_lock_no_older(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&peer), 1);
	set_expiry(*state, 3600);
	peer_kill(&peer);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

/*
 * flufl.lock's holder may run here, so that it, the file system and we go by the
 * same clock, which may have been set: what it set to last two seconds must have
 * been seen for two seconds.
 */
static void a_clock_that_is_ahead_breaks_flufls_lock_only_when_it_was_seen_so_long(void **state)
{
	const struct fixture *fixture = *state;
	const struct link_store *store = link_store_of(fixture->store);
	const int64_t expired = (time(NULL) - 3600) * RELOCK_SECOND;
	struct link_look look = {
		.exists = true,
		.inode = 7,
		.expires = expired,
		.set = expired - 2 * RELOCK_SECOND,
		.life = CLAIM_SEEN,
	};
	relock_lock *lock = handle(fixture, "demo");
	struct link_observation *seen = &link_lock_of(lock)->observation;
	int64_t look_at = 0;

	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_HELD);
	assert_in_range(look_at - now(), RELOCK_SECOND, 2 * RELOCK_SECOND);
	seen->since -= 2 * RELOCK_SECOND;
	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_EXPIRED);
	/* Refreshed, or another's: it begins anew. */
	look.expires++;
	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_HELD);
	seen->since -= 2 * RELOCK_SECOND;
	look.inode++;
	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_HELD);
	/* One that nobody can be here to hold is not waited for. */
	look.life = CLAIM_UNFOUND;
	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_EXPIRED);
	relock_lock_close(lock);
}

/* Of a file system that others see, the clock is asked, too. */
static void a_server_says_what_time_it_is(void **state)
{
	const struct fixture *fixture = *state;
	struct link_store *store = link_store_of(fixture->store);
	struct link_look look = {
		.exists = true,
		.expires = (time(NULL) - 11) * RELOCK_SECOND,
		.life = CLAIM_UNSEEN,
	};
	relock_lock *lock = handle(fixture, "demo");
	int64_t look_at = 0;

	store->is_local = false;
	assert_int_equal(link_judge(lock, store, "demo", &look, &look_at), LINK_EXPIRED);
	assert_int_equal(count_files(fixture), 0);
	/* Nothing is polled but what others see: woken all the same. */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

/* It had its time, and did not refresh it. */
static void an_expired_lock_is_broken_though_its_owner_lives(void **state)
{
	struct claim_owner owner = myself();

	plant(*state, &owner);
	set_expiry(*state, -9);
	assert_held(*state, "expired");
	set_expiry(*state, -11);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void a_token_is_not_told_of_a_broken_hold(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo"), *next = handle(fixture, "demo");
	uint64_t first, second;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_token(lock, &first), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_lock(next), 0);
	assert_int_equal(relock_token(next, &second), 0);
	assert_true(second > first);
	assert_int_equal(relock_token(lock, &first), -ESTALE);
	assert_int_equal(relock_release(lock), -ESTALE);
	relock_lock_close(next);
	relock_lock_close(lock);
}

/* Who is proven gone */

static void another_pid_namespace_is_not_tested(void **state)
{
	struct claim_owner owner = myself();

	owner.pid_namespace++;
	owner.pid = 2147483647;
	plant(*state, &owner);
	assert_held(*state, "unknown");
}

static void another_machine_of_the_same_name_is_not_tested(void **state)
{
	struct claim_owner owner = myself();

	owner.boot++;
	owner.machine++;
	owner.pid = 2147483647;
	plant(*state, &owner);
	assert_held(*state, "unknown");
}

static void a_machine_that_nobody_knows_is_not_tested(void **state)
{
	struct claim_owner owner = myself();

	owner.boot++;
	owner.machine = 0;
	plant(*state, &owner);
	assert_held(*state, "unknown");
}

static void another_boot_of_this_machine_has_ended_it(void **state)
{
	struct claim_owner owner = myself();

	owner.boot++;
	owner.pid = 1;
	plant(*state, &owner);
	/* Only the first pid namespace tells one machine from another. */
	if (owner.pid_namespace != UINT64_C(0xeffffffc) || owner.machine == 0) {
		assert_held(*state, "unknown");
		return;
	}
	assert_string_equal(state_of(*state, "demo", "state"), "stale");
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void a_host_that_was_renamed_is_still_this_one(void **state)
{
	struct claim_owner owner = myself();

	strcpy(owner.host, "old-name");
	plant(*state, &owner);
	assert_held(*state, "held"); /* it lives: it is this process */
}

static void a_reused_pid_is_not_the_owner(void **state)
{
	struct claim_owner owner = myself();

	owner.start_time--;
	plant(*state, &owner);
	assert_string_equal(state_of(*state, "demo", "state"), "stale");
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void a_dead_host_is_waited_for(void **state)
{
	struct claim_owner owner = myself();

	owner.boot++;
	owner.machine++;
	strcpy(owner.host, "elsewhere.example");
	plant(*state, &owner);
	assert_held(*state, "unknown");
	set_expiry(*state, -5);
	assert_held(*state, "expired");
	set_expiry(*state, -11);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static int wait_for_it(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	peer_say(self, lock_within(lock, RELOCK_FOREVER));
	relock_lock_close(lock);
	return 0;
}

static void the_death_of_a_holder_wakes_its_waiters(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer holder = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&holder), 1);
	struct peer waiter = peer_start(wait_for_it, *state);
	wait_until_blocked(waiter.pid, SYS_ppoll);
	int64_t start = now();
	kill(holder.pid, SIGKILL);
	assert_int_equal(peer_hear(&waiter), 0);
	assert_true(now() - start < RELOCK_SECOND); /* not by its look once a second */
	assert_int_equal(peer_reap(&waiter), 0);
	peer_kill(&holder);
}

/* What is no lock file */

static void assert_stuck(const struct fixture *fixture)
{
	relock_lock *lock = handle(fixture, "demo");

	assert_string_equal(state_of(fixture, "demo", "state"), "unknown");
	assert_string_equal(state_of(fixture, "demo", "look-at"), path_of(fixture, "demo"));
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), path_of(fixture, "demo")));
	assert_int_equal(lock_within(lock, RELOCK_MILLISECOND), -ETIMEDOUT);
	relock_lock_close(lock);
}

static void assert_stuck_but_for_force(const struct fixture *fixture)
{
	assert_stuck(fixture);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
}

static void put_file(const struct fixture *fixture, const void *content, size_t length)
{
	int fd = open(path_of(fixture, "demo"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, content, length), length);
	close(fd);
	set_expiry(fixture, -3600);
}

static void an_empty_file_stays(void **state)
{
	put_file(*state, "", 0);
	assert_stuck_but_for_force(*state);
}

static void a_binary_file_stays(void **state)
{
	put_file(*state, "\0\xff|\n|\x7f|1|2", 10);
	assert_stuck_but_for_force(*state);
}

static void a_long_file_stays(void **state)
{
	enum { LENGTH = 1024 * 1024 };
	char *content = malloc(LENGTH);

	memset(content, '|', LENGTH);
	put_file(*state, content, LENGTH);
	free(content);
	assert_stuck_but_for_force(*state);
}

static void a_folder_stays(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(mkdir(path_of(fixture, "demo"), 0700), 0);
	assert_stuck(fixture);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -EISDIR);
	assert_int_equal(rmdir(path_of(fixture, "demo")), 0);
	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
}

static void a_link_to_elsewhere_stays_and_so_does_what_it_leads_to(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(symlink("/etc/passwd", path_of(fixture, "demo")), 0);
	assert_stuck_but_for_force(fixture);
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static int try_as_nobody(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	relock_lock *lock = handle(fixture, "demo");

	if (chmod(fixture->folder, 0777) < 0 || setegid(65534) < 0 || seteuid(65534) < 0)
		return 1;
	peer_say(self, try_lock(lock));
	peer_say(self, strstr(relock_error_message(), path_of(fixture, "demo")) != NULL);
	return 0;
}

static void an_unreadable_file_stays(void **state)
{
	put_file(*state, "secret", 6);
	assert_int_equal(chmod(path_of(*state, "demo"), 0600), 0);
	struct peer peer = peer_start(try_as_nobody, *state);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(peer_reap(&peer), 0);
}

/* It could be the claim of a waiter. */
static void a_lock_file_that_names_anothers_claim_takes_nothing_away(void **state)
{
	const struct fixture *fixture = *state;
	struct claim_owner owner = myself();
	char name[NAME_MAX + 1], path[400];
	struct stat status;

	owner.start_time--; /* gone */
	assert_int_equal(claim_name_write(name, "", "demo", &owner), 0);
	snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_int_not_equal(fd, -1);
	close(fd);
	put_file(fixture, path, strlen(path));
	assert_int_equal(try_elsewhere(fixture, "demo"), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), "claim file"));
	assert_int_equal(stat(path, &status), 0);
}

/* What the dead have left */

/* A hold of this owner, whose removal has begun; `right` is what says so. */
static void plant_half_removed(const struct fixture *fixture, const struct claim_owner *owner,
			       const struct claim_owner *remover, char right[400])
{
	char name[NAME_MAX + 1], claim[400];

	plant(fixture, owner);
	assert_int_equal(claim_name_write(name, "", "demo", owner), 0);
	snprintf(claim, sizeof claim, "%s/%s", fixture->folder, name);
	assert_int_equal(claim_name_write(name, ".", "demo", remover), 0);
	snprintf(right, 400, "%s/%s", fixture->folder, name);
	assert_int_equal(rename(claim, right), 0);
}

static void a_lock_is_taken_over_from_who_died_removing_it(void **state)
{
	struct claim_owner owner = myself(), remover = myself();
	char right[400];

	owner.start_time--;
	remover.start_time--;
	plant_half_removed(*state, &owner, &remover, right);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void a_lock_is_not_taken_over_from_who_is_removing_it(void **state)
{
	struct claim_owner owner = myself(), remover = myself();
	char right[400];

	owner.start_time--;
	plant_half_removed(*state, &owner, &remover, right);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), right));
}

static int break_demo(const struct fixture *fixture)
{
	return relock_break(fixture->store, "demo", NULL);
}

/* Who would go on to unlink the next one's. */
static void nor_by_force(void **state)
{
	struct claim_owner owner = myself(), remover = myself();
	char right[400];

	plant_half_removed(*state, &owner, &remover, right);
	assert_int_equal(break_demo(*state), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), right));
	assert_int_equal(access(right, F_OK), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
}

static void force_takes_it_over_from_who_cannot_be_seen_and_had_the_time(void **state)
{
	struct claim_owner owner = myself(), remover = myself();
	char right[400];

	remover.machine ^= 2;
	remover.boot ^= 2;
	plant_half_removed(*state, &owner, &remover, right);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(break_demo(*state), 0);
	assert_int_equal(access(right, F_OK), -1);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

/* Once the breaker has looked for the second time, for a status and to break. */
static int remove_when_looked_at_twice(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	struct inotify_event event;
	int fd = inotify_init1(IN_CLOEXEC);

	if (inotify_add_watch(fd, path_of(fixture, "demo"), IN_OPEN | IN_CLOSE) < 0)
		return 1;
	peer_say(self, 1);
	/* Of events that are the same, one after the other, the second is dropped. */
	for (int opened = 0; opened < 2;) {
		if (read(fd, &event, sizeof event) < 0)
			return 2;
		opened += event.mask & IN_OPEN ? 1 : 0;
	}
	return unlink(path_of(fixture, "demo")) == 0 ? 0 : 3;
}

static void force_waits_for_who_is_removing_it(void **state)
{
	struct claim_owner owner = myself(), remover = myself();
	char right[400];

	plant_half_removed(*state, &owner, &remover, right);
	struct peer peer = peer_start(remove_when_looked_at_twice, *state);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(break_demo(*state), 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(access(right, F_OK), 0); /* it is the remover's to remove */
}

static void claims_of_the_dead_are_removed(void **state)
{
	const struct fixture *fixture = *state;
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(count_files(fixture), 1);
	peer_kill(&peer);
	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
	assert_int_equal(count_files(fixture), 0);
}

static int hold_and_exit(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	exit(try_lock(lock) == 0 ? 0 : 1);
}

static void an_ordinary_end_gives_back(void **state)
{
	struct peer peer = peer_start(hold_and_exit, *state);

	assert_int_equal(peer_reap(&peer), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_non_null(state_of(*state, "demo", "released"));
	assert_int_equal(count_files(*state), 0);
}

static void old_history_is_pruned(void **state)
{
	const struct fixture *fixture = *state;
	size_t removed = 0;

	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
	assert_int_equal(relock_store_prune(fixture->store, 3600 * RELOCK_SECOND, &removed), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_equal(removed, 1);
	assert_null(state_of(fixture, "demo", "released"));
	assert_int_equal(count_files(fixture), 0);
}

static void lists_have_each_lock_once(void **state)
{
	const struct fixture *fixture = *state;
	struct claim_owner owner = myself();
	struct relock_status **list;
	relock_lock *lock = handle(fixture, "b");
	size_t count;

	plant(fixture, &owner); /* without a record */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_list(fixture->store, 0, &list, &count), 0);
	assert_int_equal(count, 2);
	assert_string_equal(list[0]->name, "b");
	assert_string_equal(list[1]->name, "demo");
	relock_list_free(list, count);
	relock_lock_close(lock);
}

/* Names */

static void a_host_is_called_what_etc_hosts_says(void **state)
{
	static const char hosts[] = "# comment a.b\n127.0.0.1\tlocalhost\n"
				    "10.0.0.7 box box.example.com # x\n::1 localhost\n";
	char name[64];

	host_name_by_text(hosts, "box", name, sizeof name);
	assert_string_equal(name, "box.example.com");
	host_name_by_text(hosts, "localhost", name, sizeof name);
	assert_string_equal(name, "localhost");
	host_name_by_text(hosts, "a.b", name, sizeof name);
	assert_string_equal(name, "a.b");
	host_name_by_text("", "lonely", name, sizeof name);
	assert_string_equal(name, "lonely");
}

static void claim_names_are_read_as_written(void **state)
{
	struct claim_owner owner = myself(), read;
	char name[NAME_MAX + 1];

	owner.turn = 0xfffffff0;
	assert_int_equal(claim_name_write(name, "", "demo", &owner), 0);
	assert_true(claim_name_read(name, "demo", &read));
	assert_true(read.is_known);
	assert_string_equal(read.host, owner.host);
	assert_int_equal(read.pid, owner.pid);
	assert_true(read.number == owner.number && read.boot == owner.boot);
	assert_int_equal(read.turn, owner.turn);
	claim_name_turn(name);
	assert_true(claim_name_read(name, "demo", &read));
	assert_int_equal(read.turn, owner.turn + 1);
	/* flufl.lock's, by its own separator and by another. */
	assert_true(claim_name_read("demo|host.example|12|34567", "demo", &read));
	assert_false(read.is_known);
	assert_true(claim_name_read("demo^host^12^34567", "demo", &read));
	assert_false(claim_name_read("demo|host|0|3", "demo", &read));
	assert_false(claim_name_read("demo|host|12", "demo", &read));
	assert_false(claim_name_read("demo|host|x|3", "demo", &read));
	assert_false(claim_name_read("demo2|host|1|3", "demo", &read));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_link(shared_and_inherited_are_refused),
		test_link(names_that_flufl_could_not_read_are_refused),
		test_link(a_lifetime_is_the_time_of_the_lock_file),
		test_link(refresh_without_a_hold_says_so),
		test_ofd(refresh_of_a_store_without_lifetimes_is_a_check),
		test_link(a_hold_is_refreshed_if_asked_for),
		test_link(programs_from_before_lifetimes_are_served),
		test_link(a_clock_that_is_ahead_breaks_no_living_hold),
		test_link(a_clock_that_is_behind_makes_a_dead_holders_lock_no_older),
		test_link(a_clock_that_is_ahead_breaks_flufls_lock_only_when_it_was_seen_so_long),
		test_link(a_server_says_what_time_it_is),
		test_link(an_expired_lock_is_broken_though_its_owner_lives),
		test_link(a_token_is_not_told_of_a_broken_hold),
		test_link(another_pid_namespace_is_not_tested),
		test_link(another_machine_of_the_same_name_is_not_tested),
		test_link(a_machine_that_nobody_knows_is_not_tested),
		test_link(another_boot_of_this_machine_has_ended_it),
		test_link(a_host_that_was_renamed_is_still_this_one),
		test_link(a_reused_pid_is_not_the_owner),
		test_link(a_dead_host_is_waited_for),
		test_link(the_death_of_a_holder_wakes_its_waiters),
		test_link(an_empty_file_stays),
		test_link(a_binary_file_stays),
		test_link(a_long_file_stays),
		test_link(a_folder_stays),
		test_link(a_link_to_elsewhere_stays_and_so_does_what_it_leads_to),
		test_link(an_unreadable_file_stays),
		test_link(a_lock_file_that_names_anothers_claim_takes_nothing_away),
		test_link(a_lock_is_taken_over_from_who_died_removing_it),
		test_link(a_lock_is_not_taken_over_from_who_is_removing_it),
		test_link(nor_by_force),
		test_link(force_takes_it_over_from_who_cannot_be_seen_and_had_the_time),
		test_link(force_waits_for_who_is_removing_it),
		test_link(claims_of_the_dead_are_removed),
		test_link(an_ordinary_end_gives_back),
		test_link(old_history_is_pruned),
		test_link(lists_have_each_lock_once),
		cmocka_unit_test(a_host_is_called_what_etc_hosts_says),
		cmocka_unit_test(claim_names_are_read_as_written),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
