"""wsgi.file_wrapper: PEP 3333 "Optional Platform-Specific File Handling", sendfile(2)."""

import gzip
import json
import os
import socket
import time

import pytest
from http_client import PATIENCE, Client, Truncated, request
from probe import descriptors
from running import THREADS

DATA = b"".join(b"%08d\n" % number for number in range(100_000))
SPARSE = 100_000_000
LARGE = DATA * 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "data.bin").write_bytes(DATA)
    (folder / "large.bin").write_bytes(LARGE)
    (folder / "data.gz").write_bytes(gzip.compress(DATA))
    (folder / "empty.bin").write_bytes(b"")
    with open(folder / "sparse.bin", "wb") as file:
        file.truncate(SPARSE)
    return folder


@pytest.fixture(scope="module")
def server(serve_module, folder):
    return serve_module("files_app:application", env={"FILES_FOLDER": str(folder)})


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        client.get("/log")
        yield client


def log(client):
    return json.loads(client.get("/log").body)


def wait_for_close(server):
    """What was logged up to a close(), which comes when the server has noticed the end."""
    deadline = time.monotonic() + PATIENCE
    found = []
    with Client(server.address) as client:
        while "close" not in found and time.monotonic() < deadline:
            found += log(client)
    return found


WHOLE = {
    "/whole": DATA,
    "/offset": DATA[12345:],
    "/at-the-end": b"",
    "/beyond-the-end": b"",
    "/buffered": DATA[10:],
    "/empty": b"",
    "/bytes-io": b"b" * 100_000,
    "/file-like": b"f" * 100_000,
    "/only-read": b"o" * 100_000,
    "/fileno-fails": b"x" * 1000,
    "/fileno-none": b"x" * 1000,
    "/fileno-negative": b"x" * 1000,
    "/tell-fails": b"x" * 1000,
    "/pipe": b"through a pipe",
    "/whole?middleware=1": DATA,
    "/offset?middleware=1": DATA[12345:],
    "/file-like?middleware=1": b"f" * 100_000,
    f"/whole?length={len(DATA)}": DATA,
    "/whole?length=1000": DATA[:1000],
    "/whole?length=0": b"",
    "/offset?length=1000": DATA[12345:13345],
    "/file-like?length=1000": b"f" * 1000,
    "/whole?write=first,": b"first," + DATA,
    "/whole?write=first,&length=1006": b"first," + DATA[:1000],
    "/file-like?write=first,": b"first," + b"f" * 100_000,
    "/whole?block=1000&middleware=1": DATA,
}


@pytest.mark.parametrize("target", WHOLE)
def test_files(server, client, target):
    response = client.get(target)
    assert response.status == 200
    assert response.body == WHOLE[target]
    assert response.framing in ("length", "chunked")
    assert client.get("/empty").body == b""
    with Client(server.address) as old:
        assert old.get(target, version="1.0").body == WHOLE[target]
        old.expect_orderly_end()


@pytest.mark.parametrize("target", WHOLE)
def test_head_of_files(client, target):
    response = client.get(target, method="HEAD")
    assert response.status == 200
    assert not client.has_input()
    if response.has("Content-Length"):
        assert int(response.one("Content-Length")) == len(WHOLE[target])
    assert client.get("/offset").body == DATA[12345:]


@pytest.mark.parametrize("target", ["/whole", "/offset", "/whole?length=1000", "/whole?write=x"])
def test_a_real_file_is_not_read_by_python(client, target):
    """The kernel sends it, and it is closed once."""
    client.get(target)
    assert log(client) == ["close"]


def test_the_length_of_a_real_file_is_known(client):
    assert client.get("/whole").one("Content-Length") == str(len(DATA))
    assert client.get("/offset").one("Content-Length") == str(len(DATA) - 12345)
    assert client.get("/whole", method="HEAD").one("Content-Length") == str(len(DATA))


def test_something_like_a_file_is_read_in_blocks(client):
    client.get("/file-like?block=40000")
    assert log(client) == ["read 40000"] * 4 + ["close"]


@pytest.mark.parametrize("target", ["/whole?length=900001", "/file-like?length=100001"])
def test_a_file_shorter_than_announced_ends_the_connection(server, client, target):
    client.send(request(target))
    assert client.cut_response().body in (DATA, b"f" * 100_000)
    client.expect_end()
    assert "close" in wait_for_close(server)


@pytest.mark.parametrize("status", [204, 304])
def test_no_content(client, status):
    assert client.get(f"/whole?status={status}").status == status
    assert client.get("/offset").body == DATA[12345:]


def test_files_whose_descriptor_has_other_bytes_are_read(client):
    """A compressed file's and a text file's, and one whose size is not known."""
    assert client.get("/gzip").body == DATA
    with open("/proc/self/status", "rb") as status:
        first_field = status.readline().partition(b":")[0]
    response = client.get("/proc")
    assert (response.status, response.body.partition(b":")[0]) == (200, first_field)
    assert client.get("/text").status == 500


@pytest.mark.parametrize("target", ["/random-access", "/offset-in-buffer"])
def test_the_kernel_sends_what_a_buffered_file_has_left(client, target):
    response = client.get(target)
    assert (response.framing, response.body) == ("length", DATA[12345:])


def test_pipelined_files(client):
    client.send(request("/whole") + request("/file-like") + request("/empty") + request("/offset"))
    for body in (DATA, b"f" * 100_000, b"", DATA[12345:]):
        assert client.response().body == body


def test_text_is_no_file(client):
    assert client.get("/str").status == 500


def test_a_large_file_to_a_slow_reader(server):
    """It is sent as long as that takes, and others are served meanwhile. Where there are threads,
    the one that called the application closes the file, and the loop sends on."""
    with Client(server.address, receive_buffer=10_000) as client, Client(server.address) as beside:
        log(beside)
        client.send(request("/sparse"))
        response = client.head()
        assert int(response.one("Content-Length")) == SPARSE
        for _ in range(3):
            assert client.piece(response)
        assert beside.get("/offset").body == DATA[12345:]
        closes = log(beside)
        received = len(response.body)
        while piece := client.piece(response):
            received += len(piece)
            assert piece.count(0) == len(piece)
            response.pieces.clear()
        assert received == SPARSE
        assert closes + log(beside) == ["close", "close"]
        assert len(closes) == (1 if THREADS == "1" else 2)


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_the_file_is_closed_when_the_client_leaves(server, leave):
    with Client(server.address) as asking:
        log(asking)
        before = descriptors(server.pid)
    with Client(server.address, receive_buffer=10_000) as client:
        client.send(request("/sparse"))
        client.piece(client.head())
        getattr(client, leave)()
        assert wait_for_close(server) == ["close"]
    with Client(server.address):
        assert descriptors(server.pid, at_most=before) <= before


def test_a_file_that_shrinks_while_it_is_sent(server, folder):
    """Its answer ends early, and in order, whatever the client has sent since: what was answered
    before arrives."""
    with open(folder / "shrinking.bin", "wb") as file:
        file.truncate(SPARSE)
    os.rename(folder / "sparse.bin", folder / "kept.bin")
    os.rename(folder / "shrinking.bin", folder / "sparse.bin")
    try:
        with Client(server.address, receive_buffer=10_000) as client:
            client.send(request("/whole?length=1000") + request("/sparse"))
            deadline = time.monotonic() + PATIENCE
            while b"%d" % SPARSE not in client.socket.recv(10_000, socket.MSG_PEEK):
                assert time.monotonic() < deadline
            client.send(request("/offset"))
            os.truncate(folder / "sparse.bin", 1000)
            assert client.response().body == DATA[:1000]
            response = client.head()
            with pytest.raises(Truncated):
                while client.piece(response):
                    pass
    finally:
        os.rename(folder / "kept.bin", folder / "sparse.bin")
    with Client(server.address) as client:
        assert client.get("/offset").body == DATA[12345:]


def test_a_slow_client_of_a_file_where_no_descriptor_is_left(serve, folder):
    """Nobody can send its rest in the thread's place: the thread does, and then closes the file."""
    server = serve("files_app:application", env={"FILES_FOLDER": str(folder)})
    with Client(server.address) as other:
        assert log(other) == []
        before = descriptors(server.pid)
        for _ in range(3):
            with Client(server.address, receive_buffer=16_384) as client:
                client.send(request("/scarce"))
                response = client.head()
                assert log(other) == []
                assert client.body(response).body == LARGE
            assert wait_for_close(server) == ["close"]
            assert descriptors(server.pid, at_most=before) == before
    assert "Traceback" not in server.stderr()
