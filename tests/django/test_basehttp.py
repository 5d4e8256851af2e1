"""zolal.basehttp: under the names of django.core.servers.basehttp, with what is subclassed and
patched there."""

import contextlib
import http.client
import inspect
import logging
import socketserver as standard
import threading
from unittest import mock

import pytest
from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="a key for tests only",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )

from django.core.servers import basehttp as theirs  # noqa: E402

from zolal import basehttp, native, socket, socketserver  # noqa: E402


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    text = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ.get('HTTP_X_A')} "
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode() + body]


@contextlib.contextmanager
def serving(server_class=basehttp.WSGIServer, handler=basehttp.WSGIRequestHandler, app=application):
    server = server_class(("127.0.0.1", 0), handler)
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()
        assert not thread.is_alive()


def ask(server, path="/path", method="GET", body=None, **headers):
    client = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    try:
        client.request(method, path, body, headers)
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


class Threaded(standard.ThreadingMixIn, basehttp.WSGIServer):
    """As Django's run() makes it."""

    daemon_threads = True


SERVERS = [basehttp.WSGIServer, basehttp.ThreadedWSGIServer, Threaded]
HANDLERS = [basehttp.WSGIRequestHandler, theirs.WSGIRequestHandler]


@pytest.mark.parametrize("server_class", SERVERS)
@pytest.mark.parametrize("handler", HANDLERS)
def test_as_it_is(server_class, handler):
    with serving(server_class, handler) as server:
        assert native.can_serve(server)
        assert server.RequestHandlerClass is basehttp.WSGIRequestHandler
        assert ask(server, X_a="1", **{"X-A": "2"}) == (200, "GET /path 2 ")
        assert ask(server, method="POST", body=b"data")[1] == "POST /path None data"


def test_names_and_signatures():
    for name in ("run", "WSGIServer", "ThreadedWSGIServer", "WSGIRequestHandler", "ServerHandler"):
        assert hasattr(basehttp, name)
    ours, original = inspect.signature(basehttp.run), inspect.signature(theirs.run)
    assert list(ours.parameters) == list(original.parameters)
    for name in ("ipv6", "threading", "on_bind"):
        assert ours.parameters[name].default == original.parameters[name].default
    assert basehttp.logger is theirs.logger
    assert basehttp.WSGIServer.request_queue_size == theirs.WSGIServer.request_queue_size
    assert basehttp.ThreadedWSGIServer.daemon_threads is theirs.ThreadedWSGIServer.daemon_threads


def is_from_zolal(handler):
    return (
        type(handler.connection) is socket.socket
        and type(handler.wfile).__module__.startswith("zolal.")
        and type(handler.request) is socket.socket
    )


@pytest.mark.parametrize("base", HANDLERS)
@pytest.mark.parametrize("server_class", SERVERS)
def test_overridden_handle_one_request(base, server_class):
    """The method is called, and what it finds is zolal's, of a subclass of Django's class too."""
    found = []

    class Handler(base):
        def handle_one_request(self):
            found.append(is_from_zolal(self))
            return super().handle_one_request()

    with serving(server_class, Handler) as server:
        assert not native.can_serve(server)
        assert ask(server) == (200, "GET /path None ")
        assert ask(server, method="POST", body=b"data") == (200, "POST /path None data")
    assert found
    assert all(found)


@pytest.mark.parametrize("base", HANDLERS)
def test_overridden_get_environ(base):
    class Handler(base):
        def get_environ(self):
            return {**super().get_environ(), "HTTP_X_A": "overridden"}

    with serving(Threaded, Handler) as server:
        assert ask(server) == (200, "GET /path overridden ")


@pytest.mark.parametrize("base", HANDLERS)
def test_overridden_log_message(base):
    lines = []

    class Handler(base):
        def log_message(self, format, *args):
            lines.append(format % args)

    with serving(Threaded, Handler) as server:
        assert native.can_serve(server)
        assert ask(server)[0] == 200
    assert lines == ['"GET /path HTTP/1.1" 200 15']


@pytest.mark.parametrize("server_class", SERVERS)
def test_overridden_finish_response(server_class):
    """Of a ServerHandler that a handler's class uses."""

    class Finishing(basehttp.ServerHandler):
        def finish_response(self):
            self.result = [b"finished " + b"".join(self.result)]
            super().finish_response()

    class Handler(basehttp.WSGIRequestHandler):
        def handle_one_request(self):
            self.raw_requestline = self.rfile.readline(65537)
            if self.parse_request():
                handler = Finishing(self.rfile, self.wfile, self.get_stderr(), self.get_environ())
                handler.request_handler = self
                handler.run(self.server.get_app())

    with serving(server_class, Handler) as server:
        assert ask(server) == (200, "finished GET /path None ")


def test_patched_methods():
    """What is patched is called: ours, Django's, of the server, of the handler."""

    def get_environ(self):
        return {**original(self), "HTTP_X_A": "patched"}

    for cls in HANDLERS:
        original = cls.get_environ
        with mock.patch.object(cls, "get_environ", get_environ):
            with serving(Threaded, cls) as server:
                assert ask(server) == (200, "GET /path patched ")
        with serving(Threaded, cls) as server:
            assert native.can_serve(server)


@pytest.mark.parametrize("module", [basehttp, theirs])
def test_patched_handler_of_the_answer(module):
    """ServerHandler, as a whole and a method of it: of ours, and of Django's where its handler's
    class is given."""
    handler = module.WSGIRequestHandler

    class Finishing(module.ServerHandler):
        def finish_response(self):
            self.result = [b"finished"]
            super().finish_response()

    with mock.patch.object(module, "ServerHandler", Finishing):
        with serving(Threaded, handler) as server:
            assert ask(server) == (200, "finished")

    def finish_response(self):
        self.result = [b"patched"]
        original(self)

    original = module.ServerHandler.finish_response
    with mock.patch.object(module.ServerHandler, "finish_response", finish_response):
        with serving(Threaded, handler) as server:
            assert ask(server) == (200, "patched")
    with serving(Threaded, handler) as server:
        assert native.can_serve(server)
        assert ask(server) == (200, "GET /path None ")


def test_overridden_methods_of_the_server():
    verified, closed, over = [], [], threading.Event()

    class Server(basehttp.ThreadedWSGIServer):
        def verify_request(self, request, client_address):
            verified.append(type(request) is socket.socket)
            return True

        def _close_connections(self):
            closed.append(threading.current_thread())
            super()._close_connections()
            over.set()

    with serving(Server) as server:
        assert ask(server)[0] == 200
    assert verified == [True]
    assert over.wait(20)  # its threads are daemons, which nobody waits for
    assert len(closed) == 1


@pytest.mark.parametrize("server_class", [basehttp.ThreadedWSGIServer, Threaded])
def test_database_connections_of_a_thread(server_class):
    """A thread that lives on has the connections that it is given, and closes them at its end."""
    from django.db import connections

    seen, shared = [], connections["default"].copy()

    def app(environ, start_response):
        seen.append(connections["default"])
        start_response("200 OK", [])
        return [b"x"]

    with serving(server_class, app=app) as server:
        ask(server)
    assert seen[0] is not connections["default"]
    seen.clear()
    if server_class is basehttp.ThreadedWSGIServer:
        with mock.patch.object(shared, "close") as close:

            class Sharing(server_class):
                def __init__(self, *args, **kwargs):
                    super().__init__(*args, connections_override={"default": shared}, **kwargs)

            with serving(Sharing, app=app) as server:
                assert native.can_serve(server)
                ask(server)
            assert seen == [shared]
            assert close.called


def test_run():
    """Its arguments go where Django's go."""
    bound, failures = threading.Event(), []
    servers = []

    class Server(basehttp.WSGIServer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            servers.append(self)

    for run in (basehttp.run, theirs.run):
        for threads in (False, True):
            for _ in range(2):
                bound.clear()
                servers.clear()
                ports = []

                def on_bind(port, ports=ports):
                    ports.append(port)
                    bound.set()

                options = {"threading": threads, "on_bind": on_bind, "server_cls": Server}

                def serve(run=run, options=options):
                    try:
                        run("127.0.0.1", 0, application, **options)
                    except BaseException as error:
                        failures.append(error)

                thread = threading.Thread(target=serve)
                thread.start()
                assert bound.wait(20)
                (server,) = servers
                assert server.server_port == ports[0]
                assert ask(server) == (200, "GET /path None ")
                mixed = (standard.ThreadingMixIn, socketserver.ThreadingMixIn)
                assert isinstance(server, mixed) is threads
                assert getattr(server, "daemon_threads", False) is threads
                server.shutdown()
                thread.join(20)
                server.server_close()
    assert not failures


def test_server_class_of_django():
    """A subclass of Django's server, given to run(), is served by zolal."""

    class Server(theirs.WSGIServer):
        def get_app(self):
            return lambda environ, start_response: [
                start_response("200 OK", []),
                b"own",
            ][1:]

    cls = basehttp.on_zolal(Server)
    with serving(cls) as server:
        assert isinstance(server, Server)
        assert isinstance(server, basehttp.WSGIServer)
        assert type(server.socket) is socket.socket
        assert ask(server) == (200, "own")


def test_ipv6_and_reuse():
    server = basehttp.WSGIServer(
        ("127.0.0.1", 0), basehttp.WSGIRequestHandler, allow_reuse_address=False
    )
    with server:
        assert not server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert server.address_family == socket.AF_INET
    try:
        server = basehttp.WSGIServer(("::1", 0), basehttp.WSGIRequestHandler, ipv6=True)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        assert server.address_family == socket.AF_INET6


def test_broken_pipe(caplog, capsys):
    with basehttp.WSGIServer(("127.0.0.1", 0), basehttp.WSGIRequestHandler) as server:
        for error in (BrokenPipeError, ConnectionAbortedError, ConnectionResetError):
            caplog.clear()
            with caplog.at_level(logging.INFO, "django.server"):
                try:
                    raise error()
                except error:
                    assert basehttp.is_broken_pipe_error()
                    server.handle_error(None, ("192.0.2.1", 1))
            assert "Broken pipe from ('192.0.2.1', 1)" in caplog.text
        assert capsys.readouterr().err == ""
        try:
            raise ValueError("another")
        except ValueError:
            assert not basehttp.is_broken_pipe_error()
            server.handle_error(None, ("192.0.2.1", 1))
        assert "ValueError: another" in capsys.readouterr().err


def test_head_and_bodies_on_the_class_path():
    class Handler(basehttp.WSGIRequestHandler):
        def handle_one_request(self):
            return super().handle_one_request()

    with serving(Threaded, Handler) as server:
        client = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
        for number in range(3):  # on one connection, with a body that nobody has read
            client.request("POST", f"/{number}", b"x" * 100)
            assert client.getresponse().read().startswith(b"POST /%d" % number)
        client.request("HEAD", "/")
        response = client.getresponse()
        assert response.read() == b""
        assert not response.will_close
        client.close()


def answers_alone(environ, start_response):
    """The status that the path names, its length where the query wants it."""
    status = environ["PATH_INFO"].strip("/")
    headers = [("Content-Length", "0")] if environ["QUERY_STRING"] == "length" else []
    start_response(f"{status} Fine", headers)
    yield b"" if headers or status != "200" else b"some"


@pytest.mark.parametrize(
    ("method", "path", "kept"),
    [
        ("GET", "/200?length", True),
        ("GET", "/200", False),
        ("HEAD", "/200", True),
        ("HEAD", "/200?length", True),
        ("GET", "/304?length", True),
        ("HEAD", "/304", True),
        ("GET", "/204?length", True),
    ],
)
@pytest.mark.parametrize("module", [basehttp, theirs])
@pytest.mark.parametrize("threaded", [True, False])
def test_which_connections_are_closed(module, threaded, method, path, kept):
    """Those that Django's own server closes."""
    server_class = module.ThreadedWSGIServer if threaded else module.WSGIServer
    kept = kept and threaded
    request = f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with (
        serving(server_class, module.WSGIRequestHandler, app=answers_alone) as server,
        socket.create_connection(server.server_address[:2], timeout=20) as client,
    ):
        assert module is theirs or native.can_serve(server)
        response = http.client.HTTPResponse(client, method=method)
        client.sendall(request)
        response.begin()
        assert response.getheader("Connection") == (None if kept else "close")
        assert response.read() == (b"some" if (method, path) == ("GET", "/200") else b"")
        client.sendall(request * kept)
        assert bool(client.recv(1)) is kept
