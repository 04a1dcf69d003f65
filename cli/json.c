/*
 * A thin layer over json-c that knows where its functions are.
 */
#include "json.h"

#include <json-c/json.h>
#include <stdio.h>

#include "lazy-library.h"
#include "message.h"

#define FUNCTIONS(X)                                                                               \
	X(json_object_new_object)                                                                  \
	X(json_object_new_array)                                                                   \
	X(json_object_new_string)                                                                  \
	X(json_object_new_uint64)                                                                  \
	X(json_object_new_int64)                                                                   \
	X(json_object_new_boolean)                                                                 \
	X(json_object_object_add)                                                                  \
	X(json_object_array_add)                                                                   \
	X(json_object_to_json_string_ext)                                                          \
	X(json_object_put)

#define DECLARE(name) __typeof__(name) *name##_;
static struct {
	FUNCTIONS(DECLARE)
} json;
#undef DECLARE

bool json_load(void)
{
#define SYMBOL(name) {#name, (void **)&json.name##_},
	static const struct lazy_symbol symbols[] = {FUNCTIONS(SYMBOL)};
#undef SYMBOL

	return lazy_library_load("libjson-c.so.5", "libjson-c5", symbols,
				 sizeof symbols / sizeof symbols[0]);
}

static struct json_object *need(struct json_object *value)
{
	if (!value)
		out_of_memory();
	return value;
}

struct json_object *json_new(void)
{
	return need(json.json_object_new_object_());
}

void json_free(struct json_object *value)
{
	if (value)
		json.json_object_put_(value);
}

void json_add(struct json_object *object, const char *key, struct json_object *value)
{
	if (json.json_object_object_add_(object, key, value) < 0)
		out_of_memory();
}

void json_append(struct json_object *array, struct json_object *value)
{
	if (json.json_object_array_add_(array, value) < 0)
		out_of_memory();
}

void json_add_text(struct json_object *object, const char *key, const char *text)
{
	json_add(object, key, need(json.json_object_new_string_(text)));
}

void json_add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_add(object, key, need(json.json_object_new_uint64_(number)));
}

void json_add_signed(struct json_object *object, const char *key, int64_t number)
{
	json_add(object, key, need(json.json_object_new_int64_(number)));
}

void json_add_bool(struct json_object *object, const char *key, bool value)
{
	json_add(object, key, need(json.json_object_new_boolean_(value)));
}

void json_add_null(struct json_object *object, const char *key)
{
	json_add(object, key, NULL);
}

struct json_object *json_add_object(struct json_object *object, const char *key)
{
	struct json_object *value = json_new();

	json_add(object, key, value);
	return value;
}

struct json_object *json_add_array(struct json_object *object, const char *key)
{
	struct json_object *value = need(json.json_object_new_array_());

	json_add(object, key, value);
	return value;
}

void json_append_text(struct json_object *array, const char *text)
{
	json_append(array, need(json.json_object_new_string_(text)));
}

void json_append_signed(struct json_object *array, int64_t number)
{
	json_append(array, need(json.json_object_new_int64_(number)));
}

static void print(const struct json_object *value, int flags)
{
	/* json-c keeps the text in the value, and so wants it writable. */
	const char *text = json.json_object_to_json_string_ext_((struct json_object *)value, flags);

	if (!text)
		out_of_memory();
	puts(text);
}

void json_print(const struct json_object *value)
{
	print(value,
	      JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
}

void json_print_line(const struct json_object *value)
{
	print(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	fflush(stdout);
}
