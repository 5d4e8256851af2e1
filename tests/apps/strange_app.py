"""Objects that run code where nobody expects any."""

import os

FIELDS = [("Content-Type", "text/plain")]


class Intended(Exception):
    pass


def called(call):
    """Make a call whose failure is of no interest."""
    try:
        call()
    except Exception:
        pass


class Finalized(str):
    """Calls start_response when it is freed."""

    def __del__(self):
        called(lambda: self.start("200 OK", [made("X-Inner")], failed()))


def failed():
    return Intended, Intended(), None


def made(name):
    """A field of strings that nobody else holds."""
    return name + "-" * os.getpid().bit_length(), "of " + name


def finalized(start_response, name):
    field = tuple(map(Finalized, made(name)))
    for text in field:
        text.start = start_response
    return field


def head_with_finalizers(environ, start_response):
    """The second head takes the first one's place, and frees it."""
    start_response("200 OK", [finalized(start_response, "X-First")])
    start_response("200 OK", [made("X-Outer")], failed())
    return [b"as it was"]


def head_with_finalizers_refused(environ, start_response):
    """The first head stays."""
    start_response("200 OK", [finalized(start_response, "X-First")])
    called(lambda: start_response("200 OK", [made("X-Outer"), ("Bad\n", "x")], failed()))
    return [b"as it was"]


class Writing(bytes):
    """Writes when it is freed."""

    write = None

    def __del__(self):
        for _ in range(12):
            called(lambda: Writing.write(b"z" * 5000))


class WritingItems:
    closed = False

    def __iter__(self):
        for _ in range(3):
            yield Writing(b"q" * 6_000_000)

    def close(self):
        WritingItems.closed = True


def bytes_with_finalizers(environ, start_response):
    Writing.write = start_response("200 OK", FIELDS)
    return WritingItems()


def ask_closed(environ, start_response):
    start_response("200 OK", FIELDS)
    return [str(WritingItems.closed).encode()]


def write_late(environ, start_response):
    start_response("200 OK", FIELDS)
    try:
        Writing.write(b"late")
    except Exception as error:
        return [type(error).__name__.encode()]
    return [b"accepted"]


def unmade_file_wrapper(environ, start_response):
    start_response("200 OK", FIELDS)
    wrapper = environ["wsgi.file_wrapper"]
    return wrapper.__new__(wrapper)


class WithoutLength(bytes):
    def __len__(self):
        raise Intended


class ReadsWithoutLength:
    def read(self, size):
        return WithoutLength(b"hello")


def bytes_without_length(environ, start_response):
    start_response("200 OK", FIELDS)
    return environ["wsgi.file_wrapper"](ReadsWithoutLength())


class Printed:
    """Calls something when it is printed."""

    def __init__(self, call):
        self.call = call

    def __repr__(self):
        self.call()
        return "printed"


class PrintedStr(str, Printed):
    __str__ = Printed.__repr__


class Named:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


def header_let_go_of_where_it_is_printed(environ, start_response):
    headers = []
    headers.append(slice(Printed(headers.clear), Named("held"), None))
    start_response("200 OK", headers)


def environ_cleared_where_it_is_printed(environ, start_response):
    method = PrintedStr("GET")
    method.call = environ.clear
    environ.update(REQUEST_METHOD=method, PATH_INFO=Named("held"))
    raise Intended


def plain(environ, start_response):
    start_response("200 OK", FIELDS)
    return [b"plain"]


def application(environ, start_response):
    route = globals()[environ["PATH_INFO"][1:].replace("-", "_")]
    return route(environ, start_response)
