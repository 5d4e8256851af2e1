"""Answers with what it was asked: "GET /path body". /stream/N, /size/N and /sized-stream/N answer
with N bytes, /raise raises."""

PLAIN = ("Content-Type", "text/plain")


def application(environ, start_response):
    path = environ["PATH_INFO"]
    kind, _, argument = path[1:].partition("/")
    if kind == "raise":
        raise RuntimeError("intended")
    if kind == "stream":
        start_response("200 OK", [PLAIN])
        return pieces(int(argument))
    if kind == "size":
        start_response("200 OK", [PLAIN])
        return [b"s" * int(argument)]
    if kind == "sized-stream":
        start_response("200 OK", [PLAIN, ("Content-Length", argument)])
        return pieces(int(argument))
    body = environ["wsgi.input"].read()
    start_response("200 OK", [PLAIN])
    return [b" ".join([environ["REQUEST_METHOD"].encode(), path.encode("latin-1"), body])]


def pieces(size):
    for start in range(0, size, 10_000):
        yield b"s" * min(10_000, size - start)
