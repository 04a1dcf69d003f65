/* See choice.h.  Nothing here but the names: the command has them from here,
 * too. */
#include "choice.h"

#include <string.h>

bool shim_choice_from_name(const char *name, size_t length, enum shim_choice *ret)
{
	static const struct {
		char name[sizeof "process"];
		enum shim_choice choice;
	} choices[] = {{"process", SHIM_PROCESS}, {"ofd", SHIM_OFD}, {"off", SHIM_LEGACY}};

	for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
		if (strlen(choices[i].name) == length &&
		    memcmp(choices[i].name, name, length) == 0) {
			*ret = choices[i].choice;
			return true;
		}
	return false;
}
