"""embedded.py COUNT: starts COUNT servers in this process, one after the other, and prints, as a
JSON list, the milliseconds from the making of each zolal.Server to its first answer."""

import json
import socket
import sys
import time

import plain

from zolal import Server

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def start_ms():
    begin = time.perf_counter_ns()
    with Server(plain.hello, bind="127.0.0.1:0") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(REQUEST)
            answer = client.recv(4096)
            ms = (time.perf_counter_ns() - begin) / 1e6
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return ms


print(json.dumps([start_ms() for _ in range(int(sys.argv[1]))]))
