"""The smallest application. It gives its length: without one bjoern answers in two writes, which
Nagle's algorithm holds up for 40 ms, and the comparison would be of that."""

BODY = b"Hello, world!\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


def application(environ, start_response):
    start_response("200 OK", HEADERS)
    return [BODY]
