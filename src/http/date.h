/* IMF-fixdate, RFC 9110 5.6.7. */
#ifndef ZOLAL_HTTP_DATE_H
#define ZOLAL_HTTP_DATE_H

#include <stdint.h>

#define HTTP_DATE_LEN 29

/* Write "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL for `seconds` since 1970 (0 to year 9999;
 * clamped). */
void http_date_write(char out[HTTP_DATE_LEN + 1], int64_t seconds);

#endif
