"""The same requests to the standard library's servers and to zolal's: the same bytes, the same
log."""

import http.server
import io
import re
import socket
import sys
import wsgiref.handlers
import wsgiref.simple_server

import pytest
from chain_servers import ask, running, standard_error

import zolal.handlers
import zolal.http_server
import zolal.simple_server


@pytest.fixture(autouse=True)
def error_page(monkeypatch):
    """Ours is as the newest; 3.10's differs."""
    if sys.version_info < (3, 11):
        page = zolal.http_server.DEFAULT_ERROR_MESSAGE.replace("%(code)s", "%(code)d")
        monkeypatch.setattr(http.server.BaseHTTPRequestHandler, "error_message_format", page)


REQUESTS = {
    "get": b"GET / HTTP/1.0\r\n\r\n",
    "query": b"GET /a%20b/?c=d&e HTTP/1.1\r\nHost: x\r\n\r\n",
    "repeated": b"GET / HTTP/1.1\r\nX-A: 1\r\nX-A:  2 \r\nx-b:\r\n\r\n",
    "underscore": b"GET / HTTP/1.1\r\nX_A: 1\r\nX-A: 2\r\n\r\n",
    "latin-1": b"GET /\xff%ff HTTP/1.1\r\nX: \xe4\r\n\r\n",
    "body": b"POST /read HTTP/1.1\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhello",
    "head": b"HEAD / HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 post": b"POST /\r\n\r\n",
    "lf only": b"GET / HTTP/1.1\nHost: x\n\n",
    "two slashes": b"GET //host/path HTTP/1.1\r\n\r\n",
    "absolute": b"GET http://a/b?c HTTP/1.1\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\n\r\n",
    "unknown method": b"FROB / HTTP/1.1\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "four words": b"GET / a HTTP/1.1\r\n\r\n",
    "words apart": b"GET \t /  HTTP/1.1  \r\n\r\n",
    "version": b"GET / HTTP/1.x\r\n\r\n",
    "version parts": b"GET / HTTP/1.1.1\r\n\r\n",
    "version zeros": b"GET / HTTP/01.01\r\n\r\n",
    "version 2": b"GET / HTTP/2.0\r\n\r\n",
    "no version": b"GET / FTP/1.1\r\n\r\n",
    "empty line": b"\r\n",
    "nothing": b"",
    "control": b"GET /\x01\\\x7f HTTP/1.1\r\n\r\n",
    "fold": b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nA: b\r\nC : d\r\nE: f\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nA: b\r\nC\r\nE: f\r\n\r\n",
    "bare cr": b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "long uri": b"GET /" + b"a" * (65537 - 5),
    "long line": b"GET / HTTP/1.1\r\nA: " + b"a" * (65537 - 3),
    "many lines": b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    "cut": b"GET / HTTP/1.1\r\nA: b",
    "script": b'GET /<b>&" <x>\r\n\r\n',
}


def application(environ, start_response):
    """Its environ, without what is the process's."""
    path, body = environ["PATH_INFO"], b""
    if path == "/read":
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    names = sorted(name for name in environ if name.startswith(("HTTP_", "SERVER_S", "SERVER_PR")))
    names += ["REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE"]
    names += ["CONTENT_LENGTH", "REMOTE_ADDR", "REMOTE_HOST", "SERVER_NAME", "GATEWAY_INTERFACE"]
    names += ["wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once", "wsgi.url_scheme"]
    text = "".join(f"{name}={environ[name]!r}\n" for name in names) + repr(environ["wsgi.version"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")])
    return [text.encode() + body]


def without_dates(text):
    text = re.sub(r"(?m)^Date: .*? GMT\r$", "Date:", text)
    return re.sub(r"\[\d\d/[A-Z][a-z][a-z]/\d{4} \d\d:\d\d:\d\d\]", "[]", text)


def answers(server, requests):
    with standard_error() as log, running(server, 0.01):
        found = [ask(server.server_address, request, end=True) for request in requests]
    text = without_dates(log.getvalue())
    return [without_dates(one.decode("latin-1")) for one in found], text


def wsgi_answers(module, application, requests):
    """By the classes: a server that overrides a method."""
    overridden = {"verify_request": lambda self, request, client_address: True}
    server_class = type("Server", (module.WSGIServer,), overridden)
    server = module.make_server("127.0.0.1", 0, application, server_class)
    return answers(server, requests)


@pytest.mark.parametrize("name", REQUESTS)
def test_wsgi_request(name):
    ours, our_log = wsgi_answers(zolal.simple_server, application, [REQUESTS[name]])
    theirs, their_log = wsgi_answers(wsgiref.simple_server, application, [REQUESTS[name]])
    assert ours == theirs
    assert our_log == their_log


class Page:
    """do_GET and do_POST, for a handler of either library."""

    def do_GET(self):
        text = f"{self.command} {self.path} {self.headers.items()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201, "Made")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class OurPage(Page, zolal.http_server.BaseHTTPRequestHandler):
    pass


class TheirPage(Page, http.server.BaseHTTPRequestHandler):
    pass


@pytest.mark.parametrize("name", REQUESTS)
def test_http_request(name):
    ours = answers(zolal.http_server.HTTPServer(("127.0.0.1", 0), OurPage), [REQUESTS[name]])
    theirs = answers(http.server.HTTPServer(("127.0.0.1", 0), TheirPage), [REQUESTS[name]])
    assert ours == theirs


@pytest.mark.parametrize(
    "name",
    ["get", "query", "repeated", "body", "head", "HTTP/0.9", "unknown method", "one word"]
    + ["version 2", "nothing", "empty line", "many lines"],
)
def test_http_1_1_requests(name):
    """Twice the request and once more, on a connection that may be kept."""
    ours, theirs = (
        type("Kept", (one,), {"protocol_version": "HTTP/1.1"}) for one in (OurPage, TheirPage)
    )
    requests = [REQUESTS[name] * 2 + REQUESTS["get"]]
    assert answers(zolal.http_server.HTTPServer(("127.0.0.1", 0), ours), requests) == answers(
        http.server.HTTPServer(("127.0.0.1", 0), theirs), requests
    )


# ------------------------------------------------------------------------------- applications


def several_pieces(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"one", b"", b"two"]


def generator(environ, start_response):
    start_response("200 OK", [])
    yield b""
    yield b"one"
    yield b"two"


def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


def by_write(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "6")])
    write(b"one")
    return [b"two"]


def own_headers(environ, start_response):
    start_response("200 OK", [("Date", "now"), ("Server", "own"), ("Content-Length", "2")])
    return [b"ab"]


def raising(environ, start_response):
    raise ValueError("from the application")


def raising_later(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    raise ValueError("from the application")


def raising_exit(environ, start_response):
    raise SystemExit(3)


def replaced(environ, start_response):
    start_response("200 OK", [("A", "b")])
    try:
        raise KeyError("x")
    except KeyError:
        start_response("500 Oops", [("C", "d")], sys.exc_info())
    return [b"replaced"]


def replaced_too_late(environ, start_response):
    write = start_response("200 OK", [])
    write(b"one")
    try:
        raise KeyError("x")
    except KeyError:
        start_response("500 Oops", [], sys.exc_info())
    return []


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


def never(environ, start_response):
    return [b"one"]


def bad_status(environ, start_response):
    start_response("OK", [])
    return []


def bad_header(environ, start_response):
    start_response("200 OK", [("A", 1)])
    return []


def bad_headers(environ, start_response):
    start_response("200 OK", (("A", "1"),))
    return []


def hop_by_hop(environ, start_response):
    start_response("200 OK", [("Connection", "close")])
    return []


def text(environ, start_response):
    start_response("200 OK", [])
    return ["text"]


def not_latin_1(environ, start_response):
    start_response("200 \u20ac", [])
    return [b"a"]


def file(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"hello"), 2)


def large(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * 3_000_000]


def none(environ, start_response):
    start_response("200 OK", [])


class Closed:
    """An iterable that tells of close(), by its status."""

    closed = 0

    def __init__(self, environ, start_response):
        start_response("200 OK", [])

    def __iter__(self):
        yield b"a"

    def close(self):
        Closed.closed += 1


APPLICATIONS = [several_pieces, generator, nothing, by_write, own_headers, raising, raising_later]
APPLICATIONS += [raising_exit, replaced, replaced_too_late, twice, never, bad_status, bad_header]
APPLICATIONS += [bad_headers, hop_by_hop, text, not_latin_1, file, large, none, Closed]
if sys.version_info < (3, 11):
    APPLICATIONS.remove(replaced_too_late)  # The traceback is said in another way.


def without_places(log):
    """A traceback's lines are each library's own."""
    return re.sub(r"(?m)^  +.*\n", "", log)


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one.__name__)
def test_application(application):
    requests = [b"GET / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.0\r\n\r\n", b"GET /\r\n\r\n"]
    Closed.closed = 0
    ours, our_log = wsgi_answers(zolal.simple_server, application, requests)
    our_closed, Closed.closed = Closed.closed, 0
    theirs, their_log = wsgi_answers(wsgiref.simple_server, application, requests)
    assert ours == theirs
    assert without_places(our_log) == without_places(their_log)
    assert our_closed == Closed.closed


# ----------------------------------------------------------------------------------- handlers


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", ["SimpleHandler", "BaseCGIHandler"])
@pytest.mark.parametrize("attributes", [{}, {"server_software": "x", "http_version": "1.1"}])
def test_handler(application, kind, attributes):
    found = []
    for module in (zolal.handlers, wsgiref.handlers):
        handler_class = type("Handler", (getattr(module, kind),), attributes)
        out, err = io.BytesIO(), io.StringIO()
        environ = {"SERVER_PROTOCOL": "HTTP/1.0", "REQUEST_METHOD": "GET", "HTTPS": "on"}
        handler = handler_class(io.BytesIO(b"in"), out, err, environ, multithread=False)
        outcome = None
        try:
            handler.run(application)
        except BaseException as error:
            outcome = repr(error)
        sent = without_dates(out.getvalue().decode("latin-1"))
        found.append((sent, without_places(err.getvalue()), outcome, handler.bytes_sent))
    assert found[0] == found[1]


def test_environ_of_handlers():
    found = []
    for module in (zolal.handlers, wsgiref.handlers):
        handler = module.SimpleHandler("in", None, "err", {"A": "b"}, False, True)
        handler.server_software = "software"
        handler.setup_environ()
        found.append({**handler.environ, "wsgi.file_wrapper": handler.environ["wsgi.file_wrapper"]})
    assert found[0] == found[1]


def test_read_environ(monkeypatch):
    monkeypatch.setenv("HTTP_A", "\u00e4")
    monkeypatch.setenv("REDIRECT_REDIRECT_SSL_A", "\u00e4")
    monkeypatch.setenv("REDIRECT_A", "\u00e4")
    monkeypatch.setenv("PATH_INFO", "\udcff")
    monkeypatch.setenv("PATH_INFO_2", "\u00e4")
    assert zolal.handlers.read_environ() == wsgiref.handlers.read_environ()


DIFFERENT = ("disable_nagle_algorithm", "allow_reuse_port", "error_message_format")
"""Attributes that are not equal, or not in every Python."""


def test_public_names():
    """What the standard modules say is public is here, but for what is no server."""
    import socketserver

    assert set(socketserver.__all__) <= set(zolal.socketserver.__all__)
    assert set(wsgiref.simple_server.__all__) <= set(zolal.simple_server.__all__)
    assert set(zolal.http_server.__all__) <= set(http.server.__all__)
    for ours, theirs in [
        (zolal.socketserver.TCPServer, socketserver.TCPServer),
        (zolal.socketserver.UDPServer, socketserver.UDPServer),
        (zolal.socketserver.ForkingMixIn, socketserver.ForkingMixIn),
        (zolal.socketserver.ThreadingMixIn, socketserver.ThreadingMixIn),
        (zolal.socketserver.StreamRequestHandler, socketserver.StreamRequestHandler),
        (zolal.http_server.HTTPServer, http.server.HTTPServer),
        (zolal.http_server.ThreadingHTTPServer, http.server.ThreadingHTTPServer),
        (zolal.http_server.BaseHTTPRequestHandler, http.server.BaseHTTPRequestHandler),
        (zolal.handlers.BaseHandler, wsgiref.handlers.BaseHandler),
        (zolal.handlers.SimpleHandler, wsgiref.handlers.SimpleHandler),
        (zolal.simple_server.ServerHandler, wsgiref.simple_server.ServerHandler),
        (zolal.simple_server.WSGIServer, wsgiref.simple_server.WSGIServer),
        (zolal.simple_server.WSGIRequestHandler, wsgiref.simple_server.WSGIRequestHandler),
    ]:
        assert [name for name in dir(theirs) if name[0] != "_" and not hasattr(ours, name)] == []
        for name in vars(theirs):
            value = getattr(theirs, name)
            if name[0] != "_" and isinstance(value, (int, str, bytes, tuple, list, dict)):
                if name not in DIFFERENT:
                    assert getattr(ours, name) == value, name


def test_answer_leaves_in_one_write():
    """Two small writes cost 40 ms where the client delays its acknowledgements."""

    class Writes(io.BytesIO):
        count = 0

        def write(self, data):
            self.count += 1
            return super().write(data)

    for application in (own_headers, nothing, by_write):
        out = Writes()
        environ = {"SERVER_PROTOCOL": "HTTP/1.0"}
        handler = zolal.handlers.SimpleHandler(io.BytesIO(), out, io.StringIO(), environ)
        handler.run(application)
        assert out.count == (2 if application is by_write else 1)


def test_no_delay_on_connections():
    seen = []

    class Handler(zolal.simple_server.WSGIRequestHandler):
        def setup(self):
            super().setup()
            seen.append(self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    server = zolal.simple_server.make_server("127.0.0.1", 0, nothing, handler_class=Handler)
    with standard_error(), running(server):
        ask(server.server_address, REQUESTS["get"])
    assert seen == [1]
