"""What of a loop's handles the garbage collector frees, and when it must not: it is not told of
those that only the loop has."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

import zolal


class Thing:
    """Has the handle of its own method: a cycle."""

    timer = None
    calls = 0

    def method(self, *unused):
        self.calls += 1


@pytest.fixture
def loop():
    loop = zolal.new_event_loop()
    yield loop
    loop.close()


def ask_soon(loop, thing):
    return loop.call_soon(thing.method, thing)


def ask_later(loop, thing):
    return loop.call_later(0.0001, thing.method, thing)


def ask_and_cancel(loop, thing):
    handle = loop.call_later(0.0001, thing.method, thing)
    handle.cancel()
    return handle


def turn(loop):
    loop.run_until_complete(asyncio.sleep(0.001))


@pytest.mark.parametrize("ask", [ask_soon, ask_later, ask_and_cancel])
@pytest.mark.parametrize("is_held", [True, False])
def test_a_cycle_through_a_handle_that_has_run(loop, ask, is_held):
    thing = Thing()
    handle = ask(loop, thing)
    if is_held:
        thing.timer = handle
    turn(loop)
    assert thing.calls == (ask is not ask_and_cancel)
    assert not is_held or gc.is_tracked(handle)
    seen = weakref.ref(thing)
    del thing, handle
    gc.collect()
    assert seen() is None


def test_a_cycle_through_a_handle_whose_loop_was_closed():
    loop, thing = zolal.new_event_loop(), Thing()
    thing.timer = loop.call_later(1000, thing.method)
    seen = weakref.ref(thing)
    loop.close()
    del thing
    gc.collect()
    assert seen() is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("times", [1, 1000])
def test_a_loop_that_is_left_goes_with_what_only_it_has(times):
    """Its handles refer to it: a cycle that the collector sees, though not its handles."""
    loop = zolal.new_event_loop()
    things = [Thing() for _ in range(times)]
    seen = [weakref.ref(thing) for thing in things]
    for thing in things:
        context = contextvars.copy_context()
        context.run(contextvars.ContextVar("v").set, thing)
        loop.call_later(1000, thing.method, context=context)
        loop.call_soon(thing.method, loop)
        thing.loop = loop
    seen.append(weakref.ref(loop))
    del thing, things, loop, context
    gc.collect()
    assert [ref() for ref in seen if ref()] == []


@pytest.mark.parametrize("ask", [ask_soon, ask_later])
@pytest.mark.parametrize("is_held", [True, False])
def test_nothing_that_is_to_be_called_is_freed(loop, ask, is_held):
    """Neither what the loop alone refers to, nor what a handle does that others have."""
    seen, handles = [], []
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(60):
            thing = Thing()
            thing.itself = thing  # only the collector could free it
            seen.append(weakref.ref(thing))
            handle = ask(loop, thing)
            if is_held:
                handles.append(handle)
            del thing, handle
            gc.collect()
            assert all(ref() for ref in seen)
        counts = []
        for ref in seen:
            loop.call_later(0.0005, lambda ref=ref: counts.append(ref().calls if ref() else None))
        strong = [ref() for ref in seen]
        turn(loop)
        assert counts == [1] * 60
        assert len(strong) == 60
    finally:
        gc.set_threshold(*before)


def test_a_handle_that_others_have_keeps_its_own_when_its_loop_goes(recwarn):
    """What it refers to is alive as long as it is, and the loop with it."""
    loop, thing = zolal.new_event_loop(), Thing()
    handle = loop.call_later(1000, thing.method, [thing])
    seen = weakref.ref(thing), weakref.ref(loop)
    del loop, thing
    for _ in range(3):
        gc.collect()
    assert all(ref() for ref in seen)
    assert handle._args == ([seen[0]()],)
    handle._run()
    assert seen[0]().calls == 1
    seen[1]().close()
    del handle
    gc.collect()
    assert not any(ref() for ref in seen)


def test_references_are_what_they_were(loop):
    """10,000 of each kind leave nothing, and take nothing away."""
    thing = Thing()
    asks = [ask_soon, ask_later, ask_and_cancel]
    for ask in asks:
        ask(loop, thing)
    turn(loop)
    gc.collect()
    before = sys.getrefcount(thing), sys.getrefcount(loop), len(gc.get_objects())
    for ask in asks:
        kept = [ask(loop, thing) for _ in range(10_000)]
        turn(loop)
        del kept
    gc.collect()
    assert (sys.getrefcount(thing), sys.getrefcount(loop)) == before[:2]
    assert abs(len(gc.get_objects()) - before[2]) < 50
