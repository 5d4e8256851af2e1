"""Tells how the server has read a request."""

import json


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    read = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "query": environ["QUERY_STRING"],
        "host": environ.get("HTTP_HOST"),
        "x": environ.get("HTTP_X"),
        "body": body.decode("latin-1"),
    }
    start_response("200 OK", [("X-Read", "yes")])
    return [json.dumps(read).encode()]
