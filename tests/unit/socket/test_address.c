#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "socket/address.h"

static void test_what_is_parsed_is_printed(void **state)
{
    static const char *const rows[][2] = {
        {"127.0.0.1:8000", "127.0.0.1:8000"}, {"0.0.0.0:0", "0.0.0.0:0"},
        {"[::1]:65535", "[::1]:65535"},       {"[2001:db8::1]:80", "[2001:db8::1]:80"},
        {"8000", "127.0.0.1:8000"},           {"unix:/run/z.sock", "unix:/run/z.sock"},
        {"unix:relative", "unix:relative"},   {"unix:@abstract", "unix:@abstract"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address addr;
        struct error err = {0};
        char text[ADDRESS_TEXT_SIZE];
        if (address_parse(&addr, rows[i][0], &err) < 0)
            fail_msg("%s: %s", rows[i][0], err.text);
        address_print(&addr, text);
        assert_string_equal(text, rows[i][1]);
    }
}

static void test_all_addresses(void **state)
{
    struct address addr;
    (void)state;
    assert_int_equal(address_parse(&addr, ":80", NULL), 0);
    bool v6 = access("/proc/net/if_inet6", F_OK) == 0;
    assert_int_equal(addr.sa.sa_family, v6 ? AF_INET6 : AF_INET);
    assert_int_equal(address_port(&addr), 80);
}

static void test_a_name_is_looked_up(void **state)
{
    struct address addr;
    struct error err = {0};
    (void)state;
    assert_int_equal(address_parse(&addr, "localhost:80", &err), 0);
    assert_int_equal(address_parse(&addr, "no.such.host.invalid:80", &err), -ENOENT);
    assert_non_null(strstr(err.text, "no.such.host.invalid"));
}

static void test_mistakes_are_explained(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } rows[] = {
        {"", EINVAL, "has no port"},
        {"localhost", EINVAL, "has no port"},
        {"127.0.0.1:", EINVAL, "0 to 65535"},
        {"127.0.0.1:65536", EINVAL, "0 to 65535"},
        {"127.0.0.1:99999999999999999999", EINVAL, "0 to 65535"},
        {"127.0.0.1:-1", EINVAL, "0 to 65535"},
        {"127.0.0.1:+1", EINVAL, "0 to 65535"},
        {"127.0.0.1:8 ", EINVAL, "0 to 65535"},
        {"::1:80", EINVAL, "[::1]:80"},
        {"[::1]", EINVAL, "has no port"},
        {"[]:80", EINVAL, "malformed"},
        {"[::1:80", EINVAL, "has no port"},
        {"a]b:80", EINVAL, "malformed"},
        {"unix:", EINVAL, "has no path"},
        {"unix:@", EINVAL, "has no path"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address addr;
        struct error err = {0};
        assert_int_equal(address_parse(&addr, rows[i].text, &err), -rows[i].code);
        if (!strstr(err.text, rows[i].says))
            fail_msg("%s: %s", rows[i].text, err.text);
    }
}

static void test_long_paths(void **state)
{
    char text[300] = "unix:";
    struct address addr;
    struct error err = {0};
    (void)state;
    memset(text + 5, 'p', 200);
    text[5 + 107] = '\0';
    assert_int_equal(address_parse(&addr, text, &err), 0);
    text[5 + 107] = 'p';
    text[5 + 108] = '\0';
    assert_int_equal(address_parse(&addr, text, &err), -ENAMETOOLONG);
    assert_non_null(strstr(err.text, "at most 107 bytes, this one has 108"));
    memset(text, 'h', 290);
    memcpy(text + 290, ":80", 4);
    assert_int_equal(address_parse(&addr, text, &err), -EINVAL);
}

static void test_host_and_port(void **state)
{
    struct address addr;
    char host[ADDRESS_TEXT_SIZE];
    (void)state;
    address_parse(&addr, "[::1]:81", NULL);
    address_host(&addr, host);
    assert_string_equal(host, "::1");
    assert_int_equal(address_port(&addr), 81);
    address_parse(&addr, "unix:/x", NULL);
    address_host(&addr, host);
    assert_string_equal(host, "");
    assert_int_equal(address_port(&addr), 0);
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    address_set(&addr, (struct sockaddr *)&unnamed, sizeof(sa_family_t));
    address_print(&addr, host);
    assert_string_equal(host, "unix:");
}

static void test_the_same_host(void **state)
{
    static const char *const hosts[] = {"127.0.0.1:80", "127.0.0.2:80", "[::1]:80", "[::2]:80",
                                        "unix:/x"};
    struct address a, b;
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        for (size_t j = 0; j < 5; j++) {
            address_parse(&a, hosts[i], NULL);
            address_parse(&b, hosts[j], NULL);
            assert_int_equal(address_host_equal(&a, &b), i == j);
        }
    }
    address_parse(&a, "[::1]:80", NULL);
    address_parse(&b, "[::1]:81", NULL);
    assert_true(address_host_equal(&a, &b));
    assert_int_equal(address_host_hash(&a), address_host_hash(&b));
    address_parse(&b, "[::2]:80", NULL);
    assert_int_not_equal(address_host_hash(&a), address_host_hash(&b));
    /* A client of a UNIX socket has no name of its own. */
    struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    address_set(&a, (struct sockaddr *)&unnamed, sizeof(sa_family_t));
    assert_true(address_host_equal(&a, &a));
    assert_int_equal(address_host_hash(&a), 0);
}

static void test_numeric_hosts(void **state)
{
    static const struct {
        int family;
        const char *host;
        const char *plain; /* NULL: refused */
    } rows[] = {
        {AF_INET, "127.0.0.1", "127.0.0.1"},
        {AF_INET, "", "0.0.0.0"},
        {AF_INET, "255.255.255.255", "255.255.255.255"},
        {AF_INET, "127.1", NULL},
        {AF_INET, "::1", NULL},
        {AF_INET, "localhost", NULL},
        {AF_INET6, "::1", "::1"},
        {AF_INET6, "", "::"},
        {AF_INET6, "2001:0db8::0:1", "2001:db8::1"},
        {AF_INET6, "::ffff:1.2.3.4", "::ffff:1.2.3.4"},
        {AF_INET6, "fe80::1%lo", NULL},
        {AF_INET6, "127.0.0.1", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address addr;
        char text[INET6_ADDRSTRLEN];
        assert_int_equal(address_set_host(&addr, rows[i].family, rows[i].host),
                         rows[i].plain != NULL);
        if (!rows[i].plain)
            continue;
        assert_int_equal(addr.sa.sa_family, rows[i].family);
        assert_int_equal(address_port(&addr), 0);
        address_host_plain(&addr, text);
        assert_string_equal(text, rows[i].plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_parsed_is_printed),
        cmocka_unit_test(test_all_addresses),
        cmocka_unit_test(test_a_name_is_looked_up),
        cmocka_unit_test(test_mistakes_are_explained),
        cmocka_unit_test(test_long_paths),
        cmocka_unit_test(test_host_and_port),
        cmocka_unit_test(test_the_same_host),
        cmocka_unit_test(test_numeric_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
