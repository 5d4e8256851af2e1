"""A socketpair that a byte goes through, below so many Python frames: nanoseconds of CPU a call,
for each round."""

import socket
import sys
import time

depth, rounds, calls = map(int, sys.argv[1:])


def below(frames):
    if frames > 1:
        return below(frames - 1)
    a, b = socket.socketpair()
    send, recv = a.send, b.recv
    for _ in range(rounds):
        begin = time.process_time_ns()
        for _ in range(calls // 2):
            send(b"x")
            recv(1)
        print((time.process_time_ns() - begin) / calls, flush=True)


below(depth - 1)
