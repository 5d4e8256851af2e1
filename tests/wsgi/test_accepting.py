"""Ends that come while a request which was just accepted waits for its body."""

from http_client import Client, request

EXPECT = "Expect: 100-continue"


def test_a_client_that_resets_while_read_waits(serve):
    server = serve("waiting_app:application")
    with Client(server.address) as client:
        client.send(request("/read", EXPECT, "Content-Length: 100", method="POST"))
        assert client.interim().status == 100
        client.reset()
    with Client(server.address) as client:
        assert client.get("/size?2").body == b"ss"


def test_a_stop_in_a_call_for_a_connection_that_was_just_accepted(serve):
    server = serve("waiting_app:application", "--graceful-timeout=0.3", "--body-timeout=0")
    with Client(server.address) as client:
        client.send(request("/read", EXPECT, "Content-Length: 100", method="POST"))
        assert client.interim().status == 100
        server.stop()
