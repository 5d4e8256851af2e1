"""The drop-in for the standard library's wsgiref.simple_server.

    from zolal.simple_server import make_server

    with make_server("", 8000, application) as server:
        server.serve_forever()

The classes have the names, the methods, the attributes and the bytes of the standard ones; see
zolal.socketserver, zolal.http_server and zolal.handlers for what is better here.
https://docs.python.org/3/library/wsgiref.html#module-wsgiref.simple_server"""

from __future__ import annotations

import platform
import sys
import urllib.parse
from typing import TYPE_CHECKING, Any

from zolal.handlers import SimpleHandler
from zolal.http_server import BaseHTTPRequestHandler, HTTPServer
from zolal.socketserver import ThreadingMixIn
from zolal.tracing import of_a_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zolal.handlers import Application

__all__ = [
    "ServerHandler",
    "ThreadingMixIn",
    "WSGIRequestHandler",
    "WSGIServer",
    "demo_app",
    "make_server",
]

__version__ = "0.2"

server_version = "WSGIServer/" + __version__
sys_version = platform.python_implementation() + "/" + sys.version.split()[0]
software_version = server_version + " " + sys_version


class ServerHandler(SimpleHandler):
    """Calls the application for one request. `request_handler`: who has read it."""

    server_software = software_version
    request_handler: Any

    def close(self) -> None:
        status = (self.status or "")[:3]
        self.request_handler._answered = (int(status) if status.isdigit() else 0, self.bytes_sent)
        try:
            self.request_handler.log_request(
                self.status.split(" ", 1)[0],  # type: ignore[union-attr]
                self.bytes_sent,
            )
        finally:
            super().close()


class WSGIServer(HTTPServer):
    """An HTTP server that has a WSGI application: set_app(), get_app()."""

    application: Application | None = None
    base_environ: dict[str, str]

    def server_bind(self) -> None:
        super().server_bind()
        self.setup_environ()

    def setup_environ(self) -> None:
        """What is the same in every request's environ."""
        self.base_environ = {
            "SERVER_NAME": self.server_name,
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PORT": str(self.server_port),
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }

    def get_app(self) -> Application | None:
        return self.application

    def set_app(self, application: Application | None) -> None:
        self.application = application
        for loop in self._loops.running():
            loop.set_app(application)

    def serve_forever(self, poll_interval: float | None = 0.5) -> None:
        """Serve requests until shutdown(): connections are kept, and where ThreadingMixIn is mixed
        in, requests that block run beside each other in threads that live on. Where a method is
        overridden that this would pass over, one request after the other by the methods
        (zolal.native says which these are)."""
        from zolal import native

        if native.can_serve(self):
            native.serve(self)
        else:
            super().serve_forever(poll_interval)


class WSGIRequestHandler(BaseHTTPRequestHandler):
    """Answers one request of each connection, by the server's application."""

    server_version = server_version

    def get_environ(self) -> dict[str, Any]:
        """The environ of PEP 3333, without the "wsgi." part."""
        environ: dict[str, Any] = self.server.base_environ.copy()
        environ["SERVER_PROTOCOL"] = self.request_version
        environ["SERVER_SOFTWARE"] = self.server_version
        environ["REQUEST_METHOD"] = self.command
        path, _, query = self.path.partition("?")
        environ["PATH_INFO"] = urllib.parse.unquote(path, "iso-8859-1")
        environ["QUERY_STRING"] = query
        environ["REMOTE_ADDR"] = self.client_host()
        content_type = self.headers.get("content-type")
        if content_type is None:
            content_type = self.headers.get_content_type()
        environ["CONTENT_TYPE"] = content_type
        if length := self.headers.get("content-length"):
            environ["CONTENT_LENGTH"] = length
        for name, value in self.headers.items():
            name = name.replace("-", "_").upper()
            value = value.strip()
            if name in environ:
                continue  # Content-Length and Content-Type are there without HTTP_.
            name = "HTTP_" + name
            environ[name] = f"{environ[name]},{value}" if name in environ else value
        return environ

    def get_stderr(self) -> Any:
        """wsgi.errors."""
        return sys.stderr

    def handle(self) -> None:
        self.handle_one_request()

    @of_a_request
    def handle_one_request(self) -> None:
        if not self._read_line() or not self.parse_request():
            return  # An error has been sent.
        handler = ServerHandler(
            self.rfile, self.wfile, self.get_stderr(), self.get_environ(), multithread=False
        )
        handler.request_handler = self
        handler.run(self.server.get_app())


def demo_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Says hello, and what is in its environ."""
    lines = ["Hello world!", ""]
    lines += [f"{name} = {value!r}" for name, value in sorted(environ.items())]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(f"{line}\n" for line in lines).encode("utf-8")]


def make_server(
    host: str,
    port: int,
    app: Application,
    server_class: type[WSGIServer] = WSGIServer,
    handler_class: type[WSGIRequestHandler] = WSGIRequestHandler,
) -> WSGIServer:
    """A server of `app`, bound and listening."""
    server = server_class((host, port), handler_class)
    server.set_app(app)
    return server


if __name__ == "__main__":
    with make_server("", 8000, demo_app) as httpd:
        print("Serving HTTP on", *httpd.server_address[:2], "(Ctrl-C ends it)", flush=True)
        try:
            httpd.serve_forever()
        except KeyboardInterrupt:
            pass
