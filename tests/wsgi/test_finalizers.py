"""bytes whose finalizer calls write(): it runs behind the flush that has said "wait", and waits
itself (worker_wait) until all is drained. Then responder_pump returns with STEP_WAIT and nothing
pending, so awaits_room is false and on_writable never comes: the answer hangs for ever, and a stop
waits its whole --graceful-timeout. And when the client leaves in that nested wait, the exchange is
given back while the responder keeps a pointer to it and its iterable is never closed."""

import os
import time

from http_client import PATIENCE, Client, request


def test_bytes_that_write_where_they_are_freed(serve):
    server = serve("strange_app:application", "--graceful-timeout=1")
    with Client(server.address, receive_buffer=10_000) as client:
        client.send(request("/bytes-with-finalizers"))
        response = client.response()
        assert response.body.count(b"q") == 3 * 6_000_000
    with Client(server.address) as client:
        assert client.get("/plain").body == b"plain"


def test_a_client_that_leaves_bytes_that_write_where_they_are_freed(serve):
    server = serve("strange_app:application", "--graceful-timeout=1")
    with Client(server.address, receive_buffer=10_000) as client:
        client.send(request("/bytes-with-finalizers"))
        client.piece(client.head())
        time.sleep(0.2)
        client.reset()
    with Client(server.address) as client:
        deadline = time.monotonic() + PATIENCE / 4
        while client.get("/ask-closed").body != b"True":
            assert time.monotonic() < deadline, "close() was not called"
        assert client.get("/write-late").body == b"AssertionError"


def test_clients_that_leave_while_their_environ_is_made(serve):
    threads = os.environ.get("ZOLAL_TEST_THREADS", "2")
    server = serve("finalizing_app:application", f"--threads={threads}")
    for _ in range(40):
        with Client(server.address) as client:
            client.send(request("/"))
            time.sleep(0.006)
            client.reset()
    with Client(server.address) as client:
        assert client.get("/").body == b"ok"
