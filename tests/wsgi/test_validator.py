"""wsgiref.validate.validator around an application finds nothing."""

import pytest
from http_client import Client, chunked, request


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("validator_app:application")


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def test_the_validator_is_at_work(client):
    response = client.get("/wrong")
    assert (response.status, response.reason) == (599, "Found")
    assert "AssertionError" in response.text


POST = {"method": "POST"}
CHUNKED = ("Transfer-Encoding: chunked",)
TEXT = b"one\ntwo three\nfour"


@pytest.mark.parametrize(
    "data, method, status, body",
    [
        (request("/read-size"), "GET", 200, b""),
        (request("/read-size?a=%20", "Cookie: a=1", "Accept: */*"), "GET", 200, b""),
        (request("/read-size", body=TEXT, **POST), "POST", 200, TEXT),
        (request("/read-size", body=b"x" * 100_000, **POST), "POST", 200, b"x" * 100_000),
        (request("/read-lines", body=TEXT, **POST), "POST", 200, TEXT),
        (request("/iterate", body=TEXT, **POST), "POST", 200, TEXT),
        (request("/iterate", *CHUNKED, body=chunked(TEXT, TEXT), **POST), "POST", 200, TEXT * 2),
        (request("/iterate", "Content-Type: a/b", body=b"", **POST), "POST", 200, b""),
        (request("/stream"), "GET", 200, b"piece 0\npiece 1\npiece 2\n"),
        (request("/stream", method="HEAD"), "HEAD", 200, b""),
        (request("/write"), "GET", 200, b"written, twice, returned"),
        (request("/write", method="HEAD"), "HEAD", 200, b""),
        (request("/head"), "GET", 200, b"hello"),
        (request("/head", method="HEAD"), "HEAD", 200, b""),
        (request("/no-content"), "GET", 204, b""),
        (request("/not-modified"), "GET", 304, b""),
        (request("/replace"), "GET", 500, b"replaced"),
        (request("/errors"), "GET", 200, b"said"),
        (request("/stream", version="1.0"), "GET", 200, b"piece 0\npiece 1\npiece 2\n"),
        (request("/head", version="1.0", host=None), "GET", 200, b"hello"),
    ],
)
def test_nothing_is_found(client, data, method, status, body):
    client.send(data)
    response = client.response(method)
    assert (response.status, response.body) == (status, body)


def test_every_iterable_was_closed(server):
    """The validator complains on stderr about an iterable that is collected without its close()."""
    with Client(server.address) as client:
        for _ in range(3):
            client.get("/stream")
            client.get("/write")
            client.get("/head", method="HEAD")
    assert "without being closed" not in server.stderr()
    assert "Traceback" not in server.stderr()
