"""The standard library's server and client, to look at: zolal trace -- python examples/client.py"""

import threading
import urllib.request
from wsgiref.simple_server import make_server


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]


def main():
    with make_server("127.0.0.1", 0, application) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/hello").read())
        thread.join()


main()
