"""A walk from a signal handler, which comes between any two instructions of the interpreter."""

import ctypes
import random
import signal
import threading

import looking
import test_walk


def rest_of_nothing(rest):
    pass


def work(turns, chance):
    for number in range(turns):
        space = {}
        exec(f"def f_{number}(): return sorted([3, 1], key=lambda _: _)\n", space)
        space[f"f_{number}"]()
        test_walk.by_call([*(chance.choice(test_walk.KINDS) for _ in range(4)), rest_of_nothing])


def counts_of_signals():
    """How many signals; how many frames they saw, how many of these had no code object; how often
    no stack could be read, and how often it did not end where the thread's begins."""
    counts = (ctypes.c_uint64 * 5)()
    looking.library.probe_signal_counts(counts)
    return list(counts)


def test_signals_at_any_time():
    """Each stack is one, and each frame has a code object, but where 3.11 frees one while its frame
    is still the innermost."""
    chance = random.Random(4)
    thread = threading.Thread(target=work, args=(500, random.Random(5)))
    looking.library.probe_on_signal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
    try:
        thread.start()
        while counts_of_signals()[0] < 2000:
            work(100, chance)
        thread.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
    count, frames, without_code, unreadable, without_bottom = counts_of_signals()
    assert frames > count
    assert without_code <= count / 100
    assert unreadable <= count / 100
    assert without_bottom == 0
