"""The recording of the test's own process, and the look after what servers leave behind."""

import contextlib
import os
import threading
import time

import pytest
from chain_servers import PATIENCE

from zolal import _zolal


def descriptors():
    """What is open: number -> what it is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # That of the folder itself.
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


@pytest.fixture(scope="module", autouse=True)
def recording():
    """The path of this process's recording."""
    _zolal.recording_stop()  # One that another test has left.
    path = _zolal.recording_start()
    yield path
    _zolal.recording_stop()


@pytest.fixture
def recorded(recording):
    """recorded(): the names of the kernel calls and of the Python calls since it was last asked."""
    reader = _zolal.Reader(recording)

    def recorded():
        names = []
        while events := reader.read():
            names += [event.name or event.op for event in events if event.kind == "python_enter"]
            names += [event.op for event in events if event.kind == "call"]
        return names

    recorded()
    yield recorded
    reader.close()


@pytest.fixture(autouse=True)
def nothing_left_behind(recording):
    """No descriptor and no thread outlives a test."""
    threads, open_before = threading.active_count(), descriptors()
    yield
    deadline = time.monotonic() + PATIENCE

    def left():
        opened = {fd: what for fd, what in descriptors().items() if fd not in open_before}
        return opened, threading.active_count() - threads

    # Nobody waits for a daemon's last step.
    while left() != ({}, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left() == ({}, 0), threading.enumerate()


@pytest.fixture
def quiet(capsys):
    """quiet(): what has been written to standard error so far."""
    pieces = []

    def quiet():
        pieces.append(capsys.readouterr().err)
        return "".join(pieces)

    return quiet
