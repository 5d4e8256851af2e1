"""Mixed requests to robust_app, each with its answer checked: what the tests of leaks and the soak
send. One round is ROUND requests, on new connections and kept ones, that end well and badly."""

from http_client import Client, Truncated, chunked, request

ROUND = 100


def post(target, *fields, body):
    return request(target, *fields, method="POST", body=body)


CHUNKED = "Transfer-Encoding: chunked"
SPOOLED = b"s" * 70_000
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    "Accept: text/html,application/xhtml+xml",
    "Accept-Language: en",
    "Cookie: session=0123456789abcdef; theme=dark",
)

HELLO = request("/hello")
PIPELINE = HELLO * 10 + request("/hello?a=b", *BROWSER) * 10
KEPT = [
    (request("/hello", *BROWSER), "GET", b"hello"),
    (request("/hello", method="HEAD"), "HEAD", b""),
    (post("/upload", body=b"u" * 100), "POST", b"100"),
    (post("/upload", body=b""), "POST", b"0"),
    (post("/upload", CHUNKED, body=chunked(b"u" * 100, b"v" * 1000)), "POST", b"1100"),
    (request("/stream/10000"), "GET", b"0123456789abcdef" * 625),
    (request("/stream/100", method="HEAD"), "HEAD", b""),
    (request("/file/5000"), "GET", bytes(5000)),
    (post("/hello", body=b"nobody reads this"), "POST", b"hello"),
    (request("/hello", "X-A: 1", "X-A: 2", "Cookie: a=1", "Cookie: b=2"), "GET", b"hello"),
]


def keep(client):
    """65 requests on one connection."""
    client.send(PIPELINE)
    for _ in range(20):
        assert client.response().body == b"hello"
    for _ in range(4):
        client.send(b"".join(data for data, _, _ in KEPT))
        for _, method, body in KEPT:
            response = client.response(method)
            assert (response.status, response.body) == (200, body)
    for number in range(5):
        assert client.get(f"/hello?{number}", f"X-Number: {number}").body == b"hello"


def fail(address):
    """13 requests that the application or the client spoils."""
    for _ in range(4):
        with Client(address) as client:
            client.send(request("/fails"))
            assert client.response().status == 500
    for _ in range(3):
        with Client(address) as client:
            client.send(request("/fails-later"))
            assert client.cut_response().body == b"begun"
    for data in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n"):
        with Client(address) as client:
            client.send(data)
            assert client.response().status == 400
    for data in (b"1\r\nx\r\n!", b"-1\r\n\r\n"):
        with Client(address) as client:
            client.send(post("/upload", CHUNKED, body=data))
            assert client.response("POST").status == 400
    for _ in range(2):
        with Client(address) as client:
            client.send(post("/slow-read", "Expect: 100-continue", body=b"x")[:-1])
            assert client.interim().status == 100
            client.send_end()
            try:
                assert client.response("POST").status in (400, 500)
            except (Truncated, ConnectionResetError):
                pass


def leave(address):
    """12 requests whose client does not stay for the whole of it."""
    for place in (1, 20, len(HELLO) - 1, len(HELLO)):
        with Client(address) as client:
            client.send(HELLO[:place])
            client.reset()
    for data in (post("/upload", body=b"u" * 1000)[:-500], post("/upload", body=SPOOLED)[:-1]):
        with Client(address) as client:
            client.send(data)
            client.reset()
    for target in ("/stream/5000000", "/file/5000000"):
        for read in (0, 1000):
            with Client(address) as client:
                client.send(request(target))
                if read:
                    client.socket.recv(read)
                client.reset()
    with Client(address) as client:
        client.send(PIPELINE[: len(HELLO) * 2])
        client.reset()
    with Client(address) as client:
        client.send(request("/stream/100", version="1.0"))
        client.send_end()
        assert len(client.response().body) == 100


def end(address):
    """10 requests that end their connection, or the server's memory for a body."""
    for _ in range(4):
        with Client(address) as client:
            assert client.get("/hello", "Connection: close").body == b"hello"
            client.expect_orderly_end()
    for _ in range(2):
        with Client(address) as client:
            assert len(client.get("/stream/50000", version="1.0").body) == 50_000
    with Client(address) as client:
        client.send(post("/upload", body=SPOOLED))
        assert client.response("POST").body == b"70000"
        client.send(post("/upload", CHUNKED, body=chunked(SPOOLED)))
        assert client.response("POST").body == b"70000"
        client.send(post("/upload", "Expect: 100-continue", body=SPOOLED)[: -len(SPOOLED)])
        assert client.interim().status == 100
        client.send(SPOOLED)
        assert client.response("POST").body == b"70000"
        client.send(post("/hello", "Expect: 100-continue", body=b"x")[:-1])
        assert client.response("POST").body == b"hello"


def round_of(address, kept):
    """100 requests, `kept`: a Client that stays connected."""
    keep(kept)
    fail(address)
    leave(address)
    end(address)
