"""What built files show to a linker: the extension its PyInit alone, the core nothing of Python,
the library of `zolal trace` what it puts itself in the place of."""

import os
import pathlib
import re
import subprocess

import pytest

import zolal._zolal

ROOT = pathlib.Path(__file__).parents[2]
BUILD = pathlib.Path(os.environ.get("ZOLAL_BUILD") or ROOT / "build/plain")


def nm(*arguments):
    done = subprocess.run(["nm", *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_extension_exports_its_init_function_alone():
    lines = nm("--dynamic", "--defined-only", "--format=posix", zolal._zolal.__file__)
    assert [line.split()[0] for line in lines] == ["PyInit__zolal"]


@pytest.fixture
def hello():
    program = BUILD / "examples/hello"
    assert program.is_file(), f"{program} is not built (ZOLAL_BUILD names another build folder)"
    return program


def test_the_c_example_needs_no_python(hello):
    needed = subprocess.run(["readelf", "-d", hello], capture_output=True, text=True, check=True)
    assert "NEEDED" in needed.stdout
    assert "python" not in needed.stdout
    names = {line.split()[0] for line in nm("--format=posix", hello)}
    assert "main" in names
    assert [name for name in names if name.startswith(("Py", "_Py"))] == []


def test_no_object_below_python_refers_to_python():
    objects = [path for path in BUILD.glob("src/*/*.a.p/*.o") if path.parts[-3] != "python"]
    assert objects
    lines = nm("--undefined-only", "--print-file-name", *objects)
    assert [line for line in lines if " Py" in line or " _Py" in line] == []


def test_the_library_of_trace_exports_what_it_wraps():
    library = pathlib.Path(zolal._zolal.__file__).with_name("zolal_preload.so")
    lines = nm("--dynamic", "--defined-only", "--format=posix", library)
    text = (ROOT / "src/preload/next.h").read_text()
    table = text[text.index("PRELOAD_FUNCTIONS(X)") : text.index("enum next")]
    wrapped = set(re.findall(r"X\((\w+)\)", table))
    assert {line.split()[0] for line in lines} == wrapped | {"zolal_preload_join"}
    assert len(wrapped) > 60


def test_the_library_of_trace_needs_no_python():
    library = pathlib.Path(zolal._zolal.__file__).with_name("zolal_preload.so")
    names = {
        line.split()[0] for line in nm("--dynamic", "--undefined-only", "--format=posix", library)
    }
    assert [name for name in names if name.startswith(("Py", "_Py"))] == []
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True)
    assert set(re.findall(r"NEEDED.*\[(.*)\]", needed.stdout)) <= {
        "libc.so.6",
        "libdl.so.2",
        "libpthread.so.0",
        "ld-linux-aarch64.so.1",
    }
