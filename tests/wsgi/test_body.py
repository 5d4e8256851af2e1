"""Request bodies: wsgi.input (PEP 3333 "Input and Error Streams"), framing (RFC 9112 6, 7), when
the application is called, Expect: 100-continue (RFC 9110 10.1.1)."""

import hashlib
import io
import json
import pathlib
import random
import sys
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, Truncated, chunked, request
from probe import descriptors

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "apps"))
from body_app import perform  # noqa: E402

SPOOLED = 70_000  # bytes: more than is kept in memory
CHUNKED = "Transfer-Encoding: chunked"
EXPECT = "Expect: 100-continue"


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("body_app:application")


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def post(target, *fields, body, **keywords):
    return request(target, *fields, method="POST", body=body, **keywords)


def cut(data, *sizes):
    """`data` in pieces of these sizes, the last one the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [piece for piece in [*pieces, data] if piece]


def post_chunked(target, *pieces, last=b"0\r\n\r\n"):
    return post(target, CHUNKED, body=chunked(*pieces, last=last))


def ask(client, data):
    client.send(data)
    response = client.response("POST")
    assert response.status == 200, response.text
    assert response.interim == []
    return json.loads(response.body)


def check_sum(found, body):
    assert found == {"len": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def noise(size):
    return random.Random(size).randbytes(size)


# ---- the stream


LINES = b"one\ntwo two\n\nfour\xe9\r\nlast"


@pytest.mark.parametrize("framed", ["length", "chunked"])
@pytest.mark.parametrize(
    "operations",
    [
        "read",
        "read:-1",
        "read:None",
        "read:1000",
        "read:3,read:0,read:4,read:1000,read:10",
        "read,read,read:5,readline,readlines,iter,next",
        "readline,readline,readline,readline,readline,readline",
        "readline:2,readline:2,readline:100,readline:0,readline:100,readline:3",
        "readline:-1,readline:None,read",
        "readline:4,read:1,readline",
        "readlines",
        "readlines:5,readlines:-1",
        "readlines:1,readlines:1,readlines:0",
        "readlines:None",
        "iter",
        "next,next,read:2,readline,next,read",
        "read:2,readline,read:3,next,read",
    ],
)
def test_it_reads_as_a_file_does(client, operations, framed):
    """io.BytesIO knows the right answers."""
    target = f"/ops?ops={operations}"
    file = io.BytesIO(LINES)
    expected = [perform(file, operation) for operation in operations.split(",")]
    data = post(target, body=LINES)
    if framed == "chunked":
        data = post_chunked(target, *cut(LINES, 1, 3, 1, 7))
    assert ask(client, data) == expected


def random_operations(chance, size):
    for _ in range(chance.randint(1, 12)):
        name = chance.choice(["read", "read", "readline", "readlines", "iter", "next"])
        # Without a limit only now and then, or nothing would be left to read.
        limited = name in ("read", "readline", "readlines") and chance.random() < 0.85
        yield f"{name}:{chance.randint(0, size)}" if limited else name


def random_body(chance):
    size = chance.choice([0, 1, 10, 1000, 4096, 65_535, 65_536, 65_537, 150_000])
    body = bytearray(chance.randbytes(size))
    for _ in range(chance.randint(0, 20) if size else 0):
        body[chance.randrange(size)] = ord("\n")
    return bytes(body)


@pytest.mark.parametrize("seed", range(60))
def test_it_reads_as_a_file_does_whatever_is_asked(client, seed):
    chance = random.Random(seed)
    body = random_body(chance)
    operations = list(random_operations(chance, max(2, len(body) // 3)))
    file = io.BytesIO(body)
    expected = [perform(file, operation) for operation in operations]
    target = "/ops?ops=" + ",".join(operations)
    if chance.random() < 0.5:
        data = post(target, body=body)
    else:
        sizes = [chance.randint(1, max(1, len(body))) for _ in range(5)]
        data = post_chunked(target, *cut(body, *sizes))
    assert ask(client, data) == expected


@pytest.mark.parametrize("arguments", ["read:x", "read:1.5"])
def test_nonsense_is_refused_by_the_stream(client, arguments):
    client.send(post(f"/ops?ops={arguments}", body=b"abc"))
    assert client.response("POST").status == 500


# ---- framing


def test_no_body(client):
    assert ask(client, request("/ops?ops=read,readline,readlines,iter,next")) == [
        "",
        "",
        [],
        [],
        None,
    ]
    assert ask(client, post("/ops?ops=read", body=b"")) == [""]


def test_a_body_may_come_with_any_method(client):
    for method in ("GET", "DELETE", "OPTIONS", "PURGE"):
        client.send(request("/ops?ops=read", method=method, body=b"body"))
        assert json.loads(client.response(method).body) == ["body"]


def test_chunks(client):
    body = b"2\r\nab\r\n003\r\ncde\r\nA\r\n0123456789\r\na;name=value\r\n0123456789\r\n0\r\n\r\n"
    assert ask(client, post("/ops?ops=read", CHUNKED, body=body)) == ["abcde" + "0123456789" * 2]


def test_chunk_extensions_and_trailers_are_not_the_body(client):
    body = b'1;a;b=c;d="e;f"\r\nx\r\n0;last\r\nX-Trailer: 1\r\nX-More: 2\r\n\r\n'
    assert ask(client, post("/ops?ops=read", CHUNKED, body=body)) == ["x"]


TRAILERS = b"0\r\nX-Sum: a: 1 \r\nContent-Length: 9\r\nHost: evil\r\nx-sum:\r\n\r\n"
READ_TRAILERS = [["X-Sum", "a: 1"], ["x-sum", ""]]


def test_trailers_are_read_apart_from_the_head(client):
    found = ask(client, post("/ops?ops=read,trailers", CHUNKED, body=b"1\r\nx\r\n" + TRAILERS))
    assert found == ["x", READ_TRAILERS]
    assert ask(client, post("/ops?ops=trailers", body=b"x")) == [[]]
    assert ask(client, post_chunked("/ops?ops=read,trailers")) == ["", []]  # nothing is left over


def test_trailers_come_with_the_end_of_a_body_that_is_read_as_it_comes(client):
    client.send(post("/ops?ops=trailers,read,trailers", CHUNKED, EXPECT, body=b""))
    assert client.interim().status == 100
    client.send(b"1\r\nx\r\n" + TRAILERS)
    assert json.loads(client.response("POST").body) == [[], "x", READ_TRAILERS]


def test_chunked_empty_body(client):
    assert ask(client, post_chunked("/ops?ops=read")) == [""]


def test_chunked_in_every_fragmentation(server):
    """The body of a request, cut at each byte: what came before must wait for what comes."""
    data = post_chunked("/ops?ops=read", b"abc", b"d" * 17)
    start = data.index(b"\r\n\r\n")
    with Client(server.address) as client, Client(server.address) as beside:
        for place in range(start, len(data)):
            client.send(data[:place])
            # The server has taken the first part by the time that it answers this.
            beside.get("/")
            client.send(data[place:])
            assert json.loads(client.response("POST").body) == ["abc" + "d" * 17], place


@pytest.mark.parametrize("size", [1, 4096, 65_535, 65_536, 65_537, 200_000, 3_000_000])
def test_sizes(client, size):
    body = noise(size)
    check_sum(ask(client, post("/sum", body=body)), body)
    check_sum(ask(client, post_chunked("/sum", *cut(body, 1, size // 3, size // 2))), body)


def test_a_million_chunks_of_one_byte(client):
    """Framing that costs five bytes for each of the body's, in time that is proportional."""
    body = noise(1_000_000)
    framed = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    check_sum(ask(client, post("/sum", CHUNKED, body=framed)), body)


def test_a_spooled_body_in_small_parts(server):
    body = noise(SPOOLED)
    with Client(server.address) as client:
        client.send(post("/sum", body=body)[: -len(body)])
        for start in range(0, len(body), 1000):
            client.send(body[start : start + 1000])
        check_sum(json.loads(client.response("POST").body), body)


def test_a_spooled_body_leaves_no_descriptor(server, client):
    before = descriptors(server.pid)
    for size in (SPOOLED, 2 * SPOOLED):
        client.send(post("/ignore", body=noise(size)))
        client.response("POST")
        check_sum(ask(client, post("/sum", body=noise(size))), noise(size))
    assert descriptors(server.pid) <= before + 1


def test_bodies_larger_than_announced_chunks_may_be(client):
    client.send(post("/ops?ops=read", CHUNKED, body=b"fffffffffffffffff\r\nx"))
    assert client.response("POST").status in (400, 413)
    client.expect_end()


@pytest.mark.parametrize(
    "fields, body",
    [
        ((CHUNKED,), b"x\r\nabc\r\n0\r\n\r\n"),
        ((CHUNKED,), b"3\r\nabcd\r\n0\r\n\r\n"),
        ((CHUNKED,), b"-1\r\nabc\r\n0\r\n\r\n"),
        ((CHUNKED, "Content-Length: 3"), b"3\r\nabc\r\n0\r\n\r\n"),
        (("Transfer-Encoding: gzip",), b""),
        (("Content-Length: -1",), b""),
        (("Content-Length: 1x",), b"1"),
        (("Content-Length: 1", "Content-Length: 2"), b"12"),
    ],
)
def test_broken_framing_is_refused_and_ends_the_connection(server, fields, body):
    with Client(server.address) as client:
        client.send(post("/ops?ops=read", *fields, body=body) + request("/smuggled"))
        response = client.response("POST")
        assert response.status in (400, 501)
        assert response.closes
        client.expect_end()


# ---- a body that does not end


def test_the_client_stops_in_the_middle(server):
    """The application is not even called: its body will not be whole."""
    with Client(server.address) as client:
        client.send(post("/ops?ops=read", body=b"0123456789")[:-5])
        client.send_end()
        try:
            response = client.response("POST")
        except Truncated:
            return
        assert response.status in (400, 408)
        client.expect_end()


def test_the_client_stops_in_the_middle_of_a_chunk(server):
    with Client(server.address) as client:
        client.send(post_chunked("/ops?ops=read", b"0123456789")[:-10])
        client.send_end()
        try:
            response = client.response("POST")
        except Truncated:
            return
        assert response.status in (400, 408)
        client.expect_end()


@pytest.mark.parametrize("leave", ["end", "reset"])
def test_the_application_is_told_that_its_body_is_not_whole(server, leave):
    """Never by fewer bytes, which would look like a whole body."""
    with Client(server.address) as asking:
        before = json.loads(asking.get("/failures").body)
        with Client(server.address) as client:
            client.send(post("/fails", EXPECT, body=b"0123456789")[:-10])
            assert client.interim().status == 100
            client.send(b"01234")
            client.send_end() if leave == "end" else client.reset()
            deadline = time.monotonic() + PATIENCE
            after = before
            while after == before and time.monotonic() < deadline:
                after = json.loads(asking.get("/failures").body)
        assert len(after) == len(before) + 1
        assert after[-1] == "ConnectionResetError"


# ---- Expect: 100-continue


def test_100_continue_comes_when_the_application_reads(server):
    """Not before: it stands at the gate, called, and nothing has been sent."""
    with Client(server.address) as client, Gate() as gate:
        client.send(post(f"/gated?{gate.path}", EXPECT, body=b"body")[:-4])
        assert gate.arrival() == "called"
        assert not client.has_input()
        gate.open()
        assert client.interim().status == 100
        assert not client.has_input()
        client.send(b"body")
        response = client.response("POST")
        assert json.loads(response.body) == "body"
        assert client.get("/again").status == 200


def test_100_continue_comes_once(server):
    with Client(server.address) as client, Gate() as gate:
        client.send(post(f"/read-then-gate?{gate.path}", EXPECT, body=b"body")[:-4])
        assert client.interim().status == 100
        client.send(b"b")
        assert gate.arrival() == "b"
        assert not client.has_input()
        gate.open()
        client.send(b"ody")
        response = client.response("POST")
        assert (json.loads(response.body), response.interim) == ("body", [])


def test_100_continue_does_not_come_to_those_who_do_not_ask(client):
    client.send(post("/sum", body=noise(SPOOLED)))
    assert client.response("POST").interim == []


def test_100_continue_does_not_come_when_nothing_is_read(server):
    """What the client does with its body then is known to nobody: the connection must end."""
    with Client(server.address) as client:
        client.send(post("/ignore", EXPECT, body=b"body")[:-4])
        response = client.response("POST")
        assert (response.status, response.interim) == (200, [])
        if response.closes:
            client.expect_end()
        else:
            client.send(b"body")
            assert json.loads(client.get("/next").body) == ["GET", "/next"]


def test_100_continue_is_not_for_http_1_0(server):
    with Client(server.address) as client:
        client.send(post("/ops?ops=read", EXPECT, body=b"body", version="1.0"))
        response = client.response("POST")
        assert (json.loads(response.body), response.interim) == (["body"], [])


def test_a_body_that_does_not_wait_for_100_continue(client):
    client.send(post("/ops?ops=read", EXPECT, body=b"body"))
    response = client.response("POST")
    assert json.loads(response.body) == ["body"]
    assert response.interim in ([], [100])


def test_100_continue_for_a_chunked_body(client):
    data = post_chunked("/ops?ops=read:2,readline,read", b"ab", b"c\n", b"defg")
    head = data.index(b"\r\n\r\n") + 4
    client.send(data[: head - 2] + EXPECT.encode() + b"\r\n\r\n")
    assert client.interim().status == 100
    for byte in data[head:]:
        client.send(bytes([byte]))
    assert json.loads(client.response("POST").body) == ["ab", "c\n", "defg"]
    assert client.get("/again").status == 200


def test_100_continue_without_a_body(client):
    client.send(request("/ops?ops=read", EXPECT))
    response = client.response()
    assert (json.loads(response.body), response.interim) == ([""], [])


def test_100_continue_for_a_large_body(client):
    body = noise(1_000_000)
    data = post("/sum", EXPECT, body=body)
    client.send(data[: -len(body)])
    assert client.interim().status == 100
    client.send(body)
    check_sum(json.loads(client.response("POST").body), body)


def test_another_expectation_is_refused(server):
    with Client(server.address) as client:
        client.send(post("/ops?ops=read", "Expect: miracles", body=b"body"))
        assert client.response("POST").status == 417


# ---- a body that is not read


@pytest.mark.parametrize("size", [1, 10_000, SPOOLED, 1_000_000])
@pytest.mark.parametrize("target", ["/ignore", "/ops?ops=read:1"])
def test_an_unread_body_is_never_taken_for_a_request(server, size, target):
    # A body that looks like requests, from whichever byte on it is read.
    smuggled = (request("/smuggled") * (size // 10 + 1))[:size]
    with Client(server.address) as client:
        client.send(post(target, body=smuggled) + request("/next"))
        assert client.response("POST").status == 200
        try:
            response = client.response()
        except Truncated:
            return
        assert json.loads(response.body) == ["GET", "/next"]


@pytest.mark.parametrize("framed", ["length", "chunked"])
def test_an_unread_body_does_not_take_the_answer_away(server, framed):
    """The client sends all before it reads: a reset would destroy the answer. RFC 9112 9.6."""
    body = noise(1_000_000)
    fields = ["Connection: close"]
    if framed == "chunked":
        fields.append(CHUNKED)
        body = chunked(*cut(body, *[50_000] * 20))
    with Client(server.address) as client:
        client.send(post("/ignore", *fields, body=body))
        response = client.response("POST")
        assert json.loads(response.body) == "ignored"
        assert response.closes
        client.expect_orderly_end()


def test_reading_between_yields(server):
    """An echo that answers line by line while the request still arrives."""
    data = post("/while-streaming", EXPECT, body=b"one\ntwo\n")
    with Client(server.address) as client:
        client.send(data[:-8])
        response = client.head("POST")
        # The head has left before the application read: there is no 100 any more.
        assert client.piece(response) == b"begin\n"
        for line in (b"one\n", b"two\n"):
            client.send(line)
            received = b""
            while received != b"got " + line:
                piece = client.piece(response)
                assert piece, response.body
                received += piece
        assert client.body(response).body == b"begin\ngot one\ngot two\n"
