"""The loop that is tested: zolal's, or what ZOLAL_TEST_LOOP names (asyncio:SelectorEventLoop), so
that the tests can be tested."""

import asyncio
import importlib
import os

NAME = os.environ.get("ZOLAL_TEST_LOOP", "zolal:new_event_loop")


def factory():
    """What makes one."""
    module, _, name = NAME.partition(":")
    return getattr(importlib.import_module(module), name)


def run(main):
    """As asyncio.run, in every Python, on such a loop; what main has left is cancelled."""
    loop = factory()()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


def kind(loop=None):
    """What a loop is: "module.class"."""
    of = type(loop or asyncio.get_running_loop())
    return f"{of.__module__}.{of.__qualname__}"


def kind_made():
    """Of those that the factory makes."""
    loop = factory()()
    try:
        return kind(loop)
    finally:
        loop.close()
