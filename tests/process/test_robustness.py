"""Nothing is lost, nothing breaks it: clients and applications that do what they should not."""

import contextlib
import json
import os
import pathlib
import resource
import signal
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, ProtocolError, TimedOut, Truncated, chunked, request
from probe import cpu_seconds, descriptors, private_memory, threads_of

from zolal import _zolal

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("robust_app:application")


def ask(server, target):
    with Client(server.address) as client:
        response = client.get(target)
        assert response.status == 200, response.text
        return json.loads(response.body)


def assert_it_serves(server):
    with Client(server.address) as client:
        assert client.get("/hello").body == b"hello"


def wait_for(question, answer):
    """Ask until the answer comes."""
    deadline = time.monotonic() + PATIENCE
    while (found := question()) != answer and time.monotonic() < deadline:
        pass
    assert found == answer


def post(target, *fields, body):
    return request(target, *fields, method="POST", body=body)


# ---- half a request, then silence


@pytest.fixture(scope="module")
def impatient(serve_module):
    """A server whose patience ends at once, measured in the time that a test takes."""
    return serve_module(
        "robust_app:application",
        "--header-timeout=0.2",
        "--body-rate=0",  # how slowly a body may come is in test_limits.py
        "--body-timeout=0.2",
        "--send-timeout=0.5",
        "--keep-alive=0.2",
    )


def expect_408_or_end(client):
    """RFC 9110 15.5.9: a 408 and the end, or the end alone."""
    try:
        response = client.response()
    except (Truncated, ConnectionResetError):
        return
    assert response.status == 408 and response.closes
    client.expect_end()


HALVES = {
    "first byte": b"G",
    "request line": b"GET /hello HT",
    "first line end": b"GET /hello HTTP/1.1\r\n",
    "fields": b"GET /hello HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    "last line end": b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r",
    "no body": post("/upload", body=b"x" * 10)[:-10],
    "half a body": post("/upload", body=b"x" * 10)[:-5],
    "half a spooled body": post("/upload", body=b"x" * 200_000)[:-5],
    "no chunk": post("/upload", "Transfer-Encoding: chunked", body=b""),
    "chunk size": post("/upload", "Transfer-Encoding: chunked", body=b"a"),
    "chunk": post("/upload", "Transfer-Encoding: chunked", body=b"a\r\nxx"),
    "last chunk": post("/upload", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n"),
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_then_silence(impatient, half):
    with Client(impatient.address) as client:
        client.send(HALVES[half])
        assert_it_serves(impatient)
        expect_408_or_end(client)
    with Client(impatient.address) as client:
        assert client.get("/hello").body == b"hello"
        client.send(HALVES[half])
        expect_408_or_end(client)


def test_a_head_that_comes_byte_by_byte_has_no_more_time(impatient):
    with Client(impatient.address) as client:
        deadline = time.monotonic() + PATIENCE
        try:
            client.send(b"GET /hello HTTP/1.1\r\nX-Slow: ")
            while not client.has_input():
                assert time.monotonic() < deadline, "nobody ends it"
                client.send(b"x")
                time.sleep(0.02)
        except (ConnectionResetError, BrokenPipeError):
            return
        with contextlib.suppress(ConnectionResetError):
            expect_408_or_end(client)


def test_silence_from_the_beginning(impatient):
    with Client(impatient.address) as client:
        client.expect_end()


def test_silence_after_an_answer(impatient):
    with Client(impatient.address) as client:
        assert client.get("/hello").body == b"hello"
        client.expect_orderly_end()


def test_silence_where_the_application_reads(impatient):
    """It is told, by an error that says what happened."""
    before = ask(impatient, "/ask-failures")
    with Client(impatient.address) as client:
        client.send(post("/slow-read", "Expect: 100-continue", body=b"x" * 10)[:-10])
        assert client.interim().status == 100
        client.send(b"xxxxx")
        with contextlib.suppress(Truncated, ConnectionResetError):
            assert client.response("POST").status in (408, 500)
    assert ask(impatient, "/ask-failures") == [*before, "TimeoutError"]


@pytest.mark.parametrize("target", ["/stream/100000000", "/file/100000000"])
def test_a_client_that_does_not_read(impatient, target):
    """It is given up, and what was to be sent to it is let go of."""
    before = ask(impatient, "/ask-closes")
    held = descriptors(impatient.pid)
    with Client(impatient.address, receive_buffer=4096) as client:
        client.send(request(target))
        response = client.head()
        if target.startswith("/stream"):
            wait_for(lambda: ask(impatient, "/ask-closes"), before + 1)
        assert descriptors(impatient.pid, at_most=held) <= held
        with pytest.raises((Truncated, ConnectionResetError)):
            client.body(response)
    assert_it_serves(impatient)


def test_patience_is_for_silence_only(impatient):
    """A body that keeps coming is waited for, however long it takes in all."""
    body = b"x" * 12
    with Client(impatient.address) as client:
        data = post("/upload", body=body)
        client.send(data[: -len(body)])
        for byte in body:
            client.send(bytes([byte]))
            time.sleep(0.04)
        assert client.response("POST").body == b"12"


# ---- a client that resets


def leave_at(server, data, place):
    """Send so much, let the server take it, and reset."""
    with Client(server.address) as client:
        client.send(data[:place])
        assert_it_serves(server)
        client.reset()


RESETS = {
    "GET": request("/hello"),
    "POST": post("/upload", body=b"x" * 20),
    "chunked": post("/upload", "Transfer-Encoding: chunked", body=chunked(b"abc", b"d" * 20)),
    "pipelined": request("/stream/100") + post("/upload", body=b"xx") + request("/hello"),
}


@pytest.mark.parametrize("kind", RESETS)
def test_a_client_that_resets_at_each_byte_of_its_request(server, kind):
    assert_it_serves(server)
    before = descriptors(server.pid)
    for place in range(len(RESETS[kind]) + 1):
        leave_at(server, RESETS[kind], place)
    assert descriptors(server.pid, at_most=before) <= before
    assert "Traceback" not in server.stderr()


@pytest.mark.parametrize("place", [0, 10_000, 65_536, 65_537, 150_000, 199_999])
def test_a_client_that_resets_in_a_spooled_body(server, place):
    assert_it_serves(server)
    before = descriptors(server.pid)
    data = post("/upload", body=b"x" * 200_000)
    leave_at(server, data, len(data) - 200_000 + place)
    assert descriptors(server.pid, at_most=before) <= before


@pytest.mark.parametrize("target", ["/hello", "/stream/3000000", "/file/3000000"])
@pytest.mark.parametrize("read", [0, 1, 100, 1000, 70_000, 1_000_000])
def test_a_client_that_resets_in_an_answer(server, target, read):
    assert_it_serves(server)
    before = descriptors(server.pid)
    closes = ask(server, "/ask-closes")
    with Client(server.address, receive_buffer=8192) as client:
        client.send(request(target))
        received = 0
        while received < read and (data := client.socket.recv(min(8192, read - received))):
            received += len(data)
            if target == "/hello":
                break
        client.reset()
    assert descriptors(server.pid, at_most=before) <= before
    if target.startswith("/stream"):
        wait_for(lambda: ask(server, "/ask-closes"), closes + 1)
    assert "Traceback" not in server.stderr()


def test_a_client_that_resets_while_it_waits_for_100(server):
    before = descriptors(server.pid)
    failures = ask(server, "/ask-failures")
    with Client(server.address) as client:
        client.send(post("/slow-read", "Expect: 100-continue", body=b"x" * 10)[:-10])
        assert client.interim().status == 100
        client.reset()
    wait_for(lambda: ask(server, "/ask-failures"), [*failures, "ConnectionResetError"])
    assert descriptors(server.pid, at_most=before) <= before


def test_a_client_that_resets_while_the_application_works(serve_module, server):
    gated = serve_module("response_app:application")
    for _ in range(5):
        with Client(gated.address) as client, Gate() as gate:
            client.send(request(f"/before-answer-gate?{gate.path}") + request("/body/one"))
            gate.arrival()
            client.reset()
            gate.open()
            with Client(gated.address) as other:
                assert other.get("/body/one").body == b"hello"
    assert "Traceback" not in gated.stderr()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("leave", ["close", "reset"])
def test_a_client_that_leaves_its_pipeline_while_the_application_works(serve, leave, count):
    """The first answer cannot be sent any more when the next request's turn has come."""
    server = serve("body_app:application")
    for _ in range(10):
        with Client(server.address) as client, Gate() as gate:
            client.send(request(f"/gated?{gate.path}") + request("/next") * (count - 1))
            gate.arrival()
            getattr(client, leave)()
            # Only a call that took its time lets the server send before the next one.
            time.sleep(0.01)
            gate.open()
            with Client(server.address) as other:
                assert other.get("/next").status == 200
    assert "Traceback" not in server.stderr()


def leave_in_stream(client):
    client.send(request("/stream/3000000"))
    client.head()


def leave_in_file(client):
    client.send(request("/file/3000000"))
    client.head()


def leave_in_body(client):
    client.send(post("/upload", body=b"x" * 1000)[:-1])


def leave_in_head(client):
    client.send(request("/hello")[:-1])


def leave_in_reading(client):
    client.send(post("/slow-read", "Expect: 100-continue", body=b"x")[:-1])
    client.interim()


NEXT = {
    "a request": (request("/hello"), 200),
    "a malformed request": (b"nonsense\r\n\r\n", 400),
    "a malformed field": (b"GET / HTTP/1.1\r\nHost: x\r\nbad field: x\r\n\r\n", 400),
    "a malformed body": (post("/upload", "Transfer-Encoding: chunked", body=b"x\r\n"), 400),
    "a failing application": (request("/fails"), 500),
}


@pytest.mark.parametrize("then", NEXT)
@pytest.mark.parametrize(
    "leave",
    [leave_in_stream, leave_in_file, leave_in_body, leave_in_head, leave_in_reading],
)
def test_nothing_of_a_client_that_left_meets_the_next(serve, leave, then):
    """What a connection used is used again by the next one."""
    server = serve("robust_app:application")
    held = descriptors(server.pid)
    for _ in range(3):
        with Client(server.address, receive_buffer=4096) as client:
            leave(client)
            client.reset()
        descriptors(server.pid, at_most=held)
        data, status = NEXT[then]
        for _ in range(2):
            with Client(server.address) as client:
                client.send(data)
                assert client.response().status == status
    assert_it_serves(server)


# ---- a reader slower than the writer


HUNDRED_MB = 100_000_000


def stream_begun(server, client):
    """Ask for the stream, and read its head."""
    client.send(request(f"/stream/{HUNDRED_MB}"))
    return client.head()


def warmed(server):
    """What the first long answer needs is not counted as what the second one holds."""
    with Client(server.address) as client:
        assert len(client.get("/stream/10000000").body) == 10_000_000
    return private_memory(server.pid)


@pytest.fixture
def warm(server):
    return warmed(server)


def test_a_reader_that_reads_100_kb_a_second_and_leaves(server, warm):
    closes = ask(server, "/ask-closes")
    most = 0
    with Client(server.address, receive_buffer=65_536) as client:
        stream_begun(server, client)
        begin = time.monotonic()
        for second in range(10):
            received = 0
            while received < 100_000:
                received += len(client.socket.recv(100_000 - received))
            most = max(most, private_memory(server.pid))
            assert_it_serves(server)
            time.sleep(max(0, begin + second + 1 - time.monotonic()))
    assert most - warm < MIB
    wait_for(lambda: ask(server, "/ask-closes"), closes + 1)
    assert private_memory(server.pid) - warm < MIB


def test_a_reader_that_reads_it_all(server, warm):
    most = received = 0
    with Client(server.address) as client:
        response = stream_begun(server, client)
        while piece := client.piece(response):
            response.pieces.clear()
            received += len(piece)
            if received % (100 * 65_536) == 0:
                most = max(most, private_memory(server.pid))
        assert received == HUNDRED_MB
        assert client.get("/hello").body == b"hello"
    assert most and most - warm < MIB


def test_many_slow_readers(serve):
    """Each of them holds a piece of the application, no more: the one thread serves the others."""
    server = serve("robust_app:application", "--threads=1")
    warm = warmed(server)
    count = 20
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(Client(server.address, receive_buffer=4096)) for _ in range(count)
        ]
        for client in clients:
            stream_begun(server, client)
        assert_it_serves(server)
        assert private_memory(server.pid) - warm < count * 200_000
        # All of them go on.
        for client in clients:
            for _ in range(20):
                assert client.socket.recv(65_536)


def test_a_large_upload_is_not_held_in_memory(server, warm):
    body = b"u" * 50_000_000
    most = 0
    with Client(server.address) as client:
        client.send(post("/upload", body=body)[: -len(body)])
        for start in range(0, len(body), MIB):
            client.send(body[start : start + MIB])
            most = max(most, private_memory(server.pid))
        assert client.response("POST").body == b"%d" % len(body)
    assert most - warm < MIB


# ---- no more descriptors


def limit_descriptors(server, count):
    """The server may have no more than so many open; the hard limit stays, for the way back."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (count, hard))


def test_connections_until_no_descriptor_is_left(serve):
    server = serve("robust_app:application", "--keep-alive=0")
    room = 20
    held = descriptors(server.pid)
    limit_descriptors(server, held + room)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(room + 12)]
        for client in clients:
            client.send(request("/hello"))
        # A few may be needed for something else.
        served, waiting = clients[: room - 3], clients[room - 3 :]
        for client in served:
            assert client.response().body == b"hello"
        # It says so, once, and does not spin.
        begin = cpu_seconds(server.pid)
        time.sleep(1)
        assert cpu_seconds(server.pid) - begin < 0.2
        said = server.stderr().splitlines()[1:]
        assert len(said) == 1, said
        assert "descriptor" in said[0] or "open files" in said[0]
        # Those that it has are served as before.
        for client in served:
            assert client.get("/hello").body == b"hello"
        # Those who wait are served when others leave.
        for client in served:
            client.close()
        for client in waiting:
            assert client.response().body == b"hello"
        for client in waiting:
            client.close()
    # All that was one occasion, also while one left and the next came.
    assert_it_serves(server)
    assert descriptors(server.pid, at_most=held) <= held + 1
    assert len(server.stderr().splitlines()) == 2


def test_no_descriptor_for_what_a_request_needs(serve):
    """A body that must be spooled and cannot be: this request fails, no other."""
    server = serve("robust_app:application", "--keep-alive=0")
    with Client(server.address) as beside, Client(server.address) as client:
        assert beside.get("/hello").body == b"hello"
        assert client.get("/hello").body == b"hello"
        held = descriptors(server.pid)
        limit_descriptors(server, held)
        client.send(post("/upload", body=b"x" * 200_000))
        with contextlib.suppress(ConnectionError, Truncated):
            response = client.response("POST")
            assert response.status == 500 and response.closes
        assert beside.get("/hello").body == b"hello"
        limit_descriptors(server, held + 10)
        beside.send(post("/upload", body=b"x" * 200_000))
        assert beside.response("POST").body == b"200000"


# ---- fifty half-sent uploads


@pytest.mark.parametrize(
    "kind, body",
    [
        ("small", b"x" * 1000),
        ("spooled", b"x" * 300_000),
        ("chunked", chunked(b"x" * 1000, b"y" * 100_000)),
    ],
)
def test_fifty_half_sent_uploads_do_not_delay_a_hello(server, kind, body):
    fields = ["Transfer-Encoding: chunked"] if kind == "chunked" else []
    size = 101_000 if kind == "chunked" else len(body)
    half = len(body) // 2
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(server.address)) for _ in range(50)]
        for client in clients:
            client.send(post("/upload", *fields, body=body)[:-half])
        for _ in range(10):
            assert_it_serves(server)
        # Nor do they get lost.
        for client in clients:
            client.send(body[-half:])
            assert client.response("POST").body == b"%d" % size


# ---- applications that do what they should not


BAD = [
    "raise/Intended",
    "raise/SystemExit",
    "raise/KeyboardInterrupt",
    "raise/GeneratorExit",
    "raise/BaseException",
    "raise-in-iterable/SystemExit",
    "raise-in-iterable/GeneratorExit",
    "raise-in-iterable/KeyboardInterrupt",
    "bad-body/none",
    "bad-body/int",
    "bad-body/plain-str",
    "bad-body/str",
    "bad-body/none-item",
    "bad-head/headers-none",
    "bad-head/value-crlf",
    "twice",
    "never",
    "never-and-empty",
    "after-start",
]
CUT = [
    "in-the-middle",
    "in-the-middle-with-length",
    "str-in-the-middle",
    "too-late",
    "write-then-raise",
    "length-too-little",
]


def test_applications_that_misbehave_hurt_nobody_else(serve_module):
    server = serve_module("response_app:application")
    with Client(server.address) as beside:
        assert beside.get("/body/one").body == b"hello"
        held = descriptors(server.pid)
        for _ in range(5):
            for target in BAD:
                with Client(server.address) as client:
                    client.send(request(f"/{target}") + request("/body/one"))
                    assert client.response().status == 500, target
            for target in CUT:
                with Client(server.address) as client:
                    client.send(request(f"/{target}"))
                    client.cut_response()
            assert beside.get("/body/one").body == b"hello"
        assert descriptors(server.pid, at_most=held) <= held


def test_an_application_that_closes_its_file_too_early(server):
    with Client(server.address) as client:
        assert client.get("/closed-file").status == 500
    assert_it_serves(server)


# ---- applications that fork


CHILDREN = ["subprocess", "subprocess-that-inherits", "multiprocessing", "fork"]


@pytest.fixture
def forking(serve):
    return serve("robust_app:application")


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_does_not_keep_connections_open(forking, kind):
    """Neither the one of its request nor another, and no listener."""
    server = forking
    with Client(server.address) as beside:
        beside.get("/hello")
        try:
            with Client(server.address) as client:
                child = int(client.get(f"/child/{kind}", "Connection: close").body)
                client.expect_orderly_end()
            assert os.path.exists(f"/proc/{child}")
            assert beside.get("/hello", "Connection: close").body == b"hello"
            beside.expect_orderly_end()
            # Nor a listener: no socket of the parent's is open in the child.
            wait_for(lambda: sockets(child) & sockets(server.pid), set())
            assert_it_serves(server)
        finally:
            assert ask(server, "/end-child") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_can_be_ended_by_a_signal(forking, kind, number):
    """As by multiprocessing's terminate(): what a signal does to the server, it does not to it."""
    child = int(ask(forking, f"/child/{kind}"))
    assert ask(forking, f"/end-child/{int(number)}") == 1
    assert not os.path.exists(f"/proc/{child}")
    assert_it_serves(forking)


def test_a_child_can_be_ended_before_it_has_run(forking):
    """The signal may come while the child still has its parent's handlers: it may not be lost."""
    assert ask(forking, "/fork-and-end/300") == 300
    assert_it_serves(forking)


def sockets(pid):
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return {target for target in found if target.startswith("socket:")}


def test_connections_come_and_go_beside_forks(forking):
    """A child holds its parent's sockets for a moment: their events are nobody's any more."""
    with Client(forking.address) as asking:
        for _ in range(100):
            with Client(forking.address) as leaving:
                leaving.send(request("/hello", "Connection: close"))
                asking.get("/child/fork")
                assert leaving.response().body == b"hello"
                leaving.expect_orderly_end()
            assert_it_serves(forking)
            assert asking.get("/end-child").body == b"1"


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_streamed_answer_ends_though_a_child_lives(forking, kind):
    """Where the end of the connection is the end of the body."""
    server = forking
    with Client(server.address) as client:
        client.send(request("/stream/5000000", version="1.0"))
        response = client.head()
        try:
            with Client(server.address) as other:
                other.get(f"/child/{kind}")
            assert len(client.body(response).body) == 5_000_000
        finally:
            assert ask(server, "/end-child") == 1


def test_an_application_that_uses_children(forking):
    with Client(forking.address) as client:
        for _ in range(3):
            assert client.get("/run-subprocess").body == b"from a child\n"
            assert json.loads(client.get("/run-multiprocessing").body) == [1, 2, 3]
        assert client.get("/hello").body == b"hello"


def test_children_do_not_write_into_the_recording(serve, tmp_path):
    server = serve("robust_app:application", env={"XDG_RUNTIME_DIR": str(tmp_path)})
    found = [path for path in pathlib.Path(tmp_path).rglob("*") if path.is_file()]
    assert len(found) == 1, found
    reader = _zolal.Reader(str(found[0]))
    assert reader.pid == server.pid
    with Client(server.address) as client:
        for kind in CHILDREN:
            client.get(f"/child/{kind}")
            client.get("/hello")
        client.get("/run-multiprocessing")
        assert client.get("/end-child").body == b"4"
    events = []
    while batch := reader.read():
        events.extend(batch)
    reader.close()
    requests = [event.name for event in events if event.kind == "request_begin"]
    assert len(requests) == 2 * len(CHILDREN) + 2
    assert {event.thread for event in events} <= threads_of(server.pid)
    assert "lost" not in {event.kind for event in events}
    # The children's own calls (connect, bind) are not there.
    assert "connect" not in {event.op for event in events}
    # One file: the children's recordings do not stay either.
    left = [path for path in pathlib.Path(tmp_path).rglob("*") if path.is_file()]
    assert left == found


def test_the_clients_parser_is_strict():
    """The tests rely on it."""
    from http_client import parse_head

    good = b"HTTP/1.1 200 OK\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\nServer: x\r\n"
    assert parse_head(good + b"\r\n", "GET").framing == "close"
    for bad in (
        b"HTTP/1.1 200\r\n\r\n",
        good + b"X-A : b\r\n\r\n",
        good + b" folded: b\r\n\r\n",
        good + b"X-A: b\nX-B: c\r\n\r\n",
        good + b"X-A: \x01\r\n\r\n",
        good + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        good + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        good + b"Server: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    ):
        with pytest.raises(ProtocolError):
            parse_head(bad, "GET")
    assert issubclass(TimedOut, AssertionError)
