"""wsgiref with a hello application; prints its process id and port."""

import os
from wsgiref.simple_server import WSGIRequestHandler, make_server


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


server = make_server("127.0.0.1", 0, hello, handler_class=Quiet)
print(os.getpid(), server.server_port, flush=True)
server.serve_forever()
