/*
 * Holds for others: the record is of who holds now, whoever did so before by the
 * same handle.
 */
#include "fixture.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct relock_on_behalf somebody = {
	.via = RELOCK_VIA_MOUNT,
	.pid = 4711,
	.start_time = 12345,
	.uid = 1000,
	.command = "backup",
	.path = "/locks",
};

static void assert_text(const char *text, const char *expected)
{
	if (expected)
		assert_string_equal(text, expected);
	else
		assert_null(text);
}

/* The last holder as it was recorded: a live one would be looked for. */
static void assert_recorded(const struct fixture *fixture, const struct relock_on_behalf *holder)
{
	struct relock_status *status;

	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	const struct relock_holder *last = &status->last;
	assert_int_equal(status->state, RELOCK_FREE);
	assert_int_equal(status->last_end, RELOCK_END_RELEASED);
	assert_int_equal(last->pid, holder->pid);
	assert_int_equal(last->start_time, holder->start_time);
	assert_int_equal(last->uid, holder->uid);
	assert_int_equal(last->via_kind, holder->via);
	assert_int_equal(last->via_pid, holder->keeper_pid ? holder->keeper_pid : getpid());
	assert_text(last->command, holder->command);
	assert_text(last->via_path, holder->path);
	assert_null(last->info);
	relock_status_free(status);
}

static void hold_for(relock_lock *lock, const struct relock_on_behalf *holder)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.on_behalf = holder;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_release(lock), 0);
}

static void each_holder_is_recorded(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "backup");
	struct relock_on_behalf holders[10];
	size_t count = 0;

	for (size_t i = 0; i < sizeof holders / sizeof *holders; i++)
		holders[i] = somebody;
	holders[++count].pid++;
	holders[++count].start_time++;
	holders[++count].uid++;
	holders[++count].command = "another";
	holders[++count].command = NULL;
	holders[++count].path = "/other";
	holders[++count].path = NULL;
	holders[++count].via = RELOCK_VIA_GET;
	holders[++count].keeper_pid = 4712;
	assert_int_equal(++count, sizeof holders / sizeof *holders);
	/* Each after each, and each twice. */
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			hold_for(lock, &holders[i]);
			hold_for(lock, &holders[i]);
			assert_recorded(fixture, &holders[i]);
			hold_for(lock, &holders[j]);
			assert_recorded(fixture, &holders[j]);
		}
	relock_lock_close(lock);
}

static void a_hold_of_its_own_is_recorded_between_two(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "backup");
	struct relock_status *status;

	hold_for(lock, &somebody);
	hold_for(lock, NULL);
	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(status->last.pid, getpid());
	assert_int_equal(status->last.via_kind, RELOCK_VIA_NONE);
	assert_null(status->last.via_path);
	relock_status_free(status);
	hold_for(lock, &somebody);
	assert_recorded(fixture, &somebody);
	relock_lock_close(lock);
}

static void an_info_ends_with_its_hold(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "backup");
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.on_behalf = &somebody;
	hold_for(lock, &somebody);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_set_info(lock, "nightly", 7), 0);
	assert_int_equal(relock_release(lock), 0);
	hold_for(lock, &somebody);
	assert_recorded(fixture, &somebody);
	relock_lock_close(lock);
}

/* A record of another mode would describe nobody. */
static void the_mode_is_recorded(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "backup");
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct relock_status *status;

	request.on_behalf = &somebody;
	for (int i = 0; i < 4; i++) {
		request.mode = i % 2 ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
		assert_int_equal(relock_acquire(lock, &request), 0);
		assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
		assert_int_equal(status->holder_count, 1);
		assert_int_equal(status->holders[0].mode, request.mode);
		assert_text(status->holders[0].command, somebody.command);
		relock_status_free(status);
		assert_int_equal(relock_release(lock), 0);
	}
	relock_lock_close(lock);
}

/* What is longer than its field is cut, each time. */
static void a_long_command_is_cut_each_time(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "backup");
	struct relock_on_behalf holder = somebody, other = somebody;
	char text[300], cut[160], other_text[300];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	memcpy(other_text, text, sizeof text);
	other_text[0] = 'y';
	memcpy(cut, text, sizeof cut);
	memcpy(cut + sizeof cut - 4, "...", 4);
	holder.command = text;
	other.command = other_text;
	for (int i = 0; i < 2; i++) {
		hold_for(lock, &other);
		hold_for(lock, &holder);
		holder.command = cut;
		assert_recorded(fixture, &holder);
		holder.command = text;
	}
	relock_lock_close(lock);
}

/* The child is the keeper then, also where the handle is its parent's. */
static int child_main(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	relock_lock *lock = handle(fixture, "backup");

	hold_for(lock, &somebody);
	pid_t child = fork();
	if (child == 0) {
		hold_for(lock, &somebody);
		_exit(0);
	}
	int status = -1;
	return waitpid(child, &status, 0) != child || status != 0 || (peer_say(self, child), 0);
}

static void a_forked_child_holds_as_itself(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(child_main, (void *)fixture);
	struct relock_on_behalf expected = somebody;

	expected.keeper_pid = peer_hear(&peer);
	assert_int_equal(peer_reap(&peer), 0);
	assert_recorded(fixture, &expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_ofd(each_holder_is_recorded),
		test_ofd(a_hold_of_its_own_is_recorded_between_two),
		test_ofd(the_mode_is_recorded),
		test_ofd(an_info_ends_with_its_hold),
		test_ofd(a_long_command_is_cut_each_time),
		test_ofd(a_forked_child_holds_as_itself),
	};

	return cmocka_run_group_tests_name("on-behalf", tests, NULL, NULL);
}
