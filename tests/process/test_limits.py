"""Limits and patience as flags: each is reached, and one less is not."""

import json
import time

import pytest
from gate import Gate
from http_client import Client, chunked, request

CHUNKED = "Transfer-Encoding: chunked"


def post(body, *fields):
    return request("/", *fields, method="POST", body=body)


def statuses(serve, flags, *requests, app="hints_app:application"):
    """The status of each request on a connection of its own."""
    server = serve(app, *flags)
    found = []
    for data in requests:
        with Client(server.address) as client:
            client.send(data)
            found.append(client.response().status)
    return found


def post_chunked(body):
    return post(body, CHUNKED)


def field(length):
    return request("/", "A: " + "b" * (length - 3))


LINE = len("GET / HTTP/1.1")
HEAD = len("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize(
    ("flag", "fits", "exceeds", "status"),
    [
        (f"--limit-request-line={LINE + 5}", request("/" + "x" * 5), request("/" + "x" * 6), 414),
        (
            "--limit-request-fields=3",
            request("/", "A: b", "C: d"),
            request("/", *["A: b"] * 3),
            431,
        ),
        ("--limit-request-field_size=20", field(20), field(21), 431),
        ("--limit-request-field-size=20", field(20), field(21), 431),
        (f"--limit-request-head={HEAD + 8}", request("/", "A: bcd"), request("/", "A: bcde"), 431),
        (
            "--limit-request-body=10",
            post(b"x" * 10),
            post(b"x" * 11),
            413,
        ),
        (
            "--limit-request-body=10",
            post_chunked(chunked(b"12345", b"12345")),
            post_chunked(chunked(b"12345", b"123456")),
            413,
        ),
        (
            "--limit-chunk-extensions=8",
            post_chunked(b"1;a=b\r\nx\r\n0\r\n\r\n"),
            post_chunked(b"1;a=bcdefgh\r\nx\r\n0\r\n\r\n"),
            400,
        ),
        (
            "--limit-trailers=10",
            post_chunked(b"0\r\nA: b\r\n\r\n"),
            post_chunked(b"0\r\nA: bcdefghijk\r\n\r\n"),
            431,
        ),
    ],
)
def test_a_size(serve, flag, fits, exceeds, status):
    assert statuses(serve, [flag], fits, exceeds) == [200, status]


AMBIGUOUS = request("/", "X_Forwarded_For: 6.6.6.6", "X-Real: 1")


@pytest.mark.parametrize(
    ("value", "status", "names"),
    [
        ("drop", 200, ["HTTP_HOST", "HTTP_X_REAL"]),
        ("dangerous", 200, ["HTTP_HOST", "HTTP_X_FORWARDED_FOR", "HTTP_X_REAL"]),
        ("refuse", 400, None),
    ],
)
def test_header_map(serve, value, status, names):
    server = serve("hints_app:application", "--header-map", value)
    with Client(server.address) as client:
        client.send(AMBIGUOUS)
        response = client.response()
    assert response.status == status
    if names:
        assert json.loads(response.body) == names


def test_a_body_that_drips(serve):
    """Each piece comes in time, and all of them too slowly."""
    server = serve("hints_app:application", "--body-timeout=0.3", "--body-rate=1000")
    with Client(server.address) as client:
        client.send(request("/", "Content-Length: 1000", method="POST"))
        for _ in range(200):
            try:
                client.send(b"x")
            except OSError:
                break
            if client.has_input():
                break
            time.sleep(0.05)
        assert client.response("POST").status == 408


@pytest.mark.parametrize(("most", "places"), [(1, range(2, 5)), (64, [22])])
def test_a_pipeline_takes_turns(serve, most, places):
    """A connection with 21 requests at once, and one beside it that comes while the first runs."""
    server = serve("order_app:application", f"--limit-pipeline={most}", "--threads=1")
    with Gate() as gate, Client(server.address) as many, Client(server.address) as one:
        many.send(request(f"/gated?{gate.path}") + request("/") * 20)
        gate.arrival()
        one.send(request("/"))
        gate.open()
        assert int(one.response().body) in places
        numbers = [int(many.response().body) for _ in range(21)]
    assert numbers == sorted(numbers)


def test_a_client_that_says_nothing(serve):
    """Its patience is a header's, not an idle connection's."""
    server = serve("hints_app:application", "--header-timeout=0.2", "--keep-alive=60")
    with Client(server.address) as client:
        client.expect_end()
    with Client(server.address) as client:
        assert client.get("/").status == 200
        time.sleep(0.5)  # idle now, and patience is longer
        assert client.get("/").status == 200
