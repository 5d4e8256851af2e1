"""Events woven into journeys, and journeys drawn: on events made up for it."""

import io
import struct

from rich.console import Console

from zolal._zolal import Event
from zolal.xray import calls, render
from zolal.xray.node import PythonCall
from zolal.xray.tree import Weaver, spent


class Story:
    """Makes events one after the other, 10 microseconds each, in one thread."""

    def __init__(self):
        self.now = 1_000_000
        self.events = []

    def add(self, kind, op="", connection=1, request=1, **values):
        begin = self.now
        self.now += values.pop("takes", 10_000)
        fields = {
            "fd": 6,
            "argument": 0,
            "result": 0,
            "name": "",
            "args": b"",
            "thread": 1,
            **values,
        }
        self.events.append(
            Event(
                (
                    kind,
                    op,
                    fields["thread"],
                    connection,
                    request,
                    begin,
                    self.now if kind == "call" else begin,
                    fields["fd"],
                    fields["argument"],
                    fields["result"],
                    fields["name"],
                    fields["args"],
                )
            )
        )

    def begin(self, title=b"GET /", **values):
        self.add("request_begin", args=title, **values)

    def end(self, status=200, **values):
        self.add("request_end", result=status, **values)


def weave(story):
    weaver = Weaver()
    return [*weaver.feed(story.events), *weaver.rest()]


def draw(journey, width=200):
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    console.print(render.tree(journey), soft_wrap=True)
    return out.getvalue()


def test_calls_stand_under_the_python_call_that_made_them():
    story = Story()
    story.add("call", "recvfrom", argument=65536, result=78)
    story.begin()
    story.add("python_enter", "application", name="app (/srv/app.py)", argument=3)
    story.add("python_enter", "write", name="app (/srv/app.py)", argument=5)
    story.add("call", "sendto", argument=100, result=100)
    story.add("python_leave", "write")
    story.add("python_leave", "application")
    story.end()
    story.add("call", "sendto", argument=5, result=5)
    (journey,) = weave(story)
    recv, application, send = journey.children
    assert (recv.op, send.op) == ("recvfrom", "sendto")
    assert isinstance(application, PythonCall)
    (write,) = application.children
    assert write.kind == "write" and [node.op for node in write.children] == ["sendto"]
    text = draw(journey)
    assert "/srv/app.py:5" in text and "/srv/app.py:3" in text
    assert "recvfrom(6, 65536) = 78" in text


def test_time_is_told_apart():
    story = Story()
    story.add("call", "recvfrom", takes=1000)
    story.begin(takes=0)
    story.add("python_enter", "application", takes=20_000)
    story.add("call", "sendto", takes=5000)
    story.add("python_leave", "application", takes=0)
    story.end(takes=0)
    (journey,) = weave(story)
    time = spent(journey)
    assert (time.kernel, time.application, time.waiting) == (6000, 20_000, 0)
    assert time.total == 26_000 and time.server == 0


def test_waiting_inside_a_read_is_no_work_of_the_application():
    story = Story()
    story.begin(takes=0)
    story.add("python_enter", "application", takes=1000)
    story.add("python_enter", "read", takes=0)
    story.add("call", "epoll_wait", connection=0, request=0, takes=500_000, result=1)
    story.add("call", "recvfrom", takes=2000, result=5)
    story.add("python_leave", "read", takes=0)
    story.add("python_leave", "application", takes=0)
    story.end(takes=0)
    story.add("call", "epoll_wait", connection=0, request=0)
    journey = weave(story)[0]
    time = spent(journey)
    assert time.waiting == 500_000 and time.application == 1000 and time.kernel == 2000


def test_what_led_to_a_request_stands_before_it_and_outside_its_time():
    story = Story()
    story.add("call", "epoll_wait", connection=0, request=0, takes=9_000_000, result=1)
    story.add("call", "accept4", connection=1, request=0, result=6)
    story.add("call", "recvfrom", takes=1000)
    story.begin(takes=0)
    story.end(takes=0)
    (journey,) = weave(story)
    assert [node.op for node in journey.children] == ["epoll_wait", "accept4", "recvfrom"]
    assert spent(journey).total == 1000


def test_requests_that_interleave_are_told_apart():
    story = Story()
    for number in (1, 2):
        story.begin(f"GET /{number}".encode(), connection=number, request=number)
    for number in (1, 2):
        story.add("call", "sendto", connection=number, request=number, fd=5 + number)
        story.end(connection=number, request=number)
    journeys = weave(story)
    assert [journey.title for journey in journeys] == ["GET /1", "GET /2"]
    assert [journey.children[0].fd for journey in journeys] == [6, 7]


def test_a_connection_without_a_request_is_told_as_such():
    story = Story()
    story.add("call", "recvfrom", result=0)
    story.add("call", "close")
    (journey,) = weave(story)
    assert draw(journey).startswith("connection 1 ends")


def test_startup_is_a_tree_of_its_own():
    story = Story()
    story.add("call", "socket", connection=0, request=0, result=5)
    (journey,) = weave(story)
    assert journey.title == "server"


def test_lost_events_are_said():
    story = Story()
    story.begin()
    story.add("lost", connection=0, request=0, argument=17)
    story.end()
    assert "17 events were overwritten" in draw(weave(story)[0])


def test_an_end_without_its_beginning_is_no_crash():
    story = Story()
    story.add("python_leave", "application")
    story.end()
    story.add("call", "sendto")
    draw(weave(story)[0])


def test_a_request_cannot_draw_on_the_terminal():
    story = Story()
    story.begin(b"GET /\x1b[31m\x9b\r\n[bold]")
    story.end()
    text = draw(weave(story)[0])
    assert "\x1b" not in text and "\x9b" not in text and "\r" not in text
    assert "\\x1b[31m\\x9b\\x0d\\x0a[bold]" in text


def test_what_repeats_is_held_together():
    story = Story()
    story.begin()
    for _ in range(50):
        story.add("python_enter", "next", name="gen (/a.py)", argument=4)
        story.add("python_leave", "next")
        story.add("call", "sendto", result=9)
    story.end()
    text = draw(weave(story)[0])
    assert "48 more like this" in text
    assert text.count("sendto") == 2


def test_arguments_are_written_as_strace_writes_them():
    def event(op, **values):
        story = Story()
        story.add("call", op, **values)
        return story.events[0]

    inet = struct.pack("=H", 2) + struct.pack("!H", 80) + bytes([127, 0, 0, 1]) + bytes(8)
    table = {
        "bind(6, 127.0.0.1:80) = 0": event("bind", args=inet),
        "bind(6, unix:/run/z) = 0": event("bind", args=b"\x01\x00/run/z\0"),
        "bind(6, unix:@z) = 0": event("bind", args=b"\x01\x00\0z"),
        "setsockopt(6, SOL_SOCKET, SO_REUSEADDR, [1]) = 0": event(
            "setsockopt", args=struct.pack("=iii", 1, 2, 1)
        ),
        "sendmsg(6, [10, 20]) = 30": event(
            "sendmsg", argument=2, result=30, args=struct.pack("=QQ", 10, 20)
        ),
        "recvfrom(6, 100) = -1 ECONNRESET": event("recvfrom", argument=100, result=-104),
        "epoll_wait(6, [7 IN|RDHUP], timeout -1 ms) = 1": event(
            "epoll_wait",
            argument=(1 << 64) - 1,
            result=1,
            args=struct.pack("=iI", 7, 1 | 0x2000),
        ),
        "sendfile(6, 9, [5], 100) = 100": event(
            "sendfile", result=100, args=struct.pack("=QQi", 100, 5, 9)
        ),
    }
    for text, made in table.items():
        assert calls.call(made) == text


def test_damaged_arguments_are_no_crash():
    story = Story()
    for op in calls._ARGUMENTS:
        for cut in range(8):
            story.add("call", op, args=bytes(cut))
    for event in story.events:
        calls.call(event)


def with_place(story, op, *place, **values):
    """A call of Python's sockets: of no connection, with its place."""
    story.add("call", op, connection=0, request=0, **values)
    event = Event(story.events[-1], {"place": place})
    story.events[-1] = event


def test_a_programs_calls_stand_with_the_lines_that_led_to_them():
    story = Story()
    helper = ("create_connection (/opt/python/socket.py)", 480)
    with_place(story, "connect", helper, ("Client.ask (/srv/client.py)", 7), result=0)
    with_place(story, "poll", ("Client.ask (/srv/client.py)", 8), args=struct.pack("=i", -1))
    between = [(f"f{i} (/opt/python/x.py)", i) for i in range(9)]
    with_place(story, "sendto", *between, ("ask (/srv/client.py)", 9), result=5)
    (journey,) = weave(story)
    assert journey.title == "program"
    connect, wait, send = draw(journey).splitlines()[1:]
    assert connect.endswith("  create_connection < Client.ask, /srv/client.py:7")
    assert "poll" in wait and wait.endswith("  Client.ask, /srv/client.py:8")
    assert send.endswith("  f0 < f1 < f2 < ... < f8 < ask, /srv/client.py:9")


def test_a_line_from_another_place_is_not_held_together_with_the_others():
    story = Story()
    for i in range(20):
        with_place(story, "sendto", ("ask (/srv/client.py)", 9 if i < 10 else 10), result=i)
    (journey,) = weave(story)
    text = draw(journey)
    assert text.count("8 more like this") == 2 and text.count(":9\n") == text.count(":10\n") == 2
