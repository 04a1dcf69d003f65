/*
 * The run: starts the processes, kills some of them, reaps all, watches that
 * something moves, and looks at what is left in the end.
 *
 * This process waits on one futex (log.news) for grants, failures, and, by
 * way of SIGCHLD's handler, for ends of children.  It adopts the children of
 * those it kills (PR_SET_CHILD_SUBREAPER).
 */
#include "oracle.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES_MAX = 64, HARMS = 4 };

struct state {
	struct oracle_run run;
	struct life *workers[PROCESSES_MAX]; /* NULL: not running */
	uint64_t random;
	uint64_t next_harms[HARMS]; /* grants */
	pid_t stopped;              /* by SIGSTOP; 0: nobody */
	uint64_t last_sequence;
	struct timespec last_movement;
};

/* ThreadSanitizer asks for this.  It would keep each process that ends, with
 * its locks, for one more second, and take a thread that was in a timed wait
 * when another ended the process for one that nobody would have joined. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "atexit_sleep_ms=0:report_thread_leaks=0";
}

static struct oracle_log *sigchld_log;

static void on_sigchld(int signal)
{
	int saved = errno;

	log_wake(&sigchld_log->news);
	errno = saved;
}

const char *failure_name(enum failure_kind kind)
{
	static const char *const names[] = {
		[FAILURE_NONE] = "nothing",        [FAILURE_OVERLAP] = "overlap",
		[FAILURE_TOKEN] = "token",         [FAILURE_LOST_WAKE_UP] = "lost wake-up",
		[FAILURE_STUCK] = "stuck",         [FAILURE_LEFT_BEHIND] = "left behind",
		[FAILURE_LOST_HOLD] = "lost hold", [FAILURE_ERROR] = "error",
		[FAILURE_CRASH] = "crash",
	};

	return names[kind];
}

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void oracle_lock_name(uint32_t lock, char name[32])
{
	snprintf(name, 32, "oracle-%u", (unsigned)lock);
}

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
	return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

/* Starting, killing, reaping */

static size_t count_parties(const struct oracle_options *options)
{
	size_t count = 1;

	while (count <= OTHERS_MAX && options->others[count - 1].driver)
		count++;
	return count;
}

static struct oracle_party party_of(const struct oracle_options *options, size_t number)
{
	struct oracle_party party = {options->driver, options->url};

	if (number > 0) {
		party.driver = options->others[number - 1].driver;
		if (options->others[number - 1].url)
			party.url = options->others[number - 1].url;
	}
	return party;
}

static void start_worker(struct state *state, unsigned slot)
{
	const struct oracle_options *options = &state->run.options;
	uint64_t seed = random_next(&state->random);
	struct life *life = life_make(state->run.log);

	if (!life) {
		log_fail(state->run.log, FAILURE_ERROR, "the log is full");
		return;
	}
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid == 0) {
		signal(SIGCHLD, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
		life->pid = getpid();
		struct oracle_party party = party_of(options, slot % count_parties(options));
		state->run.options.url = party.url;
		if (options->preload && slot % 2 == 1) {
			recruit(&state->run, life, party.driver, seed);
			_exit(EXIT_FAILURE);
		}
		exit(worker(&state->run, life, party.driver, seed));
	}
	if (pid < 0) {
		log_fail(state->run.log, FAILURE_ERROR, "fork: %s", strerror(errno));
		return;
	}
	life->pid = pid;
	life->way = party_of(options, slot % count_parties(options)).driver->name;
	state->workers[slot] = life;
}

static struct life *choose_worker(struct state *state)
{
	return state->workers[random_next(&state->random) % state->run.options.processes];
}

static bool is_holding(const struct life *life)
{
	for (size_t i = 0; i < SEATS_MAX; i++)
		if (life->seats[i].entry != 0)
			return true;
	return false;
}

static bool is_waiting(const struct life *life)
{
	for (size_t i = 0; i < SEATS_MAX; i++)
		if (life->seats[i].waits_for != 0)
			return true;
	return false;
}

static void kill_somebody(struct state *state)
{
	struct oracle_log *log = state->run.log;
	struct life *life = choose_worker(state);

	if (!life || !life_doom(log, life))
		return;
	bool holding = is_holding(life), waiting = is_waiting(life);
	kill(life->pid, SIGKILL);
	log_count(log, COUNT_KILLED);
	if (holding)
		log_count(log, COUNT_KILLED_HOLDING);
	if (waiting)
		log_count(log, COUNT_KILLED_WAITING);
}

/* Who waits has its handlers, with and without SA_RESTART: see worker(). */
static void signal_somebody(struct state *state)
{
	struct life *life = choose_worker(state);

	for (unsigned i = 0; i < state->run.options.processes; i++) {
		if (life && is_waiting(life))
			break;
		life = state->workers[i];
	}
	if (!life || !is_waiting(life))
		return;
	kill(life->pid, random_one_in(&state->random, 2) ? SIGUSR1 : SIGUSR2);
	log_count(state->run.log, COUNT_SIGNALLED);
}

/* Until something else happens, or for a moment: it may hold what all others
 * wait for. */
static void stop_somebody(struct state *state)
{
	struct life *life = choose_worker(state);

	if (!life)
		return;
	kill(life->pid, SIGSTOP);
	state->stopped = life->pid;
	log_count(state->run.log, COUNT_STOPPED);
}

/* Ours to reap, so the number is still its own, or nobody's. */
static void continue_the_stopped(struct state *state)
{
	if (state->stopped)
		kill(state->stopped, SIGCONT);
	state->stopped = 0;
}

static void crash_something(struct state *state)
{
	const struct oracle_options *options = &state->run.options;
	size_t count = count_parties(options);
	struct oracle_party party = party_of(options, random_next(&state->random) % count);

	if (!party.driver->crash)
		return;
	int result = party.driver->crash(party.url);
	if (result < 0)
		log_fail(state->run.log, FAILURE_ERROR, "%s: its server cannot be killed: %s",
			 party.url, strerrordesc_np(-result));
	log_count(state->run.log, COUNT_CRASHED);
}

/* What is done to the processes every so many grants. */
static void do_harm(struct state *state)
{
	const struct oracle_options *options = &state->run.options;
	struct oracle_log *log = state->run.log;
	const struct {
		unsigned every;
		void (*act)(struct state *state);
	} harms[HARMS] = {
		{options->kill_every, kill_somebody},
		{options->signal_every, signal_somebody},
		{options->stop_every, stop_somebody},
		{options->crash_every, crash_something},
	};
	uint64_t alarm = UINT64_MAX;

	for (size_t i = 0; i < HARMS; i++) {
		if (harms[i].every == 0)
			continue;
		if (state->next_harms[i] == 0)
			state->next_harms[i] = harms[i].every;
		if (log->grants >= state->next_harms[i]) {
			harms[i].act(state);
			state->next_harms[i] = log->grants + harms[i].every;
		}
		if (state->next_harms[i] < alarm)
			alarm = state->next_harms[i];
	}
	log->alarm = alarm;
}

static struct life *find_life(struct oracle_log *log, pid_t pid)
{
	for (size_t i = 0; i < ACTIVE_MAX; i++)
		if (log->active[i] && log->lives[log->active[i] - 1].pid == pid)
			return &log->lives[log->active[i] - 1];
	return NULL;
}

/* One of our own workers, or the child of one that has died. */
static void ended(struct state *state, pid_t pid, int status)
{
	struct oracle_log *log = state->run.log;
	struct life *life = find_life(log, pid);

	if (!life)
		return; /* judged by its parent, which died before it could reap */
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && life->forks == DOOMED;
	if (!killed && !(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS))
		log_fail(log, FAILURE_CRASH, "pid %d ended with %s %d", (int)pid,
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	life_end(log, life);
	for (unsigned slot = 0; slot < state->run.options.processes; slot++)
		if (state->workers[slot] == life)
			state->workers[slot] = NULL;
}

/* False if there is no child left. */
static bool reap(struct state *state)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		ended(state, pid, status);
	return pid == 0;
}

static void kill_all(struct state *state)
{
	struct oracle_log *log = state->run.log;
	siginfo_t info;
	int status;

	for (;;) {
		for (size_t i = 0; i < ACTIVE_MAX; i++) {
			uint32_t number = log->active[i];
			pid_t pid = number ? log->lives[number - 1].pid : 0;
			/* Children of workers become ours when those are dead. */
			if (pid > 0 &&
			    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | WNOHANG) == 0)
				kill(pid, SIGKILL);
		}
		pid_t pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno != EINTR)
			return;
		struct life *life = find_life(log, pid);
		if (life)
			life_end(log, life);
	}
}

/* Looking at a lock from outside */

/* 0 if it can be had at once, by a handle made for this. */
static int try_lock(const struct oracle_options *options, uint32_t lock)
{
	const struct oracle_wish at_once = {.timeout = 0};
	void *store = NULL, *handle = NULL;
	char name[32];

	oracle_lock_name(lock, name);
	int result = options->driver->store_open(&store, options->url);
	if (result < 0)
		return result;
	result = options->driver->open(&handle, store, name);
	if (result == 0)
		result = options->driver->acquire(handle, &at_once);
	if (handle)
		options->driver->close(handle);
	options->driver->store_close(store);
	return result;
}

static pid_t find_seat(struct oracle_log *log, uint32_t lock, bool holder)
{
	for (size_t i = 0; i < ACTIVE_MAX; i++) {
		uint32_t number = log->active[i];
		struct life *life = number ? &log->lives[number - 1] : NULL;
		for (size_t k = 0; life && k < SEATS_MAX; k++) {
			uint64_t entry = life->seats[k].entry;
			if (holder ? entry && (entry >> 1 & 127) == lock
				   : life->seats[k].waits_for == lock + 1)
				return life->pid;
		}
	}
	return 0;
}

/* What the kernel says that a process has locked, by which descriptor. */
static void print_kernel_locks(pid_t pid)
{
	char path[300], line[256];
	struct dirent *entry;

	snprintf(path, sizeof path, "/proc/%d/fdinfo", (int)pid);
	DIR *dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", (int)pid, entry->d_name);
		FILE *file = fopen(path, "re");
		while (file && fgets(line, sizeof line, file))
			if (strncmp(line, "lock:", 5) == 0)
				fprintf(stderr, "oracle:   descriptor %s: %s", entry->d_name,
					line + 6);
		if (file)
			fclose(file);
	}
	if (dir)
		closedir(dir);
}

/* Who is where. */
static void print_seats(const struct oracle_log *log)
{
	for (size_t i = 0; i < ACTIVE_MAX; i++) {
		uint32_t number = log->active[i];
		if (number == 0)
			continue;
		const struct life *life = &log->lives[number - 1];
		fprintf(stderr, "oracle: pid %d (%s%s%s):", (int)life->pid,
			life->way ? life->way : "child",
			life->forks == DOOMED ? ", doomed"
			: life->forks > 0     ? ", forking"
					      : "",
			kill(life->pid, 0) == 0 ? "" : ", gone");
		for (size_t k = 0; k < SEATS_MAX; k++) {
			uint64_t entry = life->seats[k].entry;
			if (entry)
				fprintf(stderr, " [%zu] inside %u%s", k,
					(unsigned)(entry >> 1 & 127), entry & 1 ? " shared" : "");
			if (life->seats[k].waits_for)
				fprintf(stderr, " [%zu] waits for %u", k,
					(unsigned)life->seats[k].waits_for - 1);
			if (life->child_of_seat[k])
				fprintf(stderr, " [%zu] has a child", k);
		}
		fputs("\n", stderr);
		print_kernel_locks(life->pid);
	}
}

/* Nothing has moved for long: why? */
static void diagnose(struct state *state)
{
	struct oracle_log *log = state->run.log;
	int patience = state->run.options.patience;

	for (uint32_t lock = 0; lock < state->run.options.locks; lock++) {
		pid_t waiter = find_seat(log, lock, false), holder = find_seat(log, lock, true);
		int result = waiter ? try_lock(&state->run.options, lock) : 0;
		if (waiter && result == 0)
			log_fail(
				log, FAILURE_LOST_WAKE_UP,
				"lock %u: free, but pid %d waits for it, and nothing has moved for "
				"%d s",
				(unsigned)lock, (int)waiter, patience);
		else if (waiter && !holder)
			log_fail(log, FAILURE_LEFT_BEHIND,
				 "lock %u: pid %d waits for it, nobody is inside, but it is not to "
				 "be had (%s)",
				 (unsigned)lock, (int)waiter, strerrorname_np(-result));
	}
	log_fail(log, FAILURE_STUCK, "nothing has moved for %d s", patience);
}

static void watch_movement(struct state *state)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (state->last_sequence != state->run.log->sequence) {
		state->last_sequence = state->run.log->sequence;
		state->last_movement = now;
	} else if (seconds_between(&state->last_movement, &now) > state->run.options.patience) {
		diagnose(state);
	}
}

static void check_leftovers(struct state *state)
{
	struct oracle_log *log = state->run.log;

	for (uint32_t lock = 0; lock < state->run.options.locks; lock++) {
		int result = try_lock(&state->run.options, lock);
		if (result < 0)
			log_fail(log, FAILURE_LEFT_BEHIND,
				 "lock %u: all processes have gone, but it is not to be had: %s",
				 (unsigned)lock, strerrorname_np(-result));
	}
}

/* The report */

static void print_report(const struct state *state, double seconds)
{
	const struct oracle_options *options = &state->run.options;
	_Atomic uint64_t *n = state->run.log->counts;
	uint64_t grants = state->run.log->grants;

	for (size_t i = 0; i < count_parties(options); i++) {
		struct oracle_party party = party_of(options, i);
		printf("%s%s on %s", i > 0 ? ", " : "", party.driver->name, party.url);
	}
	printf("%s%s, seed %" PRIu64 ": %" PRIu64 " grants in %.1f s (%.0f/s)\n",
	       options->preload ? ", half of them under " : "",
	       options->preload ? options->preload : "", options->seed, grants, seconds,
	       (double)grants / seconds);
	if (options->quiet)
		return;
	printf("  granted    %" PRIu64 " exclusive, %" PRIu64 " shared; at once %" PRIu64
	       ", in time %" PRIu64 ", for ever %" PRIu64 ", by conversion %" PRIu64 "\n",
	       n[COUNT_EXCLUSIVE], n[COUNT_SHARED], n[COUNT_AT_ONCE], n[COUNT_TIMED],
	       n[COUNT_FOREVER], n[COUNT_CONVERTED]);
	printf("  refused    %" PRIu64 " at once, %" PRIu64 " timed out, %" PRIu64
	       " interrupted, %" PRIu64 " for themselves; %" PRIu64 " conversions\n",
	       n[COUNT_REFUSED], n[COUNT_TIMED_OUT], n[COUNT_INTERRUPTED], n[COUNT_DEADLOCKS],
	       n[COUNT_NOT_CONVERTED]);
	printf("  given back %" PRIu64 " by release, %" PRIu64 " by close, %" PRIu64
	       " processes ended inside\n",
	       n[COUNT_RELEASED], n[COUNT_CLOSED], n[COUNT_EXITED]);
	printf("  killed     %" PRIu64 " processes, %" PRIu64 " holding, %" PRIu64
	       " waiting; %" PRIu64 " times the next came in before they were dead\n",
	       n[COUNT_KILLED], n[COUNT_KILLED_HOLDING], n[COUNT_KILLED_WAITING], n[COUNT_OVERRUN]);
	printf("  signals    %" PRIu64 " to waiters; stopped %" PRIu64 "; servers killed %" PRIu64
	       "\n",
	       n[COUNT_SIGNALLED], n[COUNT_STOPPED], n[COUNT_CRASHED]);
	printf("  forked     %" PRIu64 " heirs, %" PRIu64 " bystanders\n", n[COUNT_HEIRS],
	       n[COUNT_BYSTANDERS]);
	printf("  broken     %" PRIu64 ", and told so %" PRIu64 "\n", n[COUNT_BROKEN],
	       n[COUNT_STALE]);
}

static void print_failure(const struct state *state)
{
	const struct oracle_log *log = state->run.log;

	fprintf(stderr, "oracle: %s: %s\noracle: seed %" PRIu64 ", on %s; what happened last:\n",
		failure_name((enum failure_kind)log->failure),
		log->failure_written ? log->failure_text : "(its witness died)",
		state->run.options.seed, state->run.options.url);
	log_print_events(log);
}

/* The run */

static void serve(struct state *state)
{
	const struct oracle_options *options = &state->run.options;
	struct oracle_log *log = state->run.log;

	for (unsigned slot = 0; slot < options->processes; slot++)
		start_worker(state, slot);
	for (;;) {
		uint32_t news = log->news;
		bool any = reap(state);
		if (log->failure != FAILURE_NONE || (!any && log->stop))
			return;
		continue_the_stopped(state);
		if (!log->stop)
			do_harm(state);
		for (unsigned slot = 0; slot < options->processes && !log->stop; slot++)
			if (!state->workers[slot])
				start_worker(state, slot);
		watch_movement(state);
		log_wait(&log->news, news, state->stopped ? 20 : 500);
	}
}

static void run(struct state *state)
{
	struct sigaction before, action = {.sa_handler = on_sigchld, .sa_flags = SA_RESTART};
	struct timespec start, end;
	int was_subreaper = 0;

	fflush(NULL); /* children must not print it again */
	sigchld_log = state->run.log;
	sigaction(SIGCHLD, &action, &before);
	prctl(PR_GET_CHILD_SUBREAPER, &was_subreaper);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	clock_gettime(CLOCK_MONOTONIC, &start);
	state->last_movement = start;
	serve(state);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (state->run.log->failure != FAILURE_NONE)
		print_seats(state->run.log);
	kill_all(state);
	if (state->run.log->failure == FAILURE_NONE)
		check_leftovers(state);
	prctl(PR_SET_CHILD_SUBREAPER, was_subreaper);
	sigaction(SIGCHLD, &before, NULL);
	print_report(state, seconds_between(&start, &end));
	if (state->run.log->failure != FAILURE_NONE)
		print_failure(state);
}

static uint32_t lives_needed(const struct oracle_options *options)
{
	/* Each grant can lead to a kill, an exit and a fork, but rarely does. */
	uint64_t lives = 1024 + options->grants / 2;

	return lives > 1000000 ? 1000000 : (uint32_t)lives;
}

static bool any_holds_by_process(const struct oracle_options *options)
{
	for (size_t i = 0; i < count_parties(options); i++)
		if (party_of(options, i).driver->holds_by_process)
			return true;
	return false;
}

enum failure_kind oracle(const struct oracle_options *options)
{
	struct state state = {
		.run = {.options = *options},
		.random = options->seed,
	};

	if (options->processes == 0 || options->processes > PROCESSES_MAX || options->locks == 0 ||
	    options->locks > LOCKS_MAX || options->threads == 0) {
		fprintf(stderr, "oracle: 1 to %d processes, 1 to %d locks, 1 thread or more\n",
			PROCESSES_MAX, LOCKS_MAX);
		return FAILURE_ERROR;
	}
	if (options->locks < LOCKS_OF_A_PROCESS && any_holds_by_process(options)) {
		fprintf(stderr, "oracle: %d locks or more, where a process is the holder\n",
			LOCKS_OF_A_PROCESS);
		return FAILURE_ERROR;
	}
	state.run.log = log_make(lives_needed(options));
	if (!state.run.log) {
		fprintf(stderr, "oracle: no shared memory: %s\n", strerror(errno));
		return FAILURE_ERROR;
	}
	state.run.log->wanted = options->grants;
	run(&state);
	enum failure_kind failure = (enum failure_kind)state.run.log->failure;
	log_free(state.run.log);
	return failure;
}
