"""What /proc tells about a process."""

import os
import time

from http_client import PATIENCE

TICK = os.sysconf("SC_CLK_TCK")


def descriptors(pid, at_most=None):
    """How many descriptors it has open; with `at_most`: once they are so few, or never will be."""
    deadline = time.monotonic() + PATIENCE
    while True:
        count = len(os.listdir(f"/proc/{pid}/fd"))
        if at_most is None or count <= at_most or time.monotonic() > deadline:
            return count
        time.sleep(0.01)


def threads_of(pid):
    """The numbers of its threads."""
    return {int(name) for name in os.listdir(f"/proc/{pid}/task")}


def private_memory(pid):
    """Bytes of memory that this process alone has written to."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Private_Dirty in smaps_rollup")


def is_sanitized(pid):
    """Does it run under AddressSanitizer, which keeps what is freed?"""
    with open(f"/proc/{pid}/maps") as file:
        return "libasan" in file.read()


def cpu_seconds(pid):
    """User and system time it has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
