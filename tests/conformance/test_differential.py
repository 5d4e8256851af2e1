"""What zolal accepts, h11 and httptools (llhttp) refuse or read in the same way: method, target,
fields, body, and where the next request begins. Two parsers that read the same bytes differently
are how requests are smuggled.

The other way round is no difference: zolal may refuse what they accept, it is the strictest. What
they do otherwise is listed where it is levelled out, each with its section of RFC 9112."""

import json
import time
from urllib.parse import unquote_to_bytes

import h11
import httptools
import pytest
from http_client import PATIENCE, Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"get", b"M-SEARCH", b"G@T"]
TARGETS = [
    b"/",
    b"/a/b?c=d",
    b"/%41%2f%00?%20",
    b"//x",
    b"*",
    b"http://h/p?q",
    b"/\x80",
    b"",
    b"/a b",
]
VERSIONS = [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b""]
ENDS = [b"\r\n", b"\n", b"\r", b"\r\n ", b"\r\r\n"]
FIELDS = [
    b"Host: a",
    b"Host: b:80",
    b"Host : a",
    b"X: y",
    b"X:  y\t",
    b"X:\x0by",
    b"X: \xff",
    b"X: a\rb",
    b"Connection: close",
    b"Connection: keep-alive, close",
    b"Content-Length: 3",
    b"Content-Length: +3",
    b"Content-Length: 3, 3",
    b"Content-Length: 0",
    b"content-length: 1000000000000000000000",
    b"Content-Length : 3",
    b"Content_Length: 9",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: x, chunked",
    b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: chunke\xc4",
    b" folded",
    b"Expect: 100-continue",
    b"Expect: else",
    b"Upgrade: x",
]
BODIES = [
    b"",
    b"abc",
    b"abcd",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n",
    b"3\r\nabcX\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"03\r\nabc\r\n00\r\n\r\n",
    b"3\nabc\n0\n\n",
    b"-3\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffff3\r\nabc\r\n0\r\n\r\n",
    b"3;\nabc\r\n0\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
]


SOUND = [
    ([], b""),
    ([b"X: y"], b""),
    ([b"X:  y\t", b"X: z"], b""),
    ([b"Content-Length: 3"], b"abc"),
    ([b"Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n"),
    ([b"Transfer-Encoding: chunked"], b"3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n"),
]


@st.composite
def messages(draw):
    """A request that is sound, but for what is odd about it: nothing, or a part or two."""
    odd = draw(st.sets(st.sampled_from(["line", "end", "field", "body", "host"]), max_size=2))
    line = [draw(st.sampled_from(METHODS[:5])), draw(st.sampled_from(TARGETS[:4])), VERSIONS[0]]
    fields, body = draw(st.sampled_from(SOUND))
    fields = [b"Host: a", *fields]
    ends = [b"\r\n"] * (len(fields) + 2)
    if "line" in odd:
        part = draw(st.integers(0, 2))
        line[part] = draw(st.sampled_from([METHODS, TARGETS, VERSIONS][part]))
    if "host" in odd:
        fields.pop(0)
    if "field" in odd:
        fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(FIELDS)))
    if "end" in odd:
        ends[draw(st.integers(0, len(fields)))] = draw(st.sampled_from(ENDS))
    if "body" in odd:
        body = draw(st.sampled_from(BODIES))
    lines = [part + end for part, end in zip([b" ".join(line), *fields], ends, strict=False)]
    return b"".join([*lines, b"\r\n", body])


@st.composite
def streams(draw):
    """A few requests on one connection, a byte of them changed now and then, cut into segments."""
    data = b"".join(draw(st.lists(messages(), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data) - 1))
        new = draw(
            st.one_of(st.binary(max_size=1), st.sampled_from([b"\r", b"\n", b" ", b":", b"\0"]))
        )
        data = data[:at] + new + data[at + draw(st.integers(0, 1)) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=3)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def read_by_zolal(address, segments):
    """The requests that reached the application, as it saw them."""
    read = []
    with Client(address) as client:
        try:
            for segment in segments:
                client.send(segment)
            client.send_end()
        except OSError:
            pass  # refused before the last segment was sent
        try:
            while client.receive(time.monotonic() + PATIENCE):
                continue
        except ConnectionResetError:
            pass  # what came before it counts
        data = client.buffer
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            continue
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", 0))
        # An answer to HEAD has the length and not the body; here its body would be JSON.
        body, rest = data[:length], data[length:]
        if b"x-read" in fields and not body.startswith(b"{"):
            read.append(None)
            continue
        data = rest
        if b"x-read" in fields:
            read.append(json.loads(body))
    return read


class Refused(Exception):
    """The other parser takes nothing from here on."""


def target_of(target):
    """path and query as PEP 3333 wants them; None where the form is not the usual one."""
    if not target.startswith(b"/"):
        return None
    path, _, query = target.partition(b"?")
    return unquote_to_bytes(path).decode("latin-1"), query.decode("latin-1")


def read_by_h11(data):
    """Yields each request; raises Refused where h11 refuses."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    connection.receive_data(b"")
    try:
        while True:
            request, body = connection.next_event(), b""
            if not isinstance(request, h11.Request):
                return
            while isinstance(event := connection.next_event(), h11.Data):
                body += bytes(event.data)
            if not isinstance(event, h11.EndOfMessage):
                raise Refused
            fields = request.headers
            x = [value.decode("latin-1") for name, value in fields if name == b"x"]
            yield request.method, request.target, ", ".join(x) if x else None, body
            connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        raise Refused from error


class Collector:
    """httptools' callbacks: a list of requests."""

    def __init__(self):
        self.read, self.closes = [], False

    def on_message_begin(self):
        self.target, self.fields, self.body = b"", [], b""

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        # 5.1: white space around a value is not part of it; llhttp leaves what is behind it.
        self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        x = [value.decode("latin-1") for name, value in self.fields if name == b"x"]
        method = self.parser.get_method()
        self.read.append((method, self.target, ", ".join(x) if x else None, self.body))


def read_by_httptools(data):
    collector = Collector()
    parser = collector.parser = httptools.HttpRequestParser(collector)
    refused = False
    try:
        parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        refused = True
    yield from collector.read
    if refused:
        raise Refused


def check(ours, theirs, data):
    """Each request of ours is theirs too, until they refuse."""
    for mine in ours:
        try:
            method, target, x, body = next(theirs)
        except (Refused, StopIteration) as end:
            if isinstance(end, Refused):
                return
            raise AssertionError(f"only zolal reads {mine} in {data!r}") from None
        if mine is None:
            assert method == b"HEAD", data
            continue
        assert mine["method"].encode("latin-1") == method, data
        assert mine["body"].encode("latin-1") == body, data
        assert mine["x"] == x, data
        if target_of(target):
            assert (mine["path"], mine["query"]) == target_of(target), data


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("reading_app:application")


@pytest.mark.parametrize("read", [read_by_h11, read_by_httptools])
def test_what_is_accepted_is_read_in_the_same_way(server, read):
    accepted = 0

    @settings(
        max_examples=1500,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(streams())
    def compare(segments):
        nonlocal accepted
        data = b"".join(segments)
        ours = read_by_zolal(server.address, segments)
        accepted += len(ours)
        check(ours, read(data), data)

    compare()
    assert accepted > 200  # else it would have compared nothing
    assert isinstance(server.pid, int) and server.process.poll() is None


def test_a_difference_would_be_seen():
    ours = [{"method": "GET", "path": "/", "query": "", "x": None, "body": "abc"}]
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for read in (read_by_h11, read_by_httptools):
        with pytest.raises(AssertionError):
            check(ours, read(data), data)
        with pytest.raises(AssertionError):
            check([*ours[:0], *[{**ours[0], "body": ""}] * 2], read(data), data)
