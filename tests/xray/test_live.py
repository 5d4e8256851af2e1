"""Calls printed as they happen: on events made up for it."""

import io
import struct

from rich.console import Console
from test_tree import Story

from zolal.xray.live import Calls


def address(port):
    return struct.pack("=H", 2) + struct.pack("!H", port) + bytes([127, 0, 0, 1]) + bytes(8)


def show(story):
    out = io.StringIO()
    view = Calls(Console(file=out, width=200, highlight=False, markup=False, emoji=False))
    view.feed(story.events)
    view.settle()
    view.rest()
    return out.getvalue().splitlines()


def test_a_heading_comes_when_the_connection_changes():
    story = Story()
    for connection in (1, 2):
        story.add(
            "call", "accept4", connection, 0, fd=5, result=6 + connection, args=address(connection)
        )
    story.add("call", "recvfrom", 2, 0, fd=8, argument=9, result=1)
    story.add("call", "sendto", 1, 0, fd=7, argument=9, result=-32)
    story.add("call", "close", 1, 0, fd=7)
    assert show(story) == [
        "connection 1  127.0.0.1:1",
        "├── accept4(5, 127.0.0.1:1) = 7  10 µs",
        "connection 2  127.0.0.1:2",
        "├── accept4(5, 127.0.0.1:2) = 8  10 µs",
        "├── recvfrom(8, 9) = 1  10 µs",
        "connection 1  127.0.0.1:1",
        "├── sendto(7, 9) = -1 EPIPE  10 µs",
        "└── close(7) = 0  10 µs",
    ]


def test_a_wait_stands_where_it_led_to():
    story = Story()
    for ready in (b"", struct.pack("=iI", 7, 1)):
        story.add("call", "epoll_wait", 0, 0, fd=3, result=len(ready) // 8, args=ready)
    story.add("call", "recvfrom", 1, 0, fd=7, argument=9, result=1)
    story.add("call", "accept4", 2, 0, fd=5, result=-11)
    story.add("call", "epoll_wait", 0, 0, fd=3)
    assert show(story) == [
        "server",
        "├── epoll_wait(3, [], timeout 0 ms) = 0  10 µs",
        "connection 1",
        "├── epoll_wait(3, [7 IN], timeout 0 ms) = 1  10 µs",
        "├── recvfrom(7, 9) = 1  10 µs",
        "server",
        "├── accept4(5) = -1 EAGAIN  10 µs",
        "├── epoll_wait(3, [], timeout 0 ms) = 0  10 µs",
    ]


def test_what_was_lost_is_said():
    story = Story()
    story.add("lost", argument=12)
    story.add("state", connection=1)
    assert show(story) == ["12 events were overwritten before they could be read"]
