"""Programs whose calls are compared, run by each Python: NAME watched|traced PATH."""

import json
import sys


def name_of(function):
    """Of a function of C, as zolal names it."""
    on = function.__self__
    if on is None or isinstance(on, type(sys)):
        module = function.__module__ or ""
        return f"{'' if module in ('', 'builtins') else module + '.'}{function.__name__}"
    return f"{(on if isinstance(on, type) else type(on)).__name__}.{function.__name__}"


def watched(function, path):
    """Call it; what sys.setprofile sees goes to `path`, a line each: depth, name, is it of C."""
    seen, depth = [], 0

    def watch(frame, event, argument):
        nonlocal depth
        code = frame.f_code
        if event == "call":
            seen.append((depth, getattr(code, "co_qualname", code.co_name), False))
        elif event == "c_call":
            seen.append((depth, name_of(argument), True))
        depth += 1 if event in ("call", "c_call") else -1

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    with open(path, "w") as file:
        json.dump(seen[:-1], file)  # without sys.setprofile


def call(function, path):
    """Call it, seen by zolal or by nobody."""
    function()


def server():
    import socket
    from wsgiref import simple_server

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    class Quiet(simple_server.WSGIRequestHandler):
        def log_message(self, *arguments):
            pass

        def address_string(self):
            return "client"

    made = simple_server.make_server("127.0.0.1", 0, app, handler_class=Quiet)

    def request():
        with socket.create_connection(made.server_address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            made.handle_request()

    request()
    return request


def generators():
    import asyncio

    def numbers():
        try:
            yield from range(3)
            yield 3
        finally:
            len(())

    async def letters():
        for letter in "ab":
            await asyncio.sleep(0)
            yield letter

    async def inner():
        await asyncio.sleep(0)
        return [letter async for letter in letters()]

    def region():
        list(numbers())
        first = numbers()
        next(first)
        first.close()
        thrown = numbers()
        next(thrown)
        try:
            thrown.throw(KeyError)
        except KeyError:
            pass
        never = numbers()
        try:
            never.throw(KeyError)
        except KeyError:
            pass
        coroutine = inner()
        try:
            while True:
                coroutine.send(None)
        except StopIteration:
            pass

    return region


def exceptions():
    def deep(n):
        if n == 0:
            raise ValueError("deep")
        deep(n - 1)

    def through_c():
        return sorted([1, 2], key=lambda n: 1 // 0)

    def region():
        for function in (lambda: deep(5), through_c, lambda: int("x"), lambda: {}.pop(1)):
            try:
                function()
            except Exception:  # noqa: S110
                pass
        [str.upper(each) for each in map(str.strip, [" a"])]
        dict.fromkeys("ab")
        max(iter([1, 2]), key=abs)

    return region


def main():
    _, name, way, path = sys.argv
    region = globals()[name]()
    (watched if way == "watched" else call)(region, path)


if __name__ == "__main__":
    main()
