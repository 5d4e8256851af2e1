"""zolal.interruptible.Event: what threads share with one that signals interrupt."""

import threading
import time

from zolal.interruptible import Event


def test_waiters_are_woken_and_may_come_again():
    event, woken = Event(), []
    for round_ in range(20):
        threads = [threading.Thread(target=lambda: woken.append(event.wait(20))) for _ in range(4)]
        for thread in threads:
            thread.start()
        if round_ % 2:
            time.sleep(0.01)
        event.set()
        for thread in threads:
            thread.join(20)
        assert event.is_set() and event.wait(0)
        event.clear()
        assert not event.is_set() and not event.wait(0) and not event.wait(0.001)
    assert woken == [True] * 80


def test_a_handler_that_raises_at_any_moment_leaves_it_usable(outcome_of):
    """threading.Event hangs here after some hundred rounds."""
    script = """
import signal, threading
from zolal.interruptible import Event
signal.signal(signal.SIGALRM, signal.default_int_handler)
event = Event()
for i in range(5000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.000001 * (i % 50 + 1))
        while True:
            event.clear()
            event.wait(0)
            event.set()
    except KeyboardInterrupt:
        pass
    thread = threading.Thread(target=event.set)
    event.clear()
    thread.start()
    assert event.wait(10)
    thread.join()
print("whole")
"""
    assert outcome_of(script) == ("whole\n", "")
