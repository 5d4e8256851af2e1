"""Servers and handlers that are subclassed: each method that may be overridden is called, and what
it gets is zolal's."""

import io
import os
import select
import socket
import socketserver as standard
import sys
import threading
import time

import pytest
from chain_servers import PATIENCE, Running, ask, running

import zolal.socket
from zolal import http_server, simple_server, socketserver

GET = b"GET /a HTTP/1.0\r\n\r\n"


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Noting:
    """Every method named in NOTED is called as ever, and noted."""

    NOTED = ()

    def __init_subclass__(cls):
        for name in cls.NOTED:
            setattr(cls, name, cls._noting(name))

    @classmethod
    def _noting(cls, name):
        def method(self, *args, **kwargs):
            self.note(name, *args)
            return getattr(super(cls, self), name)(*args, **kwargs)

        return method


SERVER_METHODS = ["server_bind", "server_activate", "setup_environ", "get_request", "get_app"]
SERVER_METHODS += ["verify_request", "process_request", "finish_request", "shutdown_request"]
SERVER_METHODS += ["close_request", "service_actions", "server_close", "fileno", "set_app"]

HANDLER_METHODS = ["setup", "handle", "handle_one_request", "parse_request", "get_environ"]
HANDLER_METHODS += ["get_stderr", "finish", "log_request", "log_message", "address_string"]
HANDLER_METHODS += ["log_date_time_string"]


@pytest.mark.parametrize("name", SERVER_METHODS)
def test_overridden_method_of_a_server(name, quiet):
    notes = []

    class Server(Noting, simple_server.WSGIServer):
        NOTED = (name,)

        def note(self, *what):
            notes.append(what)

    class Handler(simple_server.WSGIRequestHandler):
        def setup(self):
            super().setup()

    server = simple_server.make_server("127.0.0.1", 0, hello, Server, Handler)
    with running(server):
        assert ask(server.server_address, GET).endswith(b"\r\n\r\nhello")
    assert name in {note[0] for note in notes}
    for _, *args in notes:
        if args and name in ("verify_request", "process_request", "shutdown_request"):
            assert isinstance(args[0], zolal.socket.socket)


@pytest.mark.parametrize("name", HANDLER_METHODS)
def test_overridden_method_of_a_handler(name, quiet, recorded):
    notes = []

    class Showing(simple_server.WSGIRequestHandler):
        def get_environ(self):
            environ = super().get_environ()
            environ["seen"] = (self.connection, self.rfile, self.wfile)
            return environ

    class Handler(Noting, Showing):
        NOTED = (name,)

        def note(self, *what):
            notes.append(what)

    seen = []

    def application(environ, start_response):
        seen.append(environ["seen"])
        return hello(environ, start_response)

    server = simple_server.make_server("127.0.0.1", 0, application, handler_class=Handler)
    with running(server):
        ask(server.server_address, GET)
    assert name in {note[0] for note in notes}
    [(connection, rfile, wfile)] = seen
    assert type(connection) is zolal.socket.socket
    assert type(rfile) is io.BufferedReader and "zolal" in type(rfile.raw).__module__
    assert type(wfile) is socketserver._SocketWriter
    calls = recorded()
    for call in ("accept4", "recvfrom", "sendto", "shutdown", "close"):
        assert call in calls or {"recvfrom": "recv", "sendto": "send"}.get(call) in calls, calls
    assert any(call.startswith("hello") or "application" in call for call in calls), calls


HTTP_METHODS = ["do_GET", "send_response", "send_response_only", "send_header", "end_headers"]
HTTP_METHODS += ["flush_headers", "version_string", "date_time_string"]


@pytest.mark.parametrize("name", HTTP_METHODS)
def test_overridden_method_of_an_http_handler(name, quiet):
    notes = []

    class Plain(http_server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

    class Handler(Noting, Plain):
        NOTED = (name,)

        def note(self, *what):
            notes.append(what[0])

    server = http_server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with running(server):
        assert ask(server.server_address, GET).startswith(b"HTTP/1.0 204 No Content\r\n")
    assert name in notes


def test_overridden_send_error_and_log_error(quiet):
    class Handler(http_server.BaseHTTPRequestHandler):
        def send_error(self, code, message=None, explain=None):
            super().send_error(code, f"not {message}", explain)

        def log_error(self, format, *args):
            print("logged:", format % args, file=sys.stderr)

    server = http_server.HTTPServer(("127.0.0.1", 0), Handler)
    with running(server):
        answer = ask(server.server_address, GET)
    assert answer.startswith(b"HTTP/1.0 501 not Unsupported method ('GET')\r\n")
    assert "logged: code 501, message not Unsupported method ('GET')" in quiet()


def test_verify_request_refuses(quiet):
    class Server(simple_server.WSGIServer):
        def verify_request(self, request, client_address):
            return False

    server = simple_server.make_server("127.0.0.1", 0, hello, Server)
    with running(server):
        assert ask(server.server_address, b"") == b""


@pytest.mark.parametrize("threaded", [False, True])
def test_handle_error(threaded, quiet):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            raise ValueError("from the handler")

    bases = (socketserver.ThreadingTCPServer,) if threaded else (socketserver.TCPServer,)
    server = type("Server", bases, {})(("127.0.0.1", 0), Handler)
    with running(server):
        assert ask(server.server_address, b"") == b""
    text = quiet()
    assert "Exception occurred during processing of request from ('127.0.0.1'," in text
    assert "ValueError: from the handler" in text

    seen = []
    overridden = {"handle_error": lambda self, request, address: seen.append((request, address))}
    server = type("Server", bases, overridden)(("127.0.0.1", 0), Handler)
    with running(server):
        ask(server.server_address, b"")
    assert isinstance(seen[0][0], zolal.socket.socket) and seen[0][1][0] == "127.0.0.1"


def test_handle_request(quiet):
    server = simple_server.make_server("127.0.0.1", 0, hello)
    answers = []
    client = threading.Thread(target=lambda: answers.append(ask(server.server_address, GET)))
    client.start()
    server.handle_request()
    client.join()
    server.server_close()
    assert answers[0].endswith(b"hello")


@pytest.mark.parametrize(
    "server_timeout, socket_timeout",
    [(0.01, None), (None, 0.01), (30, 0.01), (0.01, 30), (0, None)],
)
def test_handle_timeout(server_timeout, socket_timeout):
    calls = []

    class Server(socketserver.TCPServer):
        timeout = server_timeout

        def handle_timeout(self):
            calls.append(1)

    with Server(("127.0.0.1", 0), None) as server:
        server.socket.settimeout(socket_timeout)
        server.handle_request()
    assert calls == [1]


def test_fileno_is_selectable():
    with simple_server.make_server("127.0.0.1", 0, hello) as server:
        assert select.select([server], [], [], 0)[0] == []
        with socket.create_connection(server.server_address):
            assert select.select([server], [], [], PATIENCE)[0] == [server]
    assert server.fileno() == -1


def test_ipv6(quiet):
    class Server(simple_server.WSGIServer):
        address_family = socket.AF_INET6

        def verify_request(self, request, client_address):
            return True

    server = simple_server.make_server("::1", 0, hello, Server)
    with running(server):
        answer = ask(server.server_address[:2], GET, socket.AF_INET6)
    assert answer.endswith(b"hello")
    assert quiet().startswith("::1 - - [")


@pytest.mark.parametrize("threaded", [False, True])
def test_unix_socket(threaded, tmp_path, quiet):
    class Server(simple_server.WSGIServer):
        address_family = socket.AF_UNIX

        def verify_request(self, request, client_address):
            return True

    if threaded:
        Server = type("Server", (socketserver.ThreadingMixIn, Server), {})
    path = str(tmp_path / "socket")
    environs = []

    def application(environ, start_response):
        environs.append(environ)
        return hello(environ, start_response)

    server = Server(path, simple_server.WSGIRequestHandler)
    server.set_app(application)
    with running(server):
        assert ask(path, GET).endswith(b"hello")
    [environ] = environs
    assert (environ["SERVER_NAME"], environ["REMOTE_ADDR"]) == ("localhost", "")
    assert environ["SERVER_PORT"].isdigit()


def test_unix_stream_server(tmp_path):
    class Echo(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.readline().upper())

    path = str(tmp_path / "socket")
    with running(socketserver.ThreadingUnixStreamServer(path, Echo)):
        assert ask(path, b"hello\n") == b"HELLO\n"


def test_bind_failure_leaves_nothing():
    with simple_server.make_server("127.0.0.1", 0, hello) as server:
        with pytest.raises(OSError):
            simple_server.make_server("127.0.0.1", server.server_port, hello)


def test_buffered_wfile_and_timeout(quiet):
    class Handler(http_server.BaseHTTPRequestHandler):
        wbufsize = 4096
        rbufsize = 0
        timeout = 0.05
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ab")

    server = http_server.HTTPServer(("127.0.0.1", 0), Handler)
    with running(server):
        # The connection is kept, until the handler has waited long enough.
        answer = ask(server.server_address, b"GET / HTTP/1.1\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nab")
    assert "Request timed out: TimeoutError('timed out')" in quiet()


# ------------------------------------------------------------------------------------ threads

MIXINS = [socketserver.ThreadingMixIn, standard.ThreadingMixIn]


@pytest.mark.parametrize("mixin", MIXINS, ids=["ours", "standard"])
@pytest.mark.parametrize("daemon", [False, True])
@pytest.mark.parametrize("block", [False, True])
def test_threads(mixin, daemon, block, quiet):
    """Requests run beside each other; server_close() waits for them if it is to."""
    go, both = threading.Event(), threading.Barrier(2)
    threads = []

    def application(environ, start_response):
        threads.append(threading.current_thread())
        both.wait(PATIENCE)
        go.wait(PATIENCE)
        return hello(environ, start_response)

    class Server(mixin, simple_server.WSGIServer):
        daemon_threads = daemon
        block_on_close = block

        def verify_request(self, request, client_address):
            return True

    server = simple_server.make_server("127.0.0.1", 0, application, Server)
    serving = Running(server)
    answers = []
    clients = [
        threading.Thread(target=lambda: answers.append(ask(server.server_address, GET)))
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    while len(threads) < 2:
        time.sleep(0.001)
    assert [thread.daemon for thread in threads] == [daemon, daemon]
    server.shutdown()
    serving.join()
    closing = threading.Thread(target=server.server_close)
    closing.start()
    if block and not daemon:
        closing.join(0.05)
        assert closing.is_alive()
    else:
        closing.join(PATIENCE)
        assert not closing.is_alive()
    go.set()
    for thread in [closing, *clients, *threads]:
        thread.join(PATIENCE)
    assert [answer[-5:] for answer in answers] == [b"hello", b"hello"]


@pytest.mark.parametrize(
    "mixin", [socketserver.ForkingMixIn, standard.ForkingMixIn], ids=["ours", "standard"]
)
def test_forks(mixin, quiet):
    class Server(mixin, simple_server.WSGIServer):
        pass

    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]

    server = simple_server.make_server("127.0.0.1", 0, application, Server)
    with running(server):
        pids = {int(ask(server.server_address, GET).rpartition(b"\n")[2]) for _ in range(3)}
    assert len(pids) == 3 and os.getpid() not in pids
    assert not server.active_children


def test_finished_threads_are_forgotten(quiet):
    server = http_server.ThreadingHTTPServer(("127.0.0.1", 0), http_server.BaseHTTPRequestHandler)
    server.daemon_threads = False
    with running(server):
        for _ in range(20):
            ask(server.server_address, GET)
        assert len(server._threads) < 20
