"""An HTTP/1.1 client for tests: sends exactly the bytes it is given, and reads answers with a
parser of its own that accepts nothing but what RFC 9112 lets a server send. Every wait has a
deadline."""

import os
import re
import socket
import struct
import time

PATIENCE = float(os.environ.get("ZOLAL_TEST_PATIENCE", "20"))
"""Seconds that a test waits for what must come. Not a measure: it only bounds a failure."""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
STATUS_LINE = re.compile(r"HTTP/(1\.[01]) ([1-9][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)")
FIELD_VALUE = re.compile(
    r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
DATE = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} [0-2]\d:[0-5]\d:[0-6]\d GMT"
)


class ProtocolError(AssertionError):
    """The server sent what no server may send."""


class Truncated(AssertionError):
    """The server's end came before the answer's."""


class TimedOut(AssertionError):
    """What must come did not come in time."""


class Response:
    """One answer. `fields`: (name, value) pairs as sent. `framing`: "length", "chunked", "close" or
    "none". `interim`: the statuses of 1xx answers before it. `pieces`: data as it was framed
    (chunks) or received."""

    def __init__(self, method, version, status, reason, fields):
        self.method = method
        self.version = version
        self.status = status
        self.reason = reason
        self.fields = fields
        self.interim = []
        self.pieces = []
        self.complete = False
        self.framing = self._framing()
        self.left = int(self.one("Content-Length")) if self.framing == "length" else None

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name):
        """The value of a field that must stand there exactly once."""
        values = self.all(name)
        if len(values) != 1:
            raise ProtocolError(f"{name} stands {len(values)} times in {self.fields}")
        return values[0]

    def has(self, name):
        return bool(self.all(name))

    @property
    def body(self):
        return b"".join(self.pieces)

    @property
    def text(self):
        return self.body.decode("latin-1")

    @property
    def closes(self):
        """Does the head say that the connection ends with this answer?"""
        options = [
            item.strip().lower() for value in self.all("Connection") for item in value.split(",")
        ]
        return "close" in options

    def _framing(self):
        coded = self.all("Transfer-Encoding")
        lengths = self.all("Content-Length")
        if len(lengths) > 1 or (lengths and not re.fullmatch("[0-9]+", lengths[0])):
            raise ProtocolError(f"Content-Length: {lengths}")
        if coded and lengths:
            raise ProtocolError("Transfer-Encoding and Content-Length in one answer, RFC 9112 6.2")
        if coded and (self.status == 204 or self.status < 200):
            raise ProtocolError(f"Transfer-Encoding in a {self.status}, RFC 9112 6.1")
        if lengths and (self.status == 204 or self.status < 200):
            raise ProtocolError(f"Content-Length in a {self.status}, RFC 9110 8.6")
        if self.method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return "none"
        if coded:
            if coded != ["chunked"]:
                raise ProtocolError(f"Transfer-Encoding: {coded}")
            return "chunked"
        return "length" if lengths else "close"


def parse_head(data, method):
    """The Response of a head, given with the empty line at its end."""
    text = data.decode("latin-1")
    if not text.endswith("\r\n\r\n"):
        raise ProtocolError(f"not the end of a head: {text[-20:]!r}")
    lines = text[:-4].split("\r\n")
    found = STATUS_LINE.fullmatch(lines[0])
    if not found:
        raise ProtocolError(f"status line {lines[0]!r}")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
            raise ProtocolError(f"field line {line!r}")
        fields.append((name, value))
    response = Response(method, found[1], int(found[2]), found[3], fields)
    if response.status >= 200 and not DATE.fullmatch(response.one("Date")):
        raise ProtocolError(f"Date: {response.one('Date')}")
    if response.status >= 200:
        response.one("Server")
    return response


class Client:
    """A connection to `address`: (host, port), or the path of a UNIX socket. Bytes that were
    received and not yet read as part of an answer are in `buffer`."""

    def __init__(self, address, *, receive_buffer=None, source=None):
        family = socket.AF_UNIX
        if not isinstance(address, (str, bytes)):
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(PATIENCE)
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                self.socket.bind(source)
            self.socket.connect(address)
            if family != socket.AF_UNIX:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self.socket.close()
            raise
        self.buffer = b""
        self.ended = False

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leave with a RST, whatever was sent and received."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.settimeout(PATIENCE)
        self.socket.sendall(data)

    def send_end(self):
        """No more comes from this side."""
        self.socket.shutdown(socket.SHUT_WR)

    def receive(self, deadline, most=65536):
        """Add to the buffer. False: the server's end."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(f"nothing more in {PATIENCE} s; so far {self.buffer[:200]!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(most)
        except TimeoutError:
            raise TimedOut(f"nothing more in {PATIENCE} s; so far {self.buffer[:200]!r}") from None
        self.buffer += data
        self.ended = not data
        return bool(data)

    def _until(self, mark, deadline, limit=1 << 20):
        """Take bytes up to and with `mark`."""
        while mark not in self.buffer:
            if len(self.buffer) > limit:
                raise ProtocolError(f"no {mark!r} in {limit} bytes: {self.buffer[:100]!r}")
            if not self.receive(deadline):
                raise Truncated(f"the end came before {mark!r}, after {self.buffer[:200]!r}")
        data, _, self.buffer = self.buffer.partition(mark)
        return data + mark

    def head(self, method="GET", patience=None):
        """Read the next final head; 1xx answers before it are noted in `interim`."""
        deadline = time.monotonic() + (patience or PATIENCE)
        interim = []
        while True:
            response = parse_head(self._until(b"\r\n\r\n", deadline), method)
            if response.status >= 200:
                response.interim = interim
                response.complete = response.framing == "none"
                return response
            interim.append(response.status)

    def interim(self):
        """Read one 1xx head and nothing else."""
        deadline = time.monotonic() + PATIENCE
        response = parse_head(self._until(b"\r\n\r\n", deadline), "GET")
        if response.status >= 200:
            raise ProtocolError(f"{response.status} where a 1xx must come")
        return response

    def piece(self, response, patience=None):
        """The next data of a body as it comes: a whole chunk, or what one read brought. b"" at the
        body's end; Truncated when the connection ends before."""
        deadline = time.monotonic() + (patience or PATIENCE)
        if response.complete:
            return b""
        data = getattr(self, "_piece_" + response.framing)(response, deadline)
        if data:
            response.pieces.append(data)
        else:
            response.complete = True
        return data

    def _piece_length(self, response, deadline):
        if response.left == 0:
            return b""
        if not self.buffer and not self.receive(deadline):
            raise Truncated(f"{response.left} bytes of Content-Length did not come")
        data, self.buffer = self.buffer[: response.left], self.buffer[response.left :]
        response.left -= len(data)
        return data

    def _piece_close(self, response, deadline):
        if not self.buffer and not self.receive(deadline):
            return b""
        data, self.buffer = self.buffer, b""
        return data

    def _piece_chunked(self, response, deadline):
        line = self._until(b"\r\n", deadline, limit=100)[:-2]
        if not CHUNK_SIZE.fullmatch(line):
            raise ProtocolError(f"chunk size {line!r}")
        size = int(line, 16)
        received = [self.buffer]
        have = len(self.buffer)
        while have < size + 2:
            self.buffer = b""
            if not self.receive(deadline, most=1 << 18):
                raise Truncated(f"{size + 2 - have} bytes of a chunk did not come")
            received.append(self.buffer)
            have += len(self.buffer)
        whole = b"".join(received)
        if whole[size : size + 2] != b"\r\n":
            raise ProtocolError(f"after a chunk: {whole[size : size + 20]!r}")
        self.buffer = whole[size + 2 :]
        return whole[:size]

    def body(self, response):
        """Read the rest of a body."""
        while self.piece(response):
            pass
        return response

    def response(self, method="GET"):
        """Read a whole answer."""
        return self.body(self.head(method))

    def cut_response(self, method="GET"):
        """Read an answer that a client can tell is not whole; with the body that came."""
        response = self.head(method)
        try:
            self.body(response)
        except (Truncated, ConnectionResetError):
            return response
        raise ProtocolError(f"the answer looks whole: {response.fields} {response.body[:100]!r}")

    def get(self, target, *fields, method="GET", version="1.1"):
        self.send(request(target, *fields, method=method, version=version))
        return self.response(method)

    def expect_end(self):
        """Nothing more may come but the server's end, by FIN or by RST."""
        deadline = time.monotonic() + PATIENCE
        try:
            while not self.ended and not self.buffer:
                self.receive(deadline)
        except ConnectionResetError:
            self.ended = True
        if self.buffer:
            raise ProtocolError(f"bytes behind the last answer: {self.buffer[:200]!r}")

    def expect_orderly_end(self):
        """Nothing more may come but a FIN."""
        deadline = time.monotonic() + PATIENCE
        while not self.ended and not self.buffer:
            self.receive(deadline)
        if self.buffer:
            raise ProtocolError(f"bytes behind the last answer: {self.buffer[:200]!r}")

    def has_input(self):
        """Is something here now, without waiting?"""
        self.socket.setblocking(False)
        try:
            return bool(self.buffer) or bool(self.socket.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False


def request(target="/", *fields, method="GET", version="1.1", body=None, host="localhost"):
    """The bytes of a request. `fields`: "Name: value", str as latin-1. A `body` gets a
    Content-Length unless a field frames it."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines.extend(fields)
    names = [field.partition(":")[0].lower() for field in fields]
    if body is not None and "content-length" not in names and "transfer-encoding" not in names:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(*pieces, last=b"0\r\n\r\n"):
    """The chunks of a body, with its end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last
