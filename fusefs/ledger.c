#include "ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * The memory is a head and five tables.  Pages come into being when they are
 * touched: a table has room for more than there can be, and costs what was ever
 * in use at once.
 */
enum { ENTRIES, LONG_ENTRIES, HANDLES, WAITERS, ERRANDS, TABLES };
enum { HEAD_SIZE = 32768, SLOTS_MAX = 1 << 20 };
_Static_assert(sizeof(struct ledger_head) <= HEAD_SIZE, "the head's room");
_Static_assert(sizeof(struct ledger_entry) + RELOCK_NAME_MAX + sizeof ".history/" <=
		       LEDGER_LONG_ENTRY_SIZE,
	       "a name's room");

static const size_t slot_sizes[TABLES] = {
	[ENTRIES] = LEDGER_ENTRY_SIZE,
	[LONG_ENTRIES] = LEDGER_LONG_ENTRY_SIZE,
	[HANDLES] = sizeof(struct ledger_handle),
	[WAITERS] = sizeof(struct ledger_waiter),
	[ERRANDS] = sizeof(struct ledger_errand),
};

struct slots {
	unsigned char *base;
	uint32_t *free; /* those below `high` that are */
	size_t free_count, free_room;
	size_t high; /* no slot from here on was ever used */
};

struct ledger {
	int fd;
	struct ledger_head *head;
	struct slots tables[TABLES];
};

static size_t total_size(void)
{
	size_t size = HEAD_SIZE;

	for (int i = 0; i < TABLES; i++)
		size += slot_sizes[i] * SLOTS_MAX;
	return size;
}

/* Each kind of slot begins with its number. */
static uint64_t *number_of(unsigned char *slot)
{
	return (uint64_t *)(void *)slot;
}

static unsigned char *slot_at(const struct ledger *ledger, int table, size_t index)
{
	return ledger->tables[table].base + index * slot_sizes[table];
}

static bool note_free(struct slots *slots, size_t index)
{
	if (slots->free_count == slots->free_room) {
		size_t room = slots->free_room ? 2 * slots->free_room : 64;
		uint32_t *larger = reallocarray(slots->free, room, sizeof *larger);
		if (!larger)
			return false;
		slots->free = larger;
		slots->free_room = room;
	}
	slots->free[slots->free_count++] = (uint32_t)index;
	return true;
}

/* Where a table was last in use, is found by whoever opens it: reading what was
 * never touched costs no memory, but time, so it ends at the first hole. */
static void find_free(struct ledger *ledger, int table)
{
	struct slots *slots = &ledger->tables[table];
	off_t begin = HEAD_SIZE;

	for (int i = 0; i < table; i++)
		begin += (off_t)(slot_sizes[i] * SLOTS_MAX);
	/* Files in memory know which of their pages have been written to. */
	off_t hole = lseek(ledger->fd, begin, SEEK_HOLE);
	size_t touched = hole > begin ? (size_t)(hole - begin) / slot_sizes[table] + 1 : 0;
	if (touched > SLOTS_MAX)
		touched = SLOTS_MAX;
	for (size_t i = 0; i < touched; i++)
		if (*number_of(slot_at(ledger, table, i)) != 0)
			slots->high = i + 1;
	for (size_t i = slots->high; i-- > 0;)
		if (*number_of(slot_at(ledger, table, i)) == 0)
			(void)note_free(slots, i);
}

int ledger_open(struct ledger **ret, int fd)
{
	struct ledger *ledger = calloc(1, sizeof *ledger);
	struct stat status;

	if (!ledger)
		return -ENOMEM;
	if (fstat(fd, &status) < 0 || (size_t)status.st_size != total_size()) {
		free(ledger);
		return -EPROTO;
	}
	void *memory = mmap(NULL, total_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		int error = -errno;
		free(ledger);
		return error;
	}
	ledger->fd = fd;
	ledger->head = memory;
	unsigned char *at = (unsigned char *)memory + HEAD_SIZE;
	for (int i = 0; i < TABLES; i++) {
		ledger->tables[i].base = at;
		at += slot_sizes[i] * SLOTS_MAX;
	}
	if (ledger->head->layout != LEDGER_LAYOUT) {
		munmap(memory, total_size());
		free(ledger);
		return -EPROTO;
	}
	for (int i = 0; i < TABLES; i++)
		find_free(ledger, i);
	*ret = ledger;
	return 0;
}

int ledger_new(struct ledger **ret)
{
	const uint32_t layout = LEDGER_LAYOUT;
	int fd = memfd_create("relockfs-ledger", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	int result = ftruncate(fd, (off_t)total_size()) < 0 ? -errno : 0;
	if (result == 0 && pwrite(fd, &layout, sizeof layout, 0) != sizeof layout)
		result = -ENOMEM;
	if (result == 0)
		result = ledger_open(ret, fd);
	if (result < 0)
		close(fd);
	return result;
}

void ledger_free(struct ledger *ledger)
{
	munmap(ledger->head, total_size());
	for (int i = 0; i < TABLES; i++)
		free(ledger->tables[i].free);
	free(ledger);
}

int ledger_fd(const struct ledger *ledger)
{
	return ledger->fd;
}

struct ledger_head *ledger_head(const struct ledger *ledger)
{
	return ledger->head;
}

uint64_t ledger_request(const struct ledger *ledger)
{
	return ledger ? ledger->head->request : 0;
}

/* Slots */

static void *add(struct ledger *ledger, int table)
{
	struct slots *slots;

	if (!ledger)
		return NULL;
	slots = &ledger->tables[table];
	if (slots->free_count > 0)
		return slot_at(ledger, table, slots->free[--slots->free_count]);
	return slots->high < SLOTS_MAX ? slot_at(ledger, table, slots->high++) : NULL;
}

static void count_as(void *slot, uint64_t number)
{
	ledger_write_order();
	*number_of(slot) = number;
	ledger_write_order();
}

static void take_out(struct ledger *ledger, int table, void *slot)
{
	if (!slot)
		return;
	count_as(slot, 0);
	size_t offset = (size_t)((unsigned char *)slot - ledger->tables[table].base);
	(void)note_free(&ledger->tables[table], offset / slot_sizes[table]);
}

static void *next(struct ledger *ledger, int table, void *slot)
{
	struct slots *slots;
	size_t index = 0;

	if (!ledger)
		return NULL;
	slots = &ledger->tables[table];
	if (slot)
		index = (size_t)((unsigned char *)slot - slots->base) / slot_sizes[table] + 1;
	for (; index < slots->high; index++)
		if (*number_of(slot_at(ledger, table, index)) != 0)
			return slot_at(ledger, table, index);
	return NULL;
}

struct ledger_entry *ledger_add_entry(struct ledger *ledger, uint64_t id, const char *name)
{
	size_t size = sizeof(struct ledger_entry) + strlen(name) + 1;
	struct ledger_entry *slot = add(ledger, size <= LEDGER_ENTRY_SIZE ? ENTRIES : LONG_ENTRIES);

	if (!slot)
		return NULL;
	slot->lookups = 0;
	memcpy(slot->name, name, strlen(name) + 1);
	count_as(slot, id);
	return slot;
}

struct ledger_handle *ledger_add_handle(struct ledger *ledger, uint64_t id, uint64_t entry,
					int access)
{
	struct ledger_handle *slot = add(ledger, HANDLES);

	if (!slot)
		return NULL;
	memset((unsigned char *)slot + sizeof slot->id, 0, sizeof *slot - sizeof slot->id);
	slot->entry = entry;
	slot->access = (uint8_t)access;
	slot->fd = -1;
	slot->opened_by = ledger_request(ledger);
	count_as(slot, id);
	return slot;
}

struct ledger_waiter *ledger_add_waiter(struct ledger *ledger, const struct ledger_waiter *waiter)
{
	struct ledger_waiter *slot = waiter->request != 0 ? add(ledger, WAITERS) : NULL;

	if (!slot)
		return NULL;
	memcpy((unsigned char *)slot + sizeof slot->request,
	       (const unsigned char *)waiter + sizeof slot->request,
	       sizeof *slot - sizeof slot->request);
	slot->order = ++ledger->head->last_order;
	count_as(slot, waiter->request);
	return slot;
}

struct ledger_errand *ledger_add_errand(struct ledger *ledger, bool is_break)
{
	struct ledger_errand *slot = ledger_request(ledger) != 0 ? add(ledger, ERRANDS) : NULL;

	if (!slot)
		return NULL;
	slot->start = ledger->head->starts;
	slot->is_break = is_break;
	count_as(slot, ledger_request(ledger));
	return slot;
}

static int table_of_entry(const struct ledger *ledger, const struct ledger_entry *slot)
{
	return (const unsigned char *)slot < ledger->tables[LONG_ENTRIES].base ? ENTRIES
									       : LONG_ENTRIES;
}

void ledger_remove_entry(struct ledger *ledger, struct ledger_entry *slot)
{
	if (slot)
		take_out(ledger, table_of_entry(ledger, slot), slot);
}

void ledger_remove_handle(struct ledger *ledger, struct ledger_handle *slot)
{
	take_out(ledger, HANDLES, slot);
}

void ledger_remove_waiter(struct ledger *ledger, struct ledger_waiter *slot)
{
	take_out(ledger, WAITERS, slot);
}

void ledger_remove_errand(struct ledger *ledger, struct ledger_errand *slot)
{
	take_out(ledger, ERRANDS, slot);
}

struct ledger_entry *ledger_next_entry(struct ledger *ledger, struct ledger_entry *slot)
{
	int table = ledger && slot ? table_of_entry(ledger, slot) : ENTRIES;
	struct ledger_entry *found = next(ledger, table, slot);

	return found || table == LONG_ENTRIES ? found : next(ledger, LONG_ENTRIES, NULL);
}

struct ledger_handle *ledger_next_handle(struct ledger *ledger, struct ledger_handle *slot)
{
	return next(ledger, HANDLES, slot);
}

struct ledger_waiter *ledger_next_waiter(struct ledger *ledger, struct ledger_waiter *slot)
{
	return next(ledger, WAITERS, slot);
}

struct ledger_errand *ledger_next_errand(struct ledger *ledger, struct ledger_errand *slot)
{
	return next(ledger, ERRANDS, slot);
}
