/*
 * What a lock file says about its holders, as its holder writes it.
 */
#pragma once

#include "lock-file.h"

enum lock_record_owner { RECORD_NOBODY, RECORD_OURS, RECORD_FOREIGN };

/* Whose file is it, and what was the last token?  To be asked by who holds it. */
enum lock_record_owner lock_record_owner(int fd, uint64_t *ret_token);

/* Who holds: the caller, with that uid, or on whose behalf it does. */
void lock_record_describe(struct record *record, const struct grant *grant, uid_t uid);

/* Prepares the record of a hold that is about to be made.  -ENOMEM */
int lock_record_draw(struct file_lock *file, const struct grant *grant, enum hold_mode mode);

/* Records the hold that has just been granted; `recorded` says whether it
 * could be. */
void lock_record_exclusive(struct file_lock *file);
void lock_record_shared(const struct file_store *store, struct file_lock *file);

/* Slots of shared holders, slots.c. */
void lock_record_claim_slot(const struct lock_primitive *primitive, struct file_lock *file);

/* The record of a hold that was made by another process, found by the number of
 * its descriptor, goes on; `recorded` says whether there was one. */
void lock_record_adopt(struct file_lock *file);

/* A shared hold became exclusive, or the other way round: its record moves. */
void lock_record_convert(struct file_lock *file, enum hold_mode mode);

/* The hold has passed to another holder. */
void lock_record_pass(struct file_lock *file);

/* Sets the info of the present hold, or leaves it as it is. */
int lock_record_set_info(struct file_lock *file, const void *info, size_t length);

/* Writes the record of the present hold. */
int lock_record_write(struct file_lock *file);

/* Marks the hold of the slot as ended: released, or broken by somebody. */
int lock_record_end(int fd, size_t slot, uint64_t hold, const struct breaker *by);
