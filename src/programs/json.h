/* JSON on paper: commas and escapes. A key of NULL is for members of arrays. */
#pragma once

#include <stdint.h>

#include "paper.h"

struct json {
    struct paper *paper;
    bool comma; /* before what comes next */
};

/* brackets: "{" or "["; "}" or "]". */
void json_open(struct json *json, const char *key, const char *bracket);
void json_close(struct json *json, const char *bracket);

/* Each byte that is not printable ASCII becomes \u00NN, so that any name is valid JSON and can be told from any other.
 * NULL: null. */
void json_text(struct json *json, const char *key, const char *text);
void json_number(struct json *json, const char *key, uint64_t number);
void json_decimal(struct json *json, const char *key, double number);
void json_bool(struct json *json, const char *key, bool value);

/* Ends the text: a newline. */
void json_end(struct json *json);
