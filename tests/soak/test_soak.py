"""Mixed clients against one server for `--minutes`: every answer is checked as it comes, and at the
end what the server holds."""

import contextlib
import json
import random
import threading
import time

import pytest
import traffic
from http_client import Client
from http_client import request as bytes_of_request
from probe import cpu_seconds, descriptors, private_memory, threads_of

MIB = 1 << 20
MEMORY = 4 * MIB  # what so many clients at once may have made larger for good: buffers, free lists
THREADS = 8
OBJECTS = 1000  # see process/test_leaks.py; there are more kinds of requests here


class Clients:
    """Threads that each repeat one behaviour until the time is over, and count."""

    def __init__(self, address):
        self.address = address
        self.over = threading.Event()
        self.counts = {}
        self.errors = []
        self.threads = []

    def start(self, behaviour, count):
        for number in range(count):
            thread = threading.Thread(target=self._repeat, args=(behaviour, number))
            self.threads.append(thread)
            thread.start()

    def _repeat(self, behaviour, number):
        chance = random.Random(f"{behaviour.__name__} {number}")
        done = 0
        try:
            while not self.over.is_set():
                behaviour(self.address, chance, self.over)
                done += 1
        except BaseException as error:
            self.errors.append(error)
            self.over.set()
        name = behaviour.__name__
        self.counts[name] = self.counts.get(name, 0) + done

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def rounds(address, chance, over):
    with Client(address) as kept:
        for _ in range(chance.randint(1, 20)):
            traffic.round_of(address, kept)


def slow_reader(address, chance, over):
    """Takes its time, and sometimes leaves before the end."""
    size = 3_000_000
    with Client(address, receive_buffer=16_384) as client:
        client.send(bytes_of_request(chance.choice([f"/stream/{size}", f"/file/{size}"])))
        response = client.head()
        most = chance.choice([size, size, size // 3])
        received = 0
        while received < most and (piece := client.piece(response)):
            received += len(piece)
            response.pieces.clear()
            if chance.random() < 0.02:
                over.wait(0.05)
        assert received >= most or response.complete
        if chance.random() < 0.3:
            client.reset()


def slow_sender(address, chance, over):
    """Its body comes in bits; others must not notice."""
    body = chance.randbytes(chance.choice([500, 30_000, 150_000]))
    with Client(address) as client:
        client.send(traffic.post("/upload", body=body)[: -len(body)])
        start = 0
        while start < len(body):
            size = chance.randint(1, len(body) // 3)
            client.send(body[start : start + size])
            start += size
            over.wait(0.02)
        assert client.response("POST").body == b"%d" % len(body)


def idler(address, chance, over):
    """Many connections that do little, but not for as long as the server waits for a first word."""
    end = time.monotonic() + 15
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(200)]
        for _ in range(5):
            for client in clients:
                if chance.random() < 0.3 and time.monotonic() < end:
                    assert client.get("/hello").body == b"hello"
            if over.wait(0.5):
                return


def forker(address, chance, over):
    with Client(address) as client:
        assert client.get("/run-subprocess").body == b"from a child\n"
        assert client.get("/run-multiprocessing").body == b"[1, 2, 3]"
    over.wait(2)


KINDS = ["quick"] * 8 + ["block"] * 3 + ["locked"] * 2 + ["busy", "streamed"] * 2 + ["helped"]


def numbered(chance, kind, client, number):
    """A request that says who asks for what, and its body."""
    target = f"/{kind}/{client}/{number}"
    if kind != "helped":
        return bytes_of_request(target), b""
    body = b"h" * chance.choice([10, 1000, 100_000])
    return traffic.post(target, body=body), body


def assert_answered(response, kind, client, number, body):
    """With its own number and nothing of another's."""
    name = f"{client}/{number}".encode()
    assert response.status == 200
    if kind == "streamed":
        assert response.body.startswith(name + b".")
        assert response.body[len(name) :].strip(b".") == b""
    else:
        assert response.body == name + body


def asker(address, chance, over):
    """One request after the other; some fail, and end the connection."""
    name = f"{chance.getrandbits(64):x}"
    connection = Client(address)
    try:
        for number in range(1, 30):
            kind = chance.choice([*KINDS, "failing"]) if number < 29 else "done"
            data, body = numbered(chance, kind, name, number)
            connection.send(data)
            response = connection.response()
            if kind != "failing":
                assert_answered(response, kind, name, number, body)
                continue
            assert response.status == 500
            connection.close()
            connection = Client(address)
    finally:
        connection.close()


def pipeliner(address, chance, over):
    name = f"{chance.getrandbits(64):x}"
    with Client(address) as client:
        count = chance.randint(2, 40)
        kinds = [*[chance.choice(KINDS) for _ in range(count - 1)], "done"]
        asked = [(kind, *numbered(chance, kind, name, n)) for n, kind in enumerate(kinds, 1)]
        for start in range(0, count, 5):
            client.send(b"".join(data for _, data, _ in asked[start : start + 5]))
        for number, (kind, _, body) in enumerate(asked, 1):
            assert_answered(client.response(), kind, name, number, body)


def leaver(address, chance, over):
    """Does not wait for the end of what it has asked for."""
    with Client(address) as client:
        kind = chance.choice(KINDS)
        data, _ = numbered(chance, kind, "left", 1)
        client.send(data[: chance.choice([len(data), chance.randint(1, len(data))])])
        over.wait(chance.random() / 50)
        if chance.random() < 0.5:
            client.reset()


def held(server, client):
    client.get("/blocks")
    return int(client.get("/blocks").body), private_memory(server.pid)


@pytest.mark.soak
def test_soak(serve, request, capsys):
    seconds = request.config.getoption("--minutes") * 60
    server = serve("soak_app:application", f"--threads={THREADS}")
    with Client(server.address) as client:
        client.get("/hello")
        quiet = descriptors(server.pid)
    results = []
    # Twice: what the first time has made larger for good is no leak, what the second adds is.
    for share in (0.25, 0.75):
        clients = Clients(server.address)
        clients.start(rounds, 3)
        clients.start(slow_reader, 4)
        clients.start(slow_sender, 6)
        clients.start(idler, 1)
        clients.start(forker, 1)
        clients.start(asker, 6)
        clients.start(pipeliner, 3)
        clients.start(leaver, 3)
        begin, cpu = time.monotonic(), cpu_seconds(server.pid)
        clients.over.wait(seconds * share)
        clients.end()
        if clients.errors:
            raise clients.errors[0]
        spent = cpu_seconds(server.pid) - cpu
        with Client(server.address) as client:
            results.append(held(server, client))
            assert json.loads(client.get("/strays").body) == [[], 0]
        assert len(threads_of(server.pid)) <= 1 + THREADS
        with capsys.disabled():
            print(
                f"\n{time.monotonic() - begin:.0f} s, {spent:.1f} s of CPU, {clients.counts}; "
                f"{results[-1][0]} objects, {results[-1][1] // 1024} KiB"
            )
    assert descriptors(server.pid, at_most=quiet) <= quiet
    assert results[1][0] - results[0][0] < OBJECTS
    assert results[1][1] - results[0][1] < MEMORY
