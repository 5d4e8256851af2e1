"""One answer of each kind that PEP 3333 lets an application give, or forbids; the path names it.
/ask-closes tells how often close() was called on each."""

import collections
import io
import json
import sys

import gates

PLAIN = [("Content-Type", "text/plain")]
ROUTES = {}
closes = collections.Counter()


class Intended(Exception):
    """What the tests provoke; a traceback of anything else is a mistake of theirs."""


class Closing:
    """An iterable whose close() is counted under `name`."""

    def __init__(self, name, items, *, failing=False):
        self.name = name
        self.items = iter(items)
        self.failing = failing

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)

    def close(self):
        closes[self.name] += 1
        if self.failing:
            raise Intended("close fails")


class OnlyIter:
    """An iterable that is not its own iterator."""

    def __init__(self, *items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Sized(OnlyIter):
    def __len__(self):
        return len(self.items)


class OldIterable:
    """The protocol from before __iter__."""

    def __getitem__(self, index):
        return [b"a", b"b", b"c"][index]


class Bytes(bytes):
    """A subclass of bytes is bytes."""


def route(function):
    ROUTES["/" + function.__name__.replace("_", "-")] = function
    return function


def application(environ, start_response):
    kind, _, argument = environ["PATH_INFO"][1:].partition("/")
    if kind == "body":
        start_response("200 OK", PLAIN)
        return BODIES[argument]()
    if kind == "bad-body":
        start_response("200 OK", PLAIN)
        return BAD_BODIES[argument]()
    if kind == "bad-head":
        start_response(*BAD_HEADS[argument])
        return Closing("bad-head", [b"not to be seen"])
    if kind == "raise":
        raise RAISED[argument]
    if kind == "raise-in-iterable":
        start_response("200 OK", PLAIN)
        return Closing(kind, raising(RAISED[argument]))
    return ROUTES["/" + kind](environ, start_response)


def raising(error):
    raise error
    yield b""


RAISED = {
    "Intended": Intended("before start_response"),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "StopIteration": StopIteration("not the end of anything"),
    "BaseException": BaseException("base"),
    "Surrogate": ValueError("\udc80 cannot be printed"),
}

BODIES = {
    "one": lambda: [b"hello"],
    "several": lambda: [b"a", b"bc", b"d"],
    "one-in-tuple": lambda: (b"hello",),
    "tuple": lambda: (b"a", b"b"),
    "empty-list": lambda: [],
    "empty-tuple": lambda: (),
    "empty-bytes": lambda: b"",
    "generator": lambda: (item for item in (b"a", b"b", b"c")),
    "empty-generator": lambda: (item for item in ()),
    "map": lambda: map(bytes.upper, [b"a", b"b"]),
    "iterator": lambda: iter([b"a", b"b"]),
    "only-iter": lambda: OnlyIter(b"a", b"b"),
    "sized": lambda: Sized(b"a", b"b"),
    "sized-one": lambda: Sized(b"hello"),
    "old": OldIterable,
    "set": lambda: {b"a"},
    "dict": lambda: {b"a": 1, b"b": 2},
    "lines": lambda: io.BytesIO(b"one\ntwo\nthree"),
    "empties": lambda: [b"", b"a", b"", b"", b"b", b""],
    "generated-empties": lambda: iter([b"", b"a", b"", b"", b"b", b""]),
    "only-empty": lambda: [b""],
    "only-generated-empty": lambda: iter([b"", b""]),
    "subclass": lambda: [Bytes(b"hel"), Bytes(b"lo")],
    "one-subclass": lambda: [Bytes(b"hello")],
    "many": lambda: (b"%05d\n" % number for number in range(5000)),
    "many-in-list": lambda: [b"%05d\n" % number for number in range(5000)],
    "large": lambda: [b"x" * 5_000_000],
    "large-pieces": lambda: [b"%07d\n" % number * 20_000 for number in range(20)],
    "large-generated": lambda: (b"%07d\n" % number * 20_000 for number in range(20)),
}

BAD_BODIES = {
    "str": lambda: ["text"],
    "none": lambda: None,
    "int": lambda: 7,
    "plain-str": lambda: "text",
    "plain-bytes": lambda: b"text",
    "none-item": lambda: [None],
    "int-item": lambda: [7],
    "list-item": lambda: [[b"text"]],
    "generated-str": lambda: iter(["text"]),
    "broken-iter": lambda: BrokenIter(),
    "iter-of-nothing": lambda: IterOfNothing(),
}


class BrokenIter:
    def __iter__(self):
        raise Intended("__iter__ fails")


class IterOfNothing:
    def __iter__(self):
        return 7


BAD_HEADS = {
    "status-bytes": (b"200 OK", PLAIN),
    "status-int": (200, PLAIN),
    "status-none": (None, PLAIN),
    "status-empty": ("", PLAIN),
    "status-short": ("20 OK", PLAIN),
    "status-long": ("2000 OK", PLAIN),
    "status-letters": ("abc OK", PLAIN),
    "status-no-space": ("200OK", PLAIN),
    "status-informational": ("100 Continue", PLAIN),
    "status-crlf": ("200 OK\r\nX-Injected: yes", PLAIN),
    "status-lf": ("200 OK\nX-Injected: yes", PLAIN),
    "status-nul": ("200 O\0K", PLAIN),
    "status-not-latin-1": ("200 \u20ac", PLAIN),
    "headers-none": ("200 OK", None),
    "headers-dict": ("200 OK", {"X-A": "b"}),
    "headers-str": ("200 OK", "X-A: b"),
    "headers-tuple": ("200 OK", (("X-A", "b"),)),
    "header-str": ("200 OK", ["ab"]),
    "header-list": ("200 OK", [["X-A", "b"]]),
    "header-triple": ("200 OK", [("X-A", "b", "c")]),
    "header-single": ("200 OK", [("X-A",)]),
    "name-bytes": ("200 OK", [(b"X-A", "b")]),
    "name-empty": ("200 OK", [("", "b")]),
    "name-space": ("200 OK", [("X A", "b")]),
    "name-colon": ("200 OK", [("X:A", "b")]),
    "name-crlf": ("200 OK", [("X-A\r\nX-Injected", "b")]),
    "name-not-ascii": ("200 OK", [("X-\xe9", "b")]),
    "value-bytes": ("200 OK", [("X-A", b"b")]),
    "value-int": ("200 OK", [("X-A", 1)]),
    "value-none": ("200 OK", [("X-A", None)]),
    "value-crlf": ("200 OK", [("X-A", "b\r\nX-Injected: yes")]),
    "value-lf": ("200 OK", [("X-A", "b\nX-Injected: yes")]),
    "value-cr": ("200 OK", [("X-A", "b\rX-Injected: yes")]),
    "value-nul": ("200 OK", [("X-A", "b\0c")]),
    "value-not-latin-1": ("200 OK", [("X-A", "\u20ac")]),
    "length-letters": ("200 OK", [("Content-Length", "abc")]),
    "length-negative": ("200 OK", [("Content-Length", "-1")]),
    "length-twice": ("200 OK", [("Content-Length", "2"), ("Content-Length", "3")]),
    "transfer-encoding": ("200 OK", [("Transfer-Encoding", "chunked")]),
    "connection": ("200 OK", [("Connection", "keep-alive")]),
    "upgrade": ("200 OK", [("Upgrade", "websocket")]),
    "exc-info-not-a-tuple": ("200 OK", PLAIN, "exc_info"),
}


# ---- heads


@route
def empty_value(environ, start_response):
    start_response("200 OK", [("X-Empty", ""), ("X-Latin-1", "caf\xe9"), ("X-Tab", "a\tb")])
    return [b""]


@route
def cookies(environ, start_response):
    count = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Set-Cookie", f"c{number}=1") for number in range(count)])
    return [b"baked"]


@route
def large_value(environ, start_response):
    start_response("200 OK", [("X-Large", "v" * int(environ["QUERY_STRING"]))])
    return [b"after a large head"]


@route
def own_date_and_server(environ, start_response):
    fields = [("date", "Tue, 15 Nov 1994 08:12:31 GMT"), ("SERVER", "tests/1")]
    start_response("200 OK", [*PLAIN, *fields])
    return [b"mine"]


@route
def status(environ, start_response):
    start_response(environ["QUERY_STRING"].replace("+", " "), PLAIN)
    return [b"body"]


@route
def mutated(environ, start_response):
    fields = [("X-Before", "1")]
    start_response("200 OK", fields)
    fields.append(("X-After", "1"))
    return [b"as it was"]


@route
def keywords(environ, start_response):
    start_response(status="200 OK", headers=PLAIN, exc_info=None)
    return [b"by keyword"]


# ---- start_response again, late, or never


@route
def lazy(environ, start_response):
    """The whole application is a generator."""
    start_response("200 OK", PLAIN)
    yield b"lazy"


class AsClass:
    """The application is a class, as in the PEP."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", PLAIN)
        yield b"class"


ROUTES["/class"] = AsClass


@route
def twice(environ, start_response):
    start_response("200 OK", PLAIN)
    start_response("201 Created", PLAIN)
    return [b"not to be seen"]


@route
def twice_caught(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    try:
        start_response("201 Created", [("X-Second", "1")])
    except Exception as error:
        return [type(error).__name__.encode()]
    return [b"accepted"]


@route
def replaced(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    try:
        raise Intended("replaced")
    except Intended:
        start_response("503 Replaced", [("X-Second", "1")], sys.exc_info())
    return [b"replaced"]


@route
def replaced_after_empty_item(environ, start_response):
    start_response("200 OK", [("X-First", "1")])
    yield b""
    try:
        raise Intended("replaced")
    except Intended:
        start_response("503 Replaced", [("X-Second", "1")], sys.exc_info())
    yield b"replaced"


@route
def too_late(environ, start_response):
    """exc_info after the head was sent: start_response must raise what it was given."""
    start_response("200 OK", PLAIN)
    yield b"sent"
    try:
        raise Intended("too late")
    except Intended:
        start_response("500 Too Late", PLAIN, sys.exc_info())
    yield b"not to be seen"


@route
def too_late_caught(environ, start_response):
    start_response("200 OK", PLAIN)
    yield b"sent, "
    try:
        raise Intended("too late")
    except Intended as given:
        try:
            start_response("500 Too Late", PLAIN, sys.exc_info())
        except Intended as raised:
            yield b"the same" if raised is given else b"another"
        else:
            yield b"accepted"


@route
def never(environ, start_response):
    return Closing("never", [b"not to be seen"])


@route
def never_and_empty(environ, start_response):
    return []


@route
def kept_for_later(environ, start_response):
    """start_response and write() of a request that is over do nothing but raise."""
    old = KEPT.get("start_response")
    said = []
    if old:
        for call in (lambda: old("200 OK", PLAIN), lambda: KEPT["write"](b"late")):
            try:
                call()
            except Exception as error:
                said.append(type(error).__name__.encode())
            else:
                said.append(b"accepted")
    KEPT["start_response"] = start_response
    KEPT["write"] = start_response("200 OK", PLAIN)
    return [b",".join(said)]


KEPT = {}


# ---- write()


@route
def write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    send(b"one,")
    send(b"")
    send(b"two,")
    return [b"three"]


@route
def write_with_length(environ, start_response):
    send = start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
    send(b"abc")
    return [b"def"]


@route
def write_only(environ, start_response):
    start_response("200 OK", PLAIN)(b"written")
    return []


@route
def write_str(environ, start_response):
    send = start_response("200 OK", PLAIN)
    try:
        send("text")
    except TypeError:
        return [b"TypeError"]
    return [b"accepted"]


@route
def write_large(environ, start_response):
    send = start_response("200 OK", PLAIN)
    for number in range(20):
        send(b"%07d\n" % number * 20_000)
    return []


@route
def write_and_gate(environ, start_response):
    send = start_response("200 OK", PLAIN)
    send(b"first")
    gates.stop(environ["QUERY_STRING"])
    send(b"second")
    return []


@route
def write_then_raise(environ, start_response):
    start_response("200 OK", PLAIN)(b"sent")
    raise Intended("after write")


# ---- streaming


def gated_pieces(path):
    yield b"first"
    gates.stop(path)
    yield b"second"
    gates.stop(path)


@route
def gated(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("gated", gated_pieces(environ["QUERY_STRING"]))


@route
def gated_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "11")])
    return Closing("gated-with-length", gated_pieces(environ["QUERY_STRING"]))


@route
def endless(environ, start_response):
    """Until the client leaves."""
    start_response("200 OK", PLAIN)
    return Closing("endless", iter(lambda: b"e" * 50_000, None))


@route
def before_answer_gate(environ, start_response):
    """The gate stands before anything is sent."""
    gates.stop(environ["QUERY_STRING"])
    start_response("200 OK", PLAIN)
    return Closing("before-answer-gate", (b"g" * 100_000 for _ in range(100)))


# ---- lengths


def lengths(name, length, items):
    def answer(environ, start_response):
        start_response("200 OK", [*PLAIN, ("Content-Length", str(length))])
        return Closing(name, items)

    ROUTES["/" + name] = answer


lengths("length-exact", 3, [b"a", b"bc"])
lengths("length-too-much-in-one", 3, [b"abcdef"])
lengths("length-too-much", 3, [b"ab", b"cd", b"ef"])
lengths("length-zero-and-body", 0, [b"abc"])
lengths("length-zero", 0, [])
lengths("length-too-little", 10, [b"abc"])
lengths("length-and-nothing", 10, [])


# ---- answers without content


def without_content(name, status, fields, items):
    def answer(environ, start_response):
        start_response(status, fields)
        return Closing(name, items)

    ROUTES["/" + name] = answer


without_content("204", "204 No Content", [], [])
without_content("204-with-body", "204 No Content", PLAIN, [b"must not be sent"])
without_content("204-with-length", "204 No Content", [("Content-Length", "0")], [])
without_content("304", "304 Not Modified", [("ETag", '"x"')], [])
without_content("304-with-body", "304 Not Modified", [("ETag", '"x"')], [b"must not be sent"])
without_content("304-with-length", "304 Not Modified", [("Content-Length", "10")], [])


# ---- errors and close()


@route
def after_start(environ, start_response):
    start_response("200 OK", PLAIN)
    raise Intended("after start_response")


@route
def in_first_step(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("in-first-step", raising(Intended("in the first step")))


def one_then_raise():
    yield b"partial"
    raise Intended("in the middle")


@route
def in_the_middle(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("in-the-middle", one_then_raise())


@route
def in_the_middle_with_length(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "1000")])
    return Closing("in-the-middle-with-length", one_then_raise())


@route
def str_in_the_middle(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("str-in-the-middle", [b"partial", "text"])


@route
def closing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("closing", [b"a", b"b"])


@route
def closing_nothing(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("closing-nothing", [])


@route
def close_fails(environ, start_response):
    start_response("200 OK", PLAIN)
    return Closing("close-fails", [b"whole"], failing=True)


@route
def list_with_close(environ, start_response):
    class List(list):
        def close(self):
            closes["list-with-close"] += 1

    start_response("200 OK", PLAIN)
    return List([b"a", b"b"])


ROUTES["/generator-finally"] = lambda environ, start_response: generator_finally(start_response)


def generator_finally(start_response):
    """A generator has a close() of its own, which runs its finally."""
    start_response("200 OK", PLAIN)
    try:
        while True:
            yield b"f" * 50_000
    finally:
        closes["generator-finally"] += 1


# ---- questions


def as_json(start_response, value):
    data = json.dumps(value).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    )
    return [data]


@route
def ask_closes(environ, start_response):
    return as_json(start_response, dict(closes))
