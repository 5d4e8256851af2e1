"""A gate: an application stops at it until the test lets it pass, so that a test can prove what
happened before what without waiting for any length of time. The application's side is
apps/gates.py."""

import os
import socket
import tempfile

from http_client import PATIENCE


class Gate:
    """with Gate() as gate: ask for something with gate.path in it; gate.arrival() returns when the
    application stands at the gate; gate.open() lets it go on."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="gate-")
        self.path = os.path.join(self._folder.name, "s")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(100)
        self._listener.settimeout(PATIENCE)
        self._waiting = []
        return self

    def __exit__(self, *unused):
        self._listener.close()
        while self._waiting:
            self._waiting.pop().close()
        self._folder.cleanup()

    def arrival(self):
        """Wait until the application is there. Returns what it has to say."""
        visitor, _ = self._listener.accept()
        visitor.settimeout(PATIENCE)
        self._waiting.append(visitor)
        return visitor.recv(1000).decode()

    def open(self):
        """Let the application that arrived first pass."""
        visitor = self._waiting.pop(0)
        visitor.sendall(b"!")
        visitor.close()

    def pass_through(self):
        """Wait for an arrival and let it pass. Returns what it had to say."""
        said = self.arrival()
        self.open()
        return said
