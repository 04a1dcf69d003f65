/*
 * The state of a name is where its lock in the store is:
 *
 *	holders       each has a handle of the store (struct handle.lock)
 *	in_hand       held in the store, its holder has gone, the next is not
 *	              chosen: only between the end of a hold and settle_queue()
 *	wait          a thread waits for it, see store-wait.h
 *	none of them  not ours
 *
 * An exclusive lock goes from holder to holder with relock_pass(), without
 * being free in between.  Whoever waits in the store directly would wait for
 * ever, so after MAX_PASSES in a row the mount queues up behind them: a wait
 * is started while the lock is still held, and when its thread sleeps in the
 * kernel the lock is released.  The kernel wakes those who wait for one lock
 * in the order they came, so all who were there before have their turn.
 *
 * Threads, or a parent and its children, may call flock(2) at the same time on
 * one open file description.  When it holds, by the first of these calls, the
 * others are conversions of what it holds, as in flock(2), and it is their turn.
 */
#include "grant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store-wait.h"

enum { MAX_PASSES = 16 };

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

static void changed(struct mount *mount, struct entry *entry)
{
	entry->changes++;
	mount->answers->changed(entry);
}

/* The request of a waiter, at once or not at all. */
static void describe(const struct mount *mount, const struct waiter *waiter,
		     struct relock_on_behalf *holder, struct relock_request *request)
{
	const struct process *process = &waiter->process;

	*holder = (struct relock_on_behalf){
		.via = RELOCK_VIA_MOUNT,
		.pid = process->pid,
		.start_time = process->start_time,
		.uid = process->uid,
		.command = process->command[0] ? process->command : NULL,
		.path = mount->path,
		.keeper_pid = mount->keeper_pid,
		.keeper_start_time = mount->keeper_start_time,
	};
	*request = (struct relock_request)RELOCK_REQUEST_INIT;
	request->mode = waiter->mode;
	request->timeout = 0;
	request->on_behalf = holder;
}

static int take_handle_of_store(struct mount *mount, struct entry *entry, relock_lock **ret)
{
	if (!entry->spare)
		return relock_lock_open(ret, mount->store, entry->name);
	*ret = entry->spare;
	entry->spare = NULL;
	return 0;
}

static void put_handle_of_store(struct entry *entry, relock_lock *lock)
{
	if (entry->spare)
		relock_lock_close(lock);
	else
		entry->spare = lock;
}

/* What the library says of a hold that has been broken: -ESTALE to the first
 * call, whichever that is; to others that nobody holds it, or somebody else. */
static bool is_lost(int result)
{
	return result == -ESTALE || result == -ENOENT || result == -EPERM;
}

/* A hold that is given up.  Whoever broke it has said so in the record; -ESTALE
 * is for its holder. */
static int give_back(struct entry *entry, relock_lock *lock)
{
	int result = relock_release(lock);

	put_handle_of_store(entry, lock);
	return is_lost(result) ? -ESTALE : result;
}

static void keep_hold(struct mount *mount, const struct handle *handle)
{
	struct ledger_handle *kept = handle->kept;

	if (!kept)
		return;
	kept->order = ++ledger_head(mount->ledger)->last_order;
	kept->token = handle->held->token;
	kept->since = handle->held->since;
	kept->fd = relock_lock_fd(handle->held->lock);
	kept->mode = (uint8_t)handle->mode;
	kept->holder = handle->held->holder;
	ledger_write_order();
	kept->hold = HOLDS;
	ledger_write_order();
}

static void keep_end_of_hold(const struct handle *handle)
{
	if (!handle->kept)
		return;
	handle->kept->hold = (uint8_t)handle->hold;
	ledger_write_order();
}

static void keep_mode(const struct handle *handle, enum relock_mode mode)
{
	if (!handle->kept)
		return;
	handle->kept->token = handle->held->token;
	ledger_write_order();
	handle->kept->mode = (uint8_t)mode;
	ledger_write_order();
}

/* The handle is prepared for it. */
static void begin_hold(struct mount *mount, struct waiter *waiter, relock_lock *lock)
{
	struct handle *handle = waiter->handle;
	struct entry *entry = handle->entry;

	waiter->began = true;
	handle->hold = HOLDS;
	handle->mode = waiter->mode;
	*handle->held = (struct held){
		.holder = waiter->process,
		.lock = lock,
		.since = now(),
		.descriptor = -1,
	};
	(void)relock_token(lock, &handle->held->token);
	keep_hold(mount, handle);
	TAILQ_INSERT_TAIL(&entry->holders, handle, in_holders);
	mount->held_count++;
	changed(mount, entry);
}

/* Leaves the lock in hand, or gives it back if there are other holders, or
 * another hold is in hand.  How the hold has ended is known when it is not in
 * hand any more. */
static void end_hold(struct mount *mount, struct handle *handle, enum hold after, int *ret_result)
{
	struct entry *entry = handle->entry;
	relock_lock *lock = handle->held->lock;

	handle->hold = after;
	keep_end_of_hold(handle);
	handle_drop_hold(handle);
	TAILQ_REMOVE(&entry->holders, handle, in_holders);
	mount->held_count--;
	if (entry_is_held(entry) || entry->in_hand) {
		int result = give_back(entry, lock);
		if (ret_result)
			*ret_result = result;
	} else {
		entry->in_hand_result = ret_result;
		entry->in_hand = lock;
		entry->in_hand_mode = handle->mode;
	}
	changed(mount, entry);
}

static void give_back_in_hand(struct entry *entry)
{
	relock_lock *lock = entry->in_hand;
	int *result = entry->in_hand_result;

	entry->in_hand = NULL;
	entry->in_hand_result = NULL;
	entry->passes = 0;
	int how = give_back(entry, lock);
	if (result)
		*result = how;
}

static int start_wait(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;
	struct relock_on_behalf holder;
	struct relock_request request;
	relock_lock *lock;

	describe(mount, waiter, &holder, &request);
	int result = take_handle_of_store(mount, entry, &lock);
	if (result < 0)
		return result;
	result = store_wait_start(&entry->wait, mount->waits, entry, lock, &request);
	if (result < 0) {
		put_handle_of_store(entry, lock);
		/* "No more threads" must not look like "held by another". */
		return result == -EAGAIN ? -ENOMEM : result;
	}
	return 0;
}

/* Takes the lock from all holders of the mount; it is in hand then. */
static bool break_holders(struct mount *mount, struct entry *entry)
{
	struct handle *handle;
	bool broken = false;

	while ((handle = TAILQ_FIRST(&entry->holders))) {
		end_hold(mount, handle, HOLD_BROKEN, NULL);
		broken = true;
	}
	return broken;
}

/* Ends the wait; the lock is in hand if it came to that. */
static int end_wait(struct mount *mount, struct entry *entry)
{
	relock_lock *lock;
	enum relock_mode mode = store_wait_mode(entry->wait);

	int result = store_wait_end(entry->wait, &lock);
	entry->wait = NULL;
	if (result < 0) {
		put_handle_of_store(entry, lock);
		return result;
	}
	/* The store gave it to us a second time: then it was taken from those
	 * who held it. */
	if (mode == RELOCK_EXCLUSIVE)
		(void)break_holders(mount, entry);
	if (entry->in_hand)
		give_back_in_hand(entry);
	entry->in_hand = lock;
	entry->in_hand_mode = mode;
	entry->passes = 0;
	return 0;
}

/* The store's other waiters are due, and the mount has its place behind them. */
static bool must_yield(struct mount *mount, struct waiter *next)
{
	struct entry *entry = next->handle->entry;

	if (entry->passes < MAX_PASSES)
		return false;
	if (!entry->wait && start_wait(mount, next) < 0)
		return false;
	return store_wait_is_queued(entry->wait);
}

static int pass_on(struct mount *mount, struct waiter *next)
{
	struct entry *entry = next->handle->entry;
	struct relock_on_behalf holder;
	struct relock_request request;

	describe(mount, next, &holder, &request);
	int result = handle_prepare_hold(next->handle);
	if (result == 0)
		result = relock_pass(entry->in_hand, &request);
	if (result < 0)
		return result;
	relock_lock *lock = entry->in_hand;
	entry->in_hand = NULL;
	entry->in_hand_result = NULL; /* as it should be */
	entry->passes++;
	begin_hold(mount, next, lock);
	return 0;
}

static int take(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;
	struct relock_on_behalf holder;
	struct relock_request request;
	relock_lock *lock;

	int result = handle_prepare_hold(waiter->handle);
	if (result == 0)
		result = take_handle_of_store(mount, entry, &lock);
	if (result < 0)
		return result;
	describe(mount, waiter, &holder, &request);
	result = relock_acquire(lock, &request);
	if (result < 0) {
		handle_drop_hold(waiter->handle);
		put_handle_of_store(entry, lock);
		return result;
	}
	begin_hold(mount, waiter, lock);
	return 0;
}

/* The store has converted the handle's hold, or says that it is over. */
static int converted(struct mount *mount, struct handle *handle, enum relock_mode mode, int result)
{
	if (is_lost(result)) {
		end_hold(mount, handle, HOLD_BROKEN, NULL);
		return -ESTALE;
	}
	if (result < 0)
		return result;
	handle->mode = mode;
	if (mode == RELOCK_SHARED || relock_token(handle->held->lock, &handle->held->token) < 0)
		handle->held->token = 0;
	changed(mount, handle->entry);
	return 0;
}

static int downgrade(struct mount *mount, struct handle *handle)
{
	/* In the ledger first: who is taken up as shared becomes it. */
	keep_mode(handle, RELOCK_SHARED);
	int result = relock_convert(handle->held->lock, RELOCK_SHARED, 0);
	if (result < 0)
		keep_mode(handle, RELOCK_EXCLUSIVE);
	return converted(mount, handle, RELOCK_SHARED, result);
}

static int upgrade(struct mount *mount, struct handle *handle)
{
	struct entry *entry = handle->entry;

	if (TAILQ_FIRST(&entry->holders) != handle || TAILQ_NEXT(handle, in_holders))
		return -EAGAIN;
	int result = converted(mount, handle, RELOCK_EXCLUSIVE,
			       relock_convert(handle->held->lock, RELOCK_EXCLUSIVE, 0));
	if (result == 0)
		keep_mode(handle, RELOCK_EXCLUSIVE);
	return result;
}

/* Another call has made the handle hold.  -EAGAIN: not in this mode, and not any
 * more: as flock(2), it waits for the other mode without the lock. */
static int serve_holder(struct mount *mount, const struct waiter *waiter)
{
	struct handle *handle = waiter->handle;
	int result = 0;

	if (waiter->mode == RELOCK_SHARED && handle->mode == RELOCK_EXCLUSIVE)
		result = downgrade(mount, handle);
	else if (waiter->mode == RELOCK_EXCLUSIVE && handle->mode == RELOCK_SHARED)
		result = upgrade(mount, handle);
	if (result == -EAGAIN)
		end_hold(mount, handle, HOLDS_NOTHING, NULL);
	return result;
}

/*
 * What can be done at once for the waiter whose turn it is: 0, it holds now;
 * -EAGAIN, it has to wait; other errors are its answer.
 */
static int serve(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;

	if (waiter->handle->hold == HOLDS) {
		int result = serve_holder(mount, waiter);
		if (result != -EAGAIN || TAILQ_FIRST(&entry->queue) != waiter)
			return result;
	}
	if (entry->in_hand) {
		if (entry->in_hand_mode == waiter->mode && !must_yield(mount, waiter) &&
		    pass_on(mount, waiter) == 0)
			return 0;
		give_back_in_hand(entry);
	}
	struct handle *present = TAILQ_FIRST(&entry->holders);
	if (present && (present->mode == RELOCK_EXCLUSIVE || waiter->mode == RELOCK_EXCLUSIVE))
		return -EAGAIN;
	if (entry->wait)
		return -EAGAIN;
	return take(mount, waiter);
}

static struct ledger_waiter *keep_waiter(struct mount *mount, const struct waiter *waiter)
{
	return ledger_add_waiter(mount->ledger, &(struct ledger_waiter){
							.request = ledger_request(mount->ledger),
							.handle = handle_id(waiter->handle),
							.mode = (uint8_t)waiter->mode,
							.by_open = waiter->by_open,
							.wish = waiter->wish,
							.process = waiter->process,
						});
}

static void enter_queue(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;

	TAILQ_INSERT_TAIL(&entry->queue, waiter, in_queue);
	waiter->queued = true;
	waiter->again = waiter->handle->waiters++ > 0;
	entry->again_count += waiter->again;
	entry->waiter_count++;
	mount->waiting_count++;
	changed(mount, entry);
}

static void leave_queue(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;

	TAILQ_REMOVE(&entry->queue, waiter, in_queue);
	waiter->queued = false;
	waiter->handle->waiters--;
	entry->again_count -= waiter->again;
	entry->waiter_count--;
	mount->waiting_count--;
	changed(mount, entry);
}

static void answer(struct mount *mount, struct waiter *waiter, int result)
{
	if (result < 0) {
		mount->answers->refused(mount, waiter, result);
	} else if (mount->answers->granted(mount, waiter) < 0) {
		if (waiter->began)
			end_hold(mount, waiter->handle, HOLDS_NOTHING, NULL);
		mount->answers->abandoned(mount, waiter);
	}
}

/* The ledger has its request until that is answered. */
static void answer_queued(struct mount *mount, struct waiter *waiter, int result)
{
	struct ledger_waiter *kept = waiter->kept;

	leave_queue(mount, waiter);
	answer(mount, waiter, result);
	ledger_remove_waiter(mount->ledger, kept);
}

/* Somebody else holds it; does the mount wait for that? */
static int wait_for_store(struct mount *mount, struct waiter *first)
{
	struct entry *entry = first->handle->entry;

	if (entry_is_held(entry) || entry->wait)
		return 0;
	return start_wait(mount, first);
}

static struct waiter *whose_turn(const struct entry *entry)
{
	struct waiter *waiter;

	if (entry->again_count > 0)
		TAILQ_FOREACH(waiter, &entry->queue, in_queue)
	if (waiter->handle->hold == HOLDS)
		return waiter;
	return TAILQ_FIRST(&entry->queue);
}

/* Serves those at the head of the queue that can be served, and leaves things
 * as they have to be until something happens again.  The entry may be gone
 * afterwards. */
static void settle_queue(struct mount *mount, struct entry *entry)
{
	struct waiter *first;

	/* An answer can end a handle, and with it the last interest in the
	 * entry. */
	entry->pins++;
	while (!mount->is_recovering) {
		while ((first = whose_turn(entry))) {
			int result = serve(mount, first);
			if (result == -EAGAIN && first != TAILQ_FIRST(&entry->queue))
				continue; /* it has given up what it held */
			if (result == -EAGAIN && (result = wait_for_store(mount, first)) == 0)
				break;
			answer_queued(mount, first, result);
		}
		/* The one it was started for may have left. */
		if (!entry->wait || (first && store_wait_mode(entry->wait) == first->mode))
			break;
		(void)end_wait(mount, entry);
	}
	if (entry->in_hand)
		give_back_in_hand(entry);
	entry->pins--;
	entry_settle(mount, entry);
}

/* relock_release() by who does not hold the lock changes nothing, and says
 * whether anybody does: the cheapest look there is, without a word about who. */
static bool is_held_outside(struct mount *mount, struct entry *entry, const char *name)
{
	relock_lock *lock;

	if (entry && entry->spare)
		return relock_release(entry->spare) == -EPERM;
	if (relock_lock_open(&lock, mount->store, name) < 0)
		return false;
	bool held = relock_release(lock) == -EPERM;
	if (entry)
		entry->spare = lock;
	else
		relock_lock_close(lock);
	return held;
}

bool grant_is_held(struct mount *mount, const char *name)
{
	struct entry *entry = entry_find(mount, name);

	return (entry && (entry_is_held(entry) || entry->wait)) ||
	       is_held_outside(mount, entry, name);
}

/* A process with one thread that waits for what it holds waits for ever. */
static bool waits_for_itself(const struct mount *mount, const struct waiter *waiter)
{
	const struct entry *entry = waiter->handle->entry;
	const struct handle *handle;

	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	if (process_is_same(&handle->held->holder, &waiter->process) &&
	    process_is_single_threaded(&waiter->process) &&
	    process_has_open(&waiter->process, mount->device, entry_id(entry)))
		return true;
	return false;
}

bool grant_request(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;

	int result = TAILQ_EMPTY(&entry->queue) ? serve(mount, waiter) : -EAGAIN;
	if (result == -EAGAIN && !waiter->no_wait) {
		if (waiter->by_open && waits_for_itself(mount, waiter))
			result = -EDEADLK;
		else
			result = wait_for_store(mount, waiter);
		if (result == 0) {
			waiter->kept = keep_waiter(mount, waiter);
			enter_queue(mount, waiter);
			return true;
		}
	}
	entry->pins++;
	answer(mount, waiter, result);
	/* Nobody was there to take it: the next one may be. */
	if (entry->in_hand)
		settle_queue(mount, entry);
	entry->pins--;
	entry_settle(mount, entry);
	return false;
}

void grant_withdraw(struct mount *mount, struct waiter *waiter)
{
	struct entry *entry = waiter->handle->entry;

	leave_queue(mount, waiter);
	ledger_remove_waiter(mount->ledger, waiter->kept);
	/* It may have kept shared ones behind it from being served. */
	settle_queue(mount, entry);
}

int grant_release(struct mount *mount, struct handle *handle)
{
	int result = handle->hold == HOLD_BROKEN ? -ESTALE : 0;

	if (handle->hold == HOLDS) {
		end_hold(mount, handle, HOLDS_NOTHING, &result);
		settle_queue(mount, handle->entry);
	} else {
		handle->hold = HOLDS_NOTHING;
		keep_end_of_hold(handle);
	}
	return result;
}

/* The store says that the handle's hold is over. */
static int lose(struct mount *mount, struct handle *handle)
{
	end_hold(mount, handle, HOLD_BROKEN, NULL);
	settle_queue(mount, handle->entry);
	return -ESTALE;
}

int grant_downgrade(struct mount *mount, struct handle *handle)
{
	int result = downgrade(mount, handle);

	settle_queue(mount, handle->entry);
	return result;
}

int grant_upgrade(struct mount *mount, struct handle *handle)
{
	int result = upgrade(mount, handle);

	if (result == -ESTALE)
		settle_queue(mount, handle->entry);
	return result;
}

/* A request to break that comes a second time must not break what has been
 * granted since: each grant has a number. */
bool grant_break_was_done(const struct mount *mount, const struct entry *entry)
{
	const struct handle *first = entry ? TAILQ_FIRST(&entry->holders) : NULL;
	uint64_t request = ledger_request(mount->ledger);

	if (request == 0 || ledger_head(mount->ledger)->breaking_request != request)
		return false;
	return !first || !first->kept ||
	       first->kept->order > ledger_head(mount->ledger)->breaking_order;
}

static void keep_break(struct mount *mount)
{
	uint64_t request = ledger_request(mount->ledger);

	if (request == 0)
		return;
	ledger_head(mount->ledger)->breaking_order = ledger_head(mount->ledger)->last_order;
	ledger_write_order();
	ledger_head(mount->ledger)->breaking_request = request;
	ledger_write_order();
}

bool grant_break(struct mount *mount, struct entry *entry, const struct process *by)
{
	const struct handle *handle;

	keep_break(mount);
	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	(void)relock_mark_broken(handle->held->lock, by->pid, by->uid, by->command);
	bool broken = break_holders(mount, entry);

	if (broken)
		settle_queue(mount, entry);
	return broken;
}

int grant_check(struct mount *mount, struct handle *handle)
{
	if (handle->hold == HOLD_BROKEN)
		return -ESTALE;
	if (handle->hold != HOLDS)
		return -EPERM;
	int result = relock_check(handle->held->lock);
	if (is_lost(result))
		return lose(mount, handle);
	return result;
}

int grant_set_info(struct mount *mount, struct handle *handle, const void *info, size_t length)
{
	int result = grant_check(mount, handle);
	if (result < 0)
		return result;
	if (length > RELOCK_INFO_MAX)
		return -EFBIG;
	char *copy = length > 0 ? malloc(length) : NULL;
	if (length > 0 && !copy)
		return -ENOMEM;
	if (copy)
		memcpy(copy, info, length);
	result = relock_set_info(handle->held->lock, info, length);
	/* A lock without a record can be looked at in the mount all the same. */
	if (result < 0 && result != -ENODATA) {
		free(copy);
		return is_lost(result) ? lose(mount, handle) : result;
	}
	free(handle->held->info);
	handle->held->info = copy;
	handle->held->info_length = (uint32_t)length;
	changed(mount, handle->entry);
	return 0;
}

void grant_waits_done(struct mount *mount)
{
	struct store_wait *wait;

	while ((wait = store_waits_next_done(mount->waits))) {
		struct entry *entry = store_wait_entry(wait);
		struct waiter *first = TAILQ_FIRST(&entry->queue);
		int result = end_wait(mount, entry);
		if (result < 0 && first)
			answer_queued(mount, first, result);
		settle_queue(mount, entry);
	}
}

/* What the ledger does not have, the store's record has, or nobody. */
static void take_up_info(struct handle *handle)
{
	char *info;
	size_t length;

	if (relock_info(handle->held->lock, &info, &length) < 0)
		return;
	handle->held->info = info;
	handle->held->info_length = (uint32_t)length;
}

int grant_restore_hold(struct mount *mount, struct handle *handle)
{
	const struct ledger_handle *kept = handle->kept;
	struct waiter waiter = {.handle = handle, .mode = kept->mode, .process = kept->holder};
	struct relock_on_behalf holder;
	struct relock_request request;
	relock_lock *lock;

	describe(mount, &waiter, &holder, &request);
	int result = handle_prepare_hold(handle);
	if (result == 0)
		result = relock_lock_open(&lock, mount->store, handle->entry->name);
	if (result == 0) {
		result = relock_adopt(lock, kept->fd, &request);
		if (result < 0)
			relock_lock_close(lock);
	}
	if (result < 0) {
		handle_drop_hold(handle);
		handle->hold = HOLD_BROKEN;
		keep_end_of_hold(handle);
		return result;
	}
	handle->hold = HOLDS;
	handle->mode = kept->mode;
	*handle->held = (struct held){
		.holder = kept->holder,
		.lock = lock,
		.since = kept->since,
		.token = kept->mode == RELOCK_SHARED ? 0 : kept->token,
		.descriptor = -1,
	};
	take_up_info(handle);
	TAILQ_INSERT_TAIL(&handle->entry->holders, handle, in_holders);
	mount->held_count++;
	return 0;
}

void grant_restore_waiter(struct mount *mount, struct waiter *waiter)
{
	enter_queue(mount, waiter);
}

void grant_recovered(struct mount *mount)
{
	struct table_node *node, *next;

	mount->is_recovering = false;
	for (node = table_next(&mount->entries_by_id, NULL); node; node = next) {
		struct entry *entry = TABLE_OWNER(node, struct entry, by_id);
		/* Neither may go: the one at hand, nor the one that is next. */
		entry->pins++;
		if ((next = table_next(&mount->entries_by_id, node)))
			TABLE_OWNER(next, struct entry, by_id)->pins++;
		settle_queue(mount, entry);
		entry->pins--;
		if (next)
			TABLE_OWNER(next, struct entry, by_id)->pins--;
		entry_settle(mount, entry);
	}
}

void grant_end(struct mount *mount)
{
	struct table_node *node;

	for (node = table_next(&mount->entries_by_id, NULL); node;
	     node = table_next(&mount->entries_by_id, node)) {
		struct entry *entry = TABLE_OWNER(node, struct entry, by_id);
		struct waiter *waiter;
		entry->pins++; /* for good: mount_end() frees it */
		while ((waiter = TAILQ_FIRST(&entry->queue)))
			answer_queued(mount, waiter, -ENODEV);
		(void)break_holders(mount, entry);
		settle_queue(mount, entry);
	}
}
