/*
 * The text in the shared memory, as resourcelock writes and reads it: bytes up
 * to the first NUL, "2025-11-06 10:38:11.545309 - INFO", the moment in local
 * time, and kept after a release.
 *
 * It is also how relock learns that somebody without a turn holds: whoever gets
 * the semaphore from sem_wait(3) writes a text.  So a holder keeps the sum of
 * its own, and if another stands there, the lock was given away and taken; see
 * store-sem.c.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "sem.h"

uint64_t sem_text_sum(const char *text, size_t length)
{
	uint64_t sum = length + 1, word;

	for (; length > 0; text += sizeof word) {
		size_t part = length < sizeof word ? length : sizeof word;
		word = 0;
		memcpy(&word, text, part);
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 29;
		length -= part;
	}
	return sum ? sum : 1; /* 0: no text yet */
}

bool sem_text_was_replaced(const struct sem_lock *sem)
{
	uint64_t sum = atomic_load(&sem->page->text_sum);

	return sem->text && sum &&
	       sum != sem_text_sum(sem->text, strnlen(sem->text, sem->text_size));
}

/* localtime(3) is the dearest part of it, and the same for a second. */
static void tell_second(struct sem_lock *sem, time_t second)
{
	struct tm local;

	if (second == sem->second)
		return;
	localtime_r(&second, &local);
	strftime(sem->moment, sizeof sem->moment, "%Y-%m-%d %H:%M:%S", &local);
	sem->second = second;
}

static char *put(char *to, const char *end, const char *from, size_t length)
{
	size_t room = (size_t)(end - to);

	if (length > room)
		length = room;
	memcpy(to, from, length);
	return to + length;
}

/* What is beyond a NUL in the info is for our own readers only. */
void sem_text_write(struct sem_lock *sem, int64_t since, const void *info, size_t length)
{
	char fraction[] = ".000000 - ";

	if (!sem->text)
		return;
	tell_second(sem, since / RELOCK_SECOND);
	int64_t digits = since % RELOCK_SECOND / 1000;
	for (char *digit = fraction + 6; digit > fraction; digit--, digits /= 10)
		*digit = (char)('0' + digits % 10);
	char *to = sem->text, *end = sem->text + sem->text_size - 1;
	atomic_store(&sem->page->text_sum, 0);
	to = put(to, end, sem->moment, strlen(sem->moment));
	to = put(to, end, fraction, sizeof fraction - 1);
	if (length > 0)
		to = put(to, end, info, strnlen(info, length));
	*to = '\0';
	atomic_store(&sem->page->text_sum, sem_text_sum(sem->text, (size_t)(to - sem->text)));
}

int64_t sem_text_parse(const char *text, const char **ret_info)
{
	struct tm local = {.tm_isdst = -1};
	int64_t fraction = 0;

	const char *at = strptime(text, "%Y-%m-%d %H:%M:%S", &local);
	if (!at)
		return 0;
	if (*at == '.') {
		int64_t unit = RELOCK_SECOND / 10;
		for (at++; *at >= '0' && *at <= '9'; at++, unit /= 10)
			fraction += (*at - '0') * unit;
	}
	if (strncmp(at, " - ", 3) != 0)
		return 0;
	time_t second = mktime(&local);
	if (second <= 0)
		return 0;
	*ret_info = at + 3;
	return second * RELOCK_SECOND + fraction;
}
