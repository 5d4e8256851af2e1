"""Small applications, each under wsgiref.validate.validator. What it finds (and its warnings, which
are errors here) is the text of a 599."""

import sys
import warnings
from wsgiref.validate import WSGIWarning, validator

PLAIN = [("Content-Type", "text/plain")]


def read_size(environ, start_response):
    data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", PLAIN)
    return [data]


def read_lines(environ, start_response):
    data = [environ["wsgi.input"].readline()]
    data.append(environ["wsgi.input"].readline(3))
    data.extend(environ["wsgi.input"].readlines())
    start_response("200 OK", PLAIN)
    return [b"".join(data)]


def iterate(environ, start_response):
    data = b"".join(environ["wsgi.input"])
    start_response("200 OK", [*PLAIN, ("Content-Length", str(len(data)))])
    return [data]


def stream(environ, start_response):
    start_response("200 OK", PLAIN)
    return (b"piece %d\n" % number for number in range(3))


def write(environ, start_response):
    send = start_response("200 OK", PLAIN)
    send(b"written, ")
    send(b"twice, ")
    return [b"returned"]


def head(environ, start_response):
    start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"hello"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


def replace(environ, start_response):
    start_response("200 OK", PLAIN)
    try:
        raise ValueError("replaced")
    except ValueError:
        start_response("500 Replaced", PLAIN, sys.exc_info())
    return [b"replaced"]


def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    stream.write("a line\n")
    stream.writelines(["another\n"])
    stream.flush()
    start_response("200 OK", PLAIN)
    return [b"said"]


def wrong(environ, start_response):
    """Shows that the validator is at work."""
    start_response("200 OK", {})
    return []


def application(environ, start_response):
    inner = globals()[environ["PATH_INFO"].strip("/").replace("-", "_")]
    with warnings.catch_warnings():
        warnings.simplefilter("error", WSGIWarning)
        try:
            return validator(inner)(environ, start_response)
        except (AssertionError, WSGIWarning) as found:
            text = f"{type(found).__name__}: {found}".encode()
            start_response("599 Found", PLAIN, sys.exc_info())
            return [text]
