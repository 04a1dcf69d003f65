/*
 * The handle is never closed: the functions are used until the command ends.
 */
#include "lazy-library.h"

#include <dlfcn.h>

#include "message.h"

bool lazy_library_load(const char *file, const char *package, const struct lazy_symbol *symbols,
		       size_t count)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	if (!library) {
		complain("this output needs %s (Debian's package %s): %s", file, package,
			 dlerror());
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		*symbols[i].function = dlsym(library, symbols[i].name);
		if (!*symbols[i].function) {
			complain("%s is too old: it has no %s", file, symbols[i].name);
			return false;
		}
	}
	return true;
}
