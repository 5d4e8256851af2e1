"""Answers with its environ as JSON: {"environ": {...}, "types": {...}}."""

import json

STRANGER = "tests.stranger"


def application(environ, start_response):
    stranger = environ.get(STRANGER)
    answer = {
        "environ": {key: readable(value) for key, value in environ.items()},
        "types": {key: type(value).__name__ for key, value in environ.items()},
        "environ_type": type(environ).__name__,
        "key_types": sorted({type(key).__name__ for key in environ}),
        "stranger": stranger,
        "body": environ["wsgi.input"].read().decode("latin-1"),
    }
    # The environ is the application's to change; no other request may see that.
    environ[STRANGER] = "left behind"
    environ["HTTP_X_STRANGER"] = "left behind"
    environ["PATH_INFO"] = "/left-behind"
    del environ["SERVER_NAME"]
    write_errors(environ["wsgi.errors"], environ["QUERY_STRING"])
    data = json.dumps(answer).encode("ascii")
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    )
    return [data]


def readable(value):
    plain = isinstance(value, (str, int, bool, tuple, type(None)))
    return value if plain else f"<{type(value).__name__}>"


def write_errors(errors, query):
    if not query.startswith("errors="):
        return
    text = query.partition("=")[2]
    errors.write(f"write {text}\n")
    errors.writelines([f"first {text}\n", f"second {text}\n"])
    print(f"print {text}", file=errors)
    errors.flush()
