"""Recordings for the tests of the views: of real programs, and made up."""

import os
import pathlib
import socket
import subprocess
import sys
from struct import pack

from zolal.trace.load import load
from zolal.trace.model import Call, Frame, Process, Trace

PATIENCE = 60
PYTHON = os.path.realpath(sys.executable)

WSGI = """\
from wsgiref.simple_server import make_server


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


with make_server("127.0.0.1", 0, application) as server:
    print(server.server_port, flush=True)
    for _ in range(3):
        server.handle_request()
"""

ECHO = """\
import asyncio
import socket


async def echo(loop, client):
    with client:
        while data := await loop.sock_recv(client, 1024):
            await loop.sock_sendall(client, data)


async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        print(server.getsockname()[1], flush=True)
        for _ in range(3):
            client, _ = await loop.sock_accept(server)
            client.setblocking(False)
            await loop.create_task(echo(loop, client))


asyncio.run(main())
"""

PREFORK = """\
import os
import socket

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)


def serve():
    for _ in range(3):
        client, _ = listener.accept()
        client.recv(1000)
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        client.close()


if os.fork():
    os.wait()
else:
    serve()
    os._exit(0)
"""

CLIENT = """\
import socket

with socket.create_server(("127.0.0.1", 0)) as listener:
    pass
try:
    socket.create_connection(listener.getsockname() if 0 else ("127.0.0.1", 1))
except OSError as error:
    print(error)
"""


def record(folder: pathlib.Path, script: str, send: bytes = b"") -> Trace:
    """Run it traced. It prints the port that it serves three clients on; each sends this and reads
    to the end. Without anything to send it is left alone."""
    program = folder / "program.py"
    program.write_text(script)
    path = folder / "run.trace"
    command = [sys.executable, "-m", "zolal", "trace", "-o", path, "--", PYTHON, program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder, text=True
    ) as process:
        port = int(process.stdout.readline()) if send else 0
        for _ in range(3 if send else 0):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.sendall(send)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        assert process.wait(PATIENCE) == 0
    return load(str(path))


GET = b"GET /hello?<b> HTTP/1.1\r\nHost: here\r\n\r\n"


class Made:
    """A trace that is made up, a call after another."""

    def __init__(self, program=("python3", "app.py"), python="3.12.1"):
        self.process = Process(100, 1, list(program), python, "", 1_000_000_000)
        self.now = 1_000_000_000

    def call(self, name, fd, result, args="", took=1000, stack=(), tid=100, **more):
        self.now += 500
        frames = tuple(Frame(*frame) for frame in stack)
        begin, self.now = self.now, self.now + took
        made = Call(self.process, tid, name, fd, args, result, begin, self.now, frames, **more)
        self.process.calls.append(made)
        return made

    def listen(self, address="127.0.0.1:8000", stack=()):
        data = pack("<3i", 2, 1, 0)
        self.call("socket", -1, 3, "AF_INET, SOCK_STREAM, 0", stack=stack, data=data)
        self.call("bind", 3, 0, f"3, {address}", stack=stack)
        self.call("listen", 3, 0, "3, 5", stack=stack, argument=5)

    def request(self, line="GET / HTTP/1.1", took=1000, stack=(), peer="10.0.0.1:5000", tid=100):
        self.call("accept4", 3, 4, f"3, {peer}, SOCK_CLOEXEC", stack=stack, tid=tid)
        more = {"stack": stack, "tid": tid}
        self.call("recvfrom", 4, 80, "4, 8192", first_line=line, **more)
        answer = "HTTP/1.1 200 OK"
        self.call("sendto", 4, 17, "4, 17", took, first_line=answer, is_sent=True, **more)
        self.call("close", 4, 0, "4", **more)

    @property
    def trace(self):
        process = self.process
        return Trace(process.program, process.began_ns, self.now, 0, [process])
