"""wsgiref's first example."""

import sys
from wsgiref.simple_server import demo_app, make_server

make_server("127.0.0.1", int(sys.argv[1]), demo_app).serve_forever()
