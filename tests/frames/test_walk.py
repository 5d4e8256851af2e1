"""What a walk of the interpreter's structs sees is what Python says of the same stack."""

import asyncio
import functools
import pathlib
import random
import subprocess
import sys
import threading
import time
import types

import looking
import pytest
from looking import check_stack

# Each takes a list of functions, and calls the first with the rest, somehow.


def by_call(rest):
    return rest[0](rest[1:])


def by_lambda(rest):
    return (lambda *, rest: rest[0](rest[1:]))(rest=rest)


def by_generator(rest):
    def inner():
        yield from outer()

    def outer():
        yield 1
        yield rest[0](rest[1:])

    return list(inner())


def by_expression(rest):
    return next(first(rest[1:]) for first in rest for first in [first])


def by_comprehension(rest):
    return [[{n: [rest[0](rest[1:]) for _ in range(1)] for n in [0]} for _ in [0]] for _ in [0]]


def by_class(rest):
    class Body:
        result = rest[0](rest[1:])

    return Body.result


def by_exec(rest):
    exec("\n\n(lambda: rest[0](\n  rest[1:]))()", {"rest": rest})


def by_sorted(rest):
    return sorted([0], key=lambda _: rest[0](rest[1:]))


def by_partial(rest):
    return functools.partial(rest[0])(rest[1:])


def by_method(rest):
    class Thing:
        def __init__(self):
            rest[0](rest[1:])

        def __del__(self):
            rest[0](rest[1:])

    Thing()


def by_property(rest):
    class Thing:
        @property
        def value(self):
            return rest[0](rest[1:])

        def __getattr__(self, name):
            return self.value

    return Thing().missing


def by_await(rest):
    async def innermost():
        return rest[0](rest[1:])

    async def middle():
        async with Manager():
            return [await innermost() async for _ in numbers()]

    async def numbers():
        yield 1

    class Manager:
        async def __aenter__(self):
            await innermost()

        async def __aexit__(self, *_):
            pass

    coroutine = middle()
    try:
        coroutine.send(None)
    except StopIteration:
        pass


def by_throw(rest):
    def catching():
        try:
            yield
        except ValueError:
            yield rest[0](rest[1:])

    generator = catching()
    next(generator)
    generator.throw(ValueError())


def by_decorator(rest):
    @lambda function: function()
    def decorated(*arguments, default=rest, **named):
        free = default

        def closure():
            return free[0](free[1:])

        return closure()


def by_lines(rest):
    return {
        "one": 1,
        "two": (
            rest[0](
                rest[1:],
            )
        ),
    }


def by_closing(rest):
    def generator():
        try:
            yield
        finally:
            rest[0](rest[1:])

    started = generator()
    next(started)
    del started


KINDS = [value for name, value in sorted(globals().items()) if name.startswith("by_")]


def bottom(rest):
    check_stack()
    check_stack(looking.holding)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_call(kind):
    kind([bottom])
    kind([kind, bottom])


def test_thousands_of_stacks():
    chance = random.Random(1)
    for _ in range(1500):
        chain = [chance.choice(KINDS) for _ in range(chance.randrange(1, 5))]
        by_call([*chain, bottom])


def test_a_task_shows_what_awaits():
    async def leaf():
        await asyncio.sleep(0)
        check_stack()
        return looking.seen(looking.walk()[1])

    async def branch():
        return await leaf()

    async def root():
        return await asyncio.gather(branch(), asyncio.ensure_future(branch()))

    for frames in asyncio.run(root()):
        names = [frame.named.name.split(".")[-1] for frame in frames]
        assert names[:2] == ["leaf", "branch"]
        assert [frame.named.flags & 0x80 for frame in frames[:2]] == [0x80, 0x80]


def test_a_deep_stack_is_cut():
    def deep(level):
        return looking.walk(20) if level == 0 else deep(level - 1)

    end, keys = deep(100)
    assert end == looking.MORE
    assert [looking.code_at(code).name.split(".")[-1] for code, _ in keys] == ["deep"] * 20


def test_no_room_at_all():
    assert looking.walk(0) == (looking.MORE, [])


def test_threads_see_their_own():
    failures = []

    def run(seed):
        chance = random.Random(seed)
        try:
            for _ in range(60):
                time.sleep(0.0001)
                by_call([chance.choice(KINDS), chance.choice(KINDS), bottom])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_greenlets_have_stacks_of_their_own():
    greenlet = pytest.importorskip("greenlet")

    def inside(other):
        for _ in range(3):
            check_stack()
            by_lines([bottom])
            other.switch()

    main = greenlet.getcurrent()
    tasks = [greenlet.greenlet(inside) for _ in range(3)]
    for _ in range(3):
        for task in tasks:
            by_generator([lambda _, task=task: task.switch(main)])
            check_stack()


def test_a_subinterpreter_is_not_mistaken():
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    interpreters = pytest.importorskip(name)
    check_stack()
    other = interpreters.create()
    end, keys = looking.walk()
    interpreters.destroy(other)
    assert (end, keys) == (looking.SUBINTERPRETER, [])
    check_stack()


def test_a_thread_that_is_not_pythons():
    assert looking.library.probe_walk_in_thread() == looking.NO_THREAD


ENDING = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import looking

def spin():
    looking.library.probe_spin(1 << 31)

threading.Thread(target=spin, daemon=True).start()
time.sleep(0.05)
print("done", flush=True)
"""


def test_a_thread_that_outlives_python():
    """It walks on while the interpreter is taken down."""
    for _ in range(5):
        here = str(pathlib.Path(__file__).parent)
        command = [sys.executable, "-c", ENDING, here]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=60)
        assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_name_of_each_width():
    for name in ("plain", "é", "λ", "名前", "𝛼", "a" * 5000, "名" * 3000, "\udc80x"):
        code = (lambda: check_stack()).__code__
        names = {"co_name": name, "co_filename": name + ".py"}
        if sys.version_info >= (3, 11):
            names["co_qualname"] = "outer." + name
        function = types.FunctionType(code.replace(**names), globals())
        found = looking.code_at(id(function.__code__), 1 << 16)
        assert found == looking.named(function.__code__)
        if len(name) < 1000:
            function()


def test_long_names_are_cut_between_characters():
    code = (lambda: 0).__code__.replace(co_name="x" + "名" * 30, co_filename="f")
    if sys.version_info >= (3, 11):
        code = code.replace(co_qualname=code.co_name)
    for size in range(100):
        found = looking.code_at(id(code), size)
        assert found.name == ("x" + "名" * 30).encode()[:size].decode(errors="ignore")
        assert found.is_cut == (size < 91)
