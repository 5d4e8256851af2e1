"""Programs of gevent: each call of the kernel stands under the lines of its greenlet."""

import pytest

pytest.importorskip("gevent")  # it is among requirements/test.txt

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, socket, threading

def talk(size):
    a, b = socket.socketpair()
    with a, b:
        for _ in range(30):
            a.sendall(bytes(size))
            left = size
            while left:
                left -= len(b.recv(left))
            gevent.sleep(0)

def one(): talk(1)
def two(): talk(2)
def three(): talk(3)
def in_a_pool(): talk(4)

pool = gevent.get_hub().threadpool
greenlets = [gevent.spawn(one), gevent.spawn(two), gevent.spawn(three)]
thread = threading.Thread(target=in_a_pool)
thread.start()
gevent.joinall(greenlets, raise_error=True)
thread.join()
"""
NAMES = {1: "one", 2: "two", 3: "three", 4: "in_a_pool"}


@pytest.mark.parametrize("options", [[], ["--exact"]], ids=" ".join)
def test_each_greenlet_has_its_own_calls(traced, options):
    calls = traced(PROGRAM, *options).calls
    counts = dict.fromkeys(NAMES, 0)
    for call in calls:
        if call["call"] in ("sendto", "recvfrom") and call["result"] in NAMES:
            functions = {frame["function"] for frame in call["stack"]}
            assert functions & set(NAMES.values()) == {NAMES[call["result"]]}, call
            counts[call["result"]] += 1
    assert set(counts.values()) == {60}
