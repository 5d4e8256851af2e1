"""The C path of the drop-ins: a server of the chain of classes (zolal.simple_server,
zolal.basehttp) whose methods are as they are is served by zolal.Server, on its own listening
socket.

Where one is overridden, in a subclass, in an instance or by a patch, the classes serve themselves,
and the method is called. Some methods the C path calls itself, so that they may be overridden and
it still serves: get_app() of the server; the log_...() of the handler, and address_string()."""

from __future__ import annotations

import os
import socketserver as standard
import sys
import time
import types
from typing import TYPE_CHECKING, Any

from zolal import socket
from zolal.http_server import DEFAULT_ERROR_MESSAGE
from zolal.server import Answered, Server
from zolal.simple_server import WSGIRequestHandler, software_version
from zolal.socketserver import ForkingMixIn, Loop, ThreadingMixIn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

THREADS = 64
"""Of a threaded server, at once: the standard one starts one for each connection."""

WAIT_MS = 300_000
"""How long a person may take to type a request; the standard servers wait for ever."""

LINE = 65536
"""Bytes of a request line, and of a header field: the standard servers' limit."""

GRACE_MS = 5_000
"""What a request that runs gets at a stop where nobody waits for its thread."""

CLIENT_HAS_LEFT = 499
"""The status of an answer that nobody was left to get."""

SERVER_HOOKS = (
    "fileno",
    "get_request",
    "verify_request",
    "process_request",
    "process_request_thread",
    "finish_request",
    "shutdown_request",
    "close_request",
    "service_actions",
    "handle_error",
    "_handle_request_noblock",
    "_close_connections",
)
"""Methods of a server that the C path passes over."""

HANDLER_HOOKS = (
    "__init__",
    "setup",
    "handle",
    "finish",
    "handle_one_request",
    "parse_request",
    "handle_expect_100",
    "get_environ",
    "get_stderr",
    "send_error",
    "send_response",
    "send_response_only",
    "send_header",
    "end_headers",
    "flush_headers",
    "date_time_string",
)
"""Methods of a handler that the C path passes over."""

HANDLER_VALUES = {
    name: getattr(WSGIRequestHandler, name)
    for name in (
        "timeout",
        "rbufsize",
        "wbufsize",
        "MessageClass",
        "error_message_format",
        "error_content_type",
    )
}
"""And values."""

HANDLER_LOG = ("log_request", "log_error", "log_message", "address_string")
"""Methods of a handler that the C path calls, on a handler that has not read the request: if they
ask for none of these."""
NOT_THERE = {"headers", "rfile", "wfile", "connection", "request", "MessageClass"}

ORIGINALS = {
    "builtins",
    "django.core.servers.basehttp",
    "http.server",
    "socketserver",
    "wsgiref.handlers",
    "wsgiref.simple_server",
    "zolal.basehttp",
    "zolal.handlers",
    "zolal.http_server",
    "zolal.simple_server",
    "zolal.socketserver",
}
"""Modules whose classes, as they define them, do what the C path does."""

PLAIN_LOG = {"http.server", "zolal.http_server"}
"""Those of them whose log lines are the standard ones."""

OF_A_REQUEST = (
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "SERVER_PROTOCOL",
    "REMOTE_ADDR",
    "REMOTE_PORT",
)


def is_as_it_is(owner: type, name: str) -> bool:
    """Is the method that a class has the one that an original class was written with?"""
    for cls in owner.__mro__:
        if name in vars(cls):
            found = vars(cls)[name]
            if cls is object:
                return True
            return (
                cls.__module__ in ORIGINALS
                and getattr(found, "__module__", None) == cls.__module__
                and getattr(found, "__qualname__", None) == f"{cls.__qualname__}.{name}"
            )
    return True


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _asks_for_more(owner: type, name: str) -> bool:
    """Does the method ask for what a handler that has not read the request lacks?"""
    code = getattr(getattr(owner, name), "__code__", None)
    return code is None or not NOT_THERE.isdisjoint(_names(code))


def overridden(server: Any) -> Iterator[str]:
    """What there is about this server that the C path would pass over."""
    for name in SERVER_HOOKS:
        if name in vars(server) or not is_as_it_is(type(server), name):
            yield name
    if issubclass(type(server), (ForkingMixIn, standard.ForkingMixIn)):
        yield "ForkingMixIn"
    handler = server.RequestHandlerClass
    if not isinstance(handler, type) or not hasattr(handler, "get_environ"):
        yield "RequestHandlerClass"
        return
    for name in HANDLER_HOOKS:
        if not is_as_it_is(handler, name):
            yield name
    if not answers_as_it_is(handler):
        yield "ServerHandler"
    for name, value in HANDLER_VALUES.items():
        if getattr(handler, name, value) not in (value, _standard_error_page()):
            yield name
    for name in HANDLER_LOG:
        if not is_as_it_is(handler, name) and _asks_for_more(handler, name):
            yield name
    if type(server.socket) is not socket.socket:
        yield "socket"  # one that encrypts, say


def _standard_error_page() -> str:
    """http.server's, which differs between versions; ours where nobody has imported it."""
    page: str = getattr(
        sys.modules.get("http.server"), "DEFAULT_ERROR_MESSAGE", DEFAULT_ERROR_MESSAGE
    )
    return page


def answers_as_it_is(handler: type) -> bool:
    """Is the ServerHandler that the handler's module answers with as it is, and all its methods?"""
    for cls in handler.__mro__:
        if "handle_one_request" in vars(cls):
            answering = getattr(sys.modules.get(cls.__module__), "ServerHandler", object)
            return all(
                is_as_it_is(base, name)
                for base in answering.__mro__
                for name, value in vars(base).items()
                if isinstance(value, types.FunctionType)
            )
    return True


def can_serve(server: Any) -> bool:
    return next(overridden(server), None) is None


def is_threaded(server: Any) -> bool:
    """Is ThreadingMixIn mixed in, ours or the standard one?"""
    return isinstance(server, (ThreadingMixIn, standard.ThreadingMixIn))


def make_server(server: Any) -> Server:
    """A zolal.Server that serves as `server` would."""
    handler_class = server.RequestHandlerClass
    threaded = is_threaded(server)
    waits = not threaded or (server.block_on_close and not server.daemon_threads)
    return Server(
        _application(server),
        bind=server.socket,
        threads=THREADS if threaded else 1,
        limits={
            "request_line": LINE,
            "request_field_size": LINE,
            "request_head": 4 * LINE,
            "request_body": 0,
            "head_ms": WAIT_MS,
            "body_ms": WAIT_MS,
            "send_ms": WAIT_MS,
            "graceful_ms": 0 if waits else GRACE_MS,
        },
        environ=_environ(server, handler_class),
        server_name=software_version,
        persistence=getattr(server, "persistence", "always"),
        around_thread=getattr(server, "around_thread", None),
        on_answer=_log(server, handler_class),
    )


def _log(server: Any, handler_class: Any) -> Answered:
    if _logs_plainly(handler_class):
        return _PlainLog(_shell(server, WSGIRequestHandler, ("", 0), ""))
    return _Log(server, handler_class)


def _application(server: Any) -> Any:
    """The application itself, where get_app() gives just that: then it is what the tree shows, and
    set_app() changes it."""
    if "get_app" not in vars(server) and is_as_it_is(type(server), "get_app"):
        application = server.get_app()
        if callable(application):
            return application

    def get_app_and_call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        found: Iterable[bytes] = server.get_app()(environ, start_response)
        return found

    return get_app_and_call


def _environ(server: Any, handler_class: Any) -> dict[str, Any]:
    """What is the same in every environ. The process's own variables, as the standard servers have
    them, but none that looks like a part of the request: whoever sets HTTP_PROXY does not mean a
    header. (There is no CONTENT_TYPE where the client has sent none: RFC 3875 4.1.3.)"""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HTTP_") and name not in OF_A_REQUEST
    }
    return {
        **own,
        **server.base_environ,
        "SERVER_SOFTWARE": handler_class.server_version,
    }


def _shell(server: Any, handler_class: Any, client_address: tuple[str, int], line: str) -> Any:
    """A handler that has handled nothing: for its methods that say what is to be said."""
    handler = handler_class.__new__(handler_class)
    words = line.split(" ")
    handler.request = None
    handler.client_address = client_address
    handler.server = server
    handler.requestline = line
    handler.raw_requestline = line.encode("latin-1") + b"\r\n"
    handler.command = words[0]
    handler.path = words[1] if len(words) > 1 else ""
    handler.request_version = words[2] if len(words) > 2 else "HTTP/0.9"
    handler.close_connection = False
    return handler


def _logs_plainly(handler_class: type) -> bool:
    """Are its log lines the standard ones?"""
    for name in (*HANDLER_LOG, "log_date_time_string"):
        owner = next(cls for cls in handler_class.__mro__ if name in vars(cls))
        if not is_as_it_is(handler_class, name) or owner.__module__ not in PLAIN_LOG:
            return False
    return True


class _PlainLog:
    """on_answer: the standard log lines, as _Log would write them, at a third of its cost."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._second = 0
        self._date = ""
        self._escapes = str.maketrans(handler._control_char_table)

    def _line(self, host: str, text: str) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, self._handler.log_date_time_string()
        if not text.isascii() or not text.isprintable() or "\\" in text:
            text = text.translate(self._escapes)
        return f"{host} - - [{self._date}] {text}\n"

    def __call__(
        self, host: str, port: int, line: str, status: int, size: int, refused: str | None
    ) -> None:
        if status == CLIENT_HAS_LEFT:
            return
        said: int | str = size
        if refused is not None and status != 500:
            sys.stderr.write(self._line(host, f"code {status}, message {refused}"))
            said = "-"
        sys.stderr.write(self._line(host, f'"{line}" {status} {said}'))


class _Log:
    """on_answer: the log lines of the handler's class."""

    def __init__(self, server: Any, handler_class: Any) -> None:
        self._server = server
        self._handler_class = handler_class

    def __call__(
        self, host: str, port: int, line: str, status: int, size: int, refused: str | None
    ) -> None:
        handler = _shell(self._server, self._handler_class, (host, port), line)
        if status == CLIENT_HAS_LEFT:
            log_left = getattr(handler, "log_left", None)
            if log_left:
                log_left()
        elif refused is None or status == 500:
            handler.log_request(str(status), size)
        else:
            handler.log_error("code %d, message %s", status, refused)
            handler.log_request(str(status))


class NativeLoop(Loop):
    """A serve_forever() that zolal.Server runs."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._running = make_server(server)

    def run(self) -> None:
        self._running.serve_forever()

    def close(self) -> None:
        self._running.close()

    def wake(self) -> None:
        if self.stopping:
            self._running.stop()

    def is_here(self) -> bool:
        return super().is_here() or self._running.is_own_thread()

    def set_app(self, application: Any) -> None:
        if callable(application):
            found: Any = application
            self._running.application = found


def serve(server: Any) -> None:
    """serve_forever() of a server that can_serve()."""
    loops = server._loops
    loop = NativeLoop(server)
    try:
        loops.begin(loop)
        if not loop.stopping:
            loop.run()
    finally:
        loops.end(loop)
        loop.close()
        listening = server.socket
        if listening.fileno() >= 0:
            listening.settimeout(listening.gettimeout())  # the C path has made it non-blocking
