/*
 * A process of the oracle: threads, each with a few handles, each handle one
 * seat of the log.  A thread that holds something never waits for ever for
 * something else, nor for a child that does, so nobody waits in a circle.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

enum { HANDLES = LOCKS_OF_A_PROCESS, THREADS_MAX = SEATS_MAX / HANDLES };

/* One handle and its hold. */
struct hand {
	struct seat *seat;
	_Atomic(void *) handle; /* NULL while it is opened: a fork may come then */
	uint32_t lock;
	bool held, shared, inherited;
};

/* One thread. */
struct visitor {
	struct oracle_run *run;
	struct oracle_log *log;
	struct life *life;
	const struct oracle_driver *driver;
	void *store;
	uint64_t random;
	struct hand hands[HANDLES];
};

/* A child of a fork sees those of the other threads. */
static struct visitor visitors[THREADS_MAX];

/* Held around a fork and around a close: what is inherited of a hold whose handle is
 * just being closed the child could not leave, for want of a handle. */
static pthread_mutex_t fork_or_close = PTHREAD_MUTEX_INITIALIZER;

static void unexpected(struct visitor *visitor, const struct hand *hand, const char *call,
		       int result)
{
	const char *(*message)(void) = visitor->driver->message;

	log_fail(visitor->log, FAILURE_ERROR, "lock %u: pid %d: %s: %s (%s)", (unsigned)hand->lock,
		 (int)getpid(), call, strerrorname_np(-result), message ? message() : "");
}

/* Whoever is doomed will not go on; who dooms it kills it. */
static void __attribute__((noreturn)) wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* Holding and not holding */

static void entered(struct visitor *visitor, struct hand *hand, bool shared, uint64_t since)
{
	struct oracle_log *log = visitor->log;
	uint64_t token;

	hand->held = true;
	hand->shared = shared;
	log_enter(log, visitor->life, hand->seat, hand->lock, shared, since);
	log_count(log, shared ? COUNT_SHARED : COUNT_EXCLUSIVE);
	if (!shared && visitor->driver->token) {
		int result = visitor->driver->token(hand->handle, &token);
		if (result == 0)
			log_token(log, hand->seat, hand->lock, token);
		/* Lost already: the release will say so, too. */
		else if (result != -ESTALE || !log_was_broken(log, hand->lock, since))
			unexpected(visitor, hand, "token", result);
	}
	uint64_t grants = atomic_fetch_add(&log->grants, 1) + 1;
	if (grants >= log->wanted)
		atomic_store(&log->stop, true);
	/* Who sets the alarm may be late. */
	if (grants >= log->alarm || grants == log->wanted)
		log_wake(&log->news);
}

/* The hold is over, by a call that said `result`. */
static void left(struct visitor *visitor, struct hand *hand, uint64_t hold, const char *call,
		 int result)
{
	hand->held = false;
	log_left(visitor->log, visitor->life, hand->seat, hold, hand->lock, result);
	if (result < 0 && result != -ESTALE)
		unexpected(visitor, hand, call, result);
}

static void give_back(struct visitor *visitor, struct hand *hand)
{
	uint64_t hold = log_leave(visitor->log, visitor->life, hand->seat);

	log_count(visitor->log, COUNT_RELEASED);
	left(visitor, hand, hold, "release", visitor->driver->release(hand->handle));
}

/* Any of them; or one of those that no other hand of this process chooses. */
static uint32_t choose_lock(struct visitor *visitor, const struct hand *hand)
{
	uint64_t random = random_next(&visitor->random);
	unsigned locks = visitor->run->options.locks;

	if (!visitor->driver->holds_by_process)
		return (uint32_t)(random % locks);
	unsigned mine = (unsigned)(hand - visitor->hands);
	return mine + HANDLES * (uint32_t)(random % ((locks - mine + HANDLES - 1) / HANDLES));
}

static void reopen(struct visitor *visitor, struct hand *hand)
{
	char name[32];

	pthread_mutex_lock(&fork_or_close);
	void *handle = atomic_exchange(&hand->handle, NULL);
	if (handle)
		visitor->driver->close(handle);
	pthread_mutex_unlock(&fork_or_close);
	hand->lock = choose_lock(visitor, hand);
	oracle_lock_name(hand->lock, name);
	int result = visitor->driver->open(&handle, visitor->store, name);
	if (result < 0)
		unexpected(visitor, hand, "open", result);
	else
		atomic_store(&hand->handle, handle);
}

/* Nobody tells the result of a release that a close makes. */
static void give_back_by_closing(struct visitor *visitor, struct hand *hand)
{
	log_leave(visitor->log, visitor->life, hand->seat);
	log_count(visitor->log, COUNT_CLOSED);
	hand->held = false;
	reopen(visitor, hand);
}

/* Outside */

static bool holds_another(const struct visitor *visitor, const struct hand *hand)
{
	for (size_t i = 0; i < HANDLES; i++)
		if (&visitor->hands[i] != hand && visitor->hands[i].held)
			return true;
	return false;
}

static bool may_be_interrupted(const struct visitor *visitor)
{
	const struct oracle_options *options = &visitor->run->options;

	return options->signal_every > 0 || options->stop_every > 0;
}

static int64_t random_timeout(struct visitor *visitor, bool may_wait_for_ever)
{
	uint64_t choice = random_next(&visitor->random) % 100;

	if (choice < 35)
		return 0;
	if (choice < 50 || !may_wait_for_ever)
		return (int64_t)(random_next(&visitor->random) % 1000000) + 1;
	return -1;
}

static int wait_and_acquire(struct visitor *visitor, struct hand *hand,
			    const struct oracle_wish *wish)
{
	if (wish->timeout != 0)
		hand->seat->waits_for = hand->lock + 1;
	int result = visitor->driver->acquire(hand->handle, wish);
	hand->seat->waits_for = 0;
	return result;
}

static void try_to_enter(struct visitor *visitor, struct hand *hand)
{
	struct oracle_wish wish = {
		.shared = !visitor->driver->exclusive_only && random_one_in(&visitor->random, 3),
		.inherit = visitor->driver->leave && random_one_in(&visitor->random, 8),
		.timeout = random_timeout(visitor, !holds_another(visitor, hand)),
	};

	hand->inherited = wish.inherit || visitor->driver->children_hold;
	uint64_t since = log_now(visitor->log);
	int result = wait_and_acquire(visitor, hand, &wish);
	if (result == 0) {
		log_count(visitor->log, wish.timeout == 0    ? COUNT_AT_ONCE
					: wish.timeout == -1 ? COUNT_FOREVER
							     : COUNT_TIMED);
		entered(visitor, hand, wish.shared, since);
	} else if (result == -EAGAIN && wish.timeout == 0) {
		log_count(visitor->log, COUNT_REFUSED);
	} else if (result == -ETIMEDOUT && wish.timeout > 0) {
		log_count(visitor->log, COUNT_TIMED_OUT);
	} else if (result == -EINTR && wish.timeout != 0 && may_be_interrupted(visitor)) {
		log_count(visitor->log, COUNT_INTERRUPTED);
	} else if (result == -EDEADLK && wish.timeout != 0 && holds_another(visitor, hand)) {
		log_count(visitor->log, COUNT_DEADLOCKS);
	} else {
		unexpected(visitor, hand, "acquire", result);
	}
}

static void break_somebody(struct visitor *visitor, struct hand *hand)
{
	char name[32];

	oracle_lock_name(hand->lock, name);
	log_break_begin(visitor->log, visitor->life, hand->seat, hand->lock);
	int result = visitor->driver->break_lock(visitor->store, name);
	log_break_end(visitor->log, visitor->life, hand->seat);
	if (result == 0)
		log_count(visitor->log, COUNT_BROKEN);
	/* -ESRCH: its holder came or went while it was looked for. */
	else if (result != -ENOENT && result != -ESRCH)
		unexpected(visitor, hand, "break", result);
}

/* Inside */

static void weaken(struct visitor *visitor, struct hand *hand)
{
	log_weaken(visitor->log, visitor->life, hand->seat);
	hand->shared = true;
	int result = visitor->driver->convert(hand->handle, true, 0);
	if (result == 0) {
		log_count(visitor->log, COUNT_CONVERTED);
		return;
	}
	uint64_t hold = log_leave(visitor->log, visitor->life, hand->seat);
	bool excused = log_was_broken(visitor->log, hand->lock, hand->seat->since);
	if (result == -ESTALE || !excused)
		left(visitor, hand, hold, "convert to shared", result);
	else /* broken on the way; the release will say so */
		left(visitor, hand, hold, "release", visitor->driver->release(hand->handle));
}

static void strengthen(struct visitor *visitor, struct hand *hand)
{
	bool in_place = visitor->driver->upgrades_in_place(hand->handle);
	uint64_t since = hand->seat->since, hold = 0;

	if (!in_place)
		hold = log_leave(visitor->log, visitor->life, hand->seat);
	int result = visitor->driver->convert(hand->handle, false, random_timeout(visitor, false));
	if (result == 0) {
		log_count(visitor->log, COUNT_CONVERTED);
		entered(visitor, hand, false, since);
	} else if (result == -EAGAIN || result == -ETIMEDOUT ||
		   (result == -EINTR && may_be_interrupted(visitor))) {
		log_count(visitor->log, COUNT_NOT_CONVERTED);
		if (!in_place)
			entered(visitor, hand, true, since);
	} else if (in_place) {
		hold = log_leave(visitor->log, visitor->life, hand->seat);
		left(visitor, hand, hold, "convert to exclusive", result);
	} else if (result == -ESTALE) { /* lost to another: flock(2) */
		hand->held = false;
	} else {
		left(visitor, hand, hold, "convert to exclusive", result);
	}
}

static void touch(struct visitor *visitor, struct hand *hand)
{
	int result = visitor->driver->touch(hand->handle, random_next(&visitor->random));

	if (result == 0)
		return;
	uint64_t hold = log_leave(visitor->log, visitor->life, hand->seat);
	left(visitor, hand, hold, "touch", result);
}

/* With the hold, and those of the other handles. */
static void exit_inside(struct visitor *visitor)
{
	if (!life_doom(visitor->log, visitor->life))
		return;
	log_count(visitor->log, COUNT_EXITED);
	_exit(EXIT_SUCCESS);
}

/* Forks */

/* What another thread holds for its own children is none of ours. */
static void drop_strangers(const struct hand *mine)
{
	for (size_t i = 0; i < THREADS_MAX; i++) {
		for (size_t k = 0; k < HANDLES; k++) {
			struct hand *hand = &visitors[i].hands[k];
			void *handle = hand == mine ? NULL : hand->handle;
			if (handle && visitors[i].driver->leave)
				visitors[i].driver->leave(handle);
		}
	}
}

static void wait_until_parted(struct life *life)
{
	while (life->parted == 0) {
		if (getppid() == 1) /* the whole run is gone */
			_exit(EXIT_FAILURE);
		log_wait(&life->parted, 0, 1000);
	}
}

/* A hold ends with a release, an exit, or a kill. */
static void end_child(struct visitor *visitor, struct hand *hand)
{
	uint64_t choice = random_next(&visitor->random) % 3;

	log_step(visitor->log, visitor->life, hand->seat);
	if (choice == 0)
		give_back(visitor, hand);
	else
		life_doom(visitor->log, visitor->life);
	if (choice == 1)
		kill(getpid(), SIGKILL);
	_exit(EXIT_SUCCESS);
}

/* Holds what the parent held. */
static void heir(struct visitor *visitor, struct hand *hand)
{
	log_count(visitor->log, COUNT_HEIRS);
	wait_until_parted(visitor->life);
	end_child(visitor, hand);
}

/* Holds nothing, whatever the parent does; later takes the lock itself. */
static void bystander(struct visitor *visitor, struct hand *hand)
{
	struct oracle_wish wish = {.timeout = -1};

	log_count(visitor->log, COUNT_BYSTANDERS);
	int result = visitor->driver->check(hand->handle);
	if (result != -ENOENT)
		log_fail(visitor->log, FAILURE_OVERLAP,
			 "lock %u: pid %d holds it, a child of its holder, which must hold nothing",
			 (unsigned)hand->lock, (int)getpid());
	log_wake(&visitor->life->checked);
	wait_until_parted(visitor->life);
	hand->held = false;
	hand->inherited = false;
	uint64_t since = log_now(visitor->log);
	result = wait_and_acquire(visitor, hand, &wish);
	if (result == 0) {
		entered(visitor, hand, false, since);
		end_child(visitor, hand);
	}
	unexpected(visitor, hand, "acquire in a child", result);
}

static void __attribute__((noreturn))
child_main(struct visitor *visitor, struct hand *hand, struct life *life)
{
	life->pid = getpid();
	visitor->life = life;
	hand->seat = &life->seats[0];
	visitor->random = random_next(&visitor->random);
	drop_strangers(hand);
	if (hand->inherited)
		heir(visitor, hand);
	else
		bystander(visitor, hand);
	_exit(EXIT_FAILURE);
}

static void reap_child(struct visitor *visitor, struct life *life, pid_t pid)
{
	siginfo_t ended;
	int status;

	/* Judged before it is reaped: if we are killed in between, whoever
	 * reaps it then does it again. */
	while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0)
		if (errno != EINTR)
			return;
	bool planned = ended.si_code == CLD_EXITED ? ended.si_status == EXIT_SUCCESS
						   : ended.si_status == SIGKILL;
	if (!planned)
		log_fail(visitor->log, FAILURE_CRASH, "pid %d, a child, ended with status %d",
			 (int)pid, ended.si_status);
	life_end(visitor->log, life);
	waitpid(pid, &status, 0);
}

/* Lets the child look while its parent holds. */
static void wait_until_checked(struct life *child, pid_t pid)
{
	siginfo_t ended = {0};

	while (child->checked == 0 && ended.si_pid == 0) {
		log_wait(&child->checked, 0, 100);
		if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT | WNOHANG) < 0)
			return;
	}
}

/* A life is not killed in a fork, so that each child has a parent that knows
 * its pid, or an entry in the log. */
static void begin_fork(struct life *life)
{
	int forks = life->forks;

	do
		if (forks == DOOMED)
			wait_for_the_end();
	while (!atomic_compare_exchange_weak(&life->forks, &forks, forks + 1));
}

static void fork_inside(struct visitor *visitor, struct hand *hand)
{
	struct oracle_log *log = visitor->log;
	bool inherited = hand->inherited;

	begin_fork(visitor->life);
	struct life *child = life_make(log);
	if (!child) {
		atomic_fetch_sub(&visitor->life->forks, 1);
		return;
	}
	size_t seat = (size_t)(hand->seat - visitor->life->seats);
	visitor->life->child_of_seat[seat] = (uint32_t)(child - log->lives) + 1;
	if (inherited)
		log_enter_with(&child->seats[0], hand->seat);
	pthread_mutex_lock(&fork_or_close);
	pid_t pid = fork();
	pthread_mutex_unlock(&fork_or_close);
	if (pid == 0)
		child_main(visitor, hand, child);
	if (pid < 0)
		unexpected(visitor, hand, "fork", -errno);
	child->pid = pid;
	atomic_fetch_sub(&visitor->life->forks, 1);
	if (pid < 0)
		return;
	if (!inherited && random_one_in(&visitor->random, 2))
		wait_until_checked(child, pid);
	uint64_t hold = log_leave(log, visitor->life, hand->seat);
	int result = inherited ? visitor->driver->leave(hand->handle)
			       : visitor->driver->release(hand->handle);
	if (inherited && result == 0)
		hand->held = false; /* how the hold ended, the heir will say */
	else
		left(visitor, hand, hold, inherited ? "leave" : "release", result);
	part_from_child(log, &visitor->life->child_of_seat[seat]);
	reap_child(visitor, child, pid);
}

/* The days of a thread */

static void do_something_inside(struct visitor *visitor, struct hand *hand)
{
	const struct oracle_options *options = &visitor->run->options;
	const struct oracle_driver *driver = visitor->driver;
	uint64_t choice = random_next(&visitor->random) % 100;

	log_step(visitor->log, visitor->life, hand->seat);
	if (random_one_in(&visitor->random, options->exit_every))
		exit_inside(visitor);
	else if ((driver->check || driver->children_hold) && !holds_another(visitor, hand) &&
		 random_one_in(&visitor->random, options->fork_every))
		fork_inside(visitor, hand);
	else if (choice < 50)
		give_back(visitor, hand);
	else if (choice < 54)
		give_back_by_closing(visitor, hand);
	else if (choice < 64 && driver->touch)
		touch(visitor, hand);
	else if (choice < 74 && driver->convert && hand->shared)
		strengthen(visitor, hand);
	else if (choice < 74 && driver->convert)
		weaken(visitor, hand);
	else
		sched_yield();
}

static void step(struct visitor *visitor)
{
	const struct oracle_options *options = &visitor->run->options;
	struct hand *hand = &visitor->hands[random_next(&visitor->random) % HANDLES];

	if (visitor->driver->break_lock && random_one_in(&visitor->random, options->break_every))
		break_somebody(visitor, hand);
	if (hand->held)
		do_something_inside(visitor, hand);
	else if (random_one_in(&visitor->random, 16))
		reopen(visitor, hand);
	else
		try_to_enter(visitor, hand);
}

static void *visit(void *argument)
{
	struct visitor *visitor = argument;

	for (size_t i = 0; i < HANDLES; i++)
		reopen(visitor, &visitor->hands[i]);
	while (!visitor->log->stop)
		step(visitor);
	for (size_t i = 0; i < HANDLES; i++) {
		if (visitor->hands[i].held)
			give_back(visitor, &visitor->hands[i]);
		pthread_mutex_lock(&fork_or_close);
		if (visitor->hands[i].handle)
			visitor->driver->close(visitor->hands[i].handle);
		visitor->hands[i].handle = NULL;
		pthread_mutex_unlock(&fork_or_close);
	}
	return NULL;
}

static void on_signal(int signal)
{
}

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	if (!dir)
		return -1;
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

int worker(struct oracle_run *run, struct life *life, const struct oracle_driver *driver,
	   uint64_t seed)
{
	unsigned threads = driver->holds_by_process ? 1 : run->options.threads;
	struct sigaction ends_waits = {.sa_handler = on_signal};
	struct sigaction restarts = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	pthread_t ids[THREADS_MAX];
	sigset_t signals;
	int before = count_descriptors();
	void *store = NULL;

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	sigaction(SIGUSR1, &ends_waits, NULL);
	sigaction(SIGUSR2, &restarts, NULL);
	int result = driver->store_open(&store, run->options.url);
	if (result < 0) {
		log_fail(run->log, FAILURE_ERROR, "%s: %s", run->options.url,
			 strerrordesc_np(-result));
		return EXIT_FAILURE;
	}
	for (unsigned i = 0; i < threads; i++) {
		visitors[i] = (struct visitor){.run = run,
					       .log = run->log,
					       .life = life,
					       .driver = driver,
					       .store = store,
					       .random = seed + i};
		for (size_t k = 0; k < HANDLES; k++)
			visitors[i].hands[k].seat = &life->seats[i * HANDLES + k];
	}
	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, visit, &visitors[i]) != 0)
			return EXIT_FAILURE;
	/* They are for the others, who wait for locks. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	driver->store_close(store);
	int after = count_descriptors();
	if (after != before)
		log_fail(run->log, FAILURE_LEFT_BEHIND,
			 "pid %d had %d descriptors at its start, and has %d at its end",
			 (int)getpid(), before, after);
	return EXIT_SUCCESS;
}
