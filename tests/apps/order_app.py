"""An application that numbers its calls, and can be held up."""

import itertools

import gates

numbers = itertools.count(1)


def application(environ, start_response):
    number = next(numbers)
    if environ["PATH_INFO"] == "/gated":
        gates.stop(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(number).encode()]
