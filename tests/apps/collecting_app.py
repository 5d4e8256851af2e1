"""Garbage is collected all the time, and its finalizers let other threads run."""

import gc
import time

gc.set_threshold(1)


class Slow:
    def __init__(self):
        self.myself = self

    def __del__(self):
        time.sleep(0.0001)


def application(environ, start_response):
    Slow()
    data = f"{environ['PATH_INFO']} {environ['REMOTE_PORT']}".encode()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]
