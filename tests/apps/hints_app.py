"""An application that sends early hints, and tells what it was given."""

import json


def application(environ, start_response):
    hint = environ["wsgi.early_hints"]
    path = environ["PATH_INFO"]
    if path == "/hints":
        hint([("Link", "</style.css>; rel=preload; as=style")])
        hint([("Link", "</code.js>; rel=preload; as=script"), ("X", "y")])
    if path == "/bad":
        hint([("Link", "a\r\nSet-Cookie: b")])
    if path == "/late":
        start_response("200 OK", [("Content-Length", "5")])(b"he")
        hint([("Link", "late")])
        return [b"llo"]
    start_response("200 OK", [])
    names = sorted(key for key in environ if key.startswith("HTTP_"))
    return [json.dumps(names).encode()]
