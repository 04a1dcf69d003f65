/*
 * JSON output, by json-c, loaded when first used.
 *
 * Building a value cannot fail but for want of memory, which ends the
 * command; the functions that add return what they added, to be filled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct json_object;

/* To be called first; false if there is no json-c, which was said. */
bool json_load(void);

struct json_object *json_new(void);
void json_free(struct json_object *value);

void json_add_text(struct json_object *object, const char *key, const char *text);
void json_add_number(struct json_object *object, const char *key, uint64_t number);
void json_add_signed(struct json_object *object, const char *key, int64_t number);
void json_add_bool(struct json_object *object, const char *key, bool value);
void json_add_null(struct json_object *object, const char *key);
void json_add(struct json_object *object, const char *key, struct json_object *value);
struct json_object *json_add_object(struct json_object *object, const char *key);
struct json_object *json_add_array(struct json_object *object, const char *key);
/* NULL is null. */
void json_append(struct json_object *array, struct json_object *value);
void json_append_text(struct json_object *array, const char *text);
void json_append_signed(struct json_object *array, int64_t number);

/* On standard output: indented for people, or one line. */
void json_print(const struct json_object *value);
void json_print_line(const struct json_object *value);

static inline void json_cleanup(struct json_object **value)
{
	json_free(*value);
}

#define CLEANUP_JSON __attribute__((cleanup(json_cleanup)))
