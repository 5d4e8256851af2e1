"""A walk from a signal handler, which comes between any two instructions of the interpreter."""

import ctypes
import random
import signal
import threading

import looking
import test_walk


def rest_of_nothing(rest):
    pass


def work(turns):
    chance = random.Random(turns)
    for number in range(turns):
        space = {}
        exec(f"def f_{number}(): return sorted([3, 1], key=lambda _: _)\n", space)
        space[f"f_{number}"]()
        test_walk.by_call([*(chance.choice(test_walk.KINDS) for _ in range(4)), rest_of_nothing])


def test_signals_at_any_time():
    """Every frame that is seen has a code object, but where 3.11 and older free one while its frame
    is still the innermost."""
    counts = (ctypes.c_uint64 * 3)()
    looking.library.probe_on_signal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        threads = [threading.Thread(target=work, args=(1500 + n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        work(1500)
        for thread in threads:
            thread.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    looking.library.probe_signal_counts(counts)
    count, frames, wrong = counts
    assert count > 1000
    assert frames > count
    assert wrong <= count / 100
