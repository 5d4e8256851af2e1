"""What goes on on one connection: keep-alive, pipelining, fragments, ends. RFC 9112 9, 2.2."""

import socket
import threading
import time

import pytest
from gate import Gate
from http_client import Client, Truncated, chunked, request
from probe import descriptors


@pytest.fixture(scope="module")
def server(serve_module):
    return serve_module("connection_app:application")


@pytest.fixture(scope="module")
def gated_server(serve_module):
    return serve_module("response_app:application")


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


# ---- keep-alive


def test_many_requests_on_one_connection(server, client):
    port = client.socket.getsockname()
    for number in range(200):
        assert client.get(f"/{number}").body == b"GET /%d " % number
    assert client.socket.getsockname() == port


def test_it_stays_open_after_each_kind_of_answer(client):
    for target in ("/plain", "/stream/30000", "/size/30000", "/sized-stream/30000", "/size/0"):
        for method in ("GET", "HEAD", "POST"):
            response = client.get(target, method=method)
            assert response.status == 200 and not response.closes


def test_urgent_data_hold_nothing_up(server, client):
    """RFC 9293 3.8.5; recv(2) stops before them."""
    client.get("/first")
    with server.paused():
        client.send(b"GET /second HTTP/1.1\r\nHost: ")
        client.socket.send(b"!", socket.MSG_OOB)
        client.send(b"x\r\n\r\n")
    assert client.response().body == b"GET /second "


@pytest.mark.parametrize("value", ["close", "Close", "x, close", "keep-alive, close"])
def test_connection_close_is_answered_and_obeyed(server, value):
    with Client(server.address) as client:
        response = client.get("/last", f"Connection: {value}")
        assert response.body == b"GET /last "
        assert response.closes
        client.expect_orderly_end()


def test_http_1_0_closes(server):
    with Client(server.address) as client:
        assert client.get("/last", version="1.0").body == b"GET /last "
        client.expect_orderly_end()


def test_http_1_0_keeps_alive_when_asked(server):
    with Client(server.address) as client:
        for number in range(3):
            response = client.get(f"/{number}", "Connection: keep-alive", version="1.0")
            assert response.body == b"GET /%d " % number
            assert response.one("Connection").lower() == "keep-alive"
        # Without a length only the end of the connection can end the body.
        response = client.get("/stream/20000", "Connection: keep-alive", version="1.0")
        assert (response.framing, len(response.body)) == ("close", 20_000)


def test_an_error_of_the_application_does_not_leave_a_half_open_connection(server):
    with Client(server.address) as client:
        response = client.get("/raise")
        assert response.status == 500
        if response.closes:
            client.expect_end()
        else:
            assert client.get("/next").body == b"GET /next "


# ---- pipelining


def test_pipelined_requests_are_answered_in_order(client):
    client.send(b"".join(request(f"/{number}") for number in range(200)))
    for number in range(200):
        assert client.response().body == b"GET /%d " % number


def test_pipelined_requests_of_each_kind(client):
    kinds = [
        (request("/a"), "GET", b"GET /a "),
        (request("/b", method="POST", body=b"GET /smuggled HTTP/1.1\r\n\r\n"), "POST", None),
        (request("/c", method="HEAD"), "HEAD", b""),
        (
            request(
                "/d", "Transfer-Encoding: chunked", method="PUT", body=chunked(b"d" * 99, b"e")
            ),
            "PUT",
            b"PUT /d " + b"d" * 99 + b"e",
        ),
        (request("/stream/25000"), "GET", b"s" * 25_000),
        (request("/sized-stream/70000"), "GET", b"s" * 70_000),
        (request("/size/70000", method="HEAD"), "HEAD", b""),
        (request("/size/5"), "GET", b"sssss"),
        (request("/e", method="POST", body=b"e" * 70_000), "POST", b"POST /e " + b"e" * 70_000),
        (request("/f", method="POST", body=b""), "POST", b"POST /f "),
    ]
    for _ in range(3):
        sender = threading.Thread(target=client.send, args=(b"".join(kind[0] for kind in kinds),))
        sender.start()
        for data, method, body in kinds:
            response = client.response(method)
            assert response.status == 200, data[:50]
            assert body is None or response.body == body, data[:50]
        sender.join()


def test_nothing_is_answered_behind_a_connection_close(server):
    with Client(server.address) as client:
        client.send(request("/a") + request("/b", "Connection: close") + request("/c"))
        assert client.response().body == b"GET /a "
        response = client.response()
        assert response.body == b"GET /b " and response.closes
        client.expect_end()


def test_what_was_pipelined_before_a_malformed_request_is_answered(server):
    with Client(server.address) as client:
        client.send(request("/a") + request("/b") + b"no request\r\n\r\n" + request("/c"))
        assert client.response().body == b"GET /a "
        assert client.response().body == b"GET /b "
        response = client.response()
        assert response.status == 400 and response.closes
        client.expect_end()


def test_a_pipeline_whose_answers_are_not_read(server):
    """Far more than the kernel's buffers hold: the server has to stop reading, and to go on."""
    count, size = 2000, 10_000
    with Client(server.address) as client, Client(server.address) as beside:
        data = b"".join(request(f"/size/{size}", f"X-Fill: {'f' * 1000}") for _ in range(count))
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        assert beside.get("/beside").body == b"GET /beside "
        for number in range(count):
            assert len(client.response().body) == size, number
        sender.join()
        assert client.get("/after").body == b"GET /after "


def test_two_requests_and_a_half(client):
    half = request("/c")
    client.send(request("/a") + request("/b") + half[:10])
    assert client.response().body == b"GET /a "
    assert client.response().body == b"GET /b "
    client.send(half[10:])
    assert client.response().body == b"GET /c "


# ---- fragments


def test_cut_at_each_byte(server):
    """Before the second part is sent, the server has taken the first: it answers somebody else."""
    data = request("/cut", "X-A: b", method="POST", body=b"body") + request("/next", "X-C: d")
    with Client(server.address) as beside, Client(server.address) as client:
        for place in range(1, len(data)):
            client.send(data[:place])
            assert beside.get("/beside").body == b"GET /beside "
            client.send(data[place:])
            assert client.response("POST").body == b"POST /cut body", place
            assert client.response().body == b"GET /next ", place


def test_one_byte_at_a_time(client):
    data = request(
        "/drip", "X-A: b", "Transfer-Encoding: chunked", method="POST", body=chunked(b"ab", b"c")
    )
    for byte in data + request("/next"):
        client.send(bytes([byte]))
    assert client.response("POST").body == b"POST /drip abc"
    assert client.response().body == b"GET /next "


def test_empty_lines_before_a_request(client):
    client.send(b"\r\n" + request("/a") + b"\r\n" + request("/b"))
    assert client.response().body == b"GET /a "
    assert client.response().body == b"GET /b "


def test_an_empty_line_is_no_request(serve):
    """It does not start the patience that a request's head has."""
    server = serve("connection_app:application", "--header-timeout=0.2", "--keep-alive=60")
    with Client(server.address) as client:
        assert client.get("/a").body == b"GET /a "
        client.send(b"\r\n")
        time.sleep(0.5)
        assert client.get("/b").body == b"GET /b "


@pytest.mark.parametrize("size", [1, 2, 3, 7, 18])
def test_too_many_empty_lines_however_they_come(server, size):
    """Eight are taken for a mistake, nine are none."""

    def send_lines(client, beside, count):
        lines = b"\r\n" * count
        for start in range(0, len(lines), size):
            client.send(lines[start : start + size])
            beside.get("/beside")  # by now the server has taken them

    with Client(server.address) as client, Client(server.address) as beside:
        for _ in range(2):
            send_lines(client, beside, 8)
            assert client.get("/a").body == b"GET /a "
        send_lines(client, beside, 9)
        assert client.response().status == 400
        client.expect_end()


def test_an_empty_line_behind_a_request_may_be_the_last(server):
    """RFC 9112 2.2: then nobody has asked for anything."""
    with Client(server.address) as client:
        assert client.get("/a").body == b"GET /a "
        client.send(b"\r\n")
        client.send_end()
        client.expect_orderly_end()


# ---- ends


def test_half_close_after_a_request(server):
    with Client(server.address) as client:
        client.send(request("/a"))
        client.send_end()
        assert client.response().body == b"GET /a "
        client.expect_orderly_end()


def test_half_close_after_pipelined_requests(server):
    with Client(server.address) as client:
        client.send(
            request("/a") + request("/b", method="POST", body=b"body") + request("/stream/200000")
        )
        client.send_end()
        assert client.response().body == b"GET /a "
        assert client.response("POST").body == b"POST /b body"
        assert len(client.response().body) == 200_000
        client.expect_orderly_end()


def test_half_close_while_an_answer_is_streamed(gated_server):
    with Client(gated_server.address) as client, Gate() as gate:
        client.send(request(f"/gated?{gate.path}"))
        response = client.head()
        assert client.piece(response) == b"first"
        client.send_end()
        gate.pass_through()
        gate.pass_through()
        assert client.body(response).body == b"firstsecond"
        client.expect_orderly_end()


def test_half_close_in_an_idle_connection(server):
    with Client(server.address) as client:
        client.get("/a")
        client.send_end()
        client.expect_orderly_end()


def test_half_close_without_a_request(server):
    with Client(server.address) as client:
        client.send_end()
        client.expect_orderly_end()


def test_half_close_in_the_middle_of_a_head(server):
    with Client(server.address) as client:
        client.send(request("/a")[:-3])
        client.send_end()
        try:
            assert client.response().status in (400, 408)
        except Truncated:
            return
        client.expect_end()


def test_the_end_comes_behind_the_whole_answer(server):
    """Much more than the kernel's buffers hold, and the connection closed behind it."""
    with Client(server.address, receive_buffer=4096) as client:
        response = client.get("/size/8000000", "Connection: close")
        assert len(response.body) == 8_000_000
        client.expect_orderly_end()


def test_a_refusal_can_be_read_though_more_was_sent(server):
    """RFC 9112 9.6: closing with unread input would reset the connection and lose the answer."""
    with Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nbad field: x\r\n\r\n" + b"x" * 500_000)
        assert client.response().status == 400
        client.expect_orderly_end()


def test_a_request_in_another_protocol(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 300 + b"\r\n",
        b"HELO there\r\n\r\n",
    ):
        with Client(server.address) as client:
            client.send(data)
            assert client.response().status == 400
            client.expect_end()


def test_connections_side_by_side(server):
    clients = [Client(server.address) for _ in range(50)]
    try:
        for turn in range(3):
            for number, client in enumerate(clients):
                client.send(request(f"/{turn}/{number}", method="POST", body=b"x" * number))
            for number, client in reversed(list(enumerate(clients))):
                expected = b"POST /%d/%d " % (turn, number) + b"x" * number
                assert client.response("POST").body == expected
    finally:
        for client in clients:
            client.close()


def test_no_descriptor_is_left(server):
    with Client(server.address) as client:
        client.get("/")
        before = descriptors(server.pid)
        for _ in range(20):
            with Client(server.address) as other:
                other.get("/x")
            with Client(server.address) as other:
                other.send(request("/x")[:5])
                other.reset()
            with Client(server.address) as other:
                other.get("/x", "Connection: close")
        assert descriptors(server.pid, at_most=before) == before
