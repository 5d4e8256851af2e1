"""The frames of this Python and of another process, as src/frames/ sees them and as Python does."""

import ctypes
import os
import pathlib
import sys
from typing import NamedTuple

BUILD = pathlib.Path(
    os.environ.get("ZOLAL_BUILD") or pathlib.Path(__file__).parents[2] / "build/plain"
)
ALL, MORE, NO_THREAD, IDLE, ENDING, SUBINTERPRETER, UNREADABLE = range(7)
MAX = 512

library = ctypes.CDLL(str(BUILD / "tests/frames/frames_probe.so"))
"""Its calls release the GIL, as a system call of a Python program does."""
holding = ctypes.PyDLL(str(BUILD / "tests/frames/frames_probe.so"))
"""Its calls keep it."""


class Key(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint64), ("instruction", ctypes.c_uint64)]


class Text(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("len", ctypes.c_size_t),
        ("is_cut", ctypes.c_bool),
    ]


class Code(ctypes.Structure):
    _fields_ = [
        ("name", Text),
        ("file", Text),
        ("first_line", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    ]


library.probe_version.restype = ctypes.c_char_p
library.probe_key.restype = ctypes.c_uint64
library.probe_key.argtypes = [ctypes.c_int, ctypes.c_uint64]
library.probe_line.restype = ctypes.c_uint32
library.probe_line.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64]
library.probe_code.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.POINTER(Code)]


class Named(NamedTuple):
    name: str
    file: str
    first_line: int
    flags: int
    is_cut: bool = False


class Frame(NamedTuple):
    code: int
    instruction: int
    named: Named
    line: int


def code_at(address, size=4096, is_remote=0):
    """What the code object there is, or None."""
    name, file = (ctypes.create_string_buffer(size) for _ in range(2))
    places = [Text(ctypes.cast(place, ctypes.c_char_p), size, 0, False) for place in (name, file)]
    code = Code(*places)
    if library.probe_code(is_remote, address, ctypes.byref(code)) < 0:
        return None
    return Named(
        name.raw[: code.name.len].decode(),
        file.raw[: code.file.len].decode(),
        code.first_line,
        code.flags,
        code.name.is_cut or code.file.is_cut,
    )


def line_at(address, instruction, is_remote=0):
    return library.probe_line(is_remote, address, instruction)


def key_of(code):
    return library.probe_key(0, id(code))


def walk(limit=MAX, calls=library):
    """(how it ended, the keys) of the calling thread, from the caller's frame on."""
    keys, count = (Key * (limit + 1))(), ctypes.c_size_t()
    end = calls.probe_walk(keys, ctypes.c_size_t(limit + 1), ctypes.byref(count))
    return end, [(key.code, key.instruction) for key in keys[1 : count.value]]


def walk_remote(tid):
    keys, count = (Key * MAX)(), ctypes.c_size_t()
    end = library.probe_walk_remote(tid, keys, ctypes.c_size_t(MAX), ctypes.byref(count))
    return end, [(key.code, key.instruction) for key in keys[: count.value]]


def seen(keys, is_remote=0):
    """The frames with these keys, in full."""
    return [
        Frame(*key, code_at(key[0], is_remote=is_remote), line_at(*key, is_remote)) for key in keys
    ]


def named(code):
    name = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
    return Named(utf8(name), utf8(code.co_filename), code.co_firstlineno, code.co_flags)


def utf8(text):
    """`text` with lone surrogates replaced, as src/frames/ gives it."""
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text)


def frames_of_python():
    """What Python says, from the caller's frame on."""
    frames, frame = [], sys._getframe(1)
    while frame:
        code = frame.f_code
        frames.append(Frame(id(code), max(frame.f_lasti, 0), named(code), frame.f_lineno or 0))
        frame = frame.f_back
    return frames


def check_stack(calls=library):
    """Both see the same, but for which instruction of this function is running."""
    (end, keys), expected = walk(calls=calls), frames_of_python()  # one line: where both stand
    assert end == ALL
    found = seen(keys)
    assert [found[0]._replace(instruction=0), *found[1:]] == [
        expected[0]._replace(instruction=0),
        *expected[1:],
    ]


assert library.probe_find() == 0, "this Python is not known to src/frames/"
