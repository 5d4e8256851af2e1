"""An application whose answers take every path to the kernel that the server has."""


class Closing:
    """An iterable with a close() of its own."""

    def __iter__(self):
        yield b"first "
        yield b"second"

    def close(self):
        pass


def endless():
    while True:
        yield b"x" * 50_000


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/file":
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))
    if path == "/read":
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body]
    if path == "/write":
        write = start_response("200 OK", [])
        write(b"written ")
        return [b"returned"]
    start_response("200 OK", [])
    if path == "/stream":
        return Closing()
    if path == "/endless":
        return endless()
    return [b"hello"]
