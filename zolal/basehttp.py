"""The drop-in for django.core.servers.basehttp: what Django's runserver and LiveServerTestCase
stand on.

    from zolal.basehttp import run

    run("127.0.0.1", 8000, get_wsgi_application(), threading=True)

The classes have the names, the signatures and the meaning of Django's, and may be subclassed and
patched as they are. Other than there, where no method is overridden,

- a threaded server's threads live on: what a thread keeps, a database connection with CONN_MAX_AGE
  above all, is there for the next request;
- an answer without a length is sent in chunks before its connection is closed;
- a client that has asked for the end of its connection is told Connection: close."""

from __future__ import annotations

import collections
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from django.core.handlers.wsgi import LimitedStream
from django.core.servers import basehttp as django_basehttp
from django.db import connections

from zolal import simple_server, socket
from zolal.native import answers_as_it_is, is_as_it_is, is_threaded
from zolal.socketserver import ThreadingMixIn
from zolal.tracing import of_a_request, traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zolal.handlers import Application

__all__ = ("WSGIRequestHandler", "WSGIServer")

logger = logging.getLogger("django.server")

TLS_HANDSHAKE = "\x16\x03"
"""How a TLS client begins: a handshake record of SSL 3.0 or TLS."""


def get_internal_wsgi_application() -> Application:
    """The application that settings.WSGI_APPLICATION names, Django's own where it names none."""
    application: Any = django_basehttp.get_internal_wsgi_application()
    found: Application = application
    return found


def is_broken_pipe_error() -> bool:
    """Is the exception that is being handled one of those of a client that has left?"""
    kind = sys.exc_info()[0]
    return kind is not None and issubclass(
        kind, (BrokenPipeError, ConnectionAbortedError, ConnectionResetError)
    )


class WSGIServer(simple_server.WSGIServer):
    """A server of Django's application.

    RequestHandlerClass: also Django's own WSGIRequestHandler, and subclasses of it; see on_zolal().
    ipv6: listen on an IPv6 address."""

    request_queue_size = 10

    def __init__(
        self, *args: Any, ipv6: bool = False, allow_reuse_address: bool = True, **kwargs: Any
    ) -> None:
        if ipv6:
            self.address_family = socket.AF_INET6
        self.allow_reuse_address = allow_reuse_address
        super().__init__(*args, **kwargs)
        self.RequestHandlerClass = on_zolal(self.RequestHandlerClass)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if is_broken_pipe_error():
            logger.info("- Broken pipe from %s", client_address)
        else:
            super().handle_error(request, client_address)

    @property
    def persistence(self) -> str:
        """When the C path keeps a connection: as ServerHandler.cleanup_headers() does."""
        return "with_length" if is_threaded(self) else "never"

    @contextlib.contextmanager
    def around_thread(self) -> Iterator[None]:
        """The life of an application thread, where the threads live on: it closes its database
        connections at its end."""
        try:
            yield
        finally:
            connections.close_all()


class ThreadedWSGIServer(ThreadingMixIn, WSGIServer):
    """A server with many threads. `connections_override`: database connections, by alias, that all
    of them use in the place of their own."""

    daemon_threads = True
    connections_override: dict[str, Any] | None = None

    def __init__(
        self, *args: Any, connections_override: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.connections_override = connections_override

    def _override_connections(self) -> None:
        for alias, connection in (self.connections_override or {}).items():
            connections[alias] = connection

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._override_connections()
        super().process_request_thread(request, client_address)

    def _close_connections(self) -> None:
        connections.close_all()

    def close_request(self, request: Any) -> None:
        self._close_connections()
        super().close_request(request)

    @contextlib.contextmanager
    def around_thread(self) -> Iterator[None]:
        self._override_connections()
        with super().around_thread():
            yield


class ServerHandler(simple_server.ServerHandler):
    """Calls the application for one request, and says whether its connection is kept."""

    http_version = "1.1"

    def __init__(self, stdin: Any, stdout: Any, stderr: Any, environ: Any, **kwargs: Any) -> None:
        try:
            length = int(environ.get("CONTENT_LENGTH"))
        except (ValueError, TypeError):
            length = 0
        # What the application has not read must not be taken for the next request.
        super().__init__(LimitedStream(stdin, length), stdout, stderr, environ, **kwargs)

    def cleanup_headers(self) -> None:
        super().cleanup_headers()
        is_head = self.environ["REQUEST_METHOD"] == "HEAD"
        if is_head and str(self.headers.get("Content-Length")) == "0":
            del self.headers["Content-Length"]  # finish_response() has not counted the body.
        has_length = is_head or "Content-Length" in self.headers
        # Without a length the body ends with the connection; and a server with one thread would
        # keep others waiting while it keeps a connection.
        if not has_length or not is_threaded(self.request_handler.server):
            self.headers["Connection"] = "close"
        if self.headers.get("Connection") == "close":
            self.request_handler.close_connection = True

    def close(self) -> None:
        self.get_stdin().read()
        super().close()

    @traced
    def finish_response(self) -> None:
        if self.environ["REQUEST_METHOD"] != "HEAD":
            super().finish_response()
            return
        try:
            collections.deque(self.result, maxlen=0)
            if not self.headers_sent:
                self.send_headers()
        finally:
            self.close()


class WSGIRequestHandler(simple_server.WSGIRequestHandler):
    """Answers the requests of a connection; log lines go to the logger "django.server"."""

    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        # Also where a test gives a mere text.
        address: str = self.client_address[0]
        return address

    def log_left(self) -> None:
        """The client has left before it had the answer, where zolal.Server serves."""
        logger.info("- Broken pipe from %s", self.client_address)

    def log_message(self, format: str, *args: Any) -> None:
        status: int | None = None
        text = str(args[1]) if len(args) > 1 else ""
        if args and text.startswith("4") and str(args[0]).lstrip('"').startswith(TLS_HANDSHAKE):
            format, status, args = (
                "You're accessing the development server over HTTPS, but it only supports HTTP.",
                500,
                (),
            )
        elif text.isdigit() and len(text) == 3:
            status = int(text)
        level = logging.INFO
        if status is not None and status >= 400:
            level = logging.ERROR if status >= 500 else logging.WARNING
        extra: dict[str, Any] = {
            "request": self.request,
            "server_time": self.log_date_time_string(),
        }
        if status is not None:
            extra["status_code"] = status
        logger.log(level, format, *map(_escaped, args), extra=extra)

    def get_environ(self) -> dict[str, Any]:
        # In the environ X_Y and X-Y are one; a proxy in front has looked at the latter only.
        for name in list(self.headers):
            if "_" in name:
                del self.headers[name]
        return super().get_environ()

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()
        while not self.close_connection:
            self.handle_one_request()
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except (AttributeError, OSError):
            pass

    @of_a_request
    def handle_one_request(self) -> None:
        if not self._read_line() or not self.parse_request():
            return  # An error has been sent.
        handler = ServerHandler(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
        handler.request_handler = self
        handler.run(self.server.get_app())
        if not self.close_connection:
            self.close_connection = not self._may_keep()


def _escaped(argument: Any) -> Any:
    """What came from a request cannot draw on the terminal."""
    if isinstance(argument, str):
        return argument.encode("unicode_escape").decode("ascii")
    return argument


# ------------------------------------------------------------------------------ Django's classes


def _values(cls: type) -> dict[str, Any]:
    """What is no method of a class and its bases."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            if not name.startswith("__") and not hasattr(value, "__get__"):
                found[name] = value
    return found


_DJANGO_VALUES = {
    cls: _values(cls) for cls in (django_basehttp.WSGIRequestHandler, django_basehttp.WSGIServer)
}


def _patches(cls: type) -> dict[str, Any]:
    """What somebody has put into one of Django's classes, or a base of it, since."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            if callable(value) and not isinstance(value, type) and not is_as_it_is(base, name):
                found[name] = value
    if cls is django_basehttp.WSGIRequestHandler and not answers_as_it_is(cls):
        found["handle_one_request"] = cls.handle_one_request  # it is what uses that
    originals = _DJANGO_VALUES[cls]
    for name, value in _values(cls).items():
        if name not in originals or originals[name] is not value:
            found[name] = value
    return found


def on_zolal(cls: Any) -> Any:
    """The class that does on zolal what a class of Django does: of Django's own WSGIRequestHandler
    and WSGIServer ours, of a subclass of them one in which ours stands between it and Django's.
    What is patched in Django's stays. All other classes are returned as they are."""
    if not isinstance(cls, type):
        return cls
    pairs: tuple[tuple[Any, type], ...] = (
        (django_basehttp.WSGIRequestHandler, WSGIRequestHandler),
        (django_basehttp.WSGIServer, WSGIServer),
    )
    for theirs, ours in pairs:
        if theirs in _DJANGO_VALUES and issubclass(cls, theirs) and not issubclass(cls, ours):
            patches = _patches(theirs)
            if cls is theirs and not patches:
                return ours
            between = type(ours.__name__, (ours, theirs), {**patches, "__module__": __name__})
            if cls is theirs:
                return between
            return type(cls.__name__, (cls, between), {"__module__": cls.__module__})
    return cls


def run(
    addr: str,
    port: int,
    wsgi_handler: Application,
    ipv6: bool = False,
    threading: bool = False,
    on_bind: Callable[[int], object] | None = None,
    server_cls: type[Any] = WSGIServer,
) -> None:
    """Serve `wsgi_handler` for ever. `threading`: with many threads. `on_bind` is called with the
    port when it is bound."""
    server_address = (addr, port)
    server_cls = on_zolal(server_cls)
    if threading:
        server_cls = type("WSGIServer", (ThreadingMixIn, server_cls), {})
    httpd: Any = server_cls(server_address, WSGIRequestHandler, ipv6=ipv6)
    if on_bind is not None:
        on_bind(getattr(httpd, "server_port", port))
    if threading:
        # A thread that is stuck must not keep the process from its end, or from being reloaded.
        httpd.daemon_threads = True
    httpd.set_app(wsgi_handler)
    httpd.serve_forever()
