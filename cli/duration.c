/*
 * Seconds with a decimal fraction, exactly, to and from nanoseconds.
 *
 * The largest duration is what an int64_t of nanoseconds holds, 292 years;
 * more than that is refused instead of being cut off, since what was meant is
 * hardly a wait.
 */
#include "duration.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <strings.h>

#include "relock.h"

static const char *why_not_a_number(const char *text)
{
	if (*text == '\0')
		return "is empty: give seconds, for example 0.5";
	if (strncasecmp(text, "nan", 3) == 0)
		return "is not a number: give seconds, for example 0.5";
	if (strncasecmp(text, "inf", 3) == 0)
		return "is infinite: to wait however long it takes, see --help";
	return "is no number of seconds: write it as 5 or 0.5";
}

const char *duration_parse(const char *text, int64_t *ret)
{
	int64_t duration = 0;
	bool any_digit = false;

	if (*text == '-')
		return "is negative";
	if (*text == '+')
		text++;
	const char *rest = text;
	for (; isdigit((unsigned char)*rest); rest++) {
		any_digit = true;
		if (__builtin_mul_overflow(duration, 10, &duration) ||
		    __builtin_add_overflow(duration, (*rest - '0') * RELOCK_SECOND, &duration))
			return "is too large: at most 9223372035 seconds (292 years)";
	}
	if (*rest == '.') {
		int64_t unit = RELOCK_SECOND;

		for (rest++; isdigit((unsigned char)*rest); rest++) {
			any_digit = true;
			unit /= 10;
			if (__builtin_add_overflow(duration, (*rest - '0') * unit, &duration))
				return "is too large: at most 9223372035 seconds (292 years)";
		}
	}
	if (!any_digit || *rest != '\0')
		return why_not_a_number(text);
	*ret = duration;
	return NULL;
}

const char *duration_text(int64_t duration, char buffer[DURATION_TEXT_SIZE])
{
	long long seconds = duration / RELOCK_SECOND;
	long long hundredths = duration / (RELOCK_SECOND / 100) % 100;

	if (duration < 0)
		duration = seconds = hundredths = 0;
	if (seconds < 10 && hundredths)
		snprintf(buffer, DURATION_TEXT_SIZE, "%lld.%02lld s", seconds, hundredths);
	else if (seconds < 60)
		snprintf(buffer, DURATION_TEXT_SIZE, "%lld s", seconds);
	else if (seconds < 3600)
		snprintf(buffer, DURATION_TEXT_SIZE, "%lld min %lld s", seconds / 60, seconds % 60);
	else if (seconds < 24 * 3600)
		snprintf(buffer, DURATION_TEXT_SIZE, "%lld h %lld min", seconds / 3600,
			 seconds / 60 % 60);
	else
		snprintf(buffer, DURATION_TEXT_SIZE, "%lld d %lld h", seconds / (24 * 3600),
			 seconds / 3600 % 24);
	return buffer;
}
