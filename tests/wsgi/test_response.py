"""Answers: start_response, write(), iterables, close(), errors (PEP 3333), framing (RFC 9112 6)."""

import json
import pathlib
import re
import sys
import time

import pytest
from gate import Gate
from http_client import PATIENCE, Client, Truncated, request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "apps"))
import response_app  # noqa: E402


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("response_app:application")


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def closes(server, name):
    """How often close() was called on the iterable of this name."""
    with Client(server.address) as client:
        return json.loads(client.get("/ask-closes").body).get(name, 0)


def wait_for_closes(server, name, count):
    """For endings that the server has to notice first."""
    deadline = time.monotonic() + PATIENCE
    while (found := closes(server, name)) < count and time.monotonic() < deadline:
        pass
    return found


def stderr_of(server, action):
    """What the server writes to stderr while `action` runs, up to the answer to a later request."""
    before = len(server.stderr())
    action()
    with Client(server.address) as client:
        client.get("/body/one")
    return server.stderr()[before:]


# ---- any iterable


WHOLE = {
    "one": b"hello",
    "several": b"abcd",
    "one-in-tuple": b"hello",
    "tuple": b"ab",
    "empty-list": b"",
    "empty-tuple": b"",
    "empty-bytes": b"",
    "generator": b"abc",
    "empty-generator": b"",
    "map": b"AB",
    "iterator": b"ab",
    "only-iter": b"ab",
    "sized": b"ab",
    "sized-one": b"hello",
    "old": b"abc",
    "set": b"a",
    "dict": b"ab",
    "lines": b"one\ntwo\nthree",
    "empties": b"ab",
    "generated-empties": b"ab",
    "only-empty": b"",
    "only-generated-empty": b"",
    "subclass": b"hello",
    "one-subclass": b"hello",
    "many": b"".join(b"%05d\n" % number for number in range(5000)),
    "many-in-list": b"".join(b"%05d\n" % number for number in range(5000)),
    "large": b"x" * 5_000_000,
    "large-pieces": b"".join(b"%07d\n" % number * 20_000 for number in range(20)),
    "large-generated": b"".join(b"%07d\n" % number * 20_000 for number in range(20)),
}


def test_every_body_of_the_application_is_tested():
    assert set(WHOLE) == set(response_app.BODIES)


@pytest.mark.parametrize("name", WHOLE)
def test_any_iterable(client, name):
    response = client.get(f"/body/{name}")
    assert response.status == 200
    assert response.body == WHOLE[name]
    # HTTP/1.1 needs no close to end a body.
    assert response.framing in ("length", "chunked")
    assert client.get("/body/one").body == b"hello"


@pytest.mark.parametrize("name", WHOLE)
def test_any_iterable_to_http_1_0(server, name):
    with Client(server.address) as client:
        response = client.get(f"/body/{name}", version="1.0")
        assert response.body == WHOLE[name]
        assert response.framing in ("length", "close")
        client.expect_orderly_end()


@pytest.mark.parametrize("name", WHOLE)
def test_any_iterable_to_head(client, name):
    response = client.get(f"/body/{name}", method="HEAD")
    assert response.status == 200
    assert not client.has_input()
    assert client.get("/body/one").body == b"hello"


@pytest.mark.parametrize("name", ["one", "one-in-tuple", "one-subclass"])
def test_one_item_is_a_known_length(client, name):
    """PEP 3333 "Handling the Content-Length Header"."""
    assert client.get(f"/body/{name}").one("Content-Length") == "5"


def test_a_generator_is_chunked(client):
    assert client.get("/body/generator").framing == "chunked"


def test_head_says_what_get_says(client):
    for target in ("/body/one", "/length-exact", "/body/empty-list", "/cookies?3"):
        get, head = client.get(target), client.get(target, method="HEAD")
        names = ("Content-Length", "Content-Type", "Set-Cookie")
        for name in names:
            if head.has(name):
                assert head.all(name) == get.all(name)
        assert head.status == get.status
    assert client.get("/body/one", method="HEAD").one("Content-Length") == "5"


# ---- the head


def test_date_and_server_once(client):
    # The client has checked that both stand there once, and what a Date is.
    response = client.get("/body/one")
    assert response.one("Server").startswith("zolal")
    first = response.one("Date")
    assert re.search(r" 20\d\d ", first)


def test_date_and_server_of_the_application(client):
    for _ in range(3):  # the same strings again
        response = client.get("/own-date-and-server")
        assert response.one("Date") == "Tue, 15 Nov 1994 08:12:31 GMT"
        assert response.one("Server") == "tests/1"


def test_fields_are_sent_as_they_are(client):
    response = client.get("/empty-value")
    assert response.one("X-Empty") == ""
    assert response.one("X-Latin-1") == "caf\xe9"
    assert response.one("X-Tab") == "a\tb"
    assert ("X-Tab", "a\tb") in response.fields


@pytest.mark.parametrize("count", [1, 2, 16, 17, 300])
def test_repeated_fields_keep_their_order(client, count):
    response = client.get(f"/cookies?{count}")
    assert response.all("Set-Cookie") == [f"c{number}=1" for number in range(count)]
    assert response.body == b"baked"


@pytest.mark.parametrize("size", [8000, 100_000])
def test_large_fields(client, size):
    response = client.get(f"/large-value?{size}")
    assert response.one("X-Large") == "v" * size
    assert response.body == b"after a large head"


@pytest.mark.parametrize(
    "status, reason",
    [
        ("200+OK", "OK"),
        ("201+Created", "Created"),
        ("299+Our+Own", "Our Own"),
        ("404+", ""),
        ("404+Nothing+Here", "Nothing Here"),
        ("599+Last", "Last"),
    ],
)
def test_statuses(client, status, reason):
    response = client.get(f"/status?{status}")
    assert (response.status, response.reason) == (int(status[:3]), reason)
    assert response.body == b"body"


def test_headers_are_taken_when_start_response_is_called(client):
    response = client.get("/mutated")
    assert response.has("X-Before") and not response.has("X-After")


def test_start_response_by_keyword(client):
    assert client.get("/keywords").body == b"by keyword"


@pytest.mark.parametrize("name", response_app.BAD_HEADS)
def test_a_head_that_may_not_be_sent(server, name):
    before = closes(server, "bad-head")

    def action():
        for _ in range(3):  # the same strings again
            with Client(server.address) as client:
                response = client.get(f"/bad-head/{name}")
                assert response.status == 500
                assert not response.has("X-Injected")
                assert b"X-Injected" not in response.body

    assert stderr_of(server, action).count("Traceback") >= 3
    # start_response raised: nothing was returned that could be closed.
    assert closes(server, "bad-head") == before


# ---- start_response: when and how often


@pytest.mark.parametrize("target, body", [("/lazy", b"lazy"), ("/class", b"class")])
def test_start_response_in_the_first_step(client, target, body):
    assert client.get(target).body == body


def test_twice_without_exc_info_is_an_error(client):
    assert client.get("/twice").status == 500


def test_twice_without_exc_info_can_be_caught(client):
    response = client.get("/twice-caught")
    assert response.body not in (b"accepted", b"")
    assert response.status == 200
    assert response.has("X-First") and not response.has("X-Second")


@pytest.mark.parametrize("target", ["/replaced", "/replaced-after-empty-item"])
def test_exc_info_replaces_a_head_that_was_not_sent(client, target):
    response = client.get(target)
    assert (response.status, response.reason) == (503, "Replaced")
    assert response.has("X-Second") and not response.has("X-First")
    assert response.body == b"replaced"


def test_exc_info_is_raised_when_the_head_was_sent(server, client):
    def action():
        client.send(request("/too-late"))
        response = client.cut_response()
        assert (response.status, response.body) == (200, b"sent")

    said = stderr_of(server, action)
    assert "Intended: too late" in said


def test_exc_info_is_raised_as_it_was_given(client):
    assert client.get("/too-late-caught").body == b"sent, the same"


def test_never(server, client):
    response = client.get("/never")
    assert response.status == 500
    assert b"not to be seen" not in response.body
    assert closes(server, "never") >= 1


def test_never_and_an_empty_body(client):
    assert client.get("/never-and-empty").status == 500


def test_after_the_request_nothing_is_accepted(server):
    with Client(server.address) as client:
        client.get("/kept-for-later")
        said = client.get("/kept-for-later").body.split(b",")
        assert len(said) == 2 and b"accepted" not in said
        assert client.get("/body/one").body == b"hello"


# ---- write()


@pytest.mark.parametrize(
    "target, body",
    [
        ("/write", b"one,two,three"),
        ("/write-with-length", b"abcdef"),
        ("/write-only", b"written"),
        ("/write-large", b"".join(b"%07d\n" % number * 20_000 for number in range(20))),
        ("/write-str", b"TypeError"),
    ],
)
def test_write(server, client, target, body):
    assert client.get(target).body == body
    assert client.get(target, method="HEAD").body == b""
    assert client.get("/body/one").body == b"hello"
    with Client(server.address) as old:
        assert old.get(target, version="1.0").body == body
        old.expect_orderly_end()


def test_write_with_length_is_framed_by_it(client):
    assert client.get("/write-with-length").framing == "length"


def test_write_sends_at_once(server):
    """The application stands at the gate, behind its first write()."""
    with Client(server.address) as client, Gate() as gate:
        client.send(request(f"/write-and-gate?{gate.path}"))
        response = client.head()
        assert client.piece(response) == b"first"
        gate.pass_through()
        assert client.body(response).body == b"firstsecond"


def test_an_error_after_write(server):
    with Client(server.address) as client:
        client.send(request("/write-then-raise"))
        assert client.cut_response().body == b"sent"
        client.expect_end()


# ---- streamed as it yields


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("target", ["/gated", "/gated-with-length"])
def test_an_item_is_sent_before_the_next_is_asked_for(server, target, version):
    before = closes(server, target[1:])
    with Client(server.address) as client, Gate() as gate:
        client.send(request(f"{target}?{gate.path}", version=version))
        response = client.head()
        assert client.piece(response) == b"first"
        gate.arrival()
        assert not client.has_input()
        gate.open()
        assert client.piece(response) == b"second"
        gate.pass_through()
        assert client.body(response).body == b"firstsecond"
    assert closes(server, target[1:]) == before + 1


def test_chunks_are_the_items(client):
    """An empty item is not sent: as a chunk it would be the end."""
    assert client.get("/body/generated-empties").pieces == [b"a", b"b"]


# ---- Content-Length of the application


def test_exact(server, client):
    response = client.get("/length-exact")
    assert (response.framing, response.body) == ("length", b"abc")
    assert not response.closes


@pytest.mark.parametrize(
    "target, body",
    [
        ("/length-too-much-in-one", b"abc"),
        ("/length-too-much", b"abc"),
        ("/length-zero-and-body", b""),
        ("/length-zero", b""),
    ],
)
def test_not_a_byte_more_than_announced(server, target, body):
    before = closes(server, target[1:])
    with Client(server.address) as client:
        response = client.get(target)
        assert response.body == body
        # What is behind it on the connection is the next answer or nothing.
        client.send(request("/body/one"))
        try:
            assert client.response().body == b"hello"
        except (Truncated, ConnectionError):
            pass
    assert closes(server, target[1:]) == before + 1


@pytest.mark.parametrize("target", ["/length-too-little", "/length-and-nothing"])
def test_fewer_bytes_than_announced_end_the_connection(server, target):
    before = closes(server, target[1:])
    with Client(server.address) as client:
        client.send(request(target))
        client.cut_response()
        client.expect_end()
    assert closes(server, target[1:]) == before + 1
    with Client(server.address) as client:
        head = client.get(target, method="HEAD")
        assert head.one("Content-Length") == "10"
        assert client.get("/body/one").body == b"hello"


# ---- no content


@pytest.mark.parametrize(
    "target",
    ["/204", "/204-with-body", "/204-with-length", "/304", "/304-with-body", "/304-with-length"],
)
def test_answers_without_content(server, client, target):
    before = closes(server, target[1:])
    client.send(request(target) + request("/body/one"))
    response = client.response()
    assert response.status == int(target[1:4])
    # The client refuses a 204 with Content-Length, and either with Transfer-Encoding.
    assert not response.has("Transfer-Encoding")
    assert client.response().body == b"hello"
    assert closes(server, target[1:]) == before + 1


# ---- errors


@pytest.mark.parametrize("name", response_app.RAISED)
@pytest.mark.parametrize("kind", ["raise", "raise-in-iterable"])
def test_whatever_is_raised(server, kind, name):
    before = closes(server, kind)

    def action():
        with Client(server.address) as client:
            response = client.get(f"/{kind}/{name}")
            assert response.status == 500
            assert b"Traceback" not in response.body
            assert name.encode() not in response.body

    said = stderr_of(server, action)
    assert "Traceback (most recent call last)" in said
    # A generator makes a RuntimeError of a StopIteration, and names both.
    assert ("ValueError" if name == "Surrogate" else name) in said
    assert closes(server, kind) == before + (kind == "raise-in-iterable")


@pytest.mark.parametrize("target", ["/after-start", "/in-first-step"])
def test_an_error_before_the_first_byte_is_a_500(server, target):
    def action():
        with Client(server.address) as client:
            response = client.get(target)
            assert (response.status, response.reason) == (500, "Internal Server Error")
            assert b"Intended" not in response.body

    said = stderr_of(server, action)
    assert "Traceback (most recent call last)" in said
    assert "response_app.py" in said
    assert "Intended: " in said


def test_a_500_to_head_has_no_body(server):
    with Client(server.address) as client:
        assert client.get("/after-start", method="HEAD").status == 500
        client.expect_end()


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize(
    "target", ["/in-the-middle", "/in-the-middle-with-length", "/str-in-the-middle"]
)
def test_an_error_in_the_middle_cuts_the_answer(server, target, version):
    before = closes(server, target[1:])

    def action():
        with Client(server.address) as client:
            client.send(request(target, version=version))
            response = client.cut_response()
            assert response.status == 200
            assert response.body in (b"partial", b"")
            client.expect_end()

    said = stderr_of(server, action)
    assert ("TypeError" if target == "/str-in-the-middle" else "Intended: in the middle") in said
    assert closes(server, target[1:]) == before + 1


def test_what_was_sent_before_an_error_arrives(server):
    with Client(server.address) as client:
        client.send(request("/in-the-middle"))
        assert client.cut_response().body == b"partial"


@pytest.mark.parametrize("name", response_app.BAD_BODIES)
def test_a_body_that_is_not_bytes(server, name):
    def action():
        with Client(server.address) as client:
            response = client.get(f"/bad-body/{name}")
            assert response.status == 500

    # No line of the application was running, so there is no traceback to show.
    assert ("Intended" if name == "broken-iter" else "TypeError") in stderr_of(server, action)


def test_other_connections_do_not_notice(server):
    with Client(server.address) as beside:
        for target in ("/after-start", "/never", "/twice", "/bad-body/none", "/raise/SystemExit"):
            assert beside.get("/body/one").body == b"hello"
            with Client(server.address) as client:
                assert client.get(target).status == 500
        assert beside.get("/body/one").body == b"hello"


# ---- close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/closing", "/closing-nothing", "/list-with-close"])
def test_close_is_called_once(server, client, target, method):
    before = closes(server, target[1:])
    client.get(target, method=method)
    assert closes(server, target[1:]) == before + 1


def test_close_that_fails_does_not_hurt_the_answer(server, client):
    before = closes(server, "close-fails")
    said = stderr_of(server, lambda: client.get("/close-fails"))
    assert "close fails" in said
    assert client.get("/body/one").body == b"hello"
    assert closes(server, "close-fails") == before + 1


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("target", ["/endless", "/generator-finally"])
def test_close_is_called_when_the_client_leaves(server, target, leave):
    before = closes(server, target[1:])
    with Client(server.address) as client:
        client.send(request(target))
        response = client.head()
        for _ in range(3):
            assert client.piece(response)
        getattr(client, leave)()
        assert wait_for_closes(server, target[1:], before + 1) == before + 1


def test_a_client_that_leaves_is_no_error_of_the_application(server):
    def action():
        before = closes(server, "endless")
        with Client(server.address) as client:
            client.send(request("/endless"))
            client.piece(client.head())
            client.reset()
        assert wait_for_closes(server, "endless", before + 1) == before + 1

    assert "Traceback" not in stderr_of(server, action)


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_close_is_called_when_the_client_left_before_the_answer(server, leave):
    before = closes(server, "before-answer-gate")
    with Client(server.address) as client, Gate() as gate:
        client.send(request(f"/before-answer-gate?{gate.path}"))
        gate.arrival()
        getattr(client, leave)()
        gate.open()
        assert wait_for_closes(server, "before-answer-gate", before + 1) == before + 1
