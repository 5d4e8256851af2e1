"""What a loop takes for itself: `loop_micro.py LOOP` prints {work: nanoseconds of CPU each}."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

from loops import new_loop

COUNT = 20_000
TIMERS = 10_000


def nothing() -> None:
    pass


async def no_coroutine() -> None:
    pass


async def drained(loop: asyncio.AbstractEventLoop) -> None:
    """Until all that was asked of the loop is done."""
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


async def call_soon(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT // 100):
        for _ in range(100):
            loop.call_soon(nothing)
        await drained(loop)


async def call_soon_threadsafe(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT // 100):
        for _ in range(100):
            loop.call_soon_threadsafe(nothing)
        await drained(loop)


async def call_later_cancel(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT // 100):
        for _ in range(100):
            loop.call_later(60, nothing).cancel()
        await drained(loop)


async def create_task(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT):
        await loop.create_task(no_coroutine())


async def future_wake_up(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


async def sleep_0(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(COUNT):
        await asyncio.sleep(0)


async def timers(loop: asyncio.AbstractEventLoop) -> None:
    """All at once, due in an order that is not theirs; each fires."""
    last = loop.create_future()
    for number in range(TIMERS):
        loop.call_later(0.001 + number * 7919 % TIMERS * 1e-8, nothing)
    loop.call_later(0.002, last.set_result, None)
    await last


Work = Callable[[asyncio.AbstractEventLoop], Awaitable[None]]
WORKS: dict[str, tuple[Work, int]] = {
    "call_soon": (call_soon, COUNT),
    "call_soon_threadsafe": (call_soon_threadsafe, COUNT),
    "call_later + cancel": (call_later_cancel, COUNT),
    "create_task + await": (create_task, COUNT),
    "future wake-up": (future_wake_up, COUNT),
    "sleep(0)": (sleep_0, COUNT),
    "10,000 timers, each": (timers, TIMERS),
}


async def measure(loop: asyncio.AbstractEventLoop) -> dict[str, float]:
    found = {}
    for name, (work, count) in WORKS.items():
        await work(loop)
        begin = time.process_time_ns()
        await work(loop)
        found[name] = (time.process_time_ns() - begin) / count
    return found


if __name__ == "__main__":
    loop = new_loop(sys.argv[1])
    asyncio.set_event_loop(loop)
    print(json.dumps(loop.run_until_complete(measure(loop))))
