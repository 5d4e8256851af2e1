/* llhttp as a server uses it: one parser for all requests of a connection, every lenient flag off,
 * and the callbacks that it takes to keep what zolal's parser keeps. */
#include <string.h>

#include "http/chunked.h"
#include "llhttp.h"
#include "parse.h"

struct keeper {
    struct parsed *parsed;
    size_t messages;
    char *out;
    size_t len;
};

/* A piece of what may arrive in several, one behind the other in the same memory. */
static void extend(struct slice *slice, const char *at, size_t len)
{
    if (slice->len == 0)
        slice->data = at;
    slice->len += len;
}

static int on_method(llhttp_t *llhttp, const char *at, size_t len)
{
    struct keeper *keeper = llhttp->data;
    extend(&keeper->parsed->method, at, len);
    return 0;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t len)
{
    struct keeper *keeper = llhttp->data;
    extend(&keeper->parsed->target, at, len);
    return 0;
}

static int on_field(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parsed *parsed = ((struct keeper *)llhttp->data)->parsed;
    if (parsed->field_count == PARSED_FIELDS)
        return -1;
    extend(&parsed->fields[parsed->field_count].name, at, len);
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t len)
{
    struct parsed *parsed = ((struct keeper *)llhttp->data)->parsed;
    extend(&parsed->fields[parsed->field_count].value, at, len);
    return 0;
}

static int on_value_complete(llhttp_t *llhttp)
{
    struct parsed *parsed = ((struct keeper *)llhttp->data)->parsed;
    if (++parsed->field_count < PARSED_FIELDS)
        parsed->fields[parsed->field_count] = (struct http_field){0};
    return 0;
}

static int on_body(llhttp_t *llhttp, const char *at, size_t len)
{
    struct keeper *keeper = llhttp->data;
    if (keeper->out)
        memcpy(keeper->out + keeper->len, at, len);
    keeper->len += len;
    return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
    struct keeper *keeper = llhttp->data;
    keeper->messages++;
    return 0;
}

static void start(llhttp_t *llhttp, llhttp_settings_t *settings, struct keeper *keeper)
{
    llhttp_settings_init(settings);
    settings->on_method = on_method;
    settings->on_url = on_url;
    settings->on_header_field = on_field;
    settings->on_header_value = on_value;
    settings->on_header_value_complete = on_value_complete;
    settings->on_body = on_body;
    settings->on_message_complete = on_message_complete;
    llhttp_init(llhttp, HTTP_REQUEST, settings);
    llhttp->data = keeper;
}

static void forget(struct parsed *parsed)
{
    parsed->method = (struct slice){0};
    parsed->target = (struct slice){0};
    parsed->field_count = 0;
    parsed->fields[0] = (struct http_field){0};
}

static bool heads(struct slice text, size_t cut, int times, struct parsed *parsed)
{
    llhttp_t llhttp;
    llhttp_settings_t settings;
    struct keeper keeper = {.parsed = parsed};
    start(&llhttp, &settings, &keeper);
    for (int i = 0; i < times; i++) {
        forget(parsed);
        if (cut > 0 && llhttp_execute(&llhttp, text.data, cut) != HPE_OK)
            return false;
        if (llhttp_execute(&llhttp, text.data + cut, text.len - cut) != HPE_OK)
            return false;
        if (keeper.messages != (size_t)i + 1)
            return false;
    }
    return true;
}

static bool body(struct slice head, struct slice chunks, int reads, char *out, size_t *len)
{
    llhttp_t llhttp;
    llhttp_settings_t settings;
    struct parsed parsed;
    struct keeper keeper = {.parsed = &parsed, .out = out};
    start(&llhttp, &settings, &keeper);
    forget(&parsed);
    if (llhttp_execute(&llhttp, head.data, head.len) != HPE_OK)
        return false;
    for (int i = 0; i < reads; i++) {
        if (llhttp_execute(&llhttp, chunks.data, chunks.len) != HPE_OK || keeper.messages > 0)
            return false;
    }
    *len = keeper.len;
    return llhttp_execute(&llhttp, chunk_last.data, chunk_last.len) == HPE_OK &&
           keeper.messages == 1 && keeper.len == *len;
}

const struct parser parse_llhttp = {heads, body};
