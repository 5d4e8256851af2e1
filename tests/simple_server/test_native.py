"""The C path of the drop-ins: when it is taken, and that what it passes over is nothing."""

import contextlib
import http.client
import os
import re
import shutil
import socket as standard_socket
import socketserver
import ssl
import subprocess
import sys
import threading
import unittest.mock
import wsgiref.simple_server

import pytest
from running import UNDER_ASAN

from zolal import native, socket
from zolal.simple_server import (
    ThreadingMixIn,
    WSGIRequestHandler,
    WSGIServer,
    make_server,
)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(server, path="/", **headers):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=20)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    try:
        return response, response.read()
    finally:
        connection.close()


def make(server_class=WSGIServer, handler_class=Quiet, app=hello):
    return make_server("127.0.0.1", 0, app, server_class, handler_class)


class OfTheStandard(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Ours(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Named(WSGIServer):
    request_queue_size = 100

    def server_bind(self):
        super().server_bind()
        self.server_name = "me"

    def server_activate(self):
        super().server_activate()

    def server_close(self):
        super().server_close()


@pytest.mark.parametrize("server_class", [WSGIServer, OfTheStandard, Ours, Named])
@pytest.mark.parametrize(
    "handler_class", [Quiet, WSGIRequestHandler, wsgiref.simple_server.WSGIRequestHandler]
)
def test_what_is_as_it_is_is_served_by_c(server_class, handler_class, capfd):
    with serving(make(server_class, handler_class)) as server:
        assert list(native.overridden(server)) == []
        response, body = get(server)
        assert (response.version, body) == (11, b"hello")
        assert response.headers["Server"] == wsgiref.simple_server.software_version


SERVER_METHODS = {
    "get_request": lambda self: WSGIServer.get_request(self),
    "verify_request": lambda self, request, address: True,
    "process_request": lambda self, *of: WSGIServer.process_request(self, *of),
    "finish_request": lambda self, *of: WSGIServer.finish_request(self, *of),
    "shutdown_request": lambda self, request: WSGIServer.shutdown_request(self, request),
    "close_request": lambda self, request: WSGIServer.close_request(self, request),
    "service_actions": lambda self: None,
    "handle_error": lambda self, *of: None,
}


@pytest.mark.parametrize("name", SERVER_METHODS)
@pytest.mark.parametrize("how", ["class", "instance", "patch"])
def test_an_overridden_method_of_the_server_is_called(name, how, monkeypatch):
    called = []

    def method(self, *arguments):
        called.append(name)
        return SERVER_METHODS[name](self, *arguments)

    server_class = type("Server", (WSGIServer,), {name: method} if how == "class" else {})
    if how == "patch":
        original = getattr(WSGIServer, name)
        owner = next(cls for cls in WSGIServer.__mro__ if name in vars(cls))

        def patched(self, *arguments):
            called.append(name)
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, patched)
    server = make(server_class)
    if how == "instance":
        setattr(server, name, lambda *arguments: method(server, *arguments))
    with serving(server):
        assert list(native.overridden(server)) == [name]
        response, body = get(server)
        assert (response.version, body) == (10, b"hello")
    assert called or name == "handle_error"


HANDLER_METHODS = [
    "setup",
    "handle",
    "finish",
    "handle_one_request",
    "parse_request",
    "get_environ",
    "get_stderr",
]


@pytest.mark.parametrize("name", HANDLER_METHODS)
def test_an_overridden_method_of_the_handler_is_called(name):
    called = []

    def method(self):
        called.append(type(self.request))
        return getattr(WSGIRequestHandler, name)(self)

    with serving(make(handler_class=type("Handler", (Quiet,), {name: method}))) as server:
        assert list(native.overridden(server)) == [name]
        assert get(server)[1] == b"hello"
    assert called == [socket.socket]


def test_a_patched_method_of_the_handler_is_called():
    with (
        unittest.mock.patch.object(WSGIRequestHandler, "log_message", autospec=True) as log_message,
        serving(make(handler_class=WSGIRequestHandler)) as server,
    ):
        assert get(server)[1] == b"hello"
    assert log_message.called


@pytest.mark.parametrize("name", ["timeout", "rbufsize", "wbufsize"])
def test_a_value_of_the_handler_is_honoured(name):
    handler_class = type("Handler", (Quiet,), {name: 7})
    with serving(make(handler_class=handler_class)) as server:
        assert list(native.overridden(server)) == [name]
        assert get(server)[1] == b"hello"


def test_a_handler_that_is_no_class_is_called():
    made = []

    def handler(request, address, server):
        made.append(address)
        return Quiet(request, address, server)

    with serving(make(handler_class=handler)) as server:
        assert get(server)[1] == b"hello"
    assert len(made) == 1


def test_log_lines_are_the_standard_ones(capfd):
    with serving(make(handler_class=WSGIRequestHandler)) as server:
        get(server, "/a?b")
        with standard_socket.create_connection(server.server_address) as client:
            client.sendall(b"GET /\x01\\ HTTP/1.1\r\n\r\n")
            while client.recv(1000):
                pass
    lines = capfd.readouterr().err.splitlines()
    date = r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "
    for line, expected in zip(
        lines,
        [
            r'"GET /a\?b HTTP/1\.1" 200 5',
            r"code 400, message .*",
            r'"GET /\\x01\\\\ HTTP/1\.1" 400 -',
        ],
        strict=True,
    ):
        assert re.fullmatch(date + expected, line), line


def test_an_overridden_log_is_called_on_the_c_path():
    seen = []

    class Handler(WSGIRequestHandler):
        def log_message(self, format, *args):
            seen.append((format % args, self.client_address[0], self.path, self.command))

    with serving(make(handler_class=Handler)) as server:
        assert native.can_serve(server)
        assert get(server, "/x")[0].version == 11
    assert seen == [('"GET /x HTTP/1.1" 200 5', "127.0.0.1", "/x", "GET")]


def test_a_log_that_asks_for_the_headers_gets_them():
    seen = []

    class Handler(WSGIRequestHandler):
        def log_message(self, format, *args):
            seen.append(self.headers["X-Y"])

    with serving(make(handler_class=Handler)) as server:
        get(server, **{"X-Y": "z"})
    assert seen == ["z"]


def test_get_app_is_asked_for_each_request():
    apps = []

    class Server(WSGIServer):
        def get_app(self):
            apps.append(1)
            return super().get_app()

    with serving(make(Server)) as server:
        assert native.can_serve(server)
        get(server)
        get(server)
    assert len(apps) == 2


def test_the_application_may_be_changed():
    def other(environ, start_response):
        start_response("200 OK", [])
        return [b"other"]

    with serving(make()) as server:
        assert get(server)[1] == b"hello"
        server.set_app(other)
        assert get(server)[1] == b"other"


def test_without_an_application_each_request_fails_until_there_is_one(capfd):
    with serving(WSGIServer(("127.0.0.1", 0), Quiet)) as server:
        assert get(server)[0].status == 500
        server.set_app(hello)
        assert get(server)[1] == b"hello"
    assert "'NoneType' object is not callable" in capfd.readouterr().err


def test_the_environ_has_what_wsgiref_puts_there():
    def application(environ, start_response):
        start_response("200 OK", [])
        names = ("GATEWAY_INTERFACE", "REMOTE_HOST", "SERVER_SOFTWARE", "SCRIPT_NAME", "PATH")
        return [repr([environ.get(name) for name in names]).encode()]

    with serving(make(app=application)) as server:
        path = os.environ["PATH"]
        assert get(server)[1] == repr(["CGI/1.1", "", "WSGIServer/0.2", "", path]).encode()


def test_no_variable_of_the_process_is_taken_for_a_header(monkeypatch):
    def application(environ, start_response):
        start_response("200 OK", [])
        return [repr((environ.get("HTTP_PROXY"), environ["REQUEST_METHOD"])).encode()]

    monkeypatch.setenv("HTTP_PROXY", "http://evil/")
    monkeypatch.setenv("REQUEST_METHOD", "DELETE")
    with serving(make(app=application)) as server:
        assert get(server)[1] == b"(None, 'GET')"


def test_requests_that_block_run_beside_each_other():
    together = threading.Barrier(20, timeout=20)

    def application(environ, start_response):
        together.wait()
        return hello(environ, start_response)

    with serving(make(Ours, app=application)) as server:
        threads = [threading.Thread(target=get, args=(server,)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not together.broken


def test_without_threading_the_application_runs_in_the_serving_thread():
    seen = []

    def application(environ, start_response):
        seen.append(threading.get_ident())
        return hello(environ, start_response)

    server = make(app=application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    get(server)
    server.shutdown()
    assert seen == [thread.ident]
    thread.join()
    server.server_close()


@pytest.mark.parametrize("server_class", [WSGIServer, Ours])
def test_the_application_may_shut_it_down(server_class):
    def application(environ, start_response):
        server.shutdown()
        return hello(environ, start_response)

    server = make(server_class, app=application)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert get(server)[1] == b"hello"
    thread.join()
    server.server_close()


def test_a_shutdown_before_it_serves_is_not_lost():
    server = make()
    server.shutdown()
    server.serve_forever()
    server.server_close()


def test_it_serves_again_and_one_request_by_hand_between():
    server = make()
    for _ in range(3):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert get(server)[0].version == 11
        server.shutdown()
        thread.join()
        answers = []
        asking = threading.Thread(target=lambda found=answers: found.append(get(server)))
        asking.start()
        server.handle_request()
        asking.join()
        assert answers[0][0].version == 10
    assert server.socket.gettimeout() is None
    assert os.get_blocking(server.fileno())
    server.server_close()


def test_one_that_encrypts_is_served_by_the_classes(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += f" -subj /CN=zolal -addext subjectAltName=IP:127.0.0.1 -keyout {key}"
    subprocess.run([*command.split(), "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = make()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    client = ssl.create_default_context(cafile=certificate)
    with serving(server):
        connection = http.client.HTTPSConnection(*server.server_address, context=client, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        connection.close()


def test_an_ipv6_server():
    class Server(WSGIServer):
        address_family = socket.AF_INET6

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = make_server("::1", 0, hello, Server, Quiet)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with serving(server):
        assert get(server)[1] == b"hello"


PROGRAM = """
import http.client, os, signal, sys, threading, time
from zolal.simple_server import *

def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]

class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args):
        pass

def ask(server, times=1):
    for _ in range(times):
        connection = http.client.HTTPConnection(*server.server_address, timeout=20)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        connection.close()
"""


@pytest.mark.parametrize("threaded", [False, True])
def test_ctrl_c_is_raised_by_serve_forever(outcome_of, threaded):
    script = f"""
class Server(*[ThreadingMixIn] * {threaded}, WSGIServer):
    daemon_threads = True

server = make_server("127.0.0.1", 0, hello, Server, Quiet)

def interrupt():
    ask(server)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    server.serve_forever()
except KeyboardInterrupt:
    print("interrupted")
server.server_close()
"""
    assert outcome_of(PROGRAM + script) == ("interrupted\n", "")


@pytest.mark.skipif(UNDER_ASAN, reason="ASan keeps what is freed")
def test_ten_thousand_requests_by_an_overridden_handler_leak_nothing(outcome_of):
    script = """
import gc

class Handler(Quiet):
    def handle_one_request(self):
        super().handle_one_request()

server = make_server("127.0.0.1", 0, hello, WSGIServer, Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

def left():
    time.sleep(0.3)  # until the server has closed the last connection
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(gc.get_objects())

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * 4

ask(server, 500)
before, memory = left(), rss()
ask(server, 10000)
after = left()
assert after[0] == before[0], (before, after)
assert after[1] - before[1] < 100, (before, after)
assert rss() - memory < 2000, (memory, rss())
server.shutdown()
print("nothing")
"""
    assert outcome_of(PROGRAM + script) == ("nothing\n", "")


@pytest.mark.skipif(UNDER_ASAN, reason="LeakSanitizer does not work under ptrace(2)")
def test_kept_connections_cost_three_system_calls_a_request(launch_command):
    """epoll_wait, recvfrom, sendto; and the log line's write."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    script = (
        PROGRAM
        + """
def application(environ, start_response):
    if environ["PATH_INFO"] == "/end":
        server.shutdown()
    return hello(environ, start_response)

server = make_server("127.0.0.1", 0, application)
print(server.server_port, flush=True)
server.serve_forever()
"""
    )
    process = launch_command(
        ["strace", "-f", "-e", "trace=network,epoll_wait", "-o", "calls", sys.executable]
        + ["-c", script]
    )
    try:
        port = int(process.wait_until(process.stdout, "it has not begun"))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for path in ("/", "/", "/", "/end"):
            connection.request("GET", path)
            connection.getresponse().read()
        assert process.process.wait(20) == 0
    finally:
        process.kill()
    text = (process._out.parent / "calls").read_text()
    names = [line.split("(")[0].split()[-1] for line in text.splitlines() if "(" in line]
    # After the first, the loop learns of the connection, and that it can be written to.
    first = names.index("sendto", names.index("sendto") + 1) + 1
    second = names.index("sendto", first) + 1
    assert sorted(names[first:second]) == ["epoll_wait", "recvfrom", "sendto"]


@pytest.mark.parametrize("handler", ["WSGIRequestHandler", "Overridden"])
def test_the_environment_asks_for_an_xray(launch_command, handler):
    """On both ways to serve the kernel's calls stand under the request, and under the handler's
    methods where those serve."""
    script = f"""
class Overridden(WSGIRequestHandler):
    def handle_one_request(self):
        super().handle_one_request()

server = make_server("127.0.0.1", 0, hello, WSGIServer, {handler})
threading.Thread(target=server.serve_forever).start()
ask(server)
server.shutdown()
"""
    process = launch_command([sys.executable, "-c", PROGRAM + script], {"ZOLAL_XRAY": "1"})
    assert process.process.wait(30) == 0, process.stderr()
    journey = process.stdout().partition("GET /  200  5 bytes")[2]
    assert re.search(r"recvfrom\(.*hello, .*sendto\(", journey, re.S), process.stdout()
    assert ("handle_one_request" in journey) == (handler == "Overridden")
