"""Clients of HTTP, as far as they are there, against a server in a thread."""

import http.server
import threading
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments):
        pass


with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    threading.Thread(target=server.serve_forever).start()
    url = f"http://localhost:{server.server_port}/"
    for _ in range(3):
        assert urllib.request.urlopen(url).read() == b"hello"
    try:
        import requests
    except ImportError:
        pass
    else:
        with requests.Session() as session:
            for _ in range(3):
                assert session.get(url).text == "hello"
    server.shutdown()
