"""Names, lines and keys of code objects are what Python says they are."""

import importlib
import inspect
import pathlib
import random
import shutil
import subprocess
import sys
import sysconfig
import types

import looking
import pytest


def all_within(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from all_within(constant)


def lines_by_python(code):
    """The line of each instruction, 0 for none, as Python's own decoder has it."""
    if sys.version_info >= (3, 11):
        return [position[0] or 0 for position in code.co_positions()]
    lines = [0] * (len(code.co_code) // 2)
    for start, end, line in code.co_lines():
        lines[start // 2 : end // 2] = [line or 0] * ((end - start) // 2)
    return lines


def check_lines(code):
    expected = lines_by_python(code)
    found = [looking.line_at(id(code), 2 * at) for at in range(len(expected))]
    assert found == expected, code
    assert looking.line_at(id(code), 2 * len(expected)) == 0


STRANGE = """
def f(a, b):
    return (
        a

        + b(

            [x
             for x in a
             if x],
        ){lines}
        .g
    )

async def g():
    async with (
        f(1, 2) as x,
        f(3, 4),
    ):
        try:
            match x:
                case [1, *_] if x: pass
        except* ValueError:
            raise
        finally:
            yield
"""


def test_lines_of_strange_code():
    source = STRANGE.format(lines="\n" * 3000)
    if sys.version_info < (3, 11):
        source = source.replace("except*", "except")
    for code in all_within(compile(source, "strange.py", "exec")):
        check_lines(code)
    for code in all_within(compile("x = 1\n" * 5000 + "\n" * 100000 + "y\n", "long.py", "exec")):
        check_lines(code)


MODULES = ["argparse", "asyncio.base_events", "dataclasses", "decimal", "http.server", "logging"]
MODULES += ["inspect", "multiprocessing.pool", "socket", "subprocess", "typing", "unittest.mock"]


@pytest.mark.parametrize("name", MODULES)
def test_lines_and_names_of_the_standard_library(name):
    source = inspect.getsource(importlib.import_module(name))
    for code in all_within(compile(source, name, "exec", dont_inherit=True)):
        check_lines(code)
        assert looking.code_at(id(code)) == looking.named(code)


def test_lines_of_a_table_that_is_no_table():
    chance = random.Random(2)
    code = compile("a\nb\nc\n", "f", "exec")
    for _ in range(2000):
        table = chance.randbytes(chance.randrange(40))
        key = "co_linetable"
        broken = code.replace(**{key: table})
        for at in range(0, 400, 2):
            looking.line_at(id(broken), at)


def test_what_is_no_code_object():
    for thing in (object(), "text", 7, looking, type):
        assert looking.code_at(id(thing)) is None
        assert looking.key_of(thing) == 0
        assert looking.line_at(id(thing), 0) == 0


def test_the_key_stays():
    def function():
        return 1

    code = function.__code__
    key = looking.key_of(code)
    for _ in range(100):
        function()
    assert key != 0
    assert looking.key_of(code) == key
    assert looking.key_of(code.replace(co_firstlineno=code.co_firstlineno + 1)) != key


TEMPLATES = [
    ("def f(): return {n}\n", "<generated>"),
    ("def f_{n}(): pass\n", "<generated>"),
    ("def f(): pass\n", "<generated {n}>"),
    ("\n" * 5 + "def f():\n return [\n{n}]", "/tmp/é{n}.py"),
    ("\n" * 5 + "def f():\n return [{n}\n]", "/tmp/é{n}.py"),
]


def test_an_address_that_is_used_again_has_another_key():
    """What is remembered by address and key is never wrong, however code comes and goes."""
    chance = random.Random(3)
    by_key, by_address, changes, kept = {}, {}, 0, []
    for number in range(20000):
        source, file = chance.choice(TEMPLATES)
        space = {}
        exec(compile(source.format(n=number % 7), file.format(n=number % 5), "exec"), space)
        code = next(value for name, value in space.items() if name.startswith("f")).__code__
        truth = (looking.named(code), lines_by_python(code))
        changes += by_address.get(id(code), truth) != truth
        by_address[id(code)] = truth
        assert by_key.setdefault((id(code), looking.key_of(code)), truth) == truth
        if chance.random() < 0.01:
            kept = [space]
        del space, code
    assert changes > 1000 and kept


def test_the_layout_is_the_headers(tmp_path):
    """The offsets are those of the headers of this Python."""
    include = sysconfig.get_path("include")
    compiler = shutil.which("cc")
    if not compiler or not pathlib.Path(include, "internal/pycore_interp.h").exists():
        pytest.skip("there is no compiler, or Python's internal headers are missing")
    root = pathlib.Path(__file__).parents[2]
    program = tmp_path / "headers"
    sources = [
        pathlib.Path(__file__).with_name("headers.c"),
        root / f"src/frames/layout_3_{sys.version_info[1]}.c",
    ]
    folders = [f"-I{folder}" for folder in (include, f"{include}/internal", root / "src")]
    subprocess.run([compiler, "-w", *folders, "-o", program, *sources], check=True)
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)
