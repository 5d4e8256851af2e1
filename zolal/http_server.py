"""The drop-in for the standard library's http.server: HTTPServer, ThreadingHTTPServer and
BaseHTTPRequestHandler.

The classes have the names, the methods, the attributes and the bytes of the standard ones. Other
than there,

- TCP_NODELAY is set (disable_nagle_algorithm), so that no small write waits for the client's
  acknowledgement of the one before;
- where connections are kept (protocol_version "HTTP/1.1"), nobody can smuggle a request: a head
  that others may read otherwise is answered with 400 and the end of the connection, what do_POST()
  has left of a body is no request, and neither is what follows a body in chunks (RFC 9112 11.2).

https://docs.python.org/3/library/http.server.html"""

from __future__ import annotations

import email.parser
import email.utils
import html
import http.client
import re
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from zolal import socket, socketserver
from zolal.tracing import Call, of_a_request, traced

if TYPE_CHECKING:
    from email.message import Message

__all__ = ["BaseHTTPRequestHandler", "HTTPServer", "ThreadingHTTPServer"]

__version__ = "0.6"

LINE_AT_MOST = 65536
DISCARD_AT_MOST = 1 << 20
"""Bytes of a body that are read although nobody wants them, so that the connection can be kept."""

DEFAULT_ERROR_MESSAGE = """\
<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: %(code)d</p>
        <p>Message: %(message)s.</p>
        <p>Error code explanation: %(code)s - %(explain)s.</p>
    </body>
</html>
"""
DEFAULT_ERROR_CONTENT_TYPE = "text/html;charset=utf-8"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112 3 and 5; a line may end with LF alone (2.2), but a CR stands before an LF only.
_REQUEST_LINE = re.compile(_TOKEN + rb" [!-~\x80-\xff]+ HTTP/[0-9]\.[0-9]\r?\n")
_FIELD_LINE = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r?\n")
_VERSION = re.compile(r"HTTP/([0-9]{1,10})\.([0-9]{1,10})")
_NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED)


class HTTPServer(socketserver.TCPServer):
    """A server that knows its name: server_name, server_port."""

    allow_reuse_address = True
    allow_reuse_port = False
    server_name: str
    server_port: int

    def server_bind(self) -> None:
        super().server_bind()
        if self.address_family == socket.AF_UNIX:
            # It has neither, and PEP 3333 wants both.
            self.server_name, self.server_port = "localhost", 80
            return
        host, port = self.server_address[:2]
        self.server_name = socket.getfqdn(host)
        self.server_port = port


class ThreadingHTTPServer(socketserver.ThreadingMixIn, HTTPServer):
    daemon_threads = True


class _Ambiguous(Exception):
    """A request that another reader of the same bytes may take for something else."""


def _read_head(rfile: Any) -> list[bytes]:
    """The lines of a head up to the empty one, and this. Raises as http.client.parse_headers()
    does, whose limits hold here too."""
    line_at_most = getattr(http.client, "_MAXLINE", LINE_AT_MOST)
    lines_at_most = getattr(http.client, "_MAXHEADERS", 100)
    lines: list[bytes] = []
    while True:
        line = rfile.readline(line_at_most + 1)
        if len(line) > line_at_most:
            raise http.client.LineTooLong("header line")
        lines.append(line)
        if line in (b"\r\n", b"\n", b""):
            return lines
        if len(lines) > lines_at_most:
            raise http.client.HTTPException(f"got more than {lines_at_most} headers")


def _parse_head(lines: list[bytes], message_class: type[Message]) -> tuple[Message, bool]:
    """(the headers, whether every line is as RFC 9112 5 has it). The others are read as the email
    package reads them."""
    fields = [_FIELD_LINE.fullmatch(line) for line in lines[:-1]]
    well_formed = None not in fields
    if well_formed and message_class is http.client.HTTPMessage:
        message: Message = message_class()
        for field in fields:
            name, value = field.groups()  # type: ignore[union-attr]
            message.set_raw(name.decode("ascii"), value.decode("iso-8859-1"))
        message.set_payload("")
        return message, True
    parser = email.parser.Parser(_class=message_class)
    return parser.parsestr(b"".join(lines).decode("iso-8859-1")), well_formed


class BaseHTTPRequestHandler(socketserver.StreamRequestHandler):
    """Reads requests, and calls for each the method with its name: do_GET(), do_POST().

    That method finds `command`, `path`, `request_version`, `headers` (an email.message.Message) and
    `client_address`; the body is read from `rfile`. It answers by send_response(), send_header(),
    end_headers(), and writes to `wfile`; or by send_error()."""

    sys_version = "Python/" + sys.version.split()[0]
    server_version = "BaseHTTP/" + __version__
    error_message_format = DEFAULT_ERROR_MESSAGE
    error_content_type = DEFAULT_ERROR_CONTENT_TYPE
    default_request_version = "HTTP/0.9"
    """Of a request whose line says nothing else."""
    protocol_version = "HTTP/1.0"
    """With "HTTP/1.1" connections are kept; every answer must have a Content-Length then."""
    MessageClass: type[Message] = http.client.HTTPMessage
    disable_nagle_algorithm = True

    weekdayname: ClassVar[list[str]] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    monthname: ClassVar[list[str | None]] = [None]
    monthname += ["Jan", "Feb", "Mar", "Apr", "May", "Jun"]
    monthname += ["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    responses: ClassVar[dict[int, tuple[str, str]]] = {
        status: (status.phrase, status.description) for status in HTTPStatus.__members__.values()
    }

    _control_char_table: ClassVar[dict[int, str]] = {
        **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
        ord("\\"): "\\\\",
    }

    raw_requestline: bytes
    requestline: str
    command: Any
    path: str
    request_version: str
    headers: Any
    close_connection = True
    _body_left_until: int | None = None
    """Where in rfile the request's body ends."""
    _body_is_chunked = False
    _answered = (0, 0)

    # ------------------------------------------------------------------------------ requests

    @traced
    def parse_request(self) -> bool:
        """Parse raw_requestline, and the head that follows it in rfile. False: an error has been
        sent, or there is nothing to be answered."""
        self.command = None
        self.request_version = self.default_request_version
        self.close_connection = True
        self._body_left_until, self._body_is_chunked = None, False
        self.requestline = str(self.raw_requestline, "iso-8859-1").rstrip("\r\n")
        words = self.requestline.split()
        if not words:
            return False
        if len(words) >= 3 and not self._parse_version(words[-1]):
            return False
        if len(words) not in (2, 3):
            return self._refuse(
                HTTPStatus.BAD_REQUEST, f"Bad request syntax ({self.requestline!r})"
            )
        command, path = words[:2]
        if len(words) == 2:
            self.close_connection = True
            if command != "GET":
                return self._refuse(
                    HTTPStatus.BAD_REQUEST, f"Bad HTTP/0.9 request type ({command!r})"
                )
        self.command = command
        # A path that begins with // is taken for //host/path by who is redirected to it.
        self.path = "/" + path.lstrip("/") if path.startswith("//") else path
        if not self._parse_headers():
            return False

        connection = self.headers.get("Connection", "").lower()
        if connection == "close":
            self.close_connection = True
        elif connection == "keep-alive" and self.protocol_version >= "HTTP/1.1":
            self.close_connection = False
        expects = self.headers.get("Expect", "").lower() == "100-continue"
        if expects and self.protocol_version >= "HTTP/1.1" and self.request_version >= "HTTP/1.1":
            return self.handle_expect_100()
        return True

    def _refuse(self, code: int, message: str, explain: str | None = None) -> bool:
        self.send_error(code, message, explain)
        return False

    def _parse_version(self, version: str) -> bool:
        numbers = _VERSION.fullmatch(version)
        if numbers is None:
            return self._refuse(HTTPStatus.BAD_REQUEST, f"Bad request version ({version!r})")
        major, minor = int(numbers[1]), int(numbers[2])
        if (major, minor) >= (1, 1) and self.protocol_version >= "HTTP/1.1":
            self.close_connection = False
        if major >= 2:
            return self._refuse(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
                f"Invalid HTTP version ({version.removeprefix('HTTP/')})",
            )
        self.request_version = version
        return True

    def _parse_headers(self) -> bool:
        try:
            lines = _read_head(self.rfile)
        except http.client.LineTooLong as error:
            return self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Line too long", str(error)
            )
        except http.client.HTTPException as error:
            return self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many headers", str(error)
            )
        self.headers, well_formed = _parse_head(lines, self.MessageClass)
        at_end = lines[-1] == b""
        if self.protocol_version >= "HTTP/1.1" and not at_end:
            try:
                self._frame(well_formed)
            except _Ambiguous as error:
                return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        return True

    def _frame(self, well_formed: bool) -> None:
        """Find where the request ends (RFC 9112 6.3), since another one may follow."""
        lengths, codings = (
            [value.strip(" \t") for value in self.headers.get_all(name, [])]
            for name in ("Content-Length", "Transfer-Encoding")
        )
        if not well_formed:
            raise _Ambiguous("Bad header syntax")
        if len(self.requestline.split()) == 3 and not _REQUEST_LINE.fullmatch(self.raw_requestline):
            raise _Ambiguous("Bad request syntax")
        if codings:
            if lengths:
                raise _Ambiguous("Transfer-Encoding with Content-Length")
            if self.request_version < "HTTP/1.1" or [one.lower() for one in codings] != ["chunked"]:
                raise _Ambiguous("Bad Transfer-Encoding")
            self._body_is_chunked = True
        if lengths:
            if len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0]):
                raise _Ambiguous("Bad Content-Length")
            self._body_left_until = int(lengths[0])
            try:
                self._body_left_until += self.rfile.tell()
            except (AttributeError, OSError):
                self._body_left_until = -1 if int(lengths[0]) else None

    def _may_keep(self) -> bool:
        """Called after a request: whether what follows in rfile is another one. What is left of
        its body is read first, if it is not too much."""
        if self._body_is_chunked:
            return False  # Where the body ends is known to who has read it, if anybody has.
        end, self._body_left_until = self._body_left_until, None
        if end is None:
            return True
        if end < 0:
            return False  # An rfile that does not tell how much was read.
        left = end - self.rfile.tell()
        if left < 0 or left > DISCARD_AT_MOST:
            return False
        return len(self.rfile.read(left)) == left if left else True

    def handle_expect_100(self) -> bool:
        """The client waits for "100 Continue" before it sends the body: send it, or an error and
        return False."""
        self.send_response_only(HTTPStatus.CONTINUE)
        self.end_headers()
        return True

    def _read_line(self) -> bool:
        """The request line into raw_requestline. False: it is too long, which has been said."""
        self.raw_requestline = self.rfile.readline(LINE_AT_MOST + 1)
        if len(self.raw_requestline) <= LINE_AT_MOST:
            return True
        self.requestline = self.request_version = self.command = ""
        self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        return False

    @of_a_request
    def handle_one_request(self) -> None:
        try:
            if not self._read_line():
                return
            if not self.raw_requestline:
                self.close_connection = True
                return
            if not self.parse_request():
                # Whether the body still comes is not known.
                if self._body_is_chunked or self._body_left_until is not None:
                    self.close_connection = True
                return
            method = getattr(self, "do_" + self.command, None)
            if method is None:
                self.send_error(
                    HTTPStatus.NOT_IMPLEMENTED, f"Unsupported method ({self.command!r})"
                )
                return
            with Call(method):
                method()
            self.wfile.flush()
            if not self.close_connection:
                self.close_connection = not self._may_keep()
        except TimeoutError as error:
            self.log_error("Request timed out: %r", error)
            self.close_connection = True

    def handle(self) -> None:
        """handle_one_request() until the connection is to be closed."""
        self.close_connection = True
        self.handle_one_request()
        while not self.close_connection:
            self.handle_one_request()

    # ------------------------------------------------------------------------------- answers

    @traced
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with an error, and log it. `message` is the reason of the status line, `explain`
        a sentence of the page; both have a default for each code. The connection is closed."""
        reason, sentence = self.responses.get(code, ("???", "???"))
        message = reason if message is None else message
        explain = sentence if explain is None else explain
        self.log_error("code %d, message %s", code, message)
        self.send_response(code, message)
        self.send_header("Connection", "close")
        body = b""
        if code >= 200 and code not in _NO_BODY:
            page = self.error_message_format % {
                "code": int(code),  # Not the name that str() of a member may have.
                "message": html.escape(message, quote=False),
                "explain": html.escape(explain, quote=False),
            }
            body = page.encode("UTF-8", "replace")
            self.send_header("Content-Type", self.error_content_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)

    def send_response(self, code: int, message: str | None = None) -> None:
        """Log the request, and begin an answer: the status line, Server and Date."""
        self.log_request(code)
        self.send_response_only(code, message)
        self.send_header("Server", self.version_string())
        self.send_header("Date", self.date_time_string())

    def send_response_only(self, code: int, message: str | None = None) -> None:
        """The status line."""
        self._answered = (int(code), 0)
        if self.request_version == "HTTP/0.9":
            return
        if message is None:
            message = self.responses[code][0] if code in self.responses else ""
        self._append_line(f"{self.protocol_version} {code:d} {message}")

    def send_header(self, keyword: str, value: str) -> None:
        """A header line. Connection also says what becomes of the connection."""
        if self.request_version != "HTTP/0.9":
            self._append_line(f"{keyword}: {value}")
        if keyword.lower() == "connection":
            if value.lower() == "close":
                self.close_connection = True
            elif value.lower() == "keep-alive":
                self.close_connection = False

    def _append_line(self, line: str) -> None:
        if not hasattr(self, "_headers_buffer"):
            self._headers_buffer: list[bytes] = []
        self._headers_buffer.append(line.encode("latin-1") + b"\r\n")

    def end_headers(self) -> None:
        """The head is whole: send it."""
        if self.request_version != "HTTP/0.9":
            self._headers_buffer.append(b"\r\n")
            self.flush_headers()

    @traced
    def flush_headers(self) -> None:
        """Send what there is of a head."""
        if hasattr(self, "_headers_buffer"):
            self.wfile.write(b"".join(self._headers_buffer))
            self._headers_buffer = []

    # ----------------------------------------------------------------------------------- log

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Called by send_response()."""
        if isinstance(code, HTTPStatus):
            code = code.value
        self.log_message('"%s" %s %s', self.requestline, str(code), str(size))

    def log_error(self, format: str, *args: Any) -> None:
        """A request that cannot be answered."""
        self.log_message(format, *args)

    def log_message(self, format: str, *args: Any) -> None:
        """A line to standard error, with the client and the time in front; control characters are
        escaped."""
        message = (format % args).translate(self._control_char_table)
        sys.stderr.write(f"{self.address_string()} - - [{self.log_date_time_string()}] {message}\n")

    def version_string(self) -> str:
        return self.server_version + " " + self.sys_version

    def date_time_string(self, timestamp: float | None = None) -> str:
        """As HTTP has it; None: now."""
        return email.utils.formatdate(time.time() if timestamp is None else timestamp, usegmt=True)

    def log_date_time_string(self) -> str:
        year, month, day, hour, minute, second = time.localtime(time.time())[:6]
        name = self.monthname[month]
        return f"{day:02}/{name:>3}/{year:04} {hour:02}:{minute:02}:{second:02}"

    def address_string(self) -> str:
        """The client, in the log."""
        return self.client_host()

    def client_host(self) -> str:
        """The client's address without its port; "" for one on a UNIX socket."""
        address = self.client_address
        return str(address[0]) if address and isinstance(address, (tuple, list)) else ""
