#include "http/date.h"

#include <string.h>

enum { DAY_S = 86400 };

/* 9999-12-31 23:59:59: the last second that four digits can say. */
static const int64_t latest = INT64_C(253402300799);

static void write_digits(char *out, int64_t number, int digits)
{
    while (digits > 0) {
        out[--digits] = (char)('0' + number % 10);
        number /= 10;
    }
}

/* Year, month (1 to 12) and day of the month of a day since 1970. Counted in years that begin in
 * March, so that the leap day is a year's last one and months have a rule: day 0 is 0000-03-01. */
static void civil_date(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    days += 719468;
    int64_t era = days / 146097; /* 400 years */
    int64_t day_of_era = days % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t months = (5 * day_of_year + 2) / 153; /* since March */
    *day = day_of_year - (153 * months + 2) / 5 + 1;
    *month = months < 10 ? months + 3 : months - 9;
    *year = era * 400 + year_of_era + (*month <= 2);
}

void http_date_write(char out[HTTP_DATE_LEN + 1], int64_t seconds)
{
    static const char week[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    seconds = seconds < 0 ? 0 : seconds > latest ? latest : seconds;
    int64_t year;
    int64_t month;
    int64_t day;
    civil_date(seconds / DAY_S, &year, &month, &day);
    int64_t second = seconds % DAY_S;
    memcpy(out, "Thu, 01 Jan 1970 00:00:00 GMT", HTTP_DATE_LEN + 1);
    memcpy(out, week + seconds / DAY_S % 7 * 3, 3);
    write_digits(out + 5, day, 2);
    memcpy(out + 8, months + (month - 1) * 3, 3);
    write_digits(out + 12, year, 4);
    write_digits(out + 17, second / 3600, 2);
    write_digits(out + 20, second / 60 % 60, 2);
    write_digits(out + 23, second % 60, 2);
}
