"""Garbage is collected while a request is handed to the application, and its finalizers take their
time."""

import gc
import time

gc.set_threshold(1)
keep = []


class Slow:
    def __init__(self):
        self.myself = self

    def __del__(self):
        time.sleep(0.01)


class Body(list):
    """What is made here is garbage for the next request's environ to run into."""

    def close(self):
        Slow()
        keep.extend([] for _ in range(50))
        keep.extend({} for _ in range(100))
        gc.enable()


def application(environ, start_response):
    gc.disable()
    keep.append(environ)
    start_response("200 OK", [("Content-Length", "2")])
    return Body([b"ok"])
