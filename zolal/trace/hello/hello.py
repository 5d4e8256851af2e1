"""One hello, as WSGI has it (PEP 3333): the application of every server here."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
