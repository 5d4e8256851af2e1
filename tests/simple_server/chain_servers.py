"""Servers in a thread of the test's own process."""

import contextlib
import io
import os
import socket
import sys
import threading

PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))


def ask(address, request, family=None, end=False):
    """Send a request; all that comes back. `end`: nothing follows, the server may know."""
    if family is None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(request)
        if end:
            with contextlib.suppress(OSError):  # It has answered and closed already.
                client.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := client.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)


class Running:
    """A server's serve_forever() in a thread, from which an exception is kept."""

    def __init__(self, server, poll_interval=0.5):
        self.error = None
        self.thread = threading.Thread(target=self._serve, args=(server, poll_interval))
        self.thread.start()

    def _serve(self, server, poll_interval):
        try:
            server.serve_forever(poll_interval)
        except BaseException as error:
            self.error = error

    def join(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "serve_forever() has not ended"
        if self.error is not None:
            raise self.error


@contextlib.contextmanager
def running(server, poll_interval=0.5):
    """`with running(server):` it serves; at the end it is shut down and closed."""
    thread = Running(server, poll_interval)
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def standard_error():
    """What is written to sys.stderr meanwhile."""
    before, sys.stderr = sys.stderr, io.StringIO()
    try:
        yield sys.stderr
    finally:
        sys.stderr = before
