"""Where an application waits for a test. See ../gate.py."""

import socket

PATIENCE = 30  # seconds: a test that has failed must not hold the server for ever


def stop(path, message="here"):
    """Stand at the gate until the test opens it, or is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gate:
        gate.settimeout(PATIENCE)
        try:
            gate.connect(path)
            gate.sendall(message.encode())
            gate.recv(1)
        except OSError:
            pass
