/*
 * A lock's state as JSON.
 */
#pragma once

#include "relock.h"

struct json_object;

/* The keys of `relock state`; the keys of each holder in an object of the
 * array "holders"; "waiters" is an array of pids.  To be freed with
 * json_free(). */
struct json_object *status_json(const struct relock_status *status);
