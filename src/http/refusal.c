#include "http/refusal.h"

#include <assert.h>

static const struct http_refusal_row rows[] = {
#define X(name, status, text, source) [name] = {status, text, source},
    HTTP_REFUSALS(X)
#undef X
};

const struct http_refusal_row *http_refusal_row(enum http_refusal refusal)
{
    assert(refusal > HTTP_ACCEPTED && refusal < HTTP_REFUSAL_COUNT);
    return &rows[refusal];
}
