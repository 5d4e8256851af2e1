"""Reads its request body as the query tells it: "ops=read:3,readline,iter" answers with JSON of
what each gave. /ignore reads nothing; /sum reads in pieces; /gated?PATH reads when the gate opens;
/failures tells how reads have failed; /while-streaming reads between yields."""

import hashlib
import json

import gates

failures = []


def perform(stream, operation):
    """One operation on `stream`; its result with bytes as latin-1 str."""
    name, _, argument = operation.partition(":")
    arguments = [None if argument == "None" else int(argument)] if argument else []
    if name == "trailers":
        return stream.trailers
    if name == "next":
        result = next(iter(stream), None)
    elif name == "iter":
        result = list(stream)
    else:
        result = getattr(stream, name)(*arguments)
    if isinstance(result, list):
        return [line.decode("latin-1") for line in result]
    return result if result is None else result.decode("latin-1")


def answer(start_response, value):
    data = json.dumps(value).encode()
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    )
    return [data]


def sum_of(stream):
    total, digest = 0, hashlib.sha256()
    while piece := stream.read(10000):
        total += len(piece)
        digest.update(piece)
    return {"len": total, "sha256": digest.hexdigest()}


def while_streaming(stream, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begin\n"
    while line := stream.readline():
        yield b"got " + line


def application(environ, start_response):
    path, query, stream = environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"]
    if path == "/ops":
        operations = query.partition("=")[2].split(",")
        return answer(start_response, [perform(stream, operation) for operation in operations])
    if path == "/ignore":
        return answer(start_response, "ignored")
    if path == "/sum":
        return answer(start_response, sum_of(stream))
    if path == "/gated":
        gates.stop(query, "called")
        return answer(start_response, perform(stream, "read"))
    if path == "/read-then-gate":
        first = perform(stream, "read:1")
        gates.stop(query, first)
        return answer(start_response, first + perform(stream, "read"))
    if path == "/while-streaming":
        return while_streaming(stream, start_response)
    if path == "/fails":
        try:
            data = stream.read()
        except OSError as error:
            failures.append(type(error).__name__)
            raise
        return answer(start_response, data.decode("latin-1"))
    if path == "/failures":
        return answer(start_response, failures)
    return answer(start_response, [environ["REQUEST_METHOD"], path])
