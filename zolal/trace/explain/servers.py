"""The servers that are set beside each other, and what is to be seen in each."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "hello")


@dataclass(frozen=True)
class Server:
    """`words`: what its layers are; a name in braces is how often its request makes that call."""

    name: str
    title: str
    program: str  # in FOLDER
    settings: str
    words: str
    package: str = ""  # that it comes with; "": Python's own, or ours
    module: str = ""  # of that package
    is_echo: bool = False  # no HTTP: what comes goes back
    anchors: tuple[str, ...] = ()
    """Functions from which on its calls are told where it stands beside another; the first that is
    there."""

    @property
    def path(self) -> str:
        return os.path.join(FOLDER, self.program)

    @property
    def is_there(self) -> bool:
        from importlib.util import find_spec

        return not self.module or find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """ "Django 5.2"; of what comes with Python the Python."""
        from importlib.metadata import PackageNotFoundError, version

        if self.name == "zolal":
            from zolal import _zolal

            return f"zolal {_zolal.version}"
        if self.package:
            try:
                return f"{self.package} {version(self.package)}"
            except PackageNotFoundError:
                return self.package
        return f"{platform.python_implementation()} {platform.python_version()}"


WSGIREF = Server(
    "wsgiref",
    "wsgiref",
    "hello_wsgiref.py",
    "without its access log",
    "One thread does it all. `serve_forever` waits in `poll` until a client stands in the queue of "
    "the listening socket. `_handle_request_noblock` takes it out with `accept4`, and what follows "
    "happens inside that one call: nobody else is served before its `close`. Each layer is a class "
    "and knows one thing. `TCPServer` knows the socket: `get_request`, `shutdown_request`. "
    "`WSGIRequestHandler` knows HTTP: it reads the request's first line in `handle`. `BaseHandler` "
    "knows WSGI: its `run` calls the application and hands what it gives to `finish_response`. The "
    "answer leaves piece by piece, in {sendto} `sendto`: status line, Date, Server, the "
    "application's headers, the body.",
    anchors=("BaseServer.serve_forever",),
)
RUNSERVER = Server(
    "runserver",
    "Django's runserver",
    "hello_runserver.py",
    "without its reloader, checks and access log; WSGI_APPLICATION is the hello",
    "The same classes with `ThreadingMixIn` before them. `serve_forever` does less: it ends at "
    "`accept4`, where `process_request` begins a thread, and waits for the next client while that "
    "one is served. So the chain is two: the second begins at `Thread.run`, and its "
    "`process_request_thread` does what wsgiref did in place. Django's `handle` calls "
    "`handle_one_request` until the connection is to be closed, and ends the socket itself; "
    "`shutdown_request` ends it once more.",
    package="Django",
    module="django",
    anchors=("BaseServer.serve_forever", "Thread.run"),
)
GUNICORN = Server(
    "gunicorn",
    "gunicorn",
    "hello_gunicorn.py",
    "one worker of the kind sync, no access log, no control socket",
    "Two processes: the `Arbiter` makes the listening socket, and forks in `spawn_worker` the "
    "worker that inherits it. The socket does not block here: `run_for_one` calls `accept` "
    "first and asks afterwards, in `pselect6`, where nobody was there. `Request` parses what "
    "`SocketUnreader.chunk` receives, `handle_request` calls the application, and the answer "
    "leaves in {sendto} `sendto`: `send_headers`, then the body. `close_graceful` says that no "
    "more will come, and waits for the client to say so, too.",
    package="gunicorn",
    module="gunicorn",
)
ZOLAL = Server(
    "zolal",
    "zolal",
    "hello_zolal.py",
    "one thread, no access log, its recorder on as always",
    "Below `run_server` there is no Python until the application: the loop, the parser, the "
    "connection and the answer are C. Head and body leave in {sendto} `sendto` that waits for the "
    "`shutdown` behind it (MSG_MORE), so that all of the answer and its end are one packet. The "
    "`accept4` that finds nobody is how the loop learns that the queue is empty. Over a kept "
    "connection a request is three calls: `epoll_wait`, `recvfrom`, `sendto`.",
)
ASYNCIO = Server(
    "asyncio",
    "an echo server on asyncio",
    "echo_asyncio.py",
    "no HTTP: hello comes, hello goes",
    "No class and no thread. `listen_for_connection` awaits `sock_accept`, makes a task of `echo` "
    "for the connection with `create_task`, and awaits the next one. All that wait, wait in one "
    "place: `_run_once` of the loop asks for every socket at once, in `epoll_wait`; {epoll_wait} "
    "times for one hello, since it asks in each of its rounds, also when it knows what comes next "
    "(timeout 0). A function in brackets does not run: it has asked, and the loop calls for it "
    "what had no answer yet. `echo` is one task from `recvfrom` to `close`.",
    is_echo=True,
    anchors=("Handle._run", "BaseEventLoop._run_once"),
)
SERVERS = (WSGIREF, RUNSERVER, GUNICORN, ZOLAL, ASYNCIO)
