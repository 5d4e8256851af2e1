"""Recordings that are damaged, cut or made up: a clear error or something to show, no crash."""

import io
import json
import pathlib
import struct
import subprocess
import sys
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tracing import ZOLAL, run

from zolal.trace import jsonl
from zolal.trace.load import load
from zolal.trace.store import StoreError

TALK = """
import socket, threading
def talk(text):
    a, b = socket.socketpair()
    a.send(text)
    b.recv(100)
for text in (b"GET / HTTP/1.1\\r\\n", b"HTTP/1.1 200 OK\\r\\n"):
    thread = threading.Thread(target=talk, args=[text])
    thread.start()
    thread.join()
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendmsg([b"a", b"b"])
"""
HEADER = 4096
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The bytes of a recording that is whole."""
    folder = tmp_path_factory.mktemp("kept")
    file = folder / "kept.trace"
    ended = run([*ZOLAL, "trace", "-o", file, "--", sys.executable, "-c", TALK], folder)
    assert ended.status == 0, ended.err
    return file.read_bytes()


@pytest.fixture
def shown(tmp_path):
    """shown(bytes): the lines of the recording, or the StoreError."""

    def shown(content):
        file = tmp_path / "hostile.trace"
        file.write_bytes(content)
        try:
            trace = load(str(file))
        except StoreError as error:
            assert str(error)
            return error
        return list(jsonl.lines(trace))

    return shown


def begin_of_recording(kept):
    """Where the first recording lies in the archive."""
    return kept.index(b"zolalrec")


def test_what_is_whole_is_shown(kept, shown):
    assert len(shown(kept)) > 10


@quick
@given(st.data())
def test_cut_anywhere(kept, shown, data):
    shown(kept[: data.draw(st.integers(0, len(kept)))])


@quick
@given(st.data())
def test_bytes_that_are_others(kept, shown, data):
    """Anywhere: in the archive's heads, the recording's, its names, its slots."""
    begin = begin_of_recording(kept)
    changed = bytearray(kept)
    places = st.one_of(
        st.integers(0, begin - 1),
        st.integers(begin, begin + 256),
        st.integers(begin + HEADER, min(len(kept), begin + HEADER + 70_000) - 1),
        st.integers(0, len(kept) - 1),
    )
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        changed[place] = data.draw(st.integers(0, 255))
    shown(bytes(changed))


@quick
@given(st.lists(st.tuples(st.integers(2, 15), st.integers(0, 2**32 - 1)), min_size=1, max_size=4))
def test_a_head_with_other_numbers(kept, shown, numbers):
    """Version, counts, sizes, offsets: each of 32 bits, behind the magic."""
    begin = begin_of_recording(kept)
    changed = bytearray(kept)
    for index, value in numbers:
        struct.pack_into("=I", changed, begin + 4 * index, value)
    shown(bytes(changed))


@quick
@given(st.binary(max_size=5000))
def test_anything(shown, content):
    assert isinstance(shown(content), StoreError)


def archive(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


ABOUT = {"format": 1, "command": ["x"], "began_ns": 0}


@pytest.mark.parametrize(
    "content",
    [
        archive(),
        archive(("other", b"")),
        archive(("trace.json", b"")),
        archive(("trace.json", b"[]")),
        archive(("trace.json", b"[" * 100_000)),
        archive(("trace.json", b'{"format": 1, "command": 3}')),
        archive(("trace.json", b'{"format": 99, "command": []}')),
        archive(("trace.json", b'{"format": 1e999, "command": []}')),
        archive(("trace.json", json.dumps(ABOUT).encode()), ("1.0.trace", b"")),
        archive(("trace.json", json.dumps(ABOUT).encode()), ("1.0.trace", b"x" * 5000)),
    ],
)
def test_archives_that_are_none(shown, content):
    assert isinstance(shown(content), StoreError)


@pytest.mark.parametrize("value", [None, "text", [1], {}, 1e308, -(2**70), True])
def test_an_about_with_other_values(shown, value):
    for name in ("began_ns", "ended_ns", "status", "failures", "failure"):
        shown(archive(("trace.json", json.dumps({**ABOUT, name: value}).encode())))
    shown(archive(("trace.json", json.dumps({**ABOUT, "command": [value]}).encode())))


def test_no_link_is_followed(tmp_path, shown, kept):
    """A recording's archive names no other file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        text = json.dumps(ABOUT).encode()
        info = tarfile.TarInfo("trace.json")
        info.size = len(text)
        made.addfile(info, io.BytesIO(text))
        link = tarfile.TarInfo("1.0.trace")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        made.addfile(link)
    assert shown(out.getvalue()) == []


def test_the_command_says_what_is_wrong(tmp_path, kept):
    for content, said in (
        (b"no recording", b"is not a recording of zolal trace"),
        (kept[: begin_of_recording(kept) + 100], b""),
    ):
        file = tmp_path / "hostile.trace"
        file.write_bytes(content)
        ended = run([*ZOLAL, "xray", file, "--as", "jsonl"], tmp_path)
        assert ended.status == 3
        assert ended.err.startswith(b"zolal: ") and said in ended.err
        assert b"Traceback" not in ended.err
    assert run([*ZOLAL, "xray", tmp_path / "nothing"], tmp_path).status == 3
    assert run([*ZOLAL, "xray", tmp_path], tmp_path).status == 3
    assert run([*ZOLAL, "xray", "/dev/zero"], tmp_path).status == 3


@pytest.mark.parametrize("view", ["tree", "summary", "jsonl"])
def test_views_of_damaged_recordings(tmp_path, kept, view):
    """Every hundredth byte is another."""
    changed = bytearray(kept)
    begin = begin_of_recording(kept) + HEADER
    for place in range(begin, len(changed), 101):
        changed[place] ^= 0x5A
    file = tmp_path / "hostile.trace"
    file.write_bytes(changed)
    ended = run([*ZOLAL, "xray", file, "--as", view], tmp_path)
    assert ended.status in (0, 3)
    assert b"Traceback" not in ended.err, ended.err


def test_terminal_codes_are_not_passed_on(tmp_path):
    """What a peer has sent does not reach the terminal as it is."""
    text = "import socket; a, b = socket.socketpair()\n"
    text += "a.send(b'GET /\\x1b[31m\\x07 HTTP/1.1\\r\\n'); b.recv(100)"
    words = [*ZOLAL, "trace", "--", sys.executable, "-c", text]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    assert b"\x1b[31m\x07" not in ended.stderr
    assert pathlib.Path(tmp_path).exists()
