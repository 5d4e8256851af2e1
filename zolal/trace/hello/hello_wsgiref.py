"""The standard library's server."""

import sys
from importlib import import_module
from wsgiref.simple_server import WSGIRequestHandler, make_server

module, port = sys.argv[1:]


class Handler(WSGIRequestHandler):
    def log_message(self, format, *arguments):
        """No access log."""


application = import_module(module).application
make_server("127.0.0.1", int(port), application, handler_class=Handler).serve_forever()
