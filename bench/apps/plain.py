"""Applications without a framework. All give their length: without one bjoern answers in two
writes, which Nagle's algorithm holds up for 40 ms, and the comparison would be of that."""

import time

HELLO = b"Hello, world!\n"
SLOW = b"Sorry that you had to wait.\n"
LARGE = b"0123456789abcdef" * 65536  # 1 MiB
TYPE = ("Content-Type", "text/plain")

HELLO_HEADERS = [TYPE, ("Content-Length", str(len(HELLO)))]
SLOW_HEADERS = [TYPE, ("Content-Length", str(len(SLOW)))]
LARGE_HEADERS = [TYPE, ("Content-Length", str(len(LARGE)))]


def hello(environ, start_response):
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


def echo(environ, start_response):
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [TYPE, ("Content-Length", str(len(body)))])
    return [body]


def large(environ, start_response):
    start_response("200 OK", LARGE_HEADERS)
    return [LARGE]


def sleeps(environ, start_response):
    time.sleep(0.005)
    start_response("200 OK", HELLO_HEADERS)
    return [HELLO]


def mixed(environ, start_response):
    if environ["PATH_INFO"] != "/slow":
        return hello(environ, start_response)
    time.sleep(0.02)
    start_response("200 OK", SLOW_HEADERS)
    return [SLOW]


def computes(environ, start_response):
    if environ["PATH_INFO"] != "/slow":
        return hello(environ, start_response)
    end = time.thread_time() + 0.05
    while time.thread_time() < end:
        pass
    start_response("200 OK", SLOW_HEADERS)
    return [SLOW]


def chance(environ, start_response):
    if not environ["QUERY_STRING"]:
        return hello(environ, start_response)
    time.sleep(0.02)
    start_response("200 OK", SLOW_HEADERS)
    return [SLOW]
