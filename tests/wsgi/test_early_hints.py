"""wsgi.early_hints: 103 (Early Hints), RFC 8297."""

import time

import pytest
from http_client import PATIENCE, Client, request


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("hints_app:application")


def test_hints_come_before_the_answer(server):
    with Client(server.address) as client:
        for _ in range(2):
            client.send(request("/hints"))
            response = client.response()
            assert response.status == 200
            assert response.interim == [103, 103]


def test_the_bytes_of_a_hint(server):
    with Client(server.address) as client:
        client.send(request("/hints", "Connection: close"))
        while client.receive(time.monotonic() + PATIENCE):
            pass
        assert client.buffer.startswith(
            b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
            b"HTTP/1.1 103 Early Hints\r\nLink: </code.js>; rel=preload; as=script\r\nX: y\r\n\r\n"
            b"HTTP/1.1 200 OK\r\n"
        )


def test_an_old_client_gets_none(server):
    with Client(server.address) as client:
        client.send(request("/hints", version="1.0"))
        assert client.response().interim == []


def test_after_the_head_it_is_too_late(server):
    with Client(server.address) as client:
        response = client.get("/late")
        assert (response.status, response.body, response.interim) == (200, b"hello", [])


def test_a_hint_cannot_inject(server):
    with Client(server.address) as client:
        response = client.get("/bad")
        assert response.status == 500 and response.interim == []
    assert "ValueError" in server.stderr()
