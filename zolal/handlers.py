"""The drop-in for the standard library's wsgiref.handlers: the invocation of a WSGI application
(PEP 3333), and its answer as HTTP/1.0.

The classes have the names, the methods, the attributes and the bytes of the standard ones. Other
than there, SimpleHandler writes the head of an answer together with its first piece: two small
writes cost 40 ms where the client delays its acknowledgements.
https://docs.python.org/3/library/wsgiref.html#module-wsgiref.handlers"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any
from wsgiref.headers import Headers
from wsgiref.util import FileWrapper, guess_scheme, is_hop_by_hop

from zolal.tracing import Call, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, MutableMapping
    from types import TracebackType

    Environ = dict[str, Any]
    Application = Callable[[Environ, Any], Iterable[bytes]]
    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

__all__ = [
    "BaseCGIHandler",
    "BaseHandler",
    "CGIHandler",
    "SimpleHandler",
    "format_date_time",
    "read_environ",
]

JOIN_AT_MOST = 1 << 20
"""Bytes of a first piece that are copied, so that they leave with the head in one write."""

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_OF_THE_REQUEST = re.compile(
    r"(REDIRECT_)*"
    r"(HTTP_.*|SSL_.*|SCRIPT_NAME|PATH_INFO|QUERY_STRING|REQUEST_METHOD|AUTH_TYPE|CONTENT_TYPE"
    r"|CONTENT_LENGTH|HTTPS|REMOTE_USER|REMOTE_IDENT)",
    re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def format_date_time(timestamp: float) -> str:
    """A time in seconds as HTTP's Date has it, always in English."""
    year, month, day, hour, minute, second, weekday = time.gmtime(timestamp)[:7]
    return (
        f"{_WEEKDAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:4}"
        f" {hour:02}:{minute:02}:{second:02} GMT"
    )


def read_environ() -> dict[str, str]:
    """os.environ, but what a gateway has put there of a request as PEP 3333 wants it: its bytes as
    latin-1."""
    encoding = sys.getfilesystemencoding()
    return {
        name: value.encode(encoding, "surrogateescape").decode("iso-8859-1")
        if _OF_THE_REQUEST.fullmatch(name)
        else value
        for name, value in os.environ.items()
    }


class BaseHandler:
    """What all handlers have in common. _write(), _flush(), get_stdin(), get_stderr() and
    add_cgi_vars() are a subclass's to define; everything may be overridden."""

    # What may be set, in a class or in an instance.
    wsgi_version = (1, 0)
    wsgi_multithread = True
    wsgi_multiprocess = True
    wsgi_run_once = False
    origin_server = True  # The client gets what is written, status line and all.
    http_version = "1.0"
    server_software: str | None = None
    os_environ: dict[str, str] = read_environ()
    wsgi_file_wrapper: Callable[..., Any] | None = FileWrapper
    headers_class = Headers
    traceback_limit: int | None = None
    error_status = "500 Internal Server Error"
    error_headers = [("Content-Type", "text/plain")]
    error_body = b"A server error occurred.  Please contact the administrator."

    # The state of an answer.
    status: str | None = None
    result: Any = None
    headers_sent = False
    headers: Any = None
    bytes_sent = 0
    environ: Any = None

    @traced
    def run(self, application: Application) -> None:
        """Call the application, and send what it answers."""
        try:
            self.setup_environ()
            with Call(application):
                self.result = application(self.environ, self.start_response)
            self.finish_response()
        except (ConnectionAbortedError, BrokenPipeError, ConnectionResetError):
            return  # The client has gone, as clients do.
        except BaseException:  # An application's SystemExit is answered, too.
            try:
                self.handle_error()
            except BaseException:  # An error of the error's answer is the server's to report.
                self.close()
                raise

    @traced
    def setup_environ(self) -> None:
        """Make self.environ for this request."""
        environ = self.environ = self.os_environ.copy()
        self.add_cgi_vars()
        environ = self.environ
        environ["wsgi.input"] = self.get_stdin()
        environ["wsgi.errors"] = self.get_stderr()
        environ["wsgi.version"] = self.wsgi_version
        environ["wsgi.run_once"] = self.wsgi_run_once
        environ["wsgi.url_scheme"] = self.get_scheme()
        environ["wsgi.multithread"] = self.wsgi_multithread
        environ["wsgi.multiprocess"] = self.wsgi_multiprocess
        if self.wsgi_file_wrapper is not None:
            environ["wsgi.file_wrapper"] = self.wsgi_file_wrapper
        if self.origin_server and self.server_software:
            environ.setdefault("SERVER_SOFTWARE", self.server_software)

    @traced
    def finish_response(self) -> None:
        """Send the application's iterable, and close it."""
        try:
            if not self.result_is_file() or not self.sendfile():
                for data in self.result:
                    self.write(data)
                self.finish_content()
        except BaseException:
            # Not self.close(): who handles the error needs the environ and the headers.
            if hasattr(self.result, "close"):
                self.result.close()
            raise
        self.close()

    @traced
    def get_scheme(self) -> str:
        """ "http" or "https"."""
        return guess_scheme(self.environ)

    def set_content_length(self) -> None:
        """The first piece is about to be sent: if it is the only one, its length is known."""
        try:
            pieces = len(self.result)
        except (TypeError, AttributeError, NotImplementedError):
            return
        if pieces == 1:
            self.headers["Content-Length"] = str(self.bytes_sent)

    def cleanup_headers(self) -> None:
        """Change or add headers before they are sent."""
        if "Content-Length" not in self.headers:
            self.set_content_length()

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: ExcInfo | tuple[None, None, None] | None = None,
    ) -> Callable[[bytes], None]:
        """start_response of PEP 3333."""
        if exc_info:
            try:
                if self.headers_sent:
                    raise
            finally:
                exc_info = None  # It refers to this frame.
        elif self.headers is not None:
            raise AssertionError("Headers already set!")

        self.status = status
        self.headers = self.headers_class(headers)
        self._validate_status(self._convert_string_type(status, "Status"))
        if __debug__:
            for name, value in headers:
                self._convert_string_type(name, "Header name")
                self._convert_string_type(value, "Header value")
                if is_hop_by_hop(name):
                    raise AssertionError(f"Hop-by-hop header, '{name}: {value}', not allowed")
        return self.write

    def _validate_status(self, status: str) -> None:
        if _CONTROL.search(status):
            raise ValueError("Control characters are not allowed in status")
        if len(status) < 4:
            raise AssertionError("Status must be at least 4 characters")
        if not status[:3].isdigit():
            raise AssertionError("Status message must begin w/3-digit code")
        if status[3] != " ":
            raise AssertionError("Status message must have a space after code")

    def _convert_string_type(self, value: Any, title: str) -> str:
        if type(value) is str:
            return value
        raise AssertionError(f"{title} must be of type str (got {value!r})")

    def send_preamble(self) -> None:
        """Write what comes before the headers: the status line, Date and Server."""
        if not self.origin_server:
            self._write_text(f"Status: {self.status}\r\n")
        elif self.client_is_modern():
            self._write_text(f"HTTP/{self.http_version} {self.status}\r\n")
            if "Date" not in self.headers:
                self._write_text(f"Date: {format_date_time(time.time())}\r\n")
            if self.server_software and "Server" not in self.headers:
                self._write_text(f"Server: {self.server_software}\r\n")

    def _write_text(self, text: str) -> None:
        self._write(text.encode("iso-8859-1"))

    def write(self, data: bytes) -> None:
        """write() of PEP 3333, and what sends each piece of the iterable."""
        # No assert: pytest rewrites those of a package that has a plugin.
        if __debug__ and type(data) is not bytes:
            raise AssertionError("write() argument must be a bytes instance")
        if not self.status:
            raise AssertionError("write() before start_response()")
        if self.headers_sent:
            self.bytes_sent += len(data)
            self._write(data)
        else:
            self.bytes_sent = len(data)  # set_content_length() asks.
            self._hold()
            try:
                self.send_headers()
                self._write(data)
            finally:
                self._release()
        self._flush()

    def sendfile(self) -> bool:
        """Send self.result, an instance of wsgi_file_wrapper, by other means than iteration;
        whether that was done. Where it is done, send_headers() comes first."""
        return False

    def finish_content(self) -> None:
        """Called after the iterable's last piece: the head leaves even if there was none."""
        if not self.headers_sent:
            # An answer to HEAD may have said another length.
            self.headers.setdefault("Content-Length", "0")
            self.send_headers()

    def close(self) -> None:
        """Close the iterable, and be as new."""
        try:
            if hasattr(self.result, "close"):
                self.result.close()
        finally:
            self.result = self.headers = self.status = self.environ = None
            self.bytes_sent = 0
            self.headers_sent = False

    def send_headers(self) -> None:
        """Write the head."""
        self.cleanup_headers()
        self.headers_sent = True
        if not self.origin_server or self.client_is_modern():
            self._hold()
            try:
                self.send_preamble()
                self._write(bytes(self.headers))
            finally:
                self._release()

    def result_is_file(self) -> bool:
        """Whether the application has answered with the server's wsgi.file_wrapper."""
        wrapper: Any = self.wsgi_file_wrapper
        return wrapper is not None and isinstance(self.result, wrapper)

    def client_is_modern(self) -> bool:
        """Whether the client knows status lines and headers."""
        modern: bool = self.environ["SERVER_PROTOCOL"].upper() != "HTTP/0.9"
        return modern

    def log_exception(self, exc_info: ExcInfo | tuple[None, None, None]) -> None:
        """Print it to where the application's errors go."""
        import traceback

        try:
            stderr = self.get_stderr()
            traceback.print_exception(*exc_info, limit=self.traceback_limit, file=stderr)
            stderr.flush()
        finally:
            exc_info = (None, None, None)  # It refers to this frame.

    def handle_error(self) -> None:
        """Log the exception that is being handled, and answer with an error if there is no answer
        yet."""
        self.log_exception(sys.exc_info())
        if not self.headers_sent:
            self.result = self.error_output(self.environ, self.start_response)
            self.finish_response()

    def error_output(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """A WSGI application: the answer after an exception. Whoever overrides it should tell
        strangers no more than this."""
        start_response(self.error_status, self.error_headers[:], sys.exc_info())
        return [self.error_body]

    def _hold(self) -> None:
        """What is written may be kept until _release(), which comes as often."""

    def _release(self) -> None:
        """See _hold()."""

    def _write(self, data: bytes) -> None:
        """Send it, at _flush() at the latest."""
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def get_stdin(self) -> Any:
        """wsgi.input."""
        raise NotImplementedError

    def get_stderr(self) -> Any:
        """wsgi.errors."""
        raise NotImplementedError

    def add_cgi_vars(self) -> None:
        """Put what is known of the request into self.environ."""
        raise NotImplementedError


class SimpleHandler(BaseHandler):
    """A handler that is given its streams and the request's variables."""

    _held: list[bytes] | None = None
    _holds = 0

    def __init__(
        self,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        environ: MutableMapping[str, Any],
        multithread: bool = True,
        multiprocess: bool = False,
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.base_env = environ
        self.wsgi_multithread = multithread
        self.wsgi_multiprocess = multiprocess

    def get_stdin(self) -> Any:
        return self.stdin

    def get_stderr(self) -> Any:
        return self.stderr

    def add_cgi_vars(self) -> None:
        self.environ.update(self.base_env)

    def _hold(self) -> None:
        self._holds += 1
        if self._held is None:
            self._held = []

    def _release(self) -> None:
        self._holds -= 1
        if self._holds > 0:
            return
        held, self._held = self._held, None
        if held:
            self._send(b"".join(held))

    def _write(self, data: bytes) -> None:
        if self._held is None:
            self._send(data)
            return
        if len(data) <= JOIN_AT_MOST:
            self._held.append(data)
            return
        head = b"".join(self._held)
        self._held.clear()
        if head:
            self._send(head)
        self._send(data)

    def _send(self, data: bytes) -> None:
        written = self.stdout.write(data)
        if written is None or written == len(data):
            return
        warnings.warn(
            "SimpleHandler.stdout.write() should not do partial writes",
            DeprecationWarning,
            stacklevel=2,
        )
        while data := data[written:]:
            written = self.stdout.write(data)

    def _flush(self) -> None:
        self.stdout.flush()


class BaseCGIHandler(SimpleHandler):
    """A handler behind a gateway: it writes Status: instead of a status line."""

    origin_server = False


class CGIHandler(BaseCGIHandler):
    """A handler for a CGI script: the process is one request."""

    wsgi_run_once = True
    os_environ = {}  # read_environ() is the request's.

    def __init__(self) -> None:
        super().__init__(
            sys.stdin.buffer,
            sys.stdout.buffer,
            sys.stderr,
            read_environ(),
            multithread=False,
            multiprocess=True,
        )
