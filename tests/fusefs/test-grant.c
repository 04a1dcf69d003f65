/*
 * Who holds and who is next, without FUSE: the state machine on a real store,
 * with answers that are written down.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "grant.h"
#include "promise.h"
#include "state.h"
#include "store-wait.h"
#include "user.h"

enum { UNANSWERED = 1, MOST = 64 };

struct asker {
	struct waiter waiter;
	int answer;   /* 0: granted */
	bool is_gone; /* does not take a grant */
};

struct bench {
	char folder[64];
	relock_store *store;
	int wake;
	struct mount mount;
	struct entry *entry;
	struct asker askers[MOST];
	size_t count;
	/* In the order of their grants. */
	struct asker *granted[2 * MOST];
	size_t granted_count;
};

static struct bench *bench;

static struct asker *asker_of(struct waiter *waiter)
{
	return (struct asker *)(void *)waiter;
}

static int granted(struct mount *mount, struct waiter *waiter)
{
	struct asker *asker = asker_of(waiter);

	if (asker->is_gone)
		return -ENOENT;
	asker->answer = 0;
	bench->granted[bench->granted_count++] = asker;
	return 0;
}

static void abandoned(struct mount *mount, struct waiter *waiter)
{
	asker_of(waiter)->answer = -ENOENT;
}

static void refused(struct mount *mount, struct waiter *waiter, int error)
{
	asker_of(waiter)->answer = error;
}

static void changed(struct entry *entry)
{
}

static const struct answers answers = {
	.granted = granted,
	.abandoned = abandoned,
	.refused = refused,
	.changed = changed,
};

static int setup(void **state)
{
	char url[80];

	bench = calloc(1, sizeof *bench);
	strcpy(bench->folder, "/tmp/relockfs-grant-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	snprintf(url, sizeof url, "ofd:%s", bench->folder);
	assert_int_equal(relock_store_open(&bench->store, url), 0);
	bench->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mount_init(&bench->mount, bench->store, "/locks", store_waits_new(bench->wake), &answers);
	assert_int_equal(state_begin(&bench->mount), 0);
	bench->entry = entry_get(&bench->mount, "backup");
	assert_non_null(bench->entry);
	/* As if the kernel knew it. */
	bench->entry->lookups = 1;
	return 0;
}

static int teardown(void **state)
{
	grant_end(&bench->mount);
	mount_end(&bench->mount);
	store_waits_free(bench->mount.waits);
	close(bench->wake);
	relock_store_close(bench->store);
	DIR *dir = opendir(bench->folder);
	for (struct dirent *file; (file = readdir(dir));)
		if (strcmp(file->d_name, ".") != 0 && strcmp(file->d_name, "..") != 0)
			unlinkat(dirfd(dir), file->d_name, 0);
	closedir(dir);
	assert_int_equal(rmdir(bench->folder), 0);
	free(bench);
	return 0;
}

static struct asker *ask_with(struct handle *handle, enum relock_mode mode, bool no_wait)
{
	struct asker *asker = &bench->askers[bench->count++];

	asker->answer = UNANSWERED;
	asker->waiter.mode = mode;
	asker->waiter.no_wait = no_wait;
	asker->waiter.process = (struct process){.pid = (pid_t)bench->count, .command = "asker"};
	asker->waiter.handle = handle;
	bool parked = grant_request(&bench->mount, &asker->waiter);
	assert_true(parked == (asker->answer == UNANSWERED));
	return asker;
}

static struct asker *ask(enum relock_mode mode, bool no_wait)
{
	struct handle *handle;

	assert_int_equal(handle_new(&handle, &bench->mount, bench->entry, O_RDWR), 0);
	return ask_with(handle, mode, no_wait);
}

/* Another thread, through the same descriptor. */
static struct asker *ask_again(const struct asker *asker, enum relock_mode mode)
{
	return ask_with(asker->waiter.handle, mode, false);
}

static void release(struct asker *asker)
{
	grant_release(&bench->mount, asker->waiter.handle);
}

/* Until the store's answer is there. */
static void take_wake(void)
{
	struct pollfd fd = {.fd = bench->wake, .events = POLLIN};
	uint64_t ignored;

	assert_int_equal(poll(&fd, 1, 20000), 1);
	assert_int_equal(read(bench->wake, &ignored, sizeof ignored), sizeof ignored);
	grant_waits_done(&bench->mount);
}

static relock_lock *hold_outside(enum relock_mode mode)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock;

	request.mode = mode;
	request.timeout = 0;
	assert_int_equal(relock_lock_open(&lock, bench->store, "backup"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	return lock;
}

static void one_after_the_other(void **state)
{
	struct asker *askers[8];

	for (size_t i = 0; i < 8; i++)
		askers[i] = ask(RELOCK_EXCLUSIVE, false);
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(bench->granted_count, i + 1);
		assert_ptr_equal(bench->granted[i], askers[i]);
		release(askers[i]);
	}
	assert_false(entry_is_held(bench->entry));
	assert_int_equal(bench->mount.held_count, 0);
	assert_int_equal(bench->mount.waiting_count, 0);
}

static void tokens_grow_from_grant_to_grant(void **state)
{
	uint64_t token = 0;

	for (size_t i = 0; i < 40; i++) {
		struct asker *asker = ask(RELOCK_EXCLUSIVE, false);
		if (i > 0)
			release(&bench->askers[i - 1]);
		while (asker->answer == UNANSWERED)
			take_wake(); /* it goes through the store now and then */
		assert_true(asker->waiter.handle->held->token > token);
		token = asker->waiter.handle->held->token;
	}
}

static void no_wait_does_not_wait(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, true);

	assert_int_equal(holder->answer, 0);
	assert_int_equal(ask(RELOCK_EXCLUSIVE, true)->answer, -EAGAIN);
	assert_int_equal(ask(RELOCK_SHARED, true)->answer, -EAGAIN);
	release(holder);
	assert_int_equal(ask(RELOCK_SHARED, true)->answer, 0);
	assert_int_equal(ask(RELOCK_SHARED, true)->answer, 0);
	assert_int_equal(ask(RELOCK_EXCLUSIVE, true)->answer, -EAGAIN);
}

static void shared_together_and_behind_an_exclusive_one(void **state)
{
	struct asker *first = ask(RELOCK_SHARED, false), *second = ask(RELOCK_SHARED, false);
	struct asker *writer = ask(RELOCK_EXCLUSIVE, false);
	struct asker *third = ask(RELOCK_SHARED, false), *fourth = ask(RELOCK_SHARED, false);

	assert_int_equal(second->answer, 0);
	assert_int_equal(third->answer, UNANSWERED);
	release(first);
	assert_int_equal(writer->answer, UNANSWERED);
	release(second);
	assert_int_equal(writer->answer, 0);
	release(writer);
	assert_int_equal(third->answer, 0);
	assert_int_equal(fourth->answer, 0);
}

static void a_writer_that_leaves_lets_the_shared_ones_behind_it_in(void **state)
{
	(void)ask(RELOCK_SHARED, false);
	struct asker *writer = ask(RELOCK_EXCLUSIVE, false), *second = ask(RELOCK_SHARED, false);

	assert_int_equal(second->answer, UNANSWERED);
	grant_withdraw(&bench->mount, &writer->waiter);
	assert_int_equal(second->answer, 0);
	assert_int_equal(writer->answer, UNANSWERED);
}

static void who_is_gone_is_passed_over(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, false), *gone = ask(RELOCK_EXCLUSIVE, false);
	struct asker *next = ask(RELOCK_EXCLUSIVE, false);

	gone->is_gone = true;
	release(holder);
	assert_int_equal(gone->answer, -ENOENT);
	assert_int_equal(next->answer, 0);
	assert_int_equal(bench->mount.held_count, 1);
}

static size_t count_holders(void)
{
	const struct handle *handle;
	size_t count = 0;

	TAILQ_FOREACH(handle, &bench->entry->holders, in_holders)
	count++;
	return count;
}

/* flock(2) by several threads, or a parent and its children, on one open file
 * description is one holder; none of the calls waits for another. */
static void one_description_asks_again(void **state)
{
	const enum relock_mode modes[] = {RELOCK_SHARED, RELOCK_EXCLUSIVE};

	for (size_t i = 0; i < 2; i++) {
		struct asker *holder = ask(RELOCK_EXCLUSIVE, false);
		struct asker *first = ask(modes[i], false);
		struct asker *between = ask(RELOCK_EXCLUSIVE, false);
		struct asker *second = ask_again(first, modes[i]);
		struct asker *third = ask_again(first, modes[i]);
		release(holder);
		assert_int_equal(first->answer, 0);
		assert_int_equal(second->answer, 0);
		assert_int_equal(third->answer, 0);
		assert_int_equal(between->answer, UNANSWERED);
		assert_int_equal(count_holders(), 1);
		release(first);
		assert_int_equal(between->answer, 0);
		release(between);
		assert_false(entry_is_held(bench->entry));
		assert_int_equal(bench->mount.held_count, 0);
	}
}

static void one_description_asks_for_both_modes(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, false);
	struct asker *first = ask(RELOCK_EXCLUSIVE, false);
	struct asker *second = ask_again(first, RELOCK_SHARED);

	/* The second converts what the first one got. */
	release(holder);
	assert_int_equal(first->answer, 0);
	assert_int_equal(second->answer, 0);
	assert_int_equal(first->waiter.handle->mode, RELOCK_SHARED);
	/* Another shares it, so that a conversion has to give it up and wait. */
	struct asker *other = ask(RELOCK_SHARED, false);
	assert_int_equal(other->answer, 0);
	release(first);
	struct asker *writer = ask(RELOCK_EXCLUSIVE, false);
	struct asker *third = ask_again(first, RELOCK_SHARED);
	struct asker *fourth = ask_again(first, RELOCK_EXCLUSIVE);
	release(other);
	assert_int_equal(writer->answer, 0);
	release(writer);
	assert_int_equal(third->answer, 0);
	assert_int_equal(fourth->answer, 0);
	assert_int_equal(count_holders(), 1);
	assert_int_equal(first->waiter.handle->mode, RELOCK_EXCLUSIVE);
	release(first);
	assert_int_equal(bench->mount.held_count, 0);
	assert_int_equal(bench->entry->again_count, 0);
}

/* The first call has returned; that the second one is killed changes nothing. */
static void one_of_two_calls_is_killed(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, false);
	struct asker *first = ask(RELOCK_EXCLUSIVE, false);
	struct asker *second = ask_again(first, RELOCK_EXCLUSIVE);

	second->is_gone = true;
	release(holder);
	assert_int_equal(first->answer, 0);
	assert_int_equal(second->answer, -ENOENT);
	assert_int_equal(count_holders(), 1);
	release(first);
	assert_false(entry_is_held(bench->entry));
}

static void a_break_tells_the_holder_and_serves_the_next(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, false), *next = ask(RELOCK_EXCLUSIVE, false);

	assert_true(grant_break(&bench->mount, bench->entry, &(struct process){.pid = 1}));
	assert_int_equal(next->answer, 0);
	assert_int_equal(grant_check(&bench->mount, holder->waiter.handle), -ESTALE);
	assert_int_equal(grant_set_info(&bench->mount, holder->waiter.handle, "x", 1), -ESTALE);
	assert_int_equal(grant_check(&bench->mount, next->waiter.handle), 0);
	/* The former holder's last close releases nothing. */
	release(holder);
	assert_int_equal(grant_check(&bench->mount, next->waiter.handle), 0);
	release(next);
	assert_false(grant_break(&bench->mount, bench->entry, &(struct process){.pid = 1}));
}

static void upgrade_and_downgrade(void **state)
{
	struct asker *first = ask(RELOCK_SHARED, false);
	struct handle *handle = first->waiter.handle;

	assert_int_equal(grant_upgrade(&bench->mount, handle), 0);
	struct asker *second = ask(RELOCK_SHARED, false);
	assert_int_equal(second->answer, UNANSWERED);
	assert_int_equal(grant_downgrade(&bench->mount, handle), 0);
	assert_int_equal(second->answer, 0);
	assert_int_equal(grant_upgrade(&bench->mount, handle), -EAGAIN);
	assert_int_equal(grant_check(&bench->mount, handle), 0);
	release(second);
	assert_int_equal(grant_upgrade(&bench->mount, handle), 0);
}

static void outside_holders_are_waited_for(void **state)
{
	relock_lock *outside = hold_outside(RELOCK_EXCLUSIVE);

	assert_int_equal(ask(RELOCK_EXCLUSIVE, true)->answer, -EAGAIN);
	struct asker *first = ask(RELOCK_EXCLUSIVE, false), *second = ask(RELOCK_EXCLUSIVE, false);
	assert_int_equal(first->answer, UNANSWERED);
	relock_lock_close(outside);
	take_wake();
	assert_int_equal(first->answer, 0);
	assert_int_equal(second->answer, UNANSWERED);
	release(first);
	assert_int_equal(second->answer, 0);
}

static void the_wait_goes_on_for_who_is_left(void **state)
{
	relock_lock *outside = hold_outside(RELOCK_EXCLUSIVE);
	struct asker *first = ask(RELOCK_EXCLUSIVE, false), *second = ask(RELOCK_EXCLUSIVE, false);

	grant_withdraw(&bench->mount, &first->waiter);
	relock_lock_close(outside);
	take_wake();
	assert_int_equal(second->answer, 0);
	/* The record is the second's, who the wait was not started for. */
	struct relock_status *status;
	assert_int_equal(relock_status(bench->store, "backup", &status), 0);
	assert_int_equal(status->state, RELOCK_HELD);
	relock_status_free(status);
}

static void the_wait_ends_with_the_last_waiter(void **state)
{
	relock_lock *outside = hold_outside(RELOCK_EXCLUSIVE);
	struct asker *only = ask(RELOCK_EXCLUSIVE, false);

	assert_non_null(bench->entry->wait);
	grant_withdraw(&bench->mount, &only->waiter);
	assert_null(bench->entry->wait);
	relock_lock_close(outside);
	relock_lock_close(hold_outside(RELOCK_EXCLUSIVE));
}

static void shared_outside_and_in_the_mount(void **state)
{
	relock_lock *outside = hold_outside(RELOCK_SHARED);
	struct asker *writer = ask(RELOCK_EXCLUSIVE, false), *reader = ask(RELOCK_SHARED, false);

	assert_int_equal(writer->answer, UNANSWERED);
	assert_int_equal(reader->answer, UNANSWERED);
	grant_withdraw(&bench->mount, &writer->waiter);
	assert_int_equal(reader->answer, 0);
	relock_lock_close(outside);
}

static void sixteen_passes_then_the_store(void **state)
{
	struct asker *askers[40];
	size_t i;

	for (i = 0; i < 40; i++)
		askers[i] = ask(RELOCK_EXCLUSIVE, false);
	for (i = 0; i < 40; i++) {
		while (askers[i]->answer == UNANSWERED)
			take_wake(); /* it has been through the store */
		assert_int_equal(askers[i]->answer, 0);
		assert_true(bench->entry->passes <= 40);
		release(askers[i]);
	}
	assert_int_equal(bench->granted_count, 40);
	for (i = 0; i < 40; i++)
		assert_ptr_equal(bench->granted[i], askers[i]);
}

static void the_state_shows_holder_info_and_queue(void **state)
{
	struct asker *holder = ask(RELOCK_EXCLUSIVE, false);
	struct relock_status *status;

	(void)ask(RELOCK_EXCLUSIVE, false);
	(void)ask(RELOCK_EXCLUSIVE, false);
	assert_int_equal(grant_set_info(&bench->mount, holder->waiter.handle, "hello", 5), 0);
	user_resolve(0);
	assert_int_equal(state_of_held(&bench->mount, bench->entry, false, &status), 0);
	assert_int_equal(status->holder_count, 1);
	assert_int_equal(status->holders[0].pid, 1);
	assert_string_equal(status->holders[0].user, "root");
	assert_string_equal(status->holders[0].command, "asker");
	assert_string_equal(status->holders[0].info, "hello");
	assert_int_equal(status->waiter_count, 2);
	assert_int_equal(status->waiter_pids[0], 2);
	assert_int_equal(status->waiter_pids[1], 3);
	relock_status_free(status);
}

static void names_idle_and_forgotten(void **state)
{
	struct mount *mount = &bench->mount;
	struct entry *other = entry_get(mount, "other");
	uint64_t id = entry_id(other);

	other->lookups = 2;
	entry_settle(mount, other);
	assert_true(other->idle);
	assert_ptr_equal(entry_get(mount, "other"), other);
	entry_forget(mount, other, 1);
	assert_ptr_equal(entry_of_id(mount, id), other);
	/* Whoever used it may come again. */
	entry_forget(mount, other, 1);
	assert_ptr_equal(entry_find(mount, "other"), other);
	entry_leave_idle(mount, other);
	entry_settle(mount, other);
	assert_null(entry_of_id(mount, id));
	assert_null(entry_find(mount, "other"));
	assert_int_equal(mount->idle_count, 0);

	/* A name that the kernel was told to forget is not kept any longer. */
	other = entry_get(mount, "other");
	other->lookups = 1;
	entry_settle(mount, other);
	entry_leave_idle(mount, other);
	entry_forget(mount, other, 1);
	assert_null(entry_find(mount, "other"));
	assert_int_equal(mount->idle_count, 0);
}

static void names_by_the_thousand(void **state)
{
	struct mount *mount = &bench->mount;
	char name[16];

	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_non_null(entry_get(mount, name));
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "%d", i);
		struct entry *entry = entry_find(mount, name);
		assert_string_equal(entry->name, name);
		entry_settle(mount, entry);
		assert_null(entry_find(mount, name));
	}
}

static void promises_are_made_once_and_kept(void **state)
{
	struct promises *promises = promises_new(NULL);

	assert_true(promise_make(promises, 10, 0, "a"));
	assert_true(promise_holds(promises, 10, 0, "a"));
	assert_false(promise_holds(promises, 10, 0, "b"));
	assert_false(promise_holds(promises, 11, 0, "a"));
	assert_false(promise_holds(promises, 10, 1, "a"));
	assert_false(promise_make(promises, 10, 0, "a"));
	assert_true(promise_make(promises, 10, 0, "a"));
	promise_end(promises, 10, 0, "a");
	assert_false(promise_holds(promises, 10, 0, "a"));
	/* Bounded, whoever is killed between its two requests. */
	for (pid_t thread = 1; thread < 10000; thread++)
		assert_true(promise_make(promises, thread, 0, "a"));
	assert_false(promise_holds(promises, 1, 0, "a"));
	assert_true(promise_holds(promises, 9999, 0, "a"));
	promises_free(promises);
}

/* Threads out of sight are all number 0. */
static void promises_to_threads_out_of_sight_are_counted(void **state)
{
	struct promises *promises = promises_new(NULL);

	assert_true(promise_make(promises, 0, 0, "a"));
	assert_true(promise_make(promises, 0, 0, "a"));
	assert_true(promise_make(promises, 0, 0, "b"));
	/* Who opens one name has not been promised the other. */
	promise_end(promises, 0, 0, "a");
	assert_true(promise_holds(promises, 0, 0, "b"));
	assert_true(promise_holds(promises, 0, 0, "a"));
	promise_end(promises, 0, 0, "a");
	assert_false(promise_holds(promises, 0, 0, "a"));
	assert_true(promise_holds(promises, 0, 0, "b"));
	promises_free(promises);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(one_after_the_other),
		CASE(tokens_grow_from_grant_to_grant),
		CASE(no_wait_does_not_wait),
		CASE(shared_together_and_behind_an_exclusive_one),
		CASE(a_writer_that_leaves_lets_the_shared_ones_behind_it_in),
		CASE(who_is_gone_is_passed_over),
		CASE(one_description_asks_again),
		CASE(one_description_asks_for_both_modes),
		CASE(one_of_two_calls_is_killed),
		CASE(a_break_tells_the_holder_and_serves_the_next),
		CASE(upgrade_and_downgrade),
		CASE(outside_holders_are_waited_for),
		CASE(the_wait_goes_on_for_who_is_left),
		CASE(the_wait_ends_with_the_last_waiter),
		CASE(shared_outside_and_in_the_mount),
		CASE(sixteen_passes_then_the_store),
		CASE(the_state_shows_holder_info_and_queue),
		CASE(names_idle_and_forgotten),
		CASE(names_by_the_thousand),
		CASE(promises_are_made_once_and_kept),
		CASE(promises_to_threads_out_of_sight_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
