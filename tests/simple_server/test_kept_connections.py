"""BaseHTTPRequestHandler with protocol_version HTTP/1.1: connections are kept, and nobody can
smuggle a request (RFC 9112 11.2)."""

import pytest
from chain_servers import ask, running

from zolal import http_server


class Handler(http_server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list = []

    def answer(self):
        self.seen.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer

    def do_PUT(self):
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer()

    def do_STAY(self):
        """Says that the connection is kept, whatever the client has sent."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "keep-alive")
        self.end_headers()

    def log_message(self, *args):
        pass


SMUGGLED = b"GET /smuggled HTTP/1.1\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)


def statuses(request, end=True, handler=Handler):
    Handler.seen = []
    server = http_server.HTTPServer(("127.0.0.1", 0), handler)
    with running(server):
        answer = ask(server.server_address, request, end=end)
    return [int(line[9:12]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


AMBIGUOUS = {
    "both": LENGTH + b"Transfer-Encoding: chunked\r\n",
    "two lengths": LENGTH + b"Content-Length: 0\r\n",
    "the same length twice": LENGTH * 2,
    "a list of lengths": b"Content-Length: 0, 26\r\n",
    "a sign": b"Content-Length: +26\r\n",
    "an underscore": b"Content-Length: 2_6\r\n",
    "hexadecimal": b"Content-Length: 0x1a\r\n",
    "other digits": "Content-Length: \u00b2\r\n".encode("latin-1"),
    "no length": b"Content-Length:\r\n",
    "space before colon": b"Content-Length : 26\r\n",
    "tab before colon": b"Transfer-Encoding\t: chunked\r\n",
    "hidden by a bad line": b"bad line\r\n" + LENGTH,
    "hidden by a fold": b"A: b\r\n " + LENGTH,
    "first line folded": b" A: b\r\n" + LENGTH,
    "bare cr": b"A: b\r" + LENGTH,
    "cr at the end": b"Content-Length: 26\r\r\n",
    "nul": b"A: b\0\r\n" + LENGTH,
    "no name": b": b\r\n" + LENGTH,
    "vertical tab": b"Content-Length: 26\x0b\r\n",
    "another coding": b"Transfer-Encoding: gzip\r\n",
    "codings": b"Transfer-Encoding: gzip, chunked\r\n",
    "coding twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "coding with a tail": b"Transfer-Encoding: chunked;q=1\r\n",
    "x-coding": b"Transfer-Encoding: xchunked\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
@pytest.mark.parametrize("method", [b"GET", b"STAY"])
def test_ambiguous_head(name, method):
    request = method + b" / HTTP/1.1\r\nHost: x\r\n" + AMBIGUOUS[name] + b"\r\n" + SMUGGLED
    assert statuses(request, end=False) == [400]
    assert Handler.seen == []


@pytest.mark.parametrize(
    "line",
    [b"GET /\xa0HTTP/1.1", b"GET\x0b/ HTTP/1.1", b"GET\t/ HTTP/1.1", b"G(T / HTTP/1.1"]
    + [b"GET /  HTTP/1.1", b"GET / HTTP/01.1", b"GET /\r HTTP/1.1", b"GET /\x85HTTP/1.1"],
)
def test_ambiguous_request_line(line):
    request = line + b"\r\nHost: x\r\n\r\n" + SMUGGLED
    assert statuses(request, end=False) in ([400], [])
    assert Handler.seen == []


def test_transfer_encoding_of_http_1_0():
    request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert statuses(request + SMUGGLED, end=False) == [400]
    assert Handler.seen == []


@pytest.mark.parametrize("method", [b"GET", b"POST", b"STAY"])
def test_body_that_is_not_read_is_no_request(method):
    request = (
        method + b" / HTTP/1.1\r\n" + LENGTH + b"\r\n" + SMUGGLED + b"GET /next HTTP/1.1\r\n\r\n"
    )
    assert statuses(request) == [200, 200]
    assert "GET /smuggled" not in Handler.seen and Handler.seen[-1] == "GET /next"


def test_body_that_is_read():
    request = b"PUT / HTTP/1.1\r\n" + LENGTH + b"\r\n" + SMUGGLED + b"GET /next HTTP/1.1\r\n\r\n"
    assert statuses(request) == [200, 200]
    assert Handler.seen == ["PUT /", "GET /next"]


def test_body_that_is_too_large_to_be_read_for_nothing():
    body = SMUGGLED * (http_server.DISCARD_AT_MOST // len(SMUGGLED) + 1)
    head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert statuses(head + SMUGGLED, end=False) == [200]
    assert Handler.seen == ["POST /"]


@pytest.mark.parametrize("method", [b"POST", b"STAY"])
def test_body_in_chunks_ends_the_connection(method):
    chunked = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    request = method + b" / HTTP/1.1\r\n" + chunked + SMUGGLED
    assert statuses(request, end=False) == [200]
    assert "GET /smuggled" not in Handler.seen


def test_unknown_method_and_rejected_expectation_end_the_connection():
    request = b"FROB / HTTP/1.1\r\n" + LENGTH + b"\r\n" + SMUGGLED
    assert statuses(request, end=False) == [501]

    class Rejecting(Handler):
        def handle_expect_100(self):
            self.send_response_only(417)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False

    request = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\n" + LENGTH + b"\r\n" + SMUGGLED
    assert statuses(request, end=False, handler=Rejecting) == [417]
    assert Handler.seen == []


def test_continue():
    request = b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na"
    assert statuses(request) == [100, 200]


def test_pipeline():
    assert (
        statuses(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n")
        == [200] * 2
    )
    assert Handler.seen == ["GET /1", "GET /2"]


def test_version_of_unreasonable_length():
    """As the newer ones of the originals have it."""
    assert statuses(b"GET / HTTP/11111111111.1\r\n\r\n", end=False) == []
