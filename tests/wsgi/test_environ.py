"""The environ: PEP 3333 "environ Variables", RFC 3875 4.1."""

import concurrent.futures
import json
import socket

import pytest
from http_client import Client, chunked, request
from running import THREADS


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("environ_app:application")


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def ask(client, data):
    """The answer to a request of these bytes."""
    client.send(data)
    response = client.response()
    assert response.status == 200, response.text
    return json.loads(response.body)


def environ(client, *args, **keywords):
    return ask(client, request(*args, **keywords))["environ"]


def test_the_whole_environ(server, client):
    port = client.socket.getsockname()[1]
    found = environ(client, "/path?query=1", "User-Agent: test/1", host="example.org:81")
    assert found.pop("SERVER_SOFTWARE").startswith("zolal/")
    assert found == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/path",
        "QUERY_STRING": "query=1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(server.address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(port),
        "HTTP_HOST": "example.org:81",
        "HTTP_USER_AGENT": "test/1",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.input": found["wsgi.input"],
        "wsgi.input_terminated": True,
        "wsgi.early_hints": found["wsgi.early_hints"],
        "wsgi.errors": found["wsgi.errors"],
        "wsgi.multithread": THREADS != "1",
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": found["wsgi.file_wrapper"],
    }


def test_types(client):
    answer = ask(
        client, request("/%C3%A9?%C3%A9", "X-Latin: \xe9", "Content-Type: a/b", body=b"123")
    )
    assert answer["environ_type"] == "dict"
    assert answer["key_types"] == ["str"]
    for key, kind in answer["types"].items():
        if not key.startswith("wsgi."):
            assert kind == "str", key
            assert max(answer["environ"][key], default="\0") <= "\xff", key
    assert answer["types"]["wsgi.version"] == "tuple"
    assert answer["types"]["wsgi.multithread"] == "bool"


@pytest.mark.parametrize(
    "path, path_info",
    [
        ("/", "/"),
        ("/plain/path", "/plain/path"),
        ("/caf%C3%A9", "/caf\xc3\xa9"),
        ("/caf%c3%a9", "/caf\xc3\xa9"),
        ("/%E9", "/\xe9"),
        ("/%FF%80%7F", "/\xff\x80\x7f"),
        ("/%E2%82%AC/%F0%9F%98%80", "/\xe2\x82\xac/\xf0\x9f\x98\x80"),
        ("/a%2Fb", "/a/b"),
        ("/a%3Fb", "/a?b"),
        ("/%2541", "/%41"),
        ("/a+b", "/a+b"),
        ("/a%20b%0D%0Ac", "/a b\r\nc"),
        ("/a;p=1,2:@!$&'()*=~", "/a;p=1,2:@!$&'()*=~"),
        ("/a//b/./c/../d", "/a//b/./c/../d"),
        ("//double", "//double"),
        ("/" + "long" * 1500, "/" + "long" * 1500),
    ],
)
def test_path_info_is_latin_1_of_the_decoded_bytes(client, path, path_info):
    # Asked twice: what was remembered from the first time must be the same.
    for _ in range(2):
        assert environ(client, path)["PATH_INFO"] == path_info


@pytest.mark.parametrize("query", ["a=%C3%A9&b=+1", "a?b/c", "%25%00", "=&=&", "a=%2541;b"])
def test_query_string_is_as_it_was_sent(client, query):
    found = environ(client, "/p%41th?" + query)
    assert found["QUERY_STRING"] == query
    assert found["PATH_INFO"] == "/pAth"


def test_query_string_is_empty_where_there_is_none(client):
    assert environ(client, "/")["QUERY_STRING"] == ""
    assert environ(client, "/?")["QUERY_STRING"] == ""


@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE", "get"]
)
def test_methods(client, method):
    assert environ(client, "/", method=method)["REQUEST_METHOD"] == method


def test_absolute_form_names_the_host(client):
    found = environ(client, "http://target.example:99/a%20b?q", host="target.example:99")
    assert found["PATH_INFO"] == "/a b"
    assert found["QUERY_STRING"] == "q"
    assert found["HTTP_HOST"] == "target.example:99"
    assert environ(client, "http://target.example", host="target.example")["PATH_INFO"] == "/"


def test_the_target_of_a_proxy_wins_over_host(client):
    found = environ(client, "http://target.example/", host="other.example")
    assert found["HTTP_HOST"] == "target.example"


def test_options_asterisk_asks_the_server_as_a_whole(client):
    found = environ(client, "*", method="OPTIONS")
    assert (found["SCRIPT_NAME"], found["PATH_INFO"]) in (("", ""), ("", "*"))


def test_options_of_a_host_without_a_path_asks_the_server_as_a_whole(client):
    """RFC 9112 3.2.4: what a proxy has made of "*"."""
    for target, path in (("http://target.example", ""), ("http://target.example/", "/")):
        assert environ(client, target, method="OPTIONS")["PATH_INFO"] == path


def test_a_target_of_https_is_misdirected(server):
    """RFC 9110 7.4: this connection is not secured."""
    with Client(server.address) as client:
        assert client.get("https://localhost/").status == 421
        client.expect_end()


def test_http_1_0(server):
    with Client(server.address) as client:
        found = environ(client, "/", version="1.0", host=None)
    assert found["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert "HTTP_HOST" not in found


def test_repeated_fields_are_joined_in_order(client):
    found = environ(client, "/", "X-A: 1", "Other: o", "x-a: 2", "X-A: 3, 4")
    assert found["HTTP_X_A"] == "1, 2, 3, 4"
    assert found["HTTP_OTHER"] == "o"
    assert environ(client, "/", "X-A: 1")["HTTP_X_A"] == "1"


def test_repeated_cookies_are_joined_as_cookies(client):
    found = environ(client, "/", "Cookie: a=1; b=2", "cookie: c=3", "Cookie: d=4")
    assert found["HTTP_COOKIE"] == "a=1; b=2; c=3; d=4"


def test_repeated_long_names_are_joined(client):
    name = "X-" + "Long-" * 20 + "Name"
    key = "HTTP_" + name.upper().replace("-", "_")
    assert environ(client, "/", f"{name}: 1", f"{name.lower()}: 2")[key] == "1, 2"


def test_white_space_around_a_value_is_no_part_of_it(client):
    found = environ(client, "/", "X-A:tight", "X-B: \t wide \t ", "X-C:", "X-D:   ")
    assert found["HTTP_X_A"] == "tight"
    assert found["HTTP_X_B"] == "wide"
    assert found["HTTP_X_C"] == ""
    assert found["HTTP_X_D"] == ""


def test_values_are_latin_1(client):
    assert environ(client, "/", "X-A: caf\xe9 \xff")["HTTP_X_A"] == "caf\xe9 \xff"


def test_content_type_and_length_have_no_prefix(client):
    found = environ(client, "/", "content-TYPE: text/x", method="POST", body=b"12345")
    assert found["CONTENT_TYPE"] == "text/x"
    assert found["CONTENT_LENGTH"] == "5"
    assert "HTTP_CONTENT_TYPE" not in found
    assert "HTTP_CONTENT_LENGTH" not in found


def test_content_length_zero(client):
    assert environ(client, "/", method="POST", body=b"")["CONTENT_LENGTH"] == "0"


def test_a_chunked_body_comes_with_its_length_and_without_its_coding(client):
    answer = ask(
        client,
        request("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"abc", b"defg")),
    )
    assert answer["body"] == "abcdefg"
    assert answer["environ"]["CONTENT_LENGTH"] == "7"
    assert "HTTP_TRANSFER_ENCODING" not in answer["environ"]
    assert answer["environ"]["wsgi.input_terminated"] is True


def test_names_with_an_underscore_are_not_passed_on(client):
    """They could stand for a name with a hyphen, which a proxy in front has checked."""
    long = "X_" + "Long_" * 20
    found = environ(
        client, "/", "X_Forwarded_For: evil", "X-Forwarded-For: good", "X_Alone: 1", f"{long}: 1"
    )
    assert found["HTTP_X_FORWARDED_FOR"] == "good"
    assert "HTTP_X_ALONE" not in found
    assert "HTTP_" + long.upper() not in found


def test_a_client_cannot_set_other_keys(client):
    found = environ(client, "/", "Remote-Addr: 1.2.3.4", "Wsgi.input: x", "Script-Name: /x")
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert found["HTTP_REMOTE_ADDR"] == "1.2.3.4"
    assert found["SCRIPT_NAME"] == ""
    assert found["HTTP_WSGI.INPUT"] == "x"


def test_nothing_is_left_from_the_request_before(client):
    first = ask(
        client,
        request("/first?first", "X-First: 1", "Content-Type: a/b", method="POST", body=b"first"),
    )
    assert first["environ"]["HTTP_X_FIRST"] == "1"
    second = ask(client, request("/second"))
    assert second["stranger"] is None
    assert second["body"] == ""
    assert second["environ"]["PATH_INFO"] == "/second"
    assert second["environ"]["SERVER_NAME"] == "127.0.0.1"
    for key in ("HTTP_X_FIRST", "HTTP_X_STRANGER", "CONTENT_TYPE", "CONTENT_LENGTH"):
        assert key not in second["environ"]


def test_the_same_fields_with_everything_else_changing(server):
    """Clients repeat their fields; what else a request says is its own."""
    asked = [
        (("/a",), {}, {"PATH_INFO": "/a", "QUERY_STRING": "", "REQUEST_METHOD": "GET"}),
        (("/b%2Fc",), {}, {"PATH_INFO": "/b/c"}),
        (("/a?query",), {}, {"PATH_INFO": "/a", "QUERY_STRING": "query"}),
        (("*",), {"method": "OPTIONS"}, {"PATH_INFO": "", "REQUEST_METHOD": "OPTIONS"}),
        (("/a",), {"method": "DELETE"}, {"PATH_INFO": "/a", "REQUEST_METHOD": "DELETE"}),
        (("http://other/a",), {}, {"PATH_INFO": "/a", "HTTP_HOST": "other"}),
        (("/d",), {"version": "1.0"}, {"PATH_INFO": "/d", "SERVER_PROTOCOL": "HTTP/1.0"}),
    ]
    common = {"HTTP_HOST": "localhost", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}
    for number in range(6):
        with Client(server.address) as one, Client(server.address) as two:
            for args, keywords, expected in asked[number:] + asked[:number]:
                for client in (one, two) if "version" not in keywords else (one,):
                    fields = ("X-Same: same", "Connection: keep-alive")
                    found = environ(client, *args, *fields, **keywords)
                    port = str(client.socket.getsockname()[1])
                    wanted = {**common, "REMOTE_PORT": port, "HTTP_X_SAME": "same", **expected}
                    assert {key: found[key] for key in wanted} == wanted


def test_requests_that_are_served_while_an_environ_is_made(serve):
    """A garbage collection can run in the middle, and finalizers, and there another request."""
    server = serve("collecting_app:application")

    def ask_often(number):
        with Client(server.address) as client:
            port = client.socket.getsockname()[1]
            for turn in range(50):
                path = f"/{number}/{turn}"
                assert client.get(path).body.decode() == f"{path} {port}"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask_often, range(8)))


def test_many_names_and_values(client):
    """More than any table of remembered names holds, with values that change."""
    for turn in range(8):
        names = [f"X-{turn}-{number}" for number in range(90)]
        found = environ(client, "/", *[f"{name}: {turn}.{name}" for name in names])
        for name in names:
            assert found["HTTP_" + name.upper().replace("-", "_")] == f"{turn}.{name}"


def test_the_same_field_with_changing_values(client):
    for value in ["a", "b", "b", "", "a" * 3000, "a", "\xe9"]:
        assert environ(client, "/", f"X-Same: {value}")["HTTP_X_SAME"] == value


def test_remote_address_and_port_of_each_client(server):
    ports = set()
    for last in (1, 2, 3):
        for _ in range(3):
            with Client(server.address, source=(f"127.0.0.{last}", 0)) as client:
                found = environ(client)
                assert found["REMOTE_ADDR"] == f"127.0.0.{last}"
                assert found["REMOTE_PORT"] == str(client.socket.getsockname()[1])
                ports.add(found["REMOTE_PORT"])
    assert len(ports) > 1


def test_errors_go_to_stderr(server, client):
    environ(client, "/?errors=of-the-request")
    lines = server.stderr().splitlines()
    for line in ("write", "first", "second", "print"):
        assert f"{line} of-the-request" in lines


def test_unix_socket(serve, tmp_path):
    path = str(tmp_path / "s")
    server = serve("environ_app:application", bind=f"unix:{path}")
    with Client(path) as client:
        found = environ(client, "/unix")
    assert found["PATH_INFO"] == "/unix"
    # PEP 3333: never empty; who serves a UNIX socket has neither.
    assert found["SERVER_NAME"]
    assert found["SERVER_PORT"].isdigit()
    assert found["REMOTE_ADDR"] == ""
    assert found.get("REMOTE_PORT", "") == ""
    server.stop()


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")
def test_ipv6(serve):
    server = serve("environ_app:application", bind="[::1]:0")
    with Client(server.address) as client:
        found = environ(client)
    assert found["SERVER_NAME"] == "::1"
    assert found["SERVER_PORT"] == str(server.address[1])
    assert found["REMOTE_ADDR"] == "::1"


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on the loopback")
def test_ipv4_client_of_a_dual_stack_listener(serve):
    server = serve("environ_app:application", bind="[::]:0")
    with Client(("127.0.0.1", server.address[1])) as client:
        assert environ(client)["REMOTE_ADDR"] in ("127.0.0.1", "::ffff:127.0.0.1")
