"""A user's program, for the type checkers: not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import zolal
from zolal import simple_server, socket
from zolal.pytest_plugin import serving
from zolal.server import Server


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def told(host: str, port: int, line: str, status: int, size: int, refused: str | None) -> None:
    print(host, port, line, status, size, refused)


class Mine(zolal.Server):
    def answer(self) -> int:
        return 42


with Mine(
    application,
    bind=["127.0.0.1:0", "unix:/tmp/socket"],
    threads=4,
    limits={"keep_alive_ms": 1000},
    on_answer=told,
    around_thread=lambda: nullcontext(),
) as mine:
    number: int = mine.answer()
    url: str = mine.url
    addresses: list[str] = mine.addresses

with socket.create_server(("127.0.0.1", 0)) as listening:
    server: Server = Server(application, bind=listening).start()
    ended: bool = server.shutdown(timeout=1)

with serving(application) as running:
    port: int = running.port


class Threaded(simple_server.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        print(format % args)


with simple_server.make_server("", 0, application, Threaded, Handler) as httpd:
    httpd.serve_forever(poll_interval=0.1)
