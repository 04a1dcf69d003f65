/*
 * What is fed with anything.  Each target takes bytes from the outside world
 * as the library meets them, and aborts if a property does not hold.  libFuzzer
 * calls them through libfuzzer.c; test-fuzz.c with a corpus and its mutations.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A line of /proc/locks or of fdinfo. */
void fuzz_lock_line(const uint8_t *bytes, size_t size);
/* A text that is shown on a terminal. */
void fuzz_escape(const uint8_t *bytes, size_t size);
/* The slots of a lock file, as records. */
void fuzz_slot(const uint8_t *bytes, size_t size);
/* A lock file, that is looked at and locked. */
void fuzz_lock_file(const uint8_t *bytes, size_t size);
/* A sequence of requests to a mount. */
void fuzz_operations(const uint8_t *bytes, size_t size);
/* What the lock file of a store of claim files says. */
void fuzz_claim(const uint8_t *bytes, size_t size);
/* A policy of the shim's, and a path. */
void fuzz_policy(const uint8_t *bytes, size_t size);
/* A lock file of Core_unix's Lock_file.Nfs. */
void fuzz_nfslock(const uint8_t *bytes, size_t size);
