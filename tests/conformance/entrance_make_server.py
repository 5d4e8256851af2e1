"""MODULE:ATTRIBUTE PORT [threaded]: the application by zolal.simple_server."""

import importlib
import sys

from zolal.simple_server import ThreadingMixIn, WSGIServer, make_server


class ThreadedServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


module, _, attribute = sys.argv[1].partition(":")
application = getattr(importlib.import_module(module), attribute)
server_class = ThreadedServer if "threaded" in sys.argv else WSGIServer
make_server("127.0.0.1", int(sys.argv[2]), application, server_class).serve_forever()
