"""SQL queries in the tree: those of one line of the project together, counted, and summed."""

from rich.console import Console

from zolal._zolal import Event
from zolal.xray import render
from zolal.xray.node import SQL, PythonCall
from zolal.xray.tree import Weaver, queries


def event(kind, op="", name="", argument=0, at=0, result=0, args=b""):
    return Event((kind, op, 1, 1, 1, at, at, -1, argument, result, name, args))


def query(text, line, at, result=0):
    return [
        event("python_enter", "call", "view (/srv/views.py)", line, at),
        event("python_enter", "call", SQL + text, 0, at + 1000),
        event("python_leave", "call", at=at + 3000, result=result),
        event("python_leave", "call", at=at + 4000, result=result),
    ]


def journey(*inner):
    events = [
        event("request_begin", args=b"GET /"),
        event("python_enter", "application", "app (/srv/app.py)", 1, 0),
        *(one for some in inner for one in some),
        event("python_leave", "application", at=90_000),
        event("request_end", result=200),
    ]
    weaver = Weaver()
    found = [*weaver.feed(events), *weaver.rest()]
    return found[-1]


def drawn(found):
    console = Console(width=300, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(render.tree(found))
    return capture.get()


def test_queries_of_a_line_are_one_place():
    found = journey(query("SELECT 1", 7, 1000), query("SELECT 1", 7, 6000), query("B", 8, 12_000))
    (application,) = [node for node in found.children if isinstance(node, PythonCall)]
    assert [(place.line, len(place.children)) for place in application.children] == [(7, 2), (8, 1)]
    assert [one.ns for one in queries(found.children)] == [2000, 2000, 2000]
    text = drawn(found)
    assert "view, /srv/views.py:7  2 queries, the same one 2 times  4.0 µs" in text
    assert "view, /srv/views.py:8  1 query  2.0 µs" in text
    assert "(SQL 6.0 µs in 3 queries)" in text


def test_a_query_that_fails():
    assert "SQL  SELECT * FROM nowhere  raised" in drawn(
        journey(query("SELECT * FROM nowhere", 7, 1000, result=-1))
    )


def test_no_query():
    assert "SQL" not in drawn(journey())
