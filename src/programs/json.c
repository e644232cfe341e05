/* See json.h. Knows nothing of queues. */
#include "json.h"

static void quoted(struct paper *paper, const char *text) {
    paper_put(paper, "\"", 1);
    for (; *text != '\0'; text++) {
        if (*text >= ' ' && *text <= '~' && *text != '"' && *text != '\\')
            paper_put(paper, text, 1);
        else
            paper_print(paper, "\\u%04x", (unsigned)(unsigned char)*text);
    }
    paper_put(paper, "\"", 1);
}

static void begin(struct json *json, const char *key) {
    if (json->comma) paper_put(json->paper, ",", 1);
    json->comma = true;
    if (key == NULL) return;
    quoted(json->paper, key);
    paper_put(json->paper, ":", 1);
}

void json_open(struct json *json, const char *key, const char *bracket) {
    begin(json, key);
    paper_put(json->paper, bracket, 1);
    json->comma = false;
}

void json_close(struct json *json, const char *bracket) {
    paper_put(json->paper, bracket, 1);
    json->comma = true;
}

void json_text(struct json *json, const char *key, const char *text) {
    begin(json, key);
    if (text == NULL)
        paper_put(json->paper, "null", 4);
    else
        quoted(json->paper, text);
}

void json_number(struct json *json, const char *key, uint64_t number) {
    begin(json, key);
    paper_print(json->paper, "%llu", (unsigned long long)number);
}

void json_decimal(struct json *json, const char *key, double number) {
    begin(json, key);
    paper_print(json->paper, "%.1f", number);
}

void json_bool(struct json *json, const char *key, bool value) {
    begin(json, key);
    paper_print(json->paper, "%s", value ? "true" : "false");
}

void json_end(struct json *json) {
    paper_put(json->paper, "\n", 1);
    json->comma = false;
}
