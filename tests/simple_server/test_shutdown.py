"""shutdown() from everywhere, and what ends serve_forever() otherwise."""

import os
import signal
import socket
import threading
import time

import pytest
from chain_servers import PATIENCE, Running, ask

from zolal import simple_server, socketserver

GET = b"GET / HTTP/1.0\r\n\r\n"


class Quiet(simple_server.WSGIRequestHandler):
    def handle(self):
        super().handle()

    def log_message(self, *args):
        pass


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def make_server(application=hello, server_class=simple_server.WSGIServer):
    return simple_server.make_server("127.0.0.1", 0, application, server_class, Quiet)


class Threaded(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    pass


def test_at_once():
    """Not when poll_interval is over."""
    server = make_server()
    serving = Running(server, poll_interval=3600)
    ask(server.server_address, GET)
    server.shutdown()
    serving.join()
    server.server_close()


def test_before_serve_forever_begins():
    for _ in range(300):
        server = make_server()
        serving = Running(server, poll_interval=3600)
        server.shutdown()
        serving.join()
        server.server_close()


def test_before_there_is_a_thread():
    server = make_server()
    server.shutdown()
    server.serve_forever()
    serving = Running(server)
    assert ask(server.server_address, GET).endswith(b"hello")
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.mark.parametrize("server_class", [simple_server.WSGIServer, Threaded])
def test_from_a_handler(server_class):
    def application(environ, start_response):
        server.shutdown()
        return hello(environ, start_response)

    server = make_server(application, server_class)
    serving = Running(server, poll_interval=3600)
    assert ask(server.server_address, GET).endswith(b"hello")
    serving.join()
    server.server_close()


def test_from_service_actions():
    class Server(simple_server.WSGIServer):
        turns = 0

        def service_actions(self):
            self.turns += 1
            if self.turns == 3:
                self.shutdown()

    server = make_server(hello, Server)
    server.serve_forever(0.001)
    assert server.turns == 3
    server.server_close()


def test_from_many_threads():
    for _ in range(20):
        server = make_server()
        serving = Running(server, poll_interval=3600)
        ask(server.server_address, GET)
        threads = [threading.Thread(target=server.shutdown) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        serving.join()
        server.server_close()


def test_many_rounds_on_one_server():
    server = make_server()
    for _ in range(100):
        serving = Running(server, poll_interval=3600)
        assert ask(server.server_address, GET).endswith(b"hello")
        server.shutdown()
        serving.join()
    server.server_close()


@pytest.mark.parametrize("again", [1, 3])
def test_from_a_signal_handler(again):
    """In the serving thread, which is the main one."""
    server = make_server()
    before = signal.signal(signal.SIGUSR1, lambda *_: [server.shutdown() for _ in range(again)])
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        server.serve_forever(3600)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        server.server_close()


def test_from_a_signal_handler_while_another_thread_serves():
    server = make_server()
    serving = Running(server, poll_interval=3600)
    ask(server.server_address, GET)
    before = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
    try:
        signal.raise_signal(signal.SIGUSR1)
        serving.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        server.server_close()


@pytest.mark.parametrize("threaded", [False, True])
def test_keyboard_interrupt(threaded):
    """It comes out of serve_forever(), and the server can go on."""
    server = make_server(hello, Threaded if threaded else simple_server.WSGIServer)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever(3600)
    timer.join()
    serving = Running(server)
    assert ask(server.server_address, GET).endswith(b"hello")
    server.shutdown()
    serving.join()
    server.server_close()


def test_keyboard_interrupt_in_a_handler():
    def application(environ, start_response):
        raise KeyboardInterrupt

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            raise KeyboardInterrupt

    server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
    with socket.create_connection(server.server_address) as client:
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        assert client.recv(1) == b""
    server.shutdown()  # There is nothing to wait for.
    server.server_close()


class Overridden(simple_server.WSGIServer):
    def verify_request(self, request, client_address):
        return True


def test_closed_while_it_serves():
    server = make_server(hello, Overridden)
    serving = Running(server, poll_interval=3600)
    ask(server.server_address, GET)
    server.server_close()
    with pytest.raises(ValueError, match="the server is closed"):
        serving.join()
    server.shutdown()


def test_closed_before_it_serves():
    server = make_server(hello, Overridden)
    server.server_close()
    with pytest.raises(ValueError, match="the server is closed"):
        server.serve_forever()
    with pytest.raises(ValueError, match="the server is closed"):
        server.handle_request()


def test_accept_that_fails_does_not_turn_the_loop_at_full_speed():
    class Server(Overridden):
        tries = 0

        def get_request(self):
            self.tries += 1
            raise OSError(24, "Too many open files")

    server = make_server(hello, Server)
    serving = Running(server, poll_interval=3600)
    with socket.create_connection(server.server_address):
        while server.tries == 0:
            time.sleep(0.01)
        time.sleep(0.2)
        tries = server.tries
    server.shutdown()
    serving.join()
    server.server_close()
    assert tries < 50


def test_a_server_initialised_by_the_standard_class():
    """An __init__ that does not come to ours."""
    import socketserver as standard

    class Server(socketserver.TCPServer):
        def __init__(self, address, handler):
            standard.BaseServer.__init__(self, address, handler)
            self.socket = simple_server.make_server(*address, hello).socket
            self.server_address = self.socket.getsockname()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"hello")

    server = Server(("127.0.0.1", 0), Handler)
    serving = Running(server)
    assert ask(server.server_address, b"") == b"hello"
    server.shutdown()
    serving.join()
    server.server_close()


def test_two_servers_and_a_context_manager():
    with make_server() as one, make_server() as two:
        threads = [Running(one), Running(two)]
        assert ask(one.server_address, GET) and ask(two.server_address, GET)
        one.shutdown()
        assert ask(two.server_address, GET)
        two.shutdown()
        for thread in threads:
            thread.join()
    assert one.socket.fileno() == two.socket.fileno() == -1


def test_a_forked_child_stops_nobody():
    """The child of a process that serves has no loop of its own."""
    server = make_server(hello, Overridden)
    serving = Running(server, poll_interval=3600)
    ask(server.server_address, GET)
    pid = os.fork()
    if pid == 0:
        server.shutdown()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert ask(server.server_address, GET).endswith(b"hello")
    server.shutdown()
    serving.join()
    server.server_close()
