// The public header in C++, and an exception that leaves a critical section.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "relock.h"

static int thrower(void *)
{
	throw std::runtime_error("out of the section");
}

int main()
{
	char folder[] = "/tmp/relock-test-XXXXXX";
	if (!mkdtemp(folder))
		return 1;
	char url[64];
	std::snprintf(url, sizeof url, "ofd:%s", folder);
	relock_store *store = nullptr;
	relock_lock *lock = nullptr, *other = nullptr;
	struct relock_request request = RELOCK_REQUEST_INIT;
	if (relock_store_open(&store, url) < 0 || relock_lock_open(&lock, store, "demo") < 0 ||
	    relock_lock_open(&other, store, "demo") < 0)
		return 2;
	int result = 3;
	try {
		relock_critical_section(lock, &request, thrower, nullptr, nullptr);
	} catch (const std::runtime_error &) {
		request.timeout = 0;
		result = relock_acquire(other, &request) == 0 ? 0 : 4;
	}
	relock_lock_close(lock);
	relock_lock_close(other);
	relock_store_close(store);
	char command[128];
	std::snprintf(command, sizeof command, "%s/demo", folder);
	std::remove(command);
	std::snprintf(command, sizeof command, "%s/.pruned", folder);
	std::remove(command);
	std::remove(folder);
	return result;
}
