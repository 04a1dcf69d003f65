/*
 * Ten thousand waiters are no reason for a line of ten thousand pids; --json
 * has them all.
 */
#include "waiters-text.h"

#include <stdio.h>

#include "message.h"

enum { PIDS_SHOWN = 4 };

char *waiters_text(const pid_t *pids, size_t pid_count, size_t count, bool all)
{
	char *text = NULL;
	size_t size = 0, shown = all || pid_count < PIDS_SHOWN ? pid_count : PIDS_SHOWN;

	if (count == 0 || (all && pid_count == 0))
		return NULL;

	FILE *out = open_memstream(&text, &size);

	if (!out)
		out_of_memory();
	for (size_t i = 0; i < shown; i++)
		fprintf(out, "%s%d", i == 0 ? "" : all ? "\n" : " ", (int)pids[i]);
	if (count > shown && !all)
		fprintf(out, "%s+%zu", shown ? " " : "", count - shown);
	if (fclose(out) != 0)
		out_of_memory();
	return text;
}
